//! An upload that is open for writing: bytes are collected into batches, and a batch is hashed and written while the next
//! one fills.
//!
//! Long batches go around the page cache. A push is read back seldom and synced always, so the cache would cost a copy, a
//! page and a wait for each 4 KiB: more than receiving and hashing them together. Where a file system does not know direct
//! writes, the same batches go through the cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{OFlags, fcntl_setfl};
use shale_oci::{Algorithm, Digester};
use tokio::task::JoinHandle;

use super::BlobError;

/// What memory, offsets and lengths of direct writes are multiples of; no disk asks for more.
const ALIGNMENT: usize = 4096;
/// Shorter batches go through the page cache.
const DIRECT_BYTES_MIN: usize = 128 << 10;
/// The memory that an upload begins with, and from which on it is taken to be a long one.
const BATCH_BYTES_FIRST: usize = 16 << 10;
const BATCH_BYTES_LONG: usize = 256 << 10;
/// What the processor and the disk are told as one piece, where memory comes in such pieces.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// What is known of an upload between two requests.
#[derive(Clone, Debug)]
pub struct Paused {
    pub(super) digester: Digester,
    pub(super) received: u64,
    pub(super) algorithm: Algorithm,
    // How many bytes from the beginning do not wait in the page cache.
    pub(super) written_through: u64,
}

impl Paused {
    /// Returns the number of bytes that the upload has.
    pub fn received(&self) -> u64 {
        self.received
    }
}

/// An upload that is open for writing.
///
/// Dropping it keeps the bytes that were written; what was not noted by [`BlobWriter::pause`] is hashed again when the
/// upload is opened.
pub struct BlobWriter {
    path: PathBuf,
    file: Arc<File>,
    way: Way,
    // None while a batch is on its way, and after a failed write.
    state: Option<Paused>,
    running: Option<Running>,
    // Bytes in batches that were sent off.
    sent_off: u64,
    filling: Batch,
    spare: Option<Batch>,
}

/// How batches reach the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Through the page cache, up to now.
    Cached,
    /// Around it.
    Direct,
    /// Through the page cache, because the file system knows no other way.
    CachedOnly,
}

/// A batch on its way.
struct Running {
    state: Paused,
    batch: Arc<Batch>,
    writing: JoinHandle<io::Result<(Way, u64)>>,
    hashing: JoinHandle<Digester>,
}

impl BlobWriter {
    pub(super) fn new(path: PathBuf, file: File, state: Paused) -> BlobWriter {
        BlobWriter {
            path,
            file: Arc::new(file),
            way: Way::Cached,
            sent_off: state.received,
            state: Some(state),
            running: None,
            filling: Batch::default(),
            spare: None,
        }
    }

    /// Takes in `bytes` after all earlier ones. Whenever `batch_bytes` are together, they are sent off to be hashed and
    /// written, as soon as the batch before them is.
    ///
    /// # Errors
    /// When a write failed; the upload keeps the whole batches before.
    pub async fn append(&mut self, mut bytes: &[u8], batch_bytes: usize) -> Result<(), BlobError> {
        while !bytes.is_empty() {
            // An upload that goes on at an odd place gets to an even one with this batch.
            let ahead = usize::try_from(self.sent_off % ALIGNMENT as u64).expect("below the alignment");
            let room = batch_bytes.max(2 * ALIGNMENT) - ahead;
            bytes = &bytes[self.filling.fill(bytes, room)..];
            if self.filling.length >= room {
                self.send_off().await?;
            }
        }
        Ok(())
    }

    /// Returns the number of bytes that were taken in.
    pub fn received(&self) -> u64 {
        self.sent_off + self.filling.length as u64
    }

    /// Forgets the bytes that were not sent off yet.
    pub fn forget_last(&mut self) {
        self.filling.length = 0;
    }

    /// Writes what was taken in, closes the file and returns what a later [`super::BlobStore::open_upload`] needs to go on
    /// without reading.
    ///
    /// # Errors
    /// As [`BlobWriter::append`].
    pub async fn pause(self) -> Result<Paused, BlobError> {
        self.finish().await.map(|(_, _, state)| state)
    }

    pub(super) async fn finish(mut self) -> Result<(PathBuf, Arc<File>, Paused), BlobError> {
        if self.filling.length > 0 {
            self.send_off().await?;
        }
        let state = self.settle().await?;
        Ok((self.path, self.file, state))
    }

    async fn send_off(&mut self) -> Result<(), BlobError> {
        let state = self.settle().await?;
        let next = self.spare.take().unwrap_or_default();
        let batch = Arc::new(std::mem::replace(&mut self.filling, next));
        let (offset, way, digester) = (state.received, self.way, state.digester.clone());
        self.sent_off = offset + batch.length as u64;
        let (file, written_through, bytes) =
            (Arc::clone(&self.file), state.written_through, Arc::clone(&batch));
        let writing = tokio::task::spawn_blocking(move || {
            let place = Place { offset, written_through };
            write(&file, way, place, bytes.bytes()).inspect_err(|_| {
                // Part of the batch may be in the file; cut it off, so that the length is what was promised.
                let _ = file.set_len(offset);
            })
        });
        let bytes = Arc::clone(&batch);
        let hashing = tokio::task::spawn_blocking(move || {
            let mut digester = digester;
            digester.update(bytes.bytes());
            digester
        });
        self.running = Some(Running { state, batch, writing, hashing });
        Ok(())
    }

