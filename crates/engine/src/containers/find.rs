//! From what a person types to a container.

use shale_store::DiskError;

use super::Record;
use crate::Engine;

/// Why a text names no container. The messages are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum FindContainerError {
    /// Nothing of that name or ID.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// Several IDs begin with the text.
    #[error("Multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Engine {
    /// Finds the container that `text` names: an ID, a name, what another container calls it by a link
    /// (`other/alias`), or the begin of an ID, in this order.
    ///
    /// # Errors
    /// [`FindContainerError`].
    pub fn find_container(&self, text: &str) -> Result<Record, FindContainerError> {
        let missing = || FindContainerError::NoSuchContainer(text.to_owned());
        if text.len() == 64
            && let Some(record) = self.container_record(text)?
        {
            return Ok(record);
        }
        let ids = self.store.container_ids()?;
        let name = text.strip_prefix('/').unwrap_or(text);
        for id in &ids {
            if let Some(record) = self.container_record(id)?
                && record.name() == name
            {
                return Ok(record);
            }
        }
        if let Some((name, alias)) = name.split_once('/') {
            let record = self.find_container(name).map_err(|_| missing())?;
            let linked = record.links().find(|(_, other)| *other == alias);
            let linked = linked.map(|(id, _)| self.container_record(id)).transpose()?;
            return linked.flatten().ok_or_else(missing);
        }
        let mut matching = ids.iter().filter(|id| !text.is_empty() && id.starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(id), None) => self.container_record(id)?.ok_or_else(missing),
            (Some(_), Some(_)) => Err(FindContainerError::Ambiguous(text.to_owned())),
            _ => Err(missing()),
        }
    }

    /// Returns the record of the container with exactly this ID, as it is now.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn container_record(&self, id: &str) -> Result<Option<Record>, DiskError> {
        let files = self.store.read_container(id)?;
        let record = files.and_then(|files| Record::parse(id, &files));
        Ok(record.map(|record| self.as_it_is_now(record)))
    }

    /// Returns all containers whose records can be read, newest first.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn container_records(&self) -> Result<Vec<Record>, DiskError> {
        let mut records = Vec::new();
        for id in self.store.container_ids()? {
            records.extend(self.container_record(&id)?);
        }
        records.sort_by_key(|record| std::cmp::Reverse(record.created()));
        Ok(records)
    }
}
