//! A container's files with its volumes and binds in their places, as `cp` sees them, in a mount namespace that ends with
//! the look.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::Record;
use super::archive::{ArchiveError, open_in};
use super::find::FindContainerError;
use super::namespace;
use crate::{Engine, Privileges};

impl Engine {
    /// Calls `work` with the root of the container's files, volumes and binds included.
    ///
    /// A container that does not run cannot be started or removed meanwhile.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(super) fn in_container_view<T: Send>(
        &self,
        record: &Record,
        work: impl FnOnce(&OwnedFd) -> T + Send,
    ) -> Result<T, ArchiveError> {
        let gone = || ArchiveError::Find(FindContainerError::NoSuchContainer(record.id.clone()));
        let supervisor = match self.supervised(&record.id) {
            Some((_, state)) if record.is_running() => Some(state.supervisor.pid),
            _ => None,
        };
        let lock = match supervisor {
            Some(_) => None,
            None => Some(self.store.lock_container(&record.id)?.ok_or_else(gone)?),
        };
        let paths = self.mount_paths(&record.id)?.ok_or_else(gone)?;
        let merged = std::path::absolute(&paths.merged).map_err(ArchiveError::Open)?;
        let look = || -> io::Result<T> {
            if supervisor.is_none() {
                namespace::mount(&self.store, self.privileges, &paths, namespace::Syncs::Never)?;
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::openat(CWD, &merged, flags, Mode::empty())?;
            mount_points(record, &root)?;
            let done = work(&root);
            drop(root);
            if supervisor.is_none() {
                namespace::unmount(&paths);
                namespace::forget_volatile(&paths)?;
            }
            Ok(done)
        };
        let done = match supervisor {
            Some(pid) => in_copy_of(pid, look),
            None => namespace::in_private_namespace(look),
        };
        drop(lock);
        done.and_then(|done| done).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied
                if supervisor.is_some() && self.privileges == Privileges::UserNamespace =>
            {
                ArchiveError::OutOfReach
            }
            _ => ArchiveError::Open(error),
        })
    }
}

/// Does `work` in a thread whose mounts are a copy of those of the process `pid`.
fn in_copy_of<T: Send>(pid: u32, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: only the file system context and the mounts of this new thread change, and no other thread's.
            #[allow(unsafe_code)]
            unsafe {
                rustix::thread::unshare_unsafe(UnshareFlags::FS)?;
            }
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
            #[allow(unsafe_code)]
            // SAFETY: as above.
            unsafe {
                rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)?;
            }
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private)?;
            Ok(work())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Puts volumes and binds in their places below `root`, outer ones first.
fn mount_points(record: &Record, root: &OwnedFd) -> io::Result<()> {
    let mut points: Vec<(&str, &str, bool)> = record
        .mount_points()
        .filter_map(|point| {
            Some((point["Destination"].as_str()?, point["Source"].as_str()?, point["RW"] != false))
        })
        .collect();
    points.sort_unstable();
    for (target, source, is_writable) in points {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        // A source that is gone is not shown; starting the container says so.
        let Ok(source) = rustix::fs::openat(CWD, source, flags, Mode::empty()) else { continue };
        let is_directory =
            FileType::from_raw_mode(rustix::fs::fstat(&source)?.st_mode) == FileType::Directory;
        let Some(place) = make_place(root, Path::new(target), is_directory)? else { continue };
        // Both are open: no link that is put in their way now leads elsewhere.
        let (from, onto) = (descriptor_path(&source), descriptor_path(&place));
        rustix::mount::mount_bind_recursive(from.as_str(), onto.as_str())?;
        if !is_writable && let Some(mounted) = open_in(root, relative(Path::new(target)), flags)? {
            let read_only = MountFlags::BIND | MountFlags::RDONLY;
            rustix::mount::mount_remount(descriptor_path(&mounted).as_str(), read_only, "")?;
        }
    }
    Ok(())
}

/// Opens `path` below `root`, and makes the directories that are missing, as starting the container would; `None` for a
/// file, which only its start makes.
fn make_place(root: &OwnedFd, path: &Path, is_directory: bool) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    if let Some(found) = open_in(root, relative(path), flags)? {
        return Ok(Some(found));
    }
    if !is_directory {
        return Ok(None);
    }
    let mut reached = std::path::PathBuf::new();
    let mut directory = root.try_clone()?;
    for component in path.components() {
        let Component::Normal(name) = component else { continue };
        reached.push(name);
        if open_in(root, &reached, flags)?.is_none() {
            match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
                // A link that leads nowhere.
                Err(Errno::EXIST) => return Ok(None),
                made => made?,
            }
        }
        match open_in(root, &reached, flags | OFlags::DIRECTORY)? {
            Some(next) => directory = next,
            None => return Ok(None),
        }
    }
    Ok(Some(directory))
}

/// A path of a container without the slash that it begins with.
pub(super) fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

pub(super) fn descriptor_path(descriptor: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}
