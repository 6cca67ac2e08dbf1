//! SHA-256 beside the work: full buffers go to a thread that hashes them while the next one is filled.
//!
//! The buffers are shared, not copied, and there are never more than [`BUFFERS_MAX`] of them.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

use shale_oci::{DiffId, Digester};

use crate::tar::Source;

/// Whole blocks, so that a header never lies across two buffers of an aligned archive.
const BUFFER_BYTES: usize = 512 << 10;
const BUFFERS_MAX: usize = 4;

/// Hashes on this thread until there is more than one buffer; small layers never pay for a thread.
struct Hashing {
    digester: Option<Digester>,
    worker: Option<Worker>,
    buffers: usize,
}

struct Worker {
    filled: SyncSender<(Arc<Vec<u8>>, usize)>,
    emptied: Receiver<Arc<Vec<u8>>>,
    thread: JoinHandle<Digester>,
}

impl Hashing {
    fn new() -> Hashing {
        Hashing { digester: Some(Digester::sha256()), worker: None, buffers: 1 }
    }

    /// Takes in the first `length` bytes of `buffer`; more will come when `more` says so.
    fn submit(&mut self, buffer: &Arc<Vec<u8>>, length: usize, more: bool) {
        if more
            && self.worker.is_none()
            && let Some(digester) = self.digester.take()
        {
            match Worker::spawn(digester.clone()) {
                Ok(worker) => self.worker = Some(worker),
                Err(_) => self.digester = Some(digester),
            }
        }
        match (&self.worker, &mut self.digester) {
            (Some(worker), _) => {
                // The thread ends only after this sender is dropped.
                let _ = worker.filled.send((Arc::clone(buffer), length));
            }
            (None, Some(digester)) => digester.update(&buffer[..length]),
            (None, None) => {}
        }
    }

    /// Exchanges a buffer that was submitted for an empty one.
    fn exchange(&mut self, used: Arc<Vec<u8>>) -> Arc<Vec<u8>> {
        let Some(worker) = &self.worker else { return used };
        drop(used);
        if self.buffers < BUFFERS_MAX {
            self.buffers += 1;
            return empty_buffer();
        }
        worker.emptied.recv().unwrap_or_else(|_| empty_buffer())
    }

    fn finish(self) -> DiffId {
        let digester = match (self.worker, self.digester) {
            (Some(Worker { filled, emptied, thread }), _) => {
                drop(filled);
                drop(emptied);
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            (None, Some(digester)) => digester,
            (None, None) => unreachable!("a digester is here or in the thread"),
        };
        DiffId::new(digester.finish())
    }
}

impl Worker {
    fn spawn(mut digester: Digester) -> io::Result<Worker> {
        let (filled, to_hash) = sync_channel::<(Arc<Vec<u8>>, usize)>(BUFFERS_MAX);
        let (hashed, emptied) = channel();
        let thread = Builder::new().name("shale-sha256".into()).spawn(move || {
            while let Ok((buffer, length)) = to_hash.recv() {
                digester.update(&buffer[..length]);
                // Nobody waits for buffers at the end.
                let _ = hashed.send(buffer);
            }
            digester
        })?;
        Ok(Worker { filled, emptied, thread })
    }
}

fn empty_buffer() -> Arc<Vec<u8>> {
    Arc::new(vec![0; BUFFER_BYTES])
}

// The other owner, the hashing thread, gave its share back; a buffer still shared is replaced.
fn unique(buffer: &mut Arc<Vec<u8>>) -> &mut Vec<u8> {
    if Arc::get_mut(buffer).is_none() {
        *buffer = empty_buffer();
    }
    Arc::get_mut(buffer).expect("a new buffer has one owner")
}

/// Why an input stopped before its end, apart from failures of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Cancelled,
    TooLong,
}

/// Reads a stream in large pieces and takes its digest on the way.
pub(crate) struct HashedInput<'a> {
    stream: &'a mut dyn Read,
    progress: &'a dyn Fn(u64) -> ControlFlow<()>,
    bytes_max: u64,
    hashing: Hashing,
    buffer: Arc<Vec<u8>>,
    start: usize,
    end: usize,
    read_bytes: u64,
    ended: bool,
    pub stop: Option<Stop>,
}

