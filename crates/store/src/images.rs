//! Images: `imagedb/content` and `imagedb/metadata`.
//!
//! Promise: a config is stored and returned byte for byte, and its digest is taken again on each read.
//! Not here: names of images, and what a config says beyond its layers.

mod metadata;
mod publish;
mod put;
mod read;
mod remove;

use shale_oci::{ChainId, DiffId, ImageId};

use crate::durable::DiskError;
use crate::layers::{Layer, LayerError};

pub use metadata::ImageMetadataError;
pub use publish::{NewImage, Publication, PublishImagesError, Published, UnsyncedNames};
pub use put::{PutImage, PutImageError};
pub use read::ResolveError;
pub(crate) use read::{ids, read_content};
pub use remove::{RemoveImageError, RemovedImage};

/// An image that can be used: its config is what its name says, and its layers can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of the config.
    pub id: ImageId,
    /// The config, byte for byte.
    pub config: Vec<u8>,
    /// The layers' diff IDs as the config has them, bottom first.
    pub diff_ids: Vec<DiffId>,
    /// The layers, bottom first.
    pub layers: Vec<Layer>,
    /// The image this one was built upon here; not set by pull.
    pub parent: Option<ImageId>,
    /// When the image was last tagged, as RFC 3339 text.
    pub last_updated: Option<String>,
    /// Whether it was built or committed here.
    pub built_locally: bool,
}

/// An image that is in the store, usable or not.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// The name of its content file.
    pub id: ImageId,
    /// The image, or why Docker would not list it.
    pub image: Result<Image, ImageError>,
}

impl Image {
    /// Returns the chain ID of the top layer; `None` for an image without layers.
    pub fn top(&self) -> Option<ChainId> {
        self.layers.last().map(|layer| layer.chain_id)
    }

    /// Returns the sum of the layers' sizes.
    pub fn size_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size_bytes).sum()
    }
}

/// Why Docker would not restore an image that is there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImageError {
    /// The content does not have the digest that names it.
    #[error("failed to verify: {id}: the content has another digest")]
    Content {
        /// The image.
        id: ImageId,
    },
    /// The config is not JSON, or has no `rootfs`.
    #[error("the config of image {id} is invalid: {reason}")]
    Config {
        /// The image.
        id: ImageId,
        /// What is wrong with it.
        reason: String,
    },
    /// The image is for another operating system than Linux.
    #[error("image {id} is for the operating system {os}")]
    OperatingSystem {
        /// The image.
        id: ImageId,
        /// What the config says.
        os: String,
    },
    /// A layer of it is not there.
    #[error("layer does not exist: {chain}, of image {id}")]
    LayerMissing {
        /// The image.
        id: ImageId,
        /// The lowest layer that is missing.
        chain: ChainId,
    },
    /// A layer of it is there but cannot be loaded.
    #[error("image {id} cannot be used")]
    Layer {
        /// The image.
        id: ImageId,
        /// What is wrong with the layer.
        source: LayerError,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
