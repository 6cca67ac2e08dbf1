//! Bringing a container's record in line with what became of its process.

use std::path::PathBuf;

use shale_runtime::{Container, State};
use shale_store::{DiskError, RecordError};

use super::Record;
use super::namespace;
use super::record::NEVER;
use super::remove::RemoveContainerError;
use crate::Engine;

/// Why a container's end was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The record could not be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It was to be removed, and was not.
    #[error(transparent)]
    Remove(#[from] RemoveContainerError),
}

impl Engine {
    /// Returns the directory of a container's supervisor.
    pub(super) fn supervisor_directory(&self, id: &str) -> PathBuf {
        self.store.container_directory(id).join("shale")
    }

    /// Returns the supervised container, if it was ever started here.
    pub(super) fn supervised(&self, id: &str) -> Option<(Container, State)> {
        let container = Container::open(&self.supervisor_directory(id)).ok()?;
        let state = container.state().ok()?;
        Some((container, state))
    }

    /// Corrects a record by what became of the process; the disk is not touched.
    pub(super) fn as_it_is_now(&self, mut record: Record) -> Record {
        let Some((container, state)) = self.supervised(&record.id) else {
            // dockerd was killed while it ran: its process is not there any more, or nobody's.
            if record.is_running() {
                record.set_state("Running", false);
                record.set_state("Paused", false);
                record.set_state("Pid", 0);
                record.set_state("ExitCode", 255);
            }
            return record;
        };
        match (state.status, &state.init) {
            (shale_runtime::Status::Running, Some(init)) => {
                set_health(&mut record, &state);
                record.set_state("Running", true);
                record.set_state("Paused", container.is_paused().unwrap_or(false));
                record.set_state("Restarting", false);
                record.set_state("Pid", init.pid);
                record.set_state("ExitCode", 0);
                record.document["RestartCount"] = state.restarts.into();
                record.set_state("StartedAt", state.started_at.as_deref().unwrap_or(NEVER));
            }
            (shale_runtime::Status::Restarting, _) => {
                record_end(&mut record, &state);
                record.set_state("Running", true);
                record.set_state("Restarting", true);
            }
            (shale_runtime::Status::Exited, _) => {
                let finished = state.finished_at.as_deref().and_then(|text| text.parse().ok());
                let is_news = record.is_running() || (finished.is_some() && finished > record.finished());
                if is_news {
                    record_end(&mut record, &state);
                }
            }
            _ => {}
        }
        record
    }

    /// Writes down that a container has ended, takes its mount away, and removes it if that was asked for.
    ///
    /// Any number of processes may do so at once; a container that runs, or is gone, is let be.
    ///
    /// # Errors
    /// [`SettleError`].
    pub fn settle_container(&self, id: &str) -> Result<(), SettleError> {
        let Some(lock) = self.store.lock_container(id)? else { return Ok(()) };
        let Some(record) = self.container_record(id)? else { return Ok(()) };
        if record.is_running() {
            return Ok(());
        }
        if let Some(paths) = self.mount_paths(id)? {
            namespace::unmount(&paths);
        }
        if record.is_auto_remove() && record.started().is_some() {
            return Ok(self.remove_locked(lock, &record, true)?);
        }
        self.store.write_container(&lock, id, &record.encode(), record.durability())?;
        Ok(())
    }

    /// Returns the paths of a container's writable directory.
    pub(super) fn mount_paths(&self, id: &str) -> Result<Option<shale_store::OverlayPaths>, DiskError> {
        let mount = self.store.mounts()?.into_iter().find(|mount| mount.name == id);
        mount.and_then(|mount| mount.mount_id).map(|mount_id| self.store.mount_paths(&mount_id)).transpose()
    }
}

fn set_health(record: &mut Record, state: &State) {
    if let Some(health) = &state.health {
        record.set_state("Health", super::health::document(health));
    }
}

fn record_end(record: &mut Record, state: &State) {
    set_health(record, state);
    record.set_state("Running", false);
    record.set_state("Paused", false);
    record.set_state("Restarting", false);
    record.set_state("Pid", 0);
    record.document["RestartCount"] = state.restarts.into();
    record.set_state("StartedAt", state.started_at.as_deref().unwrap_or(NEVER));
    if let Some(exit) = &state.exit {
        record.set_state("ExitCode", exit.code);
        record.set_state("OOMKilled", exit.oom_killed);
    }
    let finished = state.finished_at.as_deref().or(state.started_at.as_deref()).unwrap_or(NEVER);
    record.set_state("FinishedAt", finished);
    if state.started_at.is_none() {
        record.set_state("Error", state.error.as_deref().unwrap_or_default());
    }
}
