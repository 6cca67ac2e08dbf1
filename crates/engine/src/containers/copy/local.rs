//! Files between a container and this machine: `docker cp` without a daemon between the two.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use shale_rootfs::{
    Devices, Pack, PackError, Replace, Rootfs, Unpack, Unpacked, Whiteouts, pack_entry, unpack,
};

use super::{CopyError, CopyIn, PathStat, base_name};
use crate::Engine;
use crate::pipe::pipe;

/// Links to links that are followed at most.
const LINKS_MAX: usize = 10;

/// Why nothing was copied between a container and this machine. The messages are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum CopyLocalError {
    /// The container's side.
    #[error(transparent)]
    Container(#[from] CopyError),
    /// A directory onto a file.
    #[error("cannot copy directory")]
    DirectoryOntoFile,
    /// A file into a directory that is not there.
    #[error("no such directory")]
    NoDirectory,
    /// The directory above the destination is not there.
    #[error("invalid output path: directory {0:?} does not exist")]
    NoParent(PathBuf),
    /// A device, a pipe or a socket.
    #[error("destination {0:?} must be a directory or a regular file")]
    Irregular(String),
    /// A file or directory of this machine.
    #[error("could not open {path}")]
    Local {
        /// As typed.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file of this machine could not be read.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// How to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CopyOptions {
    /// Copy what a link at the end of the source leads to, not the link.
    pub follow_link: bool,
    /// Into a container: everything belongs to its user.
    pub to_user: bool,
}

/// Where a copy goes, as far as that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    Nothing,
    Directory,
    File,
}

/// Decides into which directory the copy goes, and what it is called there.
///
/// Source: moby `pkg/archive/copy.go` `PrepareArchiveCopy` at v20.10.24.
fn plan(
    source_is_directory: bool,
    source_name: &[u8],
    destination: &Path,
    existing: Existing,
) -> Result<(PathBuf, Vec<u8>), CopyLocalError> {
    let bytes = destination.as_os_str().as_bytes();
    let asks_for_directory =
        bytes.ends_with(b"/") || bytes.ends_with(b"/.") || bytes == b"." || bytes.is_empty();
    let renamed = || {
        let parent = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            Some(_) => PathBuf::from("."),
            None => PathBuf::from("/"),
        };
        (parent, base_name(destination))
    };
    match existing {
        Existing::Directory => Ok((destination.to_owned(), source_name.to_vec())),
        Existing::File if source_is_directory => Err(CopyLocalError::DirectoryOntoFile),
        Existing::Nothing if !source_is_directory && asks_for_directory => Err(CopyLocalError::NoDirectory),
        Existing::File | Existing::Nothing => Ok(renamed()),
    }
}

