//! What a container uses now.

use jiff::Timestamp;
use shale_runtime::Stats;

use super::find::FindContainerError;
use crate::Engine;

/// One reading of a container's counters.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerStats {
    /// The container.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When the counters were read; `None` when it does not run, and then all of them are zero.
    pub read: Option<Timestamp>,
    /// The counters, from its start on: who wants a rate takes two readings.
    pub stats: Stats,
}

impl Engine {
    /// Reads a container's counters, once.
    ///
    /// # Errors
    /// [`FindContainerError`].
    pub fn container_stats(&self, text: &str) -> Result<ContainerStats, FindContainerError> {
        let record = self.find_container(text)?;
        // It may end between the two looks; then it does not run.
        let stats = match self.supervised(&record.id) {
            Some((container, _)) if record.is_running() => container.stats().ok(),
            _ => None,
        };
        let read = stats.is_some().then(Timestamp::now);
        let name = record.name().to_owned();
        Ok(ContainerStats { id: record.id, name, read, stats: stats.unwrap_or_default() })
    }
}
