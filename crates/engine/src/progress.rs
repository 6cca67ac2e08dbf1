//! What long work says while it runs, in Docker's vocabulary.

use std::fmt;

/// Receives what long work says. Called from several threads at once.
pub trait Progress: Send + Sync {
    /// A layer, named by `id`, is in `status`.
    fn layer(&self, id: &str, status: &Status);

    /// A line about the whole.
    fn message(&self, text: &str);
}

/// Says nothing.
pub struct Silent;

impl Progress for Silent {
    fn layer(&self, _id: &str, _status: &Status) {}
    fn message(&self, _text: &str) {}
}

/// The state of a layer. `Display` gives Docker's text, without the numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The names are Docker's own texts.
pub enum Status {
    PullingFsLayer,
    Waiting,
    Downloading {
        bytes: u64,
        total: u64,
    },
    VerifyingChecksum,
    DownloadComplete,
    Extracting {
        bytes: u64,
        total: u64,
    },
    PullComplete,
    AlreadyExists,
    /// The connection broke or the server asked to come back; with the reason, which Docker hides.
    Retrying {
        seconds: u64,
        reason: String,
    },
    Preparing,
    Pushing {
        bytes: u64,
        total: u64,
    },
    Pushed,
    LayerAlreadyExists,
    MountedFrom(String),
    Loading {
        bytes: u64,
        total: u64,
    },
    /// What Docker has no word for.
    Note(String),
}

impl Status {
    /// Returns how far the work is, in bytes done and in all, where that is known.
    pub fn amounts(&self) -> Option<(u64, u64)> {
        match *self {
            Status::Downloading { bytes, total }
            | Status::Extracting { bytes, total }
            | Status::Pushing { bytes, total }
            | Status::Loading { bytes, total } => Some((bytes, total)),
            _ => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::PullingFsLayer => "Pulling fs layer",
            Status::Waiting => "Waiting",
            Status::Downloading { .. } => "Downloading",
            Status::VerifyingChecksum => "Verifying Checksum",
            Status::DownloadComplete => "Download complete",
            Status::Extracting { .. } => "Extracting",
            Status::PullComplete => "Pull complete",
            Status::AlreadyExists => "Already exists",
            Status::Preparing => "Preparing",
            Status::Pushing { .. } => "Pushing",
            Status::Pushed => "Pushed",
            Status::LayerAlreadyExists => "Layer already exists",
            Status::Loading { .. } => "Loading layer",
            Status::MountedFrom(repository) => return write!(f, "Mounted from {repository}"),
            Status::Retrying { seconds, reason } => {
                let unit = if *seconds == 1 { "second" } else { "seconds" };
                return write!(f, "Retrying in {seconds} {unit}: {reason}");
            }
            Status::Note(text) => text,
        })
    }
}
