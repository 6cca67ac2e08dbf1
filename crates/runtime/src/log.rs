//! A container's log in Docker's `json-file` or `local` form: written by the supervisor, read by `logs`, rotated by size.

mod file;
mod json;
mod local;
mod read;
mod rotate;
mod write;

use serde::{Deserialize, Serialize};

pub use file::{LogFile, LogForm, Rotation};
pub use read::{LogEntry, LogOptions, LogReadError, LogReader};
pub(crate) use write::{Log, LogWriter};

/// Which of its two outputs a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output; all of a terminal's output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    fn name(self) -> &'static str {
        match self {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
        }
    }
}
