//! The endpoints of volumes.

use std::collections::BTreeMap;

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use shale_engine::images::filter::{Filter, matches};
use shale_engine::volumes::{NewVolume, Volume};
use shale_engine_api::ApiVersion;

use crate::answer::{Answer, document, empty, with_status};
use crate::body::RequestBody;
use crate::daemon::Daemon;
use crate::events::Kind;
use crate::failure::Failure;
use crate::request::{Call, Filters};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Wanted {
    name: Option<String>,
    driver: Option<String>,
    driver_opts: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
}

pub(crate) fn described(volume: &Volume) -> Value {
    json!({
        "CreatedAt": volume.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "Driver": "local",
        "Labels": volume.labels,
        "Mountpoint": volume.mountpoint.to_string_lossy(),
        "Name": volume.name,
        "Options": null,
        "Scope": "local",
    })
}

/// Lists volumes.
pub(crate) async fn list(daemon: &Daemon, call: &Call) -> Result<Answer, Failure> {
    let filters = call.query.filters()?;
    for name in filters.keys() {
        if !matches!(name.as_str(), "dangling" | "name" | "driver" | "label") {
            return Err(Failure::invalid(format!("Invalid filter '{name}'")));
        }
    }
    let volumes = daemon
        .blocking(move |engine| -> Result<Vec<Value>, Failure> {
            let mut found = Vec::new();
            for volume in engine.volumes()? {
                if is_wanted(&volume, &filters) {
                    found.push(described(&volume));
                }
            }
            Ok(found)
        })
        .await?;
    Ok(document(&json!({ "Volumes": volumes, "Warnings": null })))
}

fn is_wanted(volume: &Volume, filters: &Filters) -> bool {
    filters.iter().all(|(name, values)| match name.as_str() {
        "dangling" => values.iter().all(|value| {
            let wants_unused = !matches!(value.as_str(), "0" | "false" | "False");
            volume.users.is_empty() == wants_unused
        }),
        "name" => {
            values.iter().any(|value| volume.name.contains(value.as_str()) || matches(value, &volume.name))
        }
        "driver" => values.iter().any(|value| value == "local"),
        "label" => values.iter().all(|value| has_label(volume, value)),
        _ => false,
    })
}

fn has_label(volume: &Volume, text: &str) -> bool {
    match Filter::parse(&format!("label={text}"), Timestamp::UNIX_EPOCH) {
        Ok(Filter::Label(label)) => label.is_in(volume.labels.as_ref()),
        _ => false,
    }
}

/// Makes a volume; one that is there already is returned as it is.
pub(crate) async fn create(daemon: &Daemon, call: &Call, body: RequestBody) -> Result<Answer, Failure> {
    let wanted: Wanted = call.document(body).await?;
    let new = NewVolume {
        name: wanted.name.filter(|name| !name.is_empty()),
        driver: wanted.driver.unwrap_or_default(),
        options: wanted.driver_opts.unwrap_or_default(),
        labels: wanted.labels.unwrap_or_default(),
    };
    let (volume, is_new) = daemon.blocking(move |engine| engine.create_volume(&new)).await?;
    if is_new {
        daemon.volume_event(&volume.name, "create", &[]);
    }
    Ok(with_status(StatusCode::CREATED, &described(&volume)))
}

/// Tells all about a volume.
pub(crate) async fn inspect(daemon: &Daemon, name: String) -> Result<Answer, Failure> {
    let volume = daemon.blocking(move |engine| engine.find_volume(&name)).await?;
    Ok(document(&described(&volume)))
}

/// Removes a volume that no container mounts.
pub(crate) async fn remove(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let removed = name.clone();
    match daemon.blocking(move |engine| engine.remove_volume(&removed)).await {
        Ok(()) => daemon.volume_event(&name, "destroy", &[]),
        // With force nothing was to be there, and nothing is.
        Err(failure) if call.query.is_on("force") && failure.status == StatusCode::NOT_FOUND => {}
        Err(failure) => return Err(failure),
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Removes the volumes that no container mounts; from 1.42 on those with a name only if that is asked for.
pub(crate) async fn prune(daemon: &Daemon, call: &Call) -> Result<Answer, Failure> {
    let filters = call.query.filters()?;
    for name in filters.keys() {
        if !matches!(name.as_str(), "label" | "label!" | "all") {
            return Err(Failure::invalid(format!("Invalid filter '{name}'")));
        }
    }
    let is_set = |value: &String| !matches!(value.as_str(), "0" | "false" | "False");
    let takes_named = call.version < ApiVersion::one(42)
        || filters.get("all").is_some_and(|values| values.iter().any(is_set));
    let (removed, reclaimed_bytes) = daemon
        .blocking(move |engine| -> Result<_, Failure> {
            let (mut removed, mut reclaimed_bytes) = (Vec::new(), 0);
            for volume in engine.volumes()? {
                let holds = |key: &str, wants: bool| {
                    filters.get(key).into_iter().flatten().all(|value| has_label(&volume, value) == wants)
                };
                let is_chosen = volume.users.is_empty() && (takes_named || volume.is_anonymous());
                if is_chosen && holds("label", true) && holds("label!", false) {
                    let size_bytes = volume.size_bytes();
                    // Another program may have begun to use it, or removed it.
                    if engine.remove_volume(&volume.name).is_ok() {
                        reclaimed_bytes += size_bytes;
                        removed.push(volume.name);
                    }
                }
            }
            Ok((removed, reclaimed_bytes))
        })
        .await?;
    for name in &removed {
        daemon.volume_event(name, "destroy", &[]);
    }
    daemon.prune_event(Kind::Volume, reclaimed_bytes);
    Ok(document(&json!({ "VolumesDeleted": removed, "SpaceReclaimed": reclaimed_bytes })))
}
