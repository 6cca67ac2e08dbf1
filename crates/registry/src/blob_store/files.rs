//! Blobs in files, at the paths of the Docker registry, so that its volumes are taken over where they are.
//!
//! Blobs stand at `docker/registry/v2/blobs/<algorithm>/<first two digits>/<digits>/data`, uploads at
//! `shale/uploads/<id>`, blobs that failed a check at `shale/quarantine/<algorithm>-<digits>`.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shale_oci::{Algorithm, Digest, Digester};
use tokio::task::JoinHandle;

use super::{Blob, BlobError, BlobStore, Chunks, Pending, PublishError};
use crate::name::UploadId;

const HASH_AGAIN_BYTES: usize = 1 << 20;
/// The disk begins to write an upload in pieces of this length while the rest arrives.
const WRITE_OUT_BYTES: u64 = 8 << 20;
/// Pieces end at a multiple of every page size in use, so that no page is written twice.
const WRITE_OUT_ALIGNMENT: u64 = 64 << 10;

/// A [`BlobStore`] below one directory.
#[derive(Clone)]
pub struct FileBlobStore {
    blobs: Arc<Path>,
    uploads: Arc<Path>,
    quarantine: Arc<Path>,
}

impl FileBlobStore {
    /// Opens the store below `root`, making the directories that are missing.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub fn open(root: &Path) -> Result<FileBlobStore, BlobError> {
        let store = FileBlobStore {
            blobs: root.join("docker/registry/v2/blobs").into(),
            uploads: root.join("shale/uploads").into(),
            quarantine: root.join("shale/quarantine").into(),
        };
        for directory in [&store.blobs, &store.uploads, &store.quarantine] {
            fs::create_dir_all(directory).map_err(BlobError::io("make the store's directories"))?;
        }
        for ancestor in [&store.blobs, &store.uploads].iter().flat_map(|path| path.ancestors()) {
            sync_directory(ancestor).map_err(BlobError::io("make the store's directories durable"))?;
            if ancestor == root {
                break;
            }
        }
        sync_directory(root).map_err(BlobError::io("make the store's directories durable"))?;
        Ok(store)
    }

    fn blob_directory(&self, digest: Digest) -> PathBuf {
        let digits = digest.hex();
        let mut path = self.blobs.join(digest.algorithm().name());
        path.push(&digits[..2]);
        path.push(digits);
        path
    }

    fn upload_path(&self, id: UploadId) -> PathBuf {
        self.uploads.join(id.to_string())
    }

    fn publish_now(&self, upload: &Path, file: &File, digest: Digest) -> io::Result<()> {
        // Never a second try after a failed sync: the kernel has dropped the dirty pages and would answer success.
        file.sync_data()?;
        let directory = self.blob_directory(digest);
        let made = make_directories(&directory)?;
        fs::rename(upload, directory.join("data"))?;
        sync_directory(&directory)?;
        for parent in directory.ancestors().skip(1).take(made) {
            sync_directory(parent)?;
        }
        Ok(())
    }
}

