//! Gets tokens from a token server.

use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method};
use reqwest::Url;
use serde::Deserialize;

use crate::auth::realm::RealmRefusal;
use crate::auth::{Scopes, basic_value};
use crate::credentials::Credential;
use crate::error::{Answer, NetworkError, RequestError};
use crate::header::challenge::ChallengeError;
use crate::origin::Origin;
use crate::secret::Secret;
use crate::transport::{Transport, read_bounded};

/// The name under which this client asks for refresh tokens.
const CLIENT_ID: &str = "shale";
/// How long a token is good for when the server does not say.
///
/// Source: distribution docs/content/spec/auth/token.md, "expires_in".
const LIFETIME_DEFAULT_S: i64 = 60;
const LIFETIME_MAX_S: i64 = 24 * 60 * 60;
const REDIRECTS_MAX: usize = 5;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The registry asks for authentication and does not say how.
    #[error("{host} asks for authentication without saying how")]
    NoChallenge {
        /// The registry.
        host: String,
    },
    /// The registry says how in a form that cannot be read.
    #[error("malformed WWW-Authenticate from {host}")]
    Challenge {
        /// The registry.
        host: String,
        /// What is wrong.
        source: ChallengeError,
    },
    /// The registry names a token server that it must not name.
    #[error("refused to ask {realm} for a token to {host}: {reason}")]
    RealmRefused {
        /// The registry.
        host: String,
        /// The token server.
        realm: String,
        /// Why not.
        reason: RealmRefusal,
    },
    /// The token server does not give one: no credentials, or wrong ones.
    #[error("{answer}")]
    Refused {
        /// The token server.
        host: String,
        /// What it said.
        answer: Answer,
    },
    /// The token server has a fault.
    #[error("token server {host} is not available: {answer}")]
    Unavailable {
        /// The token server.
        host: String,
        /// What it said.
        answer: Answer,
    },
    /// The answer of the token server is no token.
    #[error("malformed answer from token server {host}: {what}")]
    Malformed {
        /// The token server.
        host: String,
        /// What is wrong.
        what: &'static str,
    },
    /// No connection, or it broke.
    #[error("could not talk to token server {host}")]
    Network {
        /// The token server.
        host: String,
        /// What the transport says.
        source: NetworkError,
    },
    /// No answer in time.
    #[error("token server {host} did not answer within {waited:?}")]
    Timeout {
        /// The token server.
        host: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The certificates of the token server cannot be used.
    #[error(transparent)]
    Certificates(#[from] crate::error::CertificateError),
}

impl TokenError {
    pub(crate) fn is_transient(&self) -> bool {
        matches!(
            self,
            TokenError::Unavailable { .. } | TokenError::Network { .. } | TokenError::Timeout { .. }
        )
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// A token for requests.
    Access,
    /// Also an identity token to keep, as `docker login` wants.
    AccessAndIdentity,
}

/// What a token server gave.
pub(crate) struct Granted {
    pub(crate) token: Secret,
    pub(crate) lifetime: Duration,
    pub(crate) identity_token: Option<Secret>,
}

#[derive(Deserialize)]
struct TokenDocument {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Option<serde_json::Number>,
}

/// Asks the token server at `url`, which `realm::check` has allowed, for a token.
///
/// Source: distribution docs/content/spec/auth/token.md and oauth.md.
pub(crate) async fn fetch(
    transport: &Transport,
    home: &Origin,
    url: Url,
    service: Option<&str>,
    scopes: &Scopes,
    credential: Option<&Credential>,
    grant: Grant,
) -> Result<Granted, TokenError> {
    let waited = transport.options().timeouts.token;
    let host = Origin::of(&url).map(|origin| origin.authority()).unwrap_or_default();
    let request = ask(transport, home, url, service, scopes, credential, grant);
    match tokio::time::timeout(waited, request).await {
        Ok(granted) => granted,
        Err(_) => Err(TokenError::Timeout { host, waited }),
    }
}

async fn ask(
    transport: &Transport,
    home: &Origin,
    mut url: Url,
    service: Option<&str>,
    scopes: &Scopes,
    credential: Option<&Credential>,
    grant: Grant,
) -> Result<Granted, TokenError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let mut form = None;
    if let Some(Credential::IdentityToken { token, .. }) = credential {
        let mut fields =
            vec![("grant_type", "refresh_token".to_owned()), ("client_id", CLIENT_ID.to_owned())];
        fields.extend(service.map(|service| ("service", service.to_owned())));
        let scope = scopes.texts().collect::<Vec<_>>().join(" ");
        if !scope.is_empty() {
            fields.push(("scope", scope));
        }
        fields.push(("refresh_token", token.reveal().to_owned()));
        form = Some(encode_form(&fields));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    } else {
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        for scope in scopes.texts() {
            query.append_pair("scope", &scope);
        }
        if grant == Grant::AccessAndIdentity {
            query.append_pair("offline_token", "true").append_pair("client_id", CLIENT_ID);
        }
        if let Some(Credential::Basic { username, password }) = credential {
            query.append_pair("account", username);
            headers.insert(AUTHORIZATION, basic_value(username, password.reveal()));
        }
    }
    let mut hops = 0;
    loop {
        let origin =
            Origin::of(&url).ok_or(TokenError::Malformed { host: home.authority(), what: "its address" })?;
        let host = origin.authority();
        let method = if form.is_some() { Method::POST } else { Method::GET };
        let body = reqwest::Body::from(form.clone().unwrap_or_default());
        let body = form.is_some().then_some(body);
        let sent = transport.send(home, &origin, method, url.clone(), headers.clone(), body).await;
        let response = sent.map_err(|error| from_request(error, &host))?;
        let status = response.status().as_u16();
        if matches!(status, 301 | 302 | 303 | 307 | 308) {
            // Only within the origin: whoever is allowed to see the password was settled with the realm.
            hops += 1;
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            let next = next.filter(|next| Origin::of(next).as_ref() == Some(&origin));
            match next {
                Some(next) if hops <= REDIRECTS_MAX && form.is_none() => {
                    url = next;
                    continue;
                }
                _ => return Err(TokenError::Malformed { host, what: "a redirect to another host" }),
            }
        }
        let limit = if status == 200 {
            transport.options().limits.token_bytes
        } else {
            transport.options().limits.error_bytes
        };
        let body = read_bounded(transport, response, limit, &host).await;
        return match status {
            200 => granted(&body.map_err(|error| from_request(error, &host))?, &host),
            status => {
                let answer = Answer::read(status, &body.unwrap_or_default());
                Err(match status {
                    408 | 429 | 500.. => TokenError::Unavailable { host, answer },
                    _ => TokenError::Refused { host, answer },
                })
            }
        };
    }
}

fn granted(body: &[u8], host: &str) -> Result<Granted, TokenError> {
    let malformed = |what| TokenError::Malformed { host: host.to_owned(), what };
    let document: TokenDocument = serde_json::from_slice(body).map_err(|_| malformed("it is not JSON"))?;
    let token = document.token.filter(|token| !token.is_empty()).or(document.access_token);
    let token = token.filter(|token| !token.is_empty()).ok_or_else(|| malformed("it holds no token"))?;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed("the token has control characters"));
    }
    let seconds = document.expires_in.and_then(|seconds| seconds.as_i64()).unwrap_or(LIFETIME_DEFAULT_S);
    let seconds = if seconds < LIFETIME_DEFAULT_S { LIFETIME_DEFAULT_S } else { seconds.min(LIFETIME_MAX_S) };
    // A tenth is kept back for the way and for clocks that differ.
    let lifetime = Duration::from_secs(seconds.unsigned_abs()) * 9 / 10;
    let identity_token = document.refresh_token.filter(|token| !token.is_empty()).map(Secret::new);
    Ok(Granted { token: Secret::new(token), lifetime, identity_token })
}

