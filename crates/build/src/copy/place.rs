//! Writing files into the root that is being built.
//!
//! Promise: paths are followed inside the root, and every call then names one file in one open directory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, chownat, fchmod, fchown, fgetxattr,
    fsetxattr, futimens, makedev, mkdirat, mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use shale_dockerfile::Dialect;

use crate::error::CopyFault;
use crate::owner::Owner;
use crate::tree::{Entry, Found, Tree, open_plain};

/// Makes a fault of the disk.
pub(crate) fn fault(action: &'static str, name: &str, source: io::Error) -> CopyFault {
    CopyFault::Disk { action, name: name.to_owned(), source }
}

/// The root that files are written into.
#[derive(Debug)]
pub(crate) struct Destination {
    root: OwnedFd,
    /// Where the root's changes go, for what is written below directories that are new.
    upper: Option<OwnedFd>,
}

impl Destination {
    pub fn open(path: &Path) -> io::Result<Destination> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Destination { root: openat(rustix::fs::CWD, path, flags, Mode::empty())?, upper: None })
    }

    /// Lets what goes below a directory that was just made be written to `upper`, the directory behind the mount: the
    /// overlay costs as much as the file system below it, and has nothing to merge there. Nobody may look at those files
    /// through the mount afterwards.
    pub fn write_new_directories_to(&mut self, upper: &Path) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.upper = Some(openat(rustix::fs::CWD, upper, flags, Mode::empty())?);
        Ok(())
    }

    /// Returns what is written to below a directory that was there, or was just made.
    pub(super) fn below(&self, is_new: bool) -> BorrowedFd<'_> {
        self.upper.as_ref().filter(|_| is_new).map_or(self.descriptor(), |upper| upper.as_fd())
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub fn is_directory(&self, path: &[u8]) -> bool {
        open_plain(self.descriptor(), path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
    }

    /// Opens the directory that holds `path`, which has no links in it, and returns the last name.
    pub fn parent_of<'p>(&self, path: &'p [u8]) -> io::Result<(OwnedFd, &'p [u8])> {
        open_parent(self.descriptor(), path)
    }

    /// Makes the directories of `path` that are missing, 0755 and `owner`'s; returns the last one, and whether any was.
    pub fn make_directories(&self, path: &[u8], owner: Owner) -> io::Result<(OwnedFd, bool)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(directory) = open_plain(self.descriptor(), path, flags) {
            return Ok((directory, false));
        }
        let mut directory = open_plain(self.descriptor(), b"", flags)?;
        let mut is_new = false;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let made = match mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error.into()),
            };
            directory = openat(&directory, name, flags, Mode::empty())?;
            if made {
                is_new = true;
                set_owner(&directory, owner)?;
                fchmod(&directory, Mode::from_raw_mode(0o755))?;
            }
        }
        Ok((directory, is_new))
    }
}

/// Opens the directory below `root` that holds `path`, which has no links in it, and returns the last name.
pub(super) fn open_parent<'p>(root: BorrowedFd<'_>, path: &'p [u8]) -> io::Result<(OwnedFd, &'p [u8])> {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let (parent, name) = slash.map_or((&b""[..], path), |slash| (&path[..slash], &path[slash + 1..]));
    Ok((open_plain(root, parent, OFlags::PATH | OFlags::DIRECTORY)?, name))
}

fn set_owner(file: impl AsFd, owner: Owner) -> io::Result<()> {
    Ok(fchown(file, Some(rustix::fs::Uid::from_raw(owner.uid)), Some(rustix::fs::Gid::from_raw(owner.gid)))?)
}

/// How files are written.
#[derive(Debug, Clone)]
pub(crate) struct Placer {
    pub dialect: Dialect,
    /// The owner of everything; `None` keeps each file's own.
    pub owner: Option<Owner>,
    /// `--chmod`
    pub mode: Option<ModeChange>,
}

impl Placer {
    pub(super) fn owner_of(&self, stat: &Stat) -> Owner {
        self.owner.unwrap_or(Owner { uid: stat.st_uid, gid: stat.st_gid })
    }

    pub(super) fn mode_of(&self, stat: &Stat) -> Mode {
        let mode = stat.st_mode & 0o7777;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        Mode::from_raw_mode(self.mode.as_ref().map_or(mode, |change| change.apply(mode, is_directory)))
    }

