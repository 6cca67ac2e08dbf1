//! `GET /containers/json`.

use jiff::Timestamp;
use serde_json::{Value, json};
use shale_engine::Engine;
use shale_engine::containers::list::ListContainers;
use shale_engine::containers::{Record, Status};
use shale_engine_api::ApiVersion;
use shale_engine_api::units::human_duration;

use crate::answer::{Answer, document};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::request::Call;

/// Lists containers, newest first.
pub(crate) async fn answer(daemon: &Daemon, call: &Call) -> Result<Answer, Failure> {
    let mut filters = Vec::new();
    for (name, values) in call.query.filters()? {
        filters.extend(values.iter().map(|value| format!("{name}={value}")));
    }
    let limit = call.query.number::<i64>("limit")?.filter(|limit| *limit > 0);
    let options = ListContainers {
        all: call.query.is_on("all"),
        last: limit.and_then(|limit| usize::try_from(limit).ok()),
        filters,
    };
    let (has_size, version) = (call.query.is_on("size"), call.version);
    let rows = daemon
        .blocking(move |engine| {
            let records = engine.list_containers(&options)?;
            let linked = engine.linked_names().map_err(|error| Failure::internal(&error))?;
            let mut rows = Vec::with_capacity(records.len());
            for record in &records {
                let mut row = row(engine, record, has_size, version)?;
                if let Some(others) = linked.get(&record.id) {
                    let own = format!("/{}", record.name());
                    row["Names"] = std::iter::once(&own).chain(others).cloned().collect();
                }
                rows.push(row);
            }
            Ok::<Vec<Value>, Failure>(rows)
        })
        .await?;
    Ok(document(&Value::Array(rows)))
}

pub(crate) fn row(
    engine: &Engine,
    record: &Record,
    has_size: bool,
    version: ApiVersion,
) -> Result<Value, Failure> {
    let full = engine.container_document(record, false).map_err(|error| Failure::internal(&error))?;
    let image = record.image().map(|image| image.to_string()).unwrap_or_default();
    // A name that leads to another image by now is not shown; the ID is.
    let leads_there = engine.find_image(record.image_name()).is_ok_and(|found| found.id.to_string() == image);
    let command: Vec<String> = record.command().iter().map(|word| shell_word(word)).collect();
    let mut network = json!({ "Networks": full["NetworkSettings"]["Networks"] });
    shape_network(&mut network, version);
    let mut row = json!({
        "Id": record.id,
        "Names": [format!("/{}", record.name())],
        "Image": if leads_there { record.image_name() } else { image.as_str() },
        "ImageID": image,
        "Command": command.join(" "),
        "Created": record.created().as_second(),
        "Ports": [],
    });
    if has_size {
        let (written, seen) = engine.container_sizes(record).map_err(|error| Failure::internal(&error))?;
        if written > 0 {
            row["SizeRw"] = json!(written);
        }
        row["SizeRootFs"] = json!(seen);
    }
    row["Labels"] = record.labels().into_iter().map(|(key, value)| (key, Value::from(value))).collect();
    row["State"] = json!(record.status().word());
    row["Status"] = json!(status(record, Timestamp::now()));
    row["HostConfig"] = json!({ "NetworkMode": full["HostConfig"]["NetworkMode"] });
    row["NetworkSettings"] = network;
    row["Mounts"] = full["Mounts"].clone();
    Ok(row)
}

/// Leaves out, or adds, what other versions of the API have of networks.
pub(crate) fn shape_network(settings: &mut Value, version: ApiVersion) {
    // Docker's name for the network of who asks for none.
    if let Some(networks) = settings["Networks"].as_object_mut()
        && let Some(network) = networks.shift_remove("default")
    {
        networks.insert("bridge".to_owned(), network);
    }
    for network in settings["Networks"].as_object_mut().into_iter().flat_map(|networks| networks.values_mut())
    {
        if version >= ApiVersion::one(44) && network["DNSNames"].is_null() {
            network["DNSNames"] = Value::Null;
        }
        if version >= ApiVersion::one(48) && network["GwPriority"].is_null() {
            network["GwPriority"] = json!(0);
        }
    }
}

/// Docker's words for a state and since when.
///
/// Source: moby `container/state.go` and `container/health.go` `String` at v20.10.24.
fn status(record: &Record, now: Timestamp) -> String {
    let since = |moment: Option<Timestamp>| {
        human_duration(now.duration_since(moment.unwrap_or(record.created())).as_nanos())
    };
    let code = record.exit_code();
    match record.status() {
        Status::Running => {
            let health = record.health().map(|health| match health {
                "starting" => " (health: starting)".to_owned(),
                health => format!(" ({health})"),
            });
            format!("Up {}{}", since(record.started()), health.unwrap_or_default())
        }
        Status::Paused => format!("Up {} (Paused)", since(record.started())),
        Status::Restarting => format!("Restarting ({code}) {} ago", since(record.finished())),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Created => "Created".to_owned(),
        Status::Exited => format!("Exited ({code}) {} ago", since(record.finished())),
    }
}

/// A word of the command as Docker shows it: in single quotes where it has a blank.
fn shell_word(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}
