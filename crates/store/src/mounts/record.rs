//! Containers' records on the disk: two files, each replaced as a whole.

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::FlockOperation;

use crate::Store;
use crate::durable::{self, DiskError};
use crate::layout::{self, Layout};
use crate::lock::{self, AccessError};
use crate::mounts::durability::Durability;

/// The two documents of a container, as Docker keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFiles {
    /// `config.v2.json`.
    pub config: Vec<u8>,
    /// `hostconfig.json`.
    pub host_config: Vec<u8>,
}

/// Why a record could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The store may not be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A container that no other process changes before this is dropped.
#[derive(Debug)]
#[must_use = "a dropped lock lets others change the container"]
pub struct ContainerLock {
    directory: File,
}

impl Drop for ContainerLock {
    fn drop(&mut self) {
        lock::unlock(&self.directory);
    }
}

impl Store {
    /// Returns the ids of all containers, in their order.
    ///
    /// # Errors
    /// [`DiskError`] when the directory cannot be listed.
    pub fn container_ids(&self) -> Result<Vec<String>, DiskError> {
        let mut ids = durable::names(&self.layout.containers())?;
        ids.retain(|id| layout::is_cache_id(id));
        ids.sort_unstable();
        Ok(ids)
    }

    /// Returns the directory of a container, which is there as long as the container is.
    pub fn container_directory(&self, id: &str) -> PathBuf {
        self.layout.containers().join(id)
    }

    /// Returns where local volumes are.
    pub fn volumes_directory(&self) -> PathBuf {
        self.layout.volumes()
    }

    /// Returns the record of a container; `None` when there is none.
    ///
    /// # Errors
    /// [`DiskError`] when a file is there and cannot be read.
    pub fn read_container(&self, id: &str) -> Result<Option<RecordFiles>, DiskError> {
        let path = self.layout.container(id);
        let Some(config) = durable::read(&path)? else { return Ok(None) };
        let host_config = durable::read(&path.with_file_name("hostconfig.json"))?;
        Ok(Some(RecordFiles { config, host_config: host_config.unwrap_or_else(|| b"{}".to_vec()) }))
    }

    /// Waits until nobody else changes the container; `None` when it is gone.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn lock_container(&self, id: &str) -> Result<Option<ContainerLock>, RecordError> {
        self.check_writable()?;
        let path = self.container_directory(id);
        let directory = match File::open(&path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DiskError::new("open", &path, source).into()),
        };
        lock::flock(&directory, FlockOperation::LockExclusive)
            .map_err(|source| DiskError::new("lock", &path, source))?;
        let lock = ContainerLock { directory };
        Ok(durable::metadata(&self.layout.container(id))?.map(|_| lock))
    }

    /// Replaces the `config.v2.json` of a container that the caller has locked.
    ///
    /// # Errors
    /// [`DiskError`]; the old record stays.
    pub fn write_container(
        &self,
        _lock: &ContainerLock,
        id: &str,
        config: &[u8],
        durability: Durability,
    ) -> Result<(), DiskError> {
        durability.replace(self.container_directory(id), self.layout.container(id), config)
    }

    /// As [`Store::write_container`], if `is_wanted` says so under the commit lock: no other process publishes or renames a
    /// container between its look and the record's new words.
    ///
    /// # Errors
    /// [`DiskError`]; the old record stays.
    pub fn write_container_if(
        &self,
        lock: &ContainerLock,
        id: &str,
        config: &[u8],
        is_wanted: impl FnOnce() -> bool,
    ) -> Result<(), DiskError> {
        let _commit = lock::commit(&self.layout)?;
        if is_wanted() { self.write_container(lock, id, config, Durability::Durable) } else { Ok(()) }
    }

    /// Replaces the `hostconfig.json` of a container that the caller has locked.
    ///
    /// # Errors
    /// [`DiskError`]; the old one stays.
    pub fn write_host_config(
        &self,
        _lock: &ContainerLock,
        id: &str,
        host_config: &[u8],
    ) -> Result<(), DiskError> {
        let directory = self.container_directory(id);
        durable::replace(directory.clone(), directory.join("hostconfig.json"), host_config, 0o600)
    }
}

/// Writes a new container's record; the file that makes it one comes last.
pub(super) fn write(
    layout: &Layout,
    id: &str,
    files: &RecordFiles,
    durability: Durability,
) -> Result<(), DiskError> {
    let directory = layout.containers().join(id);
    durable::ensure_dir(&layout.containers(), 0o710)?;
    durable::ensure_dir(&directory, 0o710)?;
    durable::ensure_dir(&directory.join("checkpoints"), 0o700)?;
    durable::ensure_dir(&directory.join("mounts"), 0o710)?;
    durability.replace(directory.clone(), directory.join("hostconfig.json"), &files.host_config)?;
    durability.replace(directory, layout.container(id), &files.config)?;
    match durability {
        Durability::Durable => durable::sync_dir(&layout.containers()),
        Durability::Volatile => Ok(()),
    }
}
