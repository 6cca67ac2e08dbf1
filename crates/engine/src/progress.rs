//! What long work says while it runs, in Docker's vocabulary.

use std::fmt;
use std::sync::Arc;

use shale_registry_client::Event;

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

/// Returns what tells the watcher of the layer `id` why nothing moves.
pub(crate) fn retry_listener(
    progress: &Arc<dyn Progress>,
    id: String,
) -> impl Fn(&Event) + Send + Sync + 'static {
    let progress = Arc::clone(progress);
    move |event| {
        if let Event::Retry { delay, reason, .. } = event {
            // Docker counts whole seconds down, and none of them is the last.
            let (seconds, reason) = (delay.as_secs().max(1), reason.clone());
            progress.layer(&id, &Status::Retrying { seconds, reason });
        }
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Progress for Heard {
        fn layer(&self, id: &str, status: &Status) {
            self.0.lock().unwrap().push(format!("{id}: {status}"));
        }

        fn message(&self, _text: &str) {}
    }

    #[test]
    fn a_retry_comes_in_a_second_or_more() {
        let heard = Arc::new(Heard::default());
        let progress: Arc<dyn Progress> = Arc::clone(&heard) as Arc<dyn Progress>;
        let tell = retry_listener(&progress, "a".to_owned());
        for milliseconds in [0, 250, 1000, 2500] {
            tell(&Event::Retry {
                host: "example.org".to_owned(),
                subject: "blob".to_owned(),
                delay: Duration::from_millis(milliseconds),
                reason: "reset".to_owned(),
            });
        }
        let expected = [
            "a: Retrying in 1 second: reset",
            "a: Retrying in 1 second: reset",
            "a: Retrying in 1 second: reset",
            "a: Retrying in 2 seconds: reset",
        ];
        assert_eq!(*heard.0.lock().unwrap(), expected);
    }
}
