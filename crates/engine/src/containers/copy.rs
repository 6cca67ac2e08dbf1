//! `cp`: what is at a path of a container, out of it as a tar and into it from one.
//!
//! Promise: every path is looked up by the kernel below the container's root, from descriptors; what the container
//! renames meanwhile leads nowhere else.

mod local;

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{
    AtFlags, FileType, OFlags, Stat, StatVfsMountFlags, StatxFlags, fstat, fstatvfs, statat, statx,
};
use shale_rootfs::{
    Owners, Pack, Replace, Rootfs, Unpack, UnpackError, Unpacked, Whiteouts, decompress, pack_entry, unpack,
};
use shale_runtime::spec::{User, UserError};

use super::Record;
use super::archive::{ArchiveError, open_in};
use super::find::FindContainerError;
use super::view::relative;
use crate::pipe::pipe;
use crate::{Engine, Privileges};

pub use local::{CopyLocalError, CopyOptions};

/// What is at a path of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// The last name of the path as it was asked for.
    pub name: String,
    /// Length of a file or link.
    pub size_bytes: i64,
    /// Type and permissions, as the kernel's `st_mode`.
    pub mode: u32,
    /// Last change.
    pub modified: Timestamp,
    /// Where a link leads to, all links on the way followed; empty for anything else.
    pub link_target: String,
}

impl PathStat {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Directory
    }

    /// Whether it is a link.
    pub fn is_link(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Symlink
    }

    /// Returns type and permissions as Go's `os.FileMode` numbers them, which is what the Engine API sends.
    pub fn go_mode(&self) -> u32 {
        let kind = match FileType::from_raw_mode(self.mode) {
            FileType::Directory => 1 << 31,
            FileType::Symlink => 1 << 27,
            FileType::BlockDevice => 1 << 26,
            FileType::CharacterDevice => 1 << 26 | 1 << 21,
            FileType::Fifo => 1 << 25,
            FileType::Socket => 1 << 24,
            _ => 0,
        };
        let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
        let special = special.iter().filter(|(bit, _)| self.mode & bit != 0).map(|(_, go)| go);
        kind | special.sum::<u32>() | (self.mode & 0o777)
    }
}

/// How a tar goes into a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CopyIn {
    /// Refuse a directory in the place of something else, and the other way round.
    pub same_kind: bool,
    /// Everything belongs to the container's user.
    pub to_user: bool,
}

/// Why files were not copied. The messages are Docker's where it has them.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The container is not there, or its files cannot be opened or packed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The tar goes into a directory only.
    #[error("extraction point is not a directory")]
    NotADirectory,
    /// As typed, a tar's destination is no directory.
    #[error("destination \"{container}:{path}\" must be a directory")]
    DestinationNoDirectory {
        /// As typed.
        container: String,
        /// As typed.
        path: String,
    },
    /// `--read-only`.
    #[error("container rootfs is marked read-only")]
    ReadOnlyRoot,
    /// A volume or bind mounted `ro`.
    #[error("mounted volume is marked read-only")]
    ReadOnlyVolume,
    /// The tar cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The container's user is not one of its users.
    #[error(transparent)]
    User(#[from] UserError),
    /// The kernel's own.
    #[error("could not read the container's files")]
    Read(#[source] io::Error),
}

impl From<FindContainerError> for CopyError {
    fn from(error: FindContainerError) -> CopyError {
        CopyError::Archive(error.into())
    }
}

/// A path of a container taken apart as Docker does: the directory, all links followed, and the last name, which is not.
struct Found {
    directory: OwnedFd,
    /// `.` for the directory itself.
    name: Vec<u8>,
    stat: Stat,
}

fn find(root: &OwnedFd, path: &Path) -> io::Result<Option<Found>> {
    let text = path.as_os_str().as_bytes();
    let end = text.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (directory, name) = text.split_at(end);
    // A path that ends in a slash, in `.` or in `..` is a directory, whatever links lead to it.
    let (directory, name) = match name {
        b"" | b"." => (directory, &b"."[..]),
        b".." => (text, &b"."[..]),
        name => (directory, name),
    };
    let directory = Path::new(std::ffi::OsStr::from_bytes(directory));
    let Some(directory) = open_in(root, relative(directory), OFlags::PATH | OFlags::DIRECTORY)? else {
        return Ok(None);
    };
    match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Found { directory, name: name.to_vec(), stat })),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The last name of a path as Go's `filepath.Base` has it, and `.` for one that ends in `/.`.
fn base_name(path: &Path) -> Vec<u8> {
    let text = path.as_os_str().as_bytes();
    let text = &text[..text.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1)];
    match text.rsplit(|byte| *byte == b'/').next() {
        None | Some(b"") => b"/".to_vec(),
        Some(name) => name.to_vec(),
    }
}

