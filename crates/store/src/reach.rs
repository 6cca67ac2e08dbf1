//! What needs which layer.
//!
//! Promise: errs on the side of keeping; a thing that cannot be read needs all that it might need.

use std::collections::{HashMap, HashSet};

use shale_oci::{ChainId, ImageId};

use crate::durable::{self, DiskError};
use crate::images;
use crate::layers;
use crate::layout::Layout;
use crate::lease::{self, Lease, Purpose};
use crate::mounts::{self, Mount};

/// Everything that needs layers, at one moment under the commit lock.
pub(crate) struct Roots {
    /// The layers of images, and the top layers of containers, living processes and BuildKit.
    tops: HashSet<ChainId>,
    /// The layers that stand on each layer.
    children: HashMap<ChainId, HashSet<ChainId>>,
    /// Images of which the layers are not known.
    pub(crate) damaged_images: Vec<ImageId>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) leases: Vec<Purpose>,
    /// Of dead processes, ours for as long as this value lives.
    pub(crate) dead_leases: Vec<(Option<Purpose>, Lease)>,
    pub(crate) buildkit: BuildKit,
}

impl Roots {
    /// Looks at all images, layers, containers and leases.
    pub(crate) fn find(layout: &Layout) -> Result<Roots, DiskError> {
        let mut roots = Roots {
            tops: HashSet::new(),
            children: HashMap::new(),
            damaged_images: Vec::new(),
            mounts: mounts::read(layout)?,
            leases: Vec::new(),
            dead_leases: Vec::new(),
            buildkit: BuildKit::read(layout)?,
        };
        for id in images::ids(layout)? {
            match images::read_content(layout, id) {
                // The whole stack, because the layers' own notes of their parents may be damaged.
                Ok(content) => {
                    roots.tops.extend(content.iter().flat_map(|content| ChainId::stack(&content.diff_ids)));
                }
                Err(images::ImageError::Disk(error)) => return Err(error),
                Err(_) => roots.damaged_images.push(id),
            }
        }
        for chain in layers::chains(layout)? {
            let parent = durable::read(&layout.layer(chain).join("parent"))?;
            if let Some(parent) = parent.as_deref().and_then(layers::parse_trimmed) {
                roots.children.entry(parent).or_default().insert(chain);
            }
            if roots.buildkit.names(&chain.to_string()) {
                roots.tops.insert(chain);
            }
        }
        roots.tops.extend(roots.mounts.iter().filter_map(|mount| mount.parent));
        let leases = lease::survey(&layout.leases())?;
        (roots.leases, roots.dead_leases) = (leases.live, leases.dead);
        for purpose in &roots.leases {
            if let Purpose::Hold { chain } = purpose {
                roots.tops.insert(*chain);
            }
        }
        Ok(roots)
    }

    /// Whether an image, a container, a process or another layer needs this layer directly.
    pub(crate) fn is_needed(&self, chain: ChainId) -> bool {
        self.tops.contains(&chain) || self.children.get(&chain).is_some_and(|children| !children.is_empty())
    }

    /// Returns the layers that are needed directly and are not there, in order.
    pub(crate) fn missing(&self, layout: &Layout) -> Result<Vec<ChainId>, DiskError> {
        let there: HashSet<ChainId> = layers::chains(layout)?.into_iter().collect();
        let mut missing: Vec<_> = self.tops.difference(&there).copied().collect();
        missing.sort_unstable();
        Ok(missing)
    }

    /// Notes that `child` is gone.
    pub(crate) fn forget_child(&mut self, parent: ChainId, child: ChainId) {
        if let Some(children) = self.children.get_mut(&parent) {
            children.remove(&child);
        }
    }

    /// Returns all layers that are needed, directly or from above, whether they are there or not.
    pub(crate) fn reachable(&self) -> HashSet<ChainId> {
        let parents: HashMap<ChainId, ChainId> = self
            .children
            .iter()
            .flat_map(|(parent, children)| children.iter().map(move |child| (*child, *parent)))
            .collect();
        let mut reachable = HashSet::new();
        for top in &self.tops {
            let mut next = Some(*top);
            while let Some(chain) = next.filter(|chain| reachable.insert(*chain)) {
                next = parents.get(&chain).copied();
            }
        }
        reachable
    }
}

/// The names that BuildKit inside dockerd keeps in its own database, on layers and directories that nothing else names.
#[derive(Debug, Default)]
pub(crate) struct BuildKit {
    words: HashSet<String>,
}

impl BuildKit {
    /// Collects every word of the database that could be a name: it is a bolt file, in which keys and values stand as
    /// they are. Pages that are free by now only make us keep more.
    fn read(layout: &Layout) -> Result<BuildKit, DiskError> {
        let content = durable::read(&layout.buildkit_snapshots())?.unwrap_or_default();
        let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut words = HashSet::new();
        for word in content.split(|byte| !is_word(byte)).filter(|word| word.len() >= 25) {
            let word = std::str::from_utf8(word).expect("only ASCII was let through");
            // Neighbours in a page are not separated, so every part of the right length counts.
            for length in [25, 64] {
                if word.len() <= 4096 {
                    words.extend(
                        (0..(word.len() + 1).saturating_sub(length))
                            .map(|at| word[at..at + length].to_owned()),
                    );
                }
            }
        }
        Ok(BuildKit { words })
    }

    /// Whether the database may name this chain ID or directory.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.words.contains(name.strip_prefix("sha256:").unwrap_or(name))
    }
}
