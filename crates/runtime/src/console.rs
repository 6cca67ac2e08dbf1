//! Terminals: receiving a container's from the runtime, and the caller's own in raw mode.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::termios::{OptionalActions, Termios, Winsize};

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl WindowSize {
    /// The size of the terminal `terminal`; `None` when it is none.
    pub fn of(terminal: impl AsFd) -> Option<Self> {
        let size = rustix::termios::tcgetwinsize(terminal).ok()?;
        Some(Self { rows: size.ws_row, columns: size.ws_col })
    }

    pub(crate) fn set(self, terminal: impl AsFd) -> io::Result<()> {
        let size = Winsize { ws_row: self.rows, ws_col: self.columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(terminal, size)?)
    }
}

/// A socket on which the runtime hands over the container's terminal.
#[derive(Debug)]
pub(crate) struct ConsoleSocket {
    listener: UnixListener,
    /// A short name: the kernel takes 107 bytes, and the bundle may lie deep.
    pub(crate) path: PathBuf,
    directory: PathBuf,
}

impl ConsoleSocket {
    /// Opens a socket in a directory of its own that only this user may enter.
    pub(crate) fn open() -> io::Result<Self> {
        let directory = private_directory()?;
        let path = directory.join("console");
        let listener = UnixListener::bind(&path)?;
        Ok(Self { listener, path, directory })
    }

    /// Takes the terminal that the runtime sent; call after the runtime has succeeded.
    pub(crate) fn receive(&self) -> io::Result<OwnedFd> {
        // The runtime has connected and sent before it ended; without a connection there is none to wait for.
        self.listener.set_nonblocking(true)?;
        let (stream, _) = self.listener.accept()?;
        let mut name = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut name)];
        rustix::net::recvmsg(&stream, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        ancillary
            .drain()
            .find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                _ => None,
            })
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the runtime sent no terminal"))
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn private_directory() -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let base = ["/run", "/tmp"]
        .map(Path::new)
        .into_iter()
        .find(|base| rustix::fs::access(*base, rustix::fs::Access::WRITE_OK).is_ok());
    let base = base.ok_or(rustix::io::Errno::ACCESS)?;
    static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    for _ in 0..1024 {
        let number = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = base.join(format!("shale-console-{}-{number}", std::process::id()));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    Err(rustix::io::Errno::EXIST.into())
}

/// The caller's terminal in raw mode; dropping it puts the old mode back.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Puts `terminal` into raw mode; `None` when it is no terminal.
    ///
    /// # Errors
    /// When the mode cannot be set.
    pub fn enter(terminal: impl AsFd) -> io::Result<Option<Self>> {
        let Ok(before) = rustix::termios::tcgetattr(&terminal) else { return Ok(None) };
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Some(Self { terminal: terminal.as_fd().try_clone_to_owned()?, before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}
