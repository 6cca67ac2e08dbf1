//! Sockets to listen on: a path, an address, or what systemd opened for us.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::net::AddressFamily;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// The first descriptor that systemd passes. Source: sd_listen_fds(3).
const FIRST_PASSED: i32 = 3;

/// A place to listen at, as in `--host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// `unix:///run/shale.sock`.
    Unix(PathBuf),
    /// `tcp://127.0.0.1:2376`.
    Tcp(SocketAddr),
    /// `fd://`: what systemd opened.
    Activated,
}

/// Why a text is no [`Host`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid host {0:?}: write unix:///PATH, tcp://ADDRESS:PORT or fd://")]
pub struct HostError(String);

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Host, HostError> {
        let bad = || HostError(text.to_owned());
        match text.split_once("://").ok_or_else(bad)? {
            ("unix", path) if path.starts_with('/') => Ok(Host::Unix(PathBuf::from(path))),
            ("tcp", address) => {
                let address = address.replace("localhost:", "127.0.0.1:");
                address.trim_end_matches('/').parse().map(Host::Tcp).map_err(|_| bad())
            }
            ("fd", _) => Ok(Host::Activated),
            _ => Err(bad()),
        }
    }
}

/// Who may connect to a socket in the file system. Whoever may is root on the machine, as with dockerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketAccess {
    /// Permission bits.
    pub mode: u32,
    /// The group, by number; that of the process where there is none.
    pub group: Option<u32>,
}

/// A socket that clients connect to.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _path: Option<OwnPath> },
}

/// A path that is removed when the listener goes, if it is still ours.
pub(crate) struct OwnPath {
    path: PathBuf,
    inode: u64,
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<u64> {
    std::fs::symlink_metadata(path).map(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata))
}

/// A connection.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Listener::Tcp(listener) => {
                let (socket, _) = listener.accept().await?;
                let _ = socket.set_nodelay(true);
                Ok(Socket::Tcp(socket))
            }
            Listener::Unix { listener, .. } => {
                listener.accept().await.map(|(socket, _)| Socket::Unix(socket))
            }
        }
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix { .. } => None,
        }
    }

    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Listener> {
        TcpListener::bind(address).await.map(Listener::Tcp)
    }

    /// Listens at `path`; a socket that nobody listens at any more is replaced.
    pub(crate) fn bind_path(path: &Path, access: SocketAccess) -> io::Result<Listener> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let is_left = std::fs::symlink_metadata(path)?.file_type().is_socket()
                    && std::os::unix::net::UnixStream::connect(path).is_err();
                if !is_left {
                    return Err(error);
                }
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        let own = OwnPath { path: path.to_owned(), inode: inode(path)? };
        // The group first: until the mode is set, only the owner may write to the socket, and so connect.
        if access.group.is_some() {
            std::os::unix::fs::chown(path, None, access.group)?;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(access.mode))?;
        Ok(Listener::Unix { listener, _path: Some(own) })
    }
}

/// Returns the sockets that systemd opened for this process.
///
/// They are taken once: a second call would own the same descriptors again.
pub(crate) fn passed() -> io::Result<Vec<Listener>> {
    static TAKEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let variable = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<u32>().ok());
    let is_ours = variable("LISTEN_PID") == Some(std::process::id());
    if !is_ours || TAKEN.swap(true, std::sync::atomic::Ordering::Relaxed) {
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
            AddressFamily::UNIX => {
                Listener::Unix { listener: UnixListener::from_std(descriptor.into())?, _path: None }
            }
            _ => Listener::Tcp(TcpListener::from_std(descriptor.into())?),
        });
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart() {
        let host = |text: &str| text.parse::<Host>();
        assert_eq!(host("unix:///run/shale.sock"), Ok(Host::Unix("/run/shale.sock".into())));
        assert_eq!(host("tcp://localhost:2376"), Ok(Host::Tcp("127.0.0.1:2376".parse().unwrap())));
        assert_eq!(host("fd://"), Ok(Host::Activated));
        for text in ["", "/run/x", "unix://x", "tcp://", "tcp://a", "npipe:////./pipe"] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
