//! One request to one origin, and reading what comes back within bounds of time and size.
//!
//! Promise: no cookie, no automatic redirect, no automatic decoding; an answer whose length is ambiguous is refused.
//! Not here: credentials, retries, the meaning of a status.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};
use reqwest::{Response, Url};

use crate::endpoint::Endpoint;
use crate::error::{NetworkError, NetworkFault, RequestError};
use crate::options::ClientOptions;
use crate::origin::{Origin, Scheme};
use crate::tls::{self, Trust};

/// How long an insecure registry may take to show that it speaks TLS, before plain http is tried.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// What a proxy says when it wants a name and a password, or others.
const PROXY_REFUSES: &str = "proxy authentication required; put a name and a password into the proxy's URL";
/// What Go's client, and so docker, says of a server without TLS.
const PLAIN_ANSWER: &str = "http: server gave HTTP response to HTTPS client";
/// Idle connections are closed after this time, before most servers and proxies do.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Connections, by the origin they go to.
pub(crate) struct Transport {
    options: ClientOptions,
    clients: Mutex<HashMap<(Origin, Origin), Connections>>,
    /// What plain-or-TLS registries turned out to be.
    located: Mutex<HashMap<String, Origin>>,
    /// The addresses of hosts whose names were looked up.
    addresses: Mutex<HashMap<String, Vec<IpAddr>>>,
    reached: Mutex<HashSet<String>>,
}

/// How one origin is reached.
#[derive(Clone)]
struct Connections {
    client: reqwest::Client,
    /// The proxy on the way, without the password in its URL.
    proxy: Option<Arc<str>>,
}

impl Transport {
    pub(crate) fn new(options: ClientOptions) -> Transport {
        Transport {
            options,
            clients: Mutex::default(),
            located: Mutex::default(),
            addresses: Mutex::default(),
            reached: Mutex::default(),
        }
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Returns whether this host has ever answered.
    pub(crate) fn has_reached(&self, host: &str) -> bool {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).contains(host)
    }

