//! One blob on its way from the socket into the directory of a layer.
//!
//! Its threads share the work: the socket's, one that inflates the blob, one that hashes and keeps it, one that writes the
//! files, and one that hashes the tar of a large layer. They meet in bounded pipes, so a layer of any size takes the same
//! memory.

use std::error::Error;
use std::io;
use std::sync::Arc;

use shale_oci::{DiffId, Digest};
use shale_rootfs::{Rootfs, Unpack, UnpackError, unpack};
use shale_store::{BeginLayerError, DiskError, FinishLayerError, FinishedLayer, Store};

use super::arriving::ArrivingBlob;
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

/// Unpacks `blob` into a new layer of `store` and checks it against both digests. Blocks.
pub fn unpack_blob(
    store: &Store,
    blob: ArrivingBlob<'_>,
    expected: DiffId,
    options: &Unpack<'_>,
) -> Result<FinishedLayer, LayerError> {
    let digest = blob.digest();
    let mut writer = store.begin_layer()?;
    let root = Rootfs::open(&writer.diff_path()).map_err(LayerError::Open)?;
    let (pipe_writer, mut pipe_reader) = pipe();
    let (mut arrival, keeper) = blob.split();
    let (unpacked, arrived) = std::thread::scope(|scope| {
        let keeping = scope.spawn(|| keeper.keep());
        let inflating = scope.spawn(move || {
            match shale_rootfs::decompress(Box::new(&mut arrival)) {
                Ok(tar) => drop(pipe_writer.fill_from(tar)),
                Err(error) => drop(pipe_writer.finish(Err(error))),
            }
            arrival.drain();
        });
        let unpacked = unpack(&root, &mut pipe_reader, writer.tar_split(), options);
        drop(pipe_reader);
        inflating.join().expect("the inflating thread does not panic");
        (unpacked, keeping.join().expect("the keeping thread does not panic"))
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