impl<'a> HashedInput<'a> {
    pub fn new(
        stream: &'a mut dyn Read,
        bytes_max: u64,
        progress: &'a dyn Fn(u64) -> ControlFlow<()>,
    ) -> HashedInput<'a> {
        HashedInput {
            stream,
            progress,
            bytes_max,
            hashing: Hashing::new(),
            buffer: empty_buffer(),
            start: 0,
            end: 0,
            read_bytes: 0,
            ended: false,
            stop: None,
        }
    }

    /// Returns how many bytes came out of the stream.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Returns the digest of the whole stream, which was read to its end.
    pub fn finish(self) -> DiffId {
        self.hashing.finish()
    }

    fn refill(&mut self) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        let used = std::mem::take(&mut self.buffer);
        self.buffer = if self.read_bytes == 0 { used } else { self.hashing.exchange(used) };
        let buffer = unique(&mut self.buffer);
        (self.start, self.end) = (0, 0);
        while self.end < buffer.len() && !self.ended {
            match self.stream.read(&mut buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.read_bytes += self.end as u64;
        self.hashing.submit(&self.buffer, self.end, !self.ended);
        if self.read_bytes > self.bytes_max {
            self.stop = Some(Stop::TooLong);
        } else if (self.progress)(self.read_bytes).is_break() {
            self.stop = Some(Stop::Cancelled);
        }
        match self.stop {
            Some(_) => Err(io::Error::other("stopped")),
            None => Ok(()),
        }
    }
}

impl Source for HashedInput<'_> {
    fn take(&mut self, max: u64) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.refill()?;
        }
        let length = (self.end - self.start).min(usize::try_from(max).unwrap_or(usize::MAX));
        self.start += length;
        Ok(&self.buffer[self.start - length..self.start])
    }
}

/// Writes a stream in large pieces and takes its digest on the way.
pub(crate) struct HashedOutput<'a> {
    stream: &'a mut dyn Write,
    hashing: Hashing,
    buffer: Arc<Vec<u8>>,
    filled: usize,
    written_bytes: u64,
}

impl<'a> HashedOutput<'a> {
    pub fn new(stream: &'a mut dyn Write) -> HashedOutput<'a> {
        HashedOutput { stream, hashing: Hashing::new(), buffer: empty_buffer(), filled: 0, written_bytes: 0 }
    }

    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let space = self.space()?;
            let length = bytes.len().min(space.len());
            space[..length].copy_from_slice(&bytes[..length]);
            bytes = &bytes[length..];
            self.filled += length;
        }
        Ok(())
    }

    /// Returns room for at least one byte; [`HashedOutput::advance`] tells how much of it was filled.
    pub fn space(&mut self) -> io::Result<&mut [u8]> {
        if self.filled == BUFFER_BYTES {
            self.flush(true)?;
        }
        let filled = self.filled;
        Ok(&mut unique(&mut self.buffer)[filled..])
    }

    pub fn advance(&mut self, bytes: usize) {
        self.filled += bytes;
    }

    /// Writes what is left; returns the digest and the length of everything.
    pub fn finish(mut self) -> io::Result<(DiffId, u64)> {
        self.flush(false)?;
        self.stream.flush()?;
        Ok((self.hashing.finish(), self.written_bytes))
    }

    fn flush(&mut self, more: bool) -> io::Result<()> {
        self.hashing.submit(&self.buffer, self.filled, more);
        self.stream.write_all(&self.buffer[..self.filled])?;
        self.written_bytes += self.filled as u64;
        self.filled = 0;
        if more {
            let used = std::mem::take(&mut self.buffer);
            self.buffer = self.hashing.exchange(used);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shale_oci::Digest;

    #[test]
    fn digests_cover_every_byte_whatever_the_length() {
        for length in [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 7 * BUFFER_BYTES + 3] {
            let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let expected = DiffId::new(Digest::sha256(&bytes));

            let mut stream = &bytes[..];
            let mut input = HashedInput::new(&mut stream, u64::MAX, &|_| ControlFlow::Continue(()));
            let mut seen = Vec::new();
            loop {
                let piece = input.take(1000).unwrap();
                if piece.is_empty() {
                    break;
                }
                seen.extend_from_slice(piece);
            }
            assert!(seen == bytes);
            assert_eq!(input.finish(), expected);

            let mut written = Vec::new();
            let mut output = HashedOutput::new(&mut written);
            for piece in bytes.chunks(70_001) {
                output.write(piece).unwrap();
            }
            assert_eq!(output.finish().unwrap(), (expected, length as u64));
            assert!(written == bytes);
        }
    }
}
