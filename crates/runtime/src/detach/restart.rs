//! Whether a container that has ended is started again, and when.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What happens when a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Restart {
    /// Nothing.
    #[default]
    No,
    /// It is started again when it failed, at most so often; 0 is no limit.
    OnFailure {
        /// How often.
        retries_max: u32,
    },
    /// It is started again, unless somebody stopped it.
    Always,
}

/// The first pause; each further one is twice as long.
const DELAY: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(60);
/// A container that ran this long begins with the first pause again.
const STEADY: Duration = Duration::from_secs(10);

/// Counts starts and works out pauses.
///
/// Source: moby `restartmanager/restartmanager.go` at v20.10.24.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    pub(super) count: u32,
    delay: Option<Duration>,
}

impl Restarts {
    /// Returns how long to wait before the next start; `None` when there is none.
    pub(super) fn next(&mut self, policy: Restart, code: i32, ran: Duration) -> Option<Duration> {
        let wanted = match policy {
            Restart::No => false,
            Restart::Always => true,
            Restart::OnFailure { retries_max } => code != 0 && (retries_max == 0 || self.count < retries_max),
        };
        if !wanted {
            return None;
        }
        self.count += 1;
        let delay = match self.delay {
            Some(delay) if ran < STEADY => (delay * 2).min(DELAY_MAX),
            _ => DELAY,
        };
        self.delay = Some(delay);
        self.delay
    }
}

const MARK: &str = "stopped";

/// Notes that somebody wants the container to end and to stay so.
pub(super) fn mark_stopped(directory: &Path) -> io::Result<()> {
    fs::write(directory.join(MARK), b"")
}

pub(super) fn is_stopped(directory: &Path) -> bool {
    directory.join(MARK).exists()
}

/// Forgets the note: the container is started anew.
pub(super) fn unmark(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(MARK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_the_container_is_steady() {
        // moby restartmanager: 100 ms, doubled each time, one minute at most, and 100 ms again after ten seconds of life.
        let mut restarts = Restarts::default();
        let mut next = |ran| restarts.next(Restart::Always, 0, Duration::from_secs(ran)).unwrap().as_millis();
        assert_eq!([next(0), next(0), next(0)], [100, 200, 400]);
        assert_eq!([next(10), next(0)], [100, 200]);
        (0..20).for_each(|_| {
            next(0);
        });
        assert_eq!(next(0), 60_000);
    }

    #[test]
    fn failures_are_counted() {
        let mut restarts = Restarts::default();
        let policy = Restart::OnFailure { retries_max: 2 };
        let mut is_started = |code| restarts.next(policy, code, Duration::ZERO).is_some();
        assert_eq!([is_started(1), is_started(1), is_started(1)], [true, true, false]);
        assert!(Restarts::default().next(policy, 0, Duration::ZERO).is_none());
        assert!(Restarts::default().next(Restart::No, 1, Duration::ZERO).is_none());
    }
}