/// Makes `directory` and its missing parents; returns how many were made.
fn make_directories(directory: &Path) -> io::Result<usize> {
    match DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => Ok(1),
        // Somebody else may have made it a moment ago and not have made it durable yet, so it counts as made.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(1),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = directory.parent().ok_or(error)?;
            let made = make_directories(parent)?;
            match DirBuilder::new().mode(0o755).create(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => Ok(made + 1),
            }
        }
        Err(error) => Err(error),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl BlobStore for FileBlobStore {
    fn open(&self, digest: Digest) -> Pending<'_, Result<Blob, BlobError>> {
        let path = self.blob_directory(digest).join("data");
        Box::pin(async move {
            // Opening a path that is in the kernel's cache takes microseconds; a thread hop takes more.
            let file = File::open(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => BlobError::Missing(digest),
                _ => BlobError::io("open a blob")(error),
            })?;
            let size_bytes = file.metadata().map_err(BlobError::io("look at a blob"))?.len();
            Ok(Blob { file: Arc::new(file), size_bytes })
        })
    }

    fn open_upload(
        &self,
        id: UploadId,
        algorithm: Algorithm,
        known: Option<Paused>,
    ) -> Pending<'_, Result<BlobWriter, BlobError>> {
        let path = self.upload_path(id);
        Box::pin(blocking(move || {
            let mut options = OpenOptions::new();
            let mut file = options
                .read(true)
                .append(true)
                .create(true)
                .open(&path)
                .map_err(BlobError::io("open an upload"))?;
            let length = file.metadata().map_err(BlobError::io("look at an upload"))?.len();
            let paused = match known {
                Some(known) if known.received == length => known,
                Some(known) if known.received < length => {
                    // The last writer was stopped between the write and the note of it.
                    file.set_len(known.received).map_err(BlobError::io("cut an upload"))?;
                    known
                }
                _ => {
                    let mut digester = Digester::new(algorithm);
                    let received =
                        hash_file(&mut file, &mut digester).map_err(BlobError::io("read an upload"))?;
                    Paused { digester, received, algorithm, written_out: 0 }
                }
            };
            Ok(BlobWriter { path, file: Arc::new(file), state: Some(paused), running: None })
        }))
    }

    fn remove_upload(&self, id: UploadId) -> Pending<'_, Result<(), BlobError>> {
        let path = self.upload_path(id);
        Box::pin(blocking(move || match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(BlobError::io("remove an upload")(error))
            }
            _ => Ok(()),
        }))
    }

    fn uploads(&self, idle: Duration) -> Pending<'_, Result<Vec<UploadId>, BlobError>> {
        let directory = Arc::clone(&self.uploads);
        Box::pin(blocking(move || {
            let entries = fs::read_dir(directory).map_err(BlobError::io("list uploads"))?;
            let left = entries.filter_map(|entry| {
                let entry = entry.ok()?;
                let id = UploadId::parse(entry.file_name().to_str()?)?;
                let written = entry.metadata().ok()?.modified().ok()?;
                // A clock that was set back makes an upload younger, never older.
                (written.elapsed().unwrap_or_default() >= idle).then_some(id)
            });
            Ok(left.collect())
        }))
    }

    fn publish(&self, writer: BlobWriter, digest: Digest) -> Pending<'_, Result<u64, PublishError>> {
        let store = self.clone();
        Box::pin(async move {
            let (path, file, state) =
                writer.finish().await.map_err(|reason| PublishError { reason, paused: None })?;
            blocking(move || {
                let actual = if state.algorithm == digest.algorithm() {
                    state.digester.clone().finish()
                } else {
                    // Only the last request told that it is the other algorithm; the bytes are in the page cache.
                    let mut digester = Digester::new(digest.algorithm());
                    let hashed = File::open(&path).and_then(|mut file| hash_file(&mut file, &mut digester));
                    hashed.map_err(|error| PublishError {
                        reason: BlobError::io("read an upload")(error),
                        paused: None,
                    })?;
                    digester.finish()
                };
                if actual != digest {
                    return Err(PublishError {
                        reason: BlobError::WrongDigest { actual },
                        paused: Some(state),
                    });
                }
                match store.publish_now(&path, &file, digest) {
                    Ok(()) => Ok(state.received),
                    Err(error) => {
                        // What the disk holds of this upload is unknown now; it must not be acknowledged later.
                        let _ = fs::remove_file(&path);
                        Err(PublishError { reason: BlobError::io("publish a blob")(error), paused: None })
                    }
                }
            })
            .await
        })
    }

    fn remove(&self, digests: Vec<Digest>) -> Pending<'_, Result<u64, BlobError>> {
        let directories: Vec<PathBuf> =
            digests.into_iter().map(|digest| self.blob_directory(digest)).collect();
        Box::pin(blocking(move || {
            let mut freed = 0;
            for directory in directories {
                let path = directory.join("data");
                let size_bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
                match fs::remove_file(&path) {
                    Ok(()) => freed += size_bytes,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(BlobError::io("remove a blob")(error)),
                }
                // A directory that holds something else stays; that is not ours to remove.
                let _ = fs::remove_dir(&directory);
            }
            Ok(freed)
        }))
    }

    fn list(&self, algorithm: Algorithm, prefix: u8) -> Pending<'_, Result<Vec<(Digest, u64)>, BlobError>> {
        let directory = self.blobs.join(algorithm.name()).join(hex::encode([prefix]));
        Box::pin(blocking(move || {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(BlobError::io("list blobs")(error)),
            };
            let mut blobs = Vec::new();
            for entry in entries {
                let entry = entry.map_err(BlobError::io("list blobs"))?;
                let name = entry.file_name();
                let digest = name.to_str().and_then(|digits| format!("{algorithm}:{digits}").parse().ok());
                let (Some(digest), Ok(metadata)) = (digest, fs::metadata(entry.path().join("data"))) else {
                    continue;
                };
                blobs.push((digest, metadata.len()));
            }
            blobs.sort_unstable_by_key(|(digest, _)| *digest);
            Ok(blobs)
        }))
    }

    fn quarantine(&self, digest: Digest) -> Pending<'_, Result<(), BlobError>> {
        let source = self.blob_directory(digest).join("data");
        let target = self.quarantine.join(format!("{}-{}", digest.algorithm(), digest.hex()));
        Box::pin(blocking(move || {
            fs::rename(source, target).map_err(BlobError::io("move a blob to the quarantine"))
        }))
    }
}

