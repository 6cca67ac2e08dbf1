//! Where blob bytes live: one trait, and the implementation in files.
//!
//! Promise: a blob that [`BlobStore::publish`] acknowledged is durable and has the digest it is named by; no caller sees a
//! path, so object storage can take the place of files.
//! Not here: which repository holds which blob, HTTP.

mod append;
#[cfg(test)]
mod contract;
mod files;

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use shale_oci::{Algorithm, Digest};

use crate::name::UploadId;

pub use append::{BlobWriter, Paused};
pub use files::FileBlobStore;

/// A future of a store's operation.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Blob bytes by digest, and uploads that become blobs.
pub trait BlobStore: Send + Sync {
    /// Opens a published blob.
    ///
    /// # Errors
    /// [`BlobError::Missing`] when there is none.
    fn open(&self, digest: Digest) -> Pending<'_, Result<Blob, BlobError>>;

    /// Opens the upload `id` at its end, making it when it does not exist.
    ///
    /// `known` is what a writer of this upload returned from [`BlobWriter::pause`]; without it, bytes that are there
    /// already are read and hashed again with `algorithm`.
    fn open_upload(
        &self,
        id: UploadId,
        algorithm: Algorithm,
        known: Option<Paused>,
    ) -> Pending<'_, Result<BlobWriter, BlobError>>;

    /// Removes an upload and its bytes; one that does not exist is no error.
    fn remove_upload(&self, id: UploadId) -> Pending<'_, Result<(), BlobError>>;

    /// Returns the uploads that have bytes here and got none for `idle`.
    fn uploads(&self, idle: Duration) -> Pending<'_, Result<Vec<UploadId>, BlobError>>;

    /// Makes the bytes of `writer` the blob `digest`, durably, and returns its size.
    ///
    /// # Errors
    /// [`BlobError::WrongDigest`] when the bytes have another one; the upload stays as it is.
    fn publish(&self, writer: BlobWriter, digest: Digest) -> Pending<'_, Result<u64, PublishError>>;

    /// Removes published blobs; one that does not exist is no error. Returns the bytes freed.
    fn remove(&self, digests: Vec<Digest>) -> Pending<'_, Result<u64, BlobError>>;

    /// Returns the published blobs whose hexadecimal digest begins with `prefix`, each with its size.
    fn list(&self, algorithm: Algorithm, prefix: u8) -> Pending<'_, Result<Vec<(Digest, u64)>, BlobError>>;

    /// Moves a blob whose bytes are not those of its digest out of the way.
    fn quarantine(&self, digest: Digest) -> Pending<'_, Result<(), BlobError>>;
}

/// A published blob, open for reading.
#[derive(Clone)]
pub struct Blob {
    /// The bytes.
    pub file: Arc<File>,
    /// How many there are.
    pub size_bytes: u64,
}

/// Why an operation of a store did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("the store has no blob {0}")]
    Missing(Digest),
    /// The bytes of an upload have another digest than the one announced.
    #[error("the bytes have the digest {actual}")]
    WrongDigest {
        /// The digest of the bytes.
        actual: Digest,
    },
    /// No space, or no file, is left.
    #[error("the storage is full")]
    Full {
        /// What the system said.
        source: io::Error,
    },
    /// The storage failed.
    #[error("could not {act}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl BlobError {
    pub(crate) fn io(act: &'static str) -> impl FnOnce(io::Error) -> BlobError {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full { source },
            _ => BlobError::Io { act, source },
        }
    }
}

/// Why [`BlobStore::publish`] published nothing; the writer comes back, so that the upload can go on.
#[derive(Debug)]
pub struct PublishError {
    /// The reason.
    pub reason: BlobError,
    /// What is known of the upload's bytes, unless the disk failed.
    pub paused: Option<Paused>,
}
