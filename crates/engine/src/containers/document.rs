//! `docker inspect` of a container.

use serde_json::{Value, json};
use shale_store::DiskError;

use super::Record;
use crate::Engine;

impl Engine {
    /// Returns what Docker tells of a container; with `size`, also how large its files are.
    ///
    /// # Errors
    /// [`DiskError`] when its directories cannot be read.
    ///
    /// Source: moby `daemon/inspect.go` at v20.10.24.
    pub fn container_document(&self, record: &Record, size: bool) -> Result<Value, DiskError> {
        let stored = &record.document;
        let state = &stored["State"];
        let paths = self.mount_paths(&record.id)?;
        let mut document = json!({
            "Id": record.id,
            "Created": stored["Created"],
            "Path": stored["Path"],
            "Args": stored["Args"],
            "State": {
                "Status": record.status().word(),
                "Running": state["Running"], "Paused": state["Paused"], "Restarting": state["Restarting"],
                "OOMKilled": state["OOMKilled"], "Dead": state["Dead"], "Pid": state["Pid"],
                "ExitCode": state["ExitCode"], "Error": state["Error"], "StartedAt": state["StartedAt"],
                "FinishedAt": state["FinishedAt"],
            },
            "Image": stored["Image"],
            "ResolvConfPath": stored["ResolvConfPath"],
            "HostnamePath": stored["HostnamePath"],
            "HostsPath": stored["HostsPath"],
            "LogPath": stored["LogPath"],
            "Name": stored["Name"],
            "RestartCount": stored["RestartCount"],
            "Driver": stored["Driver"],
            "Platform": stored["OS"],
            "MountLabel": stored["MountLabel"],
            "ProcessLabel": stored["ProcessLabel"],
            "AppArmorProfile": stored["AppArmorProfile"],
            "ExecIDs": null,
            "HostConfig": record.host_config.document(),
            "GraphDriver": { "Data": null, "Name": "overlay2" },
        });
        if record.links().next().is_some() {
            document["HostConfig"]["Links"] = json!(self.shown_links(record)?);
        }
        if record.health().is_some() {
            document["State"]["Health"] = state["Health"].clone();
        }
        if let Some(paths) = &paths {
            let absolute = |path: &std::path::Path| {
                let path = self.store.overlay_path().join(path);
                // `l/X` is shown as what it leads to.
                let path = match std::fs::read_link(&path) {
                    Ok(target) => {
                        self.store.overlay_path().join(target.strip_prefix("..").unwrap_or(&target))
                    }
                    Err(_) => path,
                };
                std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned()
            };
            let lower: Vec<String> = paths.lower.iter().map(|path| absolute(path)).collect();
            document["GraphDriver"]["Data"] = json!({
                "LowerDir": lower.join(":"),
                "MergedDir": absolute(&paths.merged),
                "UpperDir": absolute(&paths.upper),
                "WorkDir": absolute(&paths.work),
            });
        }
        if size {
            let (rw, all) = self.container_sizes(record)?;
            document["SizeRw"] = rw.into();
            document["SizeRootFs"] = all.into();
        }
        document["Mounts"] = record.mount_points().map(mount_document).collect();
        document["Config"] = stored["Config"].clone();
        document["NetworkSettings"] = network_document(&stored["NetworkSettings"]);
        Ok(document)
    }

    /// Returns how many bytes the container wrote, and how many it sees.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn container_sizes(&self, record: &Record) -> Result<(u64, u64), DiskError> {
        let Some(paths) = self.mount_paths(&record.id)? else { return Ok((0, 0)) };
        let written =
            shale_rootfs::Rootfs::open(&paths.upper).and_then(|root| root.size_bytes()).unwrap_or(0);
        let mount = self.store.mounts()?.into_iter().find(|mount| mount.name == record.id);
        let chain = mount.and_then(|mount| mount.parent);
        let layers = chain.and_then(|chain| self.store.chain(chain).ok().flatten()).unwrap_or_default();
        let below: u64 = layers.iter().map(|layer| layer.size_bytes).sum();
        Ok((written, written + below))
    }
}

fn mount_document(point: &Value) -> Value {
    let mode = match &point["Relabel"] {
        Value::String(relabel) => relabel.clone(),
        _ => String::new(),
    };
    let mode = if point["RW"] == false && mode.is_empty() { "ro".to_owned() } else { mode };
    let mut mount = json!({ "Type": point["Type"] });
    for key in ["Name", "Source", "Destination", "Driver"] {
        if point[key].as_str().is_some_and(|text| !text.is_empty()) {
            mount[key] = point[key].clone();
        }
    }
    mount["Mode"] = mode.into();
    mount["RW"] = point["RW"].clone();
    mount["Propagation"] = point["Propagation"].as_str().unwrap_or_default().into();
    mount
}

fn network_document(stored: &Value) -> Value {
    let mut networks = stored["Networks"].clone();
    for network in networks.as_object_mut().into_iter().flat_map(|networks| networks.values_mut()) {
        if let Some(network) = network.as_object_mut() {
            network.shift_remove("IPAMOperational");
        }
    }
    json!({
        "Bridge": stored["Bridge"], "SandboxID": stored["SandboxID"], "HairpinMode": stored["HairpinMode"],
        "LinkLocalIPv6Address": stored["LinkLocalIPv6Address"],
        "LinkLocalIPv6PrefixLen": stored["LinkLocalIPv6PrefixLen"],
        "Ports": if stored["Ports"].is_null() { json!({}) } else { stored["Ports"].clone() },
        "SandboxKey": stored["SandboxKey"],
        "SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null, "EndpointID": "", "Gateway": "",
        "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPAddress": "", "IPPrefixLen": 0,
        "IPv6Gateway": "", "MacAddress": "",
        "Networks": networks,
    })
}
