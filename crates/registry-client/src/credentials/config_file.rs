//! `config.json` of the docker command.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use crate::credentials::{Credential, Credentials, CredentialsError, DOCKER_HUB_KEY, Helper};
use crate::secret::Secret;

/// `config.json`, read anew at each question, so that a login in another terminal counts at once.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
    /// The document in `DOCKER_AUTH_CONFIG`; it goes before the file.
    environment: Option<Map<String, Value>>,
}

/// Where credentials were put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredIn {
    /// The file, unencrypted; Docker warns of that.
    File(PathBuf),
    /// The helper with this name.
    Helper(String),
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// The disk.
    #[error("could not read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not the JSON it should be.
    #[error("{path} is malformed")]
    Malformed {
        /// Which file, or the environment variable.
        path: PathBuf,
        /// Where and why, if the JSON itself is broken.
        source: Option<serde_json::Error>,
    },
    /// An `auth` that is not base64 of `name:password`.
    #[error("invalid auth of {key} in {path}")]
    Auth {
        /// Which file, or the environment variable.
        path: PathBuf,
        /// Of which registry.
        key: String,
    },
    /// The disk, while writing; the old file is as it was.
    #[error("could not write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

const ENVIRONMENT: &str = "DOCKER_AUTH_CONFIG";

impl ConfigFile {
    /// Opens `config.json` in this folder, without the environment. The file need not exist.
    ///
    /// # Errors
    /// When it exists and is not readable JSON.
    pub fn open(config_dir: &Path) -> Result<ConfigFile, ConfigFileError> {
        let file = ConfigFile::unread(config_dir);
        file.read()?;
        Ok(file)
    }

    /// Returns `config.json` of this folder without a look at it; what needs it later fails where it cannot be read.
    pub fn unread(config_dir: &Path) -> ConfigFile {
        ConfigFile { path: config_dir.join("config.json"), environment: None }
    }

    /// Returns `config.json` of this folder without a look at it, and takes `DOCKER_AUTH_CONFIG` from the environment.
    ///
    /// # Errors
    /// When the variable is not JSON.
    ///
    /// Source: docker/cli cli/config/configfile/file.go, `GetCredentialsStore`.
    pub fn from_environment(config_dir: &Path) -> Result<ConfigFile, ConfigFileError> {
        let file = ConfigFile::unread(config_dir);
        match std::env::var(ENVIRONMENT) {
            Ok(text) if !text.trim().is_empty() => file.with_environment(&text),
            _ => Ok(file),
        }
    }

    /// Puts the document of `DOCKER_AUTH_CONFIG` before the file.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn with_environment(mut self, text: &str) -> Result<ConfigFile, ConfigFileError> {
        let malformed =
            |source| ConfigFileError::Malformed { path: ENVIRONMENT.into(), source: Some(source) };
        self.environment = Some(serde_json::from_str(text).map_err(malformed)?);
        Ok(self)
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stores credentials for the registry with this key, in the helper that is configured for it or else in the file.
    ///
    /// Every other key of the file stays as it is, in its place. The file is replaced as a whole and has mode 0600.
    ///
    /// # Errors
    /// When the helper or the disk fails; the file is then as it was.
    pub fn store(&self, key: &str, credential: &Credential) -> Result<StoredIn, CredentialsError> {
        let mut document = self.read()?;
        let helper = helper_for(&document, key)?;
        let entry = match &helper {
            Some(helper) => {
                helper.store(key, credential)?;
                // Docker leaves an empty entry, to show that there is a login.
                Map::new()
            }
            None => file_entry(credential),
        };
        let auths = document.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        if !auths.is_object() {
            *auths = Value::Object(Map::new());
        }
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(key.to_owned(), Value::Object(entry));
        }
        self.write(&document)?;
        Ok(match helper {
            Some(helper) => StoredIn::Helper(helper.name().to_owned()),
            None => StoredIn::File(self.path.clone()),
        })
    }

    /// Forgets the credentials for the registry with this key; returns whether the file had any.
    ///
    /// # Errors
    /// When the helper or the disk fails.
    pub fn erase(&self, key: &str) -> Result<bool, CredentialsError> {
        let mut document = self.read()?;
        if let Some(helper) = helper_for(&document, key)? {
            helper.erase(key)?;
        }
        let Some(auths) = document.get_mut("auths").and_then(Value::as_object_mut) else { return Ok(false) };
        let Some(found) = entry_key(auths, key) else { return Ok(false) };
        auths.shift_remove(&found);
        self.write(&document)?;
        Ok(true)
    }

    /// Returns the keys that have an entry in the file, in their order.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn keys(&self) -> Result<Vec<String>, ConfigFileError> {
        let document = self.read()?;
        let auths = document.get("auths").and_then(Value::as_object);
        Ok(auths.map(|auths| auths.keys().cloned().collect()).unwrap_or_default())
    }

    fn read(&self) -> Result<Map<String, Value>, ConfigFileError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
            Err(source) => return Err(ConfigFileError::Read { path: self.path.clone(), source }),
        };
        if bytes.trim_ascii().is_empty() {
            return Ok(Map::new());
        }
        let malformed = |source| ConfigFileError::Malformed { path: self.path.clone(), source };
        let document: Value = serde_json::from_slice(&bytes).map_err(|source| malformed(Some(source)))?;
        match document {
            Value::Object(document) => Ok(document),
            _ => Err(malformed(None)),
        }
    }

    /// Replaces the file; where it is a link, what it points to is replaced.
    fn write(&self, document: &Map<String, Value>) -> Result<(), ConfigFileError> {
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let failed = |source| ConfigFileError::Write { path: target.clone(), source };
        let folder = target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed)?;
        // Docker's own spelling: tabs, and a line end only inside.
        let mut bytes = Vec::new();
        let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, tabs);
        serde::Serialize::serialize(document, &mut serializer).expect("a JSON value is writable to memory");
        let draft = folder.join(format!(".config.json.{}.{:p}", std::process::id(), &raw const bytes));
        let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(
            |mut file| {
                file.write_all(&bytes)?;
                file.sync_all()?;
                fs::rename(&draft, &target)
            },
        );
        written.map_err(|source| {
            let _ = fs::remove_file(&draft);
            failed(source)
        })
    }
}

