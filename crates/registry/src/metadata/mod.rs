//! What the registry knows: repositories, tags, manifests, which repository holds which blob, open uploads.
//!
//! Promise: when a call that changes something returns, the change is durable, and every later read sees it; a call that
//! fails changed nothing.
//! Not here: blob bytes, file paths, HTTP.

mod cache;
#[cfg(test)]
mod contract;
pub mod sqlite;

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use shale_oci::{Algorithm, Digest};

use crate::api::route::Reference;
use crate::maintenance::check::Finding;
use crate::name::{RepositoryName, Tag, UploadId};
use crate::takeover::ImportedRepository;

/// A future of a metadata operation.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, MetadataError>> + Send + 'a>>;

/// Milliseconds since 1970.
pub type UnixMillis = i64;

/// A manifest as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes, as they were pushed.
    pub bytes: Bytes,
}

/// A manifest that is to be stored.
#[derive(Debug, Clone)]
pub struct NewManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Bytes,
    /// Its artifact type.
    pub artifact_type: Option<String>,
    /// The manifest that it refers to.
    pub subject: Option<Digest>,
    /// The descriptor by which its subject lists it, as JSON.
    pub referrer: Option<String>,
    /// Blobs and manifests that it names, each once.
    pub targets: Vec<Target>,
    /// The tags that it gets.
    pub tags: Vec<Tag>,
}

/// Something that a manifest names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Its digest.
    pub digest: Digest,
    /// What it is.
    pub kind: TargetKind,
    /// Its size in bytes, as the manifest says.
    pub size_bytes: u64,
}

/// What a manifest names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// A config or a layer.
    Blob,
    /// A child of an index.
    Manifest,
}

/// A part of a sorted list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The entries after this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// An upload that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// Its name.
    pub id: UploadId,
    /// The repository it was opened in.
    pub repository: RepositoryName,
    /// The algorithm that its bytes are hashed with while they arrive.
    pub algorithm: Algorithm,
    /// When bytes last arrived.
    pub touched_at: UnixMillis,
}

/// A repository, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositorySummary {
    /// Its name.
    pub name: String,
    /// Number of its tags.
    pub tags: u64,
    /// Number of its manifests.
    pub manifests: u64,
    /// Bytes of the blobs that it holds; blobs that other repositories hold too count here too.
    pub size_bytes: u64,
    /// When a manifest or a tag last arrived.
    pub pushed_at: UnixMillis,
}

/// A tag, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSummary {
    /// The tag.
    pub name: String,
    /// What it points at.
    pub digest: Digest,
    /// The media type of that.
    pub media_type: String,
    /// When it was set last.
    pub pushed_at: UnixMillis,
    /// Bytes of the manifest's blobs, and of its children's for an index.
    pub size_bytes: u64,
}

/// A manifest that refers to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Its digest.
    pub digest: Digest,
    /// Its descriptor, as JSON.
    pub descriptor: String,
}

/// Which links of blobs to repositories a collection may cut, decided once for each link inside of the transaction.
pub type MayCut = Box<dyn FnMut(&str, Digest) -> bool + Send>;

/// What a step of the garbage collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    /// Rows that went.
    pub rows: u64,
    /// Whether more are left for another step.
    pub more: bool,
}

/// The metadata of a registry.
pub trait Metadata: Send + Sync {
    /// Returns the size of a blob that the repository holds.
    fn find_blob<'a>(&'a self, repository: &'a RepositoryName, digest: Digest) -> Pending<'a, Option<u64>>;
    /// Notes a blob that is in the store now and that the repository holds it.
    fn link_blob(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        size_bytes: u64,
        now: UnixMillis,
    ) -> Pending<'_, ()>;
    /// Has the repository hold a blob that `sources` (any repository, when there are none) hold. Returns whether one did.
    fn mount_blob(
        &self,
        repository: &RepositoryName,
        sources: Vec<RepositoryName>,
        digest: Digest,
        now: UnixMillis,
    ) -> Pending<'_, Option<u64>>;
    /// Returns up to `limit` repositories that hold the blob.
    fn holders(&self, digest: Digest, limit: usize) -> Pending<'_, Vec<RepositoryName>>;
    /// Has the repository hold the blob no more. Returns whether it did.
    fn unlink_blob(&self, repository: &RepositoryName, digest: Digest) -> Pending<'_, bool>;

