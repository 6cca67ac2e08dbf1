//! A registry behind sockets: open the root, listen, serve, drain.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::api::answer::Body;
use crate::api::dispatch::{self, Peer};
use crate::config::{Config, ConfigError};
use crate::maintenance::collect::{CollectOptions, CollectRequest, collect};
use crate::open::{OpenRegistryError, OpenRoot};
use crate::registry::Registry;
use crate::wire::activity::{Activity, Busy};
use crate::wire::listen::{self, Listener};
use crate::wire::memory;
use crate::wire::stream::{Socket, Stream};
use crate::wire::tls::{self, Certificate, TlsError};

/// How often the files of the certificate are looked at.
const LOOK_AT_CERTIFICATE: Duration = Duration::from_secs(10);

/// What is read of a connection at once. Twice as much fits into a processor's own cache, where bytes of an upload are copied
/// from here.
const READ_BYTES_MAX: usize = 128 << 10;

/// How often it is looked whether a connection is idle; its buffers are given up at the second look that finds it so.
const PARK_AFTER: Duration = Duration::from_millis(100);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The root cannot be used.
    #[error(transparent)]
    Open(#[from] OpenRegistryError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error("could not listen on {place}")]
    Listen {
        /// The address, or the path.
        place: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A registry that listens and does not answer yet.
pub struct Server {
    root: OpenRoot,
    config: Config,
    listeners: Vec<Listener>,
    tls: Option<(TlsAcceptor, Arc<Certificate>)>,
}

/// What can be told to a server that runs.
#[derive(Clone)]
pub struct Handle {
    registry: Arc<Registry>,
    config: Config,
}

impl Handle {
    /// Reads the access rules again, as on SIGHUP. Rules that cannot be read leave those in force.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn reload(&self) -> Result<(), ConfigError> {
        self.registry.access.replace_rules(self.config.load_rules()?);
        Ok(())
    }
}

impl Server {
    /// Opens the root of `config` and listens; from now on clients wait instead of being refused.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn bind(mut config: Config) -> Result<Server, StartError> {
        config.limits.connections_max = listen::raise_descriptor_limit(config.limits.connections_max);
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let mut listeners = listen::passed()
            .map_err(|source| StartError::Listen { place: "systemd's sockets".to_owned(), source })?;
        if listeners.is_empty() {
            let place = config.address.to_string();
            let listener = Listener::bind(config.address).await;
            listeners.push(listener.map_err(|source| StartError::Listen { place, source })?);
        }
        if let Some(path) = &config.socket {
            let place = path.display().to_string();
            listeners.push(Listener::bind_path(path).map_err(|source| StartError::Listen { place, source })?);
        }
        let root = OpenRoot::open(&config, true).await?;
        listeners.push(root.control_socket().map_err(|source| StartError::Listen {
            place: config.root.join(crate::open::CONTROL_SOCKET).display().to_string(),
            source,
        })?);
        Ok(Server { root, config, listeners, tls })
    }

    /// Returns the address that the server listens on, when it is one and not a path.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listeners.iter().find_map(Listener::address)
    }

    /// Returns the URL of the web pages.
    pub fn ui_url(&self) -> Option<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.local_addr().map(|address| format!("{scheme}://{address}/ui/"))
    }

    /// Returns what the import of a Docker registry's volume did, when this start made one.
    pub fn takeover(&self) -> Option<&crate::takeover::Imported> {
        self.root.imported.as_ref()
    }

    /// Returns a handle on the server.
    pub fn handle(&self) -> Handle {
        Handle { registry: Arc::clone(&self.root.registry), config: self.config.clone() }
    }

    /// Answers requests until `shutdown` resolves, then ends those that run and returns.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopping) = watch::channel(false);
        let connections_max = self.config.limits.connections_max;
        let slots = Arc::new(Semaphore::new(connections_max));
        let registry = Arc::clone(&self.root.registry);
        let mut tasks = tokio::task::JoinSet::new();
        let control = self.listeners.len() - 1;
        for (number, listener) in self.listeners.into_iter().enumerate() {
            let is_control = number == control;
            let accepting = Accepting {
                registry: Arc::clone(&registry),
                acceptor: self.tls.as_ref().filter(|_| !is_control).map(|(acceptor, _)| acceptor.clone()),
                slots: Arc::clone(&slots),
                stopping: stopping.clone(),
                is_control,
            };
            tasks.spawn(accepting.run(listener));
        }
        tasks.spawn(collect_often(Arc::clone(&registry), self.config.clone(), self.root.taken_over));
        tasks.spawn(memory::give_back_often());
        if let Some((_, certificate)) = self.tls {
            tasks.spawn(async move {
                loop {
                    tokio::time::sleep(LOOK_AT_CERTIFICATE).await;
                    certificate.refresh();
                }
            });
        }
        for endpoint in self.config.notifications.clone() {
            tasks.spawn(crate::notifications::deliver(Arc::clone(&registry), endpoint));
        }
        shutdown.await;
        tasks.shutdown().await;
        let _ = stop.send(true);
        let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
        if tokio::time::timeout(self.config.drain_timeout, slots.acquire_many(all)).await.is_err() {
            let seconds = self.config.drain_timeout.as_secs();
            tracing::warn!("requests were still running {seconds} s after the signal to stop");
        }
        self.root.close();
    }
}

