//! The walk through a volume: plain blocking reads, one repository at a time.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use serde_json::Value;
use shale_oci::Digest;
use tokio::sync::mpsc::Sender;

use super::{Damage, DamageKind, ImportError, ImportedRepository, REPOSITORIES};
use crate::manifest::{self, MANIFEST_SIZE_MAX};
use crate::metadata::{NewManifest, Target, TargetKind, UnixMillis};
use crate::name::{RepositoryName, Tag};

/// What the walk comes upon.
pub(super) enum Found {
    Repository(Box<ImportedRepository>),
    Upload,
    Damage(Damage),
}

/// A link holds a digest and nothing else; more bytes than this are garbage.
const LINK_BYTES_MAX: u64 = 256;
/// Manifests that the Docker registry took may be a little larger than ours.
const MANIFEST_READ_MAX: u64 = 4 * MANIFEST_SIZE_MAX as u64;

struct Scan<'a> {
    blobs: PathBuf,
    repositories: PathBuf,
    found: &'a Sender<Found>,
}

pub(super) fn volume(root: &Path, found: &Sender<Found>) -> Result<(), ImportError> {
    let repositories = root.join(REPOSITORIES);
    let scan =
        Scan { blobs: root.join("docker/registry/v2/blobs"), repositories: repositories.clone(), found };
    match fs::read_dir(&repositories) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ImportError::Read { path: repositories, source }),
        Ok(_) => {}
    }
    // Names nest without end; what is still to do is kept here and not on the stack.
    let mut directories = vec![repositories];
    while let Some(directory) = directories.pop() {
        let mut is_repository = false;
        for entry in scan.entries(&directory) {
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                scan.damage(&entry.path(), DamageKind::Name);
                continue;
            };
            match name.as_str() {
                "_manifests" | "_layers" => is_repository = true,
                "_uploads" => scan.entries(&entry.path()).iter().for_each(|_| scan.tell(Found::Upload)),
                _ if name.starts_with('_') => {}
                _ if entry.path().is_dir() => directories.push(entry.path()),
                _ => {}
            }
        }
        if is_repository {
            scan.repository(&directory);
        }
    }
    Ok(())
}

impl Scan<'_> {
    fn tell(&self, found: Found) {
        // Nobody listens any more when the import failed; the walk ends soon.
        let _ = self.found.blocking_send(found);
    }

    fn damage(&self, path: &Path, kind: DamageKind) {
        let path = path.strip_prefix(&self.repositories).unwrap_or(path).to_string_lossy().into_owned();
        self.tell(Found::Damage(Damage { path, kind }));
    }

    /// Returns what stands in a directory; one that is missing is empty.
    fn entries(&self, directory: &Path) -> Vec<DirEntry> {
        match fs::read_dir(directory) {
            Ok(entries) => entries.filter_map(Result::ok).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(_) => {
                self.damage(directory, DamageKind::Unreadable);
                Vec::new()
            }
        }
    }

    fn repository(&self, directory: &Path) {
        let name = directory.strip_prefix(&self.repositories).ok().and_then(Path::to_str);
        let Some(name) = name.and_then(|name| RepositoryName::parse(name).ok()) else {
            return self.damage(directory, DamageKind::Name);
        };
        let mut repository =
            ImportedRepository { name, blobs: Vec::new(), manifests: Vec::new(), tags: Vec::new() };
        for (path, named, linked, at) in self.links(&directory.join("_layers")) {
            if let Some(size_bytes) = self.blob(&path, named, linked) {
                repository.blobs.push((named, size_bytes, at));
            }
        }
        for (path, _, digest, at) in self.links(&directory.join("_manifests/revisions")) {
            if let Some(manifest) = self.manifest(&path, digest) {
                repository.manifests.push((manifest, at));
            }
        }
        self.tags(directory, &mut repository);
        self.tell(Found::Repository(Box::new(repository)));
    }

    /// Returns the links below `<algorithm>/<digits>`: path, digest in the path, digest in the link, time.
    fn links(&self, directory: &Path) -> Vec<(PathBuf, Digest, Digest, UnixMillis)> {
        let mut links = Vec::new();
        for algorithm in self.entries(directory) {
            for entry in self.entries(&algorithm.path()) {
                let text = format!(
                    "{}:{}",
                    algorithm.file_name().to_string_lossy(),
                    entry.file_name().to_string_lossy()
                );
                let path = entry.path().join("link");
                let Ok(named) = text.parse() else {
                    self.damage(&entry.path(), DamageKind::Name);
                    continue;
                };
                // A directory without a link is what a deletion leaves.
                if let Some((digest, at)) = self.link(&path) {
                    links.push((path, named, digest, at));
                }
            }
        }
        links
    }

    fn link(&self, path: &Path) -> Option<(Digest, UnixMillis)> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(_) => {
                self.damage(path, DamageKind::Unreadable);
                return None;
            }
        };
        if metadata.len() == 0 {
            self.damage(path, DamageKind::EmptyLink);
            return None;
        }
        let small = metadata.is_file() && metadata.len() <= LINK_BYTES_MAX;
        let text = if small { fs::read_to_string(path).ok() } else { None };
        let Some(digest) = text.and_then(|text| text.trim_end().parse().ok()) else {
            self.damage(path, DamageKind::GarbageLink);
            return None;
        };
        let at = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Some((digest, at.map_or(0, |at| UnixMillis::try_from(at.as_millis()).unwrap_or(0))))
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        let digits = digest.hex();
        self.blobs.join(digest.algorithm().name()).join(&digits[..2]).join(digits).join("data")
    }

    /// Returns the size of the blob that a link leads to. A blob that was pushed under another algorithm than the one it is
    /// stored by gets a second name.
    fn blob(&self, link: &Path, named: Digest, stored: Digest) -> Option<u64> {
        let path = self.blob_path(stored);
        let Ok(metadata) = fs::metadata(&path) else {
            self.damage(link, DamageKind::MissingBlob);
            return None;
        };
        if metadata.len() == 0 && stored != Digest::of(stored.algorithm(), b"") {
            self.damage(link, DamageKind::EmptyBlob);
            return None;
        }
        if named != stored && !self.blob_path(named).exists() {
            let second = self.blob_path(named);
            let linked = second
                .parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::hard_link(&path, &second));
            if linked.is_err() {
                self.damage(link, DamageKind::Unreadable);
                return None;
            }
        }
        Some(metadata.len())
    }

    fn manifest(&self, link: &Path, digest: Digest) -> Option<NewManifest> {
        let path = self.blob_path(digest);
        let size_bytes = fs::metadata(&path).map(|metadata| metadata.len());
        let bytes = match size_bytes {
            Ok(size_bytes) if size_bytes <= MANIFEST_READ_MAX => fs::read(&path),
            Ok(_) => Err(io::ErrorKind::FileTooLarge.into()),
            Err(error) => Err(error),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                let missing = error.kind() == io::ErrorKind::NotFound;
                self.damage(link, if missing { DamageKind::MissingBlob } else { DamageKind::Unreadable });
                return None;
            }
        };
        if Digest::of(digest.algorithm(), &bytes) != digest {
            self.damage(link, DamageKind::DamagedManifest);
            return None;
        }
        match read_manifest(digest, bytes) {
            Ok(manifest) => Some(manifest),
            Err(kind) => {
                self.damage(link, kind);
                None
            }
        }
    }

    fn tags(&self, directory: &Path, repository: &mut ImportedRepository) {
        let known: std::collections::HashSet<Digest> =
            repository.manifests.iter().map(|(manifest, _)| manifest.digest).collect();
        for entry in self.entries(&directory.join("_manifests/tags")) {
            let Some(tag) = entry.file_name().to_str().and_then(|tag| Tag::parse(tag).ok()) else {
                self.damage(&entry.path(), DamageKind::Name);
                continue;
            };
            let path = entry.path().join("current/link");
            match self.link(&path) {
                Some((digest, at)) if known.contains(&digest) => repository.tags.push((tag, digest, at)),
                Some(_) => self.damage(&path, DamageKind::LostTag),
                None => {}
            }
        }
    }
}

