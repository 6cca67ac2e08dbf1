//! `shale search`.

use anyhow::anyhow;
use shale_registry_client::{Client, DOCKER_HUB, IndexEntry, ListError};

use super::Failure;
use crate::cli::Search;
use crate::context::Context;
use crate::terminal::listing::search::{Found, render};

/// Repositories that are shown where the user names no number, as docker does.
const LIMIT_DEFAULT: usize = 25;

/// Lists the repositories that fit a term, on Docker Hub or in a registry.
///
/// A registry knows no descriptions and no stars; the filters for them choose among what is known.
pub fn run(context: &Context, search: &Search) -> Result<(), Failure> {
    let limit = match search.limit {
        None | Some(0) => LIMIT_DEFAULT,
        Some(limit @ 1..=100) => limit.unsigned_abs() as usize,
        Some(limit) => return Err(anyhow!("limit {limit} is outside the range of [1, 100]").into()),
    };
    let filters = Filters::parse(&search.filters)?;
    let client = context.client()?;
    let found = match split_registry(&search.term) {
        Some((registry, term)) => in_catalog(context, &client, registry, term)?,
        None => in_index(context, &client, &search.term, limit)?,
    };
    let found: Vec<Found> = found.into_iter().filter(|found| filters.keep(found)).take(limit).collect();
    print!("{}", render(&found, &search.format, search.no_trunc)?);
    Ok(())
}

/// Asks Docker Hub's search, or the server that stands in for it.
fn in_index(context: &Context, client: &Client, term: &str, limit: usize) -> Result<Vec<Found>, Failure> {
    let term = term.strip_prefix("docker.io/").unwrap_or(term);
    let found = context.block_on(client.search_index(term, limit))?;
    let entry = |entry: IndexEntry| Found {
        name: entry.name,
        description: entry.description,
        stars: entry.stars,
        is_official: entry.is_official,
    };
    Ok(found.into_iter().map(entry).collect())
}

/// Looks through the list of a registry's repositories.
fn in_catalog(context: &Context, client: &Client, registry: &str, term: &str) -> Result<Vec<Found>, Failure> {
    let found = context.block_on(async { Ok::<_, Failure>(client.search(registry, term).await) })?;
    let mut found = match found {
        Err(ListError::NotFound { answer }) => {
            return Err(anyhow!("{registry} does not list its repositories: {answer}").into());
        }
        found => found?,
    };
    found.sort_by(|a, b| a.familiar().cmp(b.familiar()));
    let found = found.into_iter();
    Ok(found.map(|repository| Found { name: repository.familiar().to_owned(), ..Found::default() }).collect())
}

/// Returns the registry before a term; a term without one is for Docker Hub.
fn split_registry(term: &str) -> Option<(&str, &str)> {
    let term = term.strip_prefix("https://").or_else(|| term.strip_prefix("http://")).unwrap_or(term);
    let (first, rest) = term.split_once('/').unwrap_or((term, ""));
    let is_host = first == "localhost" || first.contains(':') || (first.contains('.') && term.contains('/'));
    let is_hub = matches!(first, DOCKER_HUB | "index.docker.io" | "registry-1.docker.io");
    (is_host && !is_hub).then_some((first, rest))
}

/// What `--filter` asks for.
#[derive(Debug, Default)]
struct Filters {
    is_official: Option<bool>,
    stars_min: u64,
}

impl Filters {
    fn parse(texts: &[String]) -> Result<Filters, Failure> {
        let mut filters = Filters::default();
        for text in texts {
            let (name, value) = text.split_once('=').ok_or_else(|| anyhow!("invalid argument {text:?}"))?;
            let invalid = || anyhow!("invalid filter '{name}={value}'");
            match name.trim().to_ascii_lowercase().as_str() {
                "is-official" => filters.is_official = Some(boolean(value).ok_or_else(invalid)?),
                // Automated builds are gone from Docker Hub; the answer is false for all.
                "is-automated" => {
                    boolean(value).ok_or_else(invalid)?;
                }
                "stars" => filters.stars_min = value.parse().map_err(|_| invalid())?,
                other => return Err(anyhow!("invalid filter '{other}'").into()),
            }
        }
        Ok(filters)
    }

    fn keep(&self, found: &Found) -> bool {
        self.is_official.is_none_or(|wanted| wanted == found.is_official) && found.stars >= self.stars_min
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_told_from_a_term() {
        assert_eq!(split_registry("127.0.0.1:5000/foo"), Some(("127.0.0.1:5000", "foo")));
        assert_eq!(split_registry("127.0.0.1:5000"), Some(("127.0.0.1:5000", "")));
        assert_eq!(split_registry("reg.example.com/"), Some(("reg.example.com", "")));
        assert_eq!(split_registry("localhost/a/b"), Some(("localhost", "a/b")));
        for term in ["alpine", "library/alpine", "asp.net", "docker.io/alpine"] {
            assert_eq!(split_registry(term), None, "{term}");
        }
    }
}
