//! What is said over the control socket: one JSON line each way, and for attach and exec the stream after it.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::console::WindowSize;
use crate::launch::ExitStatus;

/// Longest line; a request carries a whole process description.
const LINE_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(super) enum Request {
    Start,
    Attach {
        stdin: bool,
        stdout: bool,
        stderr: bool,
    },
    Exec {
        id: String,
        process: serde_json::Value,
        stdin: bool,
        attach: bool,
        size: Option<WindowSize>,
    },
    Resize {
        exec: Option<String>,
        size: WindowSize,
    },
    Wait {
        /// Its next end counts, also when it is started again after it.
        next: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "lowercase")]
pub(super) enum Reply {
    /// Done, or the stream follows.
    Ok,
    Exited(ExitStatus),
    /// Not done, in Docker's words.
    Refused {
        message: String,
    },
}

/// A socket's name may have 107 bytes; through a descriptor of its directory it is short wherever it lies.
fn with_short_path<T>(directory: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    use std::os::fd::AsRawFd;
    let directory = std::fs::File::open(directory)?;
    act(Path::new(&format!("/proc/self/fd/{}/control", directory.as_raw_fd())))
}

pub(super) fn listen(directory: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(directory.join("control")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    with_short_path(directory, |path| UnixListener::bind(path))
}

pub(super) fn connect(directory: &Path) -> io::Result<UnixStream> {
    with_short_path(directory, |path| UnixStream::connect(path))
}

pub(super) fn send(mut stream: &UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads one line and not a byte more: what follows belongs to the stream.
pub(super) fn receive<T: serde::de::DeserializeOwned>(mut stream: &UnixStream) -> io::Result<T> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        if stream.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if byte[0] == b'\n' {
            return Ok(serde_json::from_slice(&line)?);
        }
        line.push(byte[0]);
        if line.len() > LINE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}
