//! The client: one request with its authentication and redirects. The operations stand in files of their own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::{Response, Url};
use shale_oci::{ErrorCode, Repository};

use crate::auth::{OriginAuth, Scopes};
use crate::endpoint::{Endpoint, Source};
use crate::error::{Answer, RedirectRefusal, RequestError};
use crate::header::challenge::{self, Challenge};
use crate::header::retry_after;
use crate::options::{ClientOptions, Event};
use crate::origin::{Origin, Scheme};
use crate::retry::{Failure, Tries, describe};
use crate::transport::{SharedTransport, Transport, read_bounded};

/// Tries that a mirror gets before the next place is asked.
const MIRROR_ATTEMPTS: u32 = 2;

/// A client of registries. A clone is cheap and shares connections, tokens and what was learnt about registries.
#[derive(Clone)]
pub struct Client {
    pub(crate) transport: SharedTransport,
    auth: Arc<Mutex<HashMap<Origin, Arc<OriginAuth>>>>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The user agent is no header text.
    #[error("the user agent {user_agent:?} is not header text")]
    UserAgent {
        /// As given.
        user_agent: String,
    },
}

/// One request, as often as it takes.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) target: CallTarget,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<CallBody>,
    pub(crate) scopes: Scopes,
}

/// Where a call goes.
pub(crate) enum CallTarget {
    /// A path at the registry.
    Path(String),
    /// A place that the registry named, of its own origin.
    Url(Url),
}

/// What a call carries.
pub(crate) enum CallBody {
    /// Bytes that can be sent again.
    Bytes(Bytes),
    /// A stream that can be sent once, and how to watch it.
    Once(Mutex<Option<reqwest::Body>>, crate::blob::Progress),
}

/// The head of an answer.
pub(crate) struct Reply {
    pub(crate) response: Response,
    /// `host[:port]` of whoever answered.
    pub(crate) host: String,
    /// Whether that is another origin than the registry.
    pub(crate) is_foreign: bool,
}

impl Call {
    pub(crate) fn new(method: Method, path: String, scopes: Scopes) -> Call {
        let mut headers = HeaderMap::new();
        // The bytes are hashed as they come; nobody may encode them on the way.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Call { method, target: CallTarget::Path(path), headers, body: None, scopes }
    }

