//! Every change of the disk: creating, writing, syncing, renaming, removing.
//!
//! Promise: a file written by [`Batch`] or [`replace`] has its whole content under its name or is not there, also
//! after a power cut; modes are exact whatever the umask is.
//! Not here: what the files mean.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// A system call on the store's disk that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("could not {action} {}", path.display())]
pub struct DiskError {
    /// What was tried, as a verb: `read`, `rename`.
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: Arc<io::Error>,
}

impl DiskError {
    pub(crate) fn new(action: &'static str, path: &Path, source: impl Into<io::Error>) -> DiskError {
        DiskError { action, path: path.to_owned(), source: Arc::new(source.into()) }
    }

    /// Returns the kind of the system's error.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Files that are longer are none that Docker or Shale wrote: the names of a million images take less.
const FILE_BYTES_MAX: u64 = 256 << 20;

type Result<T, E = DiskError> = std::result::Result<T, E>;

/// Files that become visible together, as near as a file system allows.
///
/// Each is written and synced below the staging directory first; only when all are on the disk does
/// [`Batch::publish`] rename them, in the order they were staged, and sync the directories. Dropping it removes what
/// was staged.
pub(crate) struct Batch {
    staging: PathBuf,
    staged: Vec<Staged>,
    published: usize,
}

struct Staged {
    from: PathBuf,
    to: PathBuf,
}

impl Batch {
    pub(crate) fn new(staging: PathBuf) -> Batch {
        Batch { staging, staged: Vec::new(), published: 0 }
    }

    /// Writes `content` for `to` without syncing it; the caller syncs the file system before it publishes.
    pub(crate) fn stage_unsynced(&mut self, to: PathBuf, content: &[u8], mode: u32) -> Result<()> {
        self.stage(to, content, mode).map(drop)
    }

    /// Writes `content` for `to` and syncs it.
    pub(crate) fn stage_synced(&mut self, to: PathBuf, content: &[u8], mode: u32) -> Result<()> {
        let file = self.stage(to, content, mode)?;
        let path = &self.staged.last().expect("one was just staged").from;
        file.sync_all().map_err(|source| DiskError::new("sync", path, source))
    }

    fn stage(&mut self, to: PathBuf, content: &[u8], mode: u32) -> Result<File> {
        let from = self.staging.join(format!(".tmp-{}", crate::random::hex(16)));
        // Noted first, so that a file whose write fails half way is removed as well.
        self.staged.push(Staged { from: from.clone(), to });
        create_file(&from, content, mode)
    }

    /// Makes the content of all files durable, each by itself.
    pub(crate) fn sync_each(&self) -> Result<()> {
        self.staged.iter().try_for_each(|staged| sync_file_if_there(&staged.from))
    }

    pub(crate) fn len(&self) -> usize {
        self.staged.len()
    }

    /// Makes all files visible, first staged first, and returns when the names are on the disk.
    pub(crate) fn publish(mut self) -> Result<()> {
        let mut directories = Vec::new();
        self.rename(&mut directories)?;
        sync_dirs(&directories)
    }

    /// Makes all files visible, first staged first, and notes in which directories names are to be synced.
    pub(crate) fn rename(&mut self, directories: &mut Vec<PathBuf>) -> Result<()> {
        for staged in &self.staged[self.published..] {
            rename(&staged.from, &staged.to)?;
            self.published += 1;
            let directory = staged.to.parent().expect("a target has a directory");
            if !directories.iter().any(|known| known == directory) {
                directories.push(directory.to_owned());
            }
        }
        Ok(())
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for staged in &self.staged[self.published..] {
            // What stays is found by the next open.
            let _ = remove_file(&staged.from);
        }
    }
}

/// Replaces the content of `to` in one step, durably.
pub(crate) fn replace(staging: PathBuf, to: PathBuf, content: &[u8], mode: u32) -> Result<()> {
    let mut batch = Batch::new(staging);
    batch.stage_synced(to, content, mode)?;
    batch.publish()
}

/// Creates `path`, which must not exist, with `content`; it is not synced.
pub(crate) fn create_file(path: &Path, content: &[u8], mode: u32) -> Result<File> {
    let mut file = create_open(path, mode)?;
    file.write_all(content).map_err(|source| DiskError::new("write", path, source))?;
    Ok(file)
}

/// Creates `path`, which must not exist, and returns it open for writing.
pub(crate) fn create_open(path: &Path, mode: u32) -> Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|source| DiskError::new("create", path, source))?;
    // The umask may have taken bits away.
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(|source| DiskError::new("set the mode of", path, source))?;
    Ok(file)
}

/// Writes `content` to `path`, whatever was there; neither atomic nor synced, for files below unpublished names.
pub(crate) fn overwrite_unpublished(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    remove_file(path)?;
    create_file(path, content, mode).map(drop)
}

/// Creates the directory `path`, which must not exist.
pub(crate) fn create_dir(path: &Path, mode: u32) -> Result<()> {
    fs::create_dir(path).map_err(|source| DiskError::new("create", path, source))?;
    set_mode(path, mode)
}

