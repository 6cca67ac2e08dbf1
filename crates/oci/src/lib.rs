//! The nouns of the OCI and Docker image formats, with their exact bytes.
//!
//! Promise: a value of a type of this crate is well formed, and a digest is always taken over the bytes as they were
//! received; nothing here writes a document a second time.
//! Not here: files, sockets, clocks, async, the documents of the Docker Engine API.

mod digest;
mod id;

pub use digest::{Algorithm, Digest, DigestError, Digester};
pub use id::{ChainId, DiffId, ImageId};
