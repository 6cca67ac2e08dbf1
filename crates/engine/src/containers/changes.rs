//! What a container changed: `docker diff`.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::archive::ArchiveError;
use super::namespace;
use crate::Engine;

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ChangeKind {
    Modified,
    Added,
    Deleted,
}

/// One changed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute, inside the container.
    pub path: PathBuf,
    /// What happened.
    pub kind: ChangeKind,
}

impl ChangeKind {
    /// Returns docker's letter.
    pub fn letter(self) -> char {
        match self {
            ChangeKind::Modified => 'C',
            ChangeKind::Added => 'A',
            ChangeKind::Deleted => 'D',
        }
    }
}

impl Engine {
    /// Lists what the container changed in its image, in the order of the paths; Docker's own order is by chance.
    ///
    /// # Errors
    /// [`ArchiveError`].
    ///
    /// Source: moby `pkg/archive/changes.go` at v20.10.24.
    pub fn container_changes(&self, text: &str) -> Result<Vec<Change>, ArchiveError> {
        let record = self.find_container(text)?;
        let gone = || super::find::FindContainerError::NoSuchContainer(text.to_owned());
        let mount =
            self.store.mounts()?.into_iter().find(|mount| mount.name == record.id).ok_or_else(gone)?;
        let (Some(mount_id), Some(init_id)) = (mount.mount_id, mount.init_id) else {
            return Err(gone().into());
        };
        let (own, init) = (self.store.mount_paths(&mount_id)?, self.store.mount_paths(&init_id)?);
        // Only what the container wrote is walked; what was there before is looked up in a mount of what lies below.
        let found = namespace::in_private_namespace(|| {
            namespace::mount(&self.store, self.privileges, &init, namespace::Syncs::Never)?;
            let mut changes = Vec::new();
            let walked = walk(&own.upper, &init.merged, Path::new("/"), false, &mut changes);
            namespace::unmount(&init);
            namespace::forget_volatile(&init)?;
            walked.map(|()| changes)
        });
        found.and_then(|changes| changes).map_err(ArchiveError::Open)
    }
}

/// Compares one directory that the container wrote into with the same below. `is_hidden`: a directory above was removed
/// and made again, so that nothing below shows; the kernel marks only the uppermost.
fn walk(
    upper: &Path,
    below: &Path,
    path: &Path,
    is_hidden: bool,
    changes: &mut Vec<Change>,
) -> io::Result<()> {
    let mut names: Vec<_> =
        fs::read_dir(upper)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    let is_hidden = is_hidden || is_opaque(upper);
    if is_hidden {
        // What lay below shows no more, unless it was made again.
        for entry in fs::read_dir(below).into_iter().flatten().flatten() {
            if !names.contains(&entry.file_name()) {
                changes.push(Change { path: path.join(entry.file_name()), kind: ChangeKind::Deleted });
            }
        }
    }
    names.sort_unstable_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    for name in names {
        let (upper, below, path) = (upper.join(&name), below.join(&name), path.join(&name));
        let now = fs::symlink_metadata(&upper)?;
        let before = fs::symlink_metadata(&below).ok();
        if now.file_type().is_char_device() && now.rdev() == 0 {
            if before.is_some() {
                changes.push(Change { path, kind: ChangeKind::Deleted });
            }
            continue;
        }
        let Some(before) = before else {
            changes.push(Change { path: path.clone(), kind: ChangeKind::Added });
            if now.is_dir() {
                walk(&upper, &below, &path, is_hidden, changes)?;
            }
            continue;
        };
        let at = changes.len();
        if now.is_dir() && before.is_dir() {
            walk(&upper, &below, &path, is_hidden, changes)?;
        } else if now.is_dir() {
            add_all(&upper, &path, changes)?;
        }
        if differ(&before, &now) || changes.len() > at {
            changes.insert(at, Change { path, kind: ChangeKind::Modified });
        }
    }
    Ok(())
}

fn add_all(upper: &Path, path: &Path, changes: &mut Vec<Change>) -> io::Result<()> {
    for entry in fs::read_dir(upper)? {
        let entry = entry?;
        let path = path.join(entry.file_name());
        changes.push(Change { path: path.clone(), kind: ChangeKind::Added });
        if entry.file_type()?.is_dir() {
            add_all(&entry.path(), &path, changes)?;
        }
    }
    Ok(())
}

/// A directory's own times and size do not count: they follow its entries.
fn differ(before: &Metadata, now: &Metadata) -> bool {
    let same = before.mode() == now.mode()
        && before.uid() == now.uid()
        && before.gid() == now.gid()
        && before.rdev() == now.rdev();
    let same_content = now.is_dir()
        || (before.len() == now.len()
            && (before.mtime(), before.mtime_nsec()) == (now.mtime(), now.mtime_nsec()));
    !(same && same_content)
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 1];
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| rustix::fs::lgetxattr(directory, *name, &mut value).is_ok_and(|_| value == *b"y"))
}
