//! Events for those who want to hear of them, in the format of the Docker registry; kept until they are delivered.
//!
//! Source: distribution, docs/content/about/notifications.md, read 2026-11.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header;
use serde_json::{Value, json};
use shale_oci::Digest;

use crate::config::Endpoint;
use crate::name::{RepositoryName, UploadId};
use crate::registry::{Registry, now};

const MEDIA_TYPE: &str = "application/vnd.docker.distribution.events.v2+json";
/// The longest wait between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// What happened.
pub(crate) struct Event<'a> {
    pub(crate) action: &'static str,
    pub(crate) repository: &'a RepositoryName,
    pub(crate) digest: Digest,
    pub(crate) media_type: &'a str,
    pub(crate) size_bytes: u64,
    pub(crate) tag: Option<&'a str>,
    pub(crate) from_repository: Option<&'a str>,
}

/// Who made it happen.
#[derive(Default)]
pub(crate) struct Cause {
    pub(crate) id: String,
    pub(crate) address: Option<IpAddr>,
    pub(crate) host: String,
    pub(crate) method: String,
    pub(crate) agent: String,
    pub(crate) user: Option<String>,
    pub(crate) base_url: String,
}

fn document(event: &Event<'_>, cause: &Cause) -> Value {
    let kind = if event.media_type == "application/octet-stream" { "blobs" } else { "manifests" };
    let mut target = json!({
        "mediaType": event.media_type,
        "digest": event.digest,
        "size": event.size_bytes,
        "length": event.size_bytes,
        "repository": event.repository.as_str(),
        "url": format!("{}/v2/{}/{kind}/{}", cause.base_url, event.repository, event.digest),
    });
    if let Some(tag) = event.tag {
        target["tag"] = json!(tag);
    }
    if let Some(from) = event.from_repository {
        target["fromRepository"] = json!(from);
    }
    envelope(event.action, target, cause)
}

/// What every event says, around its target.
fn envelope(action: &str, target: Value, cause: &Cause) -> Value {
    let timestamp = jiff::Timestamp::from_millisecond(now()).map(|at| at.to_string()).unwrap_or_default();
    json!({
        "id": UploadId::random().to_string(),
        "timestamp": timestamp,
        "action": action,
        "target": target,
        "request": {
            "id": cause.id,
            "addr": cause.address.map(|address| address.to_string()).unwrap_or_default(),
            "host": cause.host,
            "method": cause.method,
            "useragent": cause.agent,
        },
        "actor": match &cause.user {
            Some(user) => json!({ "name": user }),
            None => json!({}),
        },
        "source": { "addr": cause.host, "instanceID": std::process::id().to_string() },
    })
}

/// Queues `event` for every endpoint that wants it. What cannot be queued is logged: the event happened all the same.
pub(crate) async fn queue(registry: &Registry, event: &Event<'_>, cause: &Cause) {
    queue_for_all(registry, event.action, event.media_type, || document(event, cause)).await;
}

/// Queues that a whole repository is gone, for every endpoint; its name is all that is told.
///
/// Source: distribution notifications/bridge.go, RepoDeleted, read 2026-11.
pub(crate) async fn queue_removed(registry: &Registry, repository: &RepositoryName, cause: &Cause) {
    let target = || json!({ "repository": repository.as_str() });
    queue_for_all(registry, "delete", "", || envelope("delete", target(), cause)).await;
}

async fn queue_for_all(registry: &Registry, action: &str, media_type: &str, event: impl Fn() -> Value) {
    for endpoint in &registry.endpoints {
        let ignored = endpoint.ignore_actions.iter().any(|ignored| ignored == action)
            || endpoint.ignore_media_types.iter().any(|ignored| ignored == media_type);
        if ignored {
            continue;
        }
        let body = json!({ "events": [event()] }).to_string();
        match registry.metadata.queue_event(endpoint.name.clone(), body, now()).await {
            Ok(()) => {
                registry.metrics.events_waiting.fetch_add(1, Ordering::Relaxed);
                registry.events.notify_waiters();
            }
            Err(error) => tracing::error!("an event for {} is lost: {error}", endpoint.name),
        }
    }
}

/// Delivers the events of one endpoint, oldest first, each until it is taken.
pub(crate) async fn deliver(registry: Arc<Registry>, endpoint: Endpoint) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let built = reqwest::Client::builder()
        .timeout(endpoint.timeout)
        // An answer that points elsewhere is no delivery: it would carry our headers there.
        .redirect(reqwest::redirect::Policy::none())
        .build();
    let client = match built {
        Ok(client) => client,
        Err(error) => return tracing::error!("events for {} cannot be sent: {error}", endpoint.name),
    };
    let mut wait = endpoint.backoff;
    loop {
        let queued = registry.events.notified();
        let (number, body) = match registry.metadata.next_event(endpoint.name.clone()).await {
            Ok(Some(event)) => event,
            Ok(None) => {
                // Also looked at now and then: the notice may have come just before we listened.
                let _ = tokio::time::timeout(Duration::from_secs(5), queued).await;
                continue;
            }
            Err(error) => {
                tracing::error!("events for {} cannot be read: {error}", endpoint.name);
                tokio::time::sleep(BACKOFF_MAX).await;
                continue;
            }
        };
        let mut request = client.post(&endpoint.url).header(header::CONTENT_TYPE, MEDIA_TYPE).body(body);
        for (name, value) in &endpoint.headers {
            request = request.header(name, value);
        }
        match request.send().await.and_then(reqwest::Response::error_for_status) {
            Ok(_) => {
                wait = endpoint.backoff;
                if let Err(error) = registry.metadata.remove_event(number).await {
                    tracing::error!("an event for {} will come twice: {error}", endpoint.name);
                }
                registry.metrics.events_waiting.fetch_sub(1, Ordering::Relaxed);
            }
            Err(error) => {
                let error = error.without_url();
                tracing::warn!(
                    "{} did not take an event, next try in {} s: {error}",
                    endpoint.name,
                    wait.as_secs()
                );
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(BACKOFF_MAX);
            }
        }
    }
}
