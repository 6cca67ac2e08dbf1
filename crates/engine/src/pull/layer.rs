//! One blob on its way from the socket into the directory of a layer.
//!
//! Three threads share the work: the socket's, one that hashes, keeps and inflates the blob, and one that hashes the
//! tar and writes the files. They meet in bounded pipes, so a layer of any size takes the same memory.

use std::error::Error;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use shale_oci::{Descriptor, DiffId, Digest, Digester};
use shale_rootfs::{Rootfs, Unpack, UnpackError, unpack};
use shale_store::{BeginLayerError, BlobClaim, DiskError, FinishLayerError, FinishedLayer, Store};
use tokio::sync::mpsc;

use crate::pipe::pipe;

/// Chunks that wait between the socket and the inflating thread.
pub const CHUNKS_MAX: usize = 64;

/// Why a blob became no layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The blob's bytes are not those of the manifest.
    #[error("layer {expected} does not match its digest: received {actual}")]
    Digest {
        /// What the manifest says.
        expected: Digest,
        /// What arrived.
        actual: Digest,
    },
    /// The blob ended early, or went on.
    #[error("layer {digest} is {expected} bytes long in the manifest, but {actual} bytes arrived")]
    Size {
        /// The blob.
        digest: Digest,
        /// What the manifest says.
        expected: u64,
        /// What arrived.
        actual: u64,
    },
    /// The blob holds another layer than the config says.
    #[error("layer {digest} unpacks to diff ID {actual}, but the image config says {expected}")]
    DiffId {
        /// The blob.
        digest: Digest,
        /// What the config says.
        expected: DiffId,
        /// What it is.
        actual: DiffId,
    },
    /// The archive in the blob cannot be unpacked.
    #[error("could not unpack layer {digest}")]
    Unpack {
        /// The blob.
        digest: Digest,
        /// Why.
        source: UnpackError,
    },
    /// The partial download cannot be read or written.
    #[error(transparent)]
    Keep(#[from] DiskError),
    /// The directory of a new layer cannot be opened.
    #[error("could not open the directory of a new layer")]
    Open(#[source] io::Error),
    /// The store has no place for a new layer.
    #[error(transparent)]
    Begin(#[from] BeginLayerError),
    /// The store did not take the layer.
    #[error(transparent)]
    Finish(#[from] FinishLayerError),
}

impl LayerError {
    /// Whether the kept part of the blob may be to blame, so that a download from the start may help.
    pub fn blames_content(&self) -> bool {
        matches!(self, LayerError::Digest { .. } | LayerError::Size { .. } | LayerError::Unpack { .. })
    }

    /// Whether the disk has no room left; then what was kept of a blob is better given back than kept.
    pub fn is_disk_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        let mut next: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = next {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            let kind = kind.or_else(|| error.downcast_ref::<Arc<io::Error>>().map(|shared| shared.kind()));
            if kind.is_some_and(|kind| full.contains(&kind)) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// A blob that is read while it arrives: first what an earlier pull kept, then what the socket sends.
///
/// Every byte is hashed, and what the socket sends is kept with the claim.
pub struct ArrivingBlob<'a> {
    size_bytes: u64,
    claim: &'a mut BlobClaim,
    kept: Box<dyn Read + Send>,
    chunks: mpsc::Receiver<Bytes>,
    chunk: Bytes,
    position: u64,
    digester: Digester,
    on_read: &'a (dyn Fn(u64) + Sync),
    /// Set when the disk failed, so that the cause is not lost behind the inflater's error.
    failure: Option<DiskError>,
}

impl<'a> ArrivingBlob<'a> {
    /// Returns the blob whose first bytes are kept with `claim`; the rest comes through `chunks`. `on_read` is called
    /// with the bytes read so far.
    pub fn new(
        blob: &Descriptor,
        claim: &'a mut BlobClaim,
        chunks: mpsc::Receiver<Bytes>,
        on_read: &'a (dyn Fn(u64) + Sync),
    ) -> Result<ArrivingBlob<'a>, DiskError> {
        Ok(ArrivingBlob {
            size_bytes: blob.size_bytes,
            kept: Box::new(claim.reader()?),
            claim,
            chunks,
            chunk: Bytes::new(),
            position: 0,
            digester: Digester::new(blob.digest.algorithm()),
            on_read,
            failure: None,
        })
    }

    /// Reads what nobody asked for and checks length and digest of the whole.
    fn finish(mut self) -> Result<(), LayerError> {
        let mut rest = [0; 16 << 10];
        while matches!(self.read(&mut rest), Ok(count) if count > 0) {}
        if let Some(failure) = self.failure {
            return Err(failure.into());
        }
        let digest = self.claim.digest();
        if self.position != self.size_bytes {
            return Err(LayerError::Size { digest, expected: self.size_bytes, actual: self.position });
        }
        let actual = self.digester.finish();
        if actual != digest {
            return Err(LayerError::Digest { expected: digest, actual });
        }
        Ok(())
    }

    fn read_chunk(&mut self, into: &mut [u8]) -> Result<usize, DiskError> {
        if self.chunk.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
            self.claim.append(&self.chunk)?;
        }
        let count = into.len().min(self.chunk.len());
        into[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

impl Read for ArrivingBlob<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() || self.failure.is_some() {
            return Ok(0);
        }
        let count = match self.kept.read(into)? {
            0 => match self.read_chunk(into) {
                Ok(count) => count,
                Err(failure) => {
                    let kind = failure.kind();
                    self.failure = Some(failure);
                    return Err(kind.into());
                }
            },
            count => count,
        };
        self.digester.update(&into[..count]);
        self.position += count as u64;
        (self.on_read)(self.position);
        Ok(count)
    }
}

/// Unpacks `blob` into a new layer of `store` and checks it against both digests. Blocks.
pub fn unpack_blob(
    store: &Store,
    mut blob: ArrivingBlob<'_>,
    expected: DiffId,
    options: &Unpack<'_>,
) -> Result<FinishedLayer, LayerError> {
    let digest = blob.claim.digest();
    let mut writer = store.begin_layer()?;
    let root = Rootfs::open(&writer.diff_path()).map_err(LayerError::Open)?;
    let (pipe_writer, mut pipe_reader) = pipe();
    let (unpacked, arrived) = std::thread::scope(|scope| {
        let inflating = scope.spawn(move || {
            match shale_rootfs::decompress(Box::new(&mut blob)) {
                Ok(tar) => drop(pipe_writer.fill_from(tar)),
                Err(error) => drop(pipe_writer.finish(Err(error))),
            }
            blob.finish()
        });
        let unpacked = unpack(&root, &mut pipe_reader, writer.tar_split(), options);
        drop(pipe_reader);
        (unpacked, inflating.join().expect("the inflating thread does not panic"))
    });
    // Wrong bytes explain any trouble with the archive in them, so they are reported first.
    arrived?;
    let unpacked = unpacked.map_err(|source| LayerError::Unpack { digest, source })?;
    if unpacked.diff_id != expected {
        return Err(LayerError::DiffId { digest, expected, actual: unpacked.diff_id });
    }
    Ok(writer.finish(unpacked.diff_id, unpacked.size_bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_wherever_it_showed() {
        let full = || io::Error::from_raw_os_error(28);
        let digest = Digest::sha256(b"");
        assert!(LayerError::Unpack { digest, source: UnpackError::TarSplit(full()) }.is_disk_full());
        assert!(LayerError::Open(full()).is_disk_full());
        let shared = DiskError { action: "write", path: "a".into(), source: Arc::new(full()) };
        assert!(LayerError::Keep(shared).is_disk_full());
        let denied = || io::Error::from_raw_os_error(13);
        assert!(!LayerError::Unpack { digest, source: UnpackError::TarSplit(denied()) }.is_disk_full());
        assert!(!LayerError::Open(denied()).is_disk_full());
    }
}
