//! An OCI layout that is written into a tar archive, which is docker's as well where it has a `manifest.json`.
//!
//! The archive stands under a name of its own until it is whole and on the disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use shale_oci::{Descriptor, Digest, Reference};
use shale_registry_client::BlobSource as _;
use shale_rootfs::{TarEntry, TarWriter};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use super::CopyError;
use super::checked::CheckedBlob;
use super::layout::{CONTAINERD_NAME, REF_NAME, blob_name};
use super::write_layout::{OCI_LAYOUT, entry};

/// Chunks on their way to the disk.
const CHUNKS_MAX: usize = 32;
const BUFFER_SIZE: usize = 256 << 10;

/// Why an archive was not written; what stood under its name before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum WriteArchiveError {
    /// The disk failed.
    #[error("could not write {path}")]
    Disk {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The blob could not be read.
    #[error("could not read blob {digest}")]
    Source {
        /// Which one.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
}

/// What goes into the archive next.
enum Piece {
    Member { name: String, size_bytes: u64 },
    Content(Bytes),
}

/// An archive to write to.
pub(super) struct ArchiveWriter {
    path: PathBuf,
    /// One member is written at a time.
    pieces: Mutex<Option<mpsc::Sender<Piece>>>,
    writing: Mutex<Option<JoinHandle<io::Result<()>>>>,
    draft: Draft,
}

/// A file that is removed unless it got its name.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // Renamed it is not there any more, which is no fault.
        let _ = fs::remove_file(&self.0);
    }
}

/// What Docker shall find in an archive.
pub(super) struct DockerImage {
    pub name: Option<Reference>,
    pub config: Digest,
    pub layers: Vec<Digest>,
}

impl ArchiveWriter {
    /// Starts an archive beside its final name.
    pub fn create(path: &Path) -> Result<ArchiveWriter, WriteArchiveError> {
        let failed = |source| WriteArchiveError::Disk { path: path.to_owned(), source };
        let file_name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let draft =
            path.with_file_name(format!(".{}.{}.partial", file_name.to_string_lossy(), std::process::id()));
        let file = File::create(&draft).map_err(failed)?;
        let draft = Draft(draft);
        let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
        let writing = tokio::task::spawn_blocking(move || write(file, receiver));
        Ok(ArchiveWriter {
            path: path.to_owned(),
            pieces: Mutex::new(Some(sender)),
            writing: Mutex::new(Some(writing)),
            draft,
        })
    }

    /// Adds a blob. After an error the archive cannot be finished.
    pub async fn put_blob(&self, blob: CheckedBlob) -> Result<(), CopyError> {
        let (digest, size_bytes) = (blob.descriptor.digest, blob.descriptor.size_bytes);
        let failed = |source| WriteArchiveError::Source { digest, source };
        let pieces = self.pieces.lock().await;
        let mut stream = blob.open(0).await.map_err(failed)?;
        self.send(pieces.as_ref(), Piece::Member { name: blob_name(digest), size_bytes }).await?;
        while let Some(chunk) = stream.next().await {
            self.send(pieces.as_ref(), Piece::Content(chunk.map_err(failed)?)).await?;
        }
        Ok(())
    }

    /// Adds a small file.
    pub async fn put(&self, name: String, bytes: Bytes) -> Result<(), WriteArchiveError> {
        let pieces = self.pieces.lock().await;
        self.send(pieces.as_ref(), Piece::Member { name, size_bytes: bytes.len() as u64 }).await?;
        self.send(pieces.as_ref(), Piece::Content(bytes)).await
    }

    async fn send(
        &self,
        pieces: Option<&mpsc::Sender<Piece>>,
        piece: Piece,
    ) -> Result<(), WriteArchiveError> {
        let sent = match pieces {
            Some(pieces) => pieces.send(piece).await.is_ok(),
            None => false,
        };
        if sent {
            return Ok(());
        }
        // The writer has stopped; it knows why.
        let source = match self.writing.lock().await.take() {
            Some(writing) => writing.await.expect("writing does not panic").err(),
            None => None,
        };
        let source = source.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
        Err(WriteArchiveError::Disk { path: self.path.clone(), source })
    }

    /// Ends the archive and gives it its name.
    pub async fn finish(
        &self,
        root: &Descriptor,
        name: Option<&str>,
        referrers: &[Descriptor],
        docker: Option<&DockerImage>,
    ) -> Result<(), WriteArchiveError> {
        let docker_name = docker.and_then(|image| image.name.as_ref());
        let mut root_entry = entry(root, name);
        if let Some(docker_name) = docker_name {
            let tag = docker_name.tag.as_ref().map_or("latest", |tag| tag.as_str());
            root_entry["annotations"] = json!({CONTAINERD_NAME: docker_name.to_string(), REF_NAME: tag});
        }
        let entries: Vec<Value> = std::iter::once(root_entry)
            .chain(referrers.iter().map(|referrer| entry(referrer, None)))
            .collect();
        let index = json!({"schemaVersion": 2, "manifests": entries});
        self.put("index.json".to_owned(), index.to_string().into()).await?;
        self.put("oci-layout".to_owned(), Bytes::from_static(OCI_LAYOUT.as_bytes())).await?;
        if let Some(image) = docker {
            let layers: Vec<String> = image.layers.iter().map(|layer| blob_name(*layer)).collect();
            let names: Option<Vec<String>> = image.name.as_ref().map(|name| vec![name.familiar()]);
            let saved = json!([{"Config": blob_name(image.config), "RepoTags": names, "Layers": layers}]);
            self.put("manifest.json".to_owned(), saved.to_string().into()).await?;
        }
        drop(self.pieces.lock().await.take());
        let failed = |source| WriteArchiveError::Disk { path: self.path.clone(), source };
        if let Some(writing) = self.writing.lock().await.take() {
            writing.await.expect("writing does not panic").map_err(failed)?;
        }
        fs::rename(&self.draft.0, &self.path).map_err(failed)?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = File::open(parent.unwrap_or(Path::new(".")));
        parent.and_then(|directory| directory.sync_all()).map_err(failed)
    }
}

/// Writes what comes, to the end of the archive and to the disk.
fn write(file: File, mut pieces: mpsc::Receiver<Piece>) -> io::Result<()> {
    let mut output = BufWriter::with_capacity(BUFFER_SIZE, file);
    let mut tar = TarWriter::new(&mut output);
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Member { name, size_bytes } => {
                tar.header(&TarEntry::file(name.as_bytes(), size_bytes, 0))?
            }
            Piece::Content(bytes) => tar.content(&bytes)?,
        }
    }
    tar.finish()?;
    output.flush()?;
    output.get_ref().sync_all()
}
