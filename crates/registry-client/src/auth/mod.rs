//! Proves to a registry who asks: Basic, or Bearer with a token server.
//!
//! Promise: a password goes to the origin of the registry that it was stored for, or to a token server that
//! [`realm`] allows for that registry, and nowhere else; a request is refused for good after the second 401.

pub mod realm;
mod scope;
mod token;

use std::time::Instant;

use base64::Engine as _;
use http::HeaderValue;
use http::header::{HeaderMap, WWW_AUTHENTICATE};

pub(crate) use scope::Scopes;
pub use token::TokenError;
pub(crate) use token::{Grant, fetch};

use crate::credentials::Credential;
use crate::endpoint::Endpoint;
use crate::header::challenge::{self, Challenge};
use crate::options::Event;
use crate::origin::Origin;
use crate::transport::Transport;

/// Most tokens that are kept for one origin.
const TOKENS_MAX: usize = 256;

/// What is known about one registry or mirror.
#[derive(Default)]
pub(crate) struct OriginAuth {
    // Held while a token is fetched, so that parallel requests share one fetch.
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    credential: Option<Option<Credential>>,
    tokens: Vec<Token>,
}

struct Token {
    scopes: Scopes,
    value: HeaderValue,
    expires: Instant,
}

impl OriginAuth {
    /// Returns the value of `Authorization` for a request, if the origin has asked for one before.
    pub(crate) async fn authorize(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        home: &Origin,
        scopes: &Scopes,
    ) -> Result<Option<HeaderValue>, TokenError> {
        let mut state = self.state.lock().await;
        match state.challenge.clone() {
            None => Ok(None),
            Some(challenge) => state.answer(transport, endpoint, home, &challenge, scopes, None).await,
        }
    }

    /// Answers a 401; returns none when there is nothing to answer with, or nothing new.
    ///
    /// `used` is what the refused request carried.
    pub(crate) async fn challenged(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        home: &Origin,
        headers: &HeaderMap,
        scopes: &Scopes,
        used: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, TokenError> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().map(HeaderValue::as_bytes);
        let host = || home.authority();
        let challenges =
            challenge::parse(values).map_err(|source| TokenError::Challenge { host: host(), source })?;
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let Some(challenge) = bearer.or(challenges.first()).cloned() else {
            return Err(TokenError::NoChallenge { host: host() });
        };
        let mut state = self.state.lock().await;
        state.challenge = Some(challenge.clone());
        state.tokens.retain(|token| Some(&token.value) != used);
        let wanted = match &challenge {
            Challenge::Bearer { scope: Some(scope), .. } => scopes.with_asked_for(scope),
            _ => scopes.clone(),
        };
        let answer = state.answer(transport, endpoint, home, &challenge, &wanted, used).await?;
        Ok(answer.filter(|answer| Some(answer) != used))
    }
}

impl State {
    async fn answer(
        &mut self,
        transport: &Transport,
        endpoint: &Endpoint,
        home: &Origin,
        challenge: &Challenge,
        scopes: &Scopes,
        used: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, TokenError> {
        let now = Instant::now();
        self.tokens.retain(|token| token.expires > now);
        if let Challenge::Bearer { .. } = challenge
            && let Some(token) = self.tokens.iter().find(|token| token.scopes.cover(scopes))
        {
            return Ok(Some(token.value.clone()));
        }
        if self.credential.is_none() || used.is_some() {
            self.credential = Some(find_credential(transport, endpoint).await);
        }
        let credential = self.credential.as_ref().and_then(Option::as_ref);
        match (challenge, credential) {
            (_, Some(Credential::RegistryToken(token))) => {
                Ok(Some(bearer_value(token.reveal()).ok_or_else(|| TokenError::Malformed {
                    host: home.authority(),
                    what: "the stored token has control characters",
                })?))
            }
            (Challenge::Basic, Some(Credential::Basic { username, password })) => {
                Ok(Some(basic_value(username, password.reveal())))
            }
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { realm, service, .. }, credential) => {
                let url = realm::check(transport.options(), endpoint, home, realm)?;
                let grant =
                    fetch(transport, home, url, service.as_deref(), scopes, credential, Grant::Access)
                        .await?;
                let value = bearer_value(grant.token.reveal()).ok_or_else(|| TokenError::Malformed {
                    host: home.authority(),
                    what: "the token has control characters",
                })?;
                if self.tokens.len() >= TOKENS_MAX {
                    self.tokens.remove(0);
                }
                let expires = now + grant.lifetime;
                self.tokens.push(Token { scopes: scopes.clone(), value: value.clone(), expires });
                Ok(Some(value))
            }
        }
    }
}

/// Looks credentials up, away from the async threads: a helper program may take its time.
async fn find_credential(transport: &Transport, endpoint: &Endpoint) -> Option<Credential> {
    let credentials = transport.options().credentials.clone();
    let key = endpoint.credentials_key.clone();
    let found = tokio::task::spawn_blocking(move || credentials.find(&key)).await;
    let reason = match found {
        Ok(Ok(credential)) => return credential,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(registry = endpoint.credentials_key, reason, "credentials are not available");
    let registry = endpoint.credentials_key.clone();
    (transport.options().observer)(&Event::CredentialsUnavailable { registry, reason });
    None
}

/// Returns `Basic …`.
pub(crate) fn basic_value(username: &str, password: &str) -> HeaderValue {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 is header text");
    value.set_sensitive(true);
    value
}

/// Returns `Bearer …`; none when the token is empty or is not visible ASCII.
pub(crate) fn bearer_value(token: &str) -> Option<HeaderValue> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}
