//! Manifests: GET and HEAD of the bytes as they were pushed, PUT, DELETE of a tag or of a manifest.

use http::{HeaderName, HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use shale_oci::{Algorithm, Digest};

use super::answer::{Answer, Body};
use super::blobs::{CONTENT_DIGEST, describe, digest_header, matches_etag};
use super::dispatch::Call;
use super::problem::Problem;
use super::receive::{self, metadata_problem};
use super::route::Reference;
use crate::manifest::{self, Parsed};
use crate::metadata::{NewManifest, Target, TargetKind};
use crate::name::{RepositoryName, Tag};
use crate::notifications::Event;
use crate::registry::{MissingTargets, now};

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Most `tag` parameters of one PUT.
const TAGS_MAX: usize = 100;
/// Most blobs and manifests that one manifest may name; real ones have hundreds.
const TARGETS_MAX: usize = 20_000;

pub(super) async fn get(
    call: &Call,
    repository: &RepositoryName,
    reference: &Reference,
) -> Result<Answer, Problem> {
    let found =
        call.registry.metadata.find_manifest(repository, reference).await.map_err(metadata_problem)?;
    let manifest = found.ok_or_else(|| Problem::ManifestUnknown(reference.to_string()))?;
    let mut answer = Answer::new(Body::Empty);
    let headers = answer.headers_mut();
    let digest_text = describe(headers, manifest.digest);
    let media_type =
        HeaderValue::try_from(manifest.media_type.as_str()).map_err(|error| Problem::internal(&error))?;
    headers.insert(header::CONTENT_TYPE, media_type);
    if matches_etag(call.header(header::IF_NONE_MATCH), &digest_text) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(answer);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(manifest.bytes.len()));
    if !call.is_head() {
        *answer.body_mut() = Body::from(manifest.bytes.clone());
        let tag = match reference {
            Reference::Tag(tag) => Some(tag.as_str()),
            Reference::Digest(_) => None,
        };
        let size_bytes = manifest.bytes.len() as u64;
        let (action, media_type) = ("pull", manifest.media_type.as_str());
        let (digest, from_repository) = (manifest.digest, None);
        call.tell(Event { action, repository, digest, media_type, size_bytes, tag, from_repository }).await;
    }
    Ok(answer)
}

pub(super) async fn put(
    call: &Call,
    repository: &RepositoryName,
    reference: Reference,
    body: Incoming,
) -> Result<Answer, Problem> {
    let extra_tags = tag_parameters(call)?;
    let content_type = content_type(call)?;
    if call.parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::BadRequest("a manifest has no Content-Encoding"));
    }
    let (bytes, _budget) = receive::manifest(&call.registry, body).await?;
    let digest = match &reference {
        Reference::Digest(wanted) => {
            let actual = Digest::of(wanted.algorithm(), &bytes);
            if actual != *wanted {
                return Err(Problem::DigestInvalid("the manifest has another digest"));
            }
            actual
        }
        Reference::Tag(_) => Digest::of(Algorithm::Sha256, &bytes),
    };
    let parsed = manifest::parse(&bytes, content_type.as_deref())
        .map_err(|error| Problem::ManifestInvalid(error.to_string()))?;
    let targets = targets(&parsed)?;
    let lacking = missing(call, repository, &parsed, &targets).await?;
    let mut tags = extra_tags.clone();
    if let Reference::Tag(tag) = &reference {
        tags.push(tag.clone());
    }
    let subject = parsed.subject.as_ref().map(|subject| subject.digest);
    let new = NewManifest {
        digest,
        referrer: subject.map(|_| parsed.referrer(digest, bytes.len()).to_string()),
        media_type: parsed.media_type,
        bytes,
        artifact_type: parsed.artifact_type,
        subject,
        targets,
        tags,
    };
    let (media_type, size_bytes) = (new.media_type.clone(), new.bytes.len() as u64);
    let tag = new.tags.last().cloned();
    call.registry.metadata.put_manifest(repository, new, now()).await.map_err(metadata_problem)?;
    let event = Event {
        action: "push",
        repository,
        digest,
        media_type: &media_type,
        size_bytes,
        tag: tag.as_ref().map(Tag::as_str),
        from_repository: None,
    };
    call.tell(event).await;
    Ok(created(repository, &reference, digest, subject, &extra_tags, lacking))
}

fn created(
    repository: &RepositoryName,
    reference: &Reference,
    digest: Digest,
    subject: Option<Digest>,
    tags: &[Tag],
    lacking: usize,
) -> Answer {
    let mut answer = Answer::new(Body::Empty);
    *answer.status_mut() = StatusCode::CREATED;
    let headers = answer.headers_mut();
    let location = format!("/v2/{repository}/manifests/{reference}");
    headers.insert(header::LOCATION, HeaderValue::try_from(location).expect("names are plain text"));
    headers.insert(CONTENT_DIGEST, digest_header(digest));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    if let Some(subject) = subject {
        headers.insert(OCI_SUBJECT, digest_header(subject));
    }
    for tag in tags {
        headers.append(OCI_TAG, HeaderValue::try_from(tag.as_str()).expect("tags are plain text"));
    }
    if lacking > 0 {
        let text = format!("299 - \"the manifest names {lacking} blobs or manifests that are not here\"");
        headers.insert(header::WARNING, HeaderValue::try_from(text).expect("plain text"));
    }
    answer
}

