//! Giving an image another name.

use jiff::Zoned;
use shale_oci::{ImageId, Reference, ReferenceError};
use shale_store::{ChangeReferencesError, ImageMetadataError};

use super::find::FindError;
use crate::Engine;

/// Why an image got no name. The messages are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    /// The image is not there.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The new name follows no grammar.
    #[error("Error parsing reference: {0:?} is not a valid repository/tag: {1}")]
    Reference(String, ReferenceError),
    /// A digest is given by content, not by people.
    #[error("refusing to create a tag with a digest reference")]
    Digest,
    /// A name that could be taken for a digest.
    #[error("refusing to create an ambiguous tag using digest algorithm as name")]
    Ambiguous,
    /// The name could not be set.
    #[error(transparent)]
    References(#[from] ChangeReferencesError),
    /// The time of tagging could not be written.
    #[error(transparent)]
    Metadata(#[from] ImageMetadataError),
}

impl Engine {
    /// Names the image `source` as `target`; another image of that name loses it.
    ///
    /// # Errors
    /// [`TagError`].
    pub fn tag(&self, source: &str, target: &str, now: &Zoned) -> Result<(), TagError> {
        let target = parse_tag_target(target)?;
        let image = self.find_image(source)?.id;
        match self.tag_image(image, &target, now) {
            // Removed since it was found.
            Err(TagError::References(ChangeReferencesError::NoSuchImage(_))) => {
                Err(FindError::NoSuchImage(source.to_owned()).into())
            }
            tagged => tagged.map(drop),
        }
    }

    /// Names `image` as `target`; returns the image that had the name before.
    ///
    /// # Errors
    /// [`TagError`].
    pub fn tag_image(
        &self,
        image: ImageId,
        target: &Reference,
        now: &Zoned,
    ) -> Result<Option<ImageId>, TagError> {
        let before = self.store.tag(target.repository.familiar(), &target.familiar(), image)?;
        self.store.set_last_updated(image, now)?;
        Ok(before.filter(|before| *before != image))
    }
}

/// Parses a name to give; a missing tag is `latest`.
///
/// # Errors
/// [`TagError::Reference`], [`TagError::Digest`] or [`TagError::Ambiguous`].
pub fn parse_tag_target(text: &str) -> Result<Reference, TagError> {
    let target = Reference::parse(text).map_err(|error| TagError::Reference(text.to_owned(), error))?;
    if target.digest.is_some() {
        return Err(TagError::Digest);
    }
    if target.repository.familiar() == "sha256" {
        return Err(TagError::Ambiguous);
    }
    Ok(target.or_latest())
}
