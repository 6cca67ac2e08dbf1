//! The image config: a typed view for reading; the bytes as received stay the truth, and the image ID is their digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{DiffId, ImageId, Platform, Verified};

/// An image config as Docker and OCI write it. Absent and `null` are the same, as Go reads them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct ImageConfig {
    /// Processor architecture.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// Who made the image.
    #[serde(default, deserialize_with = "null_is_default")]
    pub author: String,
    /// A note; written by `import`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub comment: String,
    /// What a container runs by default.
    #[serde(default)]
    pub config: Option<RunConfig>,
    /// The container that the image was committed from.
    #[serde(default, deserialize_with = "null_is_default")]
    pub container: String,
    /// The config of that container.
    #[serde(default)]
    pub container_config: Option<RunConfig>,
    /// When the image was made, RFC 3339, as it stands in the document.
    #[serde(default)]
    pub created: Option<String>,
    /// The Docker that made the image.
    #[serde(default, deserialize_with = "null_is_default")]
    pub docker_version: String,
    /// How the image was made, oldest first.
    #[serde(default, deserialize_with = "entries")]
    pub history: Vec<HistoryEntry>,
    /// Operating system.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// Version of the operating system; Windows only.
    #[serde(rename = "os.version", default, deserialize_with = "null_is_default")]
    pub os_version: String,
    /// Features of the operating system; Windows only.
    #[serde(rename = "os.features", default, deserialize_with = "null_is_default")]
    pub os_features: Vec<String>,
    /// The layers.
    pub rootfs: RootFs,
    /// Variant of the architecture.
    #[serde(default, deserialize_with = "null_is_default")]
    pub variant: String,
}

/// The layers of an image, bottom first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    pub kind: String,
    /// The diff ID of each layer, bottom first.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub diff_ids: Vec<DiffId>,
}

/// One step in the making of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// The command.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// A note.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// What a container runs, as Docker's `container.Config` has it.
///
/// Field order and the fields that are left out when empty are Docker's, so that a document made from it is Docker's.
/// Source: moby api/types/container/config.go at v20.10.24.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // The names are Docker's own and its documentation explains them.
pub struct RunConfig {
    #[serde(deserialize_with = "null_is_default")]
    pub hostname: String,
    #[serde(deserialize_with = "null_is_default")]
    pub domainname: String,
    #[serde(deserialize_with = "null_is_default")]
    pub user: String,
    #[serde(deserialize_with = "null_is_default")]
    pub attach_stdin: bool,
    #[serde(deserialize_with = "null_is_default")]
    pub attach_stdout: bool,
    #[serde(deserialize_with = "null_is_default")]
    pub attach_stderr: bool,
    #[serde(skip_serializing_if = "is_empty_map")]
    pub exposed_ports: Option<BTreeMap<String, Empty>>,
    #[serde(deserialize_with = "null_is_default")]
    pub tty: bool,
    #[serde(deserialize_with = "null_is_default")]
    pub open_stdin: bool,
    #[serde(deserialize_with = "null_is_default")]
    pub stdin_once: bool,
    pub env: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    #[serde(deserialize_with = "null_is_default")]
    pub image: String,
    pub volumes: Option<BTreeMap<String, Empty>>,
    #[serde(deserialize_with = "null_is_default")]
    pub working_dir: String,
    pub entrypoint: Option<Vec<String>>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub network_disabled: bool,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    pub on_build: Option<Vec<String>>,
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    #[serde(skip_serializing_if = "is_empty_list")]
    pub shell: Option<Vec<String>>,
}

/// Go's `struct{}`: an object without fields, the value of a set's members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Empty {}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Empty, D::Error> {
        // Members may carry anything; Go drops it, and so does this.
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Empty {})
    }
}

/// How a container's health is checked; durations in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)] // The names are Docker's own and its documentation explains them.
pub struct Healthcheck {
    #[serde(skip_serializing_if = "is_empty_list")]
    pub test: Option<Vec<String>>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub interval: i64,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// Why a config describes no image.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or a field of another type; also an image without `rootfs`.
    #[error("image config is not valid")]
    Json(#[from] serde_json::Error),
    /// A time that is none.
    #[error("image config has the time {0:?}, which is not RFC 3339")]
    Time(String),
    /// The history claims more layers than there are.
    #[error("image config has {history} history entries with a layer, but {layers} layers")]
    History {
        /// Entries that made a layer.
        history: usize,
        /// Diff IDs.
        layers: usize,
    },
}

impl ImageConfig {
    /// Reads a config.
    pub fn parse(json: &[u8]) -> Result<ImageConfig, ConfigError> {
        let config: ImageConfig = serde_json::from_slice(json)?;
        let times =
            config.created.iter().chain(config.history.iter().filter_map(|entry| entry.created.as_ref()));
        if let Some(bad) = times.into_iter().find(|time| time.parse::<jiff::Timestamp>().is_err()) {
            return Err(ConfigError::Time(bad.clone()));
        }
        let history = config.history.iter().filter(|entry| !entry.empty_layer).count();
        let layers = config.rootfs.diff_ids.len();
        if history > layers {
            return Err(ConfigError::History { history, layers });
        }
        Ok(config)
    }

