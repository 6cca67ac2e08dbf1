//! The index of Docker Hub: its search, which is no part of a registry's protocol.

use http::Method;
use serde::Deserialize;

use crate::auth::Scopes;
use crate::client::{Call, Client};
use crate::error::printable;
use crate::list::ListError;

/// A repository that the index found; its texts are safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The name as it is pulled: `busybox`, `someone/busybox`.
    pub name: String,
    /// What its owner says about it, on one line.
    pub description: String,
    /// How many people like it.
    pub stars: u64,
    /// Whether Docker keeps it.
    pub is_official: bool,
    /// Whether the index built it; no index does any more.
    pub is_automated: bool,
}

impl IndexEntry {
    /// Returns an entry of which only the name is known.
    pub fn named(name: &str) -> IndexEntry {
        IndexEntry {
            name: name.to_owned(),
            description: String::new(),
            stars: 0,
            is_official: false,
            is_automated: false,
        }
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    results: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    star_count: u64,
    #[serde(default)]
    is_official: bool,
    #[serde(default)]
    is_automated: bool,
}

impl Client {
    /// Asks the index server of the options for repositories that fit `term`; at most `limit`, in its order.
    ///
    /// # Errors
    /// [`ListError`].
    ///
    /// Source: moby registry/session.go `SearchRepositories` at v20.10.24: `GET /v1/search?q=…&n=…`.
    pub async fn search_index(&self, term: &str, limit: usize) -> Result<Vec<IndexEntry>, ListError> {
        let home = self.options().index.clone();
        let mut url = home.url("/v1/search");
        url.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
        let reply = self.follow(&home, &Call::at(Method::GET, url, Scopes::default()), None).await?;
        if reply.status() != 200 {
            return Err(reply.into_error(&self.transport).await.into());
        }
        let host = reply.host.clone();
        let body = reply.bytes(&self.transport, self.options().limits.page_bytes).await?;
        let page: Page =
            serde_json::from_slice(&body).map_err(|source| ListError::Malformed { host, source })?;
        let entries = page.results.unwrap_or_default().into_iter().take(limit);
        Ok(entries
            .map(|entry| IndexEntry {
                name: printable(&entry.name),
                description: printable(&entry.description.unwrap_or_default()),
                stars: entry.star_count,
                is_official: entry.is_official,
                is_automated: entry.is_automated,
            })
            .collect())
    }
}
