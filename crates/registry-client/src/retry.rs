//! When to try again.

use std::time::Duration;

use crate::auth::TokenError;
use crate::error::{NetworkFault, RequestError};
use crate::options::Event;
use crate::transport::Transport;

/// Bytes of progress after which the failures before them are forgotten, and a broken body is asked for again without a
/// pause. Fewer are none: a registry could spread a blob over years by a byte for each connection.
const PROGRESS_BYTES: u64 = 16 << 10;

/// The tries of one request.
pub(crate) struct Tries {
    failures: u32,
    attempts_max: u32,
    /// Bytes of progress since failures were last forgotten.
    progress_bytes: u64,
}

/// What failed, and for whom.
pub(crate) struct Failure<'a> {
    pub(crate) host: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) error: RequestError,
}

impl Tries {
    pub(crate) fn new(transport: &Transport) -> Tries {
        Tries {
            failures: 0,
            attempts_max: transport.options().retries.attempts_max.max(1),
            progress_bytes: 0,
        }
    }

    /// Allows fewer tries, for a place that has others behind it.
    pub(crate) fn at_most(mut self, attempts: u32) -> Tries {
        self.attempts_max = self.attempts_max.min(attempts);
        self
    }

    /// Waits until the next try, or returns the error when there is none to make. `progress_bytes` came since the last
    /// failure.
    pub(crate) async fn again(
        &mut self,
        transport: &Transport,
        progress_bytes: u64,
        failure: Failure<'_>,
        notify: impl Fn(&Event),
    ) -> Result<(), RequestError> {
        let Some(delay) = self.next_delay(transport, progress_bytes, &failure) else {
            return Err(failure.error);
        };
        let event = Event::Retry {
            host: failure.host.to_owned(),
            subject: failure.subject.to_owned(),
            delay,
            reason: describe(&failure.error),
        };
        tracing::debug!(?event, "trying again");
        notify(&event);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Ok(())
    }

    fn next_delay(
        &mut self,
        transport: &Transport,
        progress_bytes: u64,
        failure: &Failure<'_>,
    ) -> Option<Duration> {
        let retries = &transport.options().retries;
        if !failure.error.is_transient() {
            return None;
        }
        if let RequestError::Network { source, .. } = &failure.error
            && source.kind == NetworkFault::Connect
            && !transport.has_reached(failure.host)
        {
            // A host that never answered is a wrong name or port far more often than one that is about to start.
            return None;
        }
        self.progress_bytes += progress_bytes;
        let has_progressed = self.progress_bytes >= PROGRESS_BYTES;
        if has_progressed {
            self.failures = 0;
            self.progress_bytes = 0;
        }
        // A host that keeps silent takes the whole timeout each time, so it gets two tries.
        self.failures += match failure.error {
            RequestError::Timeout { .. } | RequestError::Token(TokenError::Timeout { .. }) => {
                self.attempts_max.div_ceil(2)
            }
            _ => 1,
        };
        if self.failures >= self.attempts_max {
            return None;
        }
        if let Some(asked) = failure.error.retry_after() {
            return (asked <= retries.retry_after_max).then_some(asked);
        }
        if has_progressed && self.failures == 1 {
            return Some(Duration::ZERO);
        }
        let doubled = retries.delay_first.saturating_mul(1 << (self.failures - 1).min(16));
        Some(doubled.min(retries.delay_max))
    }
}

/// Returns the error with its causes, for people.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let next = current.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = current.source();
    }
    crate::error::printable(&text)
}
