//! Request bodies, read within limits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use super::problem::Problem;
use crate::blob_store::{BlobError, BlobWriter};
use crate::metadata::MetadataError;
use crate::registry::{CommitError, Registry};

/// What all uploads together collect before they hash and write it. The longer a batch, the fewer orders to the disk.
const COLLECTED_BYTES: usize = 16 << 20;
/// The batch of one upload among many, and of one that is nearly alone.
const BATCH_BYTES_MIN: usize = 128 << 10;
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How much of a body that is refused is read all the same.
const DRAINED_BYTES_MAX: usize = 64 << 20;
/// Bodies up to this size are read without asking the manifest budget.
const FREE_BYTES: usize = 64 << 10;

/// Returns the next bytes of `body`, or nothing at its end.
async fn next(body: &mut Incoming, limit: Duration) -> Result<Option<Bytes>, Problem> {
    loop {
        let Ok(frame) = tokio::time::timeout(limit, body.frame()).await else { return Err(Problem::Timeout) };
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(Problem::BodyAborted),
            // Trailers carry nothing that we read.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) if !bytes.is_empty() => return Ok(Some(bytes)),
                _ => {}
            },
        }
    }
}

/// Appends `body` to `writer`; returns the number of bytes that arrived, at most `most` (any number, when there is none).
///
/// # Errors
/// What arrived in whole batches before the error stays in the upload.
pub(super) async fn into_upload(
    registry: &Registry,
    writer: &mut BlobWriter,
    mut body: Incoming,
    most: Option<u64>,
) -> Result<u64, Problem> {
    let before = writer.received();
    let limit_bytes = registry.limits.blob_bytes_max;
    let mut total = 0;
    let receiving = Receiving::begin(registry);
    let ended = loop {
        let bytes = match next(&mut body, registry.limits.body_timeout).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break Ok(()),
            Err(problem) => break Err(problem),
        };
        total += bytes.len() as u64;
        if most.is_some_and(|most| total > most) {
            writer.forget_last();
            return Err(Problem::SizeInvalid("the body is longer than its Content-Range"));
        }
        if limit_bytes > 0 && before + total > limit_bytes {
            writer.forget_last();
            return Err(Problem::BlobTooLarge { limit_bytes });
        }
        writer.append(&bytes, receiving.batch_bytes()).await.map_err(blob_problem)?;
    };
    registry.metrics.received_bytes.fetch_add(total, Ordering::Relaxed);
    ended.map(|()| total)
}

/// Reads and forgets what a client still sends, up to a bound: a connection that is closed on unread bytes is reset, and
/// the client may never see why.
async fn drain(registry: &Registry, body: &mut Incoming) {
    let mut drained = 0;
    while drained < DRAINED_BYTES_MAX
        && let Ok(Some(bytes)) = next(body, registry.limits.body_timeout).await
    {
        drained += bytes.len();
    }
}

/// One of the uploads that receive bytes right now.
struct Receiving<'a>(&'a AtomicUsize);

impl Receiving<'_> {
    fn begin(registry: &Registry) -> Receiving<'_> {
        registry.receiving.fetch_add(1, Ordering::Relaxed);
        Receiving(&registry.receiving)
    }

    fn batch_bytes(&self) -> usize {
        let share = COLLECTED_BYTES / self.0.load(Ordering::Relaxed).max(1);
        1 << share.clamp(BATCH_BYTES_MIN, BATCH_BYTES_MAX).ilog2()
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads the body of a manifest.
///
/// # Errors
/// [`Problem::ManifestTooLarge`] as soon as that is known.
pub(super) async fn manifest(registry: &Registry, mut body: Incoming) -> Result<(Bytes, impl Drop), Problem> {
    let limit_bytes = registry.limits.manifest_bytes_max;
    let too_large = || Problem::ManifestTooLarge { limit_bytes };
    let announced = body.size_hint().exact();
    if announced.is_some_and(|announced| announced > limit_bytes as u64) {
        drain(registry, &mut body).await;
        return Err(too_large());
    }
    let mut collected = Vec::new();
    let mut budget = None;
    while let Some(bytes) = next(&mut body, registry.limits.body_timeout).await? {
        if collected.len() + bytes.len() > limit_bytes {
            drop((collected, budget));
            drain(registry, &mut body).await;
            return Err(too_large());
        }
        if budget.is_none() && collected.len() + bytes.len() > FREE_BYTES {
            // Twice the body: it is parsed while it is held.
            let expected =
                announced.and_then(|announced| usize::try_from(announced).ok()).unwrap_or(limit_bytes);
            let permits = u32::try_from(2 * expected).expect("twice a manifest");
            let permit = registry.manifest_budget.acquire_many(permits).await;
            budget = Some(permit.expect("the budget is never closed"));
            collected.reserve_exact(expected.saturating_sub(collected.len()));
        }
        collected.extend_from_slice(&bytes);
    }
    Ok((Bytes::from(collected), Budget(budget)))
}

/// Holds a part of the manifest budget.
struct Budget<'a>(#[allow(dead_code, reason = "held for its drop")] Option<tokio::sync::SemaphorePermit<'a>>);

impl Drop for Budget<'_> {
    fn drop(&mut self) {
        self.0 = None;
    }
}

/// The answer to a failure of the blob store.
pub(crate) fn blob_problem(error: BlobError) -> Problem {
    match error {
        BlobError::Missing(digest) => Problem::BlobUnknown(digest),
        BlobError::WrongDigest { .. } => Problem::DigestInvalid("the bytes have another digest"),
        BlobError::Full { .. } => {
            tracing::error!("the storage is full");
            Problem::StorageFull
        }
        error @ BlobError::Io { .. } => Problem::internal(&error),
    }
}

/// The answer to a failure of the metadata.
pub(crate) fn metadata_problem(error: MetadataError) -> Problem {
    match error {
        MetadataError::Full { .. } => Problem::StorageFull,
        error => Problem::internal(&error),
    }
}

/// The answer to a blob that was not committed.
pub(super) fn commit_problem(error: CommitError) -> Problem {
    match error {
        CommitError::WrongDigest { .. } => Problem::DigestInvalid("the bytes have another digest"),
        CommitError::Store(error) => blob_problem(error),
        CommitError::Metadata(error) => metadata_problem(error),
    }
}

/// Reads a body of at most `limit_bytes`.
///
/// # Errors
/// [`Problem::BadRequest`] when there is more.
pub(crate) async fn small(
    registry: &Registry,
    mut body: Incoming,
    limit_bytes: usize,
) -> Result<Bytes, Problem> {
    let mut collected = Vec::new();
    while let Some(bytes) = next(&mut body, registry.limits.body_timeout).await? {
        if collected.len() + bytes.len() > limit_bytes {
            return Err(Problem::BadRequest("the body is too large"));
        }
        collected.extend_from_slice(&bytes);
    }
    Ok(Bytes::from(collected))
}
