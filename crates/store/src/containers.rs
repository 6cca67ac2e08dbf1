//! Containers' records: `containers/<id>/config.v2.json`, and the volumes they mount; read only.
//!
//! Promise: a record that cannot be read hides no other, and no record makes this read without bound.
//! Not here: starting, stopping or changing containers.
//!
//! Source: moby `container/container.go` and `container/state.go` as written by 20.10.24 and 28.5.2.

use std::io::Read;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;
use shale_oci::ImageId;

use crate::Store;
use crate::durable::{self, DiskError};
use crate::layout::{self, Layout};
use crate::mounts::Mount;

/// Records of more bytes are not read; Docker's own are a few kilobytes long.
const RECORD_BYTES_MAX: u64 = 4 << 20;

/// A container as its record has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name, without the slash that Docker writes before it.
    pub name: String,
    /// The image that it was made from; `None` when the record names none.
    pub image: Option<ImageId>,
    /// The image as it was named then.
    pub image_name: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What it was doing when the record was written.
    pub state: ContainerState,
    /// Names of the volumes that it mounts.
    pub volumes: Vec<String>,
}

/// What a container was doing when its record was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // The names are Docker's own.
pub struct ContainerState {
    pub running: bool,
    pub paused: bool,
    pub restarting: bool,
    pub removing: bool,
    pub dead: bool,
    pub exit_code: i64,
    /// `None` when it was never started.
    pub started: Option<Timestamp>,
    /// `None` when it never ended.
    pub finished: Option<Timestamp>,
    /// `healthy`, `unhealthy`, `starting`; empty without a health check.
    pub health: String,
}

/// A local volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The directory with its files.
    pub path: PathBuf,
}

impl Store {
    /// Returns the containers whose records can be read, in the order of their ids.
    ///
    /// # Errors
    /// [`DiskError`] when the directory cannot be listed; records that cannot be read are left out.
    pub fn containers(&self) -> Result<Vec<Container>, DiskError> {
        let mut ids = durable::names(&self.layout.containers())?;
        ids.retain(|id| layout::is_cache_id(id));
        ids.sort_unstable();
        Ok(ids.iter().filter_map(|id| read(&self.layout, id)).collect())
    }

    /// Returns the local volumes in the order of their names.
    ///
    /// # Errors
    /// [`DiskError`] when the directory cannot be listed.
    pub fn volumes(&self) -> Result<Vec<Volume>, DiskError> {
        let directory = self.layout.volumes();
        let mut names = durable::names(&directory)?;
        names.sort_unstable();
        let volumes =
            names.into_iter().map(|name| Volume { path: directory.join(&name).join("_data"), name });
        Ok(volumes.filter(|volume| volume.path.is_dir()).collect())
    }

    /// Returns the directory that holds what a container wrote; `None` when its files do not say which it is.
    pub fn writable_path(&self, mount: &Mount) -> Option<PathBuf> {
        Some(self.layout.cache(mount.mount_id.as_deref()?).join("diff"))
    }
}

/// Lists the containers that have a record and no mount, so that the directories they need are not known.
///
/// dockerd takes the mount away first and marks the record before; of such a one nothing is left.
pub(crate) fn without_mount(layout: &Layout, mounts: &[Mount]) -> Result<Vec<String>, DiskError> {
    let mut lost = Vec::new();
    for id in durable::names(&layout.containers())? {
        let has_mount = mounts.iter().any(|mount| mount.name == id);
        if has_mount || !layout::is_cache_id(&id) || durable::metadata(&layout.container(&id))?.is_none() {
            continue;
        }
        let is_going =
            read(layout, &id).is_some_and(|container| container.state.dead || container.state.removing);
        if !is_going {
            lost.push(id);
        }
    }
    lost.sort_unstable();
    Ok(lost)
}

fn read(layout: &Layout, id: &str) -> Option<Container> {
    let file = durable::open(&layout.container(id)).ok()??;
    let mut json = Vec::new();
    let length = file.take(RECORD_BYTES_MAX + 1).read_to_end(&mut json).ok()?;
    (length as u64 <= RECORD_BYTES_MAX).then(|| parse(id, &json)).flatten()
}

