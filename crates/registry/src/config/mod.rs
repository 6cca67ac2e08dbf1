//! What an operator can choose: one TOML file, then the environment, then flags.

pub mod distribution;
mod duration;
mod yaml;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::registry::MissingTargets;
pub use duration::parse_duration;

/// Everything that can be chosen. The defaults serve anonymously on 127.0.0.1:5000 from `./registry-data`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The directory that holds everything.
    pub root: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// A Unix socket to listen on as well.
    pub socket: Option<PathBuf>,
    /// The URL that clients reach the registry by, when a proxy stands before it.
    pub external_url: Option<String>,
    /// Whether changes are refused.
    pub read_only: bool,
    /// Whether clients may delete.
    pub delete: bool,
    /// Whether manifests may name what is not here.
    pub missing: MissingTargets,
    /// Certificate and key; plain HTTP without.
    pub tls: Option<Tls>,
    /// Who is who.
    pub auth: Auth,
    /// The file of access rules; it is read again on SIGHUP.
    pub rules_file: Option<PathBuf>,
    /// Who may do what; everybody everything, when there are none and nobody logs in.
    pub rules: Vec<Rule>,
    /// The garbage collection.
    pub gc: Gc,
    /// Limits on what an outsider chooses.
    pub limits: Limits,
    /// Whether `/metrics` answers.
    pub metrics: bool,
    /// Whether `/ui/` answers.
    pub ui: bool,
    /// Whether every request is logged.
    pub access_log: bool,
    /// How long requests may take to end once the server is told to stop.
    #[serde(deserialize_with = "duration::deserialize")]
    pub drain_timeout: Duration,
    /// Who hears of pushes, pulls and deletes.
    pub notifications: Vec<Endpoint>,
}

/// Certificate and key, as PEM files; both are read again when they change.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those between it and a root.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Who is who.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Users and the bcrypt hashes of their passwords; read again when the file changes.
    pub htpasswd: Option<PathBuf>,
    /// What clients show people when they ask for a password.
    pub realm: Option<String>,
    /// Whether clients are sent to the token server built in; when not set, they are if anybody may do something without a name.
    pub tokens: Option<bool>,
    /// Another token server.
    pub token_server: Option<TokenServer>,
}

/// A token server that is not ours.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenServer {
    /// Its URL.
    pub realm: String,
    /// Our name there.
    pub service: String,
    /// Its name in tokens.
    pub issuer: String,
    /// Certificates or public keys, as PEM.
    pub certificates: Option<PathBuf>,
    /// Keys as a JSON web key set.
    pub jwks: Option<PathBuf>,
}

/// Lets some people do some things with some repositories.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Patterns of names: `*` stands for any part between slashes, `**` for anything, `${user}` for the user's name.
    pub repositories: Vec<String>,
    /// Names of users; `*` is everybody with a name, `anonymous` everybody.
    pub users: Vec<String>,
    /// What they may do.
    pub actions: Vec<crate::auth::Action>,
}

/// The garbage collection.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gc {
    /// How often it runs; never, when zero.
    #[serde(deserialize_with = "duration::deserialize")]
    pub interval: Duration,
    /// How long unused blobs stay after they arrived or a client was told that they are here.
    #[serde(deserialize_with = "duration::deserialize")]
    pub grace: Duration,
    /// Untagged manifests go after this time; they stay, when not set.
    #[serde(deserialize_with = "duration::deserialize_some")]
    pub untagged_after: Option<Duration>,
    /// Uploads that nothing was sent to for this time go.
    #[serde(deserialize_with = "duration::deserialize")]
    pub uploads_after: Duration,
}

