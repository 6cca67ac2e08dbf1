//! Giving a container another name.

use shale_store::{DiskError, RecordError};

use super::create::CreateError;
use super::find::FindContainerError;
use super::names::{self, NameError};
use crate::Engine;

/// Why a container kept its name. The messages are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum RenameContainerError {
    /// It is not there.
    #[error(transparent)]
    Find(#[from] FindContainerError),
    /// The new name is none.
    #[error("Error when allocating new name: {0}")]
    Name(NameError),
    /// No new name, or the one that it has.
    #[error("{0}")]
    Same(&'static str),
    /// Another container has it.
    #[error("Error when allocating new name: {0}")]
    Taken(Box<CreateError>),
    /// The record could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Engine {
    /// Names the container `text` as `name`.
    ///
    /// # Errors
    /// [`RenameContainerError`]; it keeps its name.
    ///
    /// Source: moby `daemon/rename.go` at v20.10.24.
    pub fn rename_container(&self, text: &str, name: &str) -> Result<(), RenameContainerError> {
        if text.is_empty() || name.is_empty() {
            return Err(RenameContainerError::Same("Neither old nor new names may be empty"));
        }
        let found = self.find_container(text)?;
        let gone = || FindContainerError::NoSuchContainer(text.to_owned());
        let lock = self.store.lock_container(&found.id)?.ok_or_else(gone)?;
        let mut record = self.container_record(&found.id)?.ok_or_else(gone)?;
        if record.name() == name.strip_prefix('/').unwrap_or(name) {
            return Err(RenameContainerError::Same(
                "Renaming a container with the same name as its current name",
            ));
        }
        // dockerd puts the slash before it looks.
        let name = names::check_name(name).map_err(|NameError(name)| {
            RenameContainerError::Name(NameError(format!("/{}", name.trim_start_matches('/'))))
        })?;
        record.document["Name"] = format!("/{name}").into();
        let mut taken = None;
        let is_free = || match self.check_name_is_free(name) {
            Ok(()) => true,
            Err(error) => {
                taken = Some(error);
                false
            }
        };
        self.store.write_container_if(&lock, &found.id, &record.encode(), is_free)?;
        taken.map_or(Ok(()), |error| Err(RenameContainerError::Taken(Box::new(error))))
    }
}
