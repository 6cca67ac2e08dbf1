//! What a client is told before it starts, and the files of Docker that say it.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::credentials::{Anonymous, ConfigFile, ConfigFileError, Credentials};
use crate::network::Network;
use crate::origin::{Origin, Scheme};

/// The domain of Docker Hub in names.
pub const DOCKER_HUB: &str = "docker.io";
/// The host of Docker Hub's search.
///
/// Source: moby registry/config.go, `IndexHostname`.
const DOCKER_HUB_INDEX: &str = "index.docker.io";

/// How a [`Client`](crate::Client) finds, trusts and treats registries.
#[derive(Clone)]
pub struct ClientOptions {
    /// Mirrors to ask before the registry, by the domain that stands in names (`docker.io`).
    pub mirrors: BTreeMap<String, Vec<Origin>>,
    /// The server of Docker Hub's search, or one that answers as it does.
    pub index: Origin,
    /// Registries that may be talked to without a good certificate, or without TLS. Loopback always may.
    pub insecure: Vec<InsecureRegistry>,
    /// Folders of the form of `/etc/docker/certs.d`; each is looked into.
    pub certs_d: Vec<PathBuf>,
    /// Token servers that a registry (`host:port`) may name although they are elsewhere.
    pub token_realms: BTreeMap<String, Vec<Origin>>,
    /// Finds the addresses of a host; asked where `insecure` has networks.
    pub lookup: Lookup,
    /// Where requests pass through on their way.
    pub proxies: Proxies,
    /// The value of `User-Agent`.
    pub user_agent: String,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How often to try again, and when.
    pub retries: Retries,
    /// How much of an answer is read.
    pub limits: Limits,
    /// Names and passwords.
    pub credentials: Arc<dyn Credentials>,
    /// Hears about retries and fall-overs.
    pub observer: Observer,
}

/// Hears about [`Event`]s while an operation runs; must not block.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// Returns the addresses of a host. It may block: it runs on a thread for that.
pub type Lookup = Arc<dyn Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync>;

fn lookup(host: &str) -> std::io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// Something that went wrong on the way and that the client deals with itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A request is sent again.
    Retry {
        /// To whom.
        host: String,
        /// For what: a digest, a tag, or a few words.
        subject: String,
        /// After this pause.
        delay: Duration,
        /// Why.
        reason: String,
    },
    /// A mirror could not serve something; the next place is asked.
    MirrorFailed {
        /// Which mirror.
        host: String,
        /// Why.
        reason: String,
    },
    /// The credentials for a registry could not be read; the client goes on without.
    CredentialsUnavailable {
        /// For which registry.
        registry: String,
        /// Why.
        reason: String,
    },
}

/// A registry, or a network of them, to which certificates are not required.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsecureRegistry {
    /// `host` or `host:port`, exactly.
    Host(String),
    /// All addresses with this prefix, and the hosts that have one of them.
    Network(Network),
}

/// Where requests pass through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxies {
    /// As `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say, in lower or upper case.
    Environment,
    /// Nowhere.
    None,
    /// As configured.
    Configured {
        /// For http.
        http: Option<String>,
        /// For https.
        https: Option<String>,
        /// What is reached directly, as in `NO_PROXY`.
        except: Option<String>,
    },
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection with TLS.
    pub connect: Duration,
    /// For the head of an answer, once the request is sent.
    pub response: Duration,
    /// For the answer to the end of an upload, which a registry may hash again before it answers.
    pub upload_response: Duration,
    /// For the next byte of a body.
    pub stall: Duration,
    /// For the whole answer of a token server.
    pub token: Duration,
    /// Over this much time of waiting, a body must bring `rate_bytes_min` a second.
    pub rate_window: Duration,
    /// The slowest body that is put up with, in bytes a second.
    pub rate_bytes_min: u64,
}

/// How often to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Most tries of one request without progress between them.
    pub attempts_max: u32,
    /// The first pause; it doubles each time.
    pub delay_first: Duration,
    /// The longest pause that the client chooses.
    pub delay_max: Duration,
    /// The longest pause that a server may ask for; beyond it the request fails at once.
    pub retry_after_max: Duration,
}

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of a manifest.
    pub manifest_bytes: u64,
    /// Of the answer of a token server.
    pub token_bytes: u64,
    /// Of the text of a refusal.
    pub error_bytes: u64,
    /// Of one page of a list.
    pub page_bytes: u64,
    /// Pages of one list.
    pub pages: usize,
    /// Entries of one list.
    pub entries: usize,
    /// Redirects of one request.
    pub redirects: usize,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            mirrors: BTreeMap::new(),
            index: Origin::new(Scheme::Https, DOCKER_HUB_INDEX).expect("it is a host"),
            insecure: Vec::new(),
            certs_d: vec![PathBuf::from("/etc/docker/certs.d")],
            token_realms: BTreeMap::new(),
            lookup: Arc::new(lookup),
            proxies: Proxies::Environment,
            user_agent: concat!("shale/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            limits: Limits::default(),
            credentials: Arc::new(Anonymous),
            observer: Arc::new(|_| ()),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(10),
            response: Duration::from_secs(30),
            upload_response: Duration::from_secs(300),
            stall: Duration::from_secs(30),
            token: Duration::from_secs(15),
            rate_window: Duration::from_secs(60),
            rate_bytes_min: 1 << 10,
        }
    }
}

