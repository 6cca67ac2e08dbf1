//! What went wrong with a request, as the distribution specification has a client read it.

use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use shale_oci::Digest;

use super::answer::{Answer, Body};

/// A refusal: every variant has one status and one code.
///
/// Source: distribution-spec, "Error Codes"; the codes that the specification lacks are those of the Docker registry.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The repository does not hold the blob.
    #[error("blob unknown to registry")]
    BlobUnknown(Digest),
    /// The upload does not exist, was cancelled or is finished.
    #[error("blob upload unknown to registry")]
    BlobUploadUnknown,
    /// The digest is missing, malformed or not that of the bytes.
    #[error("{0}")]
    DigestInvalid(&'static str),
    /// Blobs or manifests that a manifest names are missing.
    #[error("manifest references content unknown to this repository")]
    ManifestBlobUnknown(Vec<Digest>),
    /// The manifest is malformed.
    #[error("manifest invalid: {0}")]
    ManifestInvalid(String),
    /// The manifest has a media type that is none.
    #[error("manifest media type is not supported")]
    ManifestTypeUnsupported,
    /// The manifest is larger than the limit.
    #[error("manifest is larger than {limit_bytes} bytes")]
    ManifestTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The blob is larger than the limit.
    #[error("blob is larger than {limit_bytes} bytes")]
    BlobTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The repository does not hold the manifest.
    #[error("manifest unknown")]
    ManifestUnknown(String),
    /// The repository name breaks the grammar.
    #[error("invalid repository name")]
    NameInvalid,
    /// The repository does not exist.
    #[error("repository name not known to registry")]
    NameUnknown,
    /// The tag breaks the grammar.
    #[error("invalid tag")]
    TagInvalid,
    /// More tags in one request than the limit.
    #[error("more than {limit} tags in one request")]
    TooManyTags {
        /// The limit.
        limit: usize,
    },
    /// The length does not match what was announced.
    #[error("{0}")]
    SizeInvalid(&'static str),
    /// A chunk that does not continue the upload.
    #[error("chunk does not continue the upload, which has {received} bytes")]
    ChunkOutOfOrder {
        /// Where to continue.
        location: String,
        /// Bytes received so far.
        received: u64,
    },
    /// A range that the blob does not have.
    #[error("range not satisfiable")]
    RangeUnsatisfiable {
        /// The size of the blob.
        size_bytes: u64,
    },
    /// A Content-Range header that cannot be read.
    #[error("malformed Content-Range")]
    ContentRangeMalformed,
    /// `n` is not a number from 0 on.
    #[error("invalid number of results requested")]
    PaginationNumberInvalid,
    /// A query, header or body that cannot be read.
    #[error("{0}")]
    BadRequest(&'static str),
    /// Nobody, or nobody we know, asks for something that needs a name.
    #[error("authentication required")]
    Unauthorized {
        /// The WWW-Authenticate header.
        challenge: String,
    },
    /// The one who asks may not.
    #[error("requested access to the resource is denied")]
    Denied,
    /// The operation is switched off.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The path exists, the method does not.
    #[error("method not allowed")]
    MethodNotAllowed {
        /// The Allow header.
        allow: &'static str,
    },
    /// Nothing stands at this path.
    #[error("page not found")]
    NotFound,
    /// Too much at once.
    #[error("too many requests")]
    TooManyRequests,
    /// The client was too slow.
    #[error("the request took too long to arrive")]
    Timeout,
    /// The storage does not answer.
    #[error("the registry is not ready")]
    Unavailable,
    /// The disk is full.
    #[error("insufficient storage")]
    StorageFull,
    /// The connection broke while the body arrived; nobody reads this.
    #[error("the request body ended early")]
    BodyAborted,
    /// Our own failure; the cause is logged and not told.
    #[error("internal error")]
    Internal,
}

impl Problem {
    /// Logs `error` and returns the answer that tells a client nothing of the server's insides.
    pub fn internal(error: &dyn std::error::Error) -> Problem {
        let mut causes = String::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push_str(": ");
            causes.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!("{error}{causes}");
        Problem::Internal
    }

    /// Returns the status of the answer.
    pub fn status(&self) -> StatusCode {
        use Problem::*;
        match self {
            BlobUnknown(_) | BlobUploadUnknown | ManifestUnknown(_) | NameUnknown | NotFound => {
                StatusCode::NOT_FOUND
            }
            DigestInvalid(_)
            | ManifestBlobUnknown(_)
            | ManifestInvalid(_)
            | NameInvalid
            | TagInvalid
            | SizeInvalid(_)
            | PaginationNumberInvalid
            | BadRequest(_)
            | ContentRangeMalformed
            | BodyAborted => StatusCode::BAD_REQUEST,
            ManifestTypeUnsupported => StatusCode::BAD_REQUEST,
            ManifestTooLarge { .. } | BlobTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            TooManyTags { .. } => StatusCode::URI_TOO_LONG,
            ChunkOutOfOrder { .. } | RangeUnsatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Denied => StatusCode::FORBIDDEN,
            Unsupported(_) | MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Timeout => StatusCode::REQUEST_TIMEOUT,
            Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the code that stands in the body.
    pub fn code(&self) -> &'static str {
        use Problem::*;
        match self {
            BlobUnknown(_) => "BLOB_UNKNOWN",
            BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            DigestInvalid(_) => "DIGEST_INVALID",
            ManifestBlobUnknown(_) => "MANIFEST_BLOB_UNKNOWN",
            ManifestInvalid(_) | ManifestTypeUnsupported | ManifestTooLarge { .. } => "MANIFEST_INVALID",
            ManifestUnknown(_) => "MANIFEST_UNKNOWN",
            NameInvalid => "NAME_INVALID",
            NameUnknown => "NAME_UNKNOWN",
            TagInvalid | TooManyTags { .. } => "TAG_INVALID",
            SizeInvalid(_) | BlobTooLarge { .. } => "SIZE_INVALID",
            ChunkOutOfOrder { .. } => "BLOB_UPLOAD_INVALID",
            ContentRangeMalformed | BodyAborted => "BLOB_UPLOAD_INVALID",
            RangeUnsatisfiable { .. } => "RANGE_INVALID",
            PaginationNumberInvalid => "PAGINATION_NUMBER_INVALID",
            Unauthorized { .. } => "UNAUTHORIZED",
            Denied => "DENIED",
            Unsupported(_) | MethodNotAllowed { .. } => "UNSUPPORTED",
            TooManyRequests => "TOOMANYREQUESTS",
            Timeout | StorageFull | Unavailable => "UNAVAILABLE",
            BadRequest(_) | NotFound | Internal => "UNKNOWN",
        }
    }

    /// Returns the answer: status, headers and JSON body.
    pub fn into_answer(self) -> Answer {
        let code = self.code();
        let message = self.to_string();
        let errors = match &self {
            Problem::ManifestBlobUnknown(digests) => digests
                .iter()
                .map(|digest| json!({"code": code, "message": message, "detail": {"digest": digest}}))
                .collect(),
            Problem::BlobUnknown(digest) => {
                vec![json!({"code": code, "message": message, "detail": {"digest": digest}})]
            }
            Problem::ManifestUnknown(reference) => {
                vec![json!({"code": code, "message": message, "detail": {"reference": reference}})]
            }
            _ => vec![json!({"code": code, "message": message})],
        };
        let mut body = json!({ "errors": errors }).to_string();
        body.push('\n');
        let mut answer = Answer::new(Body::from(body));
        *answer.status_mut() = self.status();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Problem::Unauthorized { challenge } => {
                if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                    headers.insert(header::WWW_AUTHENTICATE, challenge);
                }
            }
            Problem::MethodNotAllowed { allow } => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            Problem::RangeUnsatisfiable { size_bytes } => {
                let range = format!("bytes */{size_bytes}");
                headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(range).expect("digits only"));
            }
            Problem::ChunkOutOfOrder { location, received } => {
                headers.insert(header::LOCATION, HeaderValue::try_from(location).expect("a checked path"));
                headers.insert(header::RANGE, super::range::received_header(received));
            }
            Problem::TooManyRequests => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            Problem::Timeout | Problem::BodyAborted => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        answer
    }
}
