//! Syncs a file system in the background while a tree is written to it.
//!
//! Whoever makes the tree durable at its end then finds little left to wait for, and the processor has hardly noticed: the
//! kernel writes the blocks of thousands of short files with few requests. Nothing is promised here: the sync at the end
//! is what counts, and it reports the errors of what was written before it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::Builder;

use rustix::fs::{CWD, Mode, OFlags, openat, syncfs};

/// Bytes between two syncs. Each commits the journal, during which the writer may wait, so they are few.
const STEP_BYTES: u64 = 64 << 20;

/// A file system that is synced in the background, each time that 64 MiB were written to it.
///
/// Several writers may share one. Dropping it waits for nothing.
#[derive(Debug)]
pub struct EarlySync {
    /// None where it cannot be opened; then nothing is done early.
    directory: Option<Arc<OwnedFd>>,
    written_bytes: AtomicU64,
    /// The thread's, once there is one; none where no thread could be started.
    orders: OnceLock<Option<SyncSender<()>>>,
}

impl EarlySync {
    /// Returns one for the file system that holds the directory `path`.
    pub fn at(path: &Path) -> EarlySync {
        EarlySync::below(CWD, path)
    }

    /// Returns one for the file system that holds `directory`, which may be a path descriptor: those cannot be synced.
    pub fn new(directory: impl AsFd) -> EarlySync {
        EarlySync::below(directory, Path::new("."))
    }

    fn below(directory: impl AsFd, path: &Path) -> EarlySync {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(directory, path, flags, Mode::empty()).ok().map(Arc::new);
        EarlySync { directory, written_bytes: AtomicU64::new(0), orders: OnceLock::new() }
    }

    /// Takes note that `bytes` more were written; does not wait.
    pub fn wrote(&self, bytes: u64) {
        let before = self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before / STEP_BYTES == (before + bytes) / STEP_BYTES {
            return;
        }
        if let Some(orders) = self.orders.get_or_init(|| spawn(self.directory.clone()?)) {
            // Where one is waiting already, that one does the work of this one too.
            let _ = orders.try_send(());
        }
    }
}

fn spawn(directory: Arc<OwnedFd>) -> Option<SyncSender<()>> {
    let (orders, received) = sync_channel(1);
    let work = move || {
        for () in received {
            // An error is kept by the kernel for everybody who has the file system open, and so for the sync at the end.
            let _ = syncfs(&directory);
        }
    };
    Builder::new().name("shale-early-sync".into()).spawn(work).ok()?;
    Some(orders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_neither_waits_nor_fails_wherever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        for path in [directory.path(), &directory.path().join("missing")] {
            let early_sync = EarlySync::at(path);
            for bytes in [1, STEP_BYTES - 2, 1, STEP_BYTES, u64::MAX >> 1] {
                early_sync.wrote(bytes);
            }
            assert_eq!(early_sync.directory.is_some(), path.exists());
            let has_thread = early_sync.orders.get().is_some_and(Option::is_some);
            assert_eq!(has_thread, path.exists());
        }
    }
}
