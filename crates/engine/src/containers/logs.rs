//! What a container wrote.

use std::path::Path;

use shale_runtime::log::{LogEntry, LogOptions, LogReadError, LogReader};

use super::Record;
use super::find::FindContainerError;
use crate::Engine;

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The container is not there.
    #[error(transparent)]
    Find(#[from] FindContainerError),
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] LogReadError),
}

/// The log of a container, read entry by entry.
#[derive(Debug)]
pub struct ContainerLog {
    /// The container, as it was when the log was opened.
    pub record: Record,
    /// `None` when nothing was ever written.
    reader: Option<LogReader>,
    engine: Engine,
}

impl Engine {
    /// Opens a container's log at the first entry that `options` ask for.
    ///
    /// # Errors
    /// [`LogsError`].
    pub fn container_log(&self, text: &str, options: LogOptions) -> Result<ContainerLog, LogsError> {
        let record = self.find_container(text)?;
        let path = Path::new(record.log_path());
        let reader = path.exists().then(|| LogReader::open(path, options)).transpose()?;
        Ok(ContainerLog { record, reader, engine: self.clone() })
    }
}

impl ContainerLog {
    /// Returns the next entry; `None` at the present end.
    ///
    /// # Errors
    /// [`LogReadError`].
    pub fn next_entry(&mut self) -> Result<Option<LogEntry>, LogReadError> {
        self.reader.as_mut().map_or(Ok(None), LogReader::next_entry)
    }

    /// Waits for the next entry; `None` when the container does not run any more and all was read, and when `goes_on`
    /// said no more, which is asked many times a second.
    ///
    /// # Errors
    /// [`LogReadError`].
    pub fn follow(&mut self, goes_on: &dyn Fn() -> bool) -> Result<Option<LogEntry>, LogReadError> {
        let (engine, id) = (&self.engine, &self.record.id);
        let ended = || {
            let record = engine.container_record(id);
            !goes_on() || !matches!(record, Ok(Some(record)) if record.is_running())
        };
        self.reader.as_mut().map_or(Ok(None), |reader| reader.follow(ended))
    }
}
