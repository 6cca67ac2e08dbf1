//! What the command line does with a registry, whether or not a server has it open.
//!
//! Where a server runs on the root, the command is sent to it over the control socket; else the root is opened here.

use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::api::query;
use crate::config::Config;
use crate::maintenance::check::{Checked, check};
use crate::maintenance::collect::{CollectError, CollectOptions, CollectRequest, Collected, collect};
use crate::metadata::{MetadataError, Page, RepositorySummary};
use crate::name::{NameError, RepositoryName, Tag};
use crate::open::{self, OpenRegistryError, OpenRoot};
use crate::takeover::{self, ImportError, Imported};

pub use crate::auth::htpasswd::{AddUserError, add_user, remove_user};

/// Entries that are asked for at once.
const PAGE: usize = 1000;

/// Returns whether a server has `root` open.
pub fn is_served(root: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(root.join(open::CONTROL_SOCKET)).is_ok()
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The root did not open.
    #[error(transparent)]
    Open(#[from] OpenRegistryError),
    /// The collection or the check stopped.
    #[error(transparent)]
    Maintenance(#[from] CollectError),
    /// The metadata failed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The import stopped.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// There is no such repository, tag or manifest.
    #[error("{0} does not exist")]
    Unknown(String),
    /// A name that breaks the grammar.
    #[error("{name:?}: {source}")]
    Name {
        /// The name.
        name: String,
        /// The rule that it breaks.
        source: NameError,
    },
    /// The server on this root did not do it.
    #[error("the server on this root answered {status}: {message}")]
    Server {
        /// The status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The server on this root cannot be reached.
    #[error("could not reach the server on this root")]
    Unreachable(#[source] std::io::Error),
    /// An import into a root that a server has open.
    #[error("stop the server on this root first")]
    Running,
}

impl CommandError {
    /// The words of `unknown` where a server knew only the path.
    fn or_unknown(self, unknown: impl FnOnce() -> CommandError) -> CommandError {
        match self {
            CommandError::Unknown(_) => unknown(),
            error => error,
        }
    }
}

/// A registry as a command reaches it.
enum Reached {
    Here(OpenRoot),
    Server(Remote),
}

struct Remote {
    socket: std::path::PathBuf,
}

async fn reach(config: &Config) -> Result<Reached, CommandError> {
    match OpenRoot::open(config, false).await {
        Ok(root) => Ok(Reached::Here(root)),
        Err(OpenRegistryError::InUse { root }) => {
            Ok(Reached::Server(Remote { socket: root.join(open::CONTROL_SOCKET) }))
        }
        Err(error) => Err(error.into()),
    }
}

impl Remote {
    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, CommandError> {
        let broken = |error: hyper::Error| CommandError::Unreachable(std::io::Error::other(error));
        let stream = UnixStream::connect(&self.socket).await.map_err(CommandError::Unreachable)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("Host", "control");
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| {
            CommandError::Unreachable(std::io::Error::new(std::io::ErrorKind::InvalidInput, error))
        })?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(broken)?.to_bytes();
        if !status.is_success() {
            let message = String::from_utf8_lossy(&body).into_owned();
            return Err(match status {
                StatusCode::NOT_FOUND => CommandError::Unknown(path.to_owned()),
                status => CommandError::Server { status: status.as_u16(), message },
            });
        }
        Ok(body)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, CommandError> {
        let body = self.send(method, path, body).await?;
        serde_json::from_slice(&body).map_err(|error| CommandError::Unreachable(error.into()))
    }
}

/// Collects garbage and returns what went; what was not asked for is as the server, or `config`, has it.
///
/// # Errors
/// [`CommandError`].
pub async fn gc(config: &Config, asked: CollectRequest) -> Result<Collected, CommandError> {
    match reach(config).await? {
        Reached::Here(root) => Ok(collect(&root.registry, &CollectOptions::new(&config.gc, asked)).await?),
        Reached::Server(server) => {
            let body = serde_json::to_vec(&asked).map_err(|error| CommandError::Unreachable(error.into()))?;
            server.ask(Method::POST, "/api/v1/gc", body).await
        }
    }
}

/// Hashes everything again and returns what is wrong; with `repair`, puts damaged blobs aside.
///
/// # Errors
/// [`CommandError`]; damage is a finding and no error.
pub async fn fsck(config: &Config, repair: bool) -> Result<Checked, CommandError> {
    match reach(config).await? {
        Reached::Here(root) => Ok(check(&root.registry, repair).await?),
        Reached::Server(server) => {
            server.ask(Method::POST, &format!("/api/v1/check?repair={repair}"), Vec::new()).await
        }
    }
}

/// Imports the Docker registry's volume at the root of `config` (again), telling `progress` how far it is.
///
/// # Errors
/// [`CommandError::Running`] while a server has the root open.
pub async fn import(config: &Config, progress: impl FnMut(&Imported)) -> Result<Imported, CommandError> {
    let root = match reach(config).await? {
        Reached::Here(root) => root,
        Reached::Server(_) => return Err(CommandError::Running),
    };
    match root.imported {
        // Opening the root made the import just now.
        Some(imported) => Ok(imported),
        None => Ok(takeover::import(&config.root, &*root.registry.metadata, progress).await?),
    }
}

/// Returns the repositories.
///
/// # Errors
/// [`CommandError`].
pub async fn repositories(config: &Config) -> Result<Vec<String>, CommandError> {
    #[derive(serde::Deserialize)]
    struct Catalog {
        repositories: Vec<String>,
    }
    let reached = reach(config).await?;
    let mut names: Vec<String> = Vec::new();
    loop {
        let after = names.last().cloned();
        let page = match &reached {
            Reached::Here(root) => root.registry.metadata.repositories(Page { after, limit: PAGE }).await?,
            Reached::Server(server) => {
                let path =
                    format!("/v2/_catalog?n={PAGE}&last={}", query::encode(&after.unwrap_or_default()));
                server.ask::<Catalog>(Method::GET, &path, Vec::new()).await?.repositories
            }
        };
        if page.is_empty() {
            return Ok(names);
        }
        names.extend(page);
    }
}

/// Returns the repositories with their sizes; only where no server has the root open.
///
/// # Errors
/// [`CommandError::Running`] while a server has the root open.
pub async fn summaries(config: &Config) -> Result<Vec<RepositorySummary>, CommandError> {
    match reach(config).await? {
        Reached::Here(root) => {
            let page = Page { after: None, limit: usize::MAX >> 1 };
            Ok(root.registry.metadata.summaries(String::new(), page).await?)
        }
        Reached::Server(_) => Err(CommandError::Running),
    }
}

fn parse_repository(name: &str) -> Result<RepositoryName, CommandError> {
    RepositoryName::parse(name).map_err(|source| CommandError::Name { name: name.to_owned(), source })
}

/// Returns the tags of a repository.
///
/// # Errors
/// [`CommandError::Unknown`] when there is no such repository.
pub async fn tags(config: &Config, repository: &str) -> Result<Vec<String>, CommandError> {
    #[derive(serde::Deserialize)]
    struct Tags {
        tags: Vec<String>,
    }
    let name = parse_repository(repository)?;
    let unknown = || CommandError::Unknown(format!("the repository {repository}"));
    let reached = reach(config).await?;
    let mut tags: Vec<String> = Vec::new();
    loop {
        let after = tags.last().cloned();
        let page = match &reached {
            Reached::Here(root) => {
                let found = root.registry.metadata.tags(&name, Page { after, limit: PAGE }).await?;
                found.ok_or_else(unknown)?
            }
            Reached::Server(server) => {
                let last = query::encode(&after.unwrap_or_default());
                let path = format!("/v2/{name}/tags/list?n={PAGE}&last={last}");
                let asked = server.ask::<Tags>(Method::GET, &path, Vec::new()).await;
                asked.map_err(|error| error.or_unknown(unknown))?.tags
            }
        };
        if page.is_empty() {
            return Ok(tags);
        }
        tags.extend(page);
    }
}

/// What [`delete`] removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doomed {
    /// A whole repository.
    Repository,
    /// A tag.
    Tag(String),
    /// A manifest, with the tags on it.
    Manifest(shale_oci::Digest),
}

/// Removes a repository, a tag or a manifest; bytes go with the next collection.
///
/// # Errors
/// [`CommandError::Unknown`] when it does not exist.
pub async fn delete(config: &Config, repository: &str, doomed: &Doomed) -> Result<(), CommandError> {
    let name = parse_repository(repository)?;
    let unknown = || match doomed {
        Doomed::Repository => CommandError::Unknown(format!("the repository {repository}")),
        Doomed::Tag(tag) => CommandError::Unknown(format!("{repository}:{tag}")),
        Doomed::Manifest(digest) => CommandError::Unknown(format!("{repository}@{digest}")),
    };
    match reach(config).await? {
        Reached::Here(root) => {
            let metadata = &root.registry.metadata;
            let existed = match doomed {
                Doomed::Repository => metadata.delete_repository(&name).await?,
                Doomed::Tag(tag) => {
                    let tag =
                        Tag::parse(tag).map_err(|source| CommandError::Name { name: tag.clone(), source })?;
                    metadata.delete_tag(&name, &tag).await?.is_some()
                }
                Doomed::Manifest(digest) => metadata.delete_manifest(&name, *digest).await?.is_some(),
            };
            if existed { Ok(()) } else { Err(unknown()) }
        }
        Reached::Server(server) => {
            let path = match doomed {
                Doomed::Repository => format!("/api/v1/repositories/{name}"),
                Doomed::Tag(tag) => format!("/v2/{name}/manifests/{}", query::encode(tag)),
                Doomed::Manifest(digest) => format!("/v2/{name}/manifests/{digest}"),
            };
            let sent = server.send(Method::DELETE, &path, Vec::new()).await;
            sent.map(drop).map_err(|error| error.or_unknown(unknown))
        }
    }
}

/// Returns whether `path` holds a volume of the Docker registry.
pub fn is_volume(path: &Path) -> bool {
    path.join(takeover::REPOSITORIES).is_dir()
}
