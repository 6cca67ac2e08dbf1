//! Documents about images: inspect, list and history.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shale_oci::{ImageId, RootFs, RunConfig};

use crate::ApiVersion;

/// What `GET /images/{name}/json` tells.
///
/// Source: moby daemon/images/image_inspect.go at v20.10.24 and v28.5.2, and the recorded answers of both.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // The names are the document's own.
pub struct ImageInspect {
    pub id: ImageId,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    pub parent: Option<ImageId>,
    pub comment: String,
    pub created: Option<String>,
    pub container: String,
    pub container_config: Option<RunConfig>,
    pub docker_version: String,
    pub author: String,
    pub config: Option<RunConfig>,
    pub architecture: String,
    pub variant: String,
    pub os: String,
    pub os_version: String,
    pub size_bytes: u64,
    pub graph_driver: GraphDriver,
    pub rootfs: RootFs,
    /// When the image last got a tag, RFC 3339.
    pub last_tag_time: Option<String>,
}

/// Where the top layer of an image lies.
#[derive(Debug, Clone, Default)]
pub struct GraphDriver {
    /// `LowerDir`, `MergedDir`, `UpperDir`, `WorkDir`; nothing for an image without layers.
    pub directories: Option<BTreeMap<&'static str, String>>,
}

const GO_ZERO_TIME: &str = "0001-01-01T00:00:00Z";

impl ImageInspect {
    /// Returns the document as a daemon of `version` sends it.
    pub fn document(&self, version: ApiVersion) -> Value {
        let mut document = Map::new();
        let mut set = |key: &str, value: Value| document.insert(key.to_owned(), value);
        set("Id", json!(self.id));
        set("RepoTags", json!(self.repo_tags));
        set("RepoDigests", json!(self.repo_digests));
        set("Parent", self.parent.map_or(json!(""), |parent| json!(parent)));
        set("Comment", json!(self.comment));
        // Sent since 1.44 only where the config has it; before, Go's zero time stood in.
        match (&self.created, version >= ApiVersion::one(44)) {
            (Some(created), _) => drop(set("Created", json!(created))),
            (None, false) => drop(set("Created", json!(GO_ZERO_TIME))),
            (None, true) => {}
        }
        if version < ApiVersion::one(45) {
            set("Container", json!(self.container));
            // Docker's image always carries the structure, empty where the config had none.
            set("ContainerConfig", json!(self.container_config.clone().unwrap_or_default()));
        }
        set("DockerVersion", json!(self.docker_version));
        set("Author", json!(self.author));
        let subset = version >= ApiVersion::one(50);
        if !subset {
            set("Config", json!(self.config));
        }
        set("Architecture", json!(self.architecture));
        if !self.variant.is_empty() {
            set("Variant", json!(self.variant));
        }
        set("Os", json!(self.os));
        if !self.os_version.is_empty() {
            set("OsVersion", json!(self.os_version));
        }
        set("Size", json!(self.size_bytes));
        if version < ApiVersion::one(44) {
            set("VirtualSize", json!(self.size_bytes));
        }
        set("GraphDriver", json!({ "Data": self.graph_driver.directories, "Name": "overlay2" }));
        let mut rootfs = json!({ "Type": "layers" });
        if !self.rootfs.diff_ids.is_empty() {
            rootfs["Layers"] = json!(self.rootfs.diff_ids);
        }
        set("RootFS", rootfs);
        set("Metadata", json!({ "LastTagTime": self.last_tag_time.as_deref().unwrap_or(GO_ZERO_TIME) }));
        if subset {
            set("Config", self.config.as_ref().map_or(Value::Null, oci_config));
        }
        Value::Object(document)
    }
}

/// Returns the fields of a config that the OCI image specification and Docker's extensions know, keys sorted.
fn oci_config(config: &RunConfig) -> Value {
    let mut fields = BTreeMap::from([
        ("Cmd", json!(config.cmd)),
        ("Entrypoint", json!(config.entrypoint)),
        ("Env", json!(config.env)),
        ("Labels", json!(config.labels)),
        ("OnBuild", json!(config.on_build)),
        ("User", json!(config.user)),
        ("Volumes", json!(config.volumes)),
        ("WorkingDir", json!(config.working_dir)),
    ]);
    let optional = [
        ("ArgsEscaped", config.args_escaped.then(|| json!(true))),
        (
            "ExposedPorts",
            config.exposed_ports.as_ref().filter(|ports| !ports.is_empty()).map(|ports| json!(ports)),
        ),
        ("Healthcheck", config.healthcheck.as_ref().map(|check| json!(check))),
        ("Shell", config.shell.as_ref().filter(|shell| !shell.is_empty()).map(|shell| json!(shell))),
        (
            "StopSignal",
            Some(&config.stop_signal).filter(|signal| !signal.is_empty()).map(|signal| json!(signal)),
        ),
    ];
    fields.extend(optional.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))));
    json!(fields)
}

/// One image of `GET /images/json`.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // The names are the document's own.
pub struct ImageSummary {
    pub id: ImageId,
    pub parent: Option<ImageId>,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    /// Seconds since 1970.
    pub created: i64,
    pub size_bytes: u64,
    /// Bytes of layers that other listed images have too; -1 where nobody asked.
    pub shared_size_bytes: i64,
    pub labels: Option<BTreeMap<String, String>>,
    /// Containers of the image; -1 where nobody asked.
    pub containers: i64,
}

impl ImageSummary {
    /// Returns the document as a daemon of `version` sends it.
    pub fn document(&self, version: ApiVersion) -> Value {
        let is_old = version < ApiVersion::one(43);
        let dangling = is_old && self.repo_tags.is_empty() && self.repo_digests.is_empty();
        let list = |names: &[String], none: &str| match names {
            [] if dangling => json!([none]),
            [] if is_old => Value::Null,
            names => json!(names),
        };
        let mut document = json!({
            "Containers": if version < ApiVersion::one(51) { -1 } else { self.containers },
            "Created": self.created,
            "Id": self.id,
            "Labels": self.labels,
            "ParentId": self.parent.map_or(json!(""), |parent| json!(parent)),
            "RepoDigests": list(&self.repo_digests, "<none>@<none>"),
            "RepoTags": list(&self.repo_tags, "<none>:<none>"),
            "SharedSize": self.shared_size_bytes,
            "Size": self.size_bytes,
        });
        if version < ApiVersion::one(44) {
            document["VirtualSize"] = json!(self.size_bytes);
        }
        document
    }
}

/// One row of `GET /images/{name}/history`, newest first.
#[derive(Debug, Clone)]
pub struct HistoryItem {
    /// The image that the step made, where the store has it; else `<missing>`.
    pub id: Option<ImageId>,
    /// Seconds since 1970.
    pub created: i64,
    /// The command.
    pub created_by: String,
    /// Names of that image.
    pub tags: Option<Vec<String>>,
    /// Bytes of the layer.
    pub size_bytes: u64,
    /// A note.
    pub comment: String,
}

impl HistoryItem {
    /// Returns the document, which is the same in all versions.
    pub fn document(&self) -> Value {
        json!({
            "Comment": self.comment,
            "Created": self.created,
            "CreatedBy": self.created_by,
            "Id": self.id.map_or("<missing>".to_owned(), |id| id.to_string()),
            "Size": self.size_bytes,
            "Tags": self.tags,
        })
    }
}
