//! What the daemon says about itself and its machine, and logins.

use std::path::Path;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use shale_engine::volumes::Volume;
use shale_engine_api::ApiVersion;
use shale_registry_client::credentials::registry_key;
use shale_registry_client::{LoginError, Origin, Secret};

use crate::answer::{Answer, document};
use crate::body::RequestBody;
use crate::containers::list;
use crate::daemon::Daemon;
use crate::description::{describe_engine, describe_version};
use crate::failure::Failure;
use crate::registry_auth::AuthConfig;
use crate::request::Call;
use crate::volumes;

/// Answers `GET /version`.
pub(crate) fn version(daemon: &Daemon) -> Answer {
    document(&describe_version(&daemon.identity, daemon.experiments))
}

/// Answers `GET /info`.
pub(crate) async fn info(daemon: &Daemon, call: &Call) -> Result<Answer, Failure> {
    let (registries, identity) = (daemon.registries.clone(), Arc::clone(&daemon.identity));
    let experiments = daemon.experiments;
    let described = daemon.blocking(move |engine| {
        describe_engine(engine, registries.options(), &identity, experiments)
            .map_err(|error| Failure::internal(&error))
    });
    let mut described = described.await?;
    described["NEventsListener"] = json!(daemon.events.listeners());
    if call.version < ApiVersion::one(42) {
        // Limits of the kernel's own memory, which went with the first version of control groups.
        let has_limits = Path::new("/sys/fs/cgroup/memory/memory.kmem.limit_in_bytes").exists();
        described["KernelMemory"] = json!(has_limits);
        described["KernelMemoryTCP"] = json!(has_limits);
    }
    if call.version >= ApiVersion::one(44) {
        described["CDISpecDirs"] = json!([]);
    }
    if call.version >= ApiVersion::one(49) {
        leave_out_old(&mut described);
    }
    Ok(document(&described))
}

/// Takes out what the API no longer has from 1.49 on.
fn leave_out_old(described: &mut Value) {
    let mut remove = |object: &str, key: &str| {
        let of = if object.is_empty() { Some(&mut *described) } else { described.get_mut(object) };
        of.and_then(Value::as_object_mut).map(|map| map.shift_remove(key));
    };
    for commit in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
        remove(commit, "Expected");
    }
    for key in ["AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames"] {
        remove("RegistryConfig", key);
    }
    for key in ["BridgeNfIptables", "BridgeNfIp6tables"] {
        remove("", key);
    }
}

/// Answers `GET /system/df`.
pub(crate) async fn disk_usage(daemon: &Daemon, call: &Call) -> Result<Answer, Failure> {
    let types = if call.version >= ApiVersion::one(42) { call.query.list("type") } else { Vec::new() };
    for name in &types {
        if !matches!(name.as_str(), "container" | "image" | "volume" | "build-cache") {
            return Err(Failure::invalid(format!("unknown object type: {name}")));
        }
    }
    let is_wanted = |name: &str| types.is_empty() || types.iter().any(|wanted| wanted == name);
    let usage = daemon.blocking(|engine| engine.disk_usage()).await?;
    let mut answer = json!({});
    if is_wanted("image") {
        answer["LayersSize"] = json!(usage.layers_size_bytes);
        let images = usage.images.iter().map(|image| {
            let mut described = image.document(call.version);
            // Counted here at every version, in the list of images only from 1.51.
            described["Containers"] = json!(image.containers);
            described
        });
        answer["Images"] = images.collect();
    }
    if is_wanted("container") {
        let version = call.version;
        let rows = daemon.blocking(move |engine| -> Result<Vec<Value>, Failure> {
            let records = engine.container_records().map_err(|error| Failure::internal(&error))?;
            records.iter().map(|record| list::row(engine, record, true, version)).collect()
        });
        answer["Containers"] = json!(rows.await?);
    }
    if is_wanted("volume") {
        let rows = daemon.blocking(|engine| -> Result<Vec<Value>, Failure> {
            let row = |volume: &Volume| {
                let mut row = volumes::described(volume);
                row["UsageData"] = json!({ "RefCount": volume.users.len(), "Size": volume.size_bytes() });
                row
            };
            Ok(engine.volumes()?.iter().map(row).collect())
        });
        answer["Volumes"] = json!(rows.await?);
    }
    if is_wanted("build-cache") {
        answer["BuildCache"] = if call.version < ApiVersion::one(42) { Value::Null } else { json!([]) };
    }
    if call.version < ApiVersion::one(42) {
        answer["BuilderSize"] = json!(0);
    }
    Ok(document(&answer))
}

/// Answers `POST /auth`: tries a name and a password, and stores nothing.
pub(crate) async fn auth(daemon: &Daemon, call: &Call, body: RequestBody) -> Result<Answer, Failure> {
    let config: AuthConfig = call.document(body).await?;
    let address = config.serveraddress.as_str();
    let rest =
        address.strip_prefix("https://").or_else(|| address.strip_prefix("http://")).unwrap_or(address);
    let host = rest.split('/').next().unwrap_or(rest);
    let host = if host.is_empty() || registry_key(host).starts_with("https://") { "docker.io" } else { host };
    let attempt = daemon.registries.login(host, &config.username, Secret::new(config.password)).await;
    match attempt {
        Ok(result) => {
            let token = result.identity_token.as_ref().map(Secret::reveal).unwrap_or_default();
            Ok(document(&json!({ "IdentityToken": token, "Status": result.status })))
        }
        Err(LoginError::Refused { answer }) => {
            let status = StatusCode::from_u16(answer.status).ok();
            let reason = status.and_then(|status| status.canonical_reason()).unwrap_or("refused");
            let scheme = if is_loopback(host) { "http" } else { "https" };
            let number = answer.status;
            Err(Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("login attempt to {scheme}://{host}/v2/ failed with status: {number} {reason}"),
            ))
        }
        Err(error) => Err(error.into()),
    }
}

/// Registries on loopback are spoken to without TLS unless they offer it.
fn is_loopback(host: &str) -> bool {
    Origin::new(shale_registry_client::Scheme::Http, host).is_some_and(|origin| origin.is_loopback())
}
