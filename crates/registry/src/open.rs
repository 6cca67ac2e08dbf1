//! Opening a root: one owner at a time, a volume of the Docker registry taken over on the way.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use crate::auth::{Access, SetupError};
use crate::blob_store::{BlobError, FileBlobStore};
use crate::config::Config;
use crate::metadata::sqlite::{OpenError, SqliteMetadata};
use crate::metadata::{Metadata, MetadataError};
use crate::registry::Registry;
use crate::takeover::{self, ImportError, Imported};
use crate::wire::listen::Listener;

/// The socket, below the root, by which the command line speaks to a server that has the root open.
pub(crate) const CONTROL_SOCKET: &str = "shale/control.sock";

/// Why a root did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenRegistryError {
    /// Another process has the root open.
    #[error("{root} is in use by another registry")]
    InUse {
        /// The root.
        root: PathBuf,
    },
    /// The root cannot be used.
    #[error("could not use {root}")]
    Root {
        /// The root.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The blob store did not open.
    #[error("could not open the blob store")]
    Blobs(#[from] BlobError),
    /// The metadata did not open.
    #[error("could not open the metadata")]
    Metadata(#[from] OpenError),
    /// The metadata does not answer.
    #[error("could not read the metadata")]
    Settings(#[from] MetadataError),
    /// A volume of the Docker registry was not taken over.
    #[error("could not take over the volume")]
    Takeover(#[from] ImportError),
    /// Access could not be set up.
    #[error("could not set up access")]
    Access(#[from] SetupError),
}

/// A root that this process owns.
pub(crate) struct OpenRoot {
    pub(crate) registry: Arc<Registry>,
    /// What the takeover did, when one was made just now.
    pub(crate) imported: Option<Imported>,
    /// Whether the root was the Docker registry's once.
    pub(crate) taken_over: bool,
    root: PathBuf,
    // Holds the root; the kernel lets go of it when the process ends, however it ends.
    _lock: File,
}

impl OpenRoot {
    pub(crate) async fn open(config: &Config, serving: bool) -> Result<OpenRoot, OpenRegistryError> {
        let root = config.root.clone();
        let lock = lock(&root)?;
        let access = Access::open(config, &root)?;
        let blobs = FileBlobStore::open(&root)?;
        let metadata = Arc::new(SqliteMetadata::open(&root.join("shale/registry.db"))?);
        let mut taken_over = metadata.setting(takeover::SETTING).await?.is_some();
        let mut imported = None;
        if !taken_over && root.join(takeover::REPOSITORIES).is_dir() {
            tracing::info!("taking over the Docker registry's volume {}", root.display());
            imported = Some(takeover::import(&root, &*metadata, log_progress).await?);
            taken_over = true;
        }
        let registry = Registry::new(Arc::new(blobs), metadata, access, config, serving);
        Ok(OpenRoot { registry: Arc::new(registry), imported, taken_over, root, _lock: lock })
    }

    /// Listens for the command line; only the owner of the root may speak there.
    pub(crate) fn control_socket(&self) -> io::Result<Listener> {
        let path = self.root.join(CONTROL_SOCKET);
        // We hold the lock, so whoever made this socket is gone.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = Listener::bind_path(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    }

    pub(crate) fn close(self) {
        let _ = std::fs::remove_file(self.root.join(CONTROL_SOCKET));
    }
}

pub(crate) fn log_progress(imported: &Imported) {
    let Imported { repositories, tags, manifests, blobs, .. } = imported;
    let skipped = imported.findings.len() as u64 + imported.findings_more;
    tracing::info!(
        "taken over: {repositories} repositories, {tags} tags, {manifests} manifests, {blobs} links to blobs; {skipped} skipped"
    );
}

fn lock(root: &Path) -> Result<File, OpenRegistryError> {
    let used = |source| OpenRegistryError::Root { root: root.to_owned(), source };
    let directory = root.join("shale");
    std::fs::create_dir_all(&directory).map_err(used)?;
    // Tokens' secret, users' names: nothing here is for others.
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).map_err(used)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join("lock"))
        .map_err(used)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenRegistryError::InUse { root: root.to_owned() }),
        Err(error) => Err(used(error.into())),
    }
}
