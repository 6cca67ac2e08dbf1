//! A registry that serves a good image through one bad behaviour, and logs every request.
//!
//! Beside the registry stand two strangers: another port of its host, and another host (127.0.0.2). Both serve the same
//! image and a token to whoever asks, and log what they were sent, so that a test can see which credentials got there.
//!
//! The behaviours are named in `reference` form: `man-…` for manifests, `config-…`, `blob-…`, `auth-…` (a Bearer
//! registry whose token server misbehaves), `cred-basic-…` and `cred-ok-…` (a good Basic or Bearer registry with another
//! behaviour inside), `tags-…`, `p-…` (push), `index-…` (the search of a hub). A name that is none of them is a good registry.
//!
//! A registry that [`BadRegistry::start_with_tls`] starts answers over TLS alone, the strangers over both. The behaviours
//! lead to strangers over plain HTTP; with `https-` before `blob-…` they lead there over TLS.

mod auth;
mod http;
mod index;
mod pull;
mod push;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::image::{Flavour, Image, ImageBuilder, LayerBuilder, noise, sha256};

pub use http::Request;

/// The name that the registry knows.
pub const USERNAME: &str = "alice";
/// Its password.
pub const PASSWORD: &str = "s3cret-of-alice";
/// The token that the good token server gives.
pub const TOKEN: &str = "good-token";

/// Who got a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The registry.
    Home,
    /// Another port of its address.
    OtherPort,
    /// 127.0.0.2.
    OtherHost,
}

/// A running bad registry; it ends with this value.
pub struct BadRegistry {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    behaviour: String,
    image: Image,
    home: SocketAddr,
    other_port: SocketAddr,
    other_host: SocketAddr,
    log: Mutex<Vec<(Place, Request)>>,
    counts: Mutex<HashMap<&'static str, u32>>,
    pushed: Mutex<push::Pushed>,
    busy_since: OnceLock<Instant>,
    ended: AtomicBool,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl BadRegistry {
    /// Starts a registry with one behaviour.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub fn start(behaviour: &str) -> BadRegistry {
        BadRegistry::start_with(behaviour, two_layers())
    }

    /// Starts a registry with one behaviour that answers over TLS, with a certificate that no authority signed.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub fn start_with_tls(behaviour: &str) -> BadRegistry {
        BadRegistry::listen(behaviour, two_layers(), Some(http::self_signed()))
    }

    /// Starts a registry with one behaviour and an image of the caller's.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub fn start_with(behaviour: &str, image: Image) -> BadRegistry {
        BadRegistry::listen(behaviour, image, None)
    }

    fn listen(behaviour: &str, image: Image, tls: Option<Arc<rustls::ServerConfig>>) -> BadRegistry {
        let bind = |address: &str| TcpListener::bind((address, 0)).expect("loopback has a free port");
        let listeners = [bind("127.0.0.1"), bind("127.0.0.1"), bind("127.0.0.2")];
        let [home, other_port, other_host] = [0, 1, 2]
            .map(|index: usize| listeners[index].local_addr().expect("a bound socket has an address"));
        let shared = Arc::new(Shared {
            behaviour: behaviour.to_owned(),
            image,
            home,
            other_port,
            other_host,
            log: Mutex::default(),
            counts: Mutex::default(),
            pushed: Mutex::default(),
            busy_since: OnceLock::new(),
            ended: AtomicBool::new(false),
            tls,
        });
        for (listener, place) in listeners.into_iter().zip([Place::Home, Place::OtherPort, Place::OtherHost])
        {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&shared, &listener, place));
        }
        BadRegistry { shared }
    }

    /// Returns `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.shared.home.to_string()
    }

    /// Returns the image that it serves, as `/v2/<any>/manifests/latest`.
    pub fn image(&self) -> &Image {
        &self.shared.image
    }

    /// Returns all requests so far, in their order, without those that only looked for TLS or `/v2/`.
    pub fn requests(&self) -> Vec<(Place, Request)> {
        let log = self.shared.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|(_, request)| request.path != "/v2/").cloned().collect()
    }

    /// Returns the requests whose path contains `part`.
    pub fn requests_for(&self, part: &str) -> Vec<Request> {
        self.requests()
            .into_iter()
            .map(|(_, request)| request)
            .filter(|request| request.path.contains(part))
            .collect()
    }

    /// Returns what strangers were told that is none of their business: `Authorization`, `Cookie`, and any request
    /// that has the password or the token in it.
    pub fn leaks(&self) -> Vec<String> {
        let basic = format!("Basic {}", http::base64(&format!("{USERNAME}:{PASSWORD}")));
        let mut leaks = Vec::new();
        for (place, request) in self.requests().iter().filter(|(place, _)| *place != Place::Home) {
            let text =
                format!("{} {:?} {}", request.path, request.headers, String::from_utf8_lossy(&request.body));
            let secret = [PASSWORD, TOKEN, &basic].iter().any(|secret| text.contains(*secret));
            if secret || request.header("authorization").is_some() || request.header("cookie").is_some() {
                leaks.push(format!("{place:?}: {} {text}", request.method));
            }
        }
        leaks
    }

    /// Returns whether a stranger got any request.
    pub fn strangers_were_asked(&self) -> bool {
        self.requests().iter().any(|(place, _)| *place != Place::Home)
    }

    /// Returns the bytes of a blob or manifest that was pushed.
    pub fn pushed(&self, digest: &str) -> Option<Vec<u8>> {
        self.shared.pushed.lock().unwrap_or_else(PoisonError::into_inner).content(digest)
    }
}

