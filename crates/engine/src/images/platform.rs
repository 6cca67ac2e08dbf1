//! Whether an image is the one for a platform that was asked for.

use shale_oci::{ConfigError, ImageConfig, Platform};

use super::find::FindError;
use crate::Engine;

/// Why an image is not for a platform. The last message begins as Docker's.
#[derive(Debug, thiserror::Error)]
pub enum CheckPlatformError {
    /// The image is not there.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The config describes no image.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The image is there, and for another machine.
    #[error(
        "image with reference {image} was found but does not provide the specified platform ({wanted}): it is for {found}"
    )]
    Other {
        /// As typed.
        image: String,
        /// What was asked for.
        wanted: Platform,
        /// What it is for.
        found: Platform,
    },
}

impl Engine {
    /// Checks that a machine of the platform `wanted` can run the image `text`.
    ///
    /// # Errors
    /// [`CheckPlatformError`].
    ///
    /// Source: docker 28 with an image store of one platform an image, which answers `--platform` in this way.
    pub fn check_platform(&self, text: &str, wanted: &Platform) -> Result<(), CheckPlatformError> {
        let found = ImageConfig::parse(&self.load_image(text)?.config)?.platform();
        if wanted.choose([Some(&found)].into_iter()).is_some() {
            return Ok(());
        }
        Err(CheckPlatformError::Other { image: text.to_owned(), wanted: wanted.clone(), found })
    }
}
