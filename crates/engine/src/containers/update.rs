//! Other limits for a container, also while it runs.

use serde_json::Value;
use shale_runtime::ControlError;
use shale_store::{DiskError, RecordError};

use super::find::FindContainerError;
use super::spec::{self, SettingsError};
use crate::Engine;

/// What may be changed: the limits, and what happens when the container ends.
const CHANGEABLE: [&str; 14] = [
    "BlkioWeight",
    "CpuShares",
    "CpuPeriod",
    "CpuQuota",
    "CpusetCpus",
    "CpusetMems",
    "Memory",
    "MemorySwap",
    "MemoryReservation",
    "NanoCpus",
    "PidsLimit",
    "RestartPolicy",
    "KernelMemory",
    "CpuRealtimePeriod",
];

/// Why a container kept its limits.
#[derive(Debug, thiserror::Error)]
pub enum UpdateContainerError {
    /// It is not there.
    #[error(transparent)]
    Find(#[from] FindContainerError),
    /// The settings contradict themselves.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Of a container that is removed at its end there is nothing to start again.
    #[error("Restart policy cannot be updated because AutoRemove is enabled for the container")]
    AutoRemove,
    /// The runtime said no.
    #[error("Cannot update container {id}: {source}")]
    Control {
        /// The container.
        id: String,
        /// In its words.
        source: ControlError,
    },
    /// The record could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Engine {
    /// Changes the limits of a container to those keys of `changes`, a host config, that are set: not null, not zero and
    /// not empty. Other keys are let be, as the Engine API does.
    ///
    /// # Errors
    /// [`UpdateContainerError`]; it has the limits that it had.
    ///
    /// Source: moby `daemon/update.go` and `container/container_unix.go` `UpdateContainer` at v20.10.24.
    pub fn update_container(&self, text: &str, changes: &Value) -> Result<(), UpdateContainerError> {
        let found = self.find_container(text)?;
        let gone = || FindContainerError::NoSuchContainer(text.to_owned());
        let lock = self.store.lock_container(&found.id)?.ok_or_else(gone)?;
        let mut record = self.container_record(&found.id)?.ok_or_else(gone)?;
        for key in CHANGEABLE {
            let value = &changes[key];
            let is_unset = value.is_null() || *value == 0 || *value == "" || value["Name"] == "";
            if is_unset {
                continue;
            }
            if key == "RestartPolicy" && record.is_auto_remove() && value["Name"] != "no" {
                return Err(UpdateContainerError::AutoRemove);
            }
            record.host_config.set(key, value.clone());
        }
        let settings = record.host_config.read().map_err(SettingsError::from)?;
        spec::check(&settings)?;
        if let Some((container, _)) = self.supervised(&record.id)
            && record.is_running()
        {
            let refused = |source| UpdateContainerError::Control { id: record.id.clone(), source };
            container.update(&spec::resources(&settings)).map_err(refused)?;
        }
        Ok(self.store.write_host_config(&lock, &record.id, &record.files().host_config)?)
    }
}
