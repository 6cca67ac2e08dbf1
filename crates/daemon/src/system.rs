//! What the daemon says about itself and its machine, and logins.

use std::path::Path;

use http::StatusCode;
use serde_json::{Map, Value, json};
use shale_engine::containers::Status;
use shale_engine::machine;
use shale_engine::volumes::Volume;
use shale_engine_api::ApiVersion;
use shale_oci::Platform;
use shale_registry_client::credentials::registry_key;
use shale_registry_client::{ClientOptions, InsecureRegistry, LoginError, Network, Origin, Secret};

use crate::answer::{Answer, document};
use crate::body::RequestBody;
use crate::containers::list;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::registry_auth::AuthConfig;
use crate::request::Call;
use crate::volumes;

/// Answers `GET /version`.
pub(crate) fn version(daemon: &Daemon) -> Answer {
    let identity = &daemon.identity;
    let kernel = kernel();
    let (newest, oldest) = (ApiVersion::NEWEST.to_string(), ApiVersion::OLDEST.to_string());
    document(&json!({
        "Platform": { "Name": "Shale" },
        "Components": [{
            "Name": "Engine",
            "Version": identity.version,
            "Details": {
                "ApiVersion": newest,
                "Arch": Platform::host().architecture,
                "BuildTime": "",
                "Experimental": daemon.is_experimental().to_string(),
                "GitCommit": identity.commit,
                "GoVersion": "",
                "KernelVersion": kernel,
                "MinAPIVersion": oldest,
                "Os": std::env::consts::OS,
            },
        }],
        "Version": identity.version,
        "ApiVersion": newest,
        "MinAPIVersion": oldest,
        "GitCommit": identity.commit,
        "GoVersion": "",
        "Os": std::env::consts::OS,
        "Arch": Platform::host().architecture,
        "KernelVersion": kernel,
        "BuildTime": "",
    }))
}

/// Answers `GET /info`.
pub(crate) async fn info(daemon: &Daemon, call: &Call) -> Result<Answer, Failure> {
    let (images, containers) = daemon
        .blocking(|engine| {
            let images = engine.store().images().map_err(|error| Failure::internal(&error))?;
            let records = engine.container_records().map_err(|error| Failure::internal(&error))?;
            let images = images.iter().filter(|stored| stored.image.is_ok()).count();
            let statuses: Vec<Status> = records.iter().map(|record| record.status()).collect();
            Ok::<_, Failure>((images, statuses))
        })
        .await?;
    let count = |status: Status| containers.iter().filter(|found| **found == status).count();
    let (running, paused) = (count(Status::Running), count(Status::Paused));
    let root = daemon.engine.store().root();
    let mut described = json!({
        "ID": shale_oci::Digest::sha256(root.to_string_lossy().as_bytes()).hex(),
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": containers.len() - running - paused,
        "Images": images,
    });
    let more = [store(root), abilities(), host(daemon)];
    for (key, value) in more.into_iter().flat_map(|part| part.as_object().cloned().unwrap_or_default()) {
        described[key] = value;
    }
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

fn store(root: &Path) -> Value {
    json!({
        "Driver": "overlay2",
        "DriverStatus": [
            ["Backing Filesystem", machine::file_system(root)],
            ["Supports d_type", "true"],
            ["Native Overlay Diff", "true"],
            ["userxattr", "false"],
        ],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": null,
            "Log": ["json-file"],
        },
    })
}

/// What the kernel can do for containers; clients warn about what is missing.
fn abilities() -> Value {
    json!({
        "MemoryLimit": true,
        "SwapLimit": true,
        "CpuCfsPeriod": true,
        "CpuCfsQuota": true,
        "CPUShares": true,
        "CPUSet": true,
        "PidsLimit": true,
        "IPv4Forwarding": true,
        "BridgeNfIptables": true,
        "BridgeNfIp6tables": true,
    })
}

fn host(daemon: &Daemon) -> Value {
    let host = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let mut described = json!({
        "Debug": false,
        "NFd": open_files(),
        "OomKillDisable": true,
        "NGoroutines": threads(),
        "SystemTime": jiff::Timestamp::now().to_string(),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" },
        "NEventsListener": daemon.events.listeners(),
        "KernelVersion": kernel(),
        "OperatingSystem": machine::os_release("PRETTY_NAME"),
        "OSVersion": machine::os_release("VERSION_ID"),
        "OSType": std::env::consts::OS,
        "Architecture": text(host.machine()),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": registry_config(daemon.registries.options()),
    });
    let proxy =
        |name: &str| std::env::var(name).or_else(|_| std::env::var(name.to_lowercase())).unwrap_or_default();
    let more = json!({
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": machine::memory_bytes(),
        "GenericResources": null,
        "DockerRootDir": daemon.engine.store().root().to_string_lossy(),
        "HttpProxy": proxy("HTTP_PROXY"),
        "HttpsProxy": proxy("HTTPS_PROXY"),
        "NoProxy": proxy("NO_PROXY"),
        "Name": text(host.nodename()),
        "Labels": [],
        "ExperimentalBuild": daemon.is_experimental(),
        "ServerVersion": daemon.identity.version,
        "Runtimes": { "runc": { "path": "runc" } },
        "DefaultRuntime": "runc",
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": false,
            "Error": "",
            "RemoteManagers": null,
        },
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "",
        "ContainerdCommit": { "ID": "", "Expected": "" },
        "RuncCommit": { "ID": "", "Expected": "" },
        "InitCommit": { "ID": "", "Expected": "" },
        "SecurityOptions": ["name=seccomp,profile=default"],
        "Warnings": null,
    });
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        described[key] = value;
    }
    described
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

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn registry_config(options: &ClientOptions) -> Value {
    let mut hosts = Map::new();
    let mut networks = vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()];
    for registry in &options.insecure {
        match registry {
            InsecureRegistry::Host(host) => {
                let described = json!({ "Name": host, "Mirrors": [], "Secure": false, "Official": false });
                hosts.insert(host.clone(), described);
            }
            InsecureRegistry::Network(Network { address, prefix_bits }) => {
                let network = format!("{address}/{prefix_bits}");
                if !networks.contains(&network) {
                    networks.push(network);
                }
            }
        }
    }
    let mirrors = options.mirrors.get("docker.io").map(Vec::as_slice).unwrap_or_default();
    let mirrors: Vec<String> = mirrors.iter().map(|mirror| format!("{mirror}/")).collect();
    let hub = json!({ "Name": "docker.io", "Mirrors": mirrors, "Secure": true, "Official": true });
    hosts.insert("docker.io".to_owned(), hub);
    json!({
        "AllowNondistributableArtifactsCIDRs": [],
        "AllowNondistributableArtifactsHostnames": [],
        "InsecureRegistryCIDRs": networks,
        "IndexConfigs": hosts,
        "Mirrors": mirrors,
    })
}
