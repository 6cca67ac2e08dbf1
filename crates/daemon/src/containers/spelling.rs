//! Names in the document of a new container, whose case clients need not keep.

use serde_json::{Map, Value};
use shale_engine::containers::HostConfig;

/// Names of the document itself.
const OF_CONTAINER: [&str; 27] = [
    "ArgsEscaped",
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Cmd",
    "Domainname",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "HostConfig",
    "Hostname",
    "Image",
    "Labels",
    "MacAddress",
    "NetworkDisabled",
    "NetworkingConfig",
    "OnBuild",
    "OpenStdin",
    "Shell",
    "StdinOnce",
    "StopSignal",
    "StopTimeout",
    "Tty",
    "User",
    "Volumes",
    "WorkingDir",
];

/// Names of a host config that are not among the defaults.
const OF_HOST_CONFIG: [&str; 6] = ["Annotations", "Init", "Mounts", "StorageOpt", "Sysctls", "Tmpfs"];

/// Gives the names of a document and of its host config the case that Docker writes them in.
///
/// Go reads names in any case, and docker-py writes `CPURealtimePeriod`. Of a name that stands twice the last counts.
pub(super) fn correct(document: &mut Value) {
    let Some(document) = document.as_object_mut() else { return };
    respell(document, &OF_CONTAINER);
    if let Some(host) = document.get_mut("HostConfig").and_then(Value::as_object_mut) {
        let default = HostConfig::default();
        let names = default.document().as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        respell(host, &names.chain(OF_HOST_CONFIG).collect::<Vec<&str>>());
    }
}

fn respell(map: &mut Map<String, Value>, names: &[&str]) {
    let known = |written: &str| names.iter().find(|name| name.eq_ignore_ascii_case(written));
    if map.keys().all(|written| known(written).is_none_or(|name| *name == written)) {
        return;
    }
    for (written, value) in std::mem::take(map) {
        map.insert(known(&written).map_or(written, |name| (*name).to_owned()), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        let mut document = serde_json::json!({
            "image": "a", "Env": ["x=Y"], "foo": 1,
            "hostconfig": { "CPURealtimePeriod": 1000, "networkmode": "none", "tmpfs": { "/x": "" }, "Bar": 2 },
        });
        correct(&mut document);
        assert_eq!(
            document,
            serde_json::json!({
                "Image": "a", "Env": ["x=Y"], "foo": 1,
                "HostConfig": { "CpuRealtimePeriod": 1000, "NetworkMode": "none", "Tmpfs": { "/x": "" }, "Bar": 2 },
            })
        );
    }
}
