//! Starts to write long files to the disk while the next ones are unpacked.
//!
//! Whoever makes the tree durable afterwards finds less to wait for. Nothing is promised here: the sync at the end is what
//! counts, and it reports the errors of what was written before it.
//!
//! Short files are left to that sync: it writes the blocks of thousands of them with few requests, where each of them
//! alone costs a request, and the processor has other work meanwhile.

use std::os::fd::{AsRawFd, OwnedFd};

/// A file of this length or more is written before it is whole, in pieces of this length.
const PIECE_BYTES: u64 = 8 << 20;
/// Files below this are short.
const LONG_BYTES: u64 = 1 << 20;

/// When the content of files goes to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteBack {
    /// When the kernel or the caller thinks fit.
    #[default]
    Later,
    /// That of long files while the next files are written; for trees that are synced at the end.
    Early,
}

impl WriteBack {
    /// Takes note that `file` was written up to `end`, of which everything before `started` was handed to the disk
    /// already; returns the new `started`.
    pub fn piece(self, file: &OwnedFd, started: u64, end: u64) -> u64 {
        if self == WriteBack::Later || end - started < PIECE_BYTES {
            return started;
        }
        start_writing(file, started, end - started);
        end
    }

    /// Takes note that `file` is whole with `length` bytes, of which everything before `started` was handed to the disk.
    pub fn whole(self, file: &OwnedFd, started: u64, length: u64) {
        if self == WriteBack::Early && length >= LONG_BYTES && started < length {
            start_writing(file, started, length - started);
        }
    }
}

/// Asks the kernel to begin with `length` bytes from `offset`.
fn start_writing(file: &OwnedFd, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    // SAFETY: the call takes numbers only, and `file` keeps the descriptor open.
    #[allow(unsafe_code)]
    unsafe {
        // An error means that the file system does not do this, or that the sync at the end fails too.
        libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}
