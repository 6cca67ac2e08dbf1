//! Manifests: get, head, put, delete.

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use shale_oci::{Digest, ErrorCode, Repository, Target, media_type};

use crate::auth::Scopes;
use crate::client::{Call, ClaimedDigest, Client, Reply};
use crate::endpoint::{Endpoint, Source};
use crate::error::{Answer, RequestError};
use crate::retry::Failure;

/// A manifest or an index, byte for byte as it was served.
#[derive(Debug, Clone)]
pub struct ManifestResponse {
    /// The bytes.
    pub body: Bytes,
    /// The media type, without parameters.
    pub content_type: String,
    /// The digest of the bytes. Asked for by digest, it is that one; asked for by tag, it is SHA-256.
    pub digest: Digest,
    /// Who served it.
    pub source: Source,
}

/// What a registry says about a manifest without sending it. Nothing of it is verified.
#[derive(Debug, Clone)]
pub struct ManifestHead {
    /// The digest it claims.
    pub digest: Option<Digest>,
    /// The media type it claims, without parameters.
    pub content_type: Option<String>,
    /// The length it claims.
    pub size_bytes: Option<u64>,
    /// Who said so.
    pub source: Source,
}

/// Why a manifest did not come.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The registry does not have it.
    #[error("manifest for {reference} not found: {answer}")]
    NotFound {
        /// What was asked for, in its familiar form.
        reference: String,
        /// What the registry said.
        answer: Answer,
    },
    /// The bytes are not those that were asked for, or not those that the registry says they are.
    #[error("manifest of {host} does not match its digest: expected {expected}, got {actual}")]
    DigestMismatch {
        /// Who served it.
        host: String,
        /// The digest asked for, or claimed.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// Larger than any manifest may be.
    #[error("manifest of {host} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// Who served it.
        host: String,
        /// The most that is read.
        limit_bytes: u64,
    },
    /// The answer is no manifest: the host is no registry, or something on the way answered for it.
    #[error("{host} did not answer with a manifest: {what}")]
    NotAManifest {
        /// Who answered.
        host: String,
        /// What came instead.
        what: &'static str,
    },
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Why a manifest was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PutManifestError {
    /// Blobs or manifests that it names are not there; upload them and try again.
    #[error("the registry lacks {} that the manifest names", missing(.digests))]
    MissingContent {
        /// Those that the registry named; may be empty.
        digests: Vec<Digest>,
    },
    /// The registry says that it is not valid.
    #[error("{answer}")]
    Invalid {
        /// What the registry said.
        answer: Answer,
    },
    /// The registry stored something else.
    #[error("{host} stored the manifest as {actual}, not as {expected}")]
    DigestMismatch {
        /// The registry.
        host: String,
        /// The digest of the bytes.
        expected: Digest,
        /// What the registry says.
        actual: Digest,
    },
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Why a manifest or tag was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// It is not there.
    #[error("{answer}")]
    NotFound {
        /// What the registry said.
        answer: Answer,
    },
    /// The registry does not delete.
    #[error("{answer}")]
    Unsupported {
        /// What the registry said.
        answer: Answer,
    },
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
}

fn missing(digests: &[Digest]) -> String {
    match digests {
        [] => "content".to_owned(),
        digests => digests.iter().map(Digest::to_string).collect::<Vec<_>>().join(", "),
    }
}

impl Client {
    /// Gets a manifest or an index, from a mirror if there is one that has it.
    ///
    /// The body is at most `limits.manifest_bytes` long. Its digest is taken here: a digest in the target must be equal
    /// to it, and for a tag so must the `Docker-Content-Digest` of the answer, if there is one.
    ///
    /// # Errors
    /// What the registry's own answer gives; failures of mirrors are told to the observer.
    ///
    /// Source: distribution-spec v1.1, "Pulling manifests".
    pub async fn manifest(
        &self,
        repository: &Repository,
        target: &Target,
    ) -> Result<ManifestResponse, ManifestError> {
        self.manifest_from(repository, target, None).await
    }

