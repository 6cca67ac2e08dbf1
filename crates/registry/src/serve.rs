//! A registry behind a socket: open the root, bind, serve, drain.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use rustix::fs::{FlockOperation, flock};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::api::dispatch::{self, Peer};
use crate::auth::Access;
use crate::blob_store::{BlobError, FileBlobStore};
use crate::config::Limits;
use crate::metadata::sqlite::{OpenError, SqliteMetadata};
use crate::registry::{MissingTargets, Policy, Registry};
use crate::wire::stream::{Socket, Stream};

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The directory that holds everything.
    pub root: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// What clients may do.
    pub policy: Policy,
    /// Limits on what clients choose.
    pub limits: Limits,
    /// How long requests may take to end once the server is told to stop.
    pub drain_timeout: Duration,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            root: PathBuf::from("registry-data"),
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5000),
            policy: Policy {
                delete: true,
                read_only: false,
                missing: MissingTargets::Accept,
                grace: Duration::from_secs(3600),
            },
            limits: Limits::default(),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process has the root open.
    #[error("{root} is in use by another registry")]
    InUse {
        /// The root.
        root: PathBuf,
    },
    /// The root cannot be used.
    #[error("could not use {root}")]
    Root {
        /// The root.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The blob store did not open.
    #[error("could not open the blob store")]
    Blobs(#[from] BlobError),
    /// The metadata did not open.
    #[error("could not open the metadata")]
    Metadata(#[from] OpenError),
    /// The address cannot be listened on.
    #[error("could not listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A registry that listens and does not answer yet.
pub struct Server {
    registry: Arc<Registry>,
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
    drain_timeout: Duration,
    _lock: std::fs::File,
}

impl Server {
    /// Opens the root of `options` and listens; from now on clients wait instead of being refused.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn bind(options: ServeOptions) -> Result<Server, StartError> {
        let lock = lock_root(&options.root)?;
        let blobs = FileBlobStore::open(&options.root)?;
        let metadata = SqliteMetadata::open(&options.root.join("shale/registry.db"))?;
        let registry = Registry::new(
            Arc::new(blobs),
            Arc::new(metadata),
            Access,
            options.policy,
            options.limits.clone(),
        );
        let listen = |source| StartError::Listen { address: options.address, source };
        let listener = TcpListener::bind(options.address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Server {
            registry: Arc::new(registry),
            listener,
            address,
            limits: options.limits,
            drain_timeout: options.drain_timeout,
            _lock: lock,
        })
    }

    /// Returns the address that the server listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `shutdown` resolves, then ends those that run and returns.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopping) = watch::channel(false);
        let slots = Arc::new(Semaphore::new(self.limits.connections_max));
        let mut shutdown = pin!(shutdown);
        loop {
            let slot = Arc::clone(&slots).acquire_owned();
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = async {
                    let slot = slot.await.expect("the slots are never closed");
                    self.listener.accept().await.map(|(socket, peer)| (socket, peer, slot))
                } => accepted,
            };
            match accepted {
                Ok((socket, peer, slot)) => {
                    let connection = serve_connection(
                        Arc::clone(&self.registry),
                        socket,
                        peer,
                        self.limits.clone(),
                        stopping.clone(),
                    );
                    tokio::spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: those that are served now will give some back.
                    tracing::warn!("could not accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        drop(self.listener);
        let _ = stop.send(true);
        let all = u32::try_from(self.limits.connections_max).unwrap_or(u32::MAX);
        if tokio::time::timeout(self.drain_timeout, slots.acquire_many(all)).await.is_err() {
            tracing::warn!(
                "requests were still running {} s after the signal to stop",
                self.drain_timeout.as_secs()
            );
        }
    }
}

fn lock_root(root: &Path) -> Result<std::fs::File, StartError> {
    let used = |source| StartError::Root { root: root.to_owned(), source };
    std::fs::create_dir_all(root.join("shale")).map_err(used)?;
    let lock = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(root.join("shale/lock"))
        .map_err(used)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::InUse { root: root.to_owned() }),
        Err(error) => Err(used(error.into())),
    }
}

async fn serve_connection(
    registry: Arc<Registry>,
    socket: TcpStream,
    address: SocketAddr,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) {
    let _ = socket.set_nodelay(true);
    // Nothing is allocated for a connection that says nothing.
    let readable = tokio::time::timeout(limits.header_timeout, socket.readable());
    tokio::select! {
        readable = readable => if !matches!(readable, Ok(Ok(()))) { return },
        () = stopped(&mut stopping) => return,
    }
    let stream = Stream::new(Socket::Tcp(socket), limits.send_timeout);
    let peer = Peer { address: Some(address.ip()), mappings: Some(stream.mappings()), encrypted: false };
    let service = service_fn(move |request| {
        let (registry, peer) = (Arc::clone(&registry), peer.clone());
        async move { Ok::<_, std::convert::Infallible>(dispatch::answer(registry, peer, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .title_case_headers(true)
        .max_headers(64)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("connection from {address}: {error}");
    }
}

/// Waits until the server is told to stop, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