    /// Writes a file of the Dockerfile itself.
    pub fn write_inline(&self, root: &Destination, path: &[u8], content: &str) -> Result<(), CopyFault> {
        let shown = String::from_utf8_lossy(path).into_owned();
        let failed = |source| fault("write", &shown, source);
        let owner = self.owner.unwrap_or_default();
        let (parent, name) = self.parent(root, path).map_err(failed)?;
        let file = self.create(&parent, name).map_err(failed)?;
        let mut bytes = content.as_bytes();
        while !bytes.is_empty() {
            let written = rustix::io::write(&file, bytes).map_err(|errno| failed(errno.into()))?;
            bytes = &bytes[written..];
        }
        set_owner(&file, owner).map_err(failed)?;
        let mode = self.mode.as_ref().map_or(0o644, |change| change.apply(0o644, false));
        fchmod(&file, Mode::from_raw_mode(mode)).map_err(|errno| failed(errno.into()))
    }

    /// Copies one file, device or pipe to `path`, whatever stands there.
    pub fn copy_file(
        &self,
        tree: &Tree,
        found: &Found,
        root: &Destination,
        path: &[u8],
    ) -> Result<(), CopyFault> {
        let shown = String::from_utf8_lossy(path).into_owned();
        let failed = |source| fault("copy", &shown, source);
        let (parent, name) = self.parent(root, path).map_err(failed)?;
        let entry = Entry::new(found.path.clone(), found.stat);
        self.place(tree, &entry, &parent, name).map(drop).map_err(failed)
    }

    fn parent<'p>(&self, root: &Destination, path: &'p [u8]) -> io::Result<(OwnedFd, &'p [u8])> {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (above, name) = slash.map_or((&b""[..], path), |slash| (&path[..slash], &path[slash + 1..]));
        if name.is_empty() {
            return Err(Errno::ISDIR.into());
        }
        let (parent, _) = root.make_directories(above, self.owner.unwrap_or_default())?;
        Ok((parent, name))
    }

    pub(super) fn place_directory(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        stat: &Stat,
        shown: &str,
    ) -> Result<OwnedFd, CopyFault> {
        let path = || format!("{}/{}", shown.trim_end_matches('/'), String::from_utf8_lossy(name));
        let failed = |errno: Errno| fault("mkdir", &path(), errno.into());
        match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let there = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                    if !self.dialect.replaces_linked_directories() {
                        return Err(CopyFault::NotDirectory(path()));
                    }
                    unlinkat(parent, name, AtFlags::empty()).map_err(failed)?;
                    mkdirat(parent, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
                }
            }
            Err(error) => return Err(failed(error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(parent, name, flags, Mode::empty()).map_err(failed)?;
        set_owner(&directory, self.owner_of(stat)).map_err(|source| fault("chown", &path(), source))?;
        fchmod(&directory, self.mode_of(stat)).map_err(failed)?;
        Ok(directory)
    }

    /// Makes one file, link, device or pipe; returns the file, open for writing.
    pub(super) fn place(
        &self,
        tree: &Tree,
        entry: &Entry,
        parent: &OwnedFd,
        name: &[u8],
    ) -> io::Result<Option<OwnedFd>> {
        let owner = self.owner_of(&entry.stat);
        match entry.kind() {
            FileType::RegularFile => {
                let from = tree.open_file(&entry.path)?;
                let file = self.create(parent, name)?;
                copy_content(&from, &file, entry.stat.st_size)?;
                self.finish(&from, &file, entry, owner)?;
                return Ok(Some(file));
            }
            FileType::Symlink => {
                let target = tree.read_link(&entry.path)?;
                retry(parent, name, || symlinkat(target.as_slice(), parent, name))?;
                finish_special(parent, name, entry, owner)?;
            }
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                let (major, minor) =
                    (rustix::fs::major(entry.stat.st_rdev), rustix::fs::minor(entry.stat.st_rdev));
                let mode = self.mode_of(&entry.stat);
                retry(parent, name, || mknodat(parent, name, entry.kind(), mode, makedev(major, minor)))?;
                finish_special(parent, name, entry, owner)?;
                rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
            }
            _ => {}
        }
        Ok(None)
    }

    fn finish(&self, from: &OwnedFd, file: &OwnedFd, entry: &Entry, owner: Owner) -> io::Result<()> {
        let mode = self.mode_of(&entry.stat);
        if self.dialect == Dialect::Classic && self.owner.is_some() {
            // The classic builder changes the owner last, and the kernel then clears set-uid bits.
            fchmod(file, mode)?;
            set_owner(file, owner)?;
        } else {
            set_owner(file, owner)?;
            fchmod(file, mode)?;
        }
        if self.owner.is_none() {
            let mut value = [0; 64];
            if let Ok(length) = fgetxattr(from, "security.capability", &mut value[..]) {
                fsetxattr(file, "security.capability", &value[..length], rustix::fs::XattrFlags::empty())?;
            }
        }
        set_times(file, &entry.stat)
    }

    /// Creates an empty file in place of whatever has the name.
    fn create(&self, parent: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        retry(parent, name, || openat(parent, name, flags, Mode::from_raw_mode(0o600)))
    }
}