fn encode_form(fields: &[(&str, String)]) -> Vec<u8> {
    // The query of a URL has the same spelling as a form.
    let mut url = Url::parse("http://form/").expect("a constant");
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().as_bytes().to_vec()
}

fn from_request(error: RequestError, host: &str) -> TokenError {
    let host = host.to_owned();
    match error {
        RequestError::Network { source, .. } => TokenError::Network { host, source },
        RequestError::Timeout { waited, .. } => TokenError::Timeout { host, waited },
        RequestError::TooLarge { .. } => TokenError::Malformed { host, what: "it is too large" },
        RequestError::Malformed { what, .. } => TokenError::Malformed { host, what },
        RequestError::Certificates(error) => TokenError::Certificates(error),
        RequestError::Token(error) => error,
        _ => TokenError::Malformed { host, what: "an answer that does not fit" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_in_both_spellings() {
        let read =
            |body: &[u8]| granted(body, "h").map(|granted| (granted.token, granted.lifetime.as_secs()));
        assert_eq!(read(br#"{"token":"a"}"#).unwrap(), (Secret::new("a"), 54));
        assert_eq!(read(br#"{"access_token":"b","expires_in":300}"#).unwrap(), (Secret::new("b"), 270));
        assert_eq!(read(br#"{"token":"a","expires_in":-5}"#).unwrap().1, 54);
        assert!(read(br#"{}"#).is_err());
        assert!(read(br#"{"token":"a\r\nX: y"}"#).is_err());
        assert!(read(br#"{"token":"#).is_err());
    }
}