    /// As [`Client::manifest`], asking the place first that served an earlier part.
    ///
    /// # Errors
    /// As [`Client::manifest`].
    pub async fn manifest_from(
        &self,
        repository: &Repository,
        target: &Target,
        source: Option<&Source>,
    ) -> Result<ManifestResponse, ManifestError> {
        let endpoints = self.readers(repository, source)?;
        let (last, others) = endpoints.split_last().expect("a registry is always among its readers");
        for endpoint in others {
            match self.get_manifest(endpoint, repository, target).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) => self.mirror_failed(endpoint, &error),
            }
        }
        self.get_manifest(last, repository, target).await
    }

    async fn get_manifest(
        &self,
        endpoint: &Endpoint,
        repository: &Repository,
        target: &Target,
    ) -> Result<ManifestResponse, ManifestError> {
        let call = manifest_call(Method::GET, repository, target);
        let subject = target.to_string();
        let mut tries = self.tries(endpoint);
        loop {
            let reply = self.call(endpoint, &subject, &call).await?;
            let error = match self.read_manifest(endpoint, repository, target, reply).await {
                Err(ManifestError::Request(error)) => error,
                settled => return settled,
            };
            let failure = Failure { host: &endpoint.name, subject: &subject, error };
            tries.again(&self.transport, 0, failure, |event| self.notify(event)).await?;
        }
    }

    async fn read_manifest(
        &self,
        endpoint: &Endpoint,
        repository: &Repository,
        target: &Target,
        reply: Reply,
    ) -> Result<ManifestResponse, ManifestError> {
        match reply.status() {
            200 => {}
            404 => return Err(self.not_found(repository, target, reply).await),
            _ => return Err(reply.into_error(&self.transport).await.into()),
        }
        let host = reply.host.clone();
        let strange = |what| ManifestError::NotAManifest { host: host.clone(), what };
        if reply.text(CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Err(strange("it is encoded, which was not asked for"));
        }
        let content_type =
            reply.text(CONTENT_TYPE).map(|text| media_type::essence(text).to_ascii_lowercase());
        if content_type.as_deref() == Some("text/html") {
            return Err(strange("it is a web page"));
        }
        let claimed = reply.claimed_digest();
        let limit_bytes = self.options().limits.manifest_bytes;
        let body = match reply.bytes(&self.transport, limit_bytes).await {
            Err(RequestError::TooLarge { host, limit_bytes }) => {
                return Err(ManifestError::TooLarge { host, limit_bytes });
            }
            body => body?,
        };
        let expected = match (target, claimed) {
            (Target::Digest(digest), _) => Some(*digest),
            (Target::Tag(_), ClaimedDigest::Digest(digest)) => Some(digest),
            (Target::Tag(_), ClaimedDigest::None) => None,
            (Target::Tag(_), ClaimedDigest::Malformed) => return Err(strange("its digest is malformed")),
        };
        if let Some(expected) = expected {
            let actual = Digest::of(expected.algorithm(), &body);
            if actual != expected {
                return Err(ManifestError::DigestMismatch { host, expected, actual });
            }
        }
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(strange("it is not JSON"));
        }
        let digest = match target {
            Target::Digest(digest) => *digest,
            Target::Tag(_) => Digest::sha256(&body),
        };
        let content_type = content_type.unwrap_or_default();
        Ok(ManifestResponse { body, content_type, digest, source: Source(endpoint.clone()) })
    }

    /// Asks about a manifest without getting it; where a registry does not answer HEAD, gets it after all.
    ///
    /// # Errors
    /// As [`Client::manifest`].
    pub async fn head_manifest(
        &self,
        repository: &Repository,
        target: &Target,
    ) -> Result<ManifestHead, ManifestError> {
        let endpoints = self.readers(repository, None)?;
        let (last, others) = endpoints.split_last().expect("a registry is always among its readers");
        for endpoint in others {
            match self.head_manifest_at(endpoint, repository, target).await {
                Ok(head) => return Ok(head),
                Err(error) => self.mirror_failed(endpoint, &error),
            }
        }
        self.head_manifest_at(last, repository, target).await
    }

    async fn head_manifest_at(
        &self,
        endpoint: &Endpoint,
        repository: &Repository,
        target: &Target,
    ) -> Result<ManifestHead, ManifestError> {
        let call = manifest_call(Method::HEAD, repository, target);
        let reply = self.call(endpoint, &target.to_string(), &call).await?;
        match reply.status() {
            200 => Ok(ManifestHead {
                digest: match reply.claimed_digest() {
                    ClaimedDigest::Digest(digest) => Some(digest),
                    _ => None,
                },
                content_type: reply
                    .text(CONTENT_TYPE)
                    .map(|text| media_type::essence(text).to_ascii_lowercase()),
                size_bytes: reply.text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
                source: Source(endpoint.clone()),
            }),
            404 => Err(self.not_found(repository, target, reply).await),
            400 | 405 | 501 => {
                let manifest = self.get_manifest(endpoint, repository, target).await?;
                Ok(ManifestHead {
                    digest: Some(manifest.digest),
                    content_type: Some(manifest.content_type),
                    size_bytes: Some(manifest.body.len() as u64),
                    source: manifest.source,
                })
            }
            _ => Err(reply.into_error(&self.transport).await.into()),
        }
    }

    /// Puts a manifest or an index under a tag or under its digest, and returns its digest.
    ///
    /// # Errors
    /// [`PutManifestError::MissingContent`] when the registry lacks what the manifest names.
    /// [`PutManifestError::DigestMismatch`] when the digest in the target or in the answer is not that of the bytes.
    ///
    /// Source: distribution-spec v1.1, "Pushing Manifests".
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        target: &Target,
        media_type: &str,
        body: Bytes,
    ) -> Result<Digest, PutManifestError> {
        let endpoint = self.writer(repository)?;
        let expected = match target {
            Target::Digest(digest) => *digest,
            Target::Tag(_) => Digest::sha256(&body),
        };
        let actual = Digest::of(expected.algorithm(), &body);
        let differs = |host, actual| PutManifestError::DigestMismatch { host, expected, actual };
        if actual != expected {
            return Err(differs("the caller".to_owned(), actual));
        }
        let path = manifest_path(repository, target);
        let call = Call::new(Method::PUT, path, Scopes::push(repository))
            .header(CONTENT_TYPE, media_type)
            .body(body.clone());
        let reply = self.call(&endpoint, &target.to_string(), &call).await?;
        match reply.status() {
            // Some registries say 200.
            200 | 201 => match reply.claimed_digest() {
                ClaimedDigest::None => Ok(expected),
                ClaimedDigest::Digest(claimed) if Digest::of(claimed.algorithm(), &body) == claimed => {
                    Ok(expected)
                }
                ClaimedDigest::Digest(claimed) => Err(differs(reply.host, claimed)),
                ClaimedDigest::Malformed => {
                    Err(RequestError::Malformed { host: reply.host, what: "its digest" }.into())
                }
            },
            _ => Err(refused_manifest(reply.into_error(&self.transport).await)),
        }
    }

    /// Deletes a manifest by digest, or a tag where the registry deletes tags.
    ///
    /// # Errors
    /// [`DeleteError::Unsupported`] when the registry does not delete.
    pub async fn delete_manifest(&self, repository: &Repository, target: &Target) -> Result<(), DeleteError> {
        let endpoint = self.writer(repository)?;
        let call = Call::new(Method::DELETE, manifest_path(repository, target), Scopes::delete(repository));
        let reply = self.call(&endpoint, &target.to_string(), &call).await?;
        self.deleted(reply).await
    }

    /// Sorts the answer to a DELETE.
    pub(crate) async fn deleted(&self, reply: Reply) -> Result<(), DeleteError> {
        let status = reply.status();
        if matches!(status, 200 | 202 | 204) {
            return Ok(());
        }
        match (status, reply.into_error(&self.transport).await) {
            (404, RequestError::Unexpected { answer, .. }) => Err(DeleteError::NotFound { answer }),
            (400 | 405, RequestError::Unexpected { answer, .. })
                if status == 405 || answer.has(ErrorCode::Unsupported) =>
            {
                Err(DeleteError::Unsupported { answer })
            }
            (_, error) => Err(error.into()),
        }
    }

    async fn not_found(&self, repository: &Repository, target: &Target, reply: Reply) -> ManifestError {
        let reference = match target {
            Target::Tag(tag) => repository.tagged(tag.clone()),
            Target::Digest(digest) => repository.at(*digest),
        };
        match reply.into_error(&self.transport).await {
            RequestError::Unexpected { answer, .. } => {
                ManifestError::NotFound { reference: reference.familiar(), answer }
            }
            other => other.into(),
        }
    }
}

