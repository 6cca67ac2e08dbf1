//! From a request to its answer.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, header};
use hyper::body::Incoming;

use super::answer::{Answer, Body};
use super::problem::Problem;
use super::route::{self, Route};
use super::{blobs, lists, manifests, uploads};
use crate::auth::{Action, Identity};
use crate::name::RepositoryName;
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

    pub(crate) fn allows(&self, repository: &RepositoryName, action: Action) -> bool {
        self.registry.access.allows(&self.identity, repository, action)
    }
}

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Answers one request.
pub async fn answer(registry: Arc<Registry>, peer: Peer, request: Request<Incoming>) -> Answer {
    let mut answer = match serve(registry, peer, request).await {
        Ok(answer) => answer,
        Err(problem) => problem.into_answer(),
    };
    let headers = answer.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

async fn serve(registry: Arc<Registry>, peer: Peer, request: Request<Incoming>) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if path == "/v2" {
        return ping(&parts.method);
    }
    let route = route::parse(path)?;
    let identity = Identity::default();
    let call = Call { registry, parts, peer, identity };
    authorize(&call, &route)?;
    respond(call, route, body).await
}

/// What a method does to a repository.
fn action_of(method: &Method) -> Action {
    match *method {
        Method::GET | Method::HEAD => Action::Pull,
        Method::DELETE => Action::Delete,
        _ => Action::Push,
    }
}

fn authorize(call: &Call, route: &Route) -> Result<(), Problem> {
    let (repository, mut action) = match route {
        Route::Ping | Route::Catalog => return Ok(()),
        Route::Tags(name) | Route::Uploads(name) | Route::Referrers(name, _) => {
            (name, action_of(&call.parts.method))
        }
        Route::Manifest(name, _) | Route::Blob(name, _) => (name, action_of(&call.parts.method)),
        // Looking at an upload and cancelling it belong to pushing.
        Route::Upload(name, _) => (name, Action::Push),
    };
    if matches!(route, Route::Uploads(_)) {
        action = Action::Push;
    }
    if !call.allows(repository, action) {
        return Err(Problem::Denied);
    }
    let policy = &call.registry.policy;
    if policy.read_only && action != Action::Pull {
        return Err(Problem::Unsupported("the registry is read-only"));
    }
    if action == Action::Delete && !policy.delete {
        return Err(Problem::Unsupported("deleting is switched off"));
    }
    Ok(())
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
