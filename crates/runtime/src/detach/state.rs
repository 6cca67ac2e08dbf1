//! What is known of a detached container: a small file, always whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::health::Health;
use crate::launch::ExitStatus;
use crate::process::{ProcessId, boot_id};

/// Where a detached container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its supervisor waits for the word to start.
    Created,
    /// It runs, or is paused; see [`crate::Container::is_paused`].
    Running,
    /// It has ended and is started again in a moment.
    Restarting,
    /// It has ended, or never started.
    Exited,
}

/// A detached container's record. Times are RFC 3339 with nanoseconds, in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The container.
    pub id: String,
    /// Where it is in its life.
    pub status: Status,
    /// Its supervisor.
    pub supervisor: ProcessId,
    /// Its first process, from the start on.
    pub init: Option<ProcessId>,
    /// When it started.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// How it ended.
    pub exit: Option<ExitStatus>,
    /// Why it did not start, or how it was lost.
    pub error: Option<String>,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u32,
    /// What the checks of its health said, if there are any.
    #[serde(default)]
    pub health: Option<Health>,
    /// The boot in which the processes were numbered.
    pub boot_id: String,
}

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("could not access the container's record {path}")]
pub struct StateError {
    /// The file.
    pub path: PathBuf,
    /// What the kernel or the parser said.
    pub source: io::Error,
}

impl State {
    pub(super) fn created(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            status: Status::Created,
            supervisor: ProcessId::of_self(),
            init: None,
            started_at: None,
            finished_at: None,
            exit: None,
            error: None,
            restarts: 0,
            health: None,
            boot_id: boot_id(),
        }
    }

    /// Whether the supervisor of this record still runs.
    pub(super) fn is_supervised(&self) -> bool {
        self.boot_id == boot_id() && self.supervisor.is_alive()
    }

    pub(super) fn load(directory: &Path) -> Result<Self, StateError> {
        load(&directory.join("state.json"))
    }

    pub(super) fn store(&self, directory: &Path) -> Result<(), StateError> {
        store(&directory.join("state.json"), self)
    }
}

pub(super) fn load<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, StateError> {
    let read = || Ok(serde_json::from_slice(&fs::read(path)?)?);
    read().map_err(|source| StateError { path: path.to_owned(), source })
}

/// Writes a file beside `path` and renames it: a reader sees the old content or the new.
pub(super) fn store(path: &Path, value: &impl Serialize) -> Result<(), StateError> {
    let write = || {
        let beside = path.with_extension("new");
        let mut file = fs::File::create(&beside)?;
        io::Write::write_all(&mut file, &serde_json::to_vec(value)?)?;
        // Not synced: what it says of processes means nothing after a power cut, and a reader takes a damaged one for none.
        fs::rename(&beside, path)
    };
    write().map_err(|source| StateError { path: path.to_owned(), source })
}

pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}
