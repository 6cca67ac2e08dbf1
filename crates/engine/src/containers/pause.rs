//! Holding a container's processes where they are, and letting them go on.

use shale_runtime::ControlError;

use super::start::SignalContainerError;
use crate::Engine;

/// Why a container was not paused or resumed. The messages are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// It is not there, or does not run.
    #[error(transparent)]
    Container(#[from] SignalContainerError),
    /// It is paused already.
    #[error("Container {0} is already paused")]
    AlreadyPaused(String),
    /// It is not paused.
    #[error("Container {0} is not paused")]
    NotPaused(String),
    /// The runtime said no.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl Engine {
    /// Holds the processes of a container where they are.
    ///
    /// # Errors
    /// [`PauseError`].
    pub fn pause_container(&self, text: &str) -> Result<(), PauseError> {
        let (record, container) = self.running_container(text)?;
        if container.is_paused()? {
            return Err(PauseError::AlreadyPaused(record.id));
        }
        Ok(container.pause()?)
    }

    /// Lets the processes of a paused container go on.
    ///
    /// # Errors
    /// [`PauseError`].
    pub fn unpause_container(&self, text: &str) -> Result<(), PauseError> {
        let (record, container) = match self.running_container(text) {
            // dockerd asks for the pause alone.
            Err(SignalContainerError::NotRunning { id }) => return Err(PauseError::NotPaused(id)),
            found => found?,
        };
        if !container.is_paused()? {
            return Err(PauseError::NotPaused(record.id));
        }
        Ok(container.resume()?)
    }
}
