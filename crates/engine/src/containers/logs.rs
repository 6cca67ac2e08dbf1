//! What a container wrote.

use std::path::Path;

use shale_runtime::log::LogFile;

use super::Record;
use super::log_config::LogValueError;
use crate::Engine;

/// Why a container's log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// It keeps none. The words are Docker's.
    #[error("configured logging driver does not support reading")]
    Unreadable,
    /// Its options mean nothing, so it has never started.
    #[error(transparent)]
    Value(#[from] LogValueError),
    /// Its host config cannot be read.
    #[error("the container's host config cannot be read")]
    Settings(#[from] serde_json::Error),
}

impl Engine {
    /// Returns where a container's log is and how it is read; it may not have been begun.
    ///
    /// # Errors
    /// [`LogsError`].
    pub fn container_log(&self, record: &Record) -> Result<LogFile, LogsError> {
        let settings = record.host_config.read()?;
        let directory = self.store.container_directory(&record.id);
        let own = directory.join(format!("{}-json.log", record.id));
        // Docker notes the path when the container starts.
        let noted = Path::new(record.log_path());
        let json_file = if noted.as_os_str().is_empty() { &own } else { noted };
        settings.log_config.file(json_file, &directory)?.ok_or(LogsError::Unreadable)
    }
}
