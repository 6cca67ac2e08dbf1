//! An OCI layout that is written: blobs first, each complete and on the disk before it has its name, `index.json` last.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value, json};
use shale_oci::{Algorithm, Descriptor, Digest, Digester, MANIFEST_SIZE_MAX, VerifyError};
use shale_registry_client::BlobSource as _;
use tokio::sync::mpsc;

use super::CopyError;
use super::checked::CheckedBlob;
use super::layout::{REF_NAME, blob_name};
use super::place::EntryName;

/// What the file `oci-layout` says.
pub(super) const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// Where blobs are until they are complete; what an interrupted copy left is taken up again.
const PARTIAL: &str = ".partial";
/// Chunks on their way to the disk.
const CHUNKS_MAX: usize = 32;

/// Why a layout was not written. What was complete before stays valid.
#[derive(Debug, thiserror::Error)]
pub enum WriteLayoutError {
    /// A folder with other things in it.
    #[error("{0} is not empty and not an OCI layout")]
    NotALayout(PathBuf),
    /// The disk failed.
    #[error("could not {what} {path}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// Where.
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
    /// The index that is there is no JSON.
    #[error("{path} is malformed")]
    Index {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The index that is there is no object with a list of manifests, or is too long.
    #[error("{0} is no index that can be added to")]
    StrangeIndex(PathBuf),
}

fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteLayoutError {
    let path = path.to_owned();
    move |source| WriteLayoutError::Disk { what, path, source }
}

/// A layout to write to; nobody else who asks writes to it meanwhile.
#[derive(Debug)]
pub(super) struct LayoutWriter {
    directory: PathBuf,
    name: EntryName,
    /// Locked until this is dropped.
    _marker: File,
}

impl LayoutWriter {
    /// Opens or makes a layout and waits until nobody else writes to it.
    pub fn open(directory: &Path, name: EntryName) -> Result<LayoutWriter, WriteLayoutError> {
        fs::create_dir_all(directory).map_err(disk("create", directory))?;
        let marker_path = directory.join("oci-layout");
        if !marker_path.exists() {
            let mut entries = fs::read_dir(directory).map_err(disk("read", directory))?;
            if entries.next().is_some() {
                return Err(WriteLayoutError::NotALayout(directory.to_owned()));
            }
        }
        let options = File::options().read(true).append(true).create(true).open(&marker_path);
        let mut marker = options.map_err(disk("open", &marker_path))?;
        flock(&marker, FlockOperation::LockExclusive)
            .map_err(|error| disk("lock", &marker_path)(error.into()))?;
        if marker.metadata().map_err(disk("read", &marker_path))?.len() == 0 {
            marker.write_all(OCI_LAYOUT.as_bytes()).map_err(disk("write", &marker_path))?;
            marker.sync_all().map_err(disk("sync", &marker_path))?;
        }
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(disk("create", &blobs))?;
        Ok(LayoutWriter { directory: directory.to_owned(), name, _marker: marker })
    }

    /// Returns whether a blob is here, whole and right.
    pub fn has_blob(&self, descriptor: &Descriptor) -> bool {
        let path = self.directory.join(blob_name(descriptor.digest));
        let Ok(file) = File::open(&path) else { return false };
        let is_long =
            file.metadata().is_ok_and(|known| known.is_file() && known.len() == descriptor.size_bytes);
        is_long
            && hash(file, descriptor.digest.algorithm())
                .is_ok_and(|(digester, _)| digester.finish() == descriptor.digest)
    }

    /// Writes a blob; what an earlier attempt left of it is not read again, unless it turns out to be wrong.
    pub async fn put_blob(&self, blob: CheckedBlob) -> Result<(), CopyError> {
        let digest = blob.descriptor.digest;
        let partial = self.partial(digest)?;
        let (file, kept_bytes) = resume(&partial, &blob)?;
        let mut fetched = fetch(&blob, file, kept_bytes, &partial).await;
        if kept_bytes > 0 && fetched.as_ref().is_err_and(is_wrong) {
            let file = File::create(&partial).map_err(disk("create", &partial))?;
            blob.take_over(Digester::new(digest.algorithm()), 0);
            fetched = fetch(&blob, file, 0, &partial).await;
        }
        if fetched.as_ref().is_err_and(is_wrong) {
            // Wrong bytes are no use to anybody; bytes that only stopped coming are.
            let _ = fs::remove_file(&partial);
        }
        fetched?;
        Ok(self.publish(&partial, &self.directory.join(blob_name(digest)))?)
    }