impl Credentials for ConfigFile {
    fn find(&self, key: &str) -> Result<Option<Credential>, CredentialsError> {
        if let Some(environment) = &self.environment
            && let Some(found) = from_auths(environment, key, Path::new(ENVIRONMENT))?
        {
            return Ok(Some(found));
        }
        let document = self.read()?;
        match helper_for(&document, key)? {
            Some(helper) => Ok(helper.get(key)?),
            None => Ok(from_auths(&document, key, &self.path)?),
        }
    }
}

/// Returns the helper for one registry, or the one for all.
fn helper_for(document: &Map<String, Value>, key: &str) -> Result<Option<Helper>, CredentialsError> {
    let helpers = document.get("credHelpers").and_then(Value::as_object);
    let own = helpers.and_then(|helpers| helpers.get(key).or_else(|| helpers.get(hostname(key))));
    let name = own.or_else(|| document.get("credsStore")).and_then(Value::as_str);
    match name {
        None | Some("") => Ok(None),
        Some(name) => Ok(Some(Helper::new(name)?)),
    }
}

fn from_auths(
    document: &Map<String, Value>,
    key: &str,
    path: &Path,
) -> Result<Option<Credential>, ConfigFileError> {
    let Some(auths) = document.get("auths").and_then(Value::as_object) else { return Ok(None) };
    let Some(found) = entry_key(auths, key) else { return Ok(None) };
    let entry = &auths[&found];
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let basic = match text("auth") {
        Some(auth) => {
            let invalid = || ConfigFileError::Auth { path: path.to_owned(), key: found.clone() };
            Some(decode_auth(auth).ok_or_else(invalid)?)
        }
        None => text("username")
            .map(|username| (username.to_owned(), text("password").unwrap_or_default().to_owned())),
    };
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credential::RegistryToken(Secret::new(token))));
    }
    if let Some(token) = text("identitytoken") {
        let username = basic.map(|(username, _)| username);
        return Ok(Some(Credential::IdentityToken { username, token: Secret::new(token) }));
    }
    Ok(basic.map(|(username, password)| Credential::Basic { username, password: Secret::new(password) }))
}

/// Returns the key of the entry for this registry: the same text, or a URL with the same host, as old logins wrote.
fn entry_key(auths: &Map<String, Value>, key: &str) -> Option<String> {
    if auths.contains_key(key) {
        return Some(key.to_owned());
    }
    let wanted = hostname(key);
    let same = |entry: &&String| {
        hostname(entry) == wanted || (key == DOCKER_HUB_KEY && hostname(entry) == crate::options::DOCKER_HUB)
    };
    auths.keys().find(same).cloned()
}

/// Returns the host and port of a URL or of what is none.
///
/// Source: docker/cli cli/config/credentials/file_store.go, `ConvertToHostname`.
fn hostname(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

fn decode_auth(auth: &str) -> Option<(String, String)> {
    let bytes = BASE64.decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    // Old logins padded the password with zero bytes.
    (!username.is_empty()).then(|| (username.to_owned(), password.trim_matches('\0').to_owned()))
}

fn file_entry(credential: &Credential) -> Map<String, Value> {
    let mut entry = Map::new();
    let auth =
        |username: &str, password: &str| Value::String(BASE64.encode(format!("{username}:{password}")));
    match credential {
        Credential::Basic { username, password } => {
            entry.insert("auth".to_owned(), auth(username, password.reveal()));
        }
        Credential::IdentityToken { username, token } => {
            if let Some(username) = username {
                entry.insert("auth".to_owned(), auth(username, ""));
            }
            entry.insert("identitytoken".to_owned(), token.reveal().into());
        }
        Credential::RegistryToken(token) => {
            entry.insert("registrytoken".to_owned(), token.reveal().into());
        }
    }
    entry
}
