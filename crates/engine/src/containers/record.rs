//! `config.v2.json`: what Docker knows about a container.

use jiff::Timestamp;
use serde_json::{Value, json};
use shale_oci::{ImageId, RunConfig};
use shale_store::{Durability, RecordFiles};

use super::settings::HostConfig;

/// Go's zero time.
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";

/// A container, as its record has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    pub(super) document: Value,
    /// How it is tied to the host.
    pub host_config: HostConfig,
}

/// A volume in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedVolume {
    /// The volume.
    pub name: String,
    /// Where the container sees it.
    pub destination: String,
    /// Whether the container may write to it.
    pub is_writable: bool,
}

/// Where a container is in its life, in Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

impl Status {
    /// Returns the word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Removing => "removing",
            Status::Exited => "exited",
            Status::Dead => "dead",
        }
    }
}

impl Record {
    /// Parses a record; `None` when it is none.
    pub(super) fn parse(id: &str, files: &RecordFiles) -> Option<Record> {
        let document: Value = serde_json::from_slice(&files.config).ok()?;
        let host_config = serde_json::from_slice(&files.host_config).ok()?;
        (document["ID"] == id).then(|| Record {
            id: id.to_owned(),
            document,
            host_config: HostConfig(host_config),
        })
    }

    /// Returns the bytes of `config.v2.json`.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = go_json(&self.document).into_bytes();
        bytes.push(b'\n');
        bytes
    }

    /// Returns the bytes of both documents.
    pub(super) fn files(&self) -> RecordFiles {
        let mut host_config = go_json(&self.host_config.0).into_bytes();
        host_config.push(b'\n');
        RecordFiles { config: self.encode(), host_config }
    }

    fn text(&self, key: &str) -> &str {
        self.document[key].as_str().unwrap_or_default()
    }

    /// Returns the name without the slash that Docker writes before it.
    pub fn name(&self) -> &str {
        self.text("Name").trim_start_matches('/')
    }

    /// Returns the image that the container was made from; `None` when the record names none.
    pub fn image(&self) -> Option<ImageId> {
        self.text("Image").parse().ok()
    }

    /// Returns the image as it was named then.
    pub fn image_name(&self) -> &str {
        self.document["Config"]["Image"].as_str().unwrap_or_default()
    }

    /// Returns when it was made.
    pub fn created(&self) -> Timestamp {
        self.text("Created").parse().unwrap_or_default()
    }

    /// Returns the program and its arguments.
    pub fn command(&self) -> Vec<String> {
        let args = self.document["Args"].as_array().into_iter().flatten();
        std::iter::once(&self.document["Path"])
            .chain(args)
            .filter_map(|word| Some(word.as_str()?.to_owned()))
            .collect()
    }

    /// Returns what the container runs, and with what.
    pub fn config(&self) -> RunConfig {
        serde_json::from_value(self.document["Config"].clone()).unwrap_or_default()
    }

    /// Returns where the container is in its life.
    pub fn status(&self) -> Status {
        let state = &self.document["State"];
        let is = |key: &str| state[key] == true;
        if is("Restarting") {
            Status::Restarting
        } else if is("Running") && is("Paused") {
            Status::Paused
        } else if is("Running") {
            Status::Running
        } else if is("RemovalInProgress") {
            Status::Removing
        } else if is("Dead") {
            Status::Dead
        } else if self.started().is_none() {
            Status::Created
        } else {
            Status::Exited
        }
    }

    /// Returns whether it runs, paused or not, or is about to be started again.
    pub fn is_running(&self) -> bool {
        matches!(self.status(), Status::Running | Status::Paused | Status::Restarting)
    }

    /// Returns the exit code; 0 for a container that has not ended.
    pub fn exit_code(&self) -> i64 {
        self.document["State"]["ExitCode"].as_i64().unwrap_or_default()
    }

    /// Returns when it was started last.
    pub fn started(&self) -> Option<Timestamp> {
        time(&self.document["State"]["StartedAt"])
    }

    /// Returns when it ended last.
    pub fn finished(&self) -> Option<Timestamp> {
        time(&self.document["State"]["FinishedAt"])
    }

    /// Returns its mounts, as Docker's `MountPoints`.
    pub(super) fn mount_points(&self) -> impl Iterator<Item = &Value> {
        self.document["MountPoints"].as_object().into_iter().flat_map(|mounts| mounts.values())
    }

    /// Returns the names of its volumes and the sources of its binds, as `docker ps` shows them.
    pub fn mount_names(&self) -> Vec<String> {
        let text =
            |point: &Value, key: &str| point[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        self.mount_points()
            .filter_map(|point| text(point, "Name").or_else(|| text(point, "Source")))
            .collect()
    }

    /// Returns the volumes that it mounts.
    pub fn volumes(&self) -> impl Iterator<Item = MountedVolume> {
        self.mount_points().filter(|point| point["Type"] == "volume").filter_map(|point| {
            Some(MountedVolume {
                name: point["Name"].as_str()?.to_owned(),
                destination: point["Destination"].as_str()?.to_owned(),
                is_writable: point["RW"] != false,
            })
        })
    }

    /// Returns its network's name.
    pub fn network(&self) -> &str {
        self.host_config.0["NetworkMode"].as_str().unwrap_or_default()
    }

    /// Returns the labels, name and value.
    pub fn labels(&self) -> Vec<(String, String)> {
        self.config().labels.unwrap_or_default().into_iter().collect()
    }

    /// Returns whether it is removed when it ends.
    pub fn is_auto_remove(&self) -> bool {
        self.host_config.0["AutoRemove"] == true
    }

    /// Returns what its record has to survive.
    pub(super) fn durability(&self) -> Durability {
        if self.is_auto_remove() { Durability::Volatile } else { Durability::Durable }
    }

    pub(super) fn set_state(&mut self, key: &str, value: impl Into<Value>) {
        self.document["State"][key] = value.into();
    }

    /// Returns where the log is; empty when there is none.
    pub fn log_path(&self) -> &str {
        self.text("LogPath")
    }
}

