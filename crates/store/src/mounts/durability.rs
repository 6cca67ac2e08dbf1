//! What of a container survives.

use std::path::PathBuf;

use crate::durable::{self, DiskError};
use crate::random;

/// What a container's record survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A power cut.
    #[default]
    Durable,
    /// The end of every process, but no power cut: for a container that is removed at its end, which a power cut is.
    Volatile,
}

impl Durability {
    /// Replaces the content of `to` in one step; `directory` is its own.
    pub(super) fn replace(self, directory: PathBuf, to: PathBuf, content: &[u8]) -> Result<(), DiskError> {
        if self == Durability::Durable {
            return durable::replace(directory, to, content, 0o600);
        }
        let staged = directory.join(format!(".tmp-{}", random::hex(16)));
        durable::create_file(&staged, content, 0o600)?;
        durable::rename(&staged, &to)
    }
}