impl Engine {
    /// Returns what is at `path` of a container. A link at its end is not followed, unless a slash comes after it.
    ///
    /// # Errors
    /// [`CopyError::Archive`].
    ///
    /// Source: moby `daemon/archive.go` and `container/archive.go` at v20.10.24.
    pub fn stat_container_path(&self, text: &str, path: &Path) -> Result<PathStat, CopyError> {
        let record = self.find_container(text)?;
        self.in_container_view(&record, |root| match find(root, path) {
            Ok(Some(found)) => describe(root, path, &found).map_err(CopyError::Read),
            Ok(None) => Err(no_file(text, path)),
            Err(error) => Err(not_there(error, text, path)),
        })?
    }

    /// Writes what is at `path` of a container to `out` as a tar, whose only entry at the top has the path's last name.
    ///
    /// `started` is told what is there before the first byte; the work ends if it says so.
    ///
    /// # Errors
    /// [`CopyError`]; part of the tar was written.
    ///
    /// Source: as [`Engine::stat_container_path`].
    pub fn copy_from_container(
        &self,
        text: &str,
        path: &Path,
        started: impl FnOnce(PathStat) -> io::Result<()> + Send,
        out: &mut (dyn Write + Send),
    ) -> Result<(), CopyError> {
        let name = base_name(path);
        self.copy_from_container_as(text, path, &name, started, out)
    }

    /// As [`Engine::copy_from_container`], with a name of the caller's choice in the tar.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn copy_from_container_as(
        &self,
        text: &str,
        path: &Path,
        named: &[u8],
        started: impl FnOnce(PathStat) -> io::Result<()> + Send,
        out: &mut (dyn Write + Send),
    ) -> Result<(), CopyError> {
        let record = self.find_container(text)?;
        self.in_container_view(&record, |root| {
            let found = match find(root, path) {
                Ok(Some(found)) => found,
                Ok(None) => return Err(no_file(text, path)),
                Err(error) => return Err(not_there(error, text, path)),
            };
            started(describe(root, path, &found).map_err(CopyError::Read)?).map_err(CopyError::Read)?;
            let options = Pack { whiteouts: Whiteouts::Literal, ..Pack::default() };
            let directory = Rootfs::from_fd(found.directory);
            pack_entry(&directory, &found.name, named, out, &options)
                .map_err(|error| CopyError::Archive(error.into()))?;
            Ok(())
        })?
    }

    /// Unpacks the uncompressed `tar` into the directory `path` of a container, all links followed.
    ///
    /// # Errors
    /// [`CopyError`]; part of the tar may be there.
    ///
    /// Source: moby `daemon/archive.go` `containerExtractToDir` at v20.10.24.
    pub fn copy_to_container(
        &self,
        text: &str,
        path: &Path,
        tar: &mut (dyn Read + Send),
        how: CopyIn,
    ) -> Result<Unpacked, CopyError> {
        let record = self.find_container(text)?;
        let is_read_only = record.host_config.document()["ReadonlyRootfs"] == true;
        self.in_container_view(&record, |root| {
            let opened = match open_in(root, relative(path), OFlags::PATH) {
                Ok(Some(opened)) => opened,
                Ok(None) => return Err(no_file(text, path)),
                Err(error) => return Err(not_there(error, text, path)),
            };
            let stat = fstat(&opened).map_err(|errno| CopyError::Read(errno.into()))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(CopyError::NotADirectory);
            }
            let failed = |errno: rustix::io::Errno| CopyError::Read(errno.into());
            if fstatvfs(&opened).map_err(failed)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
                return Err(CopyError::ReadOnlyVolume);
            }
            if is_read_only && mount_of(&opened).map_err(failed)? == mount_of(root).map_err(failed)? {
                return Err(CopyError::ReadOnlyRoot);
            }
            let options = Unpack { owner: self.owner_for(&record, root, how)?, ..self.unpack_for_copy(how) };
            Ok(unpack(&Rootfs::from_fd(opened), tar, &mut io::sink(), &options)?)
        })?
    }

    /// As [`Engine::copy_to_container`], with a tar that may be compressed in any way that Docker reads.
    ///
    /// # Errors
    /// [`CopyError`]; part of the tar may be there.
    pub fn copy_archive_to_container(
        &self,
        text: &str,
        path: &Path,
        archive: Box<dyn Read + Send + '_>,
        how: CopyIn,
    ) -> Result<Unpacked, CopyError> {
        let (writer, mut reader) = pipe();
        std::thread::scope(|scope| {
            scope.spawn(move || match decompress(archive) {
                Ok(tar) => writer.fill_from(tar),
                Err(error) => writer.finish(Err(error)),
            });
            let unpacked = self.copy_to_container(text, path, &mut reader, how);
            drop(reader);
            unpacked
        })
    }

    fn unpack_for_copy(&self, how: CopyIn) -> Unpack<'static> {
        let replace = if how.same_kind { Replace::SameKind } else { Replace::Anything };
        let owners = match self.privileges {
            Privileges::Root => Owners::Keep,
            Privileges::UserNamespace => Owners::Ignore,
        };
        Unpack { whiteouts: Whiteouts::Literal, replace, owners, ..self.privileges.unpack() }
    }

    fn owner_for(
        &self,
        record: &Record,
        root: &OwnedFd,
        how: CopyIn,
    ) -> Result<Option<(u32, u32)>, CopyError> {
        let user = record.config().user;
        if !how.to_user || user.is_empty() {
            return Ok(None);
        }
        let user = User::resolve(Path::new(&super::view::descriptor_path(root)), &user, &[])?;
        Ok(Some((user.uid, user.gid)))
    }
}

