//! Finding and removing what nothing needs.
//!
//! Promise: never touches what an image, a container, BuildKit or a living process names; when something that might
//! name it cannot be read, it stays.
//! Not here: deciding which images go.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::SystemTime;

use shale_oci::{ChainId, Digest, ImageId};

use crate::durable::{self, DiskError};
use crate::layers::{self, Removal};
use crate::layout::{self, Layout};
use crate::lease::{Lease, Purpose};
use crate::lock::AccessError;
use crate::reach::Roots;
use crate::references::{self, ReferencesError};
use crate::{Store, mounts, sweep};

/// What [`Store::gc`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcOptions {
    /// Only says what would be removed.
    pub dry_run: bool,
    /// Removes partial downloads that got their last byte before this time.
    pub downloads_before: SystemTime,
}

/// What [`Store::gc`] removed, or would remove.
#[derive(Debug, Clone, Default)]
pub struct GcReport {
    /// The things, each with its size on the disk.
    pub items: Vec<GcItem>,
    /// Images whose config is damaged, or gone while a name is there. While there are any, no layer is removed, since it
    /// could be theirs.
    pub damaged_images: Vec<ImageId>,
    /// Containers whose files are damaged or gone. While there are any, no directory below `overlay2` is removed on its own.
    pub damaged_mounts: Vec<String>,
    /// Things that nothing needs and that could not be removed; `items` lists none of them.
    pub failures: Vec<DiskError>,
    /// Layers that images or containers stand on and that are not there, and layers without a directory. While there are
    /// any, no directory below `overlay2` is removed on its own, since it could be theirs.
    pub missing_layers: Vec<ChainId>,
}

impl GcReport {
    /// Returns the size of everything together.
    pub fn size_bytes(&self) -> u64 {
        self.items.iter().map(|item| item.size_bytes).sum()
    }
}

/// One thing that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcItem {
    /// What it is.
    pub garbage: Garbage,
    /// The sizes of its files.
    pub size_bytes: u64,
}

/// Things that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Garbage {
    /// A layer that no image, container, process or other layer stands on.
    Layer(ChainId),
    /// A layer whose deletion somebody began.
    UnfinishedRemoval(String),
    /// A directory below `overlay2` that no layer and no container names.
    OverlayDirectory(String),
    /// A symlink below `overlay2/l` that leads nowhere.
    Link(String),
    /// A file or directory that was to be renamed into place, relative to the root.
    Unpublished(PathBuf),
    /// A layer that a killed process was unpacking.
    UnfinishedLayer(String),
    /// What a store noted about an image that is gone.
    ImageMetadata(String),
    /// A part of a blob that nobody came back for.
    Download(Digest),
}

/// Why gc stopped; what it removed until then is gone.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The store may not be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Store {
    /// Removes what nothing needs, and says what it was.
    ///
    /// The lock is held while it is found out and while names are taken away, not while files are deleted.
    ///
    /// One thing that cannot be removed stops no other; it is in [`GcReport::failures`].
    ///
    /// # Errors
    /// [`GcError`]; a second run goes on where this one stopped.
    pub fn gc(&self, options: GcOptions) -> Result<GcReport, GcError> {
        let commit = self.commit()?;
        let mut found = Found::find(&self.layout)?;
        let mut removals = std::mem::take(&mut found.unfinished_removals);
        let mut failures = Vec::new();
        if !options.dry_run {
            for chain in &found.layers {
                removals.push(layers::begin_removal(&self.layout, *chain)?);
            }
            if !found.layers.is_empty() {
                durable::sync_dir(&self.layout.layers())?;
            }
            // With the lock, because an image of the same ID may be stored as soon as it is free.
            for (name, _) in &found.image_metadata {
                failures.extend(durable::remove_tree(&self.layout.metadata_of_images().join(name)).err());
            }
        }
        drop(commit);
        let mut measured = found.measure(&self.layout, &removals, options.dry_run);
        let damaged_images = std::mem::take(&mut found.damaged_images);
        let damaged_mounts = std::mem::take(&mut found.damaged_mounts);
        let missing_layers = std::mem::take(&mut found.missing_layers);
        if !options.dry_run {
            failures.extend(found.remove(&self.layout));
            failures.extend(layers::finish_removals(&self.layout, removals));
            measured.retain(|thing| !thing.is_among(&failures));
        }
        let items = measured.into_iter().map(|thing| thing.item).collect();
        let mut report = GcReport { items, damaged_images, damaged_mounts, missing_layers, failures };
        self.gc_downloads(options, &mut report)?;
        Ok(report)
    }

    fn gc_downloads(&self, options: GcOptions, report: &mut GcReport) -> Result<(), GcError> {
        for download in self.downloads()? {
            if download.is_claimed || download.modified >= options.downloads_before {
                continue;
            }
            if !options.dry_run {
                match self.try_claim_blob(download.digest) {
                    Ok(Some(claim)) => {
                        if let Err(failure) = claim.discard() {
                            report.failures.push(failure);
                            continue;
                        }
                    }
                    // Somebody came back for it just now.
                    Ok(None) => continue,
                    Err(crate::ClaimError::Access(error)) => return Err(error.into()),
                    Err(crate::ClaimError::Disk(error)) => return Err(error.into()),
                }
            }
            let garbage = Garbage::Download(download.digest);
            report.items.push(GcItem { garbage, size_bytes: download.length_bytes });
        }
        Ok(())
    }

    /// Lists what nothing needs, without any lock; for a look only.
    pub(crate) fn garbage(&self) -> Result<GcReport, DiskError> {
        let mut found = Found::find(&self.layout)?;
        let removals = std::mem::take(&mut found.unfinished_removals);
        Ok(GcReport {
            items: found.measure(&self.layout, &removals, true).into_iter().map(|thing| thing.item).collect(),
            damaged_images: found.damaged_images,
            damaged_mounts: found.damaged_mounts,
            missing_layers: found.missing_layers,
            failures: Vec::new(),
        })
    }
}