    /// Writes a document.
    pub fn put_document(&self, digest: Digest, bytes: &[u8]) -> Result<(), WriteLayoutError> {
        let partial = self.partial(digest)?;
        let mut file = File::create(&partial).map_err(disk("create", &partial))?;
        file.write_all(bytes).map_err(disk("write", &partial))?;
        file.sync_all().map_err(disk("sync", &partial))?;
        self.publish(&partial, &self.directory.join(blob_name(digest)))
    }

    fn partial(&self, digest: Digest) -> Result<PathBuf, WriteLayoutError> {
        let directory = self.directory.join(PARTIAL);
        fs::create_dir_all(&directory).map_err(disk("create", &directory))?;
        Ok(directory.join(format!("{}-{}", digest.algorithm(), digest.hex())))
    }

    fn publish(&self, from: &Path, to: &Path) -> Result<(), WriteLayoutError> {
        let parent = to.parent().expect("a blob has a directory");
        fs::create_dir_all(parent).map_err(disk("create", parent))?;
        fs::rename(from, to).map_err(disk("rename", from))
    }

    /// Names the image, and lists what refers to it; from then on the copy is there.
    pub fn finish(&self, root: &Descriptor, referrers: &[Descriptor]) -> Result<(), WriteLayoutError> {
        for folder in ["blobs/sha256", "blobs/sha512", "blobs"] {
            let path = self.directory.join(folder);
            match File::open(&path).and_then(|directory| directory.sync_all()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(disk("sync", &path)(error));
                }
                _ => {}
            }
        }
        let path = self.directory.join("index.json");
        let mut index = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                json!({"schemaVersion": 2, "manifests": []})
            }
            Err(error) => return Err(disk("read", &path)(error)),
            Ok(bytes) if bytes.len() as u64 > MANIFEST_SIZE_MAX => {
                return Err(WriteLayoutError::StrangeIndex(path));
            }
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| WriteLayoutError::Index { path: path.clone(), source })?,
        };
        let name = match &self.name {
            EntryName::Named(name) => Some(name.as_str()),
            EntryName::Only | EntryName::Digest(_) => None,
        };
        add_entries(&mut index, name, root, referrers)
            .ok_or_else(|| WriteLayoutError::StrangeIndex(path.clone()))?;
        let draft = self.directory.join(".index.json.partial");
        let mut file = File::create(&draft).map_err(disk("create", &draft))?;
        file.write_all(index.to_string().as_bytes()).map_err(disk("write", &draft))?;
        file.sync_all().map_err(disk("sync", &draft))?;
        fs::rename(&draft, &path).map_err(disk("rename", &draft))?;
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(disk("sync", &self.directory))?;
        // What is left of other interrupted copies stays, for them to go on.
        let _ = fs::remove_dir(self.directory.join(PARTIAL));
        Ok(())
    }
}

/// Reads a blob from byte `from_byte` on to the end of `file`, and makes the file durable.
async fn fetch(
    blob: &CheckedBlob,
    mut file: File,
    from_byte: u64,
    path: &Path,
) -> Result<(), WriteLayoutError> {
    let digest = blob.descriptor.digest;
    let failed = |source| WriteLayoutError::Source { digest, source };
    let mut stream = blob.open(from_byte).await.map_err(failed)?;
    let (chunks, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_MAX);
    let path = path.to_owned();
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(chunk) = receiver.blocking_recv() {
            file.write_all(&chunk).map_err(disk("write", &path))?;
        }
        file.sync_all().map_err(disk("sync", &path))
    });
    let mut read = Ok(());
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => {
                if chunks.send(chunk).await.is_err() {
                    // The writer has stopped; it says below why.
                    break;
                }
            }
            Err(error) => {
                read = Err(failed(error));
                break;
            }
        }
    }
    drop(chunks);
    writing.await.expect("writing does not panic")?;
    read
}

/// Returns whether the bytes came and are not those of the digest.
fn is_wrong(error: &WriteLayoutError) -> bool {
    let WriteLayoutError::Source { source, .. } = error else { return false };
    source.get_ref().is_some_and(|inner| inner.is::<VerifyError>())
}

