//! What happened to images, as a stream that clients follow.
//!
//! Only what went through this daemon is told: a `shale` beside it has no way to say what it does.
//!
//! Source: moby daemon/events and api/types/events at v20.10.24.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use shale_engine::images::filter::matches;
use shale_engine_api::ApiVersion;
use tokio::sync::{broadcast, mpsc};

use crate::answer::{Answer, Body, stream};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::request::{Call, Filters};

/// Events that are kept for `since`, as in dockerd.
const KEPT_MAX: usize = 256;
/// Events that a slow client may be behind before it loses some.
const BEHIND_MAX: usize = 1024;

/// Something that can happen to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Delete,
    Import,
    Load,
    Prune,
    Pull,
    Push,
    Save,
    Tag,
    Untag,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Action::Delete => "delete",
            Action::Import => "import",
            Action::Load => "load",
            Action::Prune => "prune",
            Action::Pull => "pull",
            Action::Push => "push",
            Action::Save => "save",
            Action::Tag => "tag",
            Action::Untag => "untag",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
struct Event {
    action: Action,
    /// ID of the image, or its name where it was pulled or pushed.
    id: String,
    attributes: BTreeMap<String, String>,
    at: Timestamp,
}

impl Event {
    fn document(&self, version: ApiVersion) -> Value {
        let mut document = json!({});
        // What came before API 1.22 was sent on until 1.51.
        if version < ApiVersion::one(52) && !(self.action == Action::Prune) {
            document["status"] = json!(self.action.name());
            document["id"] = json!(self.id);
        }
        document["Type"] = json!("image");
        document["Action"] = json!(self.action.name());
        document["Actor"] = json!({ "ID": self.id, "Attributes": self.attributes });
        document["scope"] = json!("local");
        document["time"] = json!(self.at.as_second());
        document["timeNano"] = json!(self.at.as_nanosecond() as i64);
        document
    }

    fn passes(&self, filters: &Filters) -> bool {
        filters.iter().all(|(name, values)| match name.as_str() {
            "type" => values.iter().any(|value| value == "image"),
            "event" => values.iter().any(|value| value == self.action.name()),
            "scope" => values.iter().any(|value| value == "local"),
            "image" => {
                let name = self.attributes.get("name").map(String::as_str).unwrap_or_default();
                values.iter().any(|value| {
                    value == &self.id || value == name || matches(value, name) || bare(&self.id) == value
                })
            }
            "label" => values.iter().all(|value| match value.split_once('=') {
                Some((key, value)) => self.attributes.get(key).is_some_and(|found| found == value),
                None => self.attributes.contains_key(value),
            }),
            // Of a container, a network and so on there are no events.
            _ => values.is_empty(),
        })
    }
}

/// Returns the repository of a name.
fn bare(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// All that happened lately, and who listens.
#[derive(Clone)]
pub(crate) struct Events {
    kept: Arc<Mutex<VecDeque<Event>>>,
    sender: broadcast::Sender<Event>,
}

impl Events {
    pub(crate) fn new() -> Events {
        Events { kept: Arc::default(), sender: broadcast::channel(BEHIND_MAX).0 }
    }

    fn tell(&self, event: Event) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        // Sent under the lock: a listener that joins sees each event once.
        let _ = self.sender.send(event);
    }

    /// Returns the number of listeners.
    pub(crate) fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }

    /// Answers `GET /events`; the head goes out at once.
    pub(crate) fn answer(&self, call: &Call) -> Result<Answer, Failure> {
        let filters = call.query.filters()?;
        let now = Timestamp::now();
        let since = call.query.text("since").map(|text| moment(text, now)).transpose()?;
        let until = call.query.text("until").map(|text| moment(text, now)).transpose()?;
        if let (Some(since), Some(until)) = (since, until)
            && until < since
        {
            let bounds =
                (call.query.text("since").unwrap_or_default(), call.query.text("until").unwrap_or_default());
            return Err(Failure::invalid(format!(
                "`since` time ({}) cannot be after `until` time ({})",
                bounds.0, bounds.1
            )));
        }
        let version = call.version;
        let (pieces, receiver) = mpsc::channel(16);
        let (past, mut listener) = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let past: Vec<Event> = match since {
                Some(since) => kept.iter().filter(|event| event.at >= since).cloned().collect(),
                None => Vec::new(),
            };
            (past, self.sender.subscribe())
        };
        tokio::spawn(async move {
            let line = |event: &Event| Ok(Bytes::from(format!("{}\n", event.document(version))));
            let is_wanted =
                |event: &Event| event.passes(&filters) && until.is_none_or(|until| event.at <= until);
            for event in past.iter().filter(|event| is_wanted(event)) {
                if pieces.send(line(event)).await.is_err() {
                    return;
                }
            }
            let end = async {
                match until {
                    None => std::future::pending().await,
                    Some(until) => {
                        let rest = until.duration_since(Timestamp::now());
                        tokio::time::sleep(rest.try_into().unwrap_or_default()).await;
                    }
                }
            };
            tokio::pin!(end);
            loop {
                let event = tokio::select! {
                    () = &mut end => return,
                    () = pieces.closed() => return,
                    event = listener.recv() => event,
                };
                match event {
                    Ok(event) if is_wanted(&event) => {
                        if pieces.send(line(&event)).await.is_err() {
                            return;
                        }
                    }
                    // Some were lost to a client that reads too slowly.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        Ok(stream(Body::Pieces(receiver), "application/json"))
    }
}

impl Daemon {
    /// Tells that `action` befell the image `id`; the labels of the image, if it is here, are told with it.
    pub(crate) async fn image_event(&self, action: Action, id: &str, name: &str) {
        let subject = id.to_owned();
        let labels = self
            .blocking(move |engine| {
                let image = engine.inspect(&subject);
                Ok::<_, Failure>(image.ok().and_then(|image| image.config).and_then(|config| config.labels))
            })
            .await;
        let mut attributes = labels.ok().flatten().unwrap_or_default();
        attributes.insert("name".to_owned(), name.to_owned());
        self.events.tell(Event { action, id: id.to_owned(), attributes, at: Timestamp::now() });
    }

    /// Tells that images were pruned.
    pub(crate) fn prune_event(&self, reclaimed_bytes: u64) {
        let attributes = BTreeMap::from([("reclaimed".to_owned(), reclaimed_bytes.to_string())]);
        self.events.tell(Event {
            action: Action::Prune,
            id: String::new(),
            attributes,
            at: Timestamp::now(),
        });
    }
}

/// Reads `seconds[.nanoseconds]`, or a time, or a duration back from now.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let filter = shale_engine::images::filter::Filter::parse(&format!("until={text}"), now);
    match filter {
        Ok(shale_engine::images::filter::Filter::Until(moment)) => Ok(moment),
        _ => Err(Failure::invalid(format!("parsing time {text:?}: invalid syntax"))),
    }
}
