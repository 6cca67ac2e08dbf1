//! Sockets to listen on: an address, a path, or what systemd opened for us.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::net::AddressFamily;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, UnixListener};

use super::stream::Socket;

/// The first descriptor that systemd passes. Source: sd_listen_fds(3).
const FIRST_PASSED: i32 = 3;

/// Descriptors that are not connections: the database, listeners, logs.
const OTHER_DESCRIPTORS: u64 = 256;

/// Lets this process have a descriptor for each connection and for the file that it sends or receives. What processes begin
/// with, mostly 1024, is for programs that call select(2); nothing here does.
///
/// Returns how many connections there may be: fewer than `connections_max` where the system allows no more descriptors, so
/// that the next client waits for its turn instead of being dropped.
pub(crate) fn raise_descriptor_limit(connections_max: usize) -> usize {
    let wanted = 2 * connections_max as u64 + OTHER_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    let mut possible = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if current < possible {
        let raised = Rlimit { current: Some(possible), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!("could not raise the limit of open files from {current}: {error}");
            possible = current;
        }
    }
    connections_within(connections_max, possible)
}

fn connections_within(connections_max: usize, descriptors: u64) -> usize {
    let possible = descriptors.saturating_sub(OTHER_DESCRIPTORS).max(1);
    let connections = connections_max.min(usize::try_from(possible).unwrap_or(usize::MAX));
    if connections < connections_max {
        tracing::info!(
            "{connections} connections at once, no more: the limit of open files is {descriptors}"
        );
    }
    connections
}

/// A socket that clients connect to.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Listener::Tcp(listener) => {
                let (socket, address) = listener.accept().await?;
                let _ = socket.set_nodelay(true);
                Ok((Socket::Tcp(socket), Some(address)))
            }
            Listener::Unix(listener) => {
                listener.accept().await.map(|(socket, _)| (Socket::Unix(socket), None))
            }
        }
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Listener> {
        TcpListener::bind(address).await.map(Listener::Tcp)
    }

    /// Listens at `path`; a socket that nobody listens at any more is replaced.
    pub(crate) fn bind_path(path: &Path) -> io::Result<Listener> {
        match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let left = std::fs::symlink_metadata(path)?.file_type().is_socket()
                    && std::os::unix::net::UnixStream::connect(path).is_err();
                if !left {
                    return Err(error);
                }
                std::fs::remove_file(path)?;
                UnixListener::bind(path).map(Listener::Unix)
            }
            bound => bound.map(Listener::Unix),
        }
    }
}

/// Returns the sockets that systemd opened for this process.
///
/// They are taken once: a second call would own the same descriptors again.
pub(crate) fn passed() -> io::Result<Vec<Listener>> {
    static TAKEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let variable = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<u32>().ok());
    let ours = variable("LISTEN_PID") == Some(std::process::id());
    if !ours || TAKEN.swap(true, std::sync::atomic::Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let count = i32::try_from(variable("LISTEN_FDS").unwrap_or(0)).unwrap_or(0);
    let mut listeners = Vec::new();
    for number in FIRST_PASSED..FIRST_PASSED + count {
        // SAFETY: systemd passed this descriptor to this very process (LISTEN_PID), and `TAKEN` lets it be owned once.
        #[allow(unsafe_code)]
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        rustix::io::fcntl_setfd(descriptor.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(descriptor.as_fd(), true)?;
        let family = rustix::net::getsockname(&descriptor)?.address_family();
        listeners.push(match family {
            AddressFamily::UNIX => Listener::Unix(UnixListener::from_std(descriptor.into())?),
            _ => Listener::Tcp(TcpListener::from_std(descriptor.into())?),
        });
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_connections_than_descriptors() {
        assert_eq!(connections_within(20_000, 40_256), 20_000);
        assert_eq!(connections_within(20_000, 20_000), 19_744);
        assert_eq!(connections_within(20_000, 100), 1);
    }
}
