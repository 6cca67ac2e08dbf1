//! Where the bytes of an upload come from.

use std::future::Future;
use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use shale_oci::Descriptor;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

/// Bytes in pieces.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A blob that can be read more than once, so that its upload can go on after a broken connection.
pub trait BlobSource: Send + Sync {
    /// Returns the bytes from `offset` on.
    ///
    /// # Errors
    /// When they cannot be read.
    fn open(&self, offset: u64) -> Pin<Box<dyn Future<Output = io::Result<ByteStream>> + Send + '_>>;
}

/// A blob that is made while it is sent, so that its digest and length are known only at its end. Made again it is the
/// same bytes.
pub trait MadeBlob: BlobSource {
    /// Returns what it is, once a stream of it has come to its end.
    fn descriptor(&self) -> Option<Descriptor>;
}

/// A blob that was made before.
pub(super) struct Described<'a> {
    pub(super) descriptor: &'a Descriptor,
    pub(super) source: &'a dyn BlobSource,
}

impl BlobSource for Described<'_> {
    fn open(&self, offset: u64) -> Pin<Box<dyn Future<Output = io::Result<ByteStream>> + Send + '_>> {
        self.source.open(offset)
    }
}

impl MadeBlob for Described<'_> {
    fn descriptor(&self) -> Option<Descriptor> {
        Some(self.descriptor.clone())
    }
}

impl BlobSource for Bytes {
    fn open(&self, offset: u64) -> Pin<Box<dyn Future<Output = io::Result<ByteStream>> + Send + '_>> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let rest = self.slice(offset..);
        Box::pin(async move {
            let stream: ByteStream = Box::pin(futures_util::stream::iter([Ok(rest)]));
            Ok(stream)
        })
    }
}

/// Reads a file.
#[derive(Debug, Clone)]
pub struct FileSource {
    /// Which one.
    pub path: PathBuf,
}

/// Bytes read from a file at once.
const READ_SIZE: usize = 256 << 10;

impl BlobSource for FileSource {
    fn open(&self, offset: u64) -> Pin<Box<dyn Future<Output = io::Result<ByteStream>> + Send + '_>> {
        Box::pin(async move {
            let mut file = tokio::fs::File::open(&self.path).await?;
            file.set_max_buf_size(READ_SIZE);
            file.seek(SeekFrom::Start(offset)).await?;
            let chunks = futures_util::stream::try_unfold(file, |mut file| async move {
                let mut chunk = BytesMut::with_capacity(READ_SIZE);
                let count = file.read_buf(&mut chunk).await?;
                Ok((count > 0).then(|| (chunk.freeze(), file)))
            });
            let stream: ByteStream = Box::pin(chunks);
            Ok(stream)
        })
    }
}
