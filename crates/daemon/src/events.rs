//! What happened to images, containers and volumes, as a stream that clients follow.
//!
//! Only what went through this daemon is told: a `shale` beside it has no way to say what it does.
//!
//! Source: moby daemon/events and api/types/events at v20.10.24.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use shale_engine::containers::Record;
use shale_engine::images::filter::matches;
use shale_engine::networks::Network;
use shale_engine_api::ApiVersion;
use tokio::sync::{broadcast, mpsc};

use crate::answer::{Answer, Body, stream};
use crate::daemon::{Daemon, Stopping};
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
            Action::Pull => "pull",
            Action::Push => "push",
            Action::Save => "save",
            Action::Tag => "tag",
            Action::Untag => "untag",
        }
    }
}

/// What something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Container => "container",
            Kind::Image => "image",
            Kind::Network => "network",
            Kind::Volume => "volume",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
struct Event {
    kind: Kind,
    action: String,
    /// ID of the image or container, or the name where an image was pulled or pushed, and of a volume.
    id: String,
    attributes: BTreeMap<String, String>,
    at: Timestamp,
}

impl Event {
    fn document(&self, version: ApiVersion) -> Value {
        let mut document = json!({});
        // What came before API 1.22 was sent on until 1.51.
        if version < ApiVersion::one(52) && matches!(self.kind, Kind::Container | Kind::Image) {
            document["status"] = json!(self.action);
            if !self.id.is_empty() {
                document["id"] = json!(self.id);
            }
            if let Some(image) = self.attributes.get("image").filter(|_| self.kind == Kind::Container) {
                document["from"] = json!(image);
            }
        }
        document["Type"] = json!(self.kind.name());
        document["Action"] = json!(self.action);
        document["Actor"] = json!({ "ID": self.id, "Attributes": self.attributes });
        document["scope"] = json!("local");
        document["time"] = json!(self.at.as_second());
        document["timeNano"] = json!(self.at.as_nanosecond() as i64);
        document
    }

    fn passes(&self, filters: &Filters) -> bool {
        let attribute = |key: &str| self.attributes.get(key).map(String::as_str).unwrap_or_default();
        let is_subject = |kind: Kind, values: &[String]| {
            let is_named = |value: &String| {
                value == &self.id || value == attribute("name") || self.id.starts_with(value.as_str())
            };
            self.kind == kind && values.iter().any(is_named)
        };
        filters.iter().all(|(name, values)| match name.as_str() {
            _ if values.is_empty() => true,
            "type" => values.iter().any(|value| value == self.kind.name()),
            // `exec_start: ls` passes `exec_start`.
            "event" => values.iter().any(|value| {
                let action = self.action.as_str();
                value == action
                    || action.strip_prefix(value.as_str()).is_some_and(|rest| rest.starts_with(':'))
            }),
            "scope" => values.iter().any(|value| value == "local"),
            "container" => is_subject(Kind::Container, values),
            "volume" => is_subject(Kind::Volume, values),
            "network" => is_subject(Kind::Network, values),
            "image" => {
                let name = match self.kind {
                    Kind::Container => attribute("image"),
                    _ => attribute("name"),
                };
                matches!(self.kind, Kind::Container | Kind::Image)
                    && values.iter().any(|value| {
                        value == &self.id || value == name || matches(value, name) || bare(name) == value
                    })
            }
            "label" => values.iter().all(|value| match value.split_once('=') {
                Some((key, value)) => self.attributes.get(key).is_some_and(|found| found == value),
                None => self.attributes.contains_key(value),
            }),
            // Of plugins, nodes and the like there are no events.
            _ => false,
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
    pub(crate) fn answer(&self, call: &Call, stopping: Stopping) -> Result<Answer, Failure> {
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
                    () = stopping.wait() => return,
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
        self.events.tell(Event {
            kind: Kind::Image,
            action: action.name().to_owned(),
            id: id.to_owned(),
            attributes,
            at: Timestamp::now(),
        });
    }

    /// Tells that something befell a container; its labels, image and name are told with it.
    pub(crate) fn container_event(&self, record: &Record, action: &str, more: &[(&str, &str)]) {
        let mut attributes: BTreeMap<String, String> = record.labels().into_iter().collect();
        attributes.insert("image".to_owned(), record.image_name().to_owned());
        attributes.insert("name".to_owned(), record.name().to_owned());
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self.events.tell(Event {
            kind: Kind::Container,
            action: action.to_owned(),
            id: record.id.clone(),
            attributes,
            at: Timestamp::now(),
        });
    }

    /// Tells that something befell a volume.
    pub(crate) fn volume_event(&self, name: &str, action: &str, more: &[(&str, &str)]) {
        let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let driver = ("driver".to_owned(), "local".to_owned());
        self.events.tell(Event {
            kind: Kind::Volume,
            action: action.to_owned(),
            id: name.to_owned(),
            attributes: std::iter::once(driver).chain(more).collect(),
            at: Timestamp::now(),
        });
    }

    /// Tells that something befell a network, or a container in it.
    pub(crate) fn network_event(&self, network: &Network, action: &str, container: Option<&str>) {
        let mut attributes = BTreeMap::from([
            ("name".to_owned(), network.name.clone()),
            ("type".to_owned(), network.settings.driver.clone()),
        ]);
        attributes.extend(container.map(|id| ("container".to_owned(), id.to_owned())));
        let (kind, action, id, at) = (Kind::Network, action.to_owned(), network.id.clone(), Timestamp::now());
        self.events.tell(Event { kind, action, id, attributes, at });
    }

    /// Tells that things were pruned.
    pub(crate) fn prune_event(&self, kind: Kind, reclaimed_bytes: u64) {
        let attributes = BTreeMap::from([("reclaimed".to_owned(), reclaimed_bytes.to_string())]);
        let (action, id, at) = ("prune".to_owned(), String::new(), Timestamp::now());
        self.events.tell(Event { kind, action, id, attributes, at });
    }
}

/// Reads `seconds[.nanoseconds]`, or a time, or a duration back from now.
pub(crate) fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let filter = shale_engine::images::filter::Filter::parse(&format!("until={text}"), now);
    match filter {
        Ok(shale_engine::images::filter::Filter::Until(moment)) => Ok(moment),
        _ => Err(Failure::invalid(format!("parsing time {text:?}: invalid syntax"))),
    }
}