    /// Returns the ID of the image whose config these bytes are.
    pub fn image_id(bytes: &Verified) -> ImageId {
        ImageId::new(bytes.digest())
    }

    /// Returns the operating system, `linux` where the config is silent, as Docker takes it.
    pub fn os_or_linux(&self) -> &str {
        if self.os.is_empty() { "linux" } else { &self.os }
    }

    /// Returns what the image runs on.
    pub fn platform(&self) -> Platform {
        let variant = (!self.variant.is_empty()).then_some(self.variant.as_str());
        Platform::new(self.os_or_linux(), &self.architecture, variant)
    }

    /// Returns when the image was made.
    pub fn created_at(&self) -> Option<jiff::Timestamp> {
        self.created.as_deref().and_then(|created| created.parse().ok())
    }

    /// Pairs each history entry with the index of the layer that it made, oldest first.
    pub fn history_with_layers(&self) -> impl Iterator<Item = (&HistoryEntry, Option<usize>)> {
        let mut next_layer = 0;
        self.history.iter().map(move |entry| {
            let layer = (!entry.empty_layer).then_some(next_layer);
            next_layer += usize::from(!entry.empty_layer);
            (entry, layer)
        })
    }
}

fn null_is_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a list whose members may be `null`, which Go reads as an empty entry.
fn entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<HistoryEntry>, D::Error> {
    let entries: Option<Vec<Option<HistoryEntry>>> = Option::deserialize(deserializer)?;
    Ok(entries.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect())
}

fn is_empty_map<V>(map: &Option<BTreeMap<String, V>>) -> bool {
    map.as_ref().is_none_or(BTreeMap::is_empty)
}

fn is_empty_list(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChainId, Digest};

    #[test]
    fn a_published_config_reads_whole() {
        let bytes = include_bytes!("../../../fixtures/vectors/nginx-1.21.5.config.json");
        let inspect: serde_json::Value =
            serde_json::from_str(include_str!("../../../fixtures/vectors/nginx-1.21.5.inspect.json"))
                .unwrap();
        let inspect = inspect.get(0).unwrap_or(&inspect);
        assert_eq!(inspect["Id"], Digest::sha256(bytes).to_string());
        let config = ImageConfig::parse(bytes).unwrap();
        assert_eq!(config.rootfs.diff_ids.len(), 6);
        assert_eq!(ChainId::stack(&config.rootfs.diff_ids).len(), 6);
        assert_eq!(inspect["Architecture"], config.architecture);
        // Docker's inspect printed this object from its own structure, so ours must make the same one, key for key.
        let run_config = serde_json::to_value(config.config.unwrap()).unwrap();
        assert_eq!(inspect["Config"], run_config);
    }

    #[test]
    fn nulls_are_read_as_go_reads_them() {
        let json = br#"{"architecture":null,"config":null,"history":[null],"created":null,"os":null,
            "rootfs":{"type":"layers","diff_ids":["sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]}}"#;
        let config = ImageConfig::parse(json).unwrap();
        assert_eq!(config.os_or_linux(), "linux");
        assert_eq!(config.history.len(), 1);
        assert_eq!(config.history_with_layers().next().unwrap().1, Some(0));
    }

    #[test]
    fn configs_of_no_image_are_refused() {
        for case in ["J28-no-rootfs", "J32-config-array", "J33-config-null", "J36-date", "J39-bom"] {
            let path = format!(
                concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/hostile/json/{}.config.json"),
                case
            );
            let json = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(ImageConfig::parse(&json).is_err(), "{case}");
        }
        let more_history = br#"{"rootfs":{"type":"layers"},"history":[{"created_by":"x"}]}"#;
        assert!(matches!(
            ImageConfig::parse(more_history),
            Err(ConfigError::History { history: 1, layers: 0 })
        ));
    }
}