fn mount_of(opened: &OwnedFd) -> rustix::io::Result<u64> {
    Ok(statx(opened, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

fn describe(root: &OwnedFd, path: &Path, found: &Found) -> io::Result<PathStat> {
    let stat = &found.stat;
    let link_target = match FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        true => resolved(root, path)?.to_string_lossy().into_owned(),
        false => String::new(),
    };
    Ok(PathStat {
        name: String::from_utf8_lossy(&base_name(path)).into_owned(),
        size_bytes: stat.st_size,
        mode: stat.st_mode,
        modified: Timestamp::new(stat.st_mtime, i32::try_from(stat.st_mtime_nsec).unwrap_or(0))
            .unwrap_or_default(),
        link_target,
    })
}

/// The name of what `path` leads to, all links followed; as far as they lead to something.
fn resolved(root: &OwnedFd, path: &Path) -> io::Result<PathBuf> {
    let below = |opened: &OwnedFd| -> io::Result<PathBuf> {
        let name =
            |descriptor: &OwnedFd| rustix::fs::readlink(super::view::descriptor_path(descriptor), vec![]);
        let (root, full) = (name(root)?.into_bytes(), name(opened)?.into_bytes());
        let inside = full.strip_prefix(root.as_slice()).unwrap_or(b"");
        Ok(Path::new("/").join(relative(Path::new(std::ffi::OsStr::from_bytes(inside)))))
    };
    if let Some(opened) = open_in(root, relative(path), OFlags::PATH)? {
        return below(&opened);
    }
    // A link to nothing: its own words, seen from where it is.
    let Some(found) = find(root, path)? else { return Ok(PathBuf::new()) };
    let target = rustix::fs::readlinkat(&found.directory, &found.name, vec![])?.into_bytes();
    let target = PathBuf::from(std::ffi::OsString::from_vec(target));
    let mut clean = PathBuf::from("/");
    for part in below(&found.directory)?.join(target).components() {
        match part {
            std::path::Component::ParentDir => drop(clean.pop()),
            std::path::Component::Normal(name) => clean.push(name),
            _ => {}
        }
    }
    Ok(clean)
}

fn no_file(container: &str, path: &Path) -> CopyError {
    ArchiveError::NoFile { path: path.to_string_lossy().into_owned(), container: container.to_owned() }.into()
}

/// Docker says of a path through a file, too, that it is not there.
fn not_there(error: io::Error, container: &str, path: &Path) -> CopyError {
    match error.kind() {
        io::ErrorKind::NotADirectory => no_file(container, path),
        _ => CopyError::Read(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_is_that_of_go() {
        // `filepath.Base` of each.
        for (path, name) in
            [("/a/b", "b"), ("/a/b/", "b"), ("/", "/"), ("/a/.", "."), ("a", "a"), ("//", "/")]
        {
            assert_eq!(base_name(Path::new(path)), name.as_bytes(), "{path}");
        }
    }

    #[test]
    fn modes_are_numbered_as_in_go() {
        let stat = |mode| PathStat {
            name: String::new(),
            size_bytes: 0,
            mode,
            modified: Timestamp::UNIX_EPOCH,
            link_target: String::new(),
        };
        // os.ModeDir|0755, os.ModeSymlink|0777, os.ModeSetuid|0755, os.ModeDir|os.ModeSticky|0777,
        // os.ModeDevice|os.ModeCharDevice|0666.
        for (mode, go) in [
            (0o040755, 0x8000_01ed),
            (0o120777, 0x0800_01ff),
            (0o104755, 0x0080_01ed),
            (0o041777, 0x8010_01ff),
            (0o020666, 0x0420_01b6),
        ] {
            assert_eq!(stat(mode).go_mode(), go, "{mode:o}");
        }
    }
}
