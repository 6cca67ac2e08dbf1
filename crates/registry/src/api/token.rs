//! `/token`: the token server built in, as Docker's clients speak to it (GET) and as OAuth 2 has it (POST).

use http::{HeaderValue, Method, header};
use hyper::body::Incoming;
use serde_json::json;

use super::answer::{Answer, Body};
use super::dispatch::Call;
use super::problem::Problem;
use super::{query, receive};
use crate::auth::tokens::{ACCESS_SECONDS, Authority, Grant, parse_scope};
use crate::auth::{Action, AuthError, Identity, password};
use crate::name::RepositoryName;
use crate::registry::now;

/// Largest form of a POST.
const FORM_BYTES_MAX: usize = 16 << 10;
const SCOPES_MAX: usize = 100;

pub(super) async fn answer(call: &Call, body: Incoming) -> Result<Answer, Problem> {
    let Some(authority) = call.registry.access.authority() else { return Err(Problem::NotFound) };
    match call.parts.method {
        Method::GET => {
            let asked = call.query();
            let user = match password(&call.parts.headers).map_err(|_| refused())? {
                Some((user, password)) => {
                    log_in(call, &user, &password).await?;
                    Some(user)
                }
                None => None,
            };
            let offline = query::first(&asked, "offline_token") == Some("true");
            issue(call, authority, user, &asked, offline)
        }
        Method::POST => {
            let form = receive::small(&call.registry, body, FORM_BYTES_MAX).await?;
            let form =
                String::from_utf8(form.to_vec()).map_err(|_| Problem::BadRequest("the form is not UTF-8"))?;
            // In a form a plus sign is a space.
            let asked = query::pairs(Some(&form.replace('+', "%20")));
            let user = oauth_user(call, authority, &asked).await?;
            let offline = query::first(&asked, "access_type") == Some("offline")
                || query::first(&asked, "grant_type") == Some("refresh_token");
            issue(call, authority, Some(user), &asked, offline)
        }
        _ => Err(Problem::MethodNotAllowed { allow: "GET, POST" }),
    }
}

fn refused() -> Problem {
    Problem::Unauthorized { challenge: "Basic realm=\"token\"".to_owned() }
}

async fn log_in(call: &Call, user: &str, password: &str) -> Result<(), Problem> {
    call.registry.access.log_in(user, password, call.peer.address).await.map_err(|error| match error {
        AuthError::TooManyTries => Problem::TooManyRequests,
        _ => refused(),
    })
}

async fn oauth_user(
    call: &Call,
    authority: &Authority,
    asked: &[(String, String)],
) -> Result<String, Problem> {
    match query::first(asked, "grant_type") {
        Some("password") => {
            let user = query::first(asked, "username").ok_or_else(refused)?;
            let password = query::first(asked, "password").ok_or_else(refused)?;
            log_in(call, user, password).await?;
            Ok(user.to_owned())
        }
        Some("refresh_token") => {
            let token = query::first(asked, "refresh_token").ok_or_else(refused)?;
            let (user, mark) = authority.verify_refresh(token).map_err(|_| refused())?;
            // Another password, or no user of this name any more, ends it.
            let current = call.registry.access.password_mark(&user);
            if current.as_deref() != Some(mark.as_str()) {
                return Err(refused());
            }
            Ok(user)
        }
        _ => Err(Problem::BadRequest("grant_type is neither password nor refresh_token")),
    }
}

fn issue(
    call: &Call,
    authority: &Authority,
    user: Option<String>,
    asked: &[(String, String)],
    offline: bool,
) -> Result<Answer, Problem> {
    let identity = Identity { user, grants: None };
    let scopes = asked.iter().filter(|(name, _)| name == "scope").flat_map(|(_, scopes)| scopes.split(' '));
    let grants: Vec<Grant> = scopes
        .take(SCOPES_MAX)
        .filter_map(parse_scope)
        .filter_map(|wanted| granted(call, &identity, wanted))
        .collect();
    let user = identity.user.as_deref().unwrap_or("");
    let failed = || {
        tracing::error!("could not sign a token");
        Problem::Internal
    };
    let token = authority.issue(user, grants).ok_or_else(failed)?;
    let issued_at = jiff::Timestamp::from_millisecond(now()).map_err(|error| Problem::internal(&error))?;
    let mut document = json!({
        "token": token,
        "access_token": token,
        "expires_in": ACCESS_SECONDS,
        "issued_at": issued_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    if offline && let Some(mark) = call.registry.access.password_mark(user) {
        document["refresh_token"] = json!(authority.issue_refresh(user, mark).ok_or_else(failed)?);
    }
    let mut answer = Answer::new(Body::from(document.to_string()));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// Returns what of `wanted` the rules give; less than asked is no error.
fn granted(call: &Call, identity: &Identity, wanted: Grant) -> Option<Grant> {
    let access = &call.registry.access;
    let Grant { kind, name, actions } = wanted;
    match kind.as_str() {
        "repository" => {
            let repository = RepositoryName::parse(&name).ok()?;
            let all = [Action::Pull, Action::Push, Action::Delete];
            let asked = |action: &Action| actions.iter().any(|word| word == "*" || word == action.name());
            let given =
                all.into_iter().filter(asked).filter(|action| access.allows(identity, &repository, *action));
            let actions: Vec<String> = given.map(|action| action.name().to_owned()).collect();
            (!actions.is_empty()).then_some(Grant { kind, name, actions })
        }
        "registry" if name == "catalog" && access.allows_catalog(identity) => {
            Some(Grant { kind, name, actions })
        }
        _ => None,
    }
}
