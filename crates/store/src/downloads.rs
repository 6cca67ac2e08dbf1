//! Blobs on their way in: one downloader at a time, and what a killed one had got so far.
//!
//! Promise: at most one process works on a blob; the bytes that a killed one received are there for the next.
//! Not here: sockets, digests of the bytes. A partial blob is not synced, so its receiver verifies it as a whole.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use shale_oci::Digest;

use crate::Store;
use crate::durable::{self, DiskError};
use crate::lock::{self, AccessError};

/// Why [`Store::claim_blob`] got no claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The store may not be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The right to download one blob, and the bytes of it that are here.
///
/// After waiting for a claim, look whether the layer is there by now. Dropping the claim keeps the bytes for the next
/// process, unless there are none.
#[must_use = "dropping the claim lets others download the blob"]
#[derive(Debug)]
pub struct BlobClaim {
    file: File,
    path: PathBuf,
    digest: Digest,
    length_bytes: u64,
}

/// A partial blob on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// The blob.
    pub digest: Digest,
    /// How much of it is here.
    pub length_bytes: u64,
    /// When the last byte came.
    pub modified: SystemTime,
    /// Whether a process works on it now.
    pub is_claimed: bool,
}

impl Store {
    /// Waits until nobody else downloads the blob `digest`, and claims it. Blocks the thread.
    ///
    /// # Errors
    /// [`ClaimError`] when the store may not be written or the disk failed.
    pub fn claim_blob(&self, digest: Digest) -> Result<BlobClaim, ClaimError> {
        self.check_writable()?;
        let path = self.layout.download(digest);
        loop {
            let claim = claim(&path, digest, FlockOperation::LockExclusive)?;
            if let Some(claim) = claim {
                return Ok(claim);
            }
        }
    }

    /// Claims the blob `digest`; `None` when somebody else downloads it now.
    ///
    /// # Errors
    /// As [`Store::claim_blob`].
    pub fn try_claim_blob(&self, digest: Digest) -> Result<Option<BlobClaim>, ClaimError> {
        self.check_writable()?;
        Ok(claim(&self.layout.download(digest), digest, FlockOperation::NonBlockingLockExclusive)?)
    }

    /// Returns the partial blobs, in the order of their digests.
    ///
    /// # Errors
    /// [`DiskError`] when the directory cannot be read.
    pub fn downloads(&self) -> Result<Vec<Download>, DiskError> {
        let directory = self.layout.downloads();
        let mut downloads = Vec::new();
        for name in durable::names(&directory)? {
            let Some(digest) = parse_file_name(&name) else { continue };
            let path = directory.join(&name);
            let Ok(file) = File::open(&path) else { continue };
            let metadata = file.metadata().map_err(|source| DiskError::new("read", &path, source))?;
            let modified = metadata.modified().map_err(|source| DiskError::new("read", &path, source))?;
            let is_claimed =
                rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
            downloads.push(Download { digest, length_bytes: metadata.len(), modified, is_claimed });
        }
        downloads.sort_by_key(|download| download.digest);
        Ok(downloads)
    }
}

fn parse_file_name(name: &str) -> Option<Digest> {
    Digest::from_str(&name.replacen('-', ":", 1)).ok()
}

/// `None` when another has the lock, or the file was deleted while we waited for it.
fn claim(path: &Path, digest: Digest, operation: FlockOperation) -> Result<Option<BlobClaim>, DiskError> {
    let file = lock::open_lock_file(path)?;
    match lock::flock(&file, operation) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(source) => return Err(DiskError::new("lock", path, source)),
    }
    let metadata = file.metadata().map_err(|source| DiskError::new("read", path, source))?;
    if metadata.nlink() == 0 {
        return match operation {
            FlockOperation::NonBlockingLockExclusive => claim(path, digest, operation),
            _ => Ok(None),
        };
    }
    Ok(Some(BlobClaim { file, path: path.to_owned(), digest, length_bytes: metadata.len() }))
}

impl BlobClaim {
    /// Returns the blob that is claimed.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns how many bytes, from the start of the blob, are here.
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// Appends the next bytes of the blob.
    ///
    /// # Errors
    /// [`DiskError`] when the disk failed; the bytes before `bytes` are kept.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        let written =
            self.file.seek(SeekFrom::Start(self.length_bytes)).and_then(|_| self.file.write_all(bytes));
        if let Err(source) = written {
            let _ = self.file.set_len(self.length_bytes);
            return Err(DiskError::new("write", &self.path, source));
        }
        self.length_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Opens what is here for reading, from the start of the blob to [`BlobClaim::length_bytes`].
    ///
    /// # Errors
    /// [`DiskError`] when the file cannot be opened.
    pub fn reader(&self) -> Result<impl Read + Send + use<>, DiskError> {
        let file = File::open(&self.path).map_err(|source| DiskError::new("open", &self.path, source))?;
        Ok(file.take(self.length_bytes))
    }

    /// Throws away what is here; the blob starts over.
    ///
    /// # Errors
    /// [`DiskError`] when the disk failed.
    pub fn restart(&mut self) -> Result<(), DiskError> {
        self.file.set_len(0).map_err(|source| DiskError::new("truncate", &self.path, source))?;
        self.length_bytes = 0;
        Ok(())
    }

    /// Deletes what is here, because the layer is published or the blob is of no use, and gives the claim back.
    ///
    /// # Errors
    /// [`DiskError`] when the disk failed.
    pub fn discard(self) -> Result<(), DiskError> {
        durable::remove_file(&self.path).map(drop)
    }
}

impl Drop for BlobClaim {
    fn drop(&mut self) {
        if self.length_bytes == 0 && self.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0) {
            // The lock is still ours, so nobody else has begun to write.
            let _ = durable::remove_file(&self.path);
        }
        lock::unlock(&self.file);
    }
}

impl io::Write for BlobClaim {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(|error| io::Error::new(error.kind(), error))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
