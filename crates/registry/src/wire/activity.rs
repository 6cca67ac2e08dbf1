//! Whether a connection is at work, as its socket and its requests tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a connection is doing.
#[derive(Default)]
pub(crate) struct Activity {
    // Requests whose answers are not sent yet.
    running: AtomicU64,
    // Requests that ever came.
    requests: AtomicU64,
    // Counts beginnings and ends, so that two looks tell whether anything happened between them.
    changes: AtomicU64,
    // Bytes were handed to the socket and hyper may hold more.
    unflushed: AtomicBool,
}

impl Activity {
    /// Notes a request; the connection is busy until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Activity>) -> Busy {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    pub(crate) fn set_unflushed(&self, unflushed: bool) {
        self.unflushed.store(unflushed, Ordering::Relaxed);
    }

    /// Notes that bytes arrived.
    pub(crate) fn touch(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many requests came so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn mark(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.running.load(Ordering::Relaxed) == 0 && !self.unflushed.load(Ordering::Relaxed)
    }
}

/// A request that is being answered.
pub(crate) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.changes.fetch_add(1, Ordering::Relaxed);
    }
}
