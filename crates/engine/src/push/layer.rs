//! One layer on its way from its directory to the registry.
//!
//! The tar is made again from tar-split and the files, compressed on all cores and sent while it is made; its digest
//! is known only at the end.

use std::io::{self, Write};

use bytes::Bytes;
use futures_util::Stream;
use shale_oci::{Descriptor, Digest, Digester};
use shale_registry_client::UploadError;
use shale_rootfs::GzipWriter;
use shale_store::Layer;
use tokio::sync::mpsc;

use super::{Push, layer_descriptor};
use crate::layer_tar::{LayerTarError, write_layer_tar};
use crate::progress::Status;

/// Bytes of one chunk on its way to the socket.
const CHUNK_SIZE: usize = 256 << 10;
/// Chunks that wait for the socket.
const CHUNKS_MAX: usize = 8;
/// Times that an upload is taken up again without a byte of progress.
const ATTEMPTS_MAX: usize = 5;

/// Why a layer did not reach the registry.
#[derive(Debug, thiserror::Error)]
pub enum SendLayerError {
    /// The layer on the disk is not what it was; `fsck --repair` may help.
    #[error(transparent)]
    Tar(#[from] LayerTarError),
    /// The registry did not take it.
    #[error(transparent)]
    Upload(#[from] UploadError),
}

impl Push {
    /// Sends a layer and returns its descriptor.
    pub(super) async fn send(&self, layer: &Layer) -> Result<Descriptor, SendLayerError> {
        // The first chunks are ready when the registry is.
        let mut begun = Some(self.compressed(layer, 0));
        let mut upload = self.client.start_upload(&self.repository).await?;
        let mut attempts = 0;
        loop {
            let received = upload.received_bytes();
            let (stream, made) =
                begun.take().filter(|_| received == 0).unwrap_or_else(|| self.compressed(layer, received));
            let appended = upload.append(stream).await;
            let blob = made.await.expect("compressing does not panic");
            match (appended, blob) {
                (Ok(_), Ok(blob)) => {
                    upload.finish(blob.digest).await?;
                    return Ok(layer_descriptor(blob.digest, blob.size_bytes));
                }
                (Ok(_), Err(error)) => {
                    let _ = upload.cancel().await;
                    return Err(error.into());
                }
                // The tar failed first, so the stream broke off: the registry is not to blame.
                (Err(_), Err(error)) if !error.is_receiver_gone() => return Err(error.into()),
                (Err(UploadError::Interrupted { source, host }), _) => {
                    if upload.recover().await? > received {
                        attempts = 0;
                    }
                    attempts += 1;
                    if attempts == ATTEMPTS_MAX {
                        return Err(UploadError::Interrupted { source, host }.into());
                    }
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
    }

    /// Starts making the compressed layer; the stream leaves out the first `skip` bytes, which are there already.
    fn compressed(
        &self,
        layer: &Layer,
        skip: u64,
    ) -> (
        impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        tokio::task::JoinHandle<Result<MadeBlob, LayerTarError>>,
    ) {
        let (chunks, receiver) = mpsc::channel(CHUNKS_MAX);
        let (push, layer) = (self.clone(), layer.clone());
        let making = tokio::task::spawn_blocking(move || {
            let output = ChunkWriter::new(chunks, skip);
            let mut gzip = GzipWriter::new(output, &push.gzip);
            let id = layer.diff_id.short();
            let total = layer.size_bytes;
            let made = write_layer_tar(&push.engine.store, &layer, &mut gzip, &|bytes| {
                push.progress.layer(&id, &Status::Pushing { bytes: bytes.min(total), total });
            });
            // After an error the stream just ends; the registry keeps a draft that nobody finishes.
            made?;
            gzip.finish().and_then(ChunkWriter::finish).map_err(LayerTarError::Receiver)
        });
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        });
        (stream, making)
    }
}

/// A compressed layer that was made.
struct MadeBlob {
    digest: Digest,
    size_bytes: u64,
}

/// Hashes what is written, and hands it on in chunks.
struct ChunkWriter {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    chunk: Vec<u8>,
    digester: Digester,
    size_bytes: u64,
    skip: u64,
}

impl ChunkWriter {
    fn new(chunks: mpsc::Sender<io::Result<Bytes>>, skip: u64) -> ChunkWriter {
        let chunk = Vec::with_capacity(CHUNK_SIZE);
        ChunkWriter { chunks, chunk, digester: Digester::sha256(), size_bytes: 0, skip }
    }

    fn finish(mut self) -> io::Result<MadeBlob> {
        self.pass_on()?;
        Ok(MadeBlob { digest: self.digester.finish(), size_bytes: self.size_bytes })
    }

    fn pass_on(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_SIZE));
        self.chunks.blocking_send(Ok(full.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK_SIZE - self.chunk.len());
        let bytes = &bytes[..count];
        self.digester.update(bytes);
        self.size_bytes += count as u64;
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(count);
        self.skip -= skipped as u64;
        self.chunk.extend_from_slice(&bytes[skipped..]);
        if self.chunk.len() == CHUNK_SIZE {
            self.pass_on()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
