//! `GET /images/search`.

use http::StatusCode;
use serde_json::{Value, json};
use shale_oci::Repository;
use shale_registry_client::ListError;

use crate::answer::{Answer, document};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::registry_auth;
use crate::request::{Call, Filters};

const LIMIT_DEFAULT: usize = 25;
const LIMIT_MAX: usize = 100;

/// Lists the repositories of a registry whose names hold the term; a registry knows neither descriptions nor stars.
pub(crate) async fn answer(daemon: &Daemon, call: &Call) -> Result<Answer, Failure> {
    let term = call.query.text("term").unwrap_or_default();
    let limit = match call.query.text("limit").map(str::parse::<usize>) {
        None | Some(Ok(0)) => LIMIT_DEFAULT,
        Some(Ok(limit)) if limit <= LIMIT_MAX => limit,
        Some(_) => {
            let limit = call.query.text("limit").unwrap_or_default();
            return Err(Failure::invalid(format!("Limit {limit} is outside the range of [1, {LIMIT_MAX}]")));
        }
    };
    let may_be_shown = check_filters(&call.query.filters()?)?;
    let (registry, wanted) = term.split_once('/').unwrap_or(("", term));
    let is_host = registry == "localhost" || registry.contains(['.', ':']);
    if !is_host || registry == "docker.io" || registry == "index.docker.io" {
        let message = "Docker Hub is searched over an API of its own, which is not spoken here; put a registry before the term";
        return Err(Failure::new(StatusCode::NOT_IMPLEMENTED, message));
    }
    let repository = Repository::new(registry, "search")?;
    let client = registry_auth::client(call, &daemon.registries, &repository)?;
    let found = client.search(registry, wanted).await.map_err(|error| match error {
        ListError::NotFound { .. } => {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "Unexpected status code 404")
        }
        error => Failure::internal(&error),
    })?;
    let mut names: Vec<&str> = found.iter().map(Repository::familiar).filter(|_| may_be_shown).collect();
    names.sort_unstable();
    names.truncate(limit);
    let rows = names.into_iter().map(row).collect();
    Ok(document(&Value::Array(rows)))
}

fn row(name: &str) -> Value {
    json!({ "star_count": 0, "is_official": false, "name": name, "is_automated": false, "description": "" })
}

/// Returns whether something without stars and without a seal passes the filters.
fn check_filters(filters: &Filters) -> Result<bool, Failure> {
    let mut passes = true;
    for (name, values) in filters {
        for value in values {
            let invalid = || Failure::invalid(format!("invalid filter '{name}=[{value}]'"));
            passes &= match name.as_str() {
                "is-official" | "is-automated" => !value.parse::<bool>().map_err(|_| invalid())?,
                "stars" => value.parse::<u64>().map_err(|_| invalid())? == 0,
                _ => return Err(Failure::invalid(format!("invalid filter '{name}'"))),
            };
        }
    }
    Ok(passes)
}
