//! Uploads: start (with mount and single POST), chunks, end, status, cancel.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use shale_oci::{Algorithm, Digest};
use tokio::sync::Mutex;

use super::answer::{Answer, Body};
use super::blobs::{CONTENT_DIGEST, digest_header};
use super::dispatch::Call;
use super::problem::Problem;
use super::range::{parse_content_range, received_header};
use super::receive::{blob_problem, commit_problem, into_upload, metadata_problem};
use super::{query, route};
use crate::auth::Action;
use crate::blob_store::BlobWriter;
use crate::name::{RepositoryName, UploadId};
use crate::notifications::Event;
use crate::registry::{CommitError, Registry, Session, now};

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// How many holders of a blob are asked for one that the client may read, when it names none.
const HOLDERS_MAX: usize = 64;

pub(super) async fn start(
    call: &Call,
    repository: &RepositoryName,
    body: Incoming,
) -> Result<Answer, Problem> {
    let query = call.query();
    if let Some(mounted) = query::first(&query, "mount")
        && let Ok(digest) = mounted.parse::<Digest>()
        && mount(call, repository, digest, query::first(&query, "from")).await?
    {
        let event = Event {
            from_repository: query::first(&query, "from"),
            ..blob_event("mount", repository, digest, 0)
        };
        call.tell(event).await;
        return Ok(created(repository, digest));
    }
    let registry = &call.registry;
    if registry.open_uploads() >= registry.limits.uploads_max {
        return Err(Problem::TooManyRequests);
    }
    if let Some(digest) = query::first(&query, "digest") {
        let digest = route::digest(digest)?;
        return single(call, repository, digest, body).await;
    }
    let algorithm = match query::first(&query, "digest-algorithm") {
        None | Some("sha256") => Algorithm::Sha256,
        Some("sha512") => Algorithm::Sha512,
        Some(_) => return Err(Problem::DigestInvalid("the digest algorithm is not supported")),
    };
    let id = registry.start_upload(repository, algorithm).await.map_err(metadata_problem)?;
    Ok(progress(StatusCode::ACCEPTED, repository, id, 0))
}

async fn mount(
    call: &Call,
    repository: &RepositoryName,
    digest: Digest,
    from: Option<&str>,
) -> Result<bool, Problem> {
    let metadata = &call.registry.metadata;
    let sources = match from {
        Some(from) => RepositoryName::parse(from).into_iter().collect(),
        None => metadata.holders(digest, HOLDERS_MAX).await.map_err(metadata_problem)?,
    };
    let sources: Vec<_> = sources.into_iter().filter(|source| call.allows(source, Action::Pull)).collect();
    if sources.is_empty() {
        return Ok(false);
    }
    let mounted = metadata.mount_blob(repository, sources, digest, now()).await.map_err(metadata_problem)?;
    Ok(mounted.is_some())
}

async fn single(
    call: &Call,
    repository: &RepositoryName,
    digest: Digest,
    body: Incoming,
) -> Result<Answer, Problem> {
    let registry = &call.registry;
    let id = UploadId::random();
    let opened = registry.blobs.open_upload(id, digest.algorithm(), None).await;
    let mut writer = opened.map_err(blob_problem)?;
    let committed = match into_upload(registry, &mut writer, body, None).await {
        Ok(_) => registry.commit_blob(repository, writer, digest).await.map_err(commit_problem),
        Err(problem) => Err(problem),
    };
    match committed {
        Ok(size_bytes) => call.tell(blob_event("push", repository, digest, size_bytes)).await,
        Err(problem) => {
            registry.blobs.remove_upload(id).await.map_err(blob_problem)?;
            return Err(problem);
        }
    }
    Ok(created(repository, digest))
}

async fn session(
    call: &Call,
    repository: &RepositoryName,
    id: UploadId,
) -> Result<Arc<Mutex<Session>>, Problem> {
    let session = call.registry.session(repository, id).await.map_err(metadata_problem)?;
    session.ok_or(Problem::BlobUploadUnknown)
}

async fn open(registry: &Registry, id: UploadId, session: &mut Session) -> Result<BlobWriter, Problem> {
    if session.closed {
        return Err(Problem::BlobUploadUnknown);
    }
    let known = session.paused.take();
    registry.blobs.open_upload(id, session.algorithm, known).await.map_err(blob_problem)
}

/// Takes in the body of a PATCH or a PUT, if it continues the upload.
async fn take_in(
    call: &Call,
    repository: &RepositoryName,
    id: UploadId,
    writer: &mut BlobWriter,
    body: Incoming,
) -> Result<(), Problem> {
    let received = writer.received();
    let mut most = None;
    if let Some(value) = call.parts.headers.get(header::CONTENT_RANGE) {
        let range =
            value.to_str().ok().and_then(parse_content_range).ok_or(Problem::ContentRangeMalformed)?;
        if range.first != received {
            return Err(Problem::ChunkOutOfOrder { location: location(repository, id), received });
        }
        if body.size_hint().exact().is_some_and(|length| length != range.length_bytes()) {
            return Err(Problem::SizeInvalid("Content-Length is not the length of Content-Range"));
        }
        most = Some(range.length_bytes());
    }
    let arrived = into_upload(&call.registry, writer, body, most).await?;
    if most.is_some_and(|most| arrived < most) {
        return Err(Problem::SizeInvalid("the body is shorter than its Content-Range"));
    }
    Ok(())
}