fn finish_special(parent: &OwnedFd, name: &[u8], entry: &Entry, owner: Owner) -> io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(owner.uid), rustix::fs::Gid::from_raw(owner.gid));
    chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(utimensat(parent, name, &times(&entry.stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Makes something of a name; what has the name already is removed first.
fn retry<T>(parent: &OwnedFd, name: &[u8], mut make: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    match make() {
        Err(Errno::EXIST) => {
            remove(parent, name)?;
            Ok(make()?)
        }
        made => Ok(made?),
    }
}

pub(super) fn remove(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => Ok(()),
        Err(Errno::ISDIR) => shale_rootfs::remove_tree(parent, name),
        Err(error) => Err(error.into()),
    }
}

/// Whole seconds, as a layer's tar has them: a pull of the image gives the same tree.
fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime as _, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

pub(super) fn set_times(file: impl AsFd, stat: &Stat) -> io::Result<()> {
    Ok(futimens(file, &times(stat))?)
}

/// Copies inside the kernel where it can; done after the size that the file had, or at its end.
fn copy_content(from: &OwnedFd, to: &OwnedFd, size: i64) -> io::Result<()> {
    const CHUNK_BYTES: usize = 1 << 30;
    let size = u64::try_from(size).unwrap_or_default();
    let mut copied = 0;
    loop {
        match rustix::fs::sendfile(to, from, None, CHUNK_BYTES) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                copied += count as u64;
                // One call a file: the end is only asked for where a file is not what it was.
                if copied == size {
                    return Ok(());
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::INVAL | Errno::NOSYS) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = match rustix::io::read(from, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut bytes = &buffer[..count];
        while !bytes.is_empty() {
            let written = rustix::io::write(to, bytes)?;
            bytes = &bytes[written..];
        }
    }
}

/// `--chmod`: a number, or clauses such as `u=rwX,go=rX`.
#[derive(Debug, Clone)]
pub(crate) enum ModeChange {
    Number(u32),
    Clauses(Vec<Clause>),
}

/// One clause: for whom, how, and what.
#[derive(Debug, Clone)]
pub(crate) struct Clause {
    who: u32,
    operator: u8,
    permissions: String,
}

impl ModeChange {
    pub fn parse(text: &str) -> Result<ModeChange, CopyFault> {
        let bad = || CopyFault::Mode(text.to_owned());
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).map_err(|_| bad())?;
            return if mode <= 0o7777 { Ok(ModeChange::Number(mode)) } else { Err(bad()) };
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let operator = clause.find(['+', '-', '=']).ok_or_else(bad)?;
            let mut who = 0;
            for letter in clause[..operator].chars() {
                who |= match letter {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    'a' => 0o7777,
                    _ => return Err(bad()),
                };
            }
            let who = if who == 0 { 0o7777 } else { who };
            let permissions = clause[operator + 1..].to_owned();
            if !permissions.chars().all(|letter| "rwxXst".contains(letter)) {
                return Err(bad());
            }
            clauses.push(Clause { who, operator: clause.as_bytes()[operator], permissions });
        }
        Ok(ModeChange::Clauses(clauses))
    }

    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let clauses = match self {
            ModeChange::Number(mode) => return *mode,
            ModeChange::Clauses(clauses) => clauses,
        };
        clauses.iter().fold(mode, |mode, clause| {
            let mut bits = 0;
            for letter in clause.permissions.chars() {
                bits |= match letter {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if is_directory || mode & 0o111 != 0 => 0o111,
                    's' => 0o6000,
                    't' => 0o1000,
                    _ => 0,
                };
            }
            let bits = bits & clause.who;
            match clause.operator {
                b'+' => mode | bits,
                b'-' => mode & !bits,
                _ => (mode & !(clause.who & 0o777)) | bits,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected modes are those of chmod(1) on files and directories of the first mode.
    #[test]
    fn modes_change_as_chmod_changes_them() {
        for (text, mode, is_directory, expected) in [
            ("755", 0o600, false, 0o755),
            ("u=rwX,go=rX", 0o644, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("u+x", 0o644, false, 0o744),
            ("a-w", 0o666, false, 0o444),
            ("g+s", 0o755, true, 0o2755),
            ("+x", 0o644, false, 0o755),
        ] {
            assert_eq!(ModeChange::parse(text).unwrap().apply(mode, is_directory), expected, "{text}");
        }
        for text in ["u", "u=q", "99", "10000", ""] {
            assert!(ModeChange::parse(text).is_err(), "{text}");
        }
    }
}
