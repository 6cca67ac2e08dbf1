//! Who asks, and what they may do.
//!
//! Promise: the answer depends on the name of a repository and never on whether it exists, so nobody learns of what they may
//! not see; passwords and tokens are compared in constant time and appear in no log.

mod attempts;
mod chain;
pub mod htpasswd;
pub mod rules;
pub mod tokens;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

use crate::config::{Config, ConfigError};
use crate::name::RepositoryName;
use attempts::Attempts;
use htpasswd::Htpasswd;
use rules::Rules;
use tokens::{Authority, ExternalAuthority, Grant, TokenError};

/// What somebody wants to do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Read.
    Pull,
    /// Add and overwrite.
    Push,
    /// Remove.
    Delete,
}

impl Action {
    /// Returns the word for the action in scopes and rules.
    pub fn name(self) -> &'static str {
        match self {
            Action::Pull => "pull",
            Action::Push => "push",
            Action::Delete => "delete",
        }
    }

    /// Returns the action that a word stands for.
    pub fn parse(word: &str) -> Option<Action> {
        [Action::Pull, Action::Push, Action::Delete].into_iter().find(|action| action.name() == word)
    }
}

/// The one who sent a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Their name; nobody who gave none has one.
    pub user: Option<String>,
    /// What their token lets them do; without a token the rules decide.
    pub grants: Option<Arc<[Grant]>>,
}

/// How identities are established and what they may do.
pub struct Access {
    htpasswd: Option<Htpasswd>,
    realm: String,
    authority: Option<Authority>,
    external: Option<ExternalAuthority>,
    tokens_wanted: Option<bool>,
    rules: RwLock<Rules>,
    attempts: Attempts,
}

/// What a request brings to tell who sent it.
#[derive(Debug, PartialEq, Eq)]
enum Credentials {
    None,
    Password { user: String, password: String },
    Token(String),
}

/// Why an identity was not established.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Wrong name, wrong password, or a header that cannot be read.
    #[error("the credentials are wrong")]
    Credentials,
    /// Too many wrong passwords came for this user from this address lately.
    #[error("too many wrong passwords; try again later")]
    TooManyTries,
    /// The token is wrong.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Why access could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of keys or users cannot be used.
    #[error("could not use {path}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
}