impl Default for Gc {
    fn default() -> Gc {
        Gc {
            interval: Duration::from_secs(15 * 60),
            grace: Duration::from_secs(3600),
            untagged_after: None,
            uploads_after: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// One that hears of pushes, pulls and deletes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Its name, in logs.
    pub name: String,
    /// Where events are posted to.
    pub url: String,
    /// Headers that are sent along.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How long one attempt may take.
    #[serde(default = "five_seconds", deserialize_with = "duration::deserialize")]
    pub timeout: Duration,
    /// The wait after a failed attempt.
    #[serde(default = "five_seconds", deserialize_with = "duration::deserialize")]
    pub backoff: Duration,
    /// Actions that it does not want to hear of.
    #[serde(default)]
    pub ignore_actions: Vec<String>,
    /// Media types that it does not want to hear of.
    #[serde(default)]
    pub ignore_media_types: Vec<String>,
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

/// Limits on what an outsider chooses.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest manifest, in bytes.
    pub manifest_bytes_max: usize,
    /// Largest blob, in bytes; none when 0.
    pub blob_bytes_max: u64,
    /// Uploads that may be open at once.
    pub uploads_max: usize,
    /// Connections that may be open at once.
    pub connections_max: usize,
    /// How long a request's head may take.
    #[serde(deserialize_with = "duration::deserialize")]
    pub header_timeout: Duration,
    /// How long a connection may be idle between requests.
    #[serde(deserialize_with = "duration::deserialize")]
    pub idle_timeout: Duration,
    /// How long a body may stand still.
    #[serde(deserialize_with = "duration::deserialize")]
    pub body_timeout: Duration,
    /// How long a client may take nothing of an answer.
    #[serde(deserialize_with = "duration::deserialize")]
    pub send_timeout: Duration,
    /// Most entries of one page of the catalog, of tags and of referrers.
    pub page_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            manifest_bytes_max: crate::manifest::MANIFEST_SIZE_MAX,
            blob_bytes_max: 0,
            uploads_max: 20_000,
            connections_max: 20_000,
            header_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            page_max: 10_000,
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            root: PathBuf::from("registry-data"),
            address: SocketAddr::from(([127, 0, 0, 1], 5000)),
            socket: None,
            external_url: None,
            read_only: false,
            delete: true,
            missing: MissingTargets::Accept,
            tls: None,
            auth: Auth::default(),
            rules_file: None,
            rules: Vec::new(),
            gc: Gc::default(),
            limits: Limits::default(),
            metrics: true,
            ui: true,
            access_log: true,
            drain_timeout: Duration::from_secs(30),
            notifications: Vec::new(),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML of the right shape.
    #[error("{path}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        reason: String,
    },
    /// A key has a value that it cannot have.
    #[error("{key}: {reason}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

impl Config {
    /// Reads a TOML file, or a `config.yml` of the Docker registry; returns it with the keys that had no meaning here.
    ///
    /// # Errors
    /// [`ConfigError`]. In a TOML file an unknown key is an error; in a `config.yml` it is reported.
    pub fn load(path: &Path) -> Result<(Config, Vec<String>), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config = Config::default();
        if path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml") {
            let syntax = |reason| ConfigError::Syntax { path: path.to_owned(), reason };
            // What the Docker registry does where its file is silent.
            config.delete = false;
            let pairs = yaml::flatten(&text).map_err(syntax)?;
            let ignored = distribution::apply(&mut config, pairs)?;
            return Ok((config, ignored));
        }
        config = toml::from_str(&text)
            .map_err(|error| ConfigError::Syntax { path: path.to_owned(), reason: error.to_string() })?;
        Ok((config, Vec::new()))
    }

