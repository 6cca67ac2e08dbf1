//! Locks on single digests: a blob is published or collected, never both at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use shale_oci::Digest;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Locks, made when they are needed and dropped when nobody holds them.
#[derive(Default)]
pub(crate) struct DigestLocks {
    locks: Mutex<HashMap<Digest, Arc<AsyncMutex<()>>>>,
}

impl DigestLocks {
    fn entry(&self, digest: Digest) -> Arc<AsyncMutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() > 1024 {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        Arc::clone(locks.entry(digest).or_default())
    }

    /// Waits until nobody else changes the blob.
    pub(crate) async fn lock(&self, digest: Digest) -> OwnedMutexGuard<()> {
        self.entry(digest).lock_owned().await
    }

    /// Locks the blob when nobody else changes it.
    pub(crate) fn try_lock(&self, digest: Digest) -> Option<OwnedMutexGuard<()>> {
        self.entry(digest).try_lock_owned().ok()
    }
}