/// A thing that nothing needs, and where it lies.
struct Measured {
    item: GcItem,
    paths: Vec<PathBuf>,
}

impl Measured {
    fn is_among(&self, failures: &[DiskError]) -> bool {
        failures.iter().any(|failure| self.paths.iter().any(|path| failure.path.starts_with(path)))
    }
}

/// Everything that nothing needs, at one moment under the lock.
struct Found {
    /// Top first.
    layers: Vec<ChainId>,
    unfinished_removals: Vec<Removal>,
    dead_leases: Vec<(Option<Purpose>, Lease)>,
    directories: Vec<String>,
    links: Vec<String>,
    unpublished: Vec<PathBuf>,
    image_metadata: Vec<(String, u64)>,
    damaged_images: Vec<ImageId>,
    damaged_mounts: Vec<String>,
    missing_layers: Vec<ChainId>,
}

impl Found {
    fn find(layout: &Layout) -> Result<Found, DiskError> {
        // Everything is listed before the leases are read, and a lease is written before what it names is made; so a
        // thing that is listed and not named by a lease belongs to nobody.
        let overlay = durable::names(layout.overlay())?;
        let links = durable::names(&layout.links())?;
        let unpublished = unpublished(layout)?;
        let unfinished_removals = layers::unfinished(layout)?;
        let mut roots = Roots::find(layout)?;
        let in_use = directories_in_use(layout, &roots, &unfinished_removals)?;

        let damaged_mounts = mounts::damaged(layout)?;
        let mut missing_layers = roots.missing(layout)?;
        missing_layers.extend(layers::without_directory(layout)?);
        let is_orphan =
            |name: &String| is_known_kind(name) && !in_use.contains(name) && !roots.buildkit.names(name);
        let directories: Vec<_> = match damaged_mounts.is_empty() && missing_layers.is_empty() {
            true => overlay.iter().filter(|name| is_orphan(name)).cloned().collect(),
            false => Vec::new(),
        };
        let mut dangling = Vec::new();
        for link in links.into_iter().filter(|link| layout::is_link(link)) {
            if is_dangling(layout, &link, &directories)? && !is_leased_link(&roots, &link) {
                dangling.push(link);
            }
        }
        let leased: HashSet<_> =
            leased(&roots).filter_map(Purpose::staged_name).map(|name| layout.staging().join(name)).collect();
        let mut damaged_images = roots.damaged_images.clone();
        damaged_images.extend(named_and_gone(layout)?);
        let layers = match damaged_images.is_empty() {
            true => unneeded_layers(layout, &mut roots)?,
            false => Vec::new(),
        };
        Ok(Found {
            layers,
            unfinished_removals,
            dead_leases: std::mem::take(&mut roots.dead_leases),
            directories,
            links: dangling,
            unpublished: unpublished.into_iter().filter(|path| !leased.contains(path)).collect(),
            image_metadata: metadata_without_image(layout)?,
            damaged_images,
            damaged_mounts,
            missing_layers,
        })
    }

