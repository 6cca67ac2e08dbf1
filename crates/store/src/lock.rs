//! Who may write: the store's own lock, and the one by which a dockerd shows that it is alive.
//!
//! Promise: at most one commit at a time among all processes and threads, and none while a dockerd has the root.
//! Not here: leases of long work.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::durable::DiskError;
use crate::layout::Layout;

/// Why the store may not be changed now.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The store was opened for reading.
    #[error("the store was opened for reading only")]
    ReadOnly,
    /// A dockerd holds the root; it keeps images and references in memory and would overwrite ours.
    #[error("a running dockerd holds this data root; stop it, or use another --data-root")]
    HeldByDocker,
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The exclusive lock, held for one commit.
#[must_use = "the lock is free again when this is dropped"]
pub(crate) struct Commit {
    lock: File,
}

impl Drop for Commit {
    fn drop(&mut self) {
        unlock(&self.lock);
    }
}

/// Keeps a dockerd from starting on the root: its database waits for our shared flock and gives up.
#[derive(Debug, Default)]
pub(crate) struct DockerGuard(Mutex<Option<File>>);

impl DockerGuard {
    /// Takes the guard unless it is held already or there is nothing to hold yet.
    pub(crate) fn hold(&self, layout: &Layout) -> Result<(), AccessError> {
        let mut held = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if held.is_none() {
            *held = probe_docker(layout)?;
        }
        Ok(())
    }
}

/// Returns the file by which a dockerd would hold the root, with a shared flock; `None` when no dockerd ever ran.
pub(crate) fn probe_docker(layout: &Layout) -> Result<Option<File>, AccessError> {
    let path = layout.docker_lock();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // Without the right to open it we have none to write next to it either.
        Err(source) => return Err(DiskError::new("open", &path, source).into()),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Err(AccessError::HeldByDocker),
        Err(source) => Err(DiskError::new("lock", &path, source).into()),
    }
}

/// Waits for the exclusive lock.
pub(crate) fn commit(layout: &Layout) -> Result<Commit, DiskError> {
    lock(layout, FlockOperation::LockExclusive)
}

/// Waits until no commit is under way, and keeps new ones from starting; for taking a hold on what is there.
pub(crate) fn still(layout: &Layout) -> Result<Commit, DiskError> {
    lock(layout, FlockOperation::LockShared)
}

// The file is opened for each lock: a flock belongs to an open file, so threads of one process exclude each other too.
fn lock(layout: &Layout, operation: FlockOperation) -> Result<Commit, DiskError> {
    let path = layout.lock();
    let file = open_lock_file(&path)?;
    flock(&file, operation).map_err(|source| DiskError::new("lock", &path, source))?;
    Ok(Commit { lock: file })
}

pub(crate) fn open_lock_file(path: &Path) -> Result<File, DiskError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| DiskError::new("open", path, source))
}

/// Gives a flock back at once. Closing the file would do so too, but only when no child of another thread, between its
/// fork and its exec, has the file open as well.
pub(crate) fn unlock(file: &File) {
    let _ = rustix::fs::flock(file, FlockOperation::Unlock);
}

/// `flock` that a signal does not end.
pub(crate) fn flock(file: &File, operation: FlockOperation) -> Result<(), Errno> {
    loop {
        match rustix::fs::flock(file, operation) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
