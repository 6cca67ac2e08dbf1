//! Blobs in files, at the paths of the Docker registry, so that its volumes are taken over where they are.
//!
//! Blobs stand at `docker/registry/v2/blobs/<algorithm>/<first two digits>/<digits>/data`, uploads at
//! `shale/uploads/<id>`, blobs that failed a check at `shale/quarantine/<algorithm>-<digits>`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shale_oci::{Algorithm, Digest, Digester};

use super::append::{BlobWriter, Paused};
use super::{Blob, BlobError, BlobStore, Pending, PublishError};
use crate::name::UploadId;

const HASH_AGAIN_BYTES: usize = 1 << 20;

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
        let all = [&store.blobs, &store.uploads, &store.quarantine];
        // The quarantine is made last, so where it is, the others are durable. Each sync waits for the disk, and a start
        // should not wait eight times.
        if all.iter().all(|directory| directory.is_dir()) {
            return Ok(store);
        }
        for directory in [&store.blobs, &store.uploads] {
            fs::create_dir_all(directory).map_err(BlobError::io("make the store's directories"))?;
        }
        let below =
            |path: &Path| path.ancestors().take_while(|path| *path != root).map(Path::to_owned).collect();
        let mut made: Vec<PathBuf> = below(&store.blobs);
        made.extend(below(&store.uploads));
        for directory in made.iter().map(PathBuf::as_path).chain([root]) {
            sync_directory(directory).map_err(BlobError::io("make the store's directories durable"))?;
        }
        fs::create_dir_all(&store.quarantine).map_err(BlobError::io("make the store's directories"))?;
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
                .write(true)
                .create(true)
                .truncate(false)
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
                    Paused { digester, received, algorithm, written_through: 0 }
                }
            };
            Ok(BlobWriter::new(path, file, paused))
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}