    fn measure(&self, layout: &Layout, removals: &[Removal], dry_run: bool) -> Vec<Measured> {
        let mut things: Vec<_> = self
            .image_metadata
            .iter()
            .map(|(name, size_bytes)| Measured {
                item: GcItem { garbage: Garbage::ImageMetadata(name.clone()), size_bytes: *size_bytes },
                paths: vec![layout.metadata_of_images().join(name)],
            })
            .collect();
        let mut push = |garbage, paths: Vec<PathBuf>| {
            let size_bytes = paths.iter().map(|path| durable::tree_size_bytes(path)).sum();
            things.push(Measured { item: GcItem { garbage, size_bytes }, paths });
        };
        let begun = if dry_run { 0 } else { self.layers.len() };
        let (unfinished, ours) = removals.split_at(removals.len() - begun);
        for removal in unfinished {
            push(Garbage::UnfinishedRemoval(removal.name()), removal.paths(layout));
        }
        for (index, chain) in self.layers.iter().enumerate() {
            let paths = match ours.get(index) {
                Some(removal) => removal.paths(layout),
                None => layers::paths(layout, *chain),
            };
            push(Garbage::Layer(*chain), paths);
        }
        for (purpose, _) in &self.dead_leases {
            if let Some(Purpose::NewLayer { cache_id, write_set, .. }) = purpose {
                let paths = vec![layout.cache(cache_id), layout.write_set(*write_set)];
                push(Garbage::UnfinishedLayer(cache_id.clone()), paths);
            }
        }
        for name in &self.directories {
            push(Garbage::OverlayDirectory(name.clone()), vec![layout.cache(name)]);
        }
        for link in &self.links {
            push(Garbage::Link(link.clone()), vec![layout.link(link)]);
        }
        for path in &self.unpublished {
            let name = path.strip_prefix(layout.root()).unwrap_or(path).to_owned();
            push(Garbage::Unpublished(name), vec![path.clone()]);
        }
        things
    }

    /// Removes everything but the layers and what was noted about images; returns what could not be removed.
    fn remove(self, layout: &Layout) -> Vec<DiskError> {
        let mut failures = sweep::remove_unfinished_layers(layout, self.dead_leases);
        failures.extend(self.unpublished.iter().filter_map(|path| durable::remove_tree(path).err()));
        let remove_directory = |name: &String| layers::remove_directory(layout, name).err();
        failures.extend(self.directories.iter().filter_map(remove_directory));
        let remove_link = |link: &String| durable::remove_file(&layout.link(link)).err();
        failures.extend(self.links.iter().filter_map(remove_link));
        failures
    }
}

/// Lists the images that have a name and no config. Names that cannot be read name nothing here: what images need, their
/// configs say.
fn named_and_gone(layout: &Layout) -> Result<Vec<ImageId>, DiskError> {
    let references = match references::read(layout) {
        Ok(references) => references,
        Err(ReferencesError::Disk(error)) => return Err(error),
        Err(ReferencesError::Damaged { .. }) => return Ok(Vec::new()),
    };
    let mut gone = Vec::new();
    for (_, image) in references.iter() {
        if !gone.contains(&image) && durable::metadata(&layout.content(image))?.is_none() {
            gone.push(image);
        }
    }
    Ok(gone)
}

/// Lists what living processes work on, and what we took over from dead ones.
fn leased(roots: &Roots) -> impl Iterator<Item = &Purpose> {
    roots.leases.iter().chain(roots.dead_leases.iter().filter_map(|(purpose, _)| purpose.as_ref()))
}

fn is_leased_link(roots: &Roots, link: &str) -> bool {
    leased(roots).any(|purpose| match purpose {
        Purpose::NewLayer { link: leased, .. } => leased == link,
        Purpose::Mount { link: leased, init_link, .. } => leased == link || init_link == link,
        Purpose::Staging { .. } | Purpose::Hold { .. } => false,
    })
}