/// How a container is in a network before it ever ran.
pub(super) fn new_endpoint() -> Value {
    json!({
        "IPAMConfig": null, "Links": null, "Aliases": null, "NetworkID": "", "EndpointID": "",
        "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
        "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "MacAddress": "", "DriverOpts": null,
        "IPAMOperational": false,
    })
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str().filter(|text| !text.starts_with("0001-01-01T")).and_then(|text| text.parse().ok())
}

/// JSON as Go's encoder writes it: `<`, `>`, `&` and two line separators escaped.
pub(super) fn go_json(value: &Value) -> String {
    value
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// What a new record is made of.
pub(super) struct NewRecord<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub created: Timestamp,
    pub image: ImageId,
    pub command: &'a [String],
    pub config: &'a RunConfig,
    pub host_config: HostConfig,
    pub mount_points: Value,
    pub directory: &'a str,
    pub network: &'a str,
}

impl NewRecord<'_> {
    /// Writes the record of a container that was never started, with all of Docker's keys.
    ///
    /// Source: `config.v2.json` of dockerd 20.10.24, observed 2026-11-22.
    pub(super) fn record(self) -> Record {
        let directory = self.directory;
        let path = |file: &str| format!("{directory}/{file}");
        // As in Docker, only its default driver names its file.
        let log_path = match self.host_config.0["LogConfig"]["Type"].as_str() {
            Some("" | "json-file") | None => path(&format!("{}-json.log", self.id)),
            Some(_) => String::new(),
        };
        let document = json!({
            "StreamConfig": {},
            "State": {
                "Running": false, "Paused": false, "Restarting": false, "OOMKilled": false,
                "RemovalInProgress": false, "Dead": false, "Pid": 0, "ExitCode": 0, "Error": "",
                "StartedAt": NEVER, "FinishedAt": NEVER, "Health": null,
            },
            "ID": self.id,
            "Created": self.created.to_string(),
            "Managed": false,
            "Path": self.command.first().cloned().unwrap_or_default(),
            "Args": self.command.get(1..).unwrap_or_default(),
            "Config": self.config,
            "Image": self.image.to_string(),
            "NetworkSettings": {
                "Bridge": "", "SandboxID": "", "HairpinMode": false, "LinkLocalIPv6Address": "",
                "LinkLocalIPv6PrefixLen": 0,
                "Networks": { self.network: new_endpoint() },
                "Service": null, "Ports": null, "SandboxKey": "", "SecondaryIPAddresses": null,
                "SecondaryIPv6Addresses": null, "IsAnonymousEndpoint": false, "HasSwarmEndpoint": false,
            },
            "LogPath": log_path,
            "Name": format!("/{}", self.name),
            "Driver": "overlay2",
            "OS": "linux",
            "MountLabel": "", "ProcessLabel": "", "RestartCount": 0, "HasBeenStartedBefore": false,
            "HasBeenManuallyStopped": false,
            "MountPoints": self.mount_points,
            "SecretReferences": null, "ConfigReferences": null, "AppArmorProfile": "",
            "HostnamePath": path("hostname"), "HostsPath": path("hosts"), "ShmPath": "",
            "ResolvConfPath": path("resolv.conf"),
            "SeccompProfile": "", "NoNewPrivileges": false,
            "LocalLogCacheMeta": { "HaveNotifyEnabled": false },
        });
        Record { id: self.id.to_owned(), document, host_config: self.host_config }
    }
}