    /// Returns where the endpoint is: https if it answers so, else http if that is allowed.
    ///
    /// What was found once stays: a registry that spoke TLS is never asked without.
    pub(crate) async fn locate(&self, endpoint: &Endpoint) -> Result<Origin, RequestError> {
        if let Some(found) = self.located.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint.name) {
            return Ok(found.clone());
        }
        let secure = &endpoint.origin;
        let plain = Origin::new(Scheme::Http, &endpoint.name).filter(|_| !endpoint.is_mirror);
        let Some(plain) = plain else { return Ok(secure.clone()) };
        if !self.is_insecure(secure).await {
            return Ok(secure.clone());
        }
        let mut found = None;
        for origin in [secure, &plain] {
            let answer = self.send(origin, origin, Method::GET, origin.url("/v2/"), HeaderMap::new(), None);
            match tokio::time::timeout(PROBE_TIMEOUT, answer).await {
                // A plain server may take the TLS greeting for a request and answer that; the handshake then failed.
                Ok(Ok(_)) => {
                    found = Some(origin.clone());
                    break;
                }
                Ok(Err(error @ RequestError::Certificates(_))) => return Err(error),
                Ok(Err(_)) | Err(_) => {}
            }
        }
        match found {
            Some(found) => {
                let mut located = self.located.lock().unwrap_or_else(PoisonError::into_inner);
                located.insert(endpoint.name.clone(), found.clone());
                Ok(found)
            }
            // Nobody there now: the request itself will say so, and the next one looks again.
            None => Ok(plain),
        }
    }

    /// Returns whether TLS and good certificates are not required: the host is listed, by its name or by an address that
    /// it has, or is loopback without an authority that somebody went to the length of installing for it.
    ///
    /// Source: moby registry/config.go, `isSecureIndex`.
    async fn is_insecure(&self, origin: &Origin) -> bool {
        if origin.is_loopback() && !tls::has_authority(&self.options.certs_d, origin) {
            return true;
        }
        self.options.lists_insecure(origin, &self.addresses(origin).await)
    }

    /// Returns the addresses of a host, where a network is listed that they could lie in; none where nobody knows them.
    async fn addresses(&self, origin: &Origin) -> Vec<IpAddr> {
        if let Some(address) = origin.address() {
            return vec![address];
        }
        if !self.options.lists_networks() {
            return Vec::new();
        }
        let host = origin.host().to_owned();
        if let Some(known) = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).get(&host) {
            return known.clone();
        }
        let lookup = Arc::clone(&self.options.lookup);
        let asked = host.clone();
        let answer = tokio::task::spawn_blocking(move || lookup(&asked));
        match tokio::time::timeout(self.options.timeouts.connect, answer).await {
            Ok(Ok(Ok(found))) => {
                let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
                addresses.entry(host).or_insert(found).clone()
            }
            failed => {
                tracing::debug!(host, ?failed, "no address to compare with the insecure networks");
                Vec::new()
            }
        }
    }

    /// Sends one request and returns the head of the answer.
    pub(crate) async fn send(
        &self,
        home: &Origin,
        origin: &Origin,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<reqwest::Body>,
    ) -> Result<Response, RequestError> {
        let waited = self.options.timeouts.response;
        let host = origin.authority();
        match tokio::time::timeout(waited, self.send_untimed(home, origin, method, url, headers, body)).await
        {
            Ok(answer) => answer,
            Err(_) => Err(RequestError::Timeout { host, waited }),
        }
    }

    /// As [`Transport::send`], for a body that takes its time; the caller watches it.
    pub(crate) async fn send_untimed(
        &self,
        home: &Origin,
        origin: &Origin,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<reqwest::Body>,
    ) -> Result<Response, RequestError> {
        let host = origin.authority();
        let Connections { client, proxy } = self.client(home, origin).await?;
        let mut request = client.request(method, url).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let sent = request.send().await;
        let response = sent.map_err(|error| network_error(&host, proxy.clone(), error))?;
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED && proxy.is_some() {
            let source = NetworkError { kind: NetworkFault::Connect, proxy, source: PROXY_REFUSES.into() };
            return Err(RequestError::Network { host, source });
        }
        {
            let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
            if !reached.contains(&host) {
                reached.insert(host.clone());
            }
        }
        let lengths = response.headers().get_all(CONTENT_LENGTH).iter().count();
        if lengths > 1 || (lengths == 1 && response.headers().contains_key(TRANSFER_ENCODING)) {
            return Err(RequestError::Malformed { host, what: "more than one length" });
        }
        Ok(response)
    }

    async fn client(&self, home: &Origin, origin: &Origin) -> Result<Connections, RequestError> {
        let key = (home.clone(), origin.clone());
        if let Some(client) = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(home, origin, self.is_insecure(origin).await)?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(clients.entry(key).or_insert(client).clone())
    }

    fn build(&self, home: &Origin, origin: &Origin, is_insecure: bool) -> Result<Connections, RequestError> {
        let options = &self.options;
        let anyone = origin.scheme() == Scheme::Http || is_insecure;
        let trust = if anyone { Trust::Anyone } else { Trust::Verify };
        let tls = tls::config(&options.certs_d, home, origin, trust)?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // As dockerd: several plain connections carry several layers better than one that they share, and every
            // registry speaks it.
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            // Retries are counted in one place, and that is not there.
            .retry(reqwest::retry::never())
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .referer(false)
            .user_agent(&options.user_agent)
            .connect_timeout(options.timeouts.connect)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true);
        let proxy = options.proxies.to(origin)?;
        let host = origin.authority();
        builder = builder.no_proxy();
        if let Some(url) = &proxy {
            let all = reqwest::Proxy::all(url.clone()).map_err(|error| network_error(&host, None, error))?;
            builder = builder.proxy(all);
        }
        let client = builder.build().map_err(|error| network_error(&host, None, error))?;
        let proxy = proxy.as_ref().and_then(Origin::of).map(|proxy| proxy.to_string().into());
        Ok(Connections { client, proxy })
    }
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_bounded(
    transport: &Transport,
    mut response: Response,
    limit_bytes: u64,
    host: &str,
) -> Result<Bytes, RequestError> {
    let too_large = || RequestError::TooLarge { host: host.to_owned(), limit_bytes };
    if response.content_length().is_some_and(|length| length > limit_bytes) {
        return Err(too_large());
    }
    let mut pace = Pace::new(transport.options());
    let mut first = Bytes::new();
    let mut whole: Option<BytesMut> = None;
    while let Some(chunk) = next_chunk(&mut response, &mut pace, host).await? {
        let length = whole.as_ref().map_or(first.len(), BytesMut::len) + chunk.len();
        if length as u64 > limit_bytes {
            return Err(too_large());
        }
        // Nearly every such body comes in one chunk, and then it is not copied.
        match &mut whole {
            Some(whole) => whole.extend_from_slice(&chunk),
            None if first.is_empty() => first = chunk,
            None => {
                let mut joined = BytesMut::with_capacity(length);
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&chunk);
                whole = Some(joined);
            }
        }
    }
    Ok(whole.map_or(first, BytesMut::freeze))
}