/// Lists the directories below `overlay2` that something names.
fn directories_in_use(
    layout: &Layout,
    roots: &Roots,
    removals: &[Removal],
) -> Result<HashSet<String>, DiskError> {
    let mut in_use = layers::cache_ids(layout)?;
    for mount in &roots.mounts {
        // The init directory goes with the container even if the file that names it does not say so.
        in_use.extend(mount.mount_id.iter().map(|id| format!("{id}-init")));
        in_use.extend(mount.mount_id.iter().chain(&mount.init_id).cloned());
    }
    in_use.extend(leased(roots).flat_map(|purpose| match purpose {
        Purpose::NewLayer { cache_id, .. } => vec![cache_id.clone()],
        Purpose::Mount { mount_id, .. } => vec![mount_id.clone(), format!("{mount_id}-init")],
        Purpose::Staging { .. } | Purpose::Hold { .. } => Vec::new(),
    }));
    for removal in removals {
        in_use.extend(removal.cache_id()?);
    }
    Ok(in_use)
}

/// Whether Docker, BuildKit or Shale makes directories of such a name below `overlay2`; others are not ours to judge.
fn is_known_kind(name: &str) -> bool {
    let id = name.strip_suffix("-init").unwrap_or(name);
    let is_cache_id = id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_buildkit = name.len() == 25 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z'));
    let is_probe = ["opaque-bug-check", "metacopy-check", "check-overlayfs-support"].iter().any(|probe| {
        name.strip_prefix(probe).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    });
    is_cache_id || is_buildkit || is_probe
}

/// Whether a symlink below `l/` leads to a directory that is not there, or goes.
fn is_dangling(layout: &Layout, link: &str, orphans: &[String]) -> Result<bool, DiskError> {
    let Some(target) = durable::read_link(&layout.link(link))? else { return Ok(false) };
    let cache_id = target
        .to_str()
        .and_then(|target| target.strip_prefix("../")?.strip_suffix("/diff"))
        .filter(|cache_id| layout::is_cache_id(cache_id));
    let Some(cache_id) = cache_id else { return Ok(false) };
    Ok(orphans.iter().any(|orphan| orphan == cache_id)
        || durable::metadata(&layout.cache(cache_id))?.is_none())
}

/// Lists what stands where files are written before they are renamed, in Docker's places and in ours.
fn unpublished(layout: &Layout) -> Result<Vec<PathBuf>, DiskError> {
    let staging = layout.staging();
    let mut found: Vec<_> = durable::names(&staging)?.iter().map(|name| staging.join(name)).collect();
    let mut places = vec![layout.image().to_owned(), layout.contents()];
    for directory in [layout.metadata_of_images(), layout.distribution()] {
        places.extend(durable::names(&directory)?.iter().map(|name| directory.join(name)));
    }
    let by_algorithm: Vec<_> = places.iter().map(|place| place.join("sha256")).collect();
    for place in places.into_iter().chain(by_algorithm) {
        let names = durable::names(&place)?;
        found.extend(names.iter().filter(|name| name.starts_with(".tmp-")).map(|name| place.join(name)));
    }
    Ok(found)
}

fn metadata_without_image(layout: &Layout) -> Result<Vec<(String, u64)>, DiskError> {
    let images: HashSet<String> = durable::names(&layout.contents())?.into_iter().collect();
    let directory = layout.metadata_of_images();
    let mut orphans = durable::names(&directory)?;
    orphans.retain(|name| format!("sha256:{name}").parse::<ImageId>().is_ok() && !images.contains(name));
    Ok(orphans
        .into_iter()
        .map(|name| {
            let size_bytes = durable::tree_size_bytes(&directory.join(&name));
            (name, size_bytes)
        })
        .collect())
}

/// Lists the layers that nothing needs, each before the one below it.
fn unneeded_layers(layout: &Layout, roots: &mut Roots) -> Result<Vec<ChainId>, DiskError> {
    let reachable = roots.reachable();
    let mut left = layers::chains(layout)?;
    left.retain(|chain| !reachable.contains(chain));
    left.sort_unstable();
    let mut sorted = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let mut tops: Vec<_> = left.iter().copied().filter(|chain| !roots.is_needed(*chain)).collect();
        if tops.is_empty() {
            // Damaged layers that stand on each other in a circle.
            tops.clone_from(&left);
        }
        for top in &tops {
            let parent = durable::read(&layout.layer(*top).join("parent"))?;
            if let Some(parent) = parent.as_deref().and_then(layers::parse_trimmed) {
                roots.forget_child(parent, *top);
            }
        }
        left.retain(|chain| !tops.contains(chain));
        sorted.extend(tops);
    }
    Ok(sorted)
}
