//! Takes over a volume of the Docker registry where it is: blobs stay, links become metadata.
//!
//! Promise: nothing of the volume is changed or removed; what cannot be used is reported and skipped, and a run that was
//! stopped in the middle is simply made again.

mod scan;

use std::path::Path;
use std::time::{Duration, Instant};

use shale_oci::Digest;

use crate::metadata::{Metadata, MetadataError, NewManifest, UnixMillis};
use crate::name::{RepositoryName, Tag};

/// Where the Docker registry keeps its repositories, below its root.
pub const REPOSITORIES: &str = "docker/registry/v2/repositories";
/// The setting that a finished takeover leaves.
pub(crate) const SETTING: &str = "taken_over";
/// How many findings are kept in full; the rest is counted.
const FINDINGS_MAX: usize = 10_000;

/// What a takeover did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Imported {
    /// Repositories.
    pub repositories: u64,
    /// Tags.
    pub tags: u64,
    /// Manifests.
    pub manifests: u64,
    /// Links of repositories to blobs.
    pub blobs: u64,
    /// Uploads that were open, which nobody can go on with.
    pub uploads_left: u64,
    /// What was skipped, and why.
    pub findings: Vec<Damage>,
    /// How many more findings there were than are listed.
    pub findings_more: u64,
}

/// Something of the volume that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Damage {
    /// Its path, below the repositories.
    pub path: String,
    /// What is wrong with it.
    pub kind: DamageKind,
}

/// What can be wrong with a part of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DamageKind {
    /// A name that no repository or tag can have.
    Name,
    /// A link of no bytes: a crash of the former owner.
    EmptyLink,
    /// A link that holds no digest.
    GarbageLink,
    /// A link to a blob that is not there.
    MissingBlob,
    /// A blob of no bytes whose digest says otherwise.
    EmptyBlob,
    /// A tag on a manifest that the repository does not have.
    LostTag,
    /// A manifest whose bytes are not those of its digest.
    DamagedManifest,
    /// A manifest of schema version 1, which no client of today reads.
    SchemaOne,
    /// A manifest that is no manifest.
    NoManifest,
    /// A file or directory that cannot be read.
    Unreadable,
}

/// One repository of a volume.
#[derive(Debug, Clone)]
pub struct ImportedRepository {
    /// Its name.
    pub name: RepositoryName,
    /// Its blobs, with size and time.
    pub blobs: Vec<(Digest, u64, UnixMillis)>,
    /// Its manifests, with time.
    pub manifests: Vec<(NewManifest, UnixMillis)>,
    /// Its tags, with time.
    pub tags: Vec<(Tag, Digest, UnixMillis)>,
}

/// Why a takeover stopped.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The volume cannot be read at all.
    #[error("could not read {path}")]
    Read {
        /// The directory.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The metadata failed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// Imports the volume below `root` into `metadata`, telling `progress` now and then how far it is.
///
/// # Errors
/// [`ImportError`]; the next call begins again.
pub async fn import(
    root: &Path,
    metadata: &dyn Metadata,
    mut progress: impl FnMut(&Imported),
) -> Result<Imported, ImportError> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
    let directory = root.to_owned();
    let scanning = tokio::task::spawn_blocking(move || scan::volume(&directory, &sender));
    let mut imported = Imported::default();
    let mut told = Instant::now();
    while let Some(found) = receiver.recv().await {
        match found {
            scan::Found::Repository(repository) => {
                imported.repositories += 1;
                imported.tags += repository.tags.len() as u64;
                imported.manifests += repository.manifests.len() as u64;
                imported.blobs += repository.blobs.len() as u64;
                metadata.import_repository(*repository).await?;
            }
            scan::Found::Upload => imported.uploads_left += 1,
            scan::Found::Damage(damage) if imported.findings.len() < FINDINGS_MAX => {
                tracing::warn!("skipped {}: {:?}", damage.path, damage.kind);
                imported.findings.push(damage);
            }
            scan::Found::Damage(_) => imported.findings_more += 1,
        }
        if told.elapsed() >= Duration::from_secs(1) {
            told = Instant::now();
            progress(&imported);
        }
    }
    match scanning.await {
        Ok(scanned) => scanned?,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
    // This alone is forced to the disk, and everything before it with it.
    metadata.set_setting(SETTING, "1").await?;
    progress(&imported);
    Ok(imported)
}
