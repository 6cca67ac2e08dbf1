//! `shale login`.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, anyhow};
use shale_registry_client::credentials::{ConfigFile, Credential, StoredIn, registry_key};
use shale_registry_client::{Client, DOCKER_HUB, LoginError, LoginResult, Secret};

use super::Failure;
use crate::cli::Login;
use crate::context::Context;
use crate::terminal::{prompt, screen};

/// A registry to log in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `host[:port]`, or `docker.io`.
    pub domain: String,
    /// The key of its credentials.
    pub key: String,
}

impl Server {
    /// Reads what a person types: a host, or a URL as old logins wanted it; nothing is Docker Hub.
    ///
    /// # Errors
    /// When there is no host in it.
    pub fn parse(text: Option<&str>) -> Result<Server, Failure> {
        let text = text.unwrap_or(DOCKER_HUB);
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let host = rest.split('/').next().unwrap_or(rest);
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err(anyhow!("unable to parse server address: {text:?}").into());
        }
        let key = registry_key(host);
        let domain =
            if key.starts_with("https://") { DOCKER_HUB.to_owned() } else { host.to_ascii_lowercase() };
        Ok(Server { domain, key })
    }

    fn is_docker_hub(&self) -> bool {
        self.domain == DOCKER_HUB
    }
}

/// Asks for a name and a password, tries them, and stores them.
///
/// Without a name and a password those that are stored are tried first.
///
/// Source: docker CLI 28.2 `registry/login.go` and `registry.go`, observed 2026-11-22.
pub fn run(context: &Context, login: &Login) -> Result<(), Failure> {
    let password = given_password(login)?;
    let server = Server::parse(login.server.as_deref())?;
    // Before anything is asked: docker replaces a file that it cannot read, and what was in it is lost.
    let file = ConfigFile::open(&context.config_dir())
        .context("the login could not be stored; mend the file or move it away")?;
    let client = context.client()?;
    let stored = client.options().credentials.find(&server.key).ok().flatten();
    if login.username.is_none()
        && password.is_none()
        && let Some(stored) = &stored
        && with_stored(context, &client, &server, stored)?
    {
        return Ok(());
    }
    let asked = ask(login, password, &server, stored.as_ref())?;
    let result = attempt(context, &client, &server, &asked.username, &asked.password)?;
    let credential = match result.identity_token {
        Some(token) => Credential::IdentityToken { username: Some(asked.username), token },
        None => Credential::Basic { username: asked.username, password: asked.password },
    };
    let place = file.store(&server.key, &credential)?;
    if let (StoredIn::File(path), Credential::Basic { .. }) = (&place, &credential) {
        eprintln!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove \
             this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            screen::escape(&path.to_string_lossy())
        );
    }
    println!("{}", result.status);
    Ok(())
}

/// Returns the password of `--password` or of standard input.
fn given_password(login: &Login) -> Result<Option<Secret>, Failure> {
    if login.password.is_some() && login.password_stdin {
        return Err(
            anyhow!("conflicting options: cannot specify both --password and --password-stdin").into()
        );
    }
    if let Some(password) = &login.password {
        if password.is_empty() {
            return Err(anyhow!("password is empty").into());
        }
        eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        return Ok(Some(Secret::new(password.as_str())));
    }
    if !login.password_stdin {
        return Ok(None);
    }
    if login.username.is_none() {
        return Err(anyhow!("the --password-stdin option requires --username to be set").into());
    }
    let password = prompt::read_password(io::stdin())?;
    Ok((!password.is_empty()).then(|| Secret::new(password)))
}

