//! Deleting an image and the layers that nobody else needs.

use shale_oci::{ChainId, ImageId};

use super::{ImageError, read};
use crate::Store;
use crate::durable::{self, DiskError};
use crate::layers;
use crate::lock::AccessError;
use crate::reach::Roots;
use crate::references::ReferencesError;

/// Why [`Store::remove_image`] did not delete the image.
#[derive(Debug, thiserror::Error)]
pub enum RemoveImageError {
    /// The image is not in the store.
    #[error("no such image: {0}")]
    NoSuchImage(ImageId),
    /// A name points at the image; take it away first.
    #[error("image {0} is still referenced")]
    Referenced(ImageId),
    /// The names cannot be read, so it is not known whether one points at the image.
    #[error(transparent)]
    References(#[from] ReferencesError),
    /// The store may not be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The disk failed; what was not deleted is found by gc.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What [`Store::remove_image`] deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedImage {
    /// The image.
    pub id: ImageId,
    /// The layers that went with it, top first.
    pub layers: Vec<ChainId>,
}

impl Store {
    /// Deletes an image without names, top down: its children's notes of it, its metadata, its config, then each layer
    /// that no other image, layer, container or living process needs.
    ///
    /// # Errors
    /// [`RemoveImageError`]; before [`RemoveImageError::Disk`] the image may be gone and layers of it be left for gc.
    pub fn remove_image(&self, id: ImageId) -> Result<RemovedImage, RemoveImageError> {
        let commit = self.commit()?;
        let layout = &self.layout;
        if durable::metadata(&layout.content(id))?.is_none() {
            return Err(RemoveImageError::NoSuchImage(id));
        }
        if self.references()?.names_image(id) {
            return Err(RemoveImageError::Referenced(id));
        }
        let top = match read::read_content(layout, id) {
            Ok(content) => content.and_then(|content| content.top()),
            Err(ImageError::Disk(error)) => return Err(error.into()),
            // Damaged: what its layers were is not known; gc finds them.
            Err(_) => None,
        };
        self.forget_parent(id)?;
        durable::remove_tree(&layout.metadata(id))?;
        durable::remove_file(&layout.content(id))?;
        // The config is off the disk before the first layer goes.
        durable::sync_dir(&layout.contents())?;
        let (removed, removals) = self.remove_layers_from(top)?;
        drop(commit);
        first(layers::finish_removals(layout, removals))?;
        Ok(RemovedImage { id, layers: removed })
    }

    /// Deletes the layers from `top` downwards as far as no image, other layer, container or living process needs them:
    /// what stays when the last container of a deleted image goes.
    ///
    /// # Errors
    /// [`RemoveImageError::Access`] and [`RemoveImageError::Disk`]; what is left is gc's.
    pub fn remove_unneeded_layers(&self, top: ChainId) -> Result<Vec<ChainId>, RemoveImageError> {
        let commit = self.commit()?;
        let (removed, removals) = self.remove_layers_from(Some(top))?;
        drop(commit);
        first(layers::finish_removals(&self.layout, removals))?;
        Ok(removed)
    }

    /// Takes `id` away from the images that were built upon it.
    fn forget_parent(&self, id: ImageId) -> Result<(), DiskError> {
        let directory = self.layout.metadata_of_images();
        let text = id.to_string();
        for name in durable::names(&directory)? {
            let path = directory.join(name).join("parent");
            if durable::read(&path)?.is_some_and(|parent| parent.trim_ascii() == text.as_bytes()) {
                durable::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Takes the names off the layers from `top` downwards until one is needed; the caller holds the lock.
    fn remove_layers_from(
        &self,
        top: Option<ChainId>,
    ) -> Result<(Vec<ChainId>, Vec<layers::Removal>), DiskError> {
        let Some(top) = top else { return Ok(Default::default()) };
        let mut roots = Roots::find(&self.layout)?;
        let (mut removed, mut removals) = (Vec::new(), Vec::new());
        let mut next = Some(top);
        while let Some(chain) = next {
            let Ok(Some(layer)) = layers::read(&self.layout, chain) else { break };
            if roots.is_needed(chain) {
                break;
            }
            removals.push(layers::begin_removal(&self.layout, chain)?);
            removed.push(chain);
            next = layer.parent;
            if let Some(parent) = next {
                roots.forget_child(parent, chain);
            }
        }
        if !removed.is_empty() {
            durable::sync_dir(&self.layout.layers())?;
        }
        Ok((removed, removals))
    }
}

fn first(failures: Vec<DiskError>) -> Result<(), DiskError> {
    failures.into_iter().next().map_or(Ok(()), Err)
}
