//! The garbage collection. It runs while requests run, in small steps, and locks no repository.
//!
//! Order of the steps: manifests that the policy lets go, links to blobs that no manifest names, blobs that no repository
//! holds, files that the metadata does not know, uploads that were left. A blob is forgotten in the metadata first and
//! removed from the store after, under the lock of its digest, so a push of the same bytes comes before or after, not between.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shale_oci::{Algorithm, Digest};

use crate::blob_store::BlobError;
use crate::config::Gc;
use crate::metadata::{Cut, MayCut, MetadataError, UnixMillis};
use crate::registry::{Registry, now};

/// How many links or blobs one step takes: a change waits for one step at most.
const STEP: usize = 200;

/// What an operator asks of a collection; what is not said is as the registry is configured.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct CollectRequest {
    /// See [`CollectOptions::grace`].
    pub grace: Option<Duration>,
    /// See [`CollectOptions::untagged_after`].
    pub untagged_after: Option<Duration>,
    /// See [`CollectOptions::uploads_after`].
    pub uploads_after: Option<Duration>,
}

/// What to collect.
#[derive(Debug, Clone)]
pub struct CollectOptions {
    /// Unused blobs that arrived or were promised within this time stay.
    pub grace: Duration,
    /// Untagged manifests older than this go; none do when there is no time.
    pub untagged_after: Option<Duration>,
    /// Uploads that nothing was sent to for this time go.
    pub uploads_after: Duration,
    /// Whether to look for files that the metadata does not know, which takes a walk through the store.
    pub orphans: bool,
}

impl CollectOptions {
    /// What `config` wants, with what was asked for by hand in its place.
    pub fn new(config: &Gc, asked: CollectRequest) -> CollectOptions {
        CollectOptions {
            grace: asked.grace.unwrap_or(config.grace),
            untagged_after: asked.untagged_after.or(config.untagged_after),
            uploads_after: asked.uploads_after.unwrap_or(config.uploads_after),
            orphans: true,
        }
    }
}

/// What was collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Collected {
    /// Untagged manifests.
    pub manifests: u64,
    /// Links of repositories to blobs that they did not use.
    pub links: u64,
    /// Blobs, and files that were none.
    pub blobs: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Uploads.
    pub uploads: u64,
    /// Repositories that held nothing.
    pub repositories: u64,
}

/// Why a collection stopped; what it had done by then is done.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The metadata failed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The blob store failed.
    #[error(transparent)]
    Store(#[from] BlobError),
}

/// Collects garbage.
///
/// # Errors
/// [`CollectError`]; the next run goes on where this one stopped.
pub async fn collect(registry: &Arc<Registry>, options: &CollectOptions) -> Result<Collected, CollectError> {
    // One at a time: two would only wait for each other.
    let _running = registry.collecting.lock().await;
    let mut collected = Collected::default();
    if let Some(age) = options.untagged_after {
        // A push sets its tag last, so a manifest needs the grace too.
        let before = before(age.max(options.grace));
        let cut = registry.metadata.cut_untagged(before, Box::new(|_, _| true)).await?;
        collected.manifests = cut.rows;
    }
    collected.links = cut_links(registry, options.grace).await?;
    remove_unheld(registry, &mut collected).await?;
    collected.uploads = purge_uploads(registry, options.uploads_after).await?;
    if options.orphans {
        remove_orphans(registry, &mut collected).await?;
    }
    collected.repositories = registry.metadata.cut_repositories(before(options.grace)).await?.rows;
    if collected != Collected::default() {
        tracing::info!(?collected, "garbage collected");
    }
    Ok(collected)
}

fn before(age: Duration) -> UnixMillis {
    now()
        .saturating_sub(UnixMillis::try_from(age.as_millis()).unwrap_or(UnixMillis::MAX))
        .saturating_add(i64::from(age.is_zero()))
}

async fn cut_links(registry: &Arc<Registry>, grace: Duration) -> Result<u64, CollectError> {
    // Promises of the process before this one are not known any more; their time must have passed.
    if registry.started.elapsed() < grace && registry.serving {
        return Ok(0);
    }
    let mut links = 0;
    loop {
        let promises = Arc::clone(registry);
        let may_cut: MayCut =
            Box::new(move |name, digest| promises.promises.condemn(name, digest, Instant::now(), grace));
        let cut = registry.metadata.cut_links(before(grace), STEP, may_cut).await;
        registry.promises.absolve_all();
        let Cut { rows, more } = cut?;
        links += rows;
        if !more {
            return Ok(links);
        }
        tokio::task::yield_now().await;
    }
}

async fn remove_unheld(registry: &Registry, collected: &mut Collected) -> Result<(), CollectError> {
    let mut after = None;
    loop {
        let unheld = registry.metadata.unheld_blobs(after, STEP).await?;
        let Some(last) = unheld.last() else { return Ok(()) };
        after = Some(*last);
        // A blob that is being published right now is not garbage; the next run looks again.
        let locked: Vec<_> = unheld
            .into_iter()
            .filter_map(|digest| Some((digest, registry.locks.try_lock(digest)?)))
            .collect();
        let digests = locked.iter().map(|(digest, _)| *digest).collect();
        let forgotten = registry.metadata.forget_blobs(digests).await?;
        collected.blobs += forgotten.len() as u64;
        collected.bytes += registry.blobs.remove(forgotten).await?;
    }
}

async fn purge_uploads(registry: &Registry, age: Duration) -> Result<u64, CollectError> {
    let mut purged = 0;
    let open = registry.metadata.uploads_before(before(age), usize::MAX >> 1).await?;
    for upload in open {
        if registry.abandon_upload(upload.id).await? {
            purged += 1;
        }
    }
    // Bytes without a note: single POSTs, and what a loss of power left. Those that are being written are not ours to judge.
    for id in registry.blobs.uploads(age).await? {
        if registry.metadata.find_upload(id).await?.is_none() {
            registry.blobs.remove_upload(id).await?;
            purged += 1;
        }
    }
    Ok(purged)
}

async fn remove_orphans(registry: &Registry, collected: &mut Collected) -> Result<(), CollectError> {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        for prefix in 0..=u8::MAX {
            let files = registry.blobs.list(algorithm, prefix).await?;
            let digests: Vec<Digest> = files.iter().map(|(digest, _)| *digest).collect();
            if digests.is_empty() {
                continue;
            }
            let known: HashSet<_> =
                registry.metadata.known_blobs(digests.clone()).await?.into_iter().collect();
            let unknown = digests.into_iter().filter(|digest| !known.contains(digest));
            let locked: Vec<_> =
                unknown.filter_map(|digest| Some((digest, registry.locks.try_lock(digest)?))).collect();
            if locked.is_empty() {
                continue;
            }
            // Under the locks the answer holds: whoever publishes a blob notes it before its lock is free.
            let asked = locked.iter().map(|(digest, _)| *digest).collect();
            let known: HashSet<_> = registry.metadata.known_blobs(asked).await?.into_iter().collect();
            let orphans: Vec<Digest> =
                locked.iter().map(|(digest, _)| *digest).filter(|digest| !known.contains(digest)).collect();
            collected.blobs += orphans.len() as u64;
            collected.bytes += registry.blobs.remove(orphans).await?;
        }
    }
    Ok(())
}
