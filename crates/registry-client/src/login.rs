//! `docker login`: are these name and password good, and is there a token to keep instead of them?

use http::Method;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};

use crate::auth::{Grant, Scopes, TokenError, basic_value, bearer_value, fetch, realm};
use crate::client::{Call, Client, Reply};
use crate::credentials::Credential;
use crate::endpoint::Endpoint;
use crate::error::{Answer, RequestError};
use crate::header::challenge::{self, Challenge};
use crate::secret::Secret;

/// What a login gave.
#[derive(Debug, Clone)]
pub struct LoginResult {
    /// What to store instead of the password, where the token server gives such a token.
    pub identity_token: Option<Secret>,
    /// The sentence that Docker answers with.
    pub status: &'static str,
}

/// Why a login was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The registry does not know this name and password.
    #[error("{answer}")]
    Refused {
        /// What the registry or its token server said.
        answer: Answer,
    },
    /// The host is no registry: it answers `/v2/` with something else.
    #[error("{host} is not a registry: {answer}")]
    NotARegistry {
        /// The host.
        host: String,
        /// What it said.
        answer: Answer,
    },
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Client {
    /// Asks whether the host is a registry that lets us in, with the client's own credentials if it wants some.
    ///
    /// # Errors
    /// [`RequestError::Unauthorized`] when it does not let us in.
    ///
    /// Source: distribution-spec v1.1, "Determining Support".
    pub async fn ping(&self, registry: &str) -> Result<(), RequestError> {
        let endpoint = Endpoint::registry(registry)?;
        let call = Call::new(Method::GET, "/v2/".to_owned(), Scopes::default());
        let reply = self.call(&endpoint, "ping", &call).await?;
        match reply.status() {
            200 => Ok(()),
            _ => Err(reply.into_error(&self.transport).await),
        }
    }

    /// Tries a name and a password at a registry (`host[:port]`, or `docker.io`). Nothing is stored.
    ///
    /// # Errors
    /// [`LoginError::Refused`] when they are wrong.
    ///
    /// Source: moby registry/auth.go, `loginV2`.
    pub async fn login(
        &self,
        registry: &str,
        username: &str,
        password: Secret,
    ) -> Result<LoginResult, LoginError> {
        let endpoint = Endpoint::registry(registry)?;
        let transport = &self.transport;
        let home = transport.locate(&endpoint).await?;
        let url = home.url("/v2/");
        let send = |authorization| {
            let mut call = Call::new(Method::GET, "/v2/".to_owned(), Scopes::default());
            if let Some(authorization) = authorization {
                call.headers.insert(AUTHORIZATION, authorization);
            }
            transport.send(&home, &home, Method::GET, url.clone(), call.headers, None)
        };
        let first = Reply::home(send(None).await?, &home);
        if first.status() == 200 {
            return Ok(LoginResult { identity_token: None, status: SUCCEEDED });
        }
        if first.status() != 401 {
            return Err(not_a_registry(first.into_error(transport).await));
        }
        let values = first.response.headers().get_all(WWW_AUTHENTICATE);
        let challenges = challenge::parse(values.iter().map(|value| value.as_bytes()))
            .map_err(|source| token(TokenError::Challenge { host: home.authority(), source }))?;
        let is_bearer = |challenge: &&Challenge| matches!(challenge, Challenge::Bearer { .. });
        let challenge = challenges.iter().find(is_bearer).or(challenges.first());
        let (authorization, identity_token) = match challenge {
            None => return Err(token(TokenError::NoChallenge { host: home.authority() })),
            Some(Challenge::Basic) => (Some(basic_value(username, password.reveal())), None),
            Some(Challenge::Bearer { realm, service, .. }) => {
                let url = realm::check(self.options(), &endpoint, &home, realm).map_err(token)?;
                let credential = Credential::Basic { username: username.to_owned(), password };
                let scopes = Scopes::default();
                let granted = fetch(
                    transport,
                    &home,
                    url,
                    service.as_deref(),
                    &scopes,
                    Some(&credential),
                    Grant::AccessAndIdentity,
                );
                let granted = granted.await.map_err(token)?;
                (bearer_value(granted.token.reveal()), granted.identity_token)
            }
        };
        let second = Reply::home(send(authorization).await?, &home);
        match second.status() {
            200 => Ok(LoginResult { identity_token, status: SUCCEEDED }),
            401 | 403 => match second.into_error(transport).await {
                RequestError::Unauthorized { answer, .. } | RequestError::Denied { answer, .. } => {
                    Err(LoginError::Refused { answer })
                }
                other => Err(other.into()),
            },
            _ => Err(not_a_registry(second.into_error(transport).await)),
        }
    }
}

const SUCCEEDED: &str = "Login Succeeded";

fn token(error: TokenError) -> LoginError {
    match error {
        TokenError::Refused { answer, .. } => LoginError::Refused { answer },
        other => RequestError::Token(other).into(),
    }
}

fn not_a_registry(error: RequestError) -> LoginError {
    match error {
        RequestError::Unexpected { host, answer } => LoginError::NotARegistry { host, answer },
        other => other.into(),
    }
}
