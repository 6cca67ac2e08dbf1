//! Removing containers.

use shale_runtime::{ControlError, Signal};
use shale_store::{ContainerLock, DiskError, RecordError, RemoveImageError};

use super::Record;
use super::find::FindContainerError;
use crate::Engine;

/// How to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemoveContainer {
    /// Kill it first if it runs; a container that is not there is no error then.
    pub force: bool,
    /// Remove the volumes that were made for it and have no name.
    pub volumes: bool,
}

/// Why a container was not removed. The messages are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum RemoveContainerError {
    /// It is not there.
    #[error(transparent)]
    Find(#[from] FindContainerError),
    /// It runs.
    #[error(
        "You cannot remove a running container {0}. Stop the container before attempting removal or force remove"
    )]
    Running(String),
    /// It is paused.
    #[error(
        "You cannot remove a paused container {0}. Unpause and then stop the container before attempting removal or force remove"
    )]
    Paused(String),
    /// It could not be killed.
    #[error(transparent)]
    Kill(#[from] ControlError),
    /// Its record could not be changed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The layers of its deleted image could not be removed; the container is gone.
    #[error(transparent)]
    Layers(#[from] RemoveImageError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Engine {
    /// Removes the container `text`.
    ///
    /// # Errors
    /// [`RemoveContainerError`].
    pub fn remove_container(&self, text: &str, how: RemoveContainer) -> Result<(), RemoveContainerError> {
        let found = self.find_container(text)?;
        if found.is_running() {
            if !how.force && found.status() == super::Status::Paused {
                return Err(RemoveContainerError::Paused(found.id));
            }
            if !how.force {
                return Err(RemoveContainerError::Running(found.id));
            }
            if let Some((container, _)) = self.supervised(&found.id) {
                let told = container.stop(Signal::KILL, std::time::Duration::from_secs(10));
                self.ended_or_gone(&found.id, told)?;
            }
        }
        let Some(lock) = self.store.lock_container(&found.id)? else { return Ok(()) };
        match self.container_record(&found.id)? {
            Some(record) if record.is_running() => Err(RemoveContainerError::Running(record.id)),
            Some(record) => self.remove_locked(lock, &record, how.volumes),
            None => Ok(()),
        }
    }

    /// Whether the image that a container was made from is still in the store; so it is taken to be where that cannot be told.
    fn has_image(&self, record: &Record) -> bool {
        let Some(image) = record.image() else { return true };
        !matches!(self.store.image(image), Ok(None))
    }

    pub(super) fn remove_locked(
        &self,
        lock: ContainerLock,
        record: &Record,
        volumes: bool,
    ) -> Result<(), RemoveContainerError> {
        let anonymous = if volumes { self.anonymous_volumes(record) } else { Vec::new() };
        let below = match self.has_image(record) {
            true => None,
            false => self.store.mounts()?.into_iter().find(|mount| mount.name == record.id),
        };
        self.store.remove_container(lock, &record.id, record.durability())?;
        // The image was deleted while the container stood on its layers; as in dockerd, they go with the last one.
        if let Some(top) = below.and_then(|mount| mount.parent) {
            self.store.remove_unneeded_layers(top)?;
        }
        for volume in anonymous {
            self.remove_unused_volume(&volume)?;
        }
        Ok(())
    }
}
