//! What an archive says about its images, checked as far as that goes without their layers.

use std::collections::HashMap;
use std::sync::Arc;

use shale_oci::{ChainId, DiffId, Digest, HistoryEntry, ImageConfig, ImageId, Platform, Reference};
use shale_store::LAYERS_MAX;

use super::{Links, LoadError, Members, docker, oci};

/// The configs of one load together, for they stay in memory until they are written. Most have some kilobytes.
pub(super) const CONFIGS_BYTES_MAX: u64 = 64 << 20;

/// What is to be loaded.
pub(super) struct Plan {
    /// Each image once, as the archive first names them.
    pub images: Vec<Arc<PlannedImage>>,
    /// In the archive's order.
    pub entries: Vec<PlannedEntry>,
}

/// A place where the archive names an image; several may name the same.
pub(super) struct PlannedEntry {
    pub image: Arc<PlannedImage>,
    pub names: Vec<Reference>,
    /// Where the archive says that the image was built upon another one.
    pub parent: Option<ImageId>,
}

/// An image that the archive describes. Of its config only the bytes are kept: read, a hostile one is many times larger.
pub(super) struct PlannedImage {
    pub config_bytes: Vec<u8>,
    pub id: ImageId,
    pub layers: Vec<PlannedLayer>,
    history: History,
    /// Whether it is for the platform that was asked for.
    is_wanted: bool,
}

/// A layer and where it stands in the archive.
#[derive(Debug, Clone)]
pub(super) struct PlannedLayer {
    pub diff_id: DiffId,
    pub chain_id: ChainId,
    /// The layers below.
    pub parent: Option<ChainId>,
    pub member: String,
    pub links: Links,
    /// What the member must be, in an OCI layout.
    pub blob: Option<Digest>,
}

/// The steps in the making of an image, as digests.
struct History {
    all: Digest,
    /// Without the last step; nothing where there is none.
    but_last: Option<Digest>,
}

impl History {
    fn of(steps: &[HistoryEntry]) -> History {
        let digest =
            |steps| Digest::sha256(&serde_json::to_vec(steps).expect("steps are texts and a boolean"));
        History { all: digest(steps), but_last: steps.split_last().map(|(_, before)| digest(before)) }
    }

    /// Whether an image of this history was built by one step upon one of the history `parent`.
    ///
    /// Source: moby `image/tarexport/load.go`, `checkValidParent`, at v20.10.24.
    fn is_one_step_upon(&self, parent: &History) -> bool {
        match self.but_last {
            Some(but_last) => but_last == parent.all,
            None => parent.but_last.is_none(),
        }
    }
}

impl PlannedImage {
    /// Whether the histories say that this image was built by one step upon `parent`.
    pub fn is_one_step_upon(&self, parent: &PlannedImage) -> bool {
        self.history.is_one_step_upon(&parent.history)
    }
}

/// The images that are known so far, each config read once however many entries name it.
pub(super) struct PlannedImages<'p> {
    platform: Option<&'p Platform>,
    images: Vec<Arc<PlannedImage>>,
    /// By the member of the config.
    by_member: HashMap<String, Arc<PlannedImage>>,
    configs_bytes: u64,
}

impl PlannedImages<'_> {
    /// Returns the image whose config is `member`.
    pub fn find(&self, member: &str) -> Option<Arc<PlannedImage>> {
        self.by_member.get(member).map(Arc::clone)
    }

    /// Checks a config and pairs its diff IDs with the members of the manifest.
    pub fn add(
        &mut self,
        member: String,
        config_bytes: Vec<u8>,
        id: ImageId,
        members: impl ExactSizeIterator<Item = (String, Links, Option<Digest>)>,
    ) -> Result<Arc<PlannedImage>, LoadError> {
        self.configs_bytes += config_bytes.len() as u64;
        if self.configs_bytes > CONFIGS_BYTES_MAX {
            return Err(LoadError::ConfigsTooLarge);
        }
        let config = ImageConfig::parse(&config_bytes)?;
        if config.os_or_linux() != "linux" {
            return Err(LoadError::OperatingSystem(config.os));
        }
        let diff_ids = &config.rootfs.diff_ids;
        check_layer_count(diff_ids.len(), members.len())?;
        if diff_ids.len() > LAYERS_MAX {
            return Err(LoadError::TooManyLayers(diff_ids.len()));
        }
        let chains = ChainId::stack(diff_ids);
        let parents = std::iter::once(None).chain(chains.iter().copied().map(Some));
        let layers = chains
            .iter()
            .zip(parents)
            .zip(diff_ids.iter().zip(members))
            .map(|((chain_id, parent), (diff_id, (member, links, blob)))| PlannedLayer {
                diff_id: *diff_id,
                chain_id: *chain_id,
                parent,
                member,
                links,
                blob,
            })
            .collect();
        let is_suitable = |wanted: &Platform| wanted.choose([Some(&config.platform())].into_iter()).is_some();
        let image = Arc::new(PlannedImage {
            id,
            layers,
            history: History::of(&config.history),
            is_wanted: self.platform.is_none_or(is_suitable),
            config_bytes,
        });
        self.images.push(Arc::clone(&image));
        self.by_member.insert(member, Arc::clone(&image));
        Ok(image)
    }
}

/// Refuses a manifest that does not pair with its config.
pub(super) fn check_layer_count(config: usize, manifest: usize) -> Result<(), LoadError> {
    if config == manifest { Ok(()) } else { Err(LoadError::LayerCount { config, manifest }) }
}

/// Reads what the archive says; with a `platform` only images for it count.
pub(super) fn plan(members: &Members, platform: Option<&Platform>) -> Result<Plan, LoadError> {
    let mut planned =
        PlannedImages { platform, images: Vec::new(), by_member: HashMap::new(), configs_bytes: 0 };
    let mut entries = if members.has("manifest.json") {
        docker::plan(members, &mut planned)?
    } else if members.has("index.json") {
        oci::plan(members, platform, &mut planned)?
    } else if members.has("repositories") {
        return Err(LoadError::Legacy);
    } else {
        return Err(LoadError::NoManifest);
    };
    if entries.is_empty() {
        return Err(LoadError::NoImage);
    }
    let mut images = planned.images;
    images.retain(|image| image.is_wanted);
    entries.retain(|entry| entry.image.is_wanted);
    match platform {
        Some(wanted) if entries.is_empty() => Err(LoadError::NoMatchingPlatform(wanted.clone())),
        _ => Ok(Plan { images, entries }),
    }
}
