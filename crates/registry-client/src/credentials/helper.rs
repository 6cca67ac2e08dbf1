//! `docker-credential-NAME` programs.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::credentials::Credential;
use crate::error::printable;
use crate::secret::Secret;

/// Most bytes that are read from a helper.
const OUTPUT_MAX: u64 = 1 << 20;
/// What a helper prints when it has nothing.
///
/// Source: docker-credential-helpers credentials/error.go.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The name that marks the secret as an identity token.
///
/// Source: docker/cli cli/config/credentials/native_store.go, `tokenUsername`.
const TOKEN_USERNAME: &str = "<token>";

/// A credential helper, found in `PATH` as `docker-credential-NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    name: String,
}

/// Why a helper gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The name is no file name.
    #[error("invalid credential helper {name:?}")]
    Name {
        /// As configured.
        name: String,
    },
    /// The program is not there or does not start.
    #[error("could not run docker-credential-{name}")]
    Start {
        /// Which helper.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// The program says that it failed.
    #[error("docker-credential-{name} {action}: {message}")]
    Refused {
        /// Which helper.
        name: String,
        /// What was asked of it.
        action: &'static str,
        /// What it printed.
        message: String,
    },
    /// The program printed something else than the protocol says.
    #[error("docker-credential-{name} {action} printed no valid answer")]
    Malformed {
        /// Which helper.
        name: String,
        /// What was asked of it.
        action: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    username: String,
    secret: String,
}

impl Helper {
    /// Names a helper.
    ///
    /// # Errors
    /// [`HelperError::Name`] when the name is empty or would leave `PATH`.
    pub fn new(name: &str) -> Result<Helper, HelperError> {
        if name.is_empty() || name.contains(['/', '\0']) {
            return Err(HelperError::Name { name: name.to_owned() });
        }
        Ok(Helper { name: name.to_owned() })
    }

    /// Returns the name, without `docker-credential-`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the credentials that the helper has for `key`.
    ///
    /// # Errors
    /// When the helper is missing, fails, or answers nonsense.
    pub fn get(&self, key: &str) -> Result<Option<Credential>, HelperError> {
        let output = match self.run("get", key.as_bytes()) {
            Ok(output) => output,
            Err(HelperError::Refused { message, .. }) if message.contains(NOT_FOUND) => return Ok(None),
            Err(error) => return Err(error),
        };
        let entry: Entry = serde_json::from_slice(&output).map_err(|_| self.malformed("get"))?;
        if entry.username.is_empty() && entry.secret.is_empty() {
            return Ok(None);
        }
        let secret = Secret::new(entry.secret);
        Ok(Some(if entry.username == TOKEN_USERNAME {
            Credential::IdentityToken { username: None, token: secret }
        } else {
            Credential::Basic { username: entry.username, password: secret }
        }))
    }

    /// Hands the credentials for `key` to the helper.
    ///
    /// # Errors
    /// When the helper is missing or fails.
    pub fn store(&self, key: &str, credential: &Credential) -> Result<(), HelperError> {
        let (username, secret) = match credential {
            Credential::Basic { username, password } => (username.as_str(), password),
            Credential::IdentityToken { token, .. } | Credential::RegistryToken(token) => {
                (TOKEN_USERNAME, token)
            }
        };
        let entry = Entry {
            server_url: key.to_owned(),
            username: username.to_owned(),
            secret: secret.reveal().to_owned(),
        };
        let input = serde_json::to_vec(&entry).expect("strings make JSON");
        self.run("store", &input).map(drop)
    }

    /// Makes the helper forget the credentials for `key`; that it has none is no error.
    ///
    /// # Errors
    /// When the helper is missing or fails.
    pub fn erase(&self, key: &str) -> Result<(), HelperError> {
        match self.run("erase", key.as_bytes()) {
            Err(HelperError::Refused { message, .. }) if message.contains(NOT_FOUND) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Returns the keys that the helper knows, each with its user name.
    ///
    /// # Errors
    /// When the helper is missing, fails, or answers nonsense.
    pub fn list(&self) -> Result<BTreeMap<String, String>, HelperError> {
        let output = self.run("list", b"")?;
        serde_json::from_slice(&output).map_err(|_| self.malformed("list"))
    }

    fn run(&self, action: &'static str, input: &[u8]) -> Result<Vec<u8>, HelperError> {
        let start = |source| HelperError::Start { name: self.name.clone(), source };
        let mut child = Command::new(format!("docker-credential-{}", self.name))
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(start)?;
        let mut stdin = child.stdin.take().expect("stdin was asked for");
        // A helper that does not read its input has closed the pipe; its answer tells why.
        let _ = stdin.write_all(input);
        drop(stdin);
        let stdout = child.stdout.take().expect("stdout was asked for");
        let mut output = Vec::new();
        let read = stdout.take(OUTPUT_MAX).read_to_end(&mut output);
        let status = child.wait().map_err(start)?;
        read.map_err(start)?;
        if !status.success() {
            let message = printable(&String::from_utf8_lossy(&output));
            return Err(HelperError::Refused { name: self.name.clone(), action, message });
        }
        Ok(output)
    }

    fn malformed(&self, action: &'static str) -> HelperError {
        HelperError::Malformed { name: self.name.clone(), action }
    }
}
