//! A container's output on its way out: to the log first, then to everyone attached.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::log::{LogStream, LogWriter};

/// How long a client may keep the container waiting before it is cut off.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes output and passes it to the clients; the lock is held for one chunk at a time.
#[derive(Default)]
pub(super) struct Broadcast {
    clients: Mutex<Vec<Client>>,
    framed: bool,
}

struct Client {
    stream: UnixStream,
    stdout: bool,
    stderr: bool,
}

impl Broadcast {
    /// `framed`: each chunk is preceded by Docker's eight bytes; a terminal's stream is not.
    pub(super) fn new(framed: bool) -> Self {
        Self { clients: Mutex::default(), framed }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Client>> {
        self.clients.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn add(&self, stream: UnixStream, stdout: bool, stderr: bool) -> io::Result<()> {
        stream.set_write_timeout(Some(PATIENCE))?;
        self.lock().push(Client { stream, stdout, stderr });
        Ok(())
    }

    /// Ends every client's stream.
    pub(super) fn close(&self) {
        for client in self.lock().drain(..) {
            let _ = client.stream.shutdown(Shutdown::Both);
        }
    }

    fn send(&self, stream: LogStream, bytes: &[u8]) {
        let mut clients = self.lock();
        if clients.is_empty() {
            return;
        }
        let mut message = Vec::with_capacity(bytes.len() + 8);
        if self.framed {
            message.extend([if stream == LogStream::Stdout { 1 } else { 2 }, 0, 0, 0]);
            message.extend((bytes.len() as u32).to_be_bytes());
        }
        message.extend(bytes);
        clients.retain_mut(|client| {
            let wanted = if stream == LogStream::Stdout { client.stdout } else { client.stderr };
            // A client that has gone, or does not read, is not the container's problem.
            !wanted || client.stream.write_all(&message).is_ok()
        });
    }

    /// Copies one of the container's outputs to its end.
    pub(super) fn copy(&self, source: &OwnedFd, stream: LogStream, mut log: Option<LogWriter>) {
        let mut buffer = vec![0; 32 << 10];
        loop {
            match rustix::io::read(source, &mut buffer) {
                // EIO is a terminal's end of file.
                Ok(0) | Err(rustix::io::Errno::IO) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
                Ok(count) => {
                    // A full disk must not stop the container, nor those who look on.
                    if let Some(log) = &mut log {
                        let _ = log.write(&buffer[..count]);
                    }
                    self.send(stream, &buffer[..count]);
                }
            }
        }
        if let Some(log) = &mut log {
            let _ = log.finish();
        }
    }
}