    /// Waits for the batch that is on its way.
    async fn settle(&mut self) -> Result<Paused, BlobError> {
        let Some(Running { mut state, batch, writing, hashing }) = self.running.take() else {
            return self.state.take().ok_or_else(|| {
                BlobError::io("go on after a failed write")(io::ErrorKind::BrokenPipe.into())
            });
        };
        let (written, digester) = (joined(writing).await, joined(hashing).await);
        (self.way, state.written_through) = written.map_err(BlobError::io("write to an upload"))?;
        state.digester = digester;
        state.received += batch.length as u64;
        self.spare = Arc::into_inner(batch).map(Batch::emptied);
        Ok(state)
    }
}

/// Where a batch goes, and how much of what is before it does not wait in the page cache.
struct Place {
    offset: u64,
    written_through: u64,
}

/// Writes `bytes`; returns the way that the file is in now, and how many bytes from the beginning wait no more.
fn write(file: &File, mut way: Way, place: Place, bytes: &[u8]) -> io::Result<(Way, u64)> {
    let Place { offset, mut written_through } = place;
    let mut direct = 0;
    if way != Way::CachedOnly && offset.is_multiple_of(ALIGNMENT as u64) && bytes.len() >= DIRECT_BYTES_MIN {
        if offset > written_through {
            // A direct write makes the file longer at once. Were the power cut before the cached bytes before it are on the
            // disk, there would be zeros in their place.
            file.sync_data()?;
        }
        let whole = bytes.len() - bytes.len() % ALIGNMENT;
        let tried = match way {
            Way::Direct => Ok(()),
            _ => fcntl_setfl(file, OFlags::DIRECT).map_err(io::Error::from),
        };
        match tried.and_then(|()| file.write_all_at(&bytes[..whole], offset)) {
            Ok(()) => {
                (way, direct) = (Way::Direct, whole);
                written_through = offset + whole as u64;
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                fcntl_setfl(file, OFlags::empty())?;
                way = Way::CachedOnly;
            }
            Err(error) => return Err(error),
        }
    }
    if direct < bytes.len() {
        if way == Way::Direct {
            fcntl_setfl(file, OFlags::empty())?;
            way = Way::Cached;
        }
        file.write_all_at(&bytes[direct..], offset + direct as u64)?;
    }
    Ok((way, written_through))
}

/// Bytes that are hashed and written together, at an address that suits direct writes.
#[derive(Default)]
struct Batch {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Batch {
    fn with_capacity(capacity: usize) -> Batch {
        let memory = vec![0; capacity + ALIGNMENT];
        let start = memory.as_ptr().addr().wrapping_neg() % ALIGNMENT;
        if capacity >= HUGE_PAGE_BYTES {
            prefer_huge_pages(&memory[start..]);
        }
        Batch { memory, start, length: 0 }
    }

    fn capacity(&self) -> usize {
        self.memory.len().saturating_sub(ALIGNMENT)
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    fn emptied(mut self) -> Batch {
        self.length = 0;
        self
    }

    /// Copies of `bytes` what makes this batch at most `room` bytes long; returns how many that were.
    fn fill(&mut self, bytes: &[u8], room: usize) -> usize {
        let length = (self.length + bytes.len()).min(room.max(self.length));
        // Room that became much too large, because other uploads came, is given back.
        if length > self.capacity() || (self.length == 0 && self.capacity() > 2 * room.next_power_of_two()) {
            let wanted = if length > BATCH_BYTES_LONG { room } else { length };
            let grown = Batch::with_capacity(wanted.next_power_of_two().max(BATCH_BYTES_FIRST));
            let before = std::mem::replace(self, grown);
            self.length = before.length;
            self.memory[self.start..self.start + self.length].copy_from_slice(before.bytes());
        }
        let taken = length - self.length;
        let at = self.start + self.length;
        self.memory[at..at + taken].copy_from_slice(&bytes[..taken]);
        self.length = length;
        taken
    }
}

/// Asks for memory in large pieces, of which the disk needs fewer orders. That nobody listens is no harm.
fn prefer_huge_pages(memory: &[u8]) {
    // SAFETY: the advice changes neither the bytes nor who may touch them, and `memory` is ours while this runs.
    #[allow(unsafe_code)]
    let _ = unsafe {
        rustix::mm::madvise(
            memory.as_ptr().cast_mut().cast(),
            memory.len(),
            rustix::mm::Advice::LinuxHugepage,
        )
    };
}

async fn joined<T>(running: JoinHandle<T>) -> T {
    match running.await {
        Ok(value) => value,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}
