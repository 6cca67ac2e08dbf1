//! From a request to its answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, header};
use hyper::body::{Body as _, Incoming};

use super::answer::{Answer, Body};
use super::problem::Problem;
use super::route::{self, Route};
use super::{blobs, lists, management, manifests, uploads};
use crate::auth::{Action, AuthError, Identity};
use crate::metrics::Kind;
use crate::name::{RepositoryName, UploadId};
use crate::notifications::{self, Cause, Event};
use crate::registry::Registry;
use crate::wire::mapping::Mappings;

/// What is known of the connection that a request came over.
#[derive(Clone, Default)]
pub struct Peer {
    /// The address, unless it is a Unix socket.
    pub address: Option<IpAddr>,
    /// Where files are mapped for sendfile, when the connection can do that.
    pub(crate) mappings: Option<Arc<Mappings>>,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// Whether it came over the control socket, which only the owner of the root can open.
    pub(crate) is_control: bool,
}

/// A request on its way to a handler.
pub(crate) struct Call {
    pub(crate) registry: Arc<Registry>,
    pub(crate) parts: Parts,
    pub(crate) peer: Peer,
    pub(crate) identity: Identity,
}

impl Call {
    pub(crate) fn query(&self) -> Vec<(String, String)> {
        super::query::pairs(self.parts.uri.query())
    }

    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }

    /// Tells those who want to hear it what happened.
    pub(crate) async fn tell(&self, event: Event<'_>) {
        if !self.registry.endpoints.is_empty() {
            notifications::queue(&self.registry, &event, &self.cause()).await;
        }
    }

    /// Tells them that a whole repository is gone.
    pub(crate) async fn tell_of_removed(&self, repository: &RepositoryName) {
        if !self.registry.endpoints.is_empty() {
            notifications::queue_removed(&self.registry, repository, &self.cause()).await;
        }
    }

    fn cause(&self) -> Cause {
        let text = |name| self.header(name).unwrap_or("").to_owned();
        Cause {
            id: UploadId::random().to_string(),
            address: self.peer.address,
            host: text(header::HOST),
            method: self.parts.method.to_string(),
            agent: text(header::USER_AGENT),
            user: self.identity.user.clone(),
            base_url: self.base_url(),
        }
    }

    async fn identify_for(&mut self, scope: Option<&str>) -> Result<(), Problem> {
        let identified = self.registry.access.identify(&self.parts.headers, self.peer.address).await;
        self.identity = identified.map_err(|error| match error {
            AuthError::TooManyTries => Problem::TooManyRequests,
            AuthError::Token(_) => {
                Problem::Unauthorized { challenge: self.challenge(scope, Some("invalid_token")) }
            }
            AuthError::Credentials => Problem::Unauthorized { challenge: self.challenge(scope, None) },
        })?;
        Ok(())
    }

    /// Refuses what the caller may not do, and what nobody may do just now.
    pub(crate) fn require(&self, repository: &RepositoryName, action: Action) -> Result<(), Problem> {
        if !self.allows(repository, action) {
            if !self.registry.access.can_identify(&self.identity) {
                return Err(Problem::Denied);
            }
            let scope = format!("repository:{repository}:{}", scope_actions(action));
            let error = self.identity.grants.is_some().then_some("insufficient_scope");
            return Err(Problem::Unauthorized { challenge: self.challenge(Some(&scope), error) });
        }
        let policy = &self.registry.policy;
        if policy.read_only && action != Action::Pull {
            return Err(Problem::Unsupported("the registry is read-only"));
        }
        if action == Action::Delete && !policy.delete && !self.peer.is_control {
            return Err(Problem::Unsupported("deleting is switched off"));
        }
        Ok(())
    }

    fn challenge(&self, scope: Option<&str>, error: Option<&str>) -> String {
        self.registry.access.challenge(&self.base_url(), scope, error)
    }

    /// Returns the URL that the client reaches us by, without a slash at the end.
    pub(crate) fn base_url(&self) -> String {
        if let Some(url) = &self.registry.external_url {
            return url.trim_end_matches('/').to_owned();
        }
        let forwarded = self.header(HeaderName::from_static("x-forwarded-proto"));
        let scheme = match forwarded {
            Some("https") => "https",
            Some("http") => "http",
            _ if self.peer.encrypted => "https",
            _ => "http",
        };
        let host = self.header(header::HOST).unwrap_or("localhost");
        let plain = |character: char| {
            character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | ':' | '[' | ']')
        };
        let host = if host.chars().all(plain) { host } else { "localhost" };
        format!("{scheme}://{host}")
    }

    pub(crate) fn allows(&self, repository: &RepositoryName, action: Action) -> bool {
        self.peer.is_control || self.registry.access.allows(&self.identity, repository, action)
    }
}

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Answers one request.
pub async fn answer(registry: Arc<Registry>, peer: Peer, request: Request<Incoming>) -> Answer {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    let (kind, method, path) = (kind_of(parts.uri.path()), parts.method.clone(), parts.uri.path().to_owned());
    let (agent, address) = (parts.headers.get(header::USER_AGENT).cloned(), peer.address);
    let mut answer = match serve(&registry, peer, parts, body).await {
        Ok(answer) => answer,
        Err(problem) => problem.into_answer(),
    };
    if kind != Kind::Ui {
        let headers = answer.headers_mut();
        headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    let (status, took) = (answer.status().as_u16(), began.elapsed());
    registry.metrics.count(kind, method.as_str(), status, took);
    let sent_bytes = answer.body().size_hint().exact().unwrap_or(0);
    registry.metrics.sent_bytes.fetch_add(sent_bytes, Ordering::Relaxed);
    if registry.access_log {
        // Queries hold nothing that a log needs, and sometimes what it must not hold.
        tracing::info!(
            target: "access",
            %method, path, status, bytes = sent_bytes, micros = took.as_micros(), peer = ?address, agent = ?agent
        );
    }
    answer
}

fn kind_of(path: &str) -> Kind {
    let Some(rest) = path.strip_prefix("/v2") else {
        return match path {
            "/token" => Kind::Token,
            _ if path.starts_with("/ui/") || path == "/ui" || path == "/" => Kind::Ui,
            _ => Kind::Other,
        };
    };
    match rest {
        "" | "/" => return Kind::Ping,
        "/_catalog" => return Kind::Catalog,
        _ => {}
    }
    let Some((head, _)) = rest.rsplit_once('/') else { return Kind::Other };
    match head.rsplit_once('/').map_or(head, |(_, kind)| kind) {
        "tags" => Kind::Tags,
        "manifests" => Kind::Manifest,
        "blobs" => Kind::Blob,
        "uploads" => Kind::Upload,
        "referrers" => Kind::Referrers,
        _ => Kind::Other,
    }
}

async fn serve(
    registry: &Arc<Registry>,
    peer: Peer,
    parts: Parts,
    body: Incoming,
) -> Result<Answer, Problem> {
    let mut call = Call { registry: Arc::clone(registry), parts, peer, identity: Identity::default() };
    let path = call.parts.uri.path().to_owned();
    let path = path.as_str();
    if path.starts_with("/v2/") || path == "/v2" {
        let route = if path == "/v2" { Route::Ping } else { route::parse(path)? };
        let scope = scope_of(&route, &call.parts.method, &call.query());
        call.identify_for(scope.as_deref()).await?;
        authorize(&call, &route, scope.as_deref())?;
        return respond(call, route, body).await;
    }
    match path {
        _ if path.starts_with("/api/v1/") => {
            call.identify_for(None).await?;
            let path = path["/api/v1/".len()..].to_owned();
            whole(async move { management::answer(&call, &path, body).await }).await
        }
        _ if registry.ui && kind_of(path) == Kind::Ui => {
            let path = path.to_owned();
            whole(async move { Ok(crate::ui::answer(call, &path, body).await) }).await
        }
        "/token" => super::token::answer(&call, body).await,
        "/metrics" if registry.metrics_public => Ok(text(registry.metrics.text())),
        "/healthz" | "/livez" => Ok(text("ok\n".to_owned())),
        "/readyz" => match registry.is_ready().await {
            true => Ok(text("ok\n".to_owned())),
            false => Err(Problem::Unavailable),
        },
        _ => Err(Problem::NotFound),
    }
}

fn text(text: String) -> Answer {
    let mut answer = Answer::new(Body::from(text));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// What a method does to a repository.
fn action_of(method: &Method) -> Action {
    match *method {
        Method::GET | Method::HEAD => Action::Pull,
        Method::DELETE => Action::Delete,
        _ => Action::Push,
    }
}

/// Returns what a token must let its bearer do for this request.
fn scope_of(route: &Route, method: &Method, query: &[(String, String)]) -> Option<String> {
    let (repository, action) = needed(route, method)?;
    let mut scope = format!("repository:{repository}:{}", scope_actions(action));
    // A mount reads from another repository.
    if let (Route::Uploads(_), Some(from)) = (route, super::query::first(query, "from"))
        && let Ok(from) = RepositoryName::parse(from)
    {
        scope.push_str(&format!(" repository:{from}:pull"));
    }
    Some(scope)
}

/// Returns the repository that a request is about and what it does to it.
fn needed<'a>(route: &'a Route, method: &Method) -> Option<(&'a RepositoryName, Action)> {
    match route {
        Route::Ping | Route::Catalog => None,
        Route::Tags(name) | Route::Referrers(name, _) | Route::Manifest(name, _) | Route::Blob(name, _) => {
            Some((name, action_of(method)))
        }
        // Looking at an upload and cancelling it belong to pushing.
        Route::Uploads(name) | Route::Upload(name, _) => Some((name, Action::Push)),
    }
}

fn authorize(call: &Call, route: &Route, scope: Option<&str>) -> Result<(), Problem> {
    let access = &call.registry.access;
    let Some((repository, action)) = needed(route, &call.parts.method) else {
        let allowed = match route {
            // Clients learn here how to log in, and whether they did.
            _ if call.peer.is_control => true,
            Route::Ping => {
                !access.is_guarded() || call.identity.user.is_some() || call.identity.grants.is_some()
            }
            _ => access.allows_catalog(&call.identity),
        };
        return match allowed {
            true => Ok(()),
            false => {
                let scope = matches!(route, Route::Catalog).then_some("registry:catalog:*");
                Err(Problem::Unauthorized { challenge: call.challenge(scope, None) })
            }
        };
    };
    match call.require(repository, action) {
        // The scope of the whole request, with the source of a mount, is what a token must have.
        Err(Problem::Unauthorized { .. }) => {
            let error = call.identity.grants.is_some().then_some("insufficient_scope");
            Err(Problem::Unauthorized { challenge: call.challenge(scope, error) })
        }
        required => required,
    }
}

fn scope_actions(action: Action) -> &'static str {
    match action {
        Action::Pull => "pull",
        Action::Push => "pull,push",
        Action::Delete => "delete",
    }
}

