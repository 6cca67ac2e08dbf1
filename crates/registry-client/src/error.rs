//! Why a request failed, below the operation that it served.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use shale_oci::{ErrorCode, ErrorDocument};

use crate::auth::TokenError;

/// Longest text of a server that is kept, in bytes.
pub const SERVER_TEXT_MAX: usize = 1 << 10;
/// Most errors of one answer that are kept.
const SERVER_ERRORS_MAX: usize = 16;

/// What a registry said when it refused: safe to print, cut to [`SERVER_TEXT_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The errors of the document, if the answer was one.
    pub errors: Vec<AnswerError>,
    /// The begin of the answer, if it was no error document.
    pub excerpt: String,
}

/// One error of an [`Answer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerError {
    /// The code as the server wrote it: `MANIFEST_UNKNOWN`.
    pub code: String,
    /// Text for people.
    pub message: String,
    /// The detail as compact JSON; empty when there is none.
    pub detail: String,
}

impl Answer {
    /// Reads the (bounded) body of an answer.
    pub(crate) fn read(status: u16, body: &[u8]) -> Answer {
        let Ok(document) = serde_json::from_slice::<ErrorDocument>(body) else {
            return Answer { status, errors: Vec::new(), excerpt: printable(&String::from_utf8_lossy(body)) };
        };
        let errors = document.errors.into_iter().take(SERVER_ERRORS_MAX).map(|entry| AnswerError {
            code: printable(&entry.code),
            message: printable(&entry.message),
            detail: if entry.detail.is_null() { String::new() } else { printable(&entry.detail.to_string()) },
        });
        Answer { status, errors: errors.collect(), excerpt: String::new() }
    }

    /// Returns what a registry usually says with this code.
    pub(crate) fn of(code: shale_oci::ErrorCode) -> Answer {
        let error = AnswerError {
            code: code.name().to_owned(),
            message: code.message().to_owned(),
            detail: String::new(),
        };
        Answer { status: code.status(), errors: vec![error], excerpt: String::new() }
    }

    /// Returns whether one of the errors has this code.
    pub fn has(&self, code: shale_oci::ErrorCode) -> bool {
        self.errors.iter().any(|error| error.code == code.name())
    }
}

/// Words it as Docker does: `denied: requested access to the resource is denied`.
///
/// Source: distribution registry/api/errcode/errors.go, `Error.Error` and `Errors.Error`.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.as_slice() {
            [] => match StatusCode::from_u16(self.status) {
                _ if !self.excerpt.is_empty() => write!(f, "HTTP {}: {}", self.status, self.excerpt),
                // The answer to HEAD has no body; the code's own words say more than the status.
                Ok(StatusCode::UNAUTHORIZED) => Answer::of(ErrorCode::Unauthorized).fmt(f),
                Ok(StatusCode::FORBIDDEN) => Answer::of(ErrorCode::Denied).fmt(f),
                Ok(status) => write!(f, "HTTP {status}"),
                Err(_) => write!(f, "HTTP {}", self.status),
            },
            [error] => error.fmt(f),
            errors => {
                f.write_str("errors:")?;
                errors.iter().try_for_each(|error| write!(f, "\n{error}"))
            }
        }
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code.to_lowercase().replace('_', " "))?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

/// Returns `text` with control characters escaped and cut to [`SERVER_TEXT_MAX`] bytes.
///
/// Line ends become blanks. Marks that turn the direction of writing are escaped too, for they can make a terminal show
/// another text than the one that is there.
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::new();
    for character in text.trim().chars() {
        match character {
            '\n' | '\r' | '\t' => safe.push(' '),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                safe.extend(character.escape_unicode());
            }
            other if other.is_control() => safe.extend(other.escape_unicode()),
            other => safe.push(other),
        }
        if safe.len() >= SERVER_TEXT_MAX {
            let end = (0..=SERVER_TEXT_MAX - 4).rev().find(|&end| safe.is_char_boundary(end)).unwrap_or(0);
            safe.truncate(end);
            safe.push('…');
            break;
        }
    }
    safe
}

