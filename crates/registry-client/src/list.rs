//! Lists: tags, repositories, referrers.

use std::collections::HashSet;

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, LINK};
use serde::Deserialize;
use shale_oci::{Descriptor, Digest, Repository, Tag, Target, media_type};

use crate::auth::Scopes;
use crate::client::{Call, Client};
use crate::endpoint::Endpoint;
use crate::error::{Answer, RequestError};
use crate::header::link;
use crate::manifest::ManifestError;
use crate::origin::Origin;
use crate::retry::Failure;

/// Why a list did not come.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// There is no such repository, or no such list.
    #[error("{answer}")]
    NotFound {
        /// What the registry said.
        answer: Answer,
    },
    /// More pages or entries than the limits allow.
    #[error("the list of {host} does not end after {pages} pages and {entries} entries")]
    TooLong {
        /// The registry.
        host: String,
        /// Pages that were read.
        pages: usize,
        /// Entries that were read.
        entries: usize,
    },
    /// A page says that another one follows, and it has been read already.
    #[error("the list of {host} leads back to a page that was read")]
    Loop {
        /// The registry.
        host: String,
    },
    /// A page says that the next one is on another host.
    #[error("the list of {host} continues on another host")]
    OtherOrigin {
        /// The registry.
        host: String,
    },
    /// A page is not the document that it should be.
    #[error("the list of {host} is malformed")]
    Malformed {
        /// The registry.
        host: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The fallback for referrers.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
}

#[derive(Deserialize)]
struct TagsPage {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct CatalogPage {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ReferrersPage {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

impl Client {
    /// Lists the tags of a repository, in the order of the registry, or of the first mirror that has a list. Names that
    /// are no tags are left out.
    ///
    /// # Errors
    /// [`ListError::TooLong`] and [`ListError::Loop`] when the registry's list has no end; failures of mirrors are told
    /// to the observer.
    ///
    /// Source: distribution-spec v1.1, "Listing Tags"; mirrors: dockerd 20.10.24, observed 2026-11-22.
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, ListError> {
        let endpoints = self.readers(repository, None)?;
        let (last, mirrors) = endpoints.split_last().expect("a registry is always among its readers");
        for mirror in mirrors {
            match self.tags_at(mirror, repository).await {
                Ok(tags) => return Ok(tags),
                Err(error) => self.mirror_failed(mirror, &error),
            }
        }
        self.tags_at(last, repository).await
    }

    async fn tags_at(&self, endpoint: &Endpoint, repository: &Repository) -> Result<Vec<Tag>, ListError> {
        let path = format!("/v2/{}/tags/list", repository.path());
        let mut seen = HashSet::new();
        let mut tags = Vec::new();
        let scopes = Scopes::pull(repository);
        self.pages(endpoint, path, scopes, None, |body| {
            let page: TagsPage = serde_json::from_slice(body)?;
            let names = page.tags.unwrap_or_default();
            let count = names.len();
            let new = names.iter().filter_map(|name| Tag::parse(name).ok());
            tags.extend(new.filter(|tag| seen.insert(tag.clone())));
            Ok(count)
        })
        .await?;
        Ok(tags)
    }

    /// Lists the repositories of a registry (`host[:port]`), where it lets us. Names that are none are left out.
    ///
    /// # Errors
    /// As [`Client::tags`].
    ///
    /// Source: distribution v2 API, "Listing Repositories"; not in the OCI specification.
    pub async fn catalog(&self, registry: &str) -> Result<Vec<Repository>, ListError> {
        let endpoint = Endpoint::registry(registry)?;
        let mut repositories = Vec::new();
        let path = "/v2/_catalog".to_owned();
        self.pages(&endpoint, path, Scopes::catalog(), None, |body| {
            let page: CatalogPage = serde_json::from_slice(body)?;
            let names = page.repositories.unwrap_or_default();
            let count = names.len();
            repositories.extend(names.iter().filter_map(|name| Repository::new(registry, name).ok()));
            Ok(count)
        })
        .await?;
        Ok(repositories)
    }

    /// Returns the repositories of a registry whose path contains `term`.
    ///
    /// # Errors
    /// As [`Client::catalog`].
    pub async fn search(&self, registry: &str, term: &str) -> Result<Vec<Repository>, ListError> {
        let mut found = self.catalog(registry).await?;
        found.retain(|repository| repository.path().contains(term));
        Ok(found)
    }