impl Default for Retries {
    fn default() -> Retries {
        Retries {
            attempts_max: 5,
            delay_first: Duration::from_millis(250),
            delay_max: Duration::from_secs(8),
            retry_after_max: Duration::from_secs(60),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            manifest_bytes: shale_oci::MANIFEST_SIZE_MAX,
            token_bytes: 64 << 10,
            error_bytes: 64 << 10,
            page_bytes: 4 << 20,
            pages: 10_000,
            entries: 1_000_000,
            redirects: 10,
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The daemon's file cannot be read.
    #[error("could not read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The daemon's file is not what it should be.
    #[error("{path} is malformed")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A mirror is not `http(s)://host[:port]`.
    #[error("invalid mirror {mirror:?}: a mirror is http:// or https:// with a host, and nothing after it")]
    Mirror {
        /// As written.
        mirror: String,
    },
    /// An insecure registry is neither `host[:port]` nor a network.
    #[error("insecure registry {registry:?} is not valid")]
    Insecure {
        /// As written.
        registry: String,
    },
    /// The client's file is not what it should be.
    #[error(transparent)]
    ConfigFile(#[from] ConfigFileError),
}

/// The keys of `daemon.json` that matter here. Those below `shale` are our own; dockerd does not know them, so they
/// belong in `/etc/shale/registries.json`, which has all of these keys and is read after dockerd's file.
#[derive(Deserialize, Default)]
struct DaemonFile {
    #[serde(rename = "registry-mirrors", default)]
    registry_mirrors: Vec<String>,
    #[serde(rename = "insecure-registries", default)]
    insecure_registries: Vec<String>,
    #[serde(default)]
    proxies: DaemonProxies,
    #[serde(default)]
    shale: ShaleKeys,
}

#[derive(Deserialize, Default)]
struct DaemonProxies {
    #[serde(rename = "http-proxy")]
    http: Option<String>,
    #[serde(rename = "https-proxy")]
    https: Option<String>,
    #[serde(rename = "no-proxy")]
    except: Option<String>,
}

#[derive(Deserialize, Default)]
struct ShaleKeys {
    #[serde(default)]
    mirrors: BTreeMap<String, Vec<String>>,
    #[serde(rename = "index-server")]
    index_server: Option<String>,
    #[serde(rename = "token-realms", default)]
    token_realms: BTreeMap<String, Vec<String>>,
}

impl ClientOptions {
    /// Returns the options that Docker's files give.
    ///
    /// `config_dir` is the folder of `config.json` (usually `~/.docker`; `DOCKER_AUTH_CONFIG` in the environment goes
    /// before it). From `daemon_json` come `registry-mirrors` (for Docker Hub), `insecure-registries`, `proxies`, and
    /// three keys of our own: `{"shale":{"mirrors":{"quay.io":["https://m"]},"token-realms":{"r:5000":["https://t"]},
    /// "index-server":"https://hub.example.com"}}`.
    /// Files that do not exist count as empty. `config.json` is not read before credentials are asked for.
    ///
    /// # Errors
    /// When `DOCKER_AUTH_CONFIG` or `daemon_json` is there and cannot be read or understood.
    pub fn from_environment(
        config_dir: &Path,
        daemon_json: Option<&Path>,
    ) -> Result<ClientOptions, OptionsError> {
        let mut options = ClientOptions {
            credentials: Arc::new(ConfigFile::from_environment(config_dir)?),
            ..ClientOptions::default()
        };
        if let Some(path) = daemon_json {
            options.apply_daemon_file(path)?;
        }
        Ok(options)
    }

    /// Takes over what a `daemon.json` says; a file that does not exist counts as empty.
    ///
    /// # Errors
    /// When the file is there and cannot be read or understood.
    pub fn apply_daemon_file(&mut self, path: &Path) -> Result<(), OptionsError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(OptionsError::Read { path: path.to_owned(), source }),
        };
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let file: DaemonFile = serde_json::from_slice(&bytes)
            .map_err(|source| OptionsError::Malformed { path: path.to_owned(), source })?;
        let hub = file.registry_mirrors.iter().map(|mirror| parse_mirror(mirror));
        let hub = hub.collect::<Result<Vec<_>, _>>()?;
        if !hub.is_empty() {
            self.mirrors.insert(DOCKER_HUB.to_owned(), hub);
        }
        for (registry, mirrors) in file.shale.mirrors {
            let mirrors = mirrors.iter().map(|mirror| parse_mirror(mirror)).collect::<Result<Vec<_>, _>>()?;
            self.mirrors.insert(registry, mirrors);
        }
        if let Some(index) = &file.shale.index_server {
            self.index = parse_mirror(index)?;
        }
        for (registry, realms) in file.shale.token_realms {
            let realms = realms.iter().map(|realm| parse_mirror(realm)).collect::<Result<Vec<_>, _>>()?;
            self.token_realms.insert(registry, realms);
        }
        for registry in &file.insecure_registries {
            self.insecure.push(InsecureRegistry::parse(registry)?);
        }
        let DaemonProxies { http, https, except } = file.proxies;
        if http.is_some() || https.is_some() {
            self.proxies = Proxies::Configured { http, https, except };
        }
        Ok(())
    }

    /// Returns whether a host is listed as insecure, by its name or by one of its addresses. Loopback is not a matter of
    /// this list.
    pub(crate) fn lists_insecure(&self, origin: &Origin, addresses: &[IpAddr]) -> bool {
        self.insecure.iter().any(|entry| entry.covers(origin, addresses))
    }

    /// Returns whether the addresses of hosts matter.
    pub(crate) fn lists_networks(&self) -> bool {
        self.insecure.iter().any(|entry| matches!(entry, InsecureRegistry::Network(_)))
    }
}

impl InsecureRegistry {
    /// Parses `host`, `host:port` or `address/bits`. A scheme before it is dropped, as Docker does.
    ///
    /// # Errors
    /// [`OptionsError::Insecure`] when it is none of these.
    pub fn parse(text: &str) -> Result<InsecureRegistry, OptionsError> {
        let invalid = || OptionsError::Insecure { registry: text.to_owned() };
        let bare = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(text);
        if bare.contains('/') {
            return Network::parse(bare).map(InsecureRegistry::Network).ok_or_else(invalid);
        }
        Origin::new(Scheme::Https, bare).ok_or_else(invalid)?;
        Ok(InsecureRegistry::Host(bare.to_ascii_lowercase()))
    }

