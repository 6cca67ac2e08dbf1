//! Keeping an image's layers while they are read.

use shale_oci::ImageId;
use shale_store::{HeldLayer, HoldError, Image, ImageError};

use crate::Engine;

/// An image whose layers no process deletes before this is dropped, if the store was opened for writing.
#[must_use = "a dropped hold lets others delete the layers"]
pub(crate) struct HeldImage {
    pub(crate) image: Image,
    _top: Option<HeldLayer>,
}

impl Engine {
    /// Returns the image `id` and holds its layers; `None` when it is not there, or is being removed.
    ///
    /// # Errors
    /// When it is damaged, or the hold cannot be written.
    pub(crate) fn hold_image<E>(&self, id: ImageId) -> Result<Option<HeldImage>, E>
    where
        E: From<ImageError> + From<HoldError>,
    {
        let Some(image) = self.store.image(id)? else { return Ok(None) };
        // On a disk that cannot be written nobody deletes anything.
        let Some(top) = image.top().filter(|_| self.store.is_writable()) else {
            return Ok(Some(HeldImage { image, _top: None }));
        };
        let Some(held) = self.store.hold_layer(top)? else {
            return match self.store.image_config(id)? {
                None => Ok(None),
                Some(_) => Err(ImageError::LayerMissing { id, chain: top }.into()),
            };
        };
        // Before the hold it may have been removed and pulled again, into other directories.
        Ok(self.store.image(id)?.map(|image| HeldImage { image, _top: Some(held) }))
    }
}
