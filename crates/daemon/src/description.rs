//! What an engine is, its machine and its registries: the documents of `GET /version` and `GET /info`.
//!
//! Of use without a daemon, too: `shale version` and `shale info` show the same.

use std::path::Path;

use serde_json::{Map, Value, json};
use shale_engine::containers::Status;
use shale_engine::{DiskError, Engine, machine};
use shale_engine_api::ApiVersion;
use shale_oci::Platform;
use shale_registry_client::{ClientOptions, InsecureRegistry, Network};

use crate::daemon::{Experiments, Identity};

/// Describes the program, as `GET /version` does.
pub fn describe_version(identity: &Identity, experiments: Experiments) -> Value {
    let kernel = kernel();
    let (newest, oldest) = (ApiVersion::NEWEST.to_string(), ApiVersion::OLDEST.to_string());
    json!({
        "Platform": { "Name": "Shale" },
        "Components": [{
            "Name": "Engine",
            "Version": identity.version,
            "Details": {
                "ApiVersion": newest,
                "Arch": Platform::host().architecture,
                "BuildTime": "",
                "Experimental": (experiments == Experiments::Served).to_string(),
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
    })
}

/// Describes a store, its machine and the registries of `options`, as `GET /info` does before 1.42.
///
/// # Errors
/// [`DiskError`] when images or containers cannot be listed.
pub fn describe_engine(
    engine: &Engine,
    options: &ClientOptions,
    identity: &Identity,
    experiments: Experiments,
) -> Result<Value, DiskError> {
    let images = engine.store().images()?;
    let containers: Vec<Status> = engine.container_records()?.iter().map(|record| record.status()).collect();
    let count = |status: Status| containers.iter().filter(|found| **found == status).count();
    let (running, paused) = (count(Status::Running), count(Status::Paused));
    let root = engine.store().root();
    let mut described = json!({
        "ID": shale_oci::Digest::sha256(root.to_string_lossy().as_bytes()).hex(),
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": containers.len() - running - paused,
        "Images": images.iter().filter(|stored| stored.image.is_ok()).count(),
    });
    let more = [store(root), abilities(), host(root, options), program(identity, experiments)];
    for (key, value) in more.into_iter().flat_map(|part| part.as_object().cloned().unwrap_or_default()) {
        described[key] = value;
    }
    Ok(described)
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

fn host(root: &Path, options: &ClientOptions) -> Value {
    let host = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let proxy = |name: &str| {
        let found = std::env::var(name).or_else(|_| std::env::var(name.to_lowercase()));
        without_credentials(&found.unwrap_or_default())
    };
    json!({
        "Debug": false,
        "NFd": open_files(),
        "OomKillDisable": true,
        "NGoroutines": threads(),
        "SystemTime": jiff::Timestamp::now().to_string(),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" },
        "NEventsListener": 0,
        "KernelVersion": kernel(),
        "OperatingSystem": machine::os_release("PRETTY_NAME"),
        "OSVersion": machine::os_release("VERSION_ID"),
        "OSType": std::env::consts::OS,
        "Architecture": text(host.machine()),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": registry_config(options),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": machine::memory_bytes(),
        "GenericResources": null,
        "DockerRootDir": root.to_string_lossy(),
        "HttpProxy": proxy("HTTP_PROXY"),
        "HttpsProxy": proxy("HTTPS_PROXY"),
        "NoProxy": proxy("NO_PROXY"),
        "Name": text(host.nodename()),
        "Labels": [],
    })
}

fn program(identity: &Identity, experiments: Experiments) -> Value {
    json!({
        "ExperimentalBuild": experiments == Experiments::Served,
        "ServerVersion": identity.version,
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
    })
}

/// Hides the name and the password of a proxy, as dockerd does: whoever may ask for `info` need not know them.
fn without_credentials(proxy: &str) -> String {
    let Some((scheme, rest)) = proxy.split_once("://") else { return proxy.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://xxxxx:xxxxx@{host}{path}"),
        None => proxy.to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_s_password_is_not_told() {
        // As dockerd 20.10 shows them.
        for (proxy, expected) in [
            ("http://me:secret@proxy:3128/", "http://xxxxx:xxxxx@proxy:3128/"),
            ("http://me@proxy:3128", "http://xxxxx:xxxxx@proxy:3128"),
            ("http://proxy:3128/@", "http://proxy:3128/@"),
            ("localhost,127.0.0.1", "localhost,127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(without_credentials(proxy), expected);
        }
    }
}
