//! Networks: one file of records for all.
//!
//! Promise: the file is replaced as a whole, and read again under the lock before each change.
//! Not here: what the records say.

use crate::durable::{self, DiskError};
use crate::{RecordError, Store};

impl Store {
    /// Returns the records of all networks; no bytes where none was ever made.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn networks(&self) -> Result<Vec<u8>, DiskError> {
        Ok(durable::read(&self.layout.networks())?.unwrap_or_default())
    }

    /// Replaces the records of all networks by what `change` makes of them; second in its answer is what the caller wants
    /// to know.
    ///
    /// # Errors
    /// That of `change`, or [`RecordError`]; nothing was changed.
    pub fn change_networks<T, E: From<RecordError>>(
        &self,
        change: impl FnOnce(&[u8]) -> Result<(Vec<u8>, T), E>,
    ) -> Result<T, E> {
        let _commit = self.commit().map_err(RecordError::from)?;
        let before = self.networks().map_err(RecordError::from)?;
        let (after, answer) = change(&before)?;
        if after != before {
            let path = self.layout.networks();
            durable::replace(self.layout.staging(), path, &after, 0o600).map_err(RecordError::from)?;
        }
        Ok(answer)
    }
}