    pub(crate) fn at(method: Method, url: Url, scopes: Scopes) -> Call {
        Call { target: CallTarget::Url(url), ..Call::new(method, String::new(), scopes) }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Call {
        let value = HeaderValue::try_from(value).expect("media types, ranges and lengths are header text");
        self.headers.append(name, value);
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Call {
        self.body = Some(CallBody::Bytes(body.into()));
        self
    }
}

impl Reply {
    /// Takes an answer of the registry itself.
    pub(crate) fn home(response: Response, home: &Origin) -> Reply {
        Reply { response, host: home.authority(), is_foreign: false }
    }

    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Returns the value of a header if it is there once and is text.
    pub(crate) fn text(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        let mut values = self.response.headers().get_all(name).iter();
        let value = values.next()?;
        values.next().is_none().then(|| value.to_str().ok()).flatten()
    }

    /// Reads the text of a refusal and sorts it by what can be done about it.
    pub(crate) async fn into_error(self, transport: &Transport) -> RequestError {
        let status = self.status();
        let host = self.host;
        let now = std::time::SystemTime::now();
        let after = self.response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = after.and_then(|value| retry_after::parse(value, now));
        let limit = transport.options().limits.error_bytes;
        let body = read_start(transport, self.response, limit, &host).await;
        let answer = Answer::read(status, &body);
        match status {
            // A signed address that has expired: the registry gives a new one.
            400..=410 if self.is_foreign => RequestError::Unavailable { host, answer, retry_after: None },
            401 => RequestError::Unauthorized { host, answer },
            403 => RequestError::Denied { host, answer },
            429 => RequestError::RateLimited { host, answer, retry_after },
            408 | 500 | 502 | 503 | 504 => RequestError::Unavailable { host, answer, retry_after },
            _ => RequestError::Unexpected { host, answer },
        }
    }
}

/// Reads the begin of a body that is only text for people.
async fn read_start(transport: &Transport, mut response: Response, limit_bytes: u64, host: &str) -> Vec<u8> {
    let mut pace = crate::transport::Pace::new(transport.options());
    let mut start = Vec::new();
    let deadline = tokio::time::Instant::now() + transport.options().timeouts.response;
    while (start.len() as u64) < limit_bytes {
        let chunk = crate::transport::next_chunk(&mut response, &mut pace, host);
        match tokio::time::timeout_at(deadline, chunk).await {
            Ok(Ok(Some(chunk))) => {
                let room = limit_bytes as usize - start.len();
                start.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            _ => break,
        }
    }
    start
}

impl Client {
    /// Makes a client. Nothing is sent or read yet.
    ///
    /// # Errors
    /// When the options cannot work.
    pub fn new(options: ClientOptions) -> Result<Client, ClientError> {
        if HeaderValue::try_from(&options.user_agent).is_err() {
            return Err(ClientError::UserAgent { user_agent: options.user_agent });
        }
        Ok(Client { transport: Arc::new(Transport::new(options)), auth: Arc::default() })
    }

    /// Returns the options it was made with.
    pub fn options(&self) -> &ClientOptions {
        self.transport.options()
    }

    /// Returns where to read a repository from, best first; `first` goes before the others.
    pub(crate) fn readers(
        &self,
        repository: &Repository,
        first: Option<&Source>,
    ) -> Result<Vec<Endpoint>, RequestError> {
        let mut endpoints = Endpoint::all(self.options(), repository.domain())?;
        if let Some(Source(first)) = first
            && let Some(at) = endpoints.iter().position(|endpoint| endpoint == first)
        {
            endpoints[..=at].rotate_right(1);
        }
        Ok(endpoints)
    }

    /// Returns where to write a repository to: the registry, never a mirror.
    pub(crate) fn writer(&self, repository: &Repository) -> Result<Endpoint, RequestError> {
        Endpoint::registry(repository.domain())
    }

    pub(crate) fn notify(&self, event: &Event) {
        (self.options().observer)(event);
    }

    /// Tells that a mirror could not serve something.
    pub(crate) fn mirror_failed(&self, endpoint: &Endpoint, error: &dyn std::error::Error) {
        self.notify(&Event::MirrorFailed { host: endpoint.name.clone(), reason: describe(error) });
    }

    /// Returns the tries that a place deserves.
    pub(crate) fn tries(&self, endpoint: &Endpoint) -> Tries {
        let tries = Tries::new(&self.transport);
        if endpoint.is_mirror { tries.at_most(MIRROR_ATTEMPTS) } else { tries }
    }

    /// Sends a call until an answer comes that more tries would not better. The answer may still be a refusal.
    pub(crate) async fn call(
        &self,
        endpoint: &Endpoint,
        subject: &str,
        call: &Call,
    ) -> Result<Reply, RequestError> {
        let mut tries = self.tries(endpoint);
        loop {
            let error = match self.exchange(endpoint, call).await {
                Ok(reply) if is_passing(reply.status()) || reply.is_foreign && reply.status() >= 400 => {
                    reply.into_error(&self.transport).await
                }
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let failure = Failure { host: &endpoint.name, subject, error };
            tries.again(&self.transport, 0, failure, |event| self.notify(event)).await?;
        }
    }

    /// Sends a call once, with the authentication that the registry wants.
    pub(crate) async fn exchange(&self, endpoint: &Endpoint, call: &Call) -> Result<Reply, RequestError> {
        let home = self.transport.locate(endpoint).await?;
        let auth = self.auth_of(&home);
        let mut authorization = auth.authorize(&self.transport, endpoint, &home, &call.scopes).await?;
        let mut refusals = 0;
        loop {
            let reply = self.follow(&home, call, authorization.as_ref()).await?;
            if reply.status() != 401 || reply.is_foreign {
                return Ok(reply);
            }
            refusals += 1;
            if refusals == 2 {
                return Err(self.refused(reply).await);
            }
            let headers = reply.response.headers();
            let answer = auth
                .challenged(&self.transport, endpoint, &home, headers, &call.scopes, authorization.as_ref())
                .await?;
            let Some(answer) = answer else { return Err(self.refused(reply).await) };
            authorization = Some(answer);
            if matches!(call.body, Some(CallBody::Once(..))) {
                // The body is gone; whoever has it begins again, now with the new token.
                return Ok(reply);
            }
        }
    }

    /// Sorts a 401 that is final. A token that is good but not good enough is a want of rights, not of a login.
    ///
    /// Source: distribution registry/client/errors.go, `HandleErrorResponse`.
    async fn refused(&self, reply: Reply) -> RequestError {
        let values = reply.response.headers().get_all(WWW_AUTHENTICATE).iter().map(HeaderValue::as_bytes);
        let challenges = challenge::parse(values).unwrap_or_default();
        let is_scope = |challenge: &Challenge| matches!(challenge, Challenge::Bearer { error: Some(error), .. } if error == "insufficient_scope");
        if challenges.iter().any(is_scope) {
            return RequestError::Denied { host: reply.host, answer: Answer::of(ErrorCode::Denied) };
        }
        reply.into_error(&self.transport).await
    }

    pub(crate) fn auth_of(&self, home: &Origin) -> Arc<OriginAuth> {
        let mut auth = self.auth.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(auth.entry(home.clone()).or_default())
    }

    /// Sends a call and follows redirects; credentials go to `home` only.
    pub(crate) async fn follow(
        &self,
        home: &Origin,
        call: &Call,
        authorization: Option<&HeaderValue>,
    ) -> Result<Reply, RequestError> {
        let mut url = match &call.target {
            CallTarget::Path(path) => home.url(path),
            CallTarget::Url(url) => url.clone(),
        };
        let follows = matches!(call.method, Method::GET | Method::HEAD);
        let hops_max = self.options().limits.redirects;
        let mut hops = 0;
        loop {
            let refuse = |reason| RequestError::Redirect { host: home.authority(), reason };
            let origin = Origin::of(&url).ok_or(refuse(RedirectRefusal::Invalid))?;
            let mut headers = call.headers.clone();
            if let Some(authorization) = authorization.filter(|_| origin == *home) {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
            let response = self.dispatch(home, &origin, call, url.clone(), headers).await?;
            let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            if !is_redirect || !follows {
                return Ok(Reply { response, host: origin.authority(), is_foreign: origin != *home });
            }
            hops += 1;
            if hops > hops_max {
                return Err(refuse(RedirectRefusal::TooMany { hops_max }));
            }
            let location = response.headers().get(LOCATION).ok_or(refuse(RedirectRefusal::Missing))?;
            url = next_url(&url, location).map_err(refuse)?;
        }
    }

    async fn dispatch(
        &self,
        home: &Origin,
        origin: &Origin,
        call: &Call,
        url: Url,
        headers: HeaderMap,
    ) -> Result<Response, RequestError> {
        let method = call.method.clone();
        match &call.body {
            None => self.transport.send(home, origin, method, url, headers, None).await,
            Some(CallBody::Bytes(bytes)) => {
                let body = reqwest::Body::from(bytes.clone());
                self.transport.send(home, origin, method, url, headers, Some(body)).await
            }
            Some(CallBody::Once(body, progress)) => {
                let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
                let sent = self.transport.send_untimed(home, origin, method, url, headers, body);
                progress.watch(self.options(), &origin.authority(), sent).await
            }
        }
    }
}

/// Returns whether a status tells of a fault that may pass.
pub(crate) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// Returns where a redirect leads. The user that the first URL names stays with its origin; one that a redirect names is
/// dropped.
fn next_url(from: &Url, location: &HeaderValue) -> Result<Url, RedirectRefusal> {
    let location = location.to_str().map_err(|_| RedirectRefusal::Invalid)?;
    let mut next = from.join(location).map_err(|_| RedirectRefusal::Invalid)?;
    let origin = Origin::of(&next).ok_or(RedirectRefusal::Invalid)?;
    if from.scheme() == Scheme::Https.name() && origin.scheme() != Scheme::Https {
        return Err(RedirectRefusal::Downgrade);
    }
    let is_home = Origin::of(from).as_ref() == Some(&origin);
    let (username, password) = if is_home { (from.username(), from.password()) } else { ("", None) };
    // Neither can fail for http and https.
    let _ = next.set_username(username);
    let _ = next.set_password(password);
    next.set_fragment(None);
    Ok(next)
}

/// Returns the digest that an answer claims.
pub(crate) enum ClaimedDigest {
    /// No header.
    None,
    /// A header that is no digest.
    Malformed,
    /// This one.
    Digest(shale_oci::Digest),
}

impl Reply {
    pub(crate) fn claimed_digest(&self) -> ClaimedDigest {
        const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
        match self.response.headers().get(DOCKER_CONTENT_DIGEST) {
            None => ClaimedDigest::None,
            Some(value) => match value.to_str().ok().and_then(|text| text.parse().ok()) {
                Some(digest) => ClaimedDigest::Digest(digest),
                None => ClaimedDigest::Malformed,
            },
        }
    }

    /// Reads the whole body.
    pub(crate) async fn bytes(self, transport: &Transport, limit_bytes: u64) -> Result<Bytes, RequestError> {
        read_bounded(transport, self.response, limit_bytes, &self.host).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirected(from: &str, location: &str) -> Result<String, RedirectRefusal> {
        next_url(&Url::parse(from).unwrap(), &HeaderValue::try_from(location).unwrap())
            .map(|url| url.to_string())
    }

    #[test]
    fn a_redirect_may_go_up_to_https_and_never_down() {
        let from = "https://reg.example/v2/a/blobs/x";
        assert_eq!(redirected(from, "http://cdn.example/y"), Err(RedirectRefusal::Downgrade));
        assert_eq!(
            redirected("http://reg.example/x", "https://cdn.example/y").unwrap(),
            "https://cdn.example/y"
        );
        assert_eq!(redirected(from, "../z?sig=a%2Fb").unwrap(), "https://reg.example/v2/a/z?sig=a%2Fb");
        assert_eq!(redirected(from, "//cdn.example/y#f").unwrap(), "https://cdn.example/y");
        assert_eq!(redirected(from, "https://u:p@cdn.example/y").unwrap(), "https://cdn.example/y");
        let known = "https://u%40x:p@reg.example/x";
        assert_eq!(redirected(known, "/y").unwrap(), "https://u%40x:p@reg.example/y");
        assert_eq!(redirected(known, "https://v:q@reg.example/y").unwrap(), "https://u%40x:p@reg.example/y");
        assert_eq!(redirected(known, "//cdn.example/y").unwrap(), "https://cdn.example/y");
        assert_eq!(redirected(known, "https://reg.example:444/y").unwrap(), "https://reg.example:444/y");
        for location in ["file:///etc/passwd", "ftp://h/x", "https://", "data:,x", "https://[::1"] {
            assert_eq!(redirected(from, location), Err(RedirectRefusal::Invalid), "{location}");
        }
    }
}