impl Engine {
    /// Copies `source` of a container to `destination` on this machine; returns how many bytes of tar that took.
    ///
    /// What is made belongs to the user of this process.
    ///
    /// # Errors
    /// [`CopyLocalError`]; part of it may be there.
    ///
    /// Source: docker CLI 28.2 `cli/command/container/cp.go`; moby `pkg/archive/copy.go` at v20.10.24.
    pub fn copy_out(
        &self,
        container: &str,
        source: &Path,
        destination: &Path,
        options: CopyOptions,
    ) -> Result<u64, CopyLocalError> {
        let (source, name) = self.copy_source(container, source, options)?;
        let stat = self.stat_container_path(container, &source)?;
        let (destination, existing) = look_at(destination)?;
        let (directory, name) = plan(stat.is_directory(), &name, &destination, existing)?;
        let local = |source| CopyLocalError::Local { path: directory.clone(), source };
        let target = Rootfs::open(&directory).map_err(local)?;
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        let unpack_options = Unpack {
            whiteouts: Whiteouts::Literal,
            replace: Replace::SameKind,
            owner: Some((user.as_raw(), group.as_raw())),
            devices: if user.is_root() { Devices::Create } else { Devices::Skip },
            ..Unpack::default()
        };
        let (mut writer, mut reader) = pipe();
        let (packed, unpacked) = std::thread::scope(|scope| {
            let packing = scope.spawn(move || {
                let copied = self.copy_from_container_as(container, &source, &name, |_| Ok(()), &mut writer);
                writer.finish(end_of(&copied));
                copied
            });
            let unpacked = unpack(&target, &mut reader, &mut io::sink(), &unpack_options);
            drop(reader);
            (packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), unpacked)
        });
        both(packed.map_err(CopyLocalError::from), unpacked.map_err(CopyError::from))
    }

    /// Writes `source` of a container to `out` as a tar: `docker cp CONTAINER:SOURCE -`.
    ///
    /// # Errors
    /// [`CopyLocalError`]; part of it was written.
    pub fn copy_out_tar(
        &self,
        container: &str,
        source: &Path,
        out: &mut (dyn Write + Send),
        options: CopyOptions,
    ) -> Result<(), CopyLocalError> {
        let (source, name) = self.copy_source(container, source, options)?;
        Ok(self.copy_from_container_as(container, &source, &name, |_| Ok(()), out)?)
    }

    /// Returns the path to copy and its name in the copy.
    fn copy_source(
        &self,
        container: &str,
        source: &Path,
        options: CopyOptions,
    ) -> Result<(PathBuf, Vec<u8>), CopyError> {
        let name = base_name(source);
        if options.follow_link {
            let stat = self.stat_container_path(container, source)?;
            if stat.is_link() {
                return Ok((stat.link_target.into(), name));
            }
        }
        Ok((source.to_owned(), name))
    }

    /// Copies `source` of this machine to `destination` in a container; returns how many bytes of tar that took.
    ///
    /// # Errors
    /// [`CopyLocalError`]; part of it may be there.
    ///
    /// Source: as [`Engine::copy_out`].
    pub fn copy_in(
        &self,
        source: &Path,
        container: &str,
        destination: &Path,
        options: CopyOptions,
    ) -> Result<u64, CopyLocalError> {
        let local = |error| CopyLocalError::Local { path: source.to_owned(), source: error };
        let mut name = base_name(source);
        let mut path = source.to_owned();
        if options.follow_link && fs::symlink_metadata(source).map_err(local)?.is_symlink() {
            path = fs::canonicalize(source).map_err(local)?;
        }
        let is_directory = fs::symlink_metadata(&path).map_err(local)?.is_dir();
        let (parent, entry) = match (path.file_name(), path.parent()) {
            (Some(entry), Some(parent)) if !ends_in_directory(&path) => {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                (parent.to_owned(), entry.as_bytes().to_vec())
            }
            _ => (path.clone(), b".".to_vec()),
        };
        if path.as_os_str() == "." || path.as_os_str() == ".." {
            name = b".".to_vec();
        }
        let parent = Rootfs::open(&parent).map_err(local)?;
        let (destination, stat) = self.copy_destination(container, destination)?;
        let existing = match &stat {
            None => Existing::Nothing,
            Some(stat) if stat.is_directory() => Existing::Directory,
            Some(_) => Existing::File,
        };
        let (directory, name) = plan(is_directory, &name, &destination, existing)?;
        let (mut writer, mut reader) = pipe();
        let how = CopyIn { same_kind: true, to_user: options.to_user };
        let (packed, unpacked) = std::thread::scope(|scope| {
            let packing = scope.spawn(move || {
                let options = Pack { whiteouts: Whiteouts::Literal, ..Pack::default() };
                let packed = pack_entry(&parent, &entry, &name, &mut writer, &options);
                writer.finish(end_of(&packed));
                packed
            });
            let unpacked = self.copy_to_container(container, &directory, &mut reader, how);
            drop(reader);
            (packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), unpacked)
        });
        both(packed.map(drop).map_err(CopyLocalError::from), unpacked)
    }

    /// Unpacks a tar, compressed in any way that Docker reads, in a directory of a container: `docker cp - CONTAINER:PATH`.
    ///
    /// # Errors
    /// [`CopyLocalError`]; part of it may be there.
    pub fn copy_in_tar(
        &self,
        tar: Box<dyn Read + Send>,
        container: &str,
        destination: &Path,
        options: CopyOptions,
    ) -> Result<(), CopyLocalError> {
        let (destination, stat) = self.copy_destination(container, destination)?;
        if !stat.is_some_and(|stat| stat.is_directory()) {
            return Err(CopyError::DestinationNoDirectory {
                container: container.to_owned(),
                path: destination.to_string_lossy().into_owned(),
            }
            .into());
        }
        let how = CopyIn { same_kind: true, to_user: options.to_user };
        self.copy_archive_to_container(container, &destination, tar, how)?;
        Ok(())
    }

    /// Returns the destination, a link at its end followed, and what is there.
    fn copy_destination(
        &self,
        container: &str,
        destination: &Path,
    ) -> Result<(PathBuf, Option<PathStat>), CopyLocalError> {
        let found = |path: &Path| match self.stat_container_path(container, path) {
            Ok(stat) => Ok(Some(stat)),
            Err(CopyError::Archive(super::ArchiveError::NoFile { .. })) => Ok(None),
            Err(error) => Err(error),
        };
        let (mut path, mut stat) = (destination.to_owned(), found(destination)?);
        if let Some(link) = stat.as_ref().filter(|stat| stat.is_link()) {
            path = link.link_target.clone().into();
            stat = found(&path)?;
        }
        let kind = stat.as_ref().map(|stat| rustix::fs::FileType::from_raw_mode(stat.mode));
        match kind {
            None | Some(rustix::fs::FileType::Directory | rustix::fs::FileType::RegularFile) => {
                Ok((path, stat))
            }
            Some(_) => Err(CopyLocalError::Irregular(format!("{container}:{}", destination.display()))),
        }
    }
}