async fn respond(call: Call, route: Route, body: Incoming) -> Result<Answer, Problem> {
    let method = call.parts.method.clone();
    match route {
        Route::Ping => ping(&method),
        Route::Catalog => match method {
            Method::GET | Method::HEAD => lists::catalog(&call).await,
            _ => not_allowed("GET, HEAD"),
        },
        Route::Tags(name) => match method {
            Method::GET | Method::HEAD => lists::tags(&call, &name).await,
            _ => not_allowed("GET, HEAD"),
        },
        Route::Referrers(name, digest) => match method {
            Method::GET | Method::HEAD => lists::referrers(&call, &name, digest).await,
            _ => not_allowed("GET, HEAD"),
        },
        Route::Manifest(name, reference) => match method {
            Method::GET | Method::HEAD => manifests::get(&call, &name, &reference).await,
            Method::PUT => whole(async move { manifests::put(&call, &name, reference, body).await }).await,
            Method::DELETE => whole(async move { manifests::delete(&call, &name, reference).await }).await,
            _ => not_allowed("GET, HEAD, PUT, DELETE"),
        },
        Route::Blob(name, digest) => match method {
            Method::GET | Method::HEAD => blobs::get(&call, &name, digest).await,
            Method::DELETE => whole(async move { blobs::delete(&call, &name, digest).await }).await,
            _ => not_allowed("GET, HEAD, DELETE"),
        },
        Route::Uploads(name) => match method {
            Method::POST => whole(async move { uploads::start(&call, &name, body).await }).await,
            _ => not_allowed("POST"),
        },
        Route::Upload(name, id) => match method {
            Method::GET | Method::HEAD => uploads::status(&call, &name, id).await,
            Method::PATCH => whole(async move { uploads::append(&call, &name, id, body).await }).await,
            Method::PUT => whole(async move { uploads::finish(&call, &name, id, body).await }).await,
            Method::DELETE => whole(async move { uploads::cancel(&call, &name, id).await }).await,
            _ => not_allowed("GET, PATCH, PUT, DELETE"),
        },
    }
}

/// Runs a change to its end, whether or not the client stays to hear of it.
async fn whole(
    change: impl Future<Output = Result<Answer, Problem>> + Send + 'static,
) -> Result<Answer, Problem> {
    match tokio::spawn(change).await {
        Ok(answer) => answer,
        Err(stopped) => Err(Problem::internal(&stopped)),
    }
}

fn ping(method: &Method) -> Result<Answer, Problem> {
    match *method {
        Method::GET | Method::HEAD => {
            let mut answer = Answer::new(Body::from(bytes::Bytes::from_static(b"{}")));
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(answer)
        }
        _ => not_allowed("GET, HEAD"),
    }
}

fn not_allowed(allow: &'static str) -> Result<Answer, Problem> {
    Err(Problem::MethodNotAllowed { allow })
}