    /// Lists what refers to a manifest: signatures, attestations and the like.
    ///
    /// Where the registry has no such list, the tag that stands in for it (`sha256-<hex>`) is read; neither is an empty
    /// list.
    ///
    /// # Errors
    /// As [`Client::tags`].
    ///
    /// Source: distribution-spec v1.1, "Listing Referrers" and "Referrers Tag Schema".
    pub async fn referrers(
        &self,
        repository: &Repository,
        digest: Digest,
    ) -> Result<Vec<Descriptor>, ListError> {
        let endpoint = self.writer(repository)?;
        let path = format!("/v2/{}/referrers/{digest}", repository.path());
        let mut referrers = Vec::new();
        let listed = self
            .pages(&endpoint, path, Scopes::pull(repository), Some(media_type::OCI_INDEX), |body| {
                let page: ReferrersPage = serde_json::from_slice(body)?;
                let manifests = page.manifests.unwrap_or_default();
                let count = manifests.len();
                referrers.extend(manifests);
                Ok(count)
            })
            .await;
        match listed {
            Ok(()) => return Ok(referrers),
            Err(ListError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let tag = format!("{}-{}", digest.algorithm(), digest.hex());
        // The specification cuts a tag at 128 characters; only SHA-512 gets there.
        let tag =
            Tag::parse(&tag[..tag.len().min(128)]).expect("an algorithm, a dash and hexadecimal digits");
        let index = match self.manifest(repository, &Target::Tag(tag)).await {
            Ok(index) => index,
            Err(ManifestError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let malformed = |source| ListError::Malformed { host: index.source.host().to_owned(), source };
        let page: ReferrersPage = serde_json::from_slice(&index.body).map_err(malformed)?;
        Ok(page.manifests.unwrap_or_default())
    }

    /// Reads the pages of a list; `read` returns the number of entries of one.
    async fn pages(
        &self,
        endpoint: &Endpoint,
        path: String,
        scopes: Scopes,
        media_type: Option<&'static str>,
        mut read: impl FnMut(&Bytes) -> Result<usize, serde_json::Error>,
    ) -> Result<(), ListError> {
        let limits = self.options().limits;
        let home = self.transport.locate(endpoint).await?;
        let host = home.authority();
        let mut seen = HashSet::new();
        let mut target = home.url(&path);
        let (mut pages, mut entries) = (0, 0);
        loop {
            if !seen.insert(target.clone()) {
                return Err(ListError::Loop { host });
            }
            let mut call = Call::at(Method::GET, target.clone(), scopes.clone());
            call = call.header(ACCEPT, media_type.unwrap_or("application/json"));
            let (body, next) = self.page(endpoint, &call, media_type).await?;
            let count = read(&body).map_err(|source| ListError::Malformed { host: host.clone(), source })?;
            pages += 1;
            entries += count;
            let Some(next) = next else { return Ok(()) };
            if pages >= limits.pages || entries >= limits.entries {
                return Err(ListError::TooLong { host, pages, entries });
            }
            let next = target.join(&next).ok();
            let next = next.filter(|next| Origin::of(next).as_ref() == Some(&home));
            target = next.ok_or(ListError::OtherOrigin { host: host.clone() })?;
        }
    }

    async fn page(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        media_type: Option<&str>,
    ) -> Result<(Bytes, Option<String>), ListError> {
        let mut tries = self.tries(endpoint);
        loop {
            let reply = self.call(endpoint, "list", call).await?;
            match reply.status() {
                200 => {}
                404 => {
                    return Err(match reply.into_error(&self.transport).await {
                        RequestError::Unexpected { answer, .. } => ListError::NotFound { answer },
                        other => other.into(),
                    });
                }
                _ => return Err(reply.into_error(&self.transport).await.into()),
            }
            let content_type = reply.text(CONTENT_TYPE).map(media_type::essence);
            if media_type.is_some_and(|wanted| content_type != Some(wanted)) {
                // A registry without this list may still answer 200 with something else.
                let answer = Answer { status: 404, errors: Vec::new(), excerpt: String::new() };
                return Err(ListError::NotFound { answer });
            }
            let next = reply.text(LINK).and_then(link::next).map(str::to_owned);
            let error = match reply.bytes(&self.transport, self.options().limits.page_bytes).await {
                Ok(body) => return Ok((body, next)),
                Err(error) => error,
            };
            let failure = Failure { host: &endpoint.name, subject: "list", error };
            tries.again(&self.transport, 0, failure, |event| self.notify(event)).await?;
        }
    }
}
