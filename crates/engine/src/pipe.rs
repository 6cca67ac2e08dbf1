//! A bounded pipe between two threads of one layer: whole buffers change hands, and come back to be filled again.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Bytes of one buffer.
const BUFFER_SIZE: usize = 256 << 10;
/// Full buffers that wait at most, so the pipe holds `BUFFER_SIZE * (BUFFERS_MAX + 2)` bytes.
const BUFFERS_MAX: usize = 6;

/// Returns the two ends of a new pipe.
pub fn pipe() -> (PipeWriter, PipeReader) {
    let (full_sender, full_receiver) = sync_channel(BUFFERS_MAX);
    let (empty_sender, empty_receiver) = channel();
    let writer =
        PipeWriter { full: full_sender, empty: empty_receiver, buffer: Vec::with_capacity(BUFFER_SIZE) };
    let reader = PipeReader { full: full_receiver, empty: empty_sender, buffer: Vec::new(), at: 0 };
    (writer, reader)
}

/// The end that is written to. What is not flushed when it is dropped is lost: see [`PipeWriter::finish`].
pub struct PipeWriter {
    full: SyncSender<io::Result<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
    buffer: Vec<u8>,
}

impl PipeWriter {
    /// Copies `from` to its end into the pipe, without an intermediate buffer; an error travels to the reader.
    ///
    /// Returns whether the reader took everything.
    pub fn fill_from<R: Read>(mut self, mut from: R) -> bool {
        loop {
            match from.by_ref().take((BUFFER_SIZE - self.buffer.len()) as u64).read_to_end(&mut self.buffer) {
                Ok(0) => return self.finish(Ok(())),
                Ok(_) if self.buffer.len() < BUFFER_SIZE => {}
                Ok(_) => {
                    if self.pass_on().is_err() {
                        return false;
                    }
                }
                Err(error) => return self.finish(Err(error)),
            }
        }
    }

    /// Hands over what is buffered and then the end of the stream, or the error that ended it.
    pub fn finish(mut self, end: io::Result<()>) -> bool {
        self.pass_on().is_ok()
            && match end {
                Ok(()) => self.full.send(Ok(Vec::new())).is_ok(),
                Err(error) => self.full.send(Err(error)).is_ok(),
            }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let empty = self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(BUFFER_SIZE));
        let full = std::mem::replace(&mut self.buffer, empty);
        self.full.send(Ok(full)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BUFFER_SIZE - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == BUFFER_SIZE {
            self.pass_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()
    }
}

/// The end that is read from. Dropping it makes the writer stop.
pub struct PipeReader {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
}

impl PipeReader {
    /// Returns the next whole buffer, or nothing at the end of the stream; for consumers that take buffers as they are.
    pub fn next_buffer(&mut self) -> io::Result<Option<Vec<u8>>> {
        // A writer that went away without a word must not look like an end.
        let buffer = self.full.recv().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))??;
        Ok((!buffer.is_empty()).then_some(buffer))
    }
}

impl Read for PipeReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        if self.at == self.buffer.len() {
            let Some(next) = self.next_buffer()? else {
                // The end is read again and again; leave it in the channel's place.
                self.full = ended();
                return Ok(0);
            };
            let mut used = std::mem::replace(&mut self.buffer, next);
            self.at = 0;
            used.clear();
            let _ = self.empty.send(used);
        }
        let count = into.len().min(self.buffer.len() - self.at);
        into[..count].copy_from_slice(&self.buffer[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Returns a channel that says "end" once more.
fn ended() -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(1);
    let _ = sender.send(Ok(Vec::new()));
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_and_the_end_stays_the_end() {
        let sent: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
        let (writer, mut reader) = pipe();
        let expected = sent.clone();
        let thread = std::thread::spawn(move || writer.fill_from(sent.as_slice()));
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        assert!(thread.join().unwrap());
        assert!(received == expected);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn an_error_and_a_vanished_writer_are_no_end() {
        let (writer, mut reader) = pipe();
        writer.finish(Err(io::ErrorKind::ConnectionReset.into()));
        assert_eq!(reader.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let (writer, mut reader) = pipe();
        drop(writer);
        assert_eq!(reader.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_reader_that_leaves_stops_the_writer() {
        let (writer, reader) = pipe();
        drop(reader);
        assert!(!writer.fill_from(io::repeat(0)));
    }
}