fn hash_file(file: &mut File, digester: &mut Digester) -> io::Result<u64> {
    let mut buffer = vec![0; HASH_AGAIN_BYTES];
    let mut hashed = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hashed),
            Ok(read) => {
                digester.update(&buffer[..read]);
                hashed += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What is known of an upload between two requests.
#[derive(Clone, Debug)]
pub struct Paused {
    digester: Digester,
    received: u64,
    algorithm: Algorithm,
    // What the disk was asked to write, from the beginning.
    written_out: u64,
}

impl Paused {
    /// Returns the number of bytes that the upload has.
    pub fn received(&self) -> u64 {
        self.received
    }
}

/// An upload that is open for writing. Bytes are hashed while they are written, one batch behind those that arrive.
///
/// Dropping it keeps the bytes; what was not noted by [`BlobWriter::pause`] is hashed again when the upload is opened.
pub struct BlobWriter {
    path: PathBuf,
    file: Arc<File>,
    // None while a batch is on its way.
    state: Option<Paused>,
    running: Option<JoinHandle<Result<Paused, BlobError>>>,
}

impl BlobWriter {
    /// Hashes and writes `chunks` after all earlier ones; returns when the batch before this one is written.
    ///
    /// # Errors
    /// When a write failed; the upload keeps the whole batches before.
    pub async fn append(&mut self, chunks: Chunks) -> Result<(), BlobError> {
        let state = self.settle().await?;
        let file = Arc::clone(&self.file);
        self.running = Some(tokio::task::spawn_blocking(move || write_batch(&file, state, &chunks)));
        Ok(())
    }

    /// Waits for the last batch and returns the number of bytes that are in the upload.
    ///
    /// # Errors
    /// As [`BlobWriter::append`].
    pub async fn received(&mut self) -> Result<u64, BlobError> {
        let state = self.settle().await?;
        let received = state.received;
        self.state = Some(state);
        Ok(received)
    }

    /// Closes the file and returns what a later [`BlobStore::open_upload`] needs to go on without reading.
    ///
    /// # Errors
    /// As [`BlobWriter::append`].
    pub async fn pause(mut self) -> Result<Paused, BlobError> {
        self.settle().await
    }

    async fn finish(mut self) -> Result<(PathBuf, Arc<File>, Paused), BlobError> {
        let state = self.settle().await?;
        Ok((self.path, self.file, state))
    }

    async fn settle(&mut self) -> Result<Paused, BlobError> {
        if let Some(running) = self.running.take() {
            return joined(running).await;
        }
        self.state
            .take()
            .ok_or_else(|| BlobError::io("go on after a failed write")(io::ErrorKind::BrokenPipe.into()))
    }
}

fn write_batch(file: &File, mut state: Paused, chunks: &[Bytes]) -> Result<Paused, BlobError> {
    let written = write_all(file, chunks);
    if let Err(error) = written {
        // Part of the batch may be in the file; cut it off, so that the length is what was promised.
        let _ = file.set_len(state.received);
        return Err(BlobError::io("write to an upload")(error));
    }
    for chunk in chunks {
        state.digester.update(chunk);
        state.received += chunk.len() as u64;
    }
    let whole = state.received - state.received % WRITE_OUT_ALIGNMENT;
    if whole - state.written_out >= WRITE_OUT_BYTES {
        begin_write_out(file, state.written_out, whole - state.written_out);
        state.written_out = whole;
    }
    Ok(state)
}

/// Asks the kernel to begin with `length` bytes from `offset`. Nothing is promised by that: the sync of the whole file is
/// what counts, it finds little left to wait for, and it reports the errors of what was written before it.
fn begin_write_out(file: &File, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    // SAFETY: the call takes numbers only, and `file` keeps the descriptor open.
    #[allow(unsafe_code)]
    unsafe {
        // An error means that the file system does not do this, or that the sync of the whole file fails too.
        libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}

fn write_all(mut file: &File, chunks: &[Bytes]) -> io::Result<()> {
    let mut queue: VecDeque<IoSlice<'_>> =
        chunks.iter().filter(|chunk| !chunk.is_empty()).map(|chunk| IoSlice::new(chunk)).collect();
    let mut slices: &mut [IoSlice<'_>] = queue.make_contiguous();
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}

async fn joined<T>(running: JoinHandle<T>) -> T {
    match running.await {
        Ok(value) => value,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}
