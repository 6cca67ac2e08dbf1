//! `GET /images/json`.

use jiff::Timestamp;
use serde_json::Value;
use shale_engine::images::filter::Filter;
use shale_engine::images::list::List;
use shale_engine_api::ApiVersion;

use crate::answer::{Answer, document};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::request::{Call, Filters};

/// Filters of this list. `until` came with API 1.44.
const KNOWN: [&str; 7] = ["dangling", "label", "label!", "before", "since", "reference", "until"];

pub(crate) async fn answer(daemon: &Daemon, call: &Call) -> Result<Answer, Failure> {
    let mut filters = parse_filters(&call.query.filters()?, &KNOWN)?;
    // Before API 1.41 a pattern came in a parameter of its own.
    if let Some(pattern) = call.query.text("filter").filter(|_| call.version < ApiVersion::one(41)) {
        filters.push(Filter::Reference(pattern.to_owned()));
    }
    let list = List { all: call.query.is_on("all"), filters };
    let mut images = daemon.blocking(move |engine| engine.list(&list)).await?;
    let with_shared_size = call.version >= ApiVersion::one(42) && call.query.is_on("shared-size");
    if !with_shared_size {
        images.iter_mut().for_each(|image| image.shared_size_bytes = -1);
    }
    let images = images.iter().map(|image| image.document(call.version)).collect();
    Ok(document(&Value::Array(images)))
}

/// Turns the parameter into the engine's conditions.
pub(crate) fn parse_filters(filters: &Filters, known: &[&str]) -> Result<Vec<Filter>, Failure> {
    let now = Timestamp::now();
    let mut parsed = Vec::new();
    for (name, values) in filters {
        if !known.contains(&name.as_str()) {
            return Err(Failure::invalid(format!("invalid filter '{name}'")));
        }
        for value in values {
            parsed.push(Filter::parse(&format!("{name}={value}"), now)?);
        }
    }
    Ok(parsed)
}
