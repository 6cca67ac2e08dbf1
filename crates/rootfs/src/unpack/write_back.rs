//! Starts to write files to the disk while the next ones are unpacked.
//!
//! Whoever makes the tree durable afterwards finds little left to wait for. Nothing is promised here: the sync at the end
//! is what counts, and it reports the errors of what was written before it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

/// A file of this length or more is written in pieces of it, before it is whole.
const PIECE_BYTES: u64 = 8 << 20;
/// Layers below this are synced at the end as fast as a thread is started.
const THREAD_AFTER_BYTES: u64 = 1 << 20;
/// Files that are open and wait; several layers of one process share its 1024 descriptors.
const WAITING_MAX: usize = 64;

/// When the content of files goes to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteBack {
    /// When the kernel or the caller thinks fit.
    #[default]
    Later,
    /// While the next files are unpacked; for trees that are synced at the end.
    Early,
}

/// Files on their way to the disk; dropping it waits until the kernel was asked to write all of them.
#[derive(Debug)]
pub struct WriteBackQueue {
    when: WriteBack,
    written_bytes: u64,
    thread: Option<(SyncSender<OwnedFd>, JoinHandle<()>)>,
}

impl WriteBackQueue {
    /// Returns an empty queue; with [`WriteBack::Later`] it does nothing.
    pub fn new(when: WriteBack) -> WriteBackQueue {
        WriteBackQueue { when, written_bytes: 0, thread: None }
    }

    /// Takes note that `file` was written up to `end`, of which everything before `started` was handed to the kernel
    /// already; returns the new `started`.
    pub(super) fn piece(&self, file: &OwnedFd, started: u64, end: u64) -> u64 {
        if self.when == WriteBack::Later || end - started < PIECE_BYTES {
            return started;
        }
        start_writing(file, started, end - started);
        end
    }

    /// Takes over a whole file of `length` bytes.
    pub fn finish(&mut self, file: OwnedFd, length: u64) {
        if self.when == WriteBack::Later || length == 0 {
            return;
        }
        self.written_bytes += length;
        if self.thread.is_none() && self.written_bytes >= THREAD_AFTER_BYTES {
            self.thread = spawn();
        }
        if let Some((files, _)) = &self.thread {
            // The thread ends only after this sender is dropped.
            let _ = files.send(file);
        }
    }
}

impl Drop for WriteBackQueue {
    fn drop(&mut self) {
        if let Some((files, thread)) = self.thread.take() {
            drop(files);
            let _ = thread.join();
        }
    }
}

// Without a thread the files wait for the sync at the end; that is slower and nothing else.
fn spawn() -> Option<(SyncSender<OwnedFd>, JoinHandle<()>)> {
    let (sender, files) = sync_channel::<OwnedFd>(WAITING_MAX);
    let work = move || files.into_iter().for_each(|file| start_writing(&file, 0, 0));
    Some((sender, Builder::new().name("shale-write-back".into()).spawn(work).ok()?))
}

/// Asks the kernel to begin with `length` bytes from `offset`, or with all from there when it is 0.
fn start_writing(file: &OwnedFd, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    // SAFETY: the call takes numbers only, and `file` keeps the descriptor open.
    #[allow(unsafe_code)]
    unsafe {
        // An error means that the file system does not do this, or that the sync at the end fails too.
        libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}
