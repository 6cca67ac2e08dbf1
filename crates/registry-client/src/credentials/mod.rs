//! Names and passwords of registries: where Docker keeps them, and the programs that it asks for them.
//!
//! Promise: credentials are found for exactly the registry that they were stored for; there is no match by suffix.
//! Not here: sending them; see `auth`.

mod config_file;
mod helper;

pub use config_file::{ConfigFile, ConfigFileError, StoredIn};
pub use helper::{Helper, HelperError};

use crate::options::DOCKER_HUB;
use crate::secret::Secret;

/// The key of Docker Hub in `config.json` and in credential helpers.
///
/// Source: moby registry/config.go, `IndexServer`.
pub const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What identifies a user to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Name and password.
    Basic {
        /// The name.
        username: String,
        /// The password, or an access token in its place.
        password: Secret,
    },
    /// A token that a token server gave at login, to be exchanged for others.
    IdentityToken {
        /// The name it was given for, if known.
        username: Option<String>,
        /// The token.
        token: Secret,
    },
    /// A Bearer token that goes to the registry as it is.
    RegistryToken(Secret),
}

/// Why credentials could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file.
    #[error(transparent)]
    ConfigFile(#[from] ConfigFileError),
    /// The helper program.
    #[error(transparent)]
    Helper(#[from] HelperError),
}

/// Finds credentials. Calls may block, for a helper program may ask its user.
pub trait Credentials: Send + Sync {
    /// Returns the credentials for the registry with this key (see [`registry_key`]).
    ///
    /// # Errors
    /// When there may be some but they cannot be read; a client then goes on without.
    fn find(&self, key: &str) -> Result<Option<Credential>, CredentialsError>;
}

/// Knows none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn find(&self, _: &str) -> Result<Option<Credential>, CredentialsError> {
        Ok(None)
    }
}

/// Knows the same credentials for one registry, as the Engine API passes them with a request.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// The key of the registry.
    pub key: String,
    /// Its credentials.
    pub credential: Credential,
}

impl Credentials for Fixed {
    fn find(&self, key: &str) -> Result<Option<Credential>, CredentialsError> {
        Ok((key == self.key).then(|| self.credential.clone()))
    }
}

/// Returns the key under which credentials of a registry are stored: its `host[:port]`, but a URL for Docker Hub.
pub fn registry_key(domain: &str) -> String {
    match domain {
        DOCKER_HUB | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB_KEY.to_owned(),
        other => other.to_ascii_lowercase(),
    }
}
