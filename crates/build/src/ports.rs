//! What the builder asks of its caller.

use std::io::Write;

use shale_oci::{ImageId, Platform};

/// Whatever a port of the caller says; its text reaches the user.
pub type PortError = Box<dyn std::error::Error + Send + Sync>;

/// Finds images that a Dockerfile names.
pub trait Images: Sync {
    /// Returns the image that `name` means, fetched if need be; `refresh` asks the registry even if it is here.
    ///
    /// # Errors
    /// Whatever the caller's way of finding images says; its text reaches the user.
    fn resolve(&self, name: &str, platform: Option<&Platform>, refresh: bool) -> Result<ImageId, PortError>;

    /// Writes what is at `url`, which is `http` or `https`, to `out`; returns when it was changed last, in seconds, where
    /// the server says so.
    ///
    /// # Errors
    /// Whatever the caller's way of fetching says.
    fn download(&self, url: &str, _out: &mut (dyn Write + Send)) -> Result<Option<i64>, PortError> {
        Err(format!("{url} cannot be fetched here").into())
    }
}

/// Takes what the builder says, message by message, in the words of Docker's classic builder.
pub trait Output: Sync {
    /// A piece of the text.
    fn text(&self, text: &str);

    /// A remark that Docker's builder does not make.
    fn note(&self, _text: &str) {}

    /// A finished stage's image.
    fn stage(&self, _image: ImageId) {}

    /// The image that a failed step's root is kept as; running it opens the shell of its stage.
    fn kept_root(&self, _image: ImageId) {}

    /// The terminal is a shell's from now on, in the root of the step that failed for the reason `why`: whatever was
    /// held back is to be shown first, and nothing is to be drawn any more.
    fn yield_terminal(&self, _why: &str) {}
}