/// Tries what is stored; returns whether it is still good.
fn with_stored(
    context: &Context,
    client: &Client,
    server: &Server,
    stored: &Credential,
) -> Result<bool, Failure> {
    let username = match stored {
        Credential::Basic { username, .. } => Some(username.as_str()),
        Credential::IdentityToken { username, .. } => username.as_deref(),
        Credential::RegistryToken(_) => None,
    };
    eprint!("Authenticating with existing credentials...");
    if let Some(username) = username {
        eprint!(" [Username: {}]", screen::escape(username));
    }
    eprintln!("\n");
    eprintln!(" Info -> To login with a different account, run 'shale logout' followed by 'shale login'\n\n");
    let outcome: Result<(), LoginError> = match stored {
        Credential::Basic { username, password } => context
            .block_on(async {
                Ok::<_, Failure>(client.login(&server.domain, username, password.clone()).await)
            })?
            .map(drop),
        // A token proves itself at the registry: it is not a password that a token server could be asked about.
        _ => context
            .block_on(async { Ok::<_, Failure>(client.ping(&server.domain).await) })?
            .map_err(Into::into),
    };
    match outcome {
        Ok(()) => {
            println!("Login Succeeded");
            return Ok(true);
        }
        Err(LoginError::Refused { .. }) => eprintln!("Stored credentials invalid or expired"),
        Err(error) => {
            let error = format!("{:#}", anyhow::Error::from(error));
            eprintln!("Login did not succeed, error: {}", screen::escape_lines(&error));
        }
    }
    Ok(false)
}

/// A name and a password.
struct Asked {
    username: String,
    password: Secret,
}

/// Completes what was given on the command line by asking the person at the terminal.
fn ask(
    login: &Login,
    password: Option<Secret>,
    server: &Server,
    stored: Option<&Credential>,
) -> Result<Asked, Failure> {
    let username = login.username.as_deref().map(str::trim).filter(|name| !name.is_empty());
    if let (Some(username), Some(password)) = (username, password.clone()) {
        return Ok(Asked { username: username.to_owned(), password });
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(anyhow!("Cannot perform an interactive login from a non TTY device").into());
    }
    let username = match username {
        Some(username) => username.to_owned(),
        None => {
            if server.is_docker_hub() {
                println!(
                    "Log in with your Docker ID or email address to push and pull images from Docker Hub. If you \
                     don't have a Docker ID, head over to https://hub.docker.com/ to create one."
                );
            }
            let default = match stored {
                Some(Credential::Basic { username, .. }) => username.as_str(),
                Some(Credential::IdentityToken { username: Some(username), .. }) => username.as_str(),
                _ => "",
            };
            prompt::ask("Username", default, &stdin, io::stdout())?
        }
    };
    if username.is_empty() {
        return Err(anyhow!("Non-null Username Required").into());
    }
    let password = match password {
        Some(password) => password,
        None => Secret::new(prompt::ask_password("Password", &stdin, io::stdout())?),
    };
    if password.is_empty() {
        return Err(anyhow!("Password Required").into());
    }
    Ok(Asked { username, password })
}

/// Tries a name and a password, and words a refusal as docker does.
fn attempt(
    context: &Context,
    client: &Client,
    server: &Server,
    username: &str,
    password: &Secret,
) -> Result<LoginResult, Failure> {
    let outcome = context.block_on(async {
        Ok::<_, Failure>(client.login(&server.domain, username, password.clone()).await)
    })?;
    outcome.map_err(|error| match error {
        LoginError::Refused { answer } => {
            let reason = match answer.status {
                401 => "Unauthorized",
                403 => "Forbidden",
                _ => "refused",
            };
            let status = answer.status;
            anyhow!("login attempt to {}/v2/ failed with status: {status} {reason}: {answer}", server.domain)
                .into()
        }
        error => Failure::from(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: Option<&str>, domain: &str, key: &str) {
        let server = Server::parse(text).unwrap();
        assert_eq!((server.domain.as_str(), server.key.as_str()), (domain, key));
    }

    #[test]
    fn a_server_is_a_host_or_the_url_of_one() {
        check(None, "docker.io", "https://index.docker.io/v1/");
        check(Some("docker.io"), "docker.io", "https://index.docker.io/v1/");
        check(Some("https://index.docker.io/v1/"), "docker.io", "https://index.docker.io/v1/");
        check(Some("127.0.0.1:5000"), "127.0.0.1:5000", "127.0.0.1:5000");
        check(Some("https://Reg.example.com/v1/"), "reg.example.com", "reg.example.com");
        for text in ["a b", "", "https://", "a\u{1b}[2J"] {
            assert!(Server::parse(Some(text)).is_err(), "{text:?}");
        }
    }
}
