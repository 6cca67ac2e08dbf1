//! gzip on all cores: blocks that are compressed on their own, each a gzip member.
//!
//! Several members after each other are one stream (RFC 1952, section 2.2), and every reader of layers takes them so.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Builder, JoinHandle};

use crc_fast::{CrcAlgorithm, checksum};
use shale_deflate::{Deflater, room};

/// Bytes that one thread compresses at a time; what lies in another block is not referred to, which costs 0.1 %.
const BLOCK_BYTES: usize = 512 << 10;
/// Begins a member: deflated, no name, no time, made quickly, on no system in particular (RFC 1952, section 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
/// Ends a member: the checksum and the length of what it inflates to (RFC 1952, section 2.3.1).
const TRAILER_BYTES: usize = 8;
/// More threads than this outrun every reader of files, and each takes memory.
const THREADS_MAX: usize = 32;

/// Threads that compress the blocks of any number of streams.
///
/// The blocks of the stream that was begun first go first: what is sent to one registry ends one after the other, and the
/// registry's work at the end of one falls into the next. A stream that nobody takes bytes from holds up no other.
#[derive(Debug)]
pub struct GzipPool {
    shared: Arc<Shared>,
    threads_max: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
    streams: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// By stream and block.
    jobs: BTreeMap<(u64, u64), Job>,
    is_closed: bool,
}

#[derive(Debug)]
struct Job {
    block: Vec<u8>,
    /// Room for the member.
    member: Vec<u8>,
    done: SyncSender<Done>,
}

#[derive(Debug, Default)]
struct Done {
    block: Vec<u8>,
    /// The member, and room that is left of it.
    member: Vec<u8>,
    member_bytes: usize,
}

impl Default for GzipPool {
    /// Of as many threads as there are processors.
    fn default() -> GzipPool {
        GzipPool::new(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

impl GzipPool {
    /// Of at most `threads` threads, which start when there is something to do.
    pub fn new(threads: usize) -> GzipPool {
        let threads_max = threads.clamp(1, THREADS_MAX);
        GzipPool {
            shared: Arc::default(),
            threads_max,
            threads: Mutex::default(),
            streams: AtomicU64::new(0),
        }
    }

    fn submit(&self, stream: u64, block: u64, job: Job) -> io::Result<()> {
        let mut threads = self.threads.lock().map_err(|_| gone())?;
        if threads.len() < self.threads_max {
            let shared = Arc::clone(&self.shared);
            let started = Builder::new().name("shale-deflate".into()).spawn(move || shared.work());
            match started {
                Ok(thread) => threads.push(thread),
                // The others will do it.
                Err(_) if !threads.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        drop(threads);
        self.shared.queue.lock().map_err(|_| gone())?.jobs.insert((stream, block), job);
        self.shared.changed.notify_one();
        Ok(())
    }
}

impl Drop for GzipPool {
    fn drop(&mut self) {
        if let Ok(mut queue) = self.shared.queue.lock() {
            queue.is_closed = true;
        }
        self.shared.changed.notify_all();
        for thread in self.threads.get_mut().into_iter().flat_map(std::mem::take) {
            // A thread has no way to fail but a panic, and then its block was missed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut deflater = Deflater::default();
        while let Some(Job { block, mut member, done }) = self.next() {
            let member_bytes = compress(&mut deflater, &block, &mut member);
            // Nobody waits after an error of the writer below.
            let _ = done.send(Done { block, member, member_bytes });
        }
    }

    /// Waits for a block; none comes when the pool goes.
    fn next(&self) -> Option<Job> {
        let queue = self.queue.lock().ok()?;
        let is_idle = |queue: &mut Queue| queue.jobs.is_empty() && !queue.is_closed;
        let mut queue = self.changed.wait_while(queue, is_idle).ok()?;
        queue.jobs.pop_first().map(|(_, job)| job)
    }
}

fn gone() -> io::Error {
    io::Error::other("a compression thread is gone")
}

/// A writer that compresses to gzip; [`GzipWriter::finish`] ends the stream.
///
/// The bytes do not depend on the number of threads. Memory: about 1 MiB for each block in work, two blocks for each
/// thread.
#[must_use = "a stream that is not finished is truncated"]
pub struct GzipWriter<W: Write> {
    stream: W,
    pool: Arc<GzipPool>,
    /// Which stream of the pool this is, and how many blocks it had.
    number: u64,
    blocks: u64,
    pending: VecDeque<Receiver<Done>>,
    spare: Vec<Done>,
    /// The block that is being filled.
    block: Vec<u8>,
}

impl<W: Write> GzipWriter<W> {
    /// Starts a stream on the threads of `pool`.
    pub fn new(stream: W, pool: &Arc<GzipPool>) -> GzipWriter<W> {
        let number = pool.streams.fetch_add(1, Ordering::Relaxed);
        let (pending, spare) = (VecDeque::new(), Vec::new());
        GzipWriter { stream, pool: Arc::clone(pool), number, blocks: 0, pending, spare, block: Vec::new() }
    }

    /// Compresses what is left, ends the stream and returns the writer below.
    ///
    /// # Errors
    /// Those of the writer below.
    pub fn finish(mut self) -> io::Result<W> {
        if self.blocks == 0 {
            // What fits into one block is not worth a thread. A stream of no bytes is one empty member.
            let mut member = Vec::new();
            let member_bytes = compress(&mut Deflater::default(), &self.block, &mut member);
            self.stream.write_all(&member[..member_bytes])?;
        } else if !self.block.is_empty() {
            self.submit()?;
        }
        while self.collect()? {}
        self.stream.flush()?;
        Ok(self.stream)
    }

    fn submit(&mut self) -> io::Result<()> {
        while self.pending.len() >= 2 * self.pool.threads_max {
            self.collect()?;
        }
        let Done { block: mut next, member, .. } = self.spare.pop().unwrap_or_default();
        next.clear();
        let block = std::mem::replace(&mut self.block, next);
        let (done, result) = sync_channel(1);
        self.pending.push_back(result);
        self.pool.submit(self.number, self.blocks, Job { block, member, done })?;
        self.blocks += 1;
        Ok(())
    }

    // Writes the oldest block in work; tells whether there was one.
    fn collect(&mut self) -> io::Result<bool> {
        let Some(result) = self.pending.pop_front() else { return Ok(false) };
        let done = result.recv().map_err(|_| gone())?;
        self.stream.write_all(&done.member[..done.member_bytes])?;
        self.spare.push(done);
        Ok(true)
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.block.len() == BLOCK_BYTES {
                self.submit()?;
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

/// Writes the gzip member of `block` to the begin of `member`, which keeps its length where it is long enough; returns the
/// member's length.
fn compress(deflater: &mut Deflater, block: &[u8], member: &mut Vec<u8>) -> usize {
    let needed = HEADER.len() + room(block.len()) + TRAILER_BYTES;
    if member.len() < needed {
        member.resize(needed, 0);
    }
    let (header, rest) = member.split_at_mut(HEADER.len());
    header.copy_from_slice(&HEADER);
    let length = deflater.deflate(block, rest);
    let crc = checksum(CrcAlgorithm::Crc32IsoHdlc, block) as u32;
    // A block is far shorter than 4 GiB.
    let trailer = [crc.to_le_bytes(), (block.len() as u32).to_le_bytes()];
    rest[length..][..TRAILER_BYTES].copy_from_slice(trailer.as_flattened());
    HEADER.len() + length + TRAILER_BYTES
}
