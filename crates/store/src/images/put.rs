//! Storing a config.

use shale_oci::{ChainId, Digest, ImageId};

use super::metadata::{self, ImageMetadataError};
use super::{ImageError, read};
use crate::Store;
use crate::durable::{self, DiskError};
use crate::layers::{Index, LayerError};
use crate::lock::AccessError;
use crate::references::{self, ChangeReferencesError, ReferenceChange};

/// What [`Store::put_image`] notes beside the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PutImage {
    /// The image this one was built upon.
    pub parent: Option<ImageId>,
    /// Whether it was built or committed here.
    pub built_locally: bool,
}

impl PutImage {
    /// Returns the files beside the config: their names and what is in them.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, Vec<u8>)> + use<> {
        let built_locally = self.built_locally.then(|| ("builtLocally", vec![1]));
        let parent = self.parent.map(|parent| ("parent", parent.to_string().into_bytes()));
        built_locally.into_iter().chain(parent)
    }
}

/// Why [`Store::put_image`] stored nothing.
#[derive(Debug, thiserror::Error)]
pub enum PutImageError {
    /// The config is not one that Docker would take.
    #[error(transparent)]
    Image(ImageError),
    /// A layer that the config names is not in the store; publish the layers first.
    #[error("layer does not exist: {0}")]
    LayerMissing(ChainId),
    /// A layer that the config names cannot be loaded.
    #[error(transparent)]
    Layer(LayerError),
    /// The metadata could not be written; the image is there without it.
    #[error(transparent)]
    Metadata(#[from] ImageMetadataError),
    /// The names could not be changed; the image is there without them.
    #[error(transparent)]
    References(#[from] ChangeReferencesError),
    /// The store may not be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Store {
    /// Stores the config of an image whose layers are published, and returns its ID: the SHA-256 of `config`.
    ///
    /// A config that is there already is written again only if its bytes are damaged.
    ///
    /// # Errors
    /// [`PutImageError`]; the image is not there, unless only its metadata is missing.
    pub fn put_image(&self, config: &[u8], put: PutImage) -> Result<ImageId, PutImageError> {
        self.put_named_image(config, put, &[])
    }

    /// As [`Store::put_image`], and changes names in the same commit; so that no other process, which may be removing
    /// an image of the same ID, sees the image without a name and takes it away before it is named.
    ///
    /// # Errors
    /// [`PutImageError`]; the image is not there, unless only its metadata or its names are missing.
    pub fn put_named_image(
        &self,
        config: &[u8],
        put: PutImage,
        names: &[ReferenceChange<'_>],
    ) -> Result<ImageId, PutImageError> {
        references::check_names(names)?;
        let id = ImageId::new(Digest::sha256(config));
        let diff_ids = read::parse_config(id, config).map_err(PutImageError::Image)?;
        let _commit = self.commit()?;
        // Under the lock: nobody takes the layers away between this look and the config's name.
        let mut index = Index::new(&self.layout);
        for chain in ChainId::stack(&diff_ids) {
            match index.load(chain) {
                Ok(Some(_)) => {}
                Ok(None) => return Err(PutImageError::LayerMissing(chain)),
                Err(error) => return Err(PutImageError::Layer(error)),
            }
        }
        let path = self.layout.content(id);
        if durable::read(&path)?.as_deref() != Some(config) {
            durable::replace(self.layout.staging(), path, config, 0o600)?;
        }
        for (key, value) in put.files() {
            metadata::write(&self.layout, id, key, &value)?;
        }
        if !names.is_empty() {
            self.change_references_locked(names)?;
        }
        Ok(id)
    }
}