    /// Returns a manifest.
    fn find_manifest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> Pending<'a, Option<Arc<StoredManifest>>>;
    /// Returns those of `targets` that the repository does not have, in their order, and for blobs of another size theirs.
    fn missing(&self, repository: &RepositoryName, targets: Vec<Target>) -> Pending<'_, Missing>;
    /// Stores a manifest and sets its tags, all or nothing.
    fn put_manifest(
        &self,
        repository: &RepositoryName,
        manifest: NewManifest,
        now: UnixMillis,
    ) -> Pending<'_, ()>;
    /// Removes a manifest and the tags on it; returns those tags, or nothing when there was no such manifest.
    fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: Digest,
    ) -> Pending<'_, Option<Vec<String>>>;
    /// Removes a tag; returns what it pointed at.
    fn delete_tag(&self, repository: &RepositoryName, tag: &Tag) -> Pending<'_, Option<Digest>>;
    /// Removes a repository with all that it holds. Returns whether it existed.
    fn delete_repository(&self, repository: &RepositoryName) -> Pending<'_, bool>;

    /// Returns tags in byte order, or nothing when there is no such repository.
    fn tags(&self, repository: &RepositoryName, page: Page) -> Pending<'_, Option<Vec<String>>>;
    /// Returns the names of the repositories that have a manifest, in byte order.
    fn repositories(&self, page: Page) -> Pending<'_, Vec<String>>;
    /// Returns the manifests that refer to `subject`, by digest; of one artifact type, when one is given.
    fn referrers(
        &self,
        repository: &RepositoryName,
        subject: Digest,
        artifact_type: Option<String>,
        page: Page,
    ) -> Pending<'_, Vec<Referrer>>;

    /// Returns repositories for people, those whose name contains `search`.
    fn summaries(&self, search: String, page: Page) -> Pending<'_, Vec<RepositorySummary>>;
    /// Returns tags for people, newest first.
    fn tag_summaries(
        &self,
        repository: &RepositoryName,
        offset: usize,
        limit: usize,
    ) -> Pending<'_, Vec<TagSummary>>;
    /// Returns the tags on a manifest.
    fn tags_of(&self, repository: &RepositoryName, digest: Digest) -> Pending<'_, Vec<String>>;

    /// Notes an open upload. This alone is not forced to the disk: it survives the process, not the power.
    fn create_upload(&self, upload: OpenUpload) -> Pending<'_, ()>;
    /// Returns an open upload.
    fn find_upload(&self, id: UploadId) -> Pending<'_, Option<OpenUpload>>;
    /// Forgets an upload. Returns whether it was open.
    fn remove_upload(&self, id: UploadId) -> Pending<'_, bool>;
    /// Returns up to `limit` uploads that nothing was sent to since `before`.
    fn uploads_before(&self, before: UnixMillis, limit: usize) -> Pending<'_, Vec<OpenUpload>>;

    /// Removes manifests that no tag, no index and no subject keeps alive and that were pushed before `before`.
    fn cut_untagged(&self, before: UnixMillis, may_cut: MayCut) -> Pending<'_, Cut>;
    /// Removes links to blobs that no manifest of their repository names and that were made before `before`.
    fn cut_links(&self, before: UnixMillis, limit: usize, may_cut: MayCut) -> Pending<'_, Cut>;
    /// Removes repositories that hold nothing and were made before `before`.
    fn cut_repositories(&self, before: UnixMillis) -> Pending<'_, Cut>;
    /// Returns up to `limit` blobs after `after` that no repository holds.
    fn unheld_blobs(&self, after: Option<Digest>, limit: usize) -> Pending<'_, Vec<Digest>>;
    /// Forgets those of `digests` that no repository holds; returns those.
    fn forget_blobs(&self, digests: Vec<Digest>) -> Pending<'_, Vec<Digest>>;
    /// Notes a repository of a volume that is taken over. Durable with the next setting that is set, not before.
    fn import_repository(&self, repository: ImportedRepository) -> Pending<'_, ()>;
    /// Returns a setting.
    fn setting(&self, name: &'static str) -> Pending<'_, Option<String>>;
    /// Sets a setting.
    fn set_setting(&self, name: &'static str, value: &'static str) -> Pending<'_, ()>;
    /// Notes an event for an endpoint; it stays until it is removed.
    fn queue_event(&self, endpoint: String, body: String, at: UnixMillis) -> Pending<'_, ()>;
    /// Returns the oldest event for an endpoint, with its number.
    fn next_event(&self, endpoint: String) -> Pending<'_, Option<(i64, String)>>;
    /// Removes a delivered event.
    fn remove_event(&self, number: i64) -> Pending<'_, ()>;
    /// Forgets a blob whose bytes are lost, and that any repository holds it. Manifests that name it stay.
    fn drop_blob(&self, digest: Digest) -> Pending<'_, ()>;
    /// Hashes all manifests and follows all tags; returns how many manifests there are, and what is wrong.
    fn check_manifests(&self) -> Pending<'_, (u64, Vec<Finding>)>;
    /// Returns which of `digests` are known as blobs.
    fn known_blobs(&self, digests: Vec<Digest>) -> Pending<'_, Vec<Digest>>;
    /// Returns up to `limit` known blobs after `after`, with their sizes, by digest.
    fn blobs(&self, after: Option<Digest>, limit: usize) -> Pending<'_, Vec<(Digest, u64)>>;
}

/// What a manifest names and the repository lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// Digests that the repository does not have.
    pub digests: Vec<Digest>,
    /// Blobs that it has with another size than the manifest says.
    pub other_size: Vec<Digest>,
}

/// Why a metadata operation did not succeed; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The disk is full.
    #[error("the metadata storage is full")]
    Full {
        /// What the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database failed.
    #[error("the metadata storage failed")]
    Database {
        /// What the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry is shutting down.
    #[error("the metadata storage is closed")]
    Closed,
}