fn refused_manifest(error: RequestError) -> PutManifestError {
    let RequestError::Unexpected { host, answer } = error else { return error.into() };
    if answer.has(ErrorCode::ManifestBlobUnknown) || answer.has(ErrorCode::BlobUnknown) {
        let unquoted = |detail: &str| {
            // A bare digest, or an object that holds one.
            let value: serde_json::Value = serde_json::from_str(detail).ok()?;
            let digest = value.as_str().or_else(|| value.get("digest")?.as_str())?;
            digest.parse().ok()
        };
        let digests = answer.errors.iter().filter_map(|error| unquoted(&error.detail)).collect();
        return PutManifestError::MissingContent { digests };
    }
    match answer.status {
        400 | 413 | 415 | 422 => PutManifestError::Invalid { answer },
        _ => RequestError::Unexpected { host, answer }.into(),
    }
}

fn manifest_call(method: Method, repository: &Repository, target: &Target) -> Call {
    let call = Call::new(method, manifest_path(repository, target), Scopes::pull(repository));
    // One field a type, as dockerd sends them. Schema 1 is asked for so that it can be told from an image that is not
    // there.
    let call = media_type::MANIFESTS.iter().fold(call, |call, media_type| call.header(ACCEPT, media_type));
    call.header(ACCEPT, media_type::DOCKER_SCHEMA1_SIGNED)
}

fn manifest_path(repository: &Repository, target: &Target) -> String {
    format!("/v2/{}/manifests/{target}", repository.path())
}
