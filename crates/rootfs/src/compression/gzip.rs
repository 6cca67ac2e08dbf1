//! gzip on all cores: blocks that are compressed on their own, each a gzip member.
//!
//! Several members after each other are one stream (RFC 1952, section 2.2), and every reader of layers takes them so.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use crc_fast::{CrcAlgorithm, checksum};
use shale_deflate::Deflater;

/// Bytes that one thread compresses at a time; what lies in another block is not referred to, which costs 0.2 %.
const BLOCK_BYTES: usize = 512 << 10;
/// Begins a member: deflated, no name, no time, made quickly, on no system in particular (RFC 1952, section 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
/// More threads than this outrun every reader of files, and each takes memory.
const THREADS_MAX: usize = 32;

/// A writer that compresses to gzip; [`GzipWriter::finish`] ends the stream.
///
/// The bytes do not depend on the number of threads. Memory: about 1 MiB for each block in work, two blocks for each
/// thread.
#[must_use = "a stream that is not finished is truncated"]
pub struct GzipWriter<W: Write> {
    stream: W,
    workers: Option<Workers>,
    threads: usize,
    /// The block that is being filled.
    block: Vec<u8>,
    started: bool,
}

struct Workers {
    jobs: SyncSender<Job>,
    pending: VecDeque<Receiver<Done>>,
    threads: Vec<JoinHandle<()>>,
    spare: Vec<Done>,
}

struct Job {
    block: Vec<u8>,
    /// Room for the member.
    member: Vec<u8>,
    done: SyncSender<Done>,
}

struct Done {
    block: Vec<u8>,
    member: Vec<u8>,
}

impl<W: Write> GzipWriter<W> {
    /// Starts a stream, on as many threads as there are processors.
    pub fn new(stream: W) -> GzipWriter<W> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        GzipWriter::with_threads(stream, threads)
    }

    /// Starts a stream on `threads` threads.
    pub fn with_threads(stream: W, threads: usize) -> GzipWriter<W> {
        let threads = threads.clamp(1, THREADS_MAX);
        GzipWriter { stream, workers: None, threads, block: Vec::new(), started: false }
    }

    /// Compresses what is left, ends the stream and returns the writer below.
    ///
    /// # Errors
    /// Those of the writer below.
    pub fn finish(mut self) -> io::Result<W> {
        // A stream of no bytes is one empty member.
        if !self.block.is_empty() || !self.started {
            self.submit(true)?;
        }
        while self.collect()? {}
        if let Some(workers) = self.workers.take() {
            drop(workers.jobs);
            for thread in workers.threads {
                // A worker has no way to fail but a panic, and then its block was missed above.
                let _ = thread.join();
            }
        }
        self.stream.flush()?;
        Ok(self.stream)
    }

    fn submit(&mut self, is_last: bool) -> io::Result<()> {
        self.started = true;
        // What fits into one block is not worth a thread.
        if self.workers.is_none() && (is_last || self.threads == 1) {
            let mut member = Vec::new();
            compress(&mut Deflater::default(), &self.block, &mut member);
            self.block.clear();
            return self.stream.write_all(&member);
        }
        if self.workers.is_none() {
            self.workers = Some(Workers::spawn(self.threads)?);
        }
        let threads = self.threads;
        while self.workers.as_ref().is_some_and(|workers| workers.pending.len() >= 2 * threads) {
            self.collect()?;
        }
        let workers = self.workers.as_mut().expect("spawned above");
        let Done { block: mut next, member } =
            workers.spare.pop().unwrap_or_else(|| Done { block: Vec::new(), member: Vec::new() });
        next.clear();
        let block = std::mem::replace(&mut self.block, next);
        let (done, result) = sync_channel(1);
        workers.pending.push_back(result);
        workers
            .jobs
            .send(Job { block, member, done })
            .map_err(|_| io::Error::other("the compression threads are gone"))
    }

    // Writes the oldest block in work; tells whether there was one.
    fn collect(&mut self) -> io::Result<bool> {
        let Some(workers) = &mut self.workers else { return Ok(false) };
        let Some(result) = workers.pending.pop_front() else { return Ok(false) };
        let done = result.recv().map_err(|_| io::Error::other("a compression thread is gone"))?;
        self.stream.write_all(&done.member)?;
        workers.spare.push(done);
        Ok(true)
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.block.len() == BLOCK_BYTES {
                self.submit(false)?;
                continue;
            }
            let length = rest.len().min(BLOCK_BYTES - self.block.len());
            self.block.extend_from_slice(&rest[..length]);
            rest = &rest[length..];
        }
        Ok(bytes.len())
    }

    /// Does nothing: a block that is cut early compresses worse.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Workers {
    fn spawn(threads: usize) -> io::Result<Workers> {
        let (jobs, waiting) = sync_channel::<Job>(2 * threads);
        let waiting = Arc::new(Mutex::new(waiting));
        let mut handles = Vec::with_capacity(threads);
        for _ in 0..threads {
            let waiting = Arc::clone(&waiting);
            handles.push(Builder::new().name("shale-deflate".into()).spawn(move || work(&waiting))?);
        }
        Ok(Workers { jobs, pending: VecDeque::new(), threads: handles, spare: Vec::new() })
    }
}

fn work(waiting: &Mutex<Receiver<Job>>) {
    let mut deflater = Deflater::default();
    loop {
        let job = match waiting.lock() {
            Ok(waiting) => waiting.recv(),
            Err(_) => return,
        };
        let Ok(Job { block, mut member, done }) = job else { return };
        compress(&mut deflater, &block, &mut member);
        // Nobody waits after an error of the writer below.
        let _ = done.send(Done { block, member });
    }
}

/// Replaces `member` by the gzip member of `block`.
fn compress(deflater: &mut Deflater, block: &[u8], member: &mut Vec<u8>) {
    member.clear();
    member.extend_from_slice(&HEADER);
    deflater.deflate(block, member);
    let crc = checksum(CrcAlgorithm::Crc32IsoHdlc, block) as u32;
    member.extend_from_slice(&crc.to_le_bytes());
    // A block is far shorter than 4 GiB.
    member.extend_from_slice(&(block.len() as u32).to_le_bytes());
}