/// Parses a record; `None` when it is none.
fn parse(id: &str, json: &[u8]) -> Option<Container> {
    let record: Record = serde_json::from_slice(json).ok()?;
    let state = record.state.unwrap_or_default();
    let volumes = record.mount_points.unwrap_or_default().into_values().filter_map(|mount| {
        let name = mount.name.filter(|name| !name.is_empty())?;
        let is_volume = matches!(mount.kind.as_deref(), None | Some("" | "volume"));
        let is_local = matches!(mount.driver.as_deref(), None | Some("" | "local"));
        (is_volume && is_local).then_some(name)
    });
    Some(Container {
        id: id.to_owned(),
        name: record.name.map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default(),
        image: record.image.and_then(|image| image.parse().ok()),
        image_name: record.config.and_then(|config| config.image).unwrap_or_default(),
        created: time(record.created.as_deref()),
        command: record.path.into_iter().chain(record.args.unwrap_or_default()).collect(),
        state: ContainerState {
            running: state.running,
            paused: state.paused,
            restarting: state.restarting,
            removing: state.removal_in_progress,
            dead: state.dead,
            exit_code: state.exit_code,
            started: time(state.started_at.as_deref()),
            finished: time(state.finished_at.as_deref()),
            health: state.health.and_then(|health| health.status).unwrap_or_default(),
        },
        volumes: volumes.collect(),
    })
}

/// Parses a time; Go's zero time stands for none.
fn time(text: Option<&str>) -> Option<Timestamp> {
    text.filter(|text| !text.starts_with("0001-01-01T")).and_then(|text| text.parse().ok())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    config: Option<RecordConfig>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    state: Option<RecordState>,
    #[serde(default)]
    mount_points: Option<std::collections::BTreeMap<String, RecordMount>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordConfig {
    #[serde(default)]
    image: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RecordState {
    running: bool,
    paused: bool,
    restarting: bool,
    removal_in_progress: bool,
    dead: bool,
    exit_code: i64,
    started_at: Option<String>,
    finished_at: Option<String>,
    health: Option<RecordHealth>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordHealth {
    #[serde(default)]
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordMount {
    #[serde(rename = "Type", default)]
    kind: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    driver: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_dockerd_reads_whole() {
        // From the golden data root of 20.10.24, shortened where nothing is read; the health is 28's.
        let json = br#"{"StreamConfig":{},"State":{"Running":false,"Paused":false,"ExitCode":3,"StartedAt":"0001-01-01T00:00:00Z",
            "FinishedAt":"2026-11-21T22:21:44Z","Health":{"Status":"healthy"}},"ID":"3eb6","Created":"2026-11-21T22:21:43.823086831Z",
            "Path":"/bin/sh","Args":["-c","cat /app/copied.txt"],"Config":{"Hostname":"3eb6b54860cb","Image":"fx/app:1"},
            "Image":"sha256:15844857f18fbd8ce7f3636977d730f2fe3a6d9f6d2c36386e0241a2a0bc02ce","Name":"/fxc","MountPoints":
            {"/a":{"Type":"volume","Name":"data","Driver":"local"},"/b":{"Type":"bind","Name":"","Source":"/x"}}}"#;
        let container = parse("3eb6", json).unwrap();
        assert_eq!(container.name, "fxc");
        assert_eq!(container.image.unwrap().short(), "15844857f18f");
        assert_eq!(container.image_name, "fx/app:1");
        assert_eq!(container.command, ["/bin/sh", "-c", "cat /app/copied.txt"]);
        assert_eq!(container.created, Some("2026-11-21T22:21:43.823086831Z".parse().unwrap()));
        assert_eq!((container.state.started, container.state.exit_code), (None, 3));
        assert_eq!(container.state.finished, Some("2026-11-21T22:21:44Z".parse().unwrap()));
        assert_eq!(
            (container.state.health.as_str(), container.volumes),
            ("healthy", vec!["data".to_owned()])
        );
    }

    #[test]
    fn records_with_less_are_records_still() {
        let container = parse("x", b"{\"Name\":null,\"State\":null,\"MountPoints\":null}").unwrap();
        assert_eq!((container.name.as_str(), container.image, container.command.len()), ("", None, 0));
        for json in [&b"{"[..], b"", b"[1]", b"{\"Name\":3}"] {
            assert_eq!(parse("x", json), None);
        }
    }
}
