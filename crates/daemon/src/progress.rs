//! Docker's stream of progress messages: one JSON object a line, one line a chunk.
//!
//! Source: moby pkg/jsonmessage and pkg/streamformatter at v20.10.24, and the recorded conversations.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use shale_engine::progress::{Progress, Status};
use shale_engine_api::units::human_size;
use tokio::sync::{mpsc, oneshot};

use crate::answer::{Answer, Body, stream};
use crate::failure::Failure;

/// How often a layer says how far it is.
const AMOUNT_INTERVAL: Duration = Duration::from_millis(100);
/// Messages that a client has not taken; beyond it amounts are dropped, for a client that never reads.
const WAITING_MAX: usize = 128;

/// The reading end, which is the body of an answer.
pub(crate) struct Messages {
    first: Option<Bytes>,
    receiver: mpsc::UnboundedReceiver<Bytes>,
    waiting: Arc<AtomicUsize>,
}

impl Messages {
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let next = self.receiver.poll_recv(context);
        if matches!(next, Poll::Ready(Some(_))) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        next
    }
}

/// The writing end. Called from several threads at once.
pub(crate) struct Reporter {
    sender: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<AtomicUsize>,
    has_spoken: AtomicBool,
    /// When each layer last said how far it is.
    said: Mutex<HashMap<String, Instant>>,
    shows_amounts: bool,
}

impl Reporter {
    /// Sends one message.
    pub(crate) fn send(&self, message: &Value) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.has_spoken.store(true, Ordering::Relaxed);
        // A client that went away ends the work elsewhere.
        let _ = self.sender.send(Bytes::from(format!("{message}\r\n")));
    }

    pub(crate) fn fail(&self, message: &str) {
        self.send(&json!({ "errorDetail": { "message": message }, "error": message }));
    }

    /// Whether an amount is worth a message now.
    fn is_due(&self, id: &str, is_last: bool) -> bool {
        if !self.shows_amounts || self.waiting.load(Ordering::Relaxed) > WAITING_MAX {
            return false;
        }
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = is_last || said.get(id).is_none_or(|last| now.duration_since(*last) >= AMOUNT_INTERVAL);
        if is_due {
            said.insert(id.to_owned(), now);
        }
        is_due
    }
}

impl Progress for Reporter {
    fn layer(&self, id: &str, status: &Status) {
        let mut message = Map::new();
        match (status, status.amounts()) {
            // A line about the whole, which only bears a name.
            (Status::Note(text), _) => {
                message.insert("status".to_owned(), json!(text));
            }
            (_, Some((current, total))) => {
                if !self.is_due(id, current == total) {
                    return;
                }
                message.insert("status".to_owned(), json!(status.to_string()));
                message.insert("progressDetail".to_owned(), amounts(current, total));
                message.insert("progress".to_owned(), json!(bar(current, total)));
            }
            (Status::Retrying { seconds, .. }, _) => {
                let unit = if *seconds == 1 { "second" } else { "seconds" };
                message.insert("status".to_owned(), json!(format!("Retrying in {seconds} {unit}")));
                message.insert("progressDetail".to_owned(), json!({}));
            }
            _ => {
                message.insert("status".to_owned(), json!(status.to_string()));
                message.insert("progressDetail".to_owned(), json!({}));
            }
        }
        message.insert("id".to_owned(), json!(id));
        self.send(&Value::Object(message));
    }

    fn message(&self, text: &str) {
        self.send(&json!({ "status": text }));
    }
}

/// Runs `work`, whose messages are the answer; a failure before the first message is an answer of its own.
///
/// When the client goes away the work is dropped.
pub(crate) async fn answer<W, F>(shows_amounts: bool, work: W) -> Result<Answer, Failure>
where
    W: FnOnce(Arc<Reporter>) -> F,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let reporter = Arc::new(Reporter {
        sender: sender.clone(),
        waiting: Arc::clone(&waiting),
        has_spoken: AtomicBool::new(false),
        said: Mutex::default(),
        shows_amounts,
    });
    let work = work(Arc::clone(&reporter));
    let (refuse, mut refused) = oneshot::channel();
    tokio::spawn(async move {
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = sender.closed() => return tracing::debug!("the client went away; its request is cancelled"),
        };
        match outcome {
            Ok(()) => {}
            Err(failure) if reporter.has_spoken.load(Ordering::Relaxed) => reporter.fail(&failure.message),
            Err(failure) => drop(refuse.send(failure)),
        }
    });
    let first = tokio::select! {
        biased;
        first = receiver.recv() => first,
        Ok(failure) = &mut refused => return Err(failure),
    };
    // The work may have ended between the two looks.
    if first.is_none()
        && let Ok(failure) = refused.await
    {
        return Err(failure);
    }
    waiting.fetch_sub(usize::from(first.is_some()), Ordering::Relaxed);
    Ok(stream(Body::Messages(Messages { first, receiver, waiting }), "application/json"))
}

/// Returns `progressDetail`; a zero is left out.
fn amounts(current: u64, total: u64) -> Value {
    let mut detail = Map::new();
    for (key, amount) in [("current", current), ("total", total)] {
        if amount > 0 {
            detail.insert(key.to_owned(), json!(amount));
        }
    }
    Value::Object(detail)
}

/// Returns the bar that dockerd draws for its clients, which it takes for 200 columns wide.
fn bar(current: u64, total: u64) -> String {
    if current == 0 && total == 0 {
        return String::new();
    }
    let size = human_size(current);
    if total == 0 {
        return format!("{size:>8}");
    }
    let filled = (u128::from(current) * 100 / u128::from(total) / 2).min(50) as usize;
    let bar = format!("[{}>{}]", "=".repeat(filled), " ".repeat(50 - filled));
    // The announced size was wrong, so it is not shown.
    let total = if current > total { String::new() } else { format!("/{}", human_size(total)) };
    format!("{bar} {size:>8}{total}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected bars are those of dockerd 20.10.24, from the recorded pulls and pushes.
    #[test]
    fn bars_are_dockers() {
        assert_eq!(bar(151, 151), "[==================================================>]     151B/151B");
        assert_eq!(bar(512, 12), "[==================================================>]     512B");
        assert_eq!(bar(2560, 3), "[==================================================>]   2.56kB");
        assert_eq!(bar(0, 0), "");
    }
}
