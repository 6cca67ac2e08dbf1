//! A daemon behind sockets: listen, serve, drain.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use shale_engine::Engine;
use shale_registry_client::{Client, ClientError, ClientOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::containers::exec::Execs;
use crate::containers::lives::Lives;
use crate::daemon::{Daemon, Experiments, Identity, Stopping};
use crate::events::Events;
use crate::wire::listen::{self, Host, Listener, Socket, SocketAccess};
use crate::wire::tls::{self, TlsError, TlsFiles};

/// How a daemon is run.
pub struct Config {
    /// Where to listen.
    pub hosts: Vec<Host>,
    /// Who may connect to sockets in the file system.
    pub access: SocketAccess,
    /// For TCP: certificates of both sides.
    pub tls: Option<TlsFiles>,
    /// Whether TCP without TLS is wanted; it is possible on a loopback address only.
    pub plain_loopback: bool,
    /// Where the metrics alone are served, without TLS, for a program that gathers them.
    pub metrics: Option<SocketAddr>,
    /// How registries are found. Its credentials are not used: those come with requests.
    pub registries: ClientOptions,
    /// What the daemon says it is.
    pub identity: Identity,
    /// Whether what dockerd calls experimental is served.
    pub experiments: Experiments,
    /// The program to start as guard of a build's containers; see `shale_build::supervise_main`.
    pub supervisor: Option<shale_build::Supervisor>,
    /// How much it takes.
    pub limits: Limits,
}

/// How much a daemon takes from its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; more wait in the kernel's queue.
    pub connections_max: usize,
    /// How long the head of a request may take.
    pub header_timeout: Duration,
    /// How long requests may go on after the signal to stop.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 1024,
            header_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Largest head of a request.
const HEAD_SIZE_MAX: usize = 64 << 10;
/// Connections at a time of those who gather metrics.
const METRICS_CONNECTIONS_MAX: usize = 16;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;

/// Why a daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Everybody on the network would be root here.
    #[error(
        "tcp://{0} without TLS would make everybody who reaches it root of this machine; give --tlscacert, --tlscert and --tlskey"
    )]
    Unprotected(SocketAddr),
    /// Every user and every web page on this machine could be root here.
    #[error(
        "tcp://{0} without TLS is open to every user of this machine; add --plain-loopback if that is meant"
    )]
    NotAsked(SocketAddr),
    /// `fd://` without descriptors.
    #[error("fd:// needs sockets that systemd passes, and there are none")]
    NotActivated,
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Registries cannot be spoken to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The address cannot be listened on.
    #[error("could not listen on {place}")]
    Listen {
        /// The address, or the path.
        place: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A daemon that listens and does not answer yet.
pub struct Server {
    daemon: Daemon,
    listeners: Vec<Listener>,
    metrics: Option<Listener>,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Listens; from now on clients wait instead of being refused.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn bind(engine: Engine, config: Config) -> Result<Server, StartError> {
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let mut listeners = Vec::new();
        for host in &config.hosts {
            match host {
                Host::Unix(path) => {
                    let place = path.display().to_string();
                    let listener = Listener::bind_path(path, config.access);
                    listeners.push(listener.map_err(|source| StartError::Listen { place, source })?);
                }
                Host::Tcp(address) => {
                    check_tcp(*address, tls.is_some(), config.plain_loopback)?;
                    let place = address.to_string();
                    let listener = Listener::bind(*address).await;
                    listeners.push(listener.map_err(|source| StartError::Listen { place, source })?);
                }
                Host::Activated => {
                    let place = "systemd's sockets".to_owned();
                    let passed = listen::passed().map_err(|source| StartError::Listen { place, source })?;
                    if passed.is_empty() {
                        return Err(StartError::NotActivated);
                    }
                    for address in passed.iter().filter_map(Listener::address) {
                        check_tcp(address, tls.is_some(), config.plain_loopback)?;
                    }
                    listeners.extend(passed);
                }
            }
        }
        let metrics = match config.metrics {
            None => None,
            Some(address) => {
                let place = address.to_string();
                let listener = Listener::bind(address).await;
                Some(listener.map_err(|source| StartError::Listen { place, source })?)
            }
        };
        let anonymous = ClientOptions {
            credentials: Arc::new(shale_registry_client::credentials::Anonymous),
            ..config.registries
        };
        let registries = Client::new(anonymous)?;
        let (stop, stopping) = watch::channel(false);
        let daemon = Daemon {
            // The daemon keeps restart policies itself, and tells of each end and start.
            engine: engine.with_restarts_by_caller(),
            registries,
            events: Events::new(),
            metrics: Arc::default(),
            identity: Arc::new(config.identity),
            lives: Lives::default(),
            execs: Execs::default(),
            stopping: Stopping(stopping),
            experiments: config.experiments,
            supervisor: config.supervisor,
            slot: None,
        };
        Ok(Server { daemon, listeners, metrics, tls, limits: config.limits, stop })
    }

    /// Returns the TCP address, where there is one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listeners.iter().find_map(Listener::address)
    }

    /// Answers the requests of one connection that somebody else accepted, until its end.
    pub async fn serve_stream<S>(&self, stream: S)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        serve(self.daemon.clone(), self.limits, Serves::Api, stream).await;
    }

    /// Answers requests until `shutdown` resolves, then lets those that run end, for a while, and returns.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        self.daemon.watch_running().await;
        let slots = Arc::new(Semaphore::new(self.limits.connections_max));
        let mut tasks = tokio::task::JoinSet::new();
        let mut accept = |listener, tls, slots, serves| {
            let (daemon, limits) = (self.daemon.clone(), self.limits);
            tasks.spawn(Accepting { daemon, tls, slots, limits, serves }.run(listener));
        };
        for listener in self.listeners {
            accept(listener, self.tls.clone(), Arc::clone(&slots), Serves::Api);
        }
        if let Some(listener) = self.metrics {
            let slots = Arc::new(Semaphore::new(METRICS_CONNECTIONS_MAX));
            accept(listener, None, slots, Serves::Metrics);
        }
        shutdown.await;
        // Dropping the listeners removes their sockets from the file system.
        tasks.shutdown().await;
        let _ = self.stop.send(true);
        let all = u32::try_from(self.limits.connections_max).unwrap_or(u32::MAX);
        if tokio::time::timeout(self.limits.drain_timeout, slots.acquire_many(all)).await.is_err() {
            let seconds = self.limits.drain_timeout.as_secs();
            tracing::warn!("requests were still running {seconds} s after the signal to stop");
        }
    }
}

