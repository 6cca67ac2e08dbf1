//! The nouns of the OCI and Docker image formats, with their exact bytes.
//!
//! Promise: a value of a type of this crate is well formed, and a digest is always taken over the bytes as they were
//! received; nothing here writes a document a second time.
//! Not here: files, sockets, clocks, async, the documents of the Docker Engine API.

mod config;
mod descriptor;
mod digest;
mod document;
mod error_code;
pub mod go_json;
mod id;
mod manifest;
pub mod media_type;
mod platform;
mod reference;
mod verify;

pub use config::{ConfigError, Empty, Healthcheck, HistoryEntry, ImageConfig, RootFs, RunConfig};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, DigestError, Digester};
pub use document::{Document, DocumentError};
pub use error_code::{ErrorCode, ErrorDocument, ErrorEntry};
pub use id::{ChainId, DiffId, ImageId};
pub use manifest::{Index, Manifest};
pub use platform::{Platform, PlatformError};
pub use reference::{NAME_LENGTH_MAX, Reference, ReferenceError, Repository, Tag, Target};
pub use verify::{Unverified, Verified, VerifyError};

/// Largest manifest or index that is read, in bytes.
///
/// Source: distribution-spec v1.1, "Pushing Manifests": registries should accept at least 4 MiB.
pub const MANIFEST_SIZE_MAX: u64 = 4 << 20;

/// Largest image config that is read, in bytes.
pub const CONFIG_SIZE_MAX: u64 = 8 << 20;
