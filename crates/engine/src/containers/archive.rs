//! Files in and out of containers: their places are looked up inside the container's own root and nowhere else.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use shale_rootfs::{Pack, PackError, Rootfs, Whiteouts, pack};
use shale_store::{DiskError, RecordError};

use super::Record;
use super::find::FindContainerError;
use super::namespace;
use crate::Engine;

/// Why files were not copied. The messages are Docker's where it has them.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The container is not there.
    #[error(transparent)]
    Find(#[from] FindContainerError),
    /// The path is not in the container.
    #[error("Could not find the file {path} in container {container}")]
    NoFile {
        /// As typed.
        path: String,
        /// As typed.
        container: String,
    },
    /// The container's files could not be mounted or opened.
    #[error("could not open the container's files")]
    Open(#[source] io::Error),
    /// An ordinary user's container runs in a user namespace that only its own processes are in.
    #[error("the files of a running container can be reached by root alone; stop the container first")]
    OutOfReach,
    /// The tree could not be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The container could not be kept from being changed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Opens `inside` below `root` without leaving it: links are followed as the container would. `None` when it is not
/// there.
pub(super) fn open_beneath(root: &Path, inside: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty())?;
    open_in(root.as_fd(), inside, flags)
}

/// As [`open_beneath`], with an open root and other flags.
pub fn open_in(root: impl AsFd, inside: &Path, flags: OFlags) -> io::Result<Option<OwnedFd>> {
    let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, inside, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(descriptor) => Ok(Some(descriptor)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Engine {
    /// Calls `work` with the container's mounted files: those of the running container, or a mount that is there for
    /// `work` alone.
    ///
    /// # Errors
    /// [`ArchiveError::Open`].
    pub fn with_container_root<T: Send>(
        &self,
        record: &Record,
        work: impl FnOnce(&Path) -> T + Send,
    ) -> Result<T, ArchiveError> {
        let gone = || ArchiveError::Find(FindContainerError::NoSuchContainer(record.id.clone()));
        let paths = self.mount_paths(&record.id)?.ok_or_else(gone)?;
        if record.is_running()
            && let Some((_, state)) = self.supervised(&record.id)
        {
            // The supervisor's own namespace has the mount, and nothing in it is the container's to change.
            let merged = std::path::absolute(&paths.merged).map_err(ArchiveError::Open)?;
            let merged = merged.strip_prefix("/").unwrap_or(&merged);
            return Ok(work(&Path::new(&format!("/proc/{}/root", state.supervisor.pid)).join(merged)));
        }
        namespace::in_private_namespace(|| {
            namespace::mount(&self.store, self.privileges, &paths, namespace::Syncs::Never)?;
            let done = work(&paths.merged);
            namespace::unmount(&paths);
            namespace::forget_volatile(&paths)?;
            Ok::<T, io::Error>(done)
        })
        .and_then(|done| done)
        .map_err(ArchiveError::Open)
    }

    /// Writes the container's files to `out` as one flat tar; what is mounted in it is not among them.
    ///
    /// # Errors
    /// [`ArchiveError`]; part of the tar was written.
    pub fn export_container(&self, text: &str, out: &mut (dyn Write + Send)) -> Result<(), ArchiveError> {
        let record = self.find_container(text)?;
        self.with_container_root(&record, |root| {
            let root = Rootfs::open(root).map_err(ArchiveError::Open)?;
            let options = Pack { whiteouts: Whiteouts::Literal, ..Pack::default() };
            pack(&root, out, &options)?;
            Ok(())
        })?
    }
}