impl Access {
    /// Sets access up as `config` says; the key of the token server is kept below `root`.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn open(config: &Config, root: &Path) -> Result<Access, SetupError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| SetupError::File { path, source }
        };
        let htpasswd = match &config.auth.htpasswd {
            Some(path) => Some(Htpasswd::open(path).map_err(file(path))?),
            None => None,
        };
        let external = match &config.auth.token_server {
            Some(server) => Some(ExternalAuthority::open(server)?),
            None => None,
        };
        let authority = match (&htpasswd, &external) {
            (Some(_), None) => {
                let path = root.join("shale/token.key");
                Some(Authority::open(&path).map_err(file(&path))?)
            }
            _ => None,
        };
        let guarded = htpasswd.is_some() || external.is_some();
        Ok(Access {
            htpasswd,
            realm: config.auth.realm.clone().unwrap_or_else(|| "registry".to_owned()),
            authority,
            external,
            tokens_wanted: config.auth.tokens,
            rules: RwLock::new(Rules::new(config.load_rules()?, guarded)),
            attempts: Attempts::default(),
        })
    }

    /// Takes new rules.
    pub fn replace_rules(&self, rules: Vec<crate::config::Rule>) {
        let guarded = self.is_guarded();
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Rules::new(rules, guarded);
    }

    /// Returns whether anybody can have a name here.
    pub fn is_guarded(&self) -> bool {
        self.htpasswd.is_some() || self.external.is_some()
    }

    /// Returns the token server built in.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    fn rules(&self) -> std::sync::RwLockReadGuard<'_, Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether clients are sent for a token; else they are asked for a password.
    fn sends_for_tokens(&self) -> bool {
        self.external.is_some()
            || self.authority.is_some()
                && self.tokens_wanted.unwrap_or_else(|| self.rules().anybody_may_something())
    }

    /// Establishes who sent a request with these headers.
    ///
    /// # Errors
    /// [`AuthError`] when credentials were sent and are wrong.
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<Identity, AuthError> {
        if !self.is_guarded() {
            return Ok(Identity::default());
        }
        match credentials(headers)? {
            Credentials::None => Ok(Identity::default()),
            Credentials::Password { user, password } => {
                self.log_in(&user, &password, address).await?;
                Ok(Identity { user: Some(user), grants: None })
            }
            Credentials::Token(token) => {
                let claims = match (&self.external, &self.authority) {
                    (Some(external), _) => external.verify(&token)?,
                    (None, Some(authority)) => authority.verify(&token)?,
                    (None, None) => return Err(AuthError::Credentials),
                };
                let user = Some(claims.subject).filter(|user| !user.is_empty());
                Ok(Identity { user, grants: Some(claims.grants.into()) })
            }
        }
    }

    /// Checks a password that came from `address`.
    ///
    /// # Errors
    /// [`AuthError::Credentials`], after the same time whether or not the user exists.
    /// [`AuthError::TooManyTries`] after many wrong ones; a password that was right lately is not counted.
    pub async fn log_in(&self, user: &str, password: &str, address: Option<IpAddr>) -> Result<(), AuthError> {
        let Some(htpasswd) = &self.htpasswd else { return Err(AuthError::Credentials) };
        if htpasswd.remembers(user, password) {
            return Ok(());
        }
        if !self.attempts.may_try(address, user) {
            return Err(AuthError::TooManyTries);
        }
        if htpasswd.verify(user, password).await {
            return Ok(());
        }
        self.attempts.count_wrong(address, user);
        Err(AuthError::Credentials)
    }

    /// Returns whether `identity` may do `action` with `repository`.
    pub fn allows(&self, identity: &Identity, repository: &RepositoryName, action: Action) -> bool {
        match &identity.grants {
            // A token takes nothing away that everybody has: who mounts a public blob asks for no token for its repository.
            Some(grants) => {
                grants.iter().any(|grant| grant.covers(repository.as_str(), action))
                    || self.rules().allow(None, repository.as_str(), action)
            }
            None => self.rules().allow(identity.user.as_deref(), repository.as_str(), action),
        }
    }

    /// Returns whether `identity` may see the list of repositories; those that they may not pull are left out of it.
    pub fn allows_catalog(&self, identity: &Identity) -> bool {
        match &identity.grants {
            Some(grants) => grants.iter().any(Grant::covers_catalog),
            None => identity.user.is_some() || !self.is_guarded(),
        }
    }

    /// Returns whether every repository may be pulled by `identity`, so that lists need no filter.
    pub fn sees_everything(&self, identity: &Identity) -> bool {
        identity.grants.is_none() && self.rules().see_everything(identity.user.as_deref())
    }

    /// Returns whether another server decides who may do what.
    pub fn external_decides(&self) -> bool {
        self.external.is_some()
    }

    /// Returns whether a name is of use to somebody who has none: they are asked for one instead of being refused.
    pub fn can_identify(&self, identity: &Identity) -> bool {
        self.is_guarded() && (identity.user.is_none() || identity.grants.is_some())
    }

    /// Returns the `WWW-Authenticate` header that sends a client to where it gets what `scope` needs.
    pub fn challenge(&self, base_url: &str, scope: Option<&str>, error: Option<&str>) -> String {
        if !self.sends_for_tokens() {
            return format!("Basic realm=\"{}\"", quotable(&self.realm));
        }
        let (realm, service) = match &self.external {
            Some(external) => (external.realm.clone(), external.service.clone()),
            None => (format!("{base_url}/token"), tokens::SERVICE.to_owned()),
        };
        let mut challenge =
            format!("Bearer realm=\"{}\",service=\"{}\"", quotable(&realm), quotable(&service));
        if let Some(scope) = scope {
            challenge.push_str(&format!(",scope=\"{}\"", quotable(scope)));
        }
        if let Some(error) = error {
            challenge.push_str(&format!(",error=\"{error}\""));
        }
        challenge
    }

    /// Returns a mark of the password that a user has now, so that what was issued for an earlier one can be refused.
    pub(crate) fn password_mark(&self, user: &str) -> Option<String> {
        self.htpasswd.as_ref()?.mark(user)
    }
}

/// A quoted string of a header cannot hold these.
fn quotable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control() && !matches!(character, '"' | '\\')).collect()
}

/// Reads a `Basic` header; used by the token server as well.
pub(crate) fn password(headers: &HeaderMap) -> Result<Option<(String, String)>, AuthError> {
    match credentials(headers)? {
        Credentials::Password { user, password } => Ok(Some((user, password))),
        _ => Ok(None),
    }
}

fn credentials(headers: &HeaderMap) -> Result<Credentials, AuthError> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = sent.next() else { return Ok(Credentials::None) };
    if sent.next().is_some() {
        return Err(AuthError::Credentials);
    }
    let value = value.to_str().map_err(|_| AuthError::Credentials)?;
    let (scheme, rest) = value.split_once(' ').ok_or(AuthError::Credentials)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Credentials::Token(rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(AuthError::Credentials);
    }
    let decoded = STANDARD.decode(rest).map_err(|_| AuthError::Credentials)?;
    let decoded = String::from_utf8(decoded).map_err(|_| AuthError::Credentials)?;
    let (user, password) = decoded.split_once(':').ok_or(AuthError::Credentials)?;
    // Clients that know no name send this when they are asked for one.
    if user.is_empty() && password.is_empty() {
        return Ok(Credentials::None);
    }
    Ok(Credentials::Password { user: user.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(value: &str) -> Result<Credentials, AuthError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        credentials(&headers)
    }

    #[test]
    fn headers_are_read_in_any_case_and_refused_when_malformed() {
        // "user:pa:ss" by hand.
        let expected = Credentials::Password { user: "user".to_owned(), password: "pa:ss".to_owned() };
        assert_eq!(read("basic dXNlcjpwYTpzcw==").unwrap(), expected);
        assert_eq!(read("BEARER a.b.c").unwrap(), Credentials::Token("a.b.c".to_owned()));
        for bad in ["", "Basic", "Basic !!!", "Basic dXNlcg==", "Digest x", "Basic //8="] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
