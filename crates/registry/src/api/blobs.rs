//! Blobs: GET with ranges, HEAD, DELETE.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use shale_oci::Digest;

use super::answer::{Answer, Body};
use super::dispatch::Call;
use super::problem::Problem;
use super::range::{self, Requested};
use super::receive::{blob_problem, metadata_problem};
use crate::blobs::small::SMALL_BYTES_MAX;
use crate::name::RepositoryName;
use crate::notifications::Event;
use crate::wire::file_body::FileBody;

/// The header that tells the digest of what is answered.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

pub(super) async fn get(call: &Call, repository: &RepositoryName, digest: Digest) -> Result<Answer, Problem> {
    let registry = &call.registry;
    if call.is_head()
        && !registry.promises.make(repository.as_str(), digest, Instant::now(), registry.policy.grace)
    {
        return Err(Problem::BlobUnknown(digest));
    }
    let held = registry.metadata.find_blob(repository, digest).await.map_err(metadata_problem)?;
    let Some(size_bytes) = held else {
        registry.promises.withdraw(repository.as_str(), digest);
        return Err(Problem::BlobUnknown(digest));
    };
    let mut answer = Answer::new(Body::Empty);
    let headers = answer.headers_mut();
    let digest_text = describe(headers, digest);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=31536000"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if matches_etag(call.header(header::IF_NONE_MATCH), &digest_text) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(answer);
    }
    // An If-Range that names other bytes asks for all of them.
    let wanted = call.header(header::RANGE).filter(|_| !call.is_head()).filter(|_| {
        match call.header(header::IF_RANGE) {
            Some(condition) => matches_etag(Some(condition), &digest_text),
            None => true,
        }
    });
    let (first, end) = match wanted.map_or(Requested::Whole, |wanted| range::parse_range(wanted, size_bytes))
    {
        Requested::Unsatisfiable => return Err(Problem::RangeUnsatisfiable { size_bytes }),
        Requested::Whole => (0, size_bytes),
        Requested::Part { first, last } => {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let text = format!("bytes {first}-{last}/{size_bytes}");
            answer.headers_mut().insert(header::CONTENT_RANGE, HeaderValue::try_from(text).expect("digits"));
            (first, last + 1)
        }
    };
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(end - first));
    if !call.is_head() {
        if end > first {
            *answer.body_mut() = body(call, digest, size_bytes, first, end).await?;
        }
        let (action, media_type, tag, from_repository) = ("pull", "application/octet-stream", None, None);
        call.tell(Event { action, repository, digest, media_type, size_bytes, tag, from_repository }).await;
    }
    Ok(answer)
}

async fn body(call: &Call, digest: Digest, size_bytes: u64, first: u64, end: u64) -> Result<Body, Problem> {
    let small = size_bytes <= SMALL_BYTES_MAX;
    let part = |whole: &Bytes| -> Option<Body> {
        let part = usize::try_from(first).ok()?..usize::try_from(end).ok()?;
        (part.end <= whole.len()).then(|| Body::from(whole.slice(part)))
    };
    if small && let Some(body) = call.registry.small.find(digest).as_ref().and_then(part) {
        return Ok(body);
    }
    let blob = call.registry.blobs.open(digest).await.map_err(|error| {
        tracing::error!("blob {digest} is known and cannot be read: {error}");
        blob_problem(error)
    })?;
    if blob.size_bytes != size_bytes {
        tracing::error!("blob {digest} has {} bytes and should have {size_bytes}", blob.size_bytes);
        return Err(Problem::Internal);
    }
    if small {
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; usize::try_from(size_bytes).expect("a small blob")];
            std::os::unix::fs::FileExt::read_exact_at(&*blob.file, &mut bytes, 0).map(|()| Bytes::from(bytes))
        });
        let whole = read
            .await
            .map_err(|error| Problem::internal(&error))?
            .map_err(|error| Problem::internal(&error))?;
        // Bytes that are served again and again are worth one look.
        if Digest::of(digest.algorithm(), &whole) != digest {
            tracing::error!("blob {digest} is damaged");
            return Err(Problem::Internal);
        }
        call.registry.small.enter(digest, whole.clone());
        return part(&whole).ok_or(Problem::Internal);
    }
    Ok(Body::File(FileBody::new(blob.file, first, end, call.peer.mappings.clone())))
}

pub(super) async fn delete(
    call: &Call,
    repository: &RepositoryName,
    digest: Digest,
) -> Result<Answer, Problem> {
    let held = call.registry.metadata.unlink_blob(repository, digest).await.map_err(metadata_problem)?;
    if !held {
        return Err(Problem::BlobUnknown(digest));
    }
    let (action, media_type, size_bytes) = ("delete", "application/octet-stream", 0);
    let (tag, from_repository) = (None, None);
    call.tell(Event { action, repository, digest, media_type, size_bytes, tag, from_repository }).await;
    let mut answer = Answer::new(Body::Empty);
    *answer.status_mut() = StatusCode::ACCEPTED;
    answer.headers_mut().insert(CONTENT_DIGEST, digest_header(digest));
    Ok(answer)
}

/// Sets the headers that name a digest; returns its text.
pub(super) fn describe(headers: &mut HeaderMap, digest: Digest) -> String {
    let text = digest.to_string();
    headers
        .insert(header::ETAG, HeaderValue::try_from(format!("\"{text}\"")).expect("a digest is plain text"));
    headers.insert(CONTENT_DIGEST, HeaderValue::try_from(text.as_str()).expect("a digest is plain text"));
    text
}

pub(super) fn digest_header(digest: Digest) -> HeaderValue {
    HeaderValue::try_from(digest.to_string()).expect("a digest is plain text")
}

/// Whether `condition` names the entity tag of `digest`, in any of the forms that clients send.
pub(super) fn matches_etag(condition: Option<&str>, digest: &str) -> bool {
    condition.is_some_and(|condition| {
        condition.split(',').any(|tag| {
            let tag = tag.trim();
            let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
            tag == "*" || tag == digest
        })
    })
}