/// Opens what is there of a blob and hashes it; too long is from the begin.
fn resume(path: &Path, blob: &CheckedBlob) -> Result<(File, u64), WriteLayoutError> {
    let open = File::options().read(true).append(true).create(true).open(path);
    let file = open.map_err(disk("open", path))?;
    let copy = file.try_clone().map_err(disk("open", path))?;
    let (digester, bytes) = hash(copy, blob.descriptor.digest.algorithm()).map_err(disk("read", path))?;
    if bytes == 0 {
        return Ok((file, 0));
    }
    if bytes >= blob.descriptor.size_bytes {
        file.set_len(0).map_err(disk("truncate", path))?;
        return Ok((file, 0));
    }
    blob.take_over(digester, bytes);
    Ok((file, bytes))
}

fn hash(mut file: File, algorithm: Algorithm) -> io::Result<(Digester, u64)> {
    let mut digester = Digester::new(algorithm);
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((digester, bytes)),
            count => {
                digester.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}

/// Adds an image under a name, which it takes from whatever had it; other fields and entries stay as they are.
fn add_entries(
    index: &mut Value,
    name: Option<&str>,
    root: &Descriptor,
    referrers: &[Descriptor],
) -> Option<()> {
    let object = index.as_object_mut()?;
    let manifests = object.entry("manifests").or_insert_with(|| Value::Array(Vec::new()));
    let manifests = manifests.as_array_mut()?;
    let name_of = |entry: &Value| Some(entry.get("annotations")?.get(REF_NAME)?.as_str()?.to_owned());
    let digest_of = |entry: &Value| entry.get("digest").and_then(Value::as_str).map(str::to_owned);
    let root_digest = root.digest.to_string();
    manifests.retain(|entry| match name {
        Some(name) => name_of(entry).as_deref() != Some(name),
        None => name_of(entry).is_some() || digest_of(entry).as_ref() != Some(&root_digest),
    });
    manifests.push(entry(root, name));
    for referrer in referrers {
        let digest = referrer.digest.to_string();
        if !manifests.iter().any(|entry| digest_of(entry).as_ref() == Some(&digest)) {
            manifests.push(entry(referrer, None));
        }
    }
    Some(())
}

/// Returns an entry of `index.json`.
pub(super) fn entry(descriptor: &Descriptor, name: Option<&str>) -> Value {
    let mut entry = Map::new();
    entry.insert("mediaType".to_owned(), descriptor.media_type.as_str().into());
    entry.insert("digest".to_owned(), descriptor.digest.to_string().into());
    entry.insert("size".to_owned(), descriptor.size_bytes.into());
    if let Some(artifact_type) = &descriptor.artifact_type {
        entry.insert("artifactType".to_owned(), artifact_type.as_str().into());
    }
    if let Some(name) = name {
        entry.insert("annotations".to_owned(), json!({REF_NAME: name}));
    }
    Value::Object(entry)
}

/// Opens a layout without holding up other tasks while it waits for its turn.
pub(super) async fn open(directory: PathBuf, name: EntryName) -> Result<Arc<LayoutWriter>, WriteLayoutError> {
    let opening = tokio::task::spawn_blocking(move || LayoutWriter::open(&directory, name));
    opening.await.expect("opening does not panic").map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_moves_and_the_rest_of_the_index_stays() {
        let old = Descriptor::new("m", Digest::sha256(b"old"), 3);
        let new = Descriptor::new("m", Digest::sha256(b"new"), 3);
        let signature = Descriptor::new("m", Digest::sha256(b"signature"), 9);
        let mut index = json!({"schemaVersion": 2, "x": 1, "manifests": [entry(&old, Some("1")), entry(&old, Some("2"))]});
        add_entries(&mut index, Some("1"), &new, std::slice::from_ref(&signature)).unwrap();
        add_entries(&mut index, Some("1"), &new, std::slice::from_ref(&signature)).unwrap();
        let expected = json!({"schemaVersion": 2, "x": 1, "manifests": [
            entry(&old, Some("2")), entry(&signature, None), entry(&new, Some("1")),
        ]});
        assert_eq!(index, expected);
        assert!(add_entries(&mut json!([]), None, &new, &[]).is_none());
    }
}
