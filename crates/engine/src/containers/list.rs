//! Which containers are listed.

use jiff::Timestamp;
use shale_store::DiskError;

use super::Record;
use super::find::FindContainerError;
use crate::Engine;
use crate::images::find::FindError;

/// What to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListContainers {
    /// Also those that do not run.
    pub all: bool,
    /// At most so many, newest first, running or not.
    pub last: Option<usize>,
    /// Conditions, `name=value`.
    pub filters: Vec<String>,
}

/// Why there is no list. The messages are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum ListContainersError {
    /// Not a condition on containers.
    #[error("Invalid filter '{0}'")]
    Filter(String),
    /// A container that a condition names.
    #[error(transparent)]
    Find(#[from] FindContainerError),
    /// An image that a condition names.
    #[error(transparent)]
    Image(#[from] FindError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

const KNOWN: [&str; 12] = [
    "ancestor", "before", "exited", "health", "id", "label", "name", "network", "since", "status", "volume",
    "until",
];

impl Engine {
    /// Lists containers, newest first. Of conditions of the same kind any may hold, labels excepted; of different
    /// kinds all must.
    ///
    /// # Errors
    /// [`ListContainersError`].
    pub fn list_containers(&self, options: &ListContainers) -> Result<Vec<Record>, ListContainersError> {
        let mut filters: Vec<(&str, &str)> = Vec::new();
        for filter in &options.filters {
            let (key, value) = filter.split_once('=').unwrap_or((filter, ""));
            if !KNOWN.contains(&key) {
                return Err(ListContainersError::Filter(key.to_owned()));
            }
            filters.push((key, value));
        }
        let values = |key: &'static str| {
            let of_key = filters.iter().filter(move |(name, _)| *name == key);
            of_key.map(|(_, value)| *value).collect::<Vec<&str>>()
        };
        let moment = |key| -> Result<Option<Timestamp>, FindContainerError> {
            let found = values(key).last().map(|name| self.find_container(name)).transpose()?;
            Ok(found.map(|record| record.created()))
        };
        let (before, since) = (moment("before")?, moment("since")?);
        let mut ancestors = Vec::new();
        for name in values("ancestor") {
            ancestors.push(self.find_image(name).ok().map(|found| found.id));
        }
        // A condition on the state looks at all of them, as in Docker.
        let looks_at_all = options.all || options.last.is_some() || !values("status").is_empty();
        let looks_at_all = looks_at_all || !values("exited").is_empty();
        let any = |key: &'static str, holds: &dyn Fn(&str) -> bool| {
            let values = values(key);
            values.is_empty() || values.iter().any(|value| holds(value))
        };
        let mut records = self.container_records()?;
        records.retain(|record| {
            (looks_at_all || record.is_running())
                && before.is_none_or(|moment| record.created() < moment)
                && since.is_none_or(|moment| record.created() > moment)
                && (ancestors.is_empty() || ancestors.contains(&record.image()))
                && any("id", &|value| record.id.starts_with(value))
                && any("name", &|value| record.name().contains(value.trim_start_matches('/')))
                && any("status", &|value| record.status().word() == value)
                && any("exited", &|value| {
                    record.status() == super::Status::Exited && value.parse() == Ok(record.exit_code())
                })
                && any("health", &|value| record.health().unwrap_or("none") == value)
                && any("network", &|value| record.is_in_network(value) || record.has_network_id(value))
                && any("volume", &|value| {
                    record.mount_points().any(|point| point["Name"] == value || point["Destination"] == value)
                })
                && values("label").iter().all(|value| {
                    let (key, wanted) = match value.split_once('=') {
                        Some((key, wanted)) => (key, Some(wanted)),
                        None => (*value, None),
                    };
                    let mut labels = record.labels().into_iter();
                    labels.any(|(name, value)| name == key && wanted.is_none_or(|wanted| wanted == value))
                })
        });
        records.truncate(options.last.unwrap_or(usize::MAX));
        Ok(records)
    }
}
