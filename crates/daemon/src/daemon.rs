//! What all requests share, and the way from a request to its handler.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, PRAGMA};
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use shale_engine::Engine;
use shale_engine_api::ApiVersion;
use shale_registry_client::Client;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::spawn_blocking;

use crate::answer::{Answer, whole};
use crate::body::RequestBody;
use crate::containers::exec::Execs;
use crate::containers::lives::Lives;
use crate::events::Events;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::request::{Call, is_before_json_errors};
use crate::route::Route;
use crate::{build, containers, images, metrics, networks, objects, system, volumes};

/// What is served, for programs; a test holds it against the routes.
pub(crate) const OPEN_API: &str = include_str!("../openapi.json");

/// How the program names itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Version of the program.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
}

/// Whether what dockerd calls experimental is served: builds with `squash`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Experiments {
    /// As dockerd does with `--experimental`.
    Served,
    /// As dockerd does without.
    Refused,
}

/// What all requests share. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Daemon {
    pub(crate) engine: Engine,
    /// A client of registries that knows no credentials; those come with requests.
    pub(crate) registries: Client,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) identity: Arc<Identity>,
    /// Who waits for what becomes of containers.
    pub(crate) lives: Lives,
    /// Processes that were described and perhaps started in running containers.
    pub(crate) execs: Execs,
    pub(crate) stopping: Stopping,
    /// Whether what dockerd calls experimental is served.
    pub(crate) experiments: Experiments,
    /// The program to start as guard of a build's containers.
    pub(crate) supervisor: Option<shale_build::Supervisor>,
    /// The connection's place among all; a connection that is handed over keeps it.
    pub(crate) slot: Option<Arc<OwnedSemaphorePermit>>,
}

/// Says that the daemon is about to stop.
#[derive(Debug, Clone)]
pub(crate) struct Stopping(pub(crate) watch::Receiver<bool>);

impl Stopping {
    /// Waits until the daemon is about to stop.
    pub(crate) async fn wait(&self) {
        let mut receiver = self.0.clone();
        let _ = receiver.wait_for(|stopping| *stopping).await;
    }
}

