//! `GET /images/search`.

use http::StatusCode;
use serde_json::{Value, json};
use shale_oci::Repository;
use shale_registry_client::{IndexEntry, ListError};

use crate::answer::{Answer, document};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::registry_auth;
use crate::request::{Call, Filters};

const LIMIT_DEFAULT: usize = 25;
const LIMIT_MAX: usize = 100;

/// Lists the repositories that fit the term: of Docker Hub, or of the registry that stands before it.
///
/// A registry knows neither descriptions nor stars.
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
    let filters = Wanted::parse(&call.query.filters()?)?;
    let (registry, rest) = term.split_once('/').unwrap_or(("", term));
    let is_host = registry == "localhost" || registry.contains(['.', ':']);
    let found = match registry {
        "docker.io" | "index.docker.io" => daemon.registries.search_index(rest, limit).await,
        registry if is_host => in_catalog(daemon, call, registry, rest).await?,
        _ => daemon.registries.search_index(term, limit).await,
    };
    let found = found.map_err(|error| match error {
        ListError::NotFound { .. } => {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "Unexpected status code 404")
        }
        error => Failure::internal(&error),
    })?;
    let rows = found.iter().filter(|entry| filters.keep(entry)).take(limit).map(row).collect();
    Ok(document(&Value::Array(rows)))
}

/// Looks through the list of a registry's repositories.
async fn in_catalog(
    daemon: &Daemon,
    call: &Call,
    registry: &str,
    term: &str,
) -> Result<Result<Vec<IndexEntry>, ListError>, Failure> {
    let repository = Repository::new(registry, "search")?;
    let client = registry_auth::client(call, &daemon.registries, &repository)?;
    Ok(client.search(registry, term).await.map(|mut found| {
        found.sort_by(|a, b| a.familiar().cmp(b.familiar()));
        found.iter().map(|repository| IndexEntry::named(repository.familiar())).collect()
    }))
}

fn row(entry: &IndexEntry) -> Value {
    json!({
        "star_count": entry.stars,
        "is_official": entry.is_official,
        "name": entry.name,
        "is_automated": entry.is_automated,
        "description": entry.description,
    })
}

/// What the filters ask for.
#[derive(Default)]
struct Wanted {
    is_official: Option<bool>,
    is_automated: Option<bool>,
    stars_min: u64,
}

impl Wanted {
    fn parse(filters: &Filters) -> Result<Wanted, Failure> {
        let mut wanted = Wanted::default();
        for (name, values) in filters {
            for value in values {
                let invalid = || Failure::invalid(format!("invalid filter '{name}=[{value}]'"));
                match name.as_str() {
                    "is-official" => wanted.is_official = Some(value.parse().map_err(|_| invalid())?),
                    "is-automated" => wanted.is_automated = Some(value.parse().map_err(|_| invalid())?),
                    "stars" => wanted.stars_min = value.parse().map_err(|_| invalid())?,
                    _ => return Err(Failure::invalid(format!("invalid filter '{name}'"))),
                }
            }
        }
        Ok(wanted)
    }

    fn keep(&self, entry: &IndexEntry) -> bool {
        self.is_official.is_none_or(|wanted| wanted == entry.is_official)
            && self.is_automated.is_none_or(|wanted| wanted == entry.is_automated)
            && entry.stars >= self.stars_min
    }
}