    /// Applies `REGISTRY_*` variables, as the Docker registry reads them; returns those that had no meaning here.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn apply_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Vec<String>, ConfigError> {
        let mut pairs: Vec<(String, String)> = variables
            .into_iter()
            .filter_map(|(name, value)| {
                let key = name.strip_prefix("REGISTRY_")?.to_ascii_lowercase();
                (key != "configuration_path").then_some((key, value))
            })
            // What is no YAML is text: most of these variables are not meant for a registry.
            .flat_map(|(key, value)| yaml::flatten_below(&key, &value).unwrap_or_else(|_| vec![(key, value)]))
            .collect();
        pairs.sort();
        distribution::apply(self, pairs)
    }

    /// Returns the rules of the rules file, or else of this configuration.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load_rules(&self) -> Result<Vec<Rule>, ConfigError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct RulesFile {
            #[serde(default)]
            rules: Vec<Rule>,
        }
        let Some(path) = &self.rules_file else { return Ok(self.rules.clone()) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let file: RulesFile = toml::from_str(&text)
            .map_err(|error| ConfigError::Syntax { path: path.clone(), reason: error.to_string() })?;
        Ok(file.rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toml_file_sets_what_it_names() {
        let config: Config = toml::from_str(
            r#"
            root = "/srv/registry"
            address = "0.0.0.0:443"
            missing = "refuse"
            [tls]
            certificate = "c.pem"
            key = "k.pem"
            [gc]
            grace = "10m"
            untagged_after = "30d"
            [[rules]]
            repositories = ["public/**"]
            users = ["anonymous"]
            actions = ["pull"]
            "#,
        )
        .unwrap();
        assert_eq!(config.gc.grace, Duration::from_secs(600));
        assert_eq!(config.gc.untagged_after, Some(Duration::from_secs(30 * 24 * 3600)));
        assert_eq!(config.missing, MissingTargets::Refuse);
        assert_eq!(config.rules.len(), 1);
        assert!(toml::from_str::<Config>("rot = 1").is_err());
    }

    #[test]
    fn variables_of_the_docker_registry_work() {
        let mut config = Config { delete: false, ..Config::default() };
        let variables = [
            ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
            ("REGISTRY_HTTP_ADDR", ":5001"),
            ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/data"),
            ("REGISTRY_STORAGE_S3_BUCKET", "x"),
            ("REGISTRY_AUTH", "htpasswd"),
            ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
            ("REGISTRY_AUTH_HTPASSWD_REALM", "\"My realm\""),
            ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE", "24h"),
            ("PATH", "/bin"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let ignored = config.apply_environment(variables).unwrap();
        assert_eq!(ignored, ["storage_s3_bucket"]);
        assert!(config.delete);
        assert_eq!(config.address, SocketAddr::from(([0, 0, 0, 0], 5001)));
        assert_eq!(config.root, Path::new("/data"));
        assert_eq!(config.auth.realm.as_deref(), Some("My realm"));
        assert_eq!(config.gc.uploads_after, Duration::from_secs(24 * 3600));
    }

    #[test]
    fn a_way_of_asking_that_is_not_complete_does_not_open_the_registry() {
        let apply = |pairs: &[(&str, &str)]| {
            let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Config::default().apply_environment(variables)
        };
        for pairs in [
            &[("REGISTRY_AUTH", "htpasswd")][..],
            &[("REGISTRY_AUTH", "token")],
            &[("REGISTRY_AUTH", "silly"), ("REGISTRY_AUTH_SILLY_REALM", "x")],
            &[("REGISTRY_AUTH_SILLY_REALM", "x")],
            &[("REGISTRY_AUTH_TOKEN_ISSUER", "x")],
            &[("REGISTRY_AUTH_HTPASSWD_REALM", "x")],
            &[("REGISTRY_AUTH_HTPASSWD_PATH", "")],
            &[("REGISTRY_AUTH", "{htpasswd: {realm: x}}")],
            &[("REGISTRY_AUTH", "{htpasswd: {")],
        ] {
            assert!(apply(pairs).is_err(), "{pairs:?}");
        }
        let complete =
            [("REGISTRY_AUTH_TOKEN_REALM", "https://a/token"), ("REGISTRY_AUTH_TOKEN_AUTOREDIRECT", "true")];
        assert_eq!(apply(&complete).unwrap(), ["auth_token_autoredirect"]);
        assert_eq!(apply(&[("REGISTRY_LOG_LEVEL", "debug")]).unwrap(), ["log_level"]);
    }

    #[test]
    fn a_config_of_the_docker_registry_in_flow_style_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yml");
        let text = "version: 0.1\nstorage: {filesystem: {rootdirectory: /x}}\nhttp: {addr: \"127.0.0.1:5685\", tls: {certificate: c.pem, key: k.pem}}\nauth: {htpasswd: {realm: r, path: /h}}\n";
        std::fs::write(&path, text).unwrap();
        let (config, ignored) = Config::load(&path).unwrap();
        assert_eq!(ignored, Vec::<String>::new());
        assert_eq!(config.root, Path::new("/x"));
        assert_eq!(config.address, SocketAddr::from(([127, 0, 0, 1], 5685)));
        assert_eq!(config.tls.unwrap().key, Path::new("k.pem"));
        assert_eq!(config.auth.htpasswd.as_deref(), Some(Path::new("/h")));
        assert!(!config.delete);

        std::fs::write(&path, "auth:\n  htpasswd:\n").unwrap();
        assert!(Config::load(&path).is_err(), "a way of asking without users");
        std::fs::write(&path, "http:\n  addr:\nstorage:\n  s3:\n").unwrap();
        assert_eq!(Config::load(&path).unwrap().1, ["storage_s3"]);
    }
}
