//! An OCI layout that is read: a folder, or the same files in an archive.
//!
//! Source: OCI image-spec v1.1, image-layout.md.

use std::collections::HashMap;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bytes::Bytes;
use serde::Deserialize;
use shale_oci::{
    Descriptor, Digest, Digester, MANIFEST_SIZE_MAX, Unverified, Verified, VerifyError, media_type,
};
use shale_registry_client::{BlobSource, ByteStream};

use super::graph::{Node, is_document};
use super::place::EntryName;
use crate::archive::MembersError;
use crate::archive::members::{Content, Input, Links, Members};
use crate::push::manifest::docker_manifest;

/// The annotation that names an image of a layout.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation in which docker and containerd put the whole name.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Entries of `index.json`.
pub(super) const ENTRIES_MAX: usize = 10_000;
const READ_SIZE: usize = 256 << 10;

/// Why a layout cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// There is no layout.
    #[error("{0} is not an OCI layout: it has no index.json")]
    NotALayout(PathBuf),
    /// There is no archive of docker's.
    #[error("{0} is not an archive of images: it has no manifest.json")]
    NotAnArchive(PathBuf),
    /// The archive could not be opened.
    #[error("could not open {path}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not there or cannot be read.
    #[error("could not read {path}")]
    Member {
        /// Which folder or archive.
        path: PathBuf,
        /// Why.
        source: MembersError,
    },
    /// A layer of an archive cannot be read.
    #[error("could not read a layer of {path}")]
    Layer {
        /// Which archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More entries than any honest index has.
    #[error("the index of {0} has more than {ENTRIES_MAX} entries")]
    TooManyEntries(PathBuf),
    /// Its index is malformed.
    #[error("the index of {path} is malformed")]
    Index {
        /// Which folder or archive.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// No image of that name.
    #[error("no image {name:?} in {path}; it has {}", names(.offered))]
    NoSuchImage {
        /// What was asked for.
        name: String,
        /// Which layout.
        path: PathBuf,
        /// What it has.
        offered: Vec<String>,
    },
    /// Several images and no name.
    #[error("{path} has more than one image; choose one of {}", names(.offered))]
    Several {
        /// Which layout.
        path: PathBuf,
        /// What it has.
        offered: Vec<String>,
    },
    /// A document is not the one that was asked for.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

fn names(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[derive(Debug, Default, Deserialize)]
struct IndexFile {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// One image of `manifest.json`, as `docker save` writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// An open layout.
pub(super) struct Layout {
    /// The folder, or the archive.
    path: PathBuf,
    members: Members,
    entries: Vec<Descriptor>,
    /// Manifests by what they are about.
    referrers: HashMap<Digest, Vec<Descriptor>>,
    /// Manifests that were made, for archives that have none.
    made: HashMap<Digest, Bytes>,
    /// Where blobs are, in archives of another layout.
    places: HashMap<Digest, String>,
}

impl Layout {
    /// Opens a folder.
    pub fn open_directory(directory: &Path) -> Result<Layout, LayoutError> {
        Layout::open(directory, Input::Directory(directory.to_owned()))
    }

    /// Opens an archive; one that is compressed is unpacked into a nameless file of the system's temporary folder.
    pub fn open_archive(path: &Path) -> Result<Layout, LayoutError> {
        Layout::open(path, archive(path)?)
    }

    fn open(path: &Path, input: Input) -> Result<Layout, LayoutError> {
        let layout = Layout::of_members(path, input)?;
        if layout.members.has("index.json") {
            layout.with_index()
        } else {
            Err(LayoutError::NotALayout(path.to_owned()))
        }
    }

    /// Opens an archive that `docker save` wrote. From version 25 on it is a layout too, and has the manifests.
    pub fn open_docker_archive(path: &Path) -> Result<Layout, LayoutError> {
        let layout = Layout::of_members(path, archive(path)?)?;
        if layout.members.has("index.json") { layout.with_index() } else { layout.with_made_manifests() }
    }

    fn of_members(path: &Path, input: Input) -> Result<Layout, LayoutError> {
        let opened = Members::open(input, &std::env::temp_dir());
        let members = opened.map_err(|source| LayoutError::Member { path: path.to_owned(), source })?;
        Ok(Layout {
            path: path.to_owned(),
            members,
            entries: Vec::new(),
            referrers: HashMap::new(),
            made: HashMap::new(),
            places: HashMap::new(),
        })
    }

    fn with_index(mut self) -> Result<Layout, LayoutError> {
        let bytes = self.read("index.json", MANIFEST_SIZE_MAX)?;
        let file: IndexFile = serde_json::from_slice(&bytes).map_err(|source| self.malformed(source))?;
        self.entries = file.manifests;
        if self.entries.len() > ENTRIES_MAX {
            return Err(LayoutError::TooManyEntries(self.path));
        }
        self.find_referrers();
        Ok(self)
    }

    /// Makes the manifests that an old archive does not have. Config and layers stay as they are, layers mostly as plain
    /// tars, so the same archive always gives the same digests.
    fn with_made_manifests(mut self) -> Result<Layout, LayoutError> {
        if !self.members.has("manifest.json") {
            return Err(LayoutError::NotAnArchive(self.path));
        }
        let bytes = self.read("manifest.json", MANIFEST_SIZE_MAX)?;
        let images: Vec<SavedImage> =
            serde_json::from_slice(&bytes).map_err(|source| self.malformed(source))?;
        let mut hashed: HashMap<String, Descriptor> = HashMap::new();
        for image in images {
            let config = self.describe(&image.config, Some(media_type::DOCKER_CONFIG))?;
            let mut layers = Vec::new();
            for member in image.layers.unwrap_or_default() {
                let layer = match hashed.get(&member) {
                    Some(layer) => layer.clone(),
                    None => self.describe(&member, None)?,
                };
                hashed.insert(member, layer.clone());
                layers.push(layer);
            }
            let manifest = Bytes::from(docker_manifest(&config, &layers));
            let digest = Digest::sha256(&manifest);
            let entry = Descriptor::new(media_type::DOCKER_MANIFEST, digest, manifest.len() as u64);
            self.made.insert(digest, manifest);
            let names = image.repo_tags.unwrap_or_default();
            let annotated = names.iter().map(|name| Descriptor {
                annotations: Some([(CONTAINERD_NAME.to_owned(), full_name(name))].into()),
                ..entry.clone()
            });
            self.entries.extend(annotated);
            if names.is_empty() {
                self.entries.push(entry);
            }
        }
        Ok(self)
    }

    /// Hashes a member of an archive and notes where it is; without a type, it is a layer.
    fn describe(&mut self, member: &str, media_type: Option<&str>) -> Result<Descriptor, LayoutError> {
        let mut content = self.find(member, Links::Follow)?;
        let size_bytes = content.left_bytes();
        let mut digester = Digester::sha256();
        let mut start = [0; 4];
        let mut buffer = vec![0; READ_SIZE];
        let mut is_first = true;
        loop {
            let count = content
                .read(&mut buffer)
                .map_err(|source| LayoutError::Layer { path: self.path.clone(), source })?;
            if count == 0 {
                break;
            }
            if std::mem::take(&mut is_first) && count >= start.len() {
                start.copy_from_slice(&buffer[..4]);
            }
            digester.update(&buffer[..count]);
        }
        let media_type = media_type.unwrap_or(match start {
            [0x1f, 0x8b, ..] => media_type::DOCKER_LAYER_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd] => media_type::DOCKER_LAYER_ZSTD,
            _ => media_type::DOCKER_LAYER,
        });
        let digest = digester.finish();
        self.places.insert(digest, member.to_owned());
        Ok(Descriptor::new(media_type, digest, size_bytes))
    }

    fn malformed(&self, source: serde_json::Error) -> LayoutError {
        LayoutError::Index { path: self.path.clone(), source }
    }

    fn read(&self, member: &str, bytes_max: u64) -> Result<Vec<u8>, LayoutError> {
        let read = self.members.read(member, bytes_max);
        read.map_err(|source| LayoutError::Member { path: self.path.clone(), source })
    }

    fn find(&self, member: &str, links: Links) -> Result<Content, LayoutError> {
        let found = self.members.find(member, links);
        found.map_err(|source| LayoutError::Member { path: self.path.clone(), source })
    }

    /// Notes which entries are about others, whether they stand in the index or under the tag that lists them.
    fn find_referrers(&mut self) {
        if self.entries.len() < 2 {
            return;
        }
        for entry in &self.entries {
            // What cannot be read is reported when somebody asks for it.
            let Ok(node) = self.document(entry).map_err(drop).and_then(|bytes| read_node(bytes, entry))
            else {
                continue;
            };
            let listed = annotation(entry, REF_NAME).and_then(|tag| fallback_subject(tag));
            if let Some(subject) = listed {
                let known = self.referrers.entry(subject).or_default();
                known.extend(node.children.iter().cloned());
            }
            if let Some(subject) = node.subject {
                self.referrers.entry(subject.digest).or_default().push(entry.clone());
            }
        }
    }

    /// Returns the entry that `name` means.
    pub fn entry(&self, name: &EntryName) -> Result<Descriptor, LayoutError> {
        let is_meant = |entry: &&Descriptor| match name {
            EntryName::Digest(digest) => entry.digest == *digest,
            EntryName::Named(name) => {
                [REF_NAME, CONTAINERD_NAME].iter().any(|key| annotation(entry, key) == Some(name))
            }
            EntryName::Only => !self.is_referrer(entry),
        };
        let mut found: Vec<&Descriptor> = self.entries.iter().filter(is_meant).collect();
        found.dedup_by_key(|entry| entry.digest);
        match found.as_slice() {
            [entry] => Ok((*entry).clone()),
            [] => Err(LayoutError::NoSuchImage {
                name: name.to_string(),
                path: self.path.clone(),
                offered: self.offered(),
            }),
            _ => Err(LayoutError::Several { path: self.path.clone(), offered: self.offered() }),
        }
    }

    fn is_referrer(&self, entry: &Descriptor) -> bool {
        annotation(entry, REF_NAME).is_some_and(|name| fallback_subject(name).is_some())
            || self.referrers.values().flatten().any(|referrer| referrer.digest == entry.digest)
    }

    fn offered(&self) -> Vec<String> {
        let own = self.entries.iter().filter(|entry| !self.is_referrer(entry));
        own.map(|entry| {
            let name = [REF_NAME, CONTAINERD_NAME].iter().find_map(|key| annotation(entry, key));
            name.map_or_else(|| format!("@{}", entry.digest), |name| format!(":{name}"))
        })
        .collect()
    }

    /// Returns what is about `digest`.
    pub fn referrers(&self, digest: Digest) -> Vec<Descriptor> {
        self.referrers.get(&digest).cloned().unwrap_or_default()
    }

    /// Reads a document and checks it.
    pub fn document(&self, descriptor: &Descriptor) -> Result<Verified, LayoutError> {
        let bytes = match self.made.get(&descriptor.digest) {
            Some(made) => made.clone(),
            None => self.read(&blob_name(descriptor.digest), MANIFEST_SIZE_MAX)?.into(),
        };
        Ok(Unverified::new(bytes).verify(descriptor)?)
    }

    /// Returns a blob as something to read from.
    pub fn blob(&self, digest: Digest) -> Result<MemberBlob, LayoutError> {
        let content = match self.places.get(&digest) {
            Some(member) => self.find(member, Links::Follow)?,
            None => self.find(&blob_name(digest), Links::Refuse)?,
        };
        Ok(MemberBlob(content))
    }
}

fn archive(path: &Path) -> Result<Input, LayoutError> {
    let opened = File::open(path);
    Ok(Input::File(opened.map_err(|source| LayoutError::Open { path: path.to_owned(), source })?))
}

/// Returns the name that docker means, domain and tag included; what is no name stays.
fn full_name(name: &str) -> String {
    name.parse::<shale_oci::Reference>().map_or_else(|_| name.to_owned(), |name| name.or_latest().to_string())
}

fn read_node(bytes: Verified, entry: &Descriptor) -> Result<Node, ()> {
    if is_document(&entry.media_type) == Some(false) {
        return Err(());
    }
    Node::read(bytes, &entry.media_type).map_err(drop)
}

fn annotation<'a>(entry: &'a Descriptor, key: &str) -> Option<&'a String> {
    entry.annotations.as_ref()?.get(key)
}

/// Returns which digest a tag like `sha256-<hex>` lists the referrers of.
fn fallback_subject(tag: &str) -> Option<Digest> {
    let (algorithm, hex) = tag.split_once('-')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// Returns where a layout has a blob.
pub(super) fn blob_name(digest: Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// A file, or a part of an archive, to read a blob from.
pub(super) struct MemberBlob(Content);

impl BlobSource for MemberBlob {
    fn open(&self, offset: u64) -> Pin<Box<dyn Future<Output = io::Result<ByteStream>> + Send + '_>> {
        let mut content = self.0.clone();
        content.skip(offset);
        let chunks = futures_util::stream::try_unfold(content, |mut content| async move {
            let reading = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; READ_SIZE];
                let count = content.read(&mut chunk)?;
                chunk.truncate(count);
                Ok((count > 0).then(|| (Bytes::from(chunk), content)))
            });
            reading.await.expect("reading does not panic")
        });
        let stream: ByteStream = Box::pin(chunks);
        Box::pin(std::future::ready(Ok(stream)))
    }
}