/// Why no usable answer came.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The registry wants credentials, or others than those it got.
    #[error("{answer}")]
    Unauthorized {
        /// Who said so.
        host: String,
        /// What it said.
        answer: Answer,
    },
    /// The credentials are good but do not allow this.
    #[error("{answer}")]
    Denied {
        /// Who said so.
        host: String,
        /// What it said.
        answer: Answer,
    },
    /// Too many requests, and the wait that is asked for is too long or did not help.
    #[error("{host} limits requests: {answer}{}", wait(.retry_after))]
    RateLimited {
        /// Who said so.
        host: String,
        /// What it said.
        answer: Answer,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// An answer that does not fit the request; asking again would not help.
    #[error("unexpected answer from {host}: {answer}")]
    Unexpected {
        /// Who said so.
        host: String,
        /// What it said.
        answer: Answer,
    },
    /// The server has a fault that retries did not outlast.
    #[error("{host} is not available: {answer}")]
    Unavailable {
        /// Who said so.
        host: String,
        /// What it said.
        answer: Answer,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// No connection, or it broke.
    #[error("could not talk to {host}")]
    Network {
        /// With whom.
        host: String,
        /// What the transport says.
        source: NetworkError,
    },
    /// No byte came for this long.
    #[error("{host} did not answer within {waited:?}")]
    Timeout {
        /// Who did not.
        host: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The body came in drops.
    #[error("{host} sends less than {rate_bytes_min} bytes a second")]
    TooSlow {
        /// Who did.
        host: String,
        /// The slowest that is put up with, in bytes a second.
        rate_bytes_min: u64,
    },
    /// The answer breaks HTTP or the specification.
    #[error("malformed answer from {host}: {what}")]
    Malformed {
        /// Whose answer.
        host: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// More bytes than any good answer has.
    #[error("the answer of {host} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// Whose answer.
        host: String,
        /// The most that is read.
        limit_bytes: u64,
    },
    /// The registry points to a place that a client must not follow.
    #[error("refused to follow {host}: {reason}")]
    Redirect {
        /// Who pointed.
        host: String,
        /// Why it was not followed.
        reason: RedirectRefusal,
    },
    /// No token for the registry.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The proxy is not `http(s)://host[:port]`. Its text is left out, for it may hold a password.
    #[error("the proxy that is configured for {scheme} is not valid: write http://HOST:PORT")]
    InvalidProxy {
        /// For which scheme.
        scheme: &'static str,
    },
    /// A certificate of `certs.d` or of the system cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
}

/// Why a place that a server named is not gone to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectRefusal {
    /// No `Location`.
    #[error("the answer names no location")]
    Missing,
    /// Not a URL of http or https.
    #[error("the location is not a URL of http or https")]
    Invalid,
    /// From https to http.
    #[error("the location leaves https")]
    Downgrade,
    /// More hops than allowed.
    #[error("more than {hops_max} redirects")]
    TooMany {
        /// The most that are followed.
        hops_max: usize,
    },
    /// Not the origin of the registry, where nothing else will do.
    #[error("the location is on another host, {host}")]
    OtherOrigin {
        /// That host.
        host: String,
    },
}

fn wait(retry_after: &Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| format!(" (try again in {} s)", wait.as_secs()))
}

/// What the transport says about a broken connection; what failed first stands in `source`.
#[derive(Debug, thiserror::Error)]
#[error("{kind}{}", through(.proxy))]
pub struct NetworkError {
    /// At which stage it broke.
    pub kind: NetworkFault,
    /// `scheme://host[:port]` of the proxy on the way, where it could be the one that failed.
    pub proxy: Option<Arc<str>>,
    /// The cause.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

fn through(proxy: &Option<Arc<str>>) -> String {
    proxy.as_ref().map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"))
}

/// The stage at which a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkFault {
    /// No connection: name, route, port, TLS.
    #[error("no connection")]
    Connect,
    /// The peer answers a TLS greeting with something else, as a server without TLS does.
    #[error(
        "the server does not speak TLS; a registry without it must be listed in insecure-registries of \
         /etc/docker/daemon.json"
    )]
    Plain,
    /// The connection broke.
    #[error("the connection broke")]
    Broken,
    /// The peer does not speak HTTP, or breaks a limit of it.
    #[error("the peer broke the protocol")]
    Protocol,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file or folder cannot be read.
    #[error("could not read {path}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not PEM, or no certificate.
    #[error("{path} holds no usable certificate or key")]
    Invalid {
        /// Which one.
        path: PathBuf,
    },
    /// A client certificate without its key.
    #[error("missing key {key} for client certificate {certificate}")]
    NoKey {
        /// The certificate.
        certificate: PathBuf,
        /// Where the key should be.
        key: PathBuf,
    },
    /// Neither the system nor `certs.d` has an authority.
    #[error(
        "no certificate authority to trust: install ca-certificates, or put the registry's into certs.d/HOST:PORT/ca.crt"
    )]
    NoRoots,
    /// The TLS library refuses the combination.
    #[error("could not set up TLS")]
    Tls {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RequestError {
    /// Returns whether the same request may well succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            RequestError::Unavailable { .. }
            | RequestError::RateLimited { .. }
            | RequestError::Timeout { .. } => true,
            RequestError::Network { source, .. } => {
                matches!(source.kind, NetworkFault::Connect | NetworkFault::Broken)
            }
            RequestError::Token(token) => token.is_transient(),
            _ => false,
        }
    }

    /// Returns how long the server asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            RequestError::Unavailable { retry_after, .. } | RequestError::RateLimited { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }

    /// Returns whether the registry refused for want of credentials or rights.
    pub fn is_refusal(&self) -> bool {
        match self {
            RequestError::Unauthorized { .. } | RequestError::Denied { .. } => true,
            RequestError::Token(token) => matches!(token, TokenError::Refused { .. }),
            _ => false,
        }
    }

    /// Returns the sentence that `docker pull` prints for a refusal; none when this is no refusal.
    ///
    /// Source: moby distribution/errors.go, `translateV2AuthError` and `TranslatePullError`.
    pub fn pull_message(&self, repository: &shale_oci::Repository) -> Option<String> {
        self.is_refusal().then(|| {
            format!(
                "pull access denied for {}, repository does not exist or may require 'docker login': {self}",
                repository.familiar()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_error_reads_as_docker_words_it() {
        let body = br#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied","detail":null}]}"#;
        let answer = Answer::read(403, body);
        assert_eq!(answer.to_string(), "denied: requested access to the resource is denied");
        assert!(answer.has(shale_oci::ErrorCode::Denied));
    }

    #[test]
    fn control_characters_are_escaped_and_the_text_is_cut() {
        assert_eq!(printable("a\u{1b}[31mred\r\nb\u{202e}"), "a\\u{1b}[31mred  b\\u{202e}");
        let cut = printable(&"ä".repeat(SERVER_TEXT_MAX));
        assert!(cut.len() <= SERVER_TEXT_MAX && cut.ends_with('…'));
        let answer = Answer::read(404, b"\x1b]0;owned\x07 not json");
        assert_eq!(answer.to_string(), "HTTP 404: \\u{1b}]0;owned\\u{7} not json");
    }
}
