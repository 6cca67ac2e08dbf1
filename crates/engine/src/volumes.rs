//! Local volumes as things of their own: listed, made, removed.
//!
//! A volume is a directory `volumes/<name>` with its files in `_data`, as Docker's local driver keeps it. Labels, which
//! Docker keeps in a database of its own, stand beside them in `labels.json`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use shale_store::DiskError;

use crate::Engine;
use crate::containers::names;

/// The file with a volume's labels.
pub(crate) const LABELS: &str = "labels.json";

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name; 64 hexadecimal digits where nobody gave one.
    pub name: String,
    /// Where its files are.
    pub mountpoint: PathBuf,
    /// When it was made.
    pub created: Timestamp,
    /// Its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// IDs of the containers that mount it.
    pub users: Vec<String>,
}

impl Volume {
    /// Returns whether nobody gave it a name.
    pub fn is_anonymous(&self) -> bool {
        self.name.len() == 64 && self.name.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// Returns how much its files hold; 0 where that cannot be read.
    pub fn size_bytes(&self) -> u64 {
        shale_rootfs::Rootfs::open(&self.mountpoint).and_then(|root| root.size_bytes()).unwrap_or(0)
    }
}

/// What to make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// The name; a made one when `None`.
    pub name: Option<String>,
    /// Docker's name of what keeps it; empty is `local`.
    pub driver: String,
    /// What the driver is told; the local one here takes nothing.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Why something was not done with a volume. The messages are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum VolumesError {
    /// It is not there.
    #[error("get {0}: no such volume")]
    NoSuchVolume(String),
    /// Containers mount it.
    #[error("remove {name}: volume is in use - [{}]", users.join(", "))]
    InUse {
        /// The volume.
        name: String,
        /// The containers.
        users: Vec<String>,
    },
    /// A name with other characters.
    #[error(
        "create {0}: \"{0}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )]
    Name(String),
    /// The local driver with options: mounts of other file systems are not supported.
    #[error("create {name}: invalid option: {option:?}")]
    Options {
        /// The volume.
        name: String,
        /// The option.
        option: String,
    },
    /// Another driver than the local one.
    #[error("create {name}: error looking up volume plugin {driver}: plugin {driver:?} not found")]
    Driver {
        /// The volume.
        name: String,
        /// The driver.
        driver: String,
    },
    /// A directory could not be made, read or removed.
    #[error("could not use the volume {name}")]
    Io {
        /// The volume.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Engine {
    /// Returns the names of all volumes, in order.
    ///
    /// # Errors
    /// [`VolumesError::Io`].
    pub fn volume_names(&self) -> Result<Vec<String>, VolumesError> {
        let directory = self.store.volumes_directory();
        let failed = |source| VolumesError::Io { name: directory.display().to_string(), source };
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // Beside the volumes there is Docker's database.
            if let Ok(name) = entry.file_name().into_string()
                && entry.path().join("_data").is_dir()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Returns all volumes, in the order of their names.
    ///
    /// # Errors
    /// [`VolumesError`].
    pub fn volumes(&self) -> Result<Vec<Volume>, VolumesError> {
        let mut users = self.volume_users()?;
        let names = self.volume_names()?;
        Ok(names
            .iter()
            .filter_map(|name| self.read_volume(name, users.remove(name).unwrap_or_default()))
            .collect())
    }

    /// Returns the volume `name`.
    ///
    /// # Errors
    /// [`VolumesError::NoSuchVolume`].
    pub fn find_volume(&self, name: &str) -> Result<Volume, VolumesError> {
        let missing = || VolumesError::NoSuchVolume(name.to_owned());
        if names::check_name(name).is_err() || name.starts_with('/') {
            return Err(missing());
        }
        let users = self.volume_users()?.remove(name).unwrap_or_default();
        self.read_volume(name, users).ok_or_else(missing)
    }

    /// Makes a volume, or finds the one that has the name; second, whether it was made.
    ///
    /// # Errors
    /// [`VolumesError`].
    pub fn create_volume(&self, new: &NewVolume) -> Result<(Volume, bool), VolumesError> {
        let name = new.name.clone().unwrap_or_else(crate::containers::random_id);
        if !matches!(new.driver.as_str(), "" | "local") {
            return Err(VolumesError::Driver { name, driver: new.driver.clone() });
        }
        if names::check_name(&name).is_err() || name.starts_with('/') {
            return Err(VolumesError::Name(name));
        }
        if let Some(option) = new.options.keys().next() {
            return Err(VolumesError::Options { name, option: option.clone() });
        }
        if let Ok(volume) = self.find_volume(&name) {
            return Ok((volume, false));
        }
        self.make_volume(&name, &new.labels)
            .map_err(|source| VolumesError::Io { name: name.clone(), source })?;
        Ok((self.find_volume(&name)?, true))
    }

    /// Removes a volume that no container mounts.
    ///
    /// # Errors
    /// [`VolumesError::NoSuchVolume`], [`VolumesError::InUse`].
    pub fn remove_volume(&self, name: &str) -> Result<(), VolumesError> {
        let volume = self.find_volume(name)?;
        if !volume.users.is_empty() {
            return Err(VolumesError::InUse { name: name.to_owned(), users: volume.users });
        }
        let directory = volume.mountpoint.parent().unwrap_or(&volume.mountpoint);
        let removed = fs::remove_dir_all(directory);
        removed.map_err(|source| VolumesError::Io { name: name.to_owned(), source })
    }

    fn read_volume(&self, name: &str, users: Vec<String>) -> Option<Volume> {
        let directory = self.store.volumes_directory().join(name);
        let mountpoint = directory.join("_data");
        let metadata = fs::metadata(&mountpoint).ok().filter(fs::Metadata::is_dir)?;
        let changed = fs::metadata(&directory).map_or(metadata.ctime(), |metadata| metadata.ctime());
        Some(Volume {
            name: name.to_owned(),
            mountpoint: absolute(&mountpoint),
            created: Timestamp::from_second(changed).unwrap_or_default(),
            labels: fs::read(directory.join(LABELS)).ok().and_then(|text| serde_json::from_slice(&text).ok()),
            users,
        })
    }

    fn volume_users(&self) -> Result<HashMap<String, Vec<String>>, DiskError> {
        let mut users: HashMap<String, Vec<String>> = HashMap::new();
        for record in self.container_records()? {
            for volume in record.volumes() {
                users.entry(volume.name).or_default().push(record.id.clone());
            }
        }
        Ok(users)
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
