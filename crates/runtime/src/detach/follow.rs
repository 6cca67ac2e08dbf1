//! The caller's terminal or pipes joined to an attach stream: what `run`, `attach` and `exec` do in the foreground.

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};

use super::client::Container;
use crate::console::{RawMode, WindowSize};
use crate::run::{Stdio, open_stream, write_all};
use crate::signal::{Signal, Signals};

/// Ctrl-P Ctrl-Q: Docker's keys to leave a container.
pub const DETACH_KEYS: &[u8] = &[16, 17];

/// What an attach stream belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed<'a> {
    /// The exec's ID; `None` for the container's own streams.
    pub exec: Option<&'a str>,
    /// Whether it is a terminal's stream: bare bytes, raw mode, sizes, and keys to leave.
    pub terminal: bool,
    /// Those keys, normally [`DETACH_KEYS`].
    pub detach_keys: &'a [u8],
}

/// Why [`Container::follow`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowEnd {
    /// The stream ended, as it does with the container or exec.
    Ended,
    /// The user typed the keys to leave; the container runs on.
    Detached,
}

impl Container {
    /// Joins the caller's streams to an attach stream until either side is done.
    ///
    /// Signals go to the container's first process (an exec gets none), a change of the terminal's size to the
    /// container's terminal. A caller's terminal on `stdin` is in raw mode meanwhile.
    ///
    /// # Errors
    /// When one of the caller's own streams fails.
    pub fn follow(
        &self,
        stream: &UnixStream,
        followed: Followed<'_>,
        stdio: Stdio,
        signals: &mut Signals,
    ) -> io::Result<FollowEnd> {
        let mut keys = open_stream(stdio.stdin, io::stdin().as_fd())?;
        let stdout = open_stream(stdio.stdout, io::stdout().as_fd())?;
        let stderr = open_stream(stdio.stderr, io::stderr().as_fd())?;
        let screen = keys.as_ref().filter(|_| followed.terminal).map(OwnedFd::try_clone).transpose()?;
        let _raw = match &screen {
            Some(screen) => RawMode::enter(screen)?,
            None => None,
        };
        self.pass_size(followed, screen.as_ref());
        let mut output =
            Output { framed: !followed.terminal, stdout, stderr, head: Vec::new(), left: 0, number: 1 };
        let keys_to_leave = if followed.terminal { followed.detach_keys } else { &[] };
        let mut input = Input { keys: keys_to_leave, matched: 0 };
        let mut buffer = vec![0; 32 << 10];
        loop {
            let all = [Some(stream.as_fd()), keys.as_ref().map(AsFd::as_fd), signals.descriptor()];
            let [from_container, from_keys, from_signals] = poll(all)?;
            if from_signals {
                for signal in signals.take() {
                    if signal.number() == signal_hook::consts::SIGWINCH as u8 {
                        self.pass_size(followed, screen.as_ref());
                    } else if followed.exec.is_none() {
                        self.pass_signal(signal);
                    }
                }
            }
            if from_container {
                match (&*stream).read(&mut buffer) {
                    Ok(0) => return Ok(FollowEnd::Ended),
                    Ok(count) => output.show(&buffer[..count])?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // The supervisor was killed; its container's state tells more than this.
                    Err(_) => return Ok(FollowEnd::Ended),
                }
            }
            if from_keys && let Some(descriptor) = &keys {
                match rustix::io::read(descriptor, &mut buffer) {
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                    Ok(0) | Err(_) => {
                        let _ = stream.shutdown(Shutdown::Write);
                        keys = None;
                    }
                    Ok(count) => match input.typed(&buffer[..count]) {
                        None => return Ok(FollowEnd::Detached),
                        // A container that has just ended reads no more; the stream's end is on its way.
                        Some(bytes) => drop(write_all(stream, &bytes)),
                    },
                }
            }
        }
    }