impl Drop for BadRegistry {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // One connection each wakes the listeners up.
        for address in [self.shared.home, self.shared.other_port, self.shared.other_host] {
            let _ = TcpStream::connect(address);
        }
    }
}

impl Shared {
    /// Returns the behaviour without the part that says how the registry authenticates.
    fn inner(&self) -> &str {
        let behaviour = self.behaviour.as_str();
        behaviour
            .strip_prefix("cred-basic-")
            .or_else(|| behaviour.strip_prefix("cred-ok-"))
            .unwrap_or(behaviour)
            .trim_start_matches(HTTPS)
    }

    /// Returns where the registry is, as a URL.
    fn home_url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.home)
    }

    /// Returns the URL of a path at a stranger.
    fn elsewhere(&self, stranger: impl std::fmt::Display, path: &str) -> String {
        format!("{}://{stranger}{path}", if self.behaviour.contains(HTTPS) { "https" } else { "http" })
    }

    /// Counts calls under a name; the first is 1.
    fn count(&self, name: &'static str) -> u32 {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(name).or_default();
        *count += 1;
        *count
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Keeps silent for as long as anyone may listen.
    fn sleep(&self, longest: Duration) {
        let step = Duration::from_millis(10);
        let mut left = longest;
        while !left.is_zero() && !self.has_ended() {
            std::thread::sleep(step.min(left));
            left = left.saturating_sub(step);
        }
    }
}

/// Marks behaviours that lead to strangers over TLS.
const HTTPS: &str = "https-";

/// An image with the file `hello` in one layer, and 300,000 bytes of noise in another.
fn two_layers() -> Image {
    let layer = LayerBuilder::new().directory("data", 0o755).file("data/noise", 0o644, &noise(7, 300_000));
    ImageBuilder::new(Flavour::Docker)
        .config(serde_json::json!({"Cmd": ["/bin/sh"]}))
        .layer(LayerBuilder::new().file("hello", 0o644, b"hello\n"))
        .layer(layer)
        .build()
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener, place: Place) {
    for connection in listener.incoming().flatten() {
        if shared.has_ended() {
            return;
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || serve(&shared, connection, place));
    }
}

fn serve(shared: &Shared, connection: TcpStream, place: Place) {
    let Some(mut connection) = http::Connection::new(connection, shared.tls.as_ref()) else { return };
    if place == Place::Home && connection.is_secret() != shared.tls.is_some() {
        return;
    }
    while !shared.has_ended() {
        let Some(mut request) = connection.head() else { return };
        // A push may be refused or cut off before its body was read.
        let reads_later = place == Place::Home && push::reads_its_own_body(shared, &request);
        if !reads_later && !connection.body(&mut request) {
            return;
        }
        let at = {
            let mut log = shared.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push((place, request.clone()));
            log.len() - 1
        };
        let keep = match place {
            Place::Home => home(shared, &mut connection, &mut request, at),
            _ => stranger(shared, &mut connection, &request),
        };
        if keep.is_none() {
            return;
        }
    }
}

/// Answers at the registry; none ends the connection.
fn home(shared: &Shared, connection: &mut http::Connection, request: &mut Request, at: usize) -> Option<()> {
    if request.path.starts_with("/token") {
        return auth::token(shared, connection, request);
    }
    auth::gate(shared, connection, request)?;
    if connection.has_answered() {
        return Some(());
    }
    if request.path.starts_with("/v1/search") {
        return index::search(shared, connection, request);
    }
    if request.path == "/v2/" {
        return connection.answer(200, &[("Content-Type", "application/json")], b"{}");
    }
    if push::is_push(request) {
        return push::answer(shared, connection, request, at);
    }
    pull::answer(shared, connection, request)
}

/// Answers elsewhere: the same image, and a token for anyone.
fn stranger(shared: &Shared, connection: &mut http::Connection, request: &Request) -> Option<()> {
    if request.path.contains("token") {
        return connection.answer(200, &[("Content-Type", "application/json")], br#"{"token":"evil-token"}"#);
    }
    if shared.inner() == "blob-403-redirect-expired" && shared.count("signed") == 1 {
        return connection.answer(
            403,
            &[("Content-Type", "application/xml")],
            b"<Error><Code>AccessDenied</Code></Error>",
        );
    }
    if matches!(request.method.as_str(), "PUT" | "PATCH" | "POST") {
        return connection.answer(201, &[("Location", "/v2/x/blobs/y")], b"");
    }
    pull::good(shared, connection, request)
}

impl Shared {
    /// Returns the bytes and the media type of what has this digest, or of the manifest for any tag.
    fn content(&self, reference: &str) -> Option<(Vec<u8>, String)> {
        let image = &self.image;
        if !reference.contains(':') {
            return Some((image.manifest.bytes.clone(), image.manifest.media_type.clone()));
        }
        let mut all = image.blobs().chain(std::iter::once(&image.manifest));
        if let Some(blob) = all.find(|blob| blob.digest == reference) {
            return Some((blob.bytes.clone(), blob.media_type.clone()));
        }
        let pushed = self.pushed.lock().unwrap_or_else(PoisonError::into_inner).content(reference)?;
        debug_assert_eq!(sha256(&pushed), reference);
        Some((pushed, "application/octet-stream".to_owned()))
    }
}