fn tag_parameters(call: &Call) -> Result<Vec<Tag>, Problem> {
    let query = call.query();
    let tags: Vec<_> = query.iter().filter(|(name, _)| name == "tag").map(|(_, tag)| tag).collect();
    if tags.len() > TAGS_MAX {
        return Err(Problem::TooManyTags { limit: TAGS_MAX });
    }
    tags.into_iter().map(|tag| Tag::parse(tag).map_err(|_| Problem::TagInvalid)).collect()
}

/// Returns the Content-Type without its parameters; `application/json` and none at all leave it to the body.
fn content_type(call: &Call) -> Result<Option<String>, Problem> {
    let Some(value) = call.parts.headers.get(header::CONTENT_TYPE) else { return Ok(None) };
    let value = value.to_str().map_err(|_| Problem::ManifestTypeUnsupported)?;
    let essence = value.split(';').next().unwrap_or("").trim();
    match essence {
        "" | "application/json" => Ok(None),
        known if manifest::kind_of(known).is_some() => Ok(Some(known.to_owned())),
        _ => Err(Problem::ManifestTypeUnsupported),
    }
}

/// Returns what the manifest names, each digest once.
fn targets(parsed: &Parsed) -> Result<Vec<Target>, Problem> {
    if parsed.blobs.len() + parsed.manifests.len() > TARGETS_MAX {
        return Err(Problem::ManifestInvalid(format!("more than {TARGETS_MAX} layers or manifests")));
    }
    let blobs = parsed.blobs.iter().map(|blob| (blob, TargetKind::Blob));
    let manifests = parsed.manifests.iter().map(|manifest| (manifest, TargetKind::Manifest));
    let mut seen = std::collections::HashMap::new();
    let mut targets = Vec::new();
    for (descriptor, kind) in blobs.chain(manifests) {
        let size_bytes = descriptor.size_bytes;
        match seen.insert(descriptor.digest, size_bytes) {
            None => targets.push(Target { digest: descriptor.digest, kind, size_bytes }),
            Some(before) if before != size_bytes => {
                return Err(Problem::ManifestInvalid(format!("{} has two sizes", descriptor.digest)));
            }
            Some(_) => {}
        }
    }
    Ok(targets)
}

/// Returns how many of the targets the repository lacks, when that is allowed.
async fn missing(
    call: &Call,
    repository: &RepositoryName,
    parsed: &Parsed,
    targets: &[Target],
) -> Result<usize, Problem> {
    let missing =
        call.registry.metadata.missing(repository, targets.to_vec()).await.map_err(metadata_problem)?;
    if let Some(digest) = missing.other_size.first() {
        return Err(Problem::ManifestInvalid(format!("{digest} has another size here")));
    }
    // Layers with URLs need not be here, and no index needs all its children to be useful.
    let elsewhere =
        |digest: &Digest| parsed.blobs.iter().any(|blob| blob.digest == *digest && blob.elsewhere);
    let lacking: Vec<Digest> = missing.digests.into_iter().filter(|digest| !elsewhere(digest)).collect();
    match call.registry.policy.missing {
        MissingTargets::Accept => Ok(lacking.len()),
        MissingTargets::Refuse if lacking.is_empty() => Ok(0),
        MissingTargets::Refuse => Err(Problem::ManifestBlobUnknown(lacking)),
    }
}

pub(super) async fn delete(
    call: &Call,
    repository: &RepositoryName,
    reference: Reference,
) -> Result<Answer, Problem> {
    remove(call, repository, &reference).await?;
    let mut answer = Answer::new(Body::Empty);
    *answer.status_mut() = StatusCode::ACCEPTED;
    Ok(answer)
}

/// Removes a tag, or a manifest with its tags, and tells who wants to hear it; the caller may do that.
pub(crate) async fn remove(
    call: &Call,
    repository: &RepositoryName,
    reference: &Reference,
) -> Result<(), Problem> {
    let metadata = &call.registry.metadata;
    let deleted = match reference {
        Reference::Digest(digest) => {
            metadata.delete_manifest(repository, *digest).await.map(|tags| tags.map(|_| *digest))
        }
        Reference::Tag(tag) => metadata.delete_tag(repository, tag).await,
    };
    let digest = deleted.map_err(metadata_problem)?;
    let digest = digest.ok_or_else(|| Problem::ManifestUnknown(reference.to_string()))?;
    let tag = match reference {
        Reference::Tag(tag) => Some(tag.as_str()),
        Reference::Digest(_) => None,
    };
    let (action, media_type, size_bytes, from_repository) = ("delete", "", 0, None);
    call.tell(Event { action, repository, digest, media_type, size_bytes, tag, from_repository }).await;
    Ok(())
}