/// Reads a manifest strictly, or, when its former owner took what we would refuse today, as far as it can be read.
fn read_manifest(digest: Digest, bytes: Vec<u8>) -> Result<NewManifest, DamageKind> {
    if let Ok(parsed) = manifest::parse(&bytes, None) {
        let target = |kind| {
            move |named: &manifest::Descriptor| Target {
                digest: named.digest,
                kind,
                size_bytes: named.size_bytes,
            }
        };
        let blobs = parsed.blobs.iter().map(target(TargetKind::Blob));
        let targets = blobs.chain(parsed.manifests.iter().map(target(TargetKind::Manifest))).collect();
        let subject = parsed.subject.as_ref().map(|subject| subject.digest);
        return Ok(NewManifest {
            digest,
            referrer: subject.map(|_| parsed.referrer(digest, bytes.len()).to_string()),
            media_type: parsed.media_type,
            bytes: Bytes::from(bytes),
            artifact_type: parsed.artifact_type,
            subject,
            targets,
            tags: Vec::new(),
        });
    }
    let document: Value = serde_json::from_slice(&bytes).map_err(|_| DamageKind::NoManifest)?;
    match document.get("schemaVersion").and_then(Value::as_u64) {
        Some(2) => {}
        Some(1) => return Err(DamageKind::SchemaOne),
        _ => return Err(DamageKind::NoManifest),
    }
    let named =
        document.get("mediaType").and_then(Value::as_str).filter(|named| manifest::kind_of(named).is_some());
    let shape =
        if document.get("manifests").is_some() { manifest::OCI_INDEX } else { manifest::OCI_MANIFEST };
    let mut targets = Vec::new();
    let mut add = |descriptor: &Value, kind| {
        let digest = descriptor.get("digest").and_then(Value::as_str).and_then(|digest| digest.parse().ok());
        let size_bytes = descriptor.get("size").and_then(Value::as_u64).unwrap_or(0);
        targets.extend(digest.map(|digest| Target { digest, kind, size_bytes }));
    };
    document.get("config").into_iter().for_each(|config| add(config, TargetKind::Blob));
    let list = |key| document.get(key).and_then(Value::as_array).into_iter().flatten();
    list("layers").for_each(|layer| add(layer, TargetKind::Blob));
    list("manifests").for_each(|child| add(child, TargetKind::Manifest));
    Ok(NewManifest {
        digest,
        media_type: named.unwrap_or(shape).to_owned(),
        bytes: Bytes::from(bytes),
        artifact_type: None,
        subject: None,
        referrer: None,
        targets,
        tags: Vec::new(),
    })
}
