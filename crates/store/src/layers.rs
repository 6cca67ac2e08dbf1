//! Layers: `layerdb/sha256/<chain id>` and `overlay2/<cache id>`.
//!
//! Promise: a directory below `layerdb/sha256` appears whole and durable, bottom up, and goes top down.
//! Not here: tar, tar-split's lines, the files of a layer.

mod check;
mod hold;
mod mend;
mod mount;
mod publish;
mod read;
mod remove;
mod write;

use std::path::PathBuf;

use shale_oci::{ChainId, DiffId};

use crate::durable::DiskError;

pub use check::LayerDamage;
pub(crate) use check::{damages, expected_lower};
pub use hold::{HeldLayer, HeldLayers, HoldError};
pub use mend::MendError;
pub use mount::{MountError, MountedLayer};
pub(crate) use publish::{LayerPlan, name, plan, write_positions};
pub use publish::{NewLayer, PublishError, PublishedLayers};
pub(crate) use read::{Index, chains, parse_trimmed, read, read_link_id};
pub(crate) use remove::{
    Removal, begin_removal, cache_ids, finish_removals, paths, remove_directory, remove_link, unfinished,
    without_directory,
};
pub(crate) use write::remove_parts;
pub use write::{BeginLayerError, FinishLayerError, FinishedLayer, LayerWriter};

/// Docker registers no image with more layers.
///
/// Source: moby `layer/layer_store.go`, `maxLayerDepth`.
pub const LAYERS_MAX: usize = 125;

/// A published layer that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Names the layer together with all layers below it.
    pub chain_id: ChainId,
    /// Digest of the layer's tar.
    pub diff_id: DiffId,
    /// The chain below; `None` for a bottom layer.
    pub parent: Option<ChainId>,
    /// Name of the directory below `overlay2/`.
    pub cache_id: String,
    /// What the `size` file says: the bytes of the layer's files.
    pub size_bytes: u64,
}

/// Why a layer that is there cannot be loaded; Docker then acts as if it were not there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LayerError {
    /// The `diff` file is missing or holds no digest.
    #[error("layer {chain} has no readable diff ID")]
    DiffId {
        /// The layer.
        chain: ChainId,
    },
    /// The `size` file is missing or is not a plain number; white space counts.
    #[error("layer {chain} has no readable size")]
    Size {
        /// The layer.
        chain: ChainId,
    },
    /// The `cache-id` file is missing, empty, or no name of a directory.
    #[error("layer {chain} has no readable cache ID")]
    CacheId {
        /// The layer.
        chain: ChainId,
    },
    /// The `parent` file holds no digest.
    #[error("layer {chain} has an unreadable parent")]
    Parent {
        /// The layer.
        chain: ChainId,
    },
    /// The `descriptor.json` is not JSON.
    #[error("layer {chain} has an unreadable descriptor.json")]
    Descriptor {
        /// The layer.
        chain: ChainId,
    },
    /// The layer below is missing or cannot be loaded either.
    #[error("layer {chain} stands on layer {parent}, which cannot be loaded")]
    BrokenParent {
        /// The layer.
        chain: ChainId,
        /// The layer below it.
        parent: ChainId,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The paths that overlayfs needs to mount a layer, and that `docker inspect` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayPaths {
    /// The `diff` directories of the layers below, nearest first.
    pub lower: Vec<PathBuf>,
    /// The layer's own `diff`.
    pub upper: PathBuf,
    /// The work directory; a bottom layer has none on the disk.
    pub work: PathBuf,
    /// Where Docker mounts the layer.
    pub merged: PathBuf,
}