async fn collect_often(registry: Arc<Registry>, config: Config, taken_over: bool) {
    if config.gc.interval.is_zero() {
        return;
    }
    let options = CollectOptions {
        // The files of a volume that was taken over include some that only its former owner knows. They go when somebody
        // says so, by running the collection by hand.
        orphans: !taken_over,
        ..CollectOptions::new(&config.gc, CollectRequest::default())
    };
    loop {
        tokio::time::sleep(config.gc.interval).await;
        match collect(&registry, &options).await {
            Ok(collected) => {
                registry.metrics.collected_blobs.fetch_add(collected.blobs, Ordering::Relaxed);
                registry.metrics.collected_bytes.fetch_add(collected.bytes, Ordering::Relaxed);
            }
            Err(error) => tracing::error!("the garbage collection stopped: {error}"),
        }
    }
}

/// What accepts the connections of one listener.
struct Accepting {
    registry: Arc<Registry>,
    acceptor: Option<TlsAcceptor>,
    slots: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
    is_control: bool,
}

impl Accepting {
    async fn run(self, listener: Listener) {
        loop {
            // Waiting for a slot before accepting leaves the rest in the kernel's queue instead of in our memory.
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((socket, address)) => self.start(socket, address, slot),
                Err(error) => {
                    // Out of file descriptors, most likely: those that are served now will give some back.
                    tracing::warn!("could not accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    fn start(&self, socket: Socket, address: Option<SocketAddr>, slot: OwnedSemaphorePermit) {
        let connection = Connection {
            registry: Arc::clone(&self.registry),
            stopping: self.stopping.clone(),
            peer: Peer {
                address: address.map(|address| address.ip()),
                is_control: self.is_control,
                ..Peer::default()
            },
        };
        let acceptor = self.acceptor.clone();
        tokio::spawn(async move {
            connection.registry.metrics.connections.fetch_add(1, Ordering::Relaxed);
            let registry = Arc::clone(&connection.registry);
            connection.serve(socket, acceptor).await;
            registry.metrics.connections.fetch_sub(1, Ordering::Relaxed);
            drop(slot);
        });
    }
}

/// What is kept of a plain connection while it is idle.
struct Parked {
    stream: Stream,
    /// Set while the head of a request is half here, to the number of requests before it: the clock that runs for the head
    /// must not begin again and again.
    half_head: Option<u64>,
}

struct Connection {
    registry: Arc<Registry>,
    stopping: watch::Receiver<bool>,
    peer: Peer,
}

impl Connection {
    /// Answers on a connection until it ends. While it is idle, and before it says anything, nothing is kept of it but the
    /// socket: the buffers of 10,000 connections that wait would weigh 200 MB.
    async fn serve(mut self, socket: Socket, acceptor: Option<TlsAcceptor>) {
        if !self.wait(socket.readable(), self.registry.limits.header_timeout).await {
            return;
        }
        // What is awake is boxed: this future lives as long as the connection and must not keep room for it.
        let mut parked = match (acceptor, socket) {
            (Some(acceptor), Socket::Tcp(socket)) => {
                return Box::pin(self.serve_encrypted(socket, acceptor)).await;
            }
            (_, socket) => {
                Parked { stream: Stream::new(socket, self.registry.limits.send_timeout), half_head: None }
            }
        };
        self.peer.mappings = Some(parked.stream.mappings());
        while let Some(idle) = Box::pin(self.answer_until_idle(parked)).await {
            parked = idle;
            if !self.wait(parked.stream.readable(), self.registry.limits.idle_timeout).await {
                return;
            }
        }
    }

    /// Returns whether there is something to read before `limit` is over and before the server is told to stop.
    async fn wait(&self, readable: impl Future<Output = io::Result<()>>, limit: Duration) -> bool {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            readable = tokio::time::timeout(limit, readable) => matches!(readable, Ok(Ok(()))),
            () = stopped(&mut stopping) => false,
        }
    }

    async fn serve_encrypted(mut self, socket: TcpStream, acceptor: TlsAcceptor) {
        self.peer.encrypted = true;
        if tls::is_plain_http(&socket).await {
            return tls::refuse_plain_http(socket).await;
        }
        let header_timeout = self.registry.limits.header_timeout;
        match tokio::time::timeout(header_timeout, Box::pin(acceptor.accept(socket))).await {
            Ok(Ok(stream)) => self.answer_encrypted(TokioIo::new(stream)).await,
            Ok(Err(error)) if tls::is_ours(&error) => tracing::warn!("a TLS handshake ended: {error}"),
            _ => {}
        }
    }

    /// Answers what comes; returns the connection when it is idle, and nothing when it has ended.
    async fn answer_until_idle(&self, parked: Parked) -> Option<Parked> {
        let Parked { stream, half_head } = parked;
        let activity = stream.activity();
        let mut connection = Box::new(self.connection(stream, &activity));
        let mut stopping = self.stopping.clone();
        let mut seen = activity.mark();
        loop {
            tokio::select! {
                ended = &mut *connection => {
                    self.ended(ended);
                    return None;
                }
                () = stopped(&mut stopping) => {
                    Pin::new(&mut *connection).graceful_shutdown();
                    self.ended(connection.await);
                    return None;
                }
                () = tokio::time::sleep(PARK_AFTER) => {
                    let mark = activity.mark();
                    if activity.is_idle() && mark == seen && half_head != Some(activity.requests()) {
                        break;
                    }
                    seen = mark;
                }
            }
        }
        let parts = connection.into_parts();
        let mut stream = parts.io;
        let half_head = (!parts.read_buf.is_empty()).then(|| activity.requests());
        stream.give_back(parts.read_buf);
        memory::parked();
        Some(Parked { stream, half_head })
    }

    async fn answer_encrypted(mut self, stream: TokioIo<TlsStream<TcpStream>>) {
        let activity = Arc::default();
        let mut connection = Box::new(self.connection(stream, &activity));
        tokio::select! {
            ended = &mut *connection => self.ended(ended),
            () = stopped(&mut self.stopping) => {
                Pin::new(&mut *connection).graceful_shutdown();
                self.ended(connection.await);
            }
        }
    }

    fn connection<I: hyper::rt::Read + hyper::rt::Write + Unpin>(
        &self,
        stream: I,
        activity: &Arc<Activity>,
    ) -> hyper::server::conn::http1::Connection<I, Answering> {
        let answering = Answering {
            registry: Arc::clone(&self.registry),
            peer: Arc::new(self.peer.clone()),
            activity: Arc::clone(activity),
        };
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.registry.limits.header_timeout)
            .title_case_headers(true)
            .max_headers(64)
            .max_buf_size(READ_BYTES_MAX)
            .serve_connection(stream, answering)
    }

    fn ended(&self, ended: hyper::Result<()>) {
        if let Err(error) = ended {
            tracing::debug!("connection from {:?}: {error}", self.peer.address);
        }
    }
}

/// Answers the requests of one connection.
struct Answering {
    registry: Arc<Registry>,
    peer: Arc<Peer>,
    activity: Arc<Activity>,
}

impl Service<Request<Incoming>> for Answering {
    type Response = Response<Watched>;
    type Error = Infallible;
    // Boxed, so that a connection keeps no room for the largest handler between requests.
    type Future = Pin<Box<dyn Future<Output = Result<Response<Watched>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (registry, peer) = (Arc::clone(&self.registry), Peer::clone(&self.peer));
        let busy = self.activity.begin();
        Box::pin(async move {
            let answer = dispatch::answer(registry, peer, request).await;
            Ok(answer.map(|body| Watched { body, _busy: busy }))
        })
    }
}

/// A body that keeps its connection busy until it is sent.
struct Watched {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<hyper::body::Frame<Bytes>>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// Waits until the server is told to stop, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F>(_: impl Fn(Connection, Socket, Option<TlsAcceptor>) -> F) -> usize {
        size_of::<F>()
    }

    /// Ten thousand connections that wait must fit into 100 MiB with all that belongs to them.
    #[test]
    fn a_connection_that_waits_is_small() {
        assert!(size_of_future(Connection::serve) <= 1300, "{}", size_of_future(Connection::serve));
    }
}
