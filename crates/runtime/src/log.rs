//! A container's log in Docker's `json-file` form: written by the supervisor, read by `logs`.

mod read;
mod write;

use serde::{Deserialize, Serialize};

pub use read::{LogEntry, LogOptions, LogReadError, LogReader};
pub(crate) use write::LogWriter;

/// Which of its two outputs a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output; all of a terminal's output.
    Stdout,
    /// Standard error.
    Stderr,
}