    fn pass_size(&self, followed: Followed<'_>, screen: Option<&OwnedFd>) {
        let Some(size) = screen.and_then(WindowSize::of) else { return };
        // A container that has not started has no terminal yet; its starter passes the size along.
        let _ = match followed.exec {
            Some(id) => self.resize_exec(id, size),
            None => self.resize(size),
        };
    }

    fn pass_signal(&self, signal: Signal) {
        // It may have ended since.
        let _ = self.kill(signal);
    }
}

fn poll<const COUNT: usize>(all: [Option<BorrowedFd<'_>>; COUNT]) -> io::Result<[bool; COUNT]> {
    let places: Vec<usize> = (0..COUNT).filter(|&place| all[place].is_some()).collect();
    let mut watched: Vec<PollFd<'_>> =
        all.into_iter().flatten().map(|one| PollFd::from_borrowed_fd(one, PollFlags::IN)).collect();
    let mut ready = [false; COUNT];
    match rustix::event::poll(&mut watched, None) {
        Err(rustix::io::Errno::INTR) => return Ok(ready),
        other => other?,
    };
    for (place, one) in places.into_iter().zip(&watched) {
        ready[place] = !one.revents().is_empty();
    }
    Ok(ready)
}

/// What is typed, watched for the keys to leave.
struct Input<'a> {
    keys: &'a [u8],
    /// How many of them were typed and not sent yet.
    matched: usize,
}

impl Input<'_> {
    /// The bytes to send; `None` when the user wants to leave.
    fn typed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut sent = Vec::with_capacity(bytes.len() + 1);
        for &byte in bytes {
            if self.keys.get(self.matched) != Some(&byte) {
                sent.extend_from_slice(&self.keys[..std::mem::take(&mut self.matched)]);
            }
            if self.keys.get(self.matched) != Some(&byte) {
                sent.push(byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.keys.len() {
                return None;
            }
        }
        Some(sent)
    }
}

/// The container's output, taken out of its frames.
struct Output {
    framed: bool,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    head: Vec<u8>,
    left: usize,
    number: u8,
}

impl Output {
    fn show(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if !self.framed {
            return self.write(bytes);
        }
        while !bytes.is_empty() {
            if self.left == 0 {
                let (head, rest) = bytes.split_at(bytes.len().min(8 - self.head.len()));
                self.head.extend_from_slice(head);
                bytes = rest;
                if let &[number, _, _, _, a, b, c, d] = self.head.as_slice() {
                    (self.number, self.left) = (number, u32::from_be_bytes([a, b, c, d]) as usize);
                    self.head.clear();
                }
                continue;
            }
            let (payload, rest) = bytes.split_at(bytes.len().min(self.left));
            self.left -= payload.len();
            self.write(payload)?;
            bytes = rest;
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let target = if self.number == 2 { &self.stderr } else { &self.stdout };
        target.as_ref().map_or(Ok(()), |target| write_all(target, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_keys_in_a_row_leave() {
        let mut input = Input { keys: DETACH_KEYS, matched: 0 };
        assert_eq!(input.typed(b"a\x10b").as_deref(), Some(&b"a\x10b"[..]));
        assert_eq!(input.typed(b"\x10").as_deref(), Some(&b""[..]));
        assert_eq!(input.typed(b"\x10").as_deref(), Some(&b"\x10"[..]));
        assert_eq!(input.typed(b"\x11"), None);
    }

    #[test]
    fn frames_split_anywhere_are_put_together() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut output =
            Output { framed: true, stdout: Some(write), stderr: None, head: Vec::new(), left: 0, number: 1 };
        let message = b"\x01\0\0\0\0\0\0\x03abc\x02\0\0\0\0\0\0\x01!\x01\0\0\0\0\0\0\x02de";
        message.iter().for_each(|byte| output.show(&[*byte]).unwrap());
        drop(output);
        let mut text = String::new();
        std::fs::File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcde");
    }
}
