//! `DELETE /containers/{id}` and `POST /containers/prune`.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::json;
use shale_engine::containers::Record;
use shale_engine::containers::list::ListContainers;
use shale_engine::containers::remove::RemoveContainer;
use shale_engine::images::filter::Filter;

use super::lives::Turn;
use crate::answer::{Answer, document, empty};
use crate::daemon::Daemon;
use crate::events::Kind;
use crate::failure::Failure;
use crate::request::Call;

/// How often a removal by force is tried, if the container is started meanwhile.
const REMOVAL_TRIES: u32 = 5;

/// Removes a container.
pub(crate) async fn remove(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    if call.query.is_on("link") {
        daemon.blocking(move |engine| Ok::<(), Failure>(engine.remove_link(&name)?)).await?;
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    let how = RemoveContainer { force: call.query.is_on("force"), volumes: call.query.is_on("v") };
    let record = daemon.container(&name).await?;
    if how.force {
        // Its restart policy must not start it between the end and the removal.
        daemon.lives.set_stopped(&record.id, true);
    }
    if !how.force && daemon.lives.is_restarting(&record.id) {
        let text = format!(
            "You cannot remove a restarting container {}. Stop the container before attempting removal or force remove",
            record.id
        );
        return Err(Failure::new(StatusCode::CONFLICT, text));
    }
    if how.force && record.is_running() {
        daemon.container_event(&record, "kill", &[("signal", "9")]);
    }
    daemon.remove_container(&record, how).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

impl Daemon {
    async fn remove_container(&self, record: &Record, how: RemoveContainer) -> Result<(), Failure> {
        let mut turns = self.lives.listen(&record.id);
        self.watch_if_running(record).await;
        let id = record.id.clone();
        let mut tries_left = if how.force { REMOVAL_TRIES } else { 0 };
        loop {
            let id = id.clone();
            match self.blocking(move |engine| engine.remove_container(&id, how)).await {
                Ok(()) => break,
                // It was just being started again.
                Err(failure) if failure.status == StatusCode::CONFLICT && tries_left > 0 => tries_left -= 1,
                Err(failure) => return Err(failure),
            }
        }
        if record.is_running() {
            // Its end is told before its removal.
            let ended = async {
                while !matches!(turns.recv().await, Ok(Turn::Ended(_) | Turn::Removed(_)) | Err(_)) {}
            };
            let _ = tokio::time::timeout(std::time::Duration::from_secs(2), ended).await;
            if record.is_auto_remove() {
                return Ok(());
            }
        }
        let code = if record.is_running() { 137 } else { record.exit_code() };
        self.container_event(record, "destroy", &[]);
        self.lives.tell(&record.id, Turn::Removed(code));
        Ok(())
    }
}

/// Removes all containers that do not run.
pub(crate) async fn prune(daemon: &Daemon, call: &Call) -> Result<Answer, Failure> {
    let now = Timestamp::now();
    let mut filters = Vec::new();
    for (name, values) in call.query.filters()? {
        if !matches!(name.as_str(), "until" | "label" | "label!") {
            return Err(Failure::invalid(format!("invalid filter '{name}'")));
        }
        for value in values {
            filters.push(Filter::parse(&format!("{name}={value}"), now)?);
        }
    }
    let all = ListContainers { all: true, ..ListContainers::default() };
    let records = daemon.blocking(move |engine| engine.list_containers(&all)).await?;
    let (mut removed, mut reclaimed_bytes) = (Vec::new(), 0);
    for record in records {
        let labels = record.labels().into_iter().collect();
        let is_chosen = filters.iter().all(|filter| match filter {
            Filter::Until(moment) => record.created() < *moment,
            Filter::Label(label) => label.is_in(Some(&labels)),
            Filter::NotLabel(label) => !label.is_in(Some(&labels)),
            _ => false,
        });
        if record.is_running() || !is_chosen {
            continue;
        }
        let measured = record.clone();
        let size_bytes = daemon
            .blocking(move |engine| {
                engine.container_sizes(&measured).map_err(|error| Failure::internal(&error))
            })
            .await?
            .0;
        match daemon.remove_container(&record, RemoveContainer::default()).await {
            Ok(()) => {
                reclaimed_bytes += size_bytes;
                removed.push(record.id);
            }
            Err(failure) => {
                tracing::warn!(container = record.id, error = failure.message, "could not be pruned")
            }
        }
    }
    daemon.prune_event(Kind::Container, reclaimed_bytes);
    let removed = if removed.is_empty() { json!(null) } else { json!(removed) };
    Ok(document(&json!({ "ContainersDeleted": removed, "SpaceReclaimed": reclaimed_bytes })))
}
