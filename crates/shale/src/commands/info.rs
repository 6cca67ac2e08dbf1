//! `shale info`.

use std::path::Path;

use serde_json::{Map, Value, json};
use shale_engine::ContainerState;
use shale_registry_client::{ClientOptions, InsecureRegistry, Origin};

use super::Failure;
use crate::context::Context;
use crate::terminal::listing::system::render_info;

/// Prints what the store and the machine are; fields that belong to a daemon alone are left out.
pub fn run(context: &Context, format: Option<&str>) -> Result<(), Failure> {
    let engine = context.engine_to_look()?;
    let root = engine.store().root();
    let containers = engine.store().containers()?;
    let count =
        |is: fn(&ContainerState) -> bool| containers.iter().filter(|container| is(&container.state)).count();
    let (running, paused) = (count(|state| state.running && !state.paused), count(|state| state.paused));
    let machine = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let options = context.client_options()?;
    let document = json!({
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": containers.len() - running - paused,
        "Images": engine.store().images()?.iter().filter(|stored| stored.image.is_ok()).count(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", file_system(root)], ["Supports d_type", "true"]],
        "KernelVersion": text(machine.release()),
        "OperatingSystem": operating_system(),
        "OSType": std::env::consts::OS,
        "Architecture": text(machine.machine()),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": memory_bytes(),
        "Name": text(machine.nodename()),
        "DockerRootDir": root.to_string_lossy(),
        "RegistryConfig": registry_config(&options),
    });
    print!("{}", render_info(&document, format)?);
    Ok(())
}

/// Returns Docker's name for the file system that holds the store.
fn file_system(root: &Path) -> &'static str {
    // Source: statfs(2) and moby daemon/graphdriver/driver_linux.go at v28.5.2.
    match rustix::fs::statfs(root).map(|status| status.f_type as u32) {
        Ok(0xef53) => "extfs",
        Ok(0x5846_5342) => "xfs",
        Ok(0x9123_683e) => "btrfs",
        Ok(0x0102_1994) => "tmpfs",
        Ok(0x2fc1_2fc1) => "zfs",
        Ok(0x794c_7630) => "overlayfs",
        Ok(0xf2f5_2010) => "f2fs",
        Ok(0x6969) => "nfs",
        _ => "<unknown>",
    }
}

fn operating_system() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "<unknown>".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn memory_bytes() -> Option<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn registry_config(options: &ClientOptions) -> Value {
    let mut hosts = Map::new();
    let mut networks = vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()];
    for registry in &options.insecure {
        match registry {
            InsecureRegistry::Host(host) => {
                hosts.insert(
                    host.clone(),
                    json!({ "Name": host, "Mirrors": [], "Secure": false, "Official": false }),
                );
            }
            InsecureRegistry::Network { address, prefix_bits } => {
                let network = format!("{address}/{prefix_bits}");
                if !networks.contains(&network) {
                    networks.push(network);
                }
            }
        }
    }
    let mirrors = options.mirrors.get("docker.io").map(Vec::as_slice).unwrap_or_default();
    let mirrors: Vec<String> = mirrors.iter().map(|mirror: &Origin| format!("{mirror}/")).collect();
    hosts.insert(
        "docker.io".to_owned(),
        json!({ "Name": "docker.io", "Mirrors": mirrors, "Secure": true, "Official": true }),
    );
    json!({ "InsecureRegistryCIDRs": networks, "IndexConfigs": hosts, "Mirrors": mirrors })
}
