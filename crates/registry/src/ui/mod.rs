//! Pages for people under `/ui/`: rendered here, no script, no build chain.
//!
//! Promise: whatever comes from outside is escaped by the templates; nothing changes but by a POST that carries the
//! token of a page that we made for this browser.

mod format;
mod image;
mod pages;
mod session;

use askama::Template;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;

use crate::api::answer::{Answer, Body};
use crate::api::dispatch::Call;
use crate::api::management::delete_repository;
use crate::api::manifests::remove;
use crate::api::problem::Problem;
use crate::api::query;
use crate::api::receive::{self, metadata_problem};
use crate::api::route::{self, Reference};
use crate::auth::{Action, AuthError, Identity};
use crate::metadata::Page;
use crate::name::{RepositoryName, Tag};
use session::Browser;

const STYLE: &str = include_str!("../../templates/style.css");
const REPOSITORIES_PER_PAGE: usize = 50;
const TAGS_PER_PAGE: usize = 50;
const FORM_BYTES_MAX: usize = 16 << 10;
/// No script, no frame, nothing from elsewhere.
const SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What every page shows.
pub(crate) struct Frame {
    host: String,
    user: Option<String>,
    can_log_in: bool,
    csrf: String,
}

/// Answers a request for a page. Problems become pages too.
pub(crate) async fn answer(mut call: Call, path: &str, body: Incoming) -> Answer {
    let browser = Browser::of(&call);
    call.identity = Identity { user: browser.user(&call), grants: None };
    let mut answer = match serve(&call, &browser, path, body).await {
        Ok(answer) => answer,
        Err(Problem::Unauthorized { .. }) => see_other("/ui/login"),
        Err(problem) => {
            let (status, message) = (problem.status(), problem.to_string());
            let page = pages::ProblemPage { frame: frame(&call, &browser), status: status.as_u16(), message };
            let mut answer = html(&page).unwrap_or_else(Problem::into_answer);
            *answer.status_mut() = status;
            answer
        }
    };
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(SECURITY_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Some(cookie) = browser.fresh_cookie(call.peer.encrypted) {
        headers.append(header::SET_COOKIE, cookie);
    }
    answer
}

fn frame(call: &Call, browser: &Browser) -> Frame {
    let base_url = call.base_url();
    let host = base_url.split_once("://").map_or(base_url.as_str(), |(_, host)| host).to_owned();
    Frame {
        host,
        user: call.identity.user.clone(),
        can_log_in: call.registry.access.authority().is_some(),
        csrf: browser.token(&call.registry),
    }
}

fn html(page: &impl Template) -> Result<Answer, Problem> {
    let text = page.render().map_err(|error| Problem::internal(&error))?;
    let mut answer = Answer::new(Body::from(text));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Ok(answer)
}

fn see_other(place: &str) -> Answer {
    let mut answer = Answer::new(Body::Empty);
    *answer.status_mut() = StatusCode::SEE_OTHER;
    let place = HeaderValue::try_from(place).unwrap_or(HeaderValue::from_static("/ui/"));
    answer.headers_mut().insert(header::LOCATION, place);
    answer
}

async fn serve(call: &Call, browser: &Browser, path: &str, body: Incoming) -> Result<Answer, Problem> {
    if call.parts.method == Method::POST {
        return change(call, browser, path, body).await;
    }
    if call.parts.method != Method::GET && call.parts.method != Method::HEAD {
        return Err(Problem::MethodNotAllowed { allow: "GET, HEAD, POST" });
    }
    match path {
        "/" | "/ui" => Ok(see_other("/ui/")),
        "/ui/" => repositories(call, browser).await,
        "/ui/style.css" => Ok(style()),
        "/ui/login" => html(&pages::Login { frame: frame(call, browser), failed: false }),
        _ => match path.strip_prefix("/ui/r/") {
            Some(rest) => match rest.split_once("/-/") {
                Some((name, reference)) => manifest(call, browser, name, reference).await,
                None => repository(call, browser, rest).await,
            },
            None => Err(Problem::NotFound),
        },
    }
}

fn style() -> Answer {
    let mut answer = Answer::new(Body::from(Bytes::from_static(STYLE.as_bytes())));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    answer
}

fn parse_repository(name: &str) -> Result<RepositoryName, Problem> {
    RepositoryName::parse(name).map_err(|_| Problem::NameInvalid)
}

fn parse_reference(text: &str) -> Result<Reference, Problem> {
    let text = query::decode(text);
    match text.contains(':') {
        true => route::digest(&text).map(Reference::Digest),
        false => Tag::parse(&text).map(Reference::Tag).map_err(|_| Problem::TagInvalid),
    }
}

/// Whether pages show the buttons for deleting.
fn may_delete(call: &Call, name: &RepositoryName) -> bool {
    call.require(name, Action::Delete).is_ok()
}

async fn repositories(call: &Call, browser: &Browser) -> Result<Answer, Problem> {
    let asked = call.query();
    let search = query::first(&asked, "q").unwrap_or("").replace('+', " ").trim().to_owned();
    let mut page =
        Page { after: query::first(&asked, "last").map(str::to_owned), limit: REPOSITORIES_PER_PAGE + 1 };
    let mut found = Vec::new();
    loop {
        let summaries = call.registry.metadata.summaries(search.clone(), page.clone());
        let summaries = summaries.await.map_err(metadata_problem)?;
        let full = summaries.len() == page.limit;
        page.after = summaries.last().map(|last| last.name.clone());
        found.extend(summaries.into_iter().filter(|summary| {
            RepositoryName::parse(&summary.name).is_ok_and(|name| call.allows(&name, Action::Pull))
        }));
        if !full || found.len() > REPOSITORIES_PER_PAGE {
            break;
        }
    }
    let more = found.len() > REPOSITORIES_PER_PAGE;
    found.truncate(REPOSITORIES_PER_PAGE);
    let next = found.last().filter(|_| more).map(|last| query::encode(&last.name));
    if found.is_empty()
        && call.identity.user.is_none()
        && call.registry.access.is_guarded()
        && search.is_empty()
    {
        return Ok(see_other("/ui/login"));
    }
    html(&pages::Repositories::new(frame(call, browser), search, found, next))
}

async fn repository(call: &Call, browser: &Browser, name: &str) -> Result<Answer, Problem> {
    let name = parse_repository(name.trim_end_matches('/'))?;
    call.require(&name, Action::Pull)?;
    let asked = call.query();
    let number: usize =
        query::first(&asked, "page").and_then(|number| number.parse().ok()).unwrap_or(0).min(1 << 20);
    let found = call.registry.metadata.tag_summaries(&name, number * TAGS_PER_PAGE, TAGS_PER_PAGE + 1);
    let mut tags = found.await.map_err(metadata_problem)?;
    if tags.is_empty() {
        let page = Page { after: None, limit: 1 };
        let known = call.registry.metadata.tags(&name, page).await.map_err(metadata_problem)?;
        known.ok_or(Problem::NameUnknown)?;
    }
    let more = tags.len() > TAGS_PER_PAGE;
    tags.truncate(TAGS_PER_PAGE);
    let may_delete = may_delete(call, &name);
    html(&pages::Repository::new(frame(call, browser), name, tags, number, more, may_delete))
}

async fn manifest(call: &Call, browser: &Browser, name: &str, reference: &str) -> Result<Answer, Problem> {
    let name = parse_repository(name)?;
    call.require(&name, Action::Pull)?;
    let reference = parse_reference(reference)?;
    let shown = image::look(&call.registry, &name, &reference).await?;
    let may_delete = may_delete(call, &name);
    html(&pages::Manifest { frame: frame(call, browser), name, reference, shown, may_delete })
}

async fn change(call: &Call, browser: &Browser, path: &str, body: Incoming) -> Result<Answer, Problem> {
    let form = receive::small(&call.registry, body, FORM_BYTES_MAX).await?;
    let form = String::from_utf8(form.to_vec()).map_err(|_| Problem::BadRequest("the form is not UTF-8"))?;
    let form = query::pairs(Some(&form.replace('+', "%20")));
    let field = |name| query::first(&form, name).unwrap_or("");
    if !browser.sent(call, field("csrf")) {
        return Err(Problem::Denied);
    }
    match path {
        "/ui/login" => {
            let (user, password) = (field("user"), field("password"));
            match call.registry.access.log_in(user, password, call.peer.address).await {
                Ok(()) => {}
                Err(AuthError::TooManyTries) => return Err(Problem::TooManyRequests),
                Err(_) => {
                    let mut answer = html(&pages::Login { frame: frame(call, browser), failed: true })?;
                    *answer.status_mut() = StatusCode::UNAUTHORIZED;
                    return Ok(answer);
                }
            }
            let mut answer = see_other("/ui/");
            let cookie = session::log_in(call, user).ok_or(Problem::Internal)?;
            answer.headers_mut().append(header::SET_COOKIE, cookie);
            Ok(answer)
        }
        "/ui/logout" => {
            let mut answer = see_other("/ui/");
            answer.headers_mut().append(header::SET_COOKIE, session::log_out());
            Ok(answer)
        }
        "/ui/confirm" | "/ui/delete" => {
            delete(call, browser, path, field("repository"), field("reference")).await
        }
        _ => Err(Problem::NotFound),
    }
}

async fn delete(
    call: &Call,
    browser: &Browser,
    path: &str,
    name: &str,
    reference: &str,
) -> Result<Answer, Problem> {
    let name = parse_repository(name)?;
    call.require(&name, Action::Delete)?;
    let reference = if reference.is_empty() { None } else { Some(parse_reference(reference)?) };
    if path == "/ui/confirm" {
        return html(&pages::Confirm { frame: frame(call, browser), name, reference });
    }
    let place = match &reference {
        None => {
            delete_repository(call, &name).await?;
            "/ui/".to_owned()
        }
        Some(reference) => {
            remove(call, &name, reference).await?;
            format!("/ui/r/{name}")
        }
    };
    Ok(see_other(&place))
}
