//! Opening a data root.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::durable::{self, DiskError};
use crate::layout::{DIRECTORIES, Layout, OTHER_DRIVERS, ROOT_MODE};
use crate::lock::{self, AccessError, Commit, DockerGuard};
use crate::references::{Known, ReferencesError};
use crate::{Store, sweep};

/// How [`Store::open`] opens a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// Whether a missing root is made; only for writing.
    pub create: bool,
    /// What the store is opened for.
    pub access: Access,
}

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Looking; nothing on the disk is changed.
    Read,
    /// Changing; leftovers of killed processes are removed first.
    Write,
}

/// Why a root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is nothing at the path.
    #[error("there is no data root at {}", .0.display())]
    Missing(PathBuf),
    /// Other storage drivers left state here, and Docker itself would not start on it without being told which to use.
    #[error("the data root {} holds state of other storage drivers: {}", root.display(), drivers.join(", "))]
    OtherDrivers {
        /// The root.
        root: PathBuf,
        /// The drivers.
        drivers: Vec<&'static str>,
    },
    /// The images of this root are in containerd's store, which has another layout.
    #[error("the data root {} keeps its images in the containerd image store, which Shale does not read", .0.display())]
    ContainerdImageStore(PathBuf),
    /// The names of the images cannot be read.
    #[error(transparent)]
    References(#[from] ReferencesError),
    /// A dockerd runs on the root, or the user may not look.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl OpenError {
    /// Whether the disk takes no change, so that the store can only be looked at.
    pub fn is_read_only_disk(&self) -> bool {
        match self {
            OpenError::Disk(error) | OpenError::Access(AccessError::Disk(error)) => {
                error.kind() == std::io::ErrorKind::ReadOnlyFilesystem
            }
            _ => false,
        }
    }
}

impl Store {
    /// Opens the data root `root`.
    ///
    /// For writing, missing directories are made with Docker's modes, leftovers of killed processes are removed as far
    /// as possible, and no dockerd can start on the root before the store is dropped.
    ///
    /// # Errors
    /// [`OpenError`], each with what to do about it.
    pub fn open(root: &Path, options: OpenOptions) -> Result<Store, OpenError> {
        let store = Store::open_damaged(root, options)?;
        store.references()?;
        Ok(store)
    }

    /// As [`Store::open`], but opens a root also if `repositories.json` is damaged; for [`Store::fsck`].
    ///
    /// # Errors
    /// As [`Store::open`], but for [`OpenError::References`].
    pub fn open_damaged(root: &Path, options: OpenOptions) -> Result<Store, OpenError> {
        let root = std::path::absolute(root).map_err(|source| DiskError::new("find", root, source))?;
        let layout = Layout::new(&root);
        let exists = durable::metadata(&root)?.is_some();
        let may_create = options.create && options.access == Access::Write;
        if !exists && !may_create {
            return Err(OpenError::Missing(root));
        }
        if exists {
            refuse_other_stores(&layout)?;
        }
        let store =
            Store { layout, access: options.access, docker: DockerGuard::default(), names: Known::default() };
        match options.access {
            Access::Read => drop(lock::probe_docker(&store.layout)?),
            Access::Write => {
                store.docker.hold(&store.layout)?;
                make_directories(&store.layout)?;
                // Says at once that nothing can be written, where all directories are there.
                drop(lock::open_lock_file(&store.layout.lock())?);
                for failure in sweep::sweep(&store.layout)? {
                    tracing::warn!(
                        path = %failure.path.display(),
                        cause = %failure.source,
                        "a leftover could not be removed; shale gc tries again"
                    );
                }
            }
        }
        Ok(store)
    }

    /// Returns the root's path, absolute.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Whether the store was opened for writing.
    pub fn is_writable(&self) -> bool {
        self.access == Access::Write
    }

    pub(crate) fn check_writable(&self) -> Result<(), AccessError> {
        match self.access {
            Access::Read => Err(AccessError::ReadOnly),
            Access::Write => Ok(()),
        }
    }

    /// Waits for the exclusive lock. Every change of what other processes can see is made with it.
    pub(crate) fn commit(&self) -> Result<Commit, AccessError> {
        self.check_writable()?;
        // A dockerd may have run here for the first time since we opened the root.
        self.docker.hold(&self.layout)?;
        Ok(lock::commit(&self.layout)?)
    }
}

fn refuse_other_stores(layout: &Layout) -> Result<(), OpenError> {
    let is_filled = |path: &Path| durable::names(path).map(|names| !names.is_empty());
    let mut drivers = Vec::new();
    for driver in OTHER_DRIVERS {
        if is_filled(&layout.driver(driver))? {
            drivers.push(*driver);
        }
    }
    let root = layout.root().to_owned();
    if !drivers.is_empty() {
        return Err(OpenError::OtherDrivers { root, drivers });
    }
    if !is_filled(layout.overlay())? {
        let containerd = layout.containerd();
        for plugin in durable::names(&containerd)? {
            if plugin.starts_with("io.containerd.snapshotter.")
                && is_filled(&containerd.join(&plugin).join("snapshots"))?
            {
                return Err(OpenError::ContainerdImageStore(root));
            }
        }
    }
    Ok(())
}

fn make_directories(layout: &Layout) -> Result<(), DiskError> {
    let root = layout.root();
    match durable::metadata(root)? {
        None => {
            if let Some(above) = root.parent() {
                std::fs::create_dir_all(above).map_err(|source| DiskError::new("create", above, source))?;
            }
            durable::ensure_dir(root, ROOT_MODE)?;
        }
        // A dockerd repairs the mode at each start; like it we do so only where the directory is ours to change.
        Some(metadata) if metadata.permissions().mode() & 0o7777 != ROOT_MODE => {
            durable::set_mode(root, ROOT_MODE)?;
        }
        Some(_) => {}
    }
    // The last directory is made last, so when it is there all are.
    for (directory, mode) in DIRECTORIES {
        durable::ensure_dir(&root.join(directory), *mode)?;
    }
    Ok(())
}