pub(super) async fn append(
    call: &Call,
    repository: &RepositoryName,
    id: UploadId,
    body: Incoming,
) -> Result<Answer, Problem> {
    let session = session(call, repository, id).await?;
    let mut session = session.lock().await;
    let mut writer = open(&call.registry, id, &mut session).await?;
    let taken = take_in(call, repository, id, &mut writer, body).await;
    let paused = writer.pause().await;
    // The first failure is the one to tell; after one of the disk nothing is known, and the bytes are hashed again.
    session.paused = paused.as_ref().ok().cloned();
    taken?;
    let received = paused.map_err(blob_problem)?.received();
    call.registry.touch_upload(id, &session).await.map_err(metadata_problem)?;
    Ok(progress(StatusCode::ACCEPTED, repository, id, received))
}

pub(super) async fn finish(
    call: &Call,
    repository: &RepositoryName,
    id: UploadId,
    body: Incoming,
) -> Result<Answer, Problem> {
    let query = call.query();
    let mut digests = query.iter().filter(|(name, _)| name == "digest");
    let digest = match (digests.next(), digests.next()) {
        (Some((_, digest)), None) => route::digest(digest)?,
        (None, _) => return Err(Problem::DigestInvalid("the digest is missing")),
        (Some(_), Some(_)) => return Err(Problem::DigestInvalid("more than one digest")),
    };
    let session = session(call, repository, id).await?;
    let mut session = session.lock().await;
    let mut writer = open(&call.registry, id, &mut session).await?;
    if let Err(problem) = take_in(call, repository, id, &mut writer, body).await {
        session.paused = writer.pause().await.ok();
        return Err(problem);
    }
    match call.registry.commit_blob(repository, writer, digest).await {
        Ok(size_bytes) => {
            call.tell(blob_event("push", repository, digest, size_bytes)).await;
            session.closed = true;
            // The blob is acknowledged already; should this fail, the note goes when it is old.
            if let Err(error) = call.registry.close_upload(id).await {
                tracing::warn!("upload {id} is finished and was not forgotten: {error}");
            }
            Ok(created(repository, digest))
        }
        Err(CommitError::WrongDigest { actual, paused }) => {
            tracing::debug!("upload {id} has the digest {actual}, announced as {digest}");
            session.paused = Some(paused);
            Err(Problem::DigestInvalid("the bytes have another digest"))
        }
        Err(error) => Err(commit_problem(error)),
    }
}

pub(super) async fn status(
    call: &Call,
    repository: &RepositoryName,
    id: UploadId,
) -> Result<Answer, Problem> {
    let session = session(call, repository, id).await?;
    let mut session = session.lock().await;
    let paused = open(&call.registry, id, &mut session).await?.pause().await.map_err(blob_problem)?;
    let received = paused.received();
    session.paused = Some(paused);
    Ok(progress(StatusCode::NO_CONTENT, repository, id, received))
}

pub(super) async fn cancel(
    call: &Call,
    repository: &RepositoryName,
    id: UploadId,
) -> Result<Answer, Problem> {
    let session = session(call, repository, id).await?;
    let mut session = session.lock().await;
    if std::mem::replace(&mut session.closed, true) {
        return Err(Problem::BlobUploadUnknown);
    }
    call.registry.close_upload(id).await.map_err(commit_problem)?;
    let mut answer = Answer::new(Body::Empty);
    *answer.status_mut() = StatusCode::NO_CONTENT;
    Ok(answer)
}

fn location(repository: &RepositoryName, id: UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

fn progress(status: StatusCode, repository: &RepositoryName, id: UploadId, received: u64) -> Answer {
    let mut answer = Answer::new(Body::Empty);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let location = HeaderValue::try_from(location(repository, id)).expect("names are plain text");
    headers.insert(header::LOCATION, location);
    headers.insert(header::RANGE, received_header(received));
    headers.insert(UPLOAD_UUID, HeaderValue::try_from(id.to_string()).expect("digits and dashes"));
    if status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    }
    answer
}

fn created(repository: &RepositoryName, digest: Digest) -> Answer {
    let mut answer = Answer::new(Body::Empty);
    *answer.status_mut() = StatusCode::CREATED;
    let headers = answer.headers_mut();
    let location = format!("/v2/{repository}/blobs/{digest}");
    headers.insert(header::LOCATION, HeaderValue::try_from(location).expect("names are plain text"));
    headers.insert(CONTENT_DIGEST, digest_header(digest));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    answer
}

fn blob_event<'a>(
    action: &'static str,
    repository: &'a RepositoryName,
    digest: Digest,
    size_bytes: u64,
) -> Event<'a> {
    let media_type = "application/octet-stream";
    Event { action, repository, digest, media_type, size_bytes, tag: None, from_repository: None }
}