fn check_tcp(address: SocketAddr, has_tls: bool, plain_loopback: bool) -> Result<(), StartError> {
    match (has_tls, address.ip().is_loopback()) {
        (true, _) => Ok(()),
        (false, false) => Err(StartError::Unprotected(address)),
        (false, true) if plain_loopback => Ok(()),
        (false, true) => Err(StartError::NotAsked(address)),
    }
}

/// What is asked for on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    /// Everything.
    Api,
    /// The metrics and nothing else.
    Metrics,
}

/// What accepts the connections of one listener.
struct Accepting {
    daemon: Daemon,
    tls: Option<TlsAcceptor>,
    slots: Arc<Semaphore>,
    limits: Limits,
    serves: Serves,
}

impl Accepting {
    async fn run(self, listener: Listener) {
        loop {
            // Waiting for a slot before accepting leaves the rest in the kernel's queue instead of in our memory.
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok(socket) => self.start(socket, slot),
                Err(error) => {
                    // Out of file descriptors, most likely: those that are served now will give some back.
                    tracing::warn!("could not accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    fn start(&self, socket: Socket, slot: OwnedSemaphorePermit) {
        let (mut daemon, limits, tls, serves) =
            (self.daemon.clone(), self.limits, self.tls.clone(), self.serves);
        daemon.slot = Some(Arc::new(slot));
        tokio::spawn(async move {
            match (socket, tls) {
                (Socket::Unix(socket), _) => serve(daemon, limits, serves, socket).await,
                (Socket::Tcp(socket), None) => serve(daemon, limits, serves, socket).await,
                (Socket::Tcp(socket), Some(tls)) => {
                    match tokio::time::timeout(limits.header_timeout, tls.accept(socket)).await {
                        Ok(Ok(stream)) => serve(daemon, limits, serves, stream).await,
                        Ok(Err(error)) => tracing::info!("a TLS handshake ended: {error}"),
                        Err(_) => {}
                    }
                }
            }
        });
    }
}

/// Answers the requests of one connection, one after another.
async fn serve<S>(daemon: Daemon, limits: Limits, serves: Serves, stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let stopping = daemon.stopping.clone();
    let service = service_fn(move |request| {
        let daemon = daemon.clone();
        async move {
            Ok::<_, Infallible>(match serves {
                Serves::Api => daemon.answer(request).await,
                Serves::Metrics => daemon.answer_metrics(request.uri().path()).await,
            })
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .title_case_headers(true)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_SIZE_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopping.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
}