/// Creates the directory `path` unless it is there; an existing one keeps its mode.
pub(crate) fn ensure_dir(path: &Path, mode: u32) -> Result<()> {
    match fs::create_dir(path) {
        Ok(()) => set_mode(path, mode),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(DiskError::new("create", path, source)),
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|source| DiskError::new("set the mode of", path, source))
}

pub(crate) fn symlink(target: &str, path: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, path).map_err(|source| DiskError::new("create", path, source))
}

/// Renames a file or a directory. An empty directory in the place of a file, which a damaged store may have, goes.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    let renamed = match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            fs::remove_dir(to).and_then(|()| fs::rename(from, to))
        }
        renamed => renamed,
    };
    renamed.map_err(|source| DiskError::new("rename to", to, source))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| DiskError::new("sync", path, source))
}

/// Makes the names in all `directories` durable, in their order.
pub(crate) fn sync_dirs(directories: &[PathBuf]) -> Result<()> {
    directories.iter().try_for_each(|directory| sync_dir(directory))
}

/// Makes the content of a file durable; a missing one is none.
pub(crate) fn sync_file_if_there(path: &Path) -> Result<()> {
    match File::open(path).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(|source| DiskError::new("sync", path, source)),
    }
}

/// A directory of a file system that will be synced.
///
/// The kernel reports an error of writing to those who opened the file system before it happened, so this is opened before
/// the first byte is written.
#[derive(Debug)]
pub(crate) struct SyncPoint {
    path: PathBuf,
    directory: File,
}

impl SyncPoint {
    pub(crate) fn open(path: &Path) -> Result<SyncPoint> {
        let directory = File::open(path).map_err(|source| DiskError::new("open", path, source))?;
        Ok(SyncPoint { path: path.to_owned(), directory })
    }
}

/// Writes everything of the file systems that hold `points` to the disk, each file system once.
pub(crate) fn sync_filesystems(points: &[&SyncPoint]) -> Result<()> {
    let mut synced = Vec::new();
    for SyncPoint { path, directory } in points {
        let device = directory.metadata().map_err(|source| DiskError::new("read", path, source))?.dev();
        if !synced.contains(&device) {
            rustix::fs::syncfs(directory).map_err(|source| DiskError::new("sync", path, source))?;
            synced.push(device);
        }
    }
    Ok(())
}

/// Removes the file or symlink `path`, or an empty directory in its place; says whether it was there.
pub(crate) fn remove_file(path: &Path) -> Result<bool> {
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => fs::remove_dir(path),
        removed => removed,
    };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(DiskError::new("remove", path, source)),
    }
}

/// Removes the file or the tree `path`; several processes may remove the same tree at once.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match in_parent(path, shale_tree::remove_tree) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| DiskError::new("remove", path, source)),
    }
}

/// Sums the sizes of everything at and below `path`, each inode once; nothing when it cannot be read.
pub(crate) fn tree_size_bytes(path: &Path) -> u64 {
    in_parent(path, shale_tree::size_bytes).unwrap_or(0)
}

fn in_parent<T>(path: &Path, act: impl FnOnce(File, &[u8]) -> io::Result<T>) -> io::Result<T> {
    let (parent, name) = path.parent().zip(path.file_name()).expect("a path below the root of the store");
    act(File::open(parent)?, name.as_bytes())
}

/// Reads a file; `None` when it or a directory on the way is not there. A directory in its place has no content.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match read_once(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(Some(Vec::new())),
        Err(source) => Err(DiskError::new("read", path, source)),
    }
}

/// Opens a file to read; `None` when there is nothing.
pub(crate) fn open(path: &Path) -> Result<Option<File>> {
    match open_to_read(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(source) => Err(DiskError::new("read", path, source)),
    }
}

/// Opens what should be a regular file. A damaged store may have a pipe there, on which nobody is to wait: it has no
/// content.
fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

/// Three system calls for the small files of which a store has thousands.
fn read_once(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open_to_read(path)?;
    let mut buffer = [0; 4096];
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            // A short read of a regular file is its end, but asking again costs little next to being wrong.
            Ok(0) => return Ok(buffer[..length].to_vec()),
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut content = buffer.to_vec();
    file.take(FILE_BYTES_MAX).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

/// Whether a path leads nowhere, also by a link to itself, as a damaged store may have one.
fn is_absence(error: &io::Error) -> bool {
    let leads_nowhere = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].map(|errno| Some(errno.raw_os_error()));
    leads_nowhere.contains(&error.raw_os_error())
}

/// Lists the names in a directory, in the order of the directory; an absent directory is empty.
///
/// Names that are not UTF-8 are left out: neither Docker nor Shale makes any.
pub(crate) fn names(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
        Err(source) => return Err(DiskError::new("list", path, source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| DiskError::new("list", path, source))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// Reads a symlink's target; `None` when there is no symlink of that name.
pub(crate) fn read_link(path: &Path) -> Result<Option<PathBuf>> {
    match fs::read_link(path) {
        Ok(target) => Ok(Some(target)),
        Err(error) if is_absence(&error) || error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(source) => Err(DiskError::new("read", path, source)),
    }
}

/// Returns what `lstat` says; `None` when there is nothing.
pub(crate) fn metadata(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(source) => Err(DiskError::new("read", path, source)),
    }
}
