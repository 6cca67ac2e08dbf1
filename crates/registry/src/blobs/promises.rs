//! Promises: a client that was told "this blob is here" skips its upload and names it in a manifest later.
//!
//! The collection cuts no link that was promised within the grace period, and a link that it is about to cut is no longer
//! promised. Both look here, under one lock, so there is no moment between.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use shale_oci::Digest;

/// Beyond this many, old promises are dropped at the next one that is made.
const SWEEP_AT: usize = 4096;

#[derive(Default)]
pub(crate) struct Promises {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    made: HashMap<(Box<str>, Digest), Instant>,
    condemned: HashMap<Digest, Vec<Box<str>>>,
    sweep_at: usize,
}

impl Promises {
    /// Promises the blob to a client; returns false when it is being collected, and so must be called missing.
    pub(crate) fn make(&self, repository: &str, digest: Digest, now: Instant, grace: Duration) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.condemned.get(&digest).is_some_and(|names| names.iter().any(|name| &**name == repository)) {
            return false;
        }
        if state.made.len() >= state.sweep_at.max(SWEEP_AT) {
            state.made.retain(|_, made| now.duration_since(*made) < grace);
            state.sweep_at = state.made.len() * 2;
        }
        state.made.insert((repository.into(), digest), now);
        true
    }

    /// Takes back a promise of a blob that turned out not to be here, so that strangers' guesses leave nothing behind.
    pub(crate) fn withdraw(&self, repository: &str, digest: Digest) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).made.remove(&(repository.into(), digest));
    }

    /// Condemns the link unless it was promised within `grace`; returns whether it may be cut.
    pub(crate) fn condemn(&self, repository: &str, digest: Digest, now: Instant, grace: Duration) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Box::from(repository), digest);
        if state.made.get(&key).is_some_and(|made| now.duration_since(*made) < grace) {
            return false;
        }
        state.made.remove(&key);
        state.condemned.entry(digest).or_default().push(key.0);
        true
    }

    /// Ends a collection: what was condemned is either gone from the metadata by now or stays.
    pub(crate) fn absolve_all(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).condemned.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_promised_or_condemned_and_never_both() {
        let (promises, digest, now, grace) =
            (Promises::default(), Digest::sha256(b""), Instant::now(), Duration::from_secs(60));
        assert!(promises.make("a", digest, now, grace));
        assert!(!promises.condemn("a", digest, now, grace));
        assert!(promises.condemn("b", digest, now, grace));
        assert!(!promises.make("b", digest, now, grace));
        promises.absolve_all();
        assert!(promises.make("b", digest, now, grace));
        assert!(promises.condemn("a", digest, now + grace, grace));
    }
}
