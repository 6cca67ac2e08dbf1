//! Error codes of the distribution specification and the document that carries them.

use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($($variant:ident, $name:literal, $status:literal, $message:literal;)*) => {
        /// An error code of the distribution specification, or one that Docker's registry added.
        ///
        /// Source: distribution-spec v1.1, "Error Codes"; `UNKNOWN`, `MANIFEST_UNVERIFIED`, `PAGINATION_NUMBER_INVALID`
        /// and `RANGE_INVALID` as docker-registry 2.8 sends them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = $message] $variant,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),*];

            /// Returns the code as it stands in the document: `BLOB_UNKNOWN`.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorCode::$variant => $name,)* }
            }

            /// Returns the usual HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(ErrorCode::$variant => $status,)* }
            }

            /// Returns the usual message.
            pub const fn message(self) -> &'static str {
                match self { $(ErrorCode::$variant => $message,)* }
            }

            /// Returns the code with this name.
            pub fn find(name: &str) -> Option<ErrorCode> {
                ErrorCode::ALL.iter().copied().find(|code| code.name() == name)
            }
        }
    };
}

error_codes! {
    BlobUnknown, "BLOB_UNKNOWN", 404, "blob unknown to registry";
    BlobUploadInvalid, "BLOB_UPLOAD_INVALID", 400, "blob upload invalid";
    BlobUploadUnknown, "BLOB_UPLOAD_UNKNOWN", 404, "blob upload unknown to registry";
    DigestInvalid, "DIGEST_INVALID", 400, "provided digest did not match uploaded content";
    ManifestBlobUnknown, "MANIFEST_BLOB_UNKNOWN", 404, "manifest references a manifest or blob unknown to registry";
    ManifestInvalid, "MANIFEST_INVALID", 400, "manifest invalid";
    ManifestUnknown, "MANIFEST_UNKNOWN", 404, "manifest unknown to registry";
    ManifestUnverified, "MANIFEST_UNVERIFIED", 400, "manifest failed signature verification";
    NameInvalid, "NAME_INVALID", 400, "invalid repository name";
    NameUnknown, "NAME_UNKNOWN", 404, "repository name not known to registry";
    PaginationNumberInvalid, "PAGINATION_NUMBER_INVALID", 400, "invalid number of results requested";
    RangeInvalid, "RANGE_INVALID", 416, "invalid content range";
    SizeInvalid, "SIZE_INVALID", 400, "provided length did not match content length";
    TagInvalid, "TAG_INVALID", 400, "manifest tag did not match URI";
    Unauthorized, "UNAUTHORIZED", 401, "authentication required";
    Denied, "DENIED", 403, "requested access to the resource is denied";
    Unsupported, "UNSUPPORTED", 405, "the operation is unsupported";
    TooManyRequests, "TOOMANYREQUESTS", 429, "too many requests";
    Unavailable, "UNAVAILABLE", 503, "service unavailable";
    Unknown, "UNKNOWN", 500, "unknown error";
}

/// The body of an error answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorDocument {
    /// At least one error.
    pub errors: Vec<ErrorEntry>,
}

/// One error of an [`ErrorDocument`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorEntry {
    /// The code; a server may send one that no specification knows.
    pub code: String,
    /// Text for people.
    #[serde(default)]
    pub message: String,
    /// Anything.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}

impl ErrorDocument {
    /// Returns a document with one error and its usual message.
    pub fn new(code: ErrorCode, detail: serde_json::Value) -> ErrorDocument {
        let entry = ErrorEntry { code: code.name().to_owned(), message: code.message().to_owned(), detail };
        ErrorDocument { errors: vec![entry] }
    }
}
