//! Being told of a container's end without a thread that waits for it.

use std::io;
use std::os::unix::net::UnixStream;

use super::client::{Container, ControlError};
use super::protocol::{Reply, Request, connect, receive, send};
use crate::launch::ExitStatus;

/// Told when a container has ended: [`EndNotice::watched`] becomes readable, and [`EndNotice::read`] tells how, at once.
///
/// A caller with an event loop waits for many containers that way; [`Container::wait`] is for one.
#[derive(Debug)]
pub struct EndNotice {
    container: Container,
    stream: UnixStream,
}

impl Container {
    /// Asks to be told of the container's end, also before its start.
    ///
    /// # Errors
    /// [`ControlError::Unreachable`] when it has ended already, or its supervisor was killed.
    pub fn notice_of_end(&self) -> Result<EndNotice, ControlError> {
        let ask = || {
            let stream = connect(self.directory())?;
            send(&stream, &Request::Wait { next: false })?;
            // The supervisor says first that it has understood; what comes after that is the end.
            receive::<Reply>(&stream)?;
            Ok(stream)
        };
        let stream = ask()
            .map_err(|source| ControlError::Unreachable { directory: self.directory().to_owned(), source })?;
        Ok(EndNotice { container: self.clone(), stream })
    }
}

impl EndNotice {
    /// Returns a socket for an event loop to watch: it becomes readable, and nothing is to be read from it.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn watched(&self) -> io::Result<UnixStream> {
        let watched = self.stream.try_clone()?;
        watched.set_nonblocking(true)?;
        Ok(watched)
    }

    /// Returns how the container ended; waits where it has not.
    ///
    /// # Errors
    /// [`ControlError`] when it never started, or nobody knows.
    pub fn read(&self) -> Result<ExitStatus, ControlError> {
        // Whoever watches made it not wait.
        let _ = self.stream.set_nonblocking(false);
        match receive(&self.stream) {
            Ok(Reply::Exited(exit)) => Ok(exit),
            Ok(Reply::Refused { message }) => Err(ControlError::Refused { message }),
            // The supervisor was killed; what it wrote down, or what is cleaned up now, tells.
            Ok(Reply::Ok) | Err(_) => self.container.wait(),
        }
    }
}