    fn covers(&self, origin: &Origin, addresses: &[IpAddr]) -> bool {
        match self {
            // A bare host covers the usual ports only: `reg` is not `reg:5000`.
            InsecureRegistry::Host(host) => {
                *host == origin.authority() || *host == format!("{}:{}", origin.host(), origin.port())
            }
            InsecureRegistry::Network(network) => addresses.iter().any(|address| network.contains(*address)),
        }
    }
}

/// Parses `http(s)://host[:port]` with at most a slash after it.
///
/// Source: moby registry/config.go, `ValidateMirror`.
fn parse_mirror(text: &str) -> Result<Origin, OptionsError> {
    let invalid = || OptionsError::Mirror { mirror: text.to_owned() };
    let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(invalid()),
    };
    Origin::new(scheme, rest.strip_suffix('/').unwrap_or(rest)).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_file_gives_mirrors_and_insecure_registries() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.json");
        let text = r#"{"registry-mirrors":["https://m.example/"],"insecure-registries":["reg:5000","10.0.0.0/8"],
            "debug":true,"shale":{"mirrors":{"quay.io":["http://q:5001"]}}}"#;
        std::fs::write(&path, text).unwrap();
        let options = ClientOptions::from_environment(dir.path(), Some(&path)).unwrap();
        assert_eq!(options.mirrors["docker.io"][0].to_string(), "https://m.example");
        assert_eq!(options.mirrors["quay.io"][0].to_string(), "http://q:5001");
        let insecure = |host| options.lists_insecure(&Origin::new(Scheme::Https, host).unwrap(), &[]);
        assert!(insecure("reg:5000"));
        assert!(!insecure("reg") && !insecure("reg:5001") && !insecure("x.reg:5000"));
    }

    #[test]
    fn mirrors_with_a_path_or_a_password_are_refused() {
        for text in ["https://m/x", "https://u:p@m", "ftp://m", "m", "https://m?x", "https://"] {
            assert!(parse_mirror(text).is_err(), "{text}");
        }
        assert!(InsecureRegistry::parse("10.0.0.0/33").is_err());
        assert!(InsecureRegistry::parse("a/b").is_err());
    }
}
