//! One layer on its way from its directory to the registry.
//!
//! The tar is made again from tar-split and the files, compressed on all cores and sent while it is made; its digest
//! is known only at the end.

use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use shale_oci::{Descriptor, Digester};
use shale_registry_client::{BlobSource, ByteStream, MadeBlob, UploadError};
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
        let blob = CompressedLayer::begin(self, layer);
        let upload = self.client.start_upload(&self.repository).await?;
        let sent = upload.send_made(&blob).await;
        // When the tar failed, the registry is not to blame.
        let descriptor = lock(&blob.made).take().transpose()?;
        sent?;
        Ok(descriptor.expect("an upload ends well only after the last byte was made"))
    }

    /// Writes the layer's tar as gzip, and returns what that is.
    fn write_compressed(&self, layer: &Layer, output: ChunkWriter) -> Result<Descriptor, LayerTarError> {
        let mut gzip = GzipWriter::new(output, &self.gzip);
        let id = layer.diff_id.short();
        let total = layer.size_bytes;
        write_layer_tar(&self.engine.store, layer, &mut gzip, &|bytes| {
            self.progress.layer(&id, &Status::Pushing { bytes: bytes.min(total), total });
        })?;
        gzip.finish().and_then(ChunkWriter::finish).map_err(LayerTarError::Receiver)
    }
}

/// The compressed layer, made as often as it is asked for.
struct CompressedLayer<'a> {
    push: &'a Push,
    layer: &'a Layer,
    /// The first chunks are ready when the registry is.
    begun: Mutex<Option<ByteStream>>,
    /// What came of making it; none as long as no try came to the end.
    made: Arc<Mutex<Option<Result<Descriptor, LayerTarError>>>>,
}

impl<'a> CompressedLayer<'a> {
    fn begin(push: &'a Push, layer: &'a Layer) -> CompressedLayer<'a> {
        let blob = CompressedLayer { push, layer, begun: Mutex::default(), made: Arc::default() };
        *lock(&blob.begun) = Some(blob.make(0));
        blob
    }

    /// Starts making the layer; the stream leaves out the first `skip` bytes.
    fn make(&self, skip: u64) -> ByteStream {
        let (chunks, receiver) = mpsc::channel(CHUNKS_MAX);
        let (push, layer, made) = (self.push.clone(), self.layer.clone(), Arc::clone(&self.made));
        tokio::task::spawn_blocking(move || {
            match push.write_compressed(&layer, ChunkWriter::new(chunks.clone(), skip)) {
                // Before the stream ends, for then the upload asks for it.
                Ok(descriptor) => *lock(&made) = Some(Ok(descriptor)),
                // This try was interrupted; the next one begins again.
                Err(error) if error.is_receiver_gone() => {}
                Err(error) => {
                    *lock(&made) = Some(Err(error));
                    // Ends the upload; what the caller is told is the error itself.
                    let _ = chunks.blocking_send(Err(io::ErrorKind::InvalidData.into()));
                }
            }
        });
        Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        }))
    }
}

impl BlobSource for CompressedLayer<'_> {
    fn open(&self, offset: u64) -> Pin<Box<dyn Future<Output = io::Result<ByteStream>> + Send + '_>> {
        let begun = lock(&self.begun).take().filter(|_| offset == 0);
        let stream = begun.unwrap_or_else(|| self.make(offset));
        Box::pin(async move { Ok(stream) })
    }
}

impl MadeBlob for CompressedLayer<'_> {
    fn descriptor(&self) -> Option<Descriptor> {
        // The first try streams, also a short layer that is made by now: what a registry is asked is no matter of luck.
        if lock(&self.begun).is_some() {
            return None;
        }
        lock(&self.made).as_ref().and_then(|made| made.as_ref().ok().cloned())
    }
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

    fn finish(mut self) -> io::Result<Descriptor> {
        self.pass_on()?;
        Ok(layer_descriptor(self.digester.finish(), self.size_bytes))
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

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
