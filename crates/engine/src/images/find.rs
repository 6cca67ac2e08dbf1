//! From what a person types to an image.

use shale_oci::{Digest, ImageId, Reference, ReferenceError};
use shale_store::{Image, ImageError, References, ReferencesError, ResolveError};

use crate::Engine;

/// Why a text names no image of the store. The first message is Docker's.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nothing of that name or ID.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// The text is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Several IDs begin with the text.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The names could not be read.
    #[error(transparent)]
    References(#[from] ReferencesError),
    /// The image is there, but it is damaged.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// An image and how it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The image.
    pub id: ImageId,
    /// The name that was typed, if it was a name and not an ID.
    pub name: Option<Reference>,
}

impl Engine {
    /// Finds the image that `text` names: a reference, an ID, or the begin of an ID.
    ///
    /// # Errors
    /// [`FindError`].
    ///
    /// Source: moby daemon/images/image.go `GetImage` at v20.10.24.
    pub fn find_image(&self, text: &str) -> Result<Found, FindError> {
        self.find_image_among(self.store.references()?.as_ref(), text)
    }

    /// As [`Engine::find_image`], with names that were read before.
    pub(crate) fn find_image_among(&self, references: &References, text: &str) -> Result<Found, FindError> {
        if let Some(id) = full_id(text) {
            let missing = || FindError::NoSuchImage(text.to_owned());
            return self.store.image(id)?.map(|image| Found { id: image.id, name: None }).ok_or_else(missing);
        }
        let reference = Reference::parse(text)?;
        if let Some(id) = named_image(references, &reference) {
            return Ok(Found { id, name: Some(reference.or_latest()) });
        }
        match self.store.resolve_prefix(text)? {
            Some(id) => Ok(Found { id, name: None }),
            None => Err(FindError::NoSuchImage(reference.or_latest().familiar())),
        }
    }

    /// Finds and loads the image that `text` names.
    ///
    /// # Errors
    /// [`FindError`].
    pub fn load_image(&self, text: &str) -> Result<Image, FindError> {
        self.load_image_among(self.store.references()?.as_ref(), text)
    }

    /// As [`Engine::load_image`], with names that were read before.
    pub(crate) fn load_image_among(&self, references: &References, text: &str) -> Result<Image, FindError> {
        let found = self.find_image_among(references, text)?;
        self.store.image(found.id)?.ok_or_else(|| FindError::NoSuchImage(text.to_owned()))
    }
}

/// Returns the image that a reference names; a digest goes before a tag, and neither means `latest`.
pub(crate) fn named_image(references: &References, reference: &Reference) -> Option<ImageId> {
    references.image(reference.repository.familiar(), &key(reference))
}

/// Returns the key of `reference` in `repositories.json`.
pub(crate) fn key(reference: &Reference) -> String {
    match reference.digest {
        Some(digest) => reference.repository.at(digest).familiar(),
        None => reference.clone().or_latest().familiar(),
    }
}

fn full_id(text: &str) -> Option<ImageId> {
    if text.len() == 64 && !text.contains(':') {
        return format!("sha256:{text}").parse().ok();
    }
    text.parse::<Digest>().ok().map(ImageId::new)
}