impl Daemon {
    /// Answers a request. Whatever happens, the answer says who we are.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let body = RequestBody::new(body);
        let started = std::time::Instant::now();
        let (method, uri) = (head.method.clone(), head.uri.clone());
        let outcome = match Call::parse(head) {
            Ok(call) => self.dispatch(&call, body).await,
            Err(failure) if is_before_json_errors(uri.path()) => Ok(failure.plain_answer()),
            Err(failure) => Err(failure),
        };
        let mut answer = outcome.unwrap_or_else(|failure| {
            if failure.status.is_server_error() {
                tracing::warn!(%method, path = uri.path(), error = failure.message, "a request failed");
            }
            failure.answer()
        });
        let elapsed = started.elapsed();
        self.metrics.count(&method, answer.status().as_u16(), elapsed);
        let elapsed_ms = elapsed.as_millis();
        // The query stays out of the log: clients put secrets into build arguments.
        tracing::info!(%method, path = uri.path(), status = answer.status().as_u16(), elapsed_ms, "request");
        let headers = answer.headers_mut();
        let mut set = |name: &'static str, value: HeaderValue| {
            headers.insert(HeaderName::from_static(name), value);
        };
        set("api-version", text(&ApiVersion::NEWEST.to_string()));
        set("docker-experimental", text(&self.is_experimental().to_string()));
        set("ostype", HeaderValue::from_static("linux"));
        set("server", text(&format!("Docker/{} (linux)", self.identity.version)));
        answer
    }

    pub(crate) fn is_experimental(&self) -> bool {
        self.experiments == Experiments::Served
    }

    /// Answers a request to the address of the metrics.
    pub(crate) async fn answer_metrics(&self, path: &str) -> Answer {
        let outcome = match path {
            "/metrics" => metrics::answer(self).await,
            _ => Err(Failure::missing("page not found")),
        };
        outcome.unwrap_or_else(|failure| failure.answer())
    }

    async fn dispatch(&self, call: &Call, body: RequestBody) -> Result<Answer, Failure> {
        let route =
            Route::find(&call.method, &call.path).ok_or_else(|| Failure::missing("page not found"))?;
        match route {
            Route::Ping => Ok(ping(&call.method)),
            Route::OpenApi => {
                let mut answer = whole(bytes::Bytes::from_static(OPEN_API.as_bytes()));
                answer.headers_mut().insert(CONTENT_TYPE, crate::answer::JSON);
                Ok(answer)
            }
            Route::Metrics => metrics::answer(self).await,
            Route::Version => Ok(system::version(self)),
            Route::Info => system::info(self, call).await,
            Route::DiskUsage => system::disk_usage(self, call).await,
            Route::Events => self.events.answer(call, self.stopping.clone()),
            Route::Auth => system::auth(self, call, body).await,
            Route::Images => images::list::answer(self, call).await,
            Route::ImageCreate if call.query.text("fromImage").is_some() => {
                images::pull::answer(self, call).await
            }
            Route::ImageInspect(name) => images::inspect::answer(self, call, name).await,
            Route::ImageHistory(name) => images::history::answer(self, name).await,
            Route::ImagePush(name) => images::push::answer(self, call, &name).await,
            Route::ImageTag(name) => images::tag::answer(self, call, name).await,
            Route::Distribution(name) => images::distribution::answer(self, call, &name).await,
            Route::ImagesSearch => images::search::answer(self, call).await,
            Route::ImageRemove(name) => images::remove::remove(self, call, name).await,
            Route::ImagesPrune => images::remove::prune(self, call).await,
            Route::ImageCreate => images::archive::import(self, call, body).await,
            Route::ImagesLoad => images::archive::load(self, call, body).await,
            Route::ImagesGet => images::archive::save(self, call, call.query.list("names")).await,
            Route::ImageGet(name) => images::archive::save(self, call, vec![name]).await,
            Route::Containers => containers::list::answer(self, call).await,
            Route::ContainerCreate => containers::create::answer(self, call, body).await,
            Route::ContainersPrune => containers::remove::prune(self, call).await,
            Route::Container(of, name) => containers::answer(self, call, body, of, name).await,
            Route::Exec(of, id) => containers::exec::answer(self, call, body, of, &id).await,
            Route::Build => build::answer(self, call, body).await,
            Route::Commit => containers::files::commit(self, call, body).await,
            Route::Volumes => volumes::list(self, call).await,
            Route::VolumeCreate => volumes::create(self, call, body).await,
            Route::VolumesPrune => volumes::prune(self, call).await,
            Route::Volume(name) => volumes::inspect(self, name).await,
            Route::VolumeRemove(name) => volumes::remove(self, call, name).await,
            Route::Networks => networks::list(self, call).await,
            Route::NetworkCreate => networks::create(self, call, body).await,
            Route::NetworksPrune => networks::prune(self, call).await,
            Route::Network(name) => networks::inspect(self, call, name).await,
            Route::NetworkRemove(name) => networks::remove(self, name).await,
            Route::NetworkConnect(name) => networks::connect(self, call, body, name).await,
            Route::NetworkDisconnect(name) => networks::disconnect(self, call, body, name).await,
            Route::NotServed(what) => Err(not_served(what)),
            objects => objects::answer(call, objects),
        }
    }

    /// Runs one operation on the store away from the sockets.
    pub(crate) async fn blocking<T, E>(
        &self,
        operation: impl FnOnce(&Engine) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        E: Send + 'static,
        Failure: From<E>,
    {
        let engine = self.engine.clone();
        let joined = spawn_blocking(move || operation(&engine)).await;
        joined.map_err(|error| Failure::internal(&error))?.map_err(Failure::from)
    }
}

fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("invalid"))
}

fn not_served(what: &str) -> Failure {
    Failure::new(StatusCode::NOT_IMPLEMENTED, format!("shale daemon does not serve {what} yet"))
}

fn ping(method: &Method) -> Answer {
    let mut answer = if *method == Method::HEAD {
        crate::answer::empty(StatusCode::OK)
    } else {
        whole(bytes::Bytes::from_static(b"OK"))
    };
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    // 2 would make clients build through BuildKit's own protocol.
    headers.insert("builder-version", HeaderValue::from_static("1"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    answer
}
