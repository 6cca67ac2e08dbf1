//! Whether a layer that loads can also be mounted and packed, without reading its files.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use shale_oci::ChainId;

use super::{Layer, read};
use crate::Store;
use crate::durable::{self, DiskError};
use crate::layout::{self, Layout};

/// What is wrong with a layer that Docker nevertheless loads.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LayerDamage {
    /// The directory with the files is not there.
    #[error("layer {chain} has no directory {}", path.display())]
    Diff {
        /// The layer.
        chain: ChainId,
        /// The directory.
        path: PathBuf,
    },
    /// The `link` file is missing, empty or no link ID; containers cannot start on the layer.
    #[error("layer {chain} has no readable link file")]
    LinkFile {
        /// The layer.
        chain: ChainId,
    },
    /// The symlink below `l/` is missing or points elsewhere; containers cannot start on the layer.
    #[error("the link l/{link} of layer {chain} does not lead to its directory")]
    Link {
        /// The layer.
        chain: ChainId,
        /// The link's name.
        link: String,
    },
    /// The `lower` file does not name the layers below; containers see other files than they should.
    #[error("the lower file of layer {chain} does not name the layers below it")]
    Lower {
        /// The layer.
        chain: ChainId,
    },
    /// The tar-split record is missing or empty; the layer cannot be pushed or saved.
    #[error("layer {chain} has no tar-split record")]
    TarSplit {
        /// The layer.
        chain: ChainId,
    },
    /// The chain ID is not the digest of parent and diff ID.
    #[error("layer {chain} has a diff ID or a parent that does not belong to its name")]
    ChainId {
        /// The layer.
        chain: ChainId,
    },
    /// The layer below is missing or cannot be loaded.
    #[error("layer {chain} stands on layer {parent}, which cannot be loaded")]
    Parent {
        /// The layer.
        chain: ChainId,
        /// The layer below it.
        parent: ChainId,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Store {
    /// Checks a layer against all that can be seen without reading its files; a dozen system calls.
    ///
    /// # Errors
    /// [`LayerDamage`], the first found.
    pub fn check_layer(&self, layer: &Layer) -> Result<(), LayerDamage> {
        match damages(&self.layout, layer).into_iter().next() {
            Some(damage) => Err(damage),
            None => Ok(()),
        }
    }
}

/// Lists all that is wrong with a layer that loads.
pub(crate) fn damages(layout: &Layout, layer: &Layer) -> Vec<LayerDamage> {
    [check_chain_id(layer), check_diff(layout, layer), check_link(layout, layer), check_lower(layout, layer)]
        .into_iter()
        .chain([check_tar_split(layout, layer)])
        .filter_map(Result::err)
        .collect()
}

fn check_chain_id(layer: &Layer) -> Result<(), LayerDamage> {
    match ChainId::on(layer.parent, layer.diff_id) == layer.chain_id {
        true => Ok(()),
        false => Err(LayerDamage::ChainId { chain: layer.chain_id }),
    }
}

fn check_diff(layout: &Layout, layer: &Layer) -> Result<(), LayerDamage> {
    let path = layout.cache(&layer.cache_id).join("diff");
    match durable::metadata(&path)? {
        Some(metadata) if metadata.is_dir() => Ok(()),
        _ => Err(LayerDamage::Diff { chain: layer.chain_id, path }),
    }
}

fn check_link(layout: &Layout, layer: &Layer) -> Result<(), LayerDamage> {
    let chain = layer.chain_id;
    let link = read::read_link_id(layout, &layer.cache_id)?.ok_or(LayerDamage::LinkFile { chain })?;
    match durable::read_link(&layout.link(&link))? {
        Some(target) if target.as_os_str() == layout::link_target(&layer.cache_id).as_str() => Ok(()),
        _ => Err(LayerDamage::Link { chain, link }),
    }
}

fn check_lower(layout: &Layout, layer: &Layer) -> Result<(), LayerDamage> {
    let chain = layer.chain_id;
    let lower = durable::read(&layout.cache(&layer.cache_id).join("lower"))?;
    let Some(parent) = layer.parent else {
        return match lower {
            None => Ok(()),
            Some(_) => Err(LayerDamage::Lower { chain }),
        };
    };
    let parent = match read::read(layout, parent) {
        Ok(Some(layer)) => layer,
        _ => return Err(LayerDamage::Parent { chain, parent }),
    };
    match expected_lower(layout, &parent)? {
        Some(expected) if lower.as_deref() == Some(expected.as_bytes()) => Ok(()),
        Some(_) if lower.is_none() && hides_all_below(&layout.cache(&layer.cache_id))? => Ok(()),
        _ => Err(LayerDamage::Lower { chain }),
    }
}

fn check_tar_split(layout: &Layout, layer: &Layer) -> Result<(), LayerDamage> {
    match durable::metadata(&layout.layer(layer.chain_id).join("tar-split.json.gz"))? {
        Some(metadata) if metadata.is_file() && metadata.len() > 0 => Ok(()),
        _ => Err(LayerDamage::TarSplit { chain: layer.chain_id }),
    }
}

/// Returns what the `lower` file of a layer on top of `parent` says; `None` when the parent's own link is damaged.
pub(crate) fn expected_lower(layout: &Layout, parent: &Layer) -> Result<Option<String>, DiskError> {
    let Some(link) = read::read_link_id(layout, &parent.cache_id)? else { return Ok(None) };
    let below = durable::read(&layout.cache(&parent.cache_id).join("lower"))?;
    Ok(match below.map(String::from_utf8) {
        None => Some(format!("l/{link}")),
        Some(Ok(below)) => Some(format!("l/{link}:{below}")),
        Some(Err(_)) => None,
    })
}

/// Returns whether the layer in an `overlay2` directory has an opaque marker at its root: nothing below it shows.
///
/// Overlayfs takes no notice of the mark there, so such a layer gets no `lower` file, and the layers above name none that
/// are below it. Docker writes them all the same, and shows what the layer hides; such a root is left as it is.
pub(crate) fn hides_all_below(directory: &Path) -> Result<bool, DiskError> {
    let diff = directory.join("diff");
    let mut value = [0; 1];
    for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
        match rustix::fs::lgetxattr(&diff, name, &mut value) {
            Ok(1) if value == *b"y" => return Ok(true),
            Err(Errno::IO) => return Err(DiskError::new("read", &diff, Errno::IO)),
            // Not there, not permitted to look, longer: not the mark.
            _ => {}
        }
    }
    Ok(false)
}