/// Returns the next bytes of a body, none at its end.
pub(crate) async fn next_chunk(
    response: &mut Response,
    pace: &mut Pace,
    host: &str,
) -> Result<Option<Bytes>, RequestError> {
    let begin = Instant::now();
    let chunk = match tokio::time::timeout(pace.stall, response.chunk()).await {
        Err(_) => return Err(RequestError::Timeout { host: host.to_owned(), waited: pace.stall }),
        Ok(chunk) => chunk.map_err(|error| network_error(host, None, error))?,
    };
    if let Some(chunk) = &chunk
        && !pace.keeps(begin.elapsed(), chunk.len())
    {
        return Err(RequestError::TooSlow { host: host.to_owned(), rate_bytes_min: pace.rate_bytes_min });
    }
    Ok(chunk)
}

/// Watches that a body comes with a least number of bytes a second. Only time spent waiting for it counts.
pub(crate) struct Pace {
    stall: Duration,
    window: Duration,
    rate_bytes_min: u64,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    pub(crate) fn new(options: &ClientOptions) -> Pace {
        let timeouts = &options.timeouts;
        Pace {
            stall: timeouts.stall,
            window: timeouts.rate_window,
            rate_bytes_min: timeouts.rate_bytes_min,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    fn keeps(&mut self, waited: Duration, bytes: usize) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < self.window {
            return true;
        }
        let enough = self.bytes as f64 >= self.rate_bytes_min as f64 * self.waited.as_secs_f64();
        self.waited = Duration::ZERO;
        self.bytes = 0;
        enough
    }
}

/// Names the stage at which a connection failed.
fn network_error(host: &str, proxy: Option<Arc<str>>, error: reqwest::Error) -> RequestError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut protocol = false;
    let mut is_plain = false;
    while let Some(current) = cause {
        is_plain |= is_no_tls(current);
        if let Some(hyper) = current.downcast_ref::<hyper::Error>() {
            protocol |= hyper.is_parse() || hyper.is_parse_too_large();
        }
        cause = current.source();
    }
    let kind = if is_plain {
        NetworkFault::Plain
    } else if error.is_connect() {
        NetworkFault::Connect
    } else if protocol || error.is_builder() {
        NetworkFault::Protocol
    } else {
        NetworkFault::Broken
    };
    let words = if is_plain { PLAIN_ANSWER.to_owned() } else { root_cause(error) };
    let source = NetworkError { kind, proxy, source: words.into() };
    RequestError::Network { host: host.to_owned(), source }
}

/// Returns whether what came instead of the server's greeting is no TLS at all.
fn is_no_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    if let Some(inner) = inner {
        return is_no_tls(inner);
    }
    let no_tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
    error.downcast_ref() == Some(&no_tls)
}

/// Returns the words of what failed first: the layers of the HTTP library above it only say that they were there.
///
/// The URL, which may carry the signature of a storage service, is not in them.
fn root_cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &(dyn std::error::Error + 'static) = &error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    let words = cause.to_string();
    // What the standard library puts before the words of the resolver.
    let words = words.strip_prefix("failed to lookup address information: ").unwrap_or(&words);
    // The number says nothing that the words before it do not.
    match words.rfind(" (os error ") {
        Some(end) if words.ends_with(')') => words[..end].to_owned(),
        _ => words.to_owned(),
    }
}

/// Shared by all clones of a client.
pub(crate) type SharedTransport = Arc<Transport>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InsecureRegistry;

    #[tokio::test]
    async fn a_host_is_insecure_by_its_name_or_by_one_of_its_addresses() {
        let insecure =
            ["reg:5000", "10.0.0.0/8", "fd00::/8"].map(|text| InsecureRegistry::parse(text).unwrap());
        let lookup = |host: &str| match host {
            "inside" => Ok(vec!["192.0.2.1".parse().unwrap(), "10.1.2.3".parse().unwrap()]),
            "inside6" => Ok(vec!["fd00::7".parse().unwrap()]),
            "outside" => Ok(vec!["192.0.2.1".parse().unwrap()]),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        let listing = Transport::new(ClientOptions {
            insecure: insecure.to_vec(),
            lookup: Arc::new(lookup),
            certs_d: Vec::new(),
            ..ClientOptions::default()
        });
        let silent = Transport::new(ClientOptions {
            lookup: Arc::new(|host| panic!("{host} was looked up though no network is listed")),
            certs_d: Vec::new(),
            ..ClientOptions::default()
        });
        for (host, expected, without_list) in [
            ("127.0.0.1:5000", true, true),
            ("localhost", true, true),
            ("reg:5000", true, false),
            ("reg:5001", false, false),
            ("10.255.0.1:443", true, false),
            ("11.0.0.1", false, false),
            ("[fd00::1]:5000", true, false),
            ("inside:5000", true, false),
            ("inside6", true, false),
            ("outside", false, false),
            ("nowhere", false, false),
        ] {
            let origin = Origin::new(Scheme::Https, host).unwrap();
            assert_eq!(listing.is_insecure(&origin).await, expected, "{host}");
            assert_eq!(silent.is_insecure(&origin).await, without_list, "{host}");
        }
    }
}
