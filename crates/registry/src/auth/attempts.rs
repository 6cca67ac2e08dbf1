//! Wrong passwords lately, by address and user, so that nobody can guess for long.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Wrong passwords for one user from one address that are answered in [`WINDOW`].
const WRONG_MAX: u32 = 10;
/// How long they are counted, from the first one on.
const WINDOW: Duration = Duration::from_secs(60);
/// Pairs that are remembered; with more, those that are over go, and then all.
const PAIRS_MAX: usize = 10_000;

type Pair = (IpAddr, String);

/// Counts wrong passwords.
#[derive(Default)]
pub(super) struct Attempts {
    wrong: Mutex<HashMap<Pair, (Instant, u32)>>,
}

impl Attempts {
    fn wrong(&self) -> MutexGuard<'_, HashMap<Pair, (Instant, u32)>> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a password for `user` from `address` is looked at; always on a Unix socket, which has its own rules.
    pub(super) fn may_try(&self, address: Option<IpAddr>, user: &str) -> bool {
        let Some(address) = address else { return true };
        let wrong = self.wrong();
        let tries = wrong.get(&(address, user.to_owned()));
        tries.is_none_or(|(first, count)| *count < WRONG_MAX || first.elapsed() >= WINDOW)
    }

    /// Notes a wrong password.
    pub(super) fn count_wrong(&self, address: Option<IpAddr>, user: &str) {
        let Some(address) = address else { return };
        let mut wrong = self.wrong();
        if wrong.len() >= PAIRS_MAX {
            wrong.retain(|_, (first, _)| first.elapsed() < WINDOW);
            if wrong.len() >= PAIRS_MAX {
                wrong.clear();
            }
        }
        let tries = wrong.entry((address, user.to_owned())).or_insert((Instant::now(), 0));
        if tries.0.elapsed() >= WINDOW {
            *tries = (Instant::now(), 0);
        }
        tries.1 += 1;
    }
}
