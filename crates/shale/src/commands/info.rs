//! `shale info`.

use serde_json::{Map, Value, json};
use shale_engine::{ContainerState, machine};
use shale_registry_client::{ClientOptions, InsecureRegistry, Network, Origin};

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
    let host = rustix::system::uname();
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
        "DriverStatus": [["Backing Filesystem", machine::file_system(root)], ["Supports d_type", "true"]],
        "KernelVersion": text(host.release()),
        "OperatingSystem": machine::os_release("PRETTY_NAME"),
        "OSType": std::env::consts::OS,
        "Architecture": text(host.machine()),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": machine::memory_bytes(),
        "Name": text(host.nodename()),
        "DockerRootDir": root.to_string_lossy(),
        "RegistryConfig": registry_config(&options),
    });
    print!("{}", render_info(&document, format)?);
    Ok(())
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
            InsecureRegistry::Network(Network { address, prefix_bits }) => {
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