/// Whether the path says itself that it is a directory, so that a link at its end is followed.
fn ends_in_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.ends_with(b"/")
        || bytes.ends_with(b"/.")
        || bytes.ends_with(b"/..")
        || bytes == b"."
        || bytes == b".."
}

/// What is at a destination on this machine; links at its end are followed, also one that leads to nothing.
fn look_at(destination: &Path) -> Result<(PathBuf, Existing), CopyLocalError> {
    let mut path = destination.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => break,
        }
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok((path, Existing::Directory)),
        Ok(metadata) if metadata.is_file() => Ok((path, Existing::File)),
        Ok(_) => Err(CopyLocalError::Irregular(destination.display().to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match parent.is_dir() {
            true => Ok((path, Existing::Nothing)),
            false => Err(CopyLocalError::NoParent(parent.to_owned())),
        },
        Err(source) => Err(CopyLocalError::Local { path: destination.to_owned(), source }),
    }
}

/// A reader that sees an end takes it for the whole.
fn end_of<T, E>(done: &Result<T, E>) -> io::Result<()> {
    if done.is_ok() { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
}

/// The error of the side that failed first: one that writes to nobody, or reads what ended too early, came second.
fn both(
    packed: Result<(), CopyLocalError>,
    unpacked: Result<Unpacked, CopyError>,
) -> Result<u64, CopyLocalError> {
    let is_second = matches!(
        &packed,
        Err(CopyLocalError::Pack(PackError::Write(_))
            | CopyLocalError::Container(CopyError::Archive(super::ArchiveError::Pack(PackError::Write(_)))))
    );
    if packed.is_ok() || is_second {
        return Ok(unpacked?.tar_bytes);
    }
    packed.map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        source: (&str, bool),
        destination: &str,
        existing: Existing,
        expected: Result<(&str, &str), &str>,
    ) {
        let planned = plan(source.1, source.0.as_bytes(), Path::new(destination), existing);
        let planned = planned.map(|(path, name)| (path, String::from_utf8(name).unwrap()));
        match (planned, expected) {
            (Ok((path, name)), Ok(expected)) => assert_eq!((path.to_str().unwrap(), name.as_str()), expected),
            (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected),
            (planned, expected) => panic!("{planned:?} is not {expected:?}"),
        }
    }

    #[test]
    fn the_rules_are_those_of_the_manual() {
        // docs.docker.com, "docker container cp", "Extended description"; one line each.
        use Existing::{Directory, File, Nothing};
        check(("f", false), "/new", Nothing, Ok(("/", "new")));
        check(("f", false), "/new/", Nothing, Err("no such directory"));
        check(("f", false), "/file", File, Ok(("/", "file")));
        check(("f", false), "/dir", Directory, Ok(("/dir", "f")));
        check(("d", true), "/new", Nothing, Ok(("/", "new")));
        check(("d", true), "/file", File, Err("cannot copy directory"));
        check(("d", true), "/dir", Directory, Ok(("/dir", "d")));
        check((".", true), "/dir", Directory, Ok(("/dir", ".")));
    }
}
