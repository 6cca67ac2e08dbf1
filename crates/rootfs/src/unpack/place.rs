//! Puts one entry into the tree, through directory handles only.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmod, chownat, fchmod,
    fchown, fsetxattr, fstat, futimens, linkat, makedev, mkdirat, mknodat, openat, setxattr, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use shale_tree::remove_tree;

use super::paths::{PathIndex, Paths};
use super::whiteout::{self, Meaning, Touched};
use super::{Devices, Owners, Replace, RootEntry, Unpack, UnpackError, Whiteouts, place_error};
use crate::directory::{Directories, Rootfs};
use crate::name::{self, EntryName, split};
use crate::tar::{Entry, Timestamp};

const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where the content of an entry goes.
pub(super) enum Placed {
    /// Into this new file; [`Placer::finish_file`] follows.
    File(OwnedFd),
    /// Nowhere.
    Done,
}

/// What all entries came to.
pub(super) struct Totals {
    pub size_bytes: u64,
    pub root_opaque: bool,
    pub xattrs_ignored: u64,
    pub owners_ignored: u64,
    pub devices_skipped: u64,
}

pub(super) struct Placer<'a> {
    root: &'a Rootfs,
    directories: Directories<'a>,
    options: &'a Unpack<'a>,
    is_root: bool,
    paths: Paths,
    /// Directories get their times last, because every entry in them changes those.
    finished_last: Vec<(PathIndex, Timestamps, Option<Mode>)>,
    touched: Touched,
    totals: Totals,
    /// A file was replaced, so that the sum of what was written is not the size of the tree.
    replaced: bool,
}

impl<'a> Placer<'a> {
    pub fn new(root: &'a Rootfs, options: &'a Unpack<'a>) -> Result<Placer<'a>, UnpackError> {
        let directories = Directories::new(root).map_err(|source| UnpackError::Place {
            name: EntryName::new(b"/"),
            action: "open",
            source,
        })?;
        Ok(Placer {
            root,
            directories,
            options,
            is_root: rustix::process::geteuid().is_root(),
            paths: Paths::default(),
            finished_last: Vec::new(),
            touched: Touched::default(),
            totals: Totals {
                size_bytes: 0,
                root_opaque: false,
                xattrs_ignored: 0,
                owners_ignored: 0,
                devices_skipped: 0,
            },
            replaced: false,
        })
    }

    /// Makes the entry at `cleaned`, which is its name relative to the root.
    pub fn place(&mut self, entry: &Entry, cleaned: &[u8]) -> Result<Placed, UnpackError> {
        self.owner(entry)?;
        if cleaned.is_empty() {
            return self.place_root(entry);
        }
        let (path, base) = split(cleaned);
        if self.options.whiteouts != Whiteouts::Literal {
            match whiteout::meaning(cleaned) {
                Meaning::Ordinary => {}
                Meaning::Opaque => return self.place_opaque(entry, path),
                Meaning::Removed(name) => return self.place_whiteout(entry, path, name),
                Meaning::Invalid => return Err(UnpackError::Whiteout(EntryName::new(&entry.name))),
            }
        }
        if !matches!(entry.type_byte, b'0'..=b'6' | b'S') {
            let name = EntryName::new(&entry.name);
            return Err(UnpackError::UnsupportedType { name, type_byte: entry.type_byte });
        }
        if self.options.whiteouts == Whiteouts::Apply {
            self.touched.insert(cleaned);
        }
        let parent = self
            .directories
            .find_or_create(path)
            .map_err(|source| place_error(entry, "find the directory of", source))?;
        if self.options.replace == Replace::SameKind {
            check_kind(entry, &parent, base)?;
        }
        match entry.type_byte {
            b'1' => self.place_hard_link(entry, &parent, base),
            b'2' => self.place_symlink(entry, &parent, base),
            b'3' | b'4' | b'6' => self.place_special(entry, &parent, base),
            b'5' => self.place_directory(entry, &parent, cleaned),
            _ => self.place_file(entry, &parent, base),
        }
    }

    /// Returns how many directories were made that no entry had named before.
    pub fn directories_made(&self) -> u64 {
        self.directories.made()
    }

    /// Returns the memory that names take until the last entry is placed.
    pub fn names_bytes(&self) -> u64 {
        self.paths.bytes() + self.touched.bytes()
    }

    /// Gives a file whose content is complete its owner, attributes, mode and times.
    pub fn finish_file(&mut self, entry: &Entry, file: &OwnedFd) -> Result<(), UnpackError> {
        self.dress(entry, file, entry.mode)?;
        futimens(file, &times(entry)).map_err(|errno| place_error(entry, "set the times of", errno.into()))
    }

    /// Gives directories their times, after everything was put into them.
    pub fn finish_directories(&mut self) -> Result<(), UnpackError> {
        for (index, times, mode) in std::mem::take(&mut self.finished_last) {
            let path = self.paths.path(index);
            let (parent, base) = split(&path);
            let base = if base.is_empty() { b"." } else { base };
            let result = self.directories.find(parent).and_then(|parent| {
                if let Some(mode) = mode {
                    fchmod(openat(&parent, base, OPEN_DIRECTORY, Mode::empty())?, mode)?;
                }
                Ok(utimensat(&parent, base, &times, AtFlags::SYMLINK_NOFOLLOW)?)
            });
            match result {
                // A later entry replaced it.
                Err(error) if self.replaced && error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    let name = EntryName::new(&path);
                    return Err(UnpackError::Place { name, action: "set the times of", source });
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<Totals, UnpackError> {
        if self.replaced && self.options.whiteouts != Whiteouts::Apply {
            self.totals.size_bytes = self.root.size_bytes().map_err(|source| UnpackError::Place {
                name: EntryName::new(b"/"),
                action: "measure",
                source,
            })?;
        }
        Ok(self.totals)
    }

    fn place_root(&mut self, entry: &Entry) -> Result<Placed, UnpackError> {
        if entry.type_byte != b'5' {
            return Err(UnpackError::Root(EntryName::new(&entry.name), entry.type_byte));
        }
        if self.options.root_entry == RootEntry::Apply {
            let root = self
                .root
                .open_below(b"", OFlags::RDONLY | OFlags::DIRECTORY)
                .map_err(|source| place_error(entry, "open", source))?;
            self.dress(entry, &root, entry.mode)?;
            self.finished_last.push((PathIndex::ROOT, times(entry), None));
        }
        Ok(Placed::Done)
    }

    fn place_opaque(&mut self, entry: &Entry, path: &[u8]) -> Result<Placed, UnpackError> {
        let failed = |source| place_error(entry, "mark the directory of", source);
        self.totals.root_opaque |= path.is_empty();
        let directory = self.directories.find_or_create(path).map_err(failed)?;
        let xattr = match self.options.whiteouts {
            Whiteouts::OverlayUser => "user.overlay.opaque",
            Whiteouts::Apply => {
                self.directories.forget();
                self.replaced = true;
                self.touched.empty(&directory, path).map_err(failed)?;
                return Ok(Placed::Done);
            }
            _ => "trusted.overlay.opaque",
        };
        let directory =
            openat(&directory, ".", OPEN_DIRECTORY, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        fsetxattr(&directory, xattr, b"y", XattrFlags::empty()).map_err(|errno| failed(errno.into()))?;
        Ok(Placed::Done)
    }

    fn place_whiteout(&mut self, entry: &Entry, path: &[u8], removed: &[u8]) -> Result<Placed, UnpackError> {
        let failed = |source| place_error(entry, "make the whiteout", source);
        if self.options.whiteouts == Whiteouts::Apply {
            if whiteout::is_reserved(removed) {
                return Ok(Placed::Done);
            }
            match self.directories.find(path) {
                Ok(directory) => {
                    self.directories.forget();
                    self.replaced = true;
                    self.touched.remove(&directory, path, removed).map_err(failed)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
            return Ok(Placed::Done);
        }
        let parent = self.directories.find_or_create(path).map_err(failed)?;
        // Where this layer put a file already, the kernel cannot keep both, and Docker refuses too.
        mknodat(&parent, removed, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(|errno| failed(errno.into()))?;
        self.chown_at(entry, &parent, removed)?;
        Ok(Placed::Done)
    }

    fn place_file(
        &mut self,
        entry: &Entry,
        parent: &Rc<OwnedFd>,
        base: &[u8],
    ) -> Result<Placed, UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode as u32 & 0o777);
        let file = self
            .replacing(parent, base, || openat(parent, base, flags, mode))
            .map_err(|source| place_error(entry, "create", source))?;
        self.totals.size_bytes += entry.size_bytes;
        Ok(Placed::File(file))
    }

    fn place_directory(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        cleaned: &[u8],
    ) -> Result<Placed, UnpackError> {
        let base = split(cleaned).1;
        // Without privileges a process must be able to fill a directory before it takes its own write permission.
        let mode_now = if self.is_root { entry.mode } else { entry.mode | 0o700 };
        let create = || mkdirat(parent, base, Mode::from_raw_mode(mode_now as u32 & 0o777));
        let open = || openat(parent, base, OPEN_DIRECTORY, Mode::empty());
        let failed = |errno: Errno| place_error(entry, "create", errno.into());
        let directory = match create() {
            Ok(()) => open().map_err(failed)?,
            Err(Errno::EXIST) => match open() {
                Ok(directory) => directory,
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    self.replacing(parent, base, create)
                        .map_err(|source| place_error(entry, "create", source))?;
                    open().map_err(failed)?
                }
                Err(errno) => return Err(failed(errno)),
            },
            Err(errno) => return Err(failed(errno)),
        };
        self.dress(entry, &directory, mode_now)?;
        let mode_later = (mode_now != entry.mode).then(|| Mode::from_raw_mode(entry.mode as u32 & 0o7777));
        self.finished_last.push((self.paths.insert(cleaned), times(entry), mode_later));
        self.directories.remember(cleaned, directory);
        Ok(Placed::Done)
    }

    fn place_symlink(&mut self, entry: &Entry, parent: &OwnedFd, base: &[u8]) -> Result<Placed, UnpackError> {
        self.replacing(parent, base, || symlinkat(&*entry.link_name, parent, base))
            .map_err(|source| place_error(entry, "create", source))?;
        self.totals.size_bytes += entry.link_name.len() as u64;
        self.chown_at(entry, parent, base)?;
        self.xattrs_at(entry, parent, base)?;
        utimensat(parent, base, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| place_error(entry, "set the times of", errno.into()))?;
        Ok(Placed::Done)
    }

    fn place_special(&mut self, entry: &Entry, parent: &OwnedFd, base: &[u8]) -> Result<Placed, UnpackError> {
        let (file_type, device) = match entry.type_byte {
            b'6' => (FileType::Fifo, 0),
            b'3' => (FileType::CharacterDevice, self.device(entry)?),
            _ => (FileType::BlockDevice, self.device(entry)?),
        };
        if entry.type_byte != b'6' && self.options.devices == Devices::Skip {
            self.totals.devices_skipped += 1;
            return Ok(Placed::Done);
        }
        let mode = Mode::from_raw_mode(entry.mode as u32 & 0o7777);
        self.replacing(parent, base, || mknodat(parent, base, file_type, mode, device))
            .map_err(|source| place_error(entry, "create", source))?;
        self.chown_at(entry, parent, base)?;
        self.xattrs_at(entry, parent, base)?;
        self.chmod_at(entry, parent, base)?;
        utimensat(parent, base, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| place_error(entry, "set the times of", errno.into()))?;
        Ok(Placed::Done)
    }

    // The kernel keeps 12 bits of major and 20 of minor number and drops the rest without a word.
    fn device(&self, entry: &Entry) -> Result<u64, UnpackError> {
        let (major, minor) = (entry.device_major, entry.device_minor);
        let is_whiteout = entry.type_byte == b'3' && major == 0 && minor == 0;
        let in_range = (0..1 << 12).contains(&major) && (0..1 << 20).contains(&minor);
        if !in_range || (is_whiteout && self.options.whiteouts != Whiteouts::Literal) {
            return Err(UnpackError::DeviceNumber { name: EntryName::new(&entry.name), major, minor });
        }
        Ok(makedev(major as u32, minor as u32))
    }

    fn place_hard_link(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        base: &[u8],
    ) -> Result<Placed, UnpackError> {
        let failed = |source| place_error(entry, "link", source);
        let mut target = Vec::new();
        name::clean(&entry.link_name, &mut target)
            .map_err(|_| UnpackError::Escape(EntryName::new(&entry.link_name)))?;
        let (target_path, target_base) = split(&target);
        let target_parent = self.directories.find(target_path).map_err(failed)?;
        let stat = statat(&target_parent, target_base, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed(errno.into()))?;
        let target_type = FileType::from_raw_mode(stat.st_mode);
        // The link would be a deletion whose name does not say so.
        if target_type == FileType::CharacterDevice
            && stat.st_rdev == 0
            && self.options.whiteouts != Whiteouts::Literal
        {
            return Err(UnpackError::DeviceNumber { name: EntryName::new(&entry.name), major: 0, minor: 0 });
        }
        self.replacing(parent, base, || linkat(&target_parent, target_base, parent, base, AtFlags::empty()))
            .map_err(failed)?;
        let failed = |errno: Errno| failed(errno.into());
        self.chown_at(entry, parent, base)?;
        self.xattrs_at(entry, parent, base)?;
        // Docker dresses the shared inode as the last link entry says; a link to a symlink keeps its times.
        if target_type != FileType::Symlink {
            self.chmod_at(entry, parent, base)?;
            utimensat(parent, base, &times(entry), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        }
        Ok(Placed::Done)
    }

    // Whatever was at `base` goes when `make` cannot do without.
    fn replacing<T>(
        &mut self,
        parent: &OwnedFd,
        base: &[u8],
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        match make() {
            Err(Errno::EXIST) => {}
            result => return Ok(result?),
        }
        self.replaced = true;
        self.directories.forget();
        match unlinkat(parent, base, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::ISDIR | Errno::PERM) => remove_tree(parent, base)?,
            Err(errno) => return Err(errno.into()),
        }
        Ok(make()?)
    }

    fn owner(&self, entry: &Entry) -> Result<(Uid, Gid), UnpackError> {
        match self.options.owner {
            Some((uid, gid)) => Ok((Uid::from_raw(uid), Gid::from_raw(gid))),
            None => owner(entry),
        }
    }

    // Owner, attributes, mode, in this order: the kernel clears set-uid bits and capabilities when the owner changes.
    fn dress(&mut self, entry: &Entry, inode: &OwnedFd, mode: i64) -> Result<(), UnpackError> {
        let failed = |action, errno: Errno| place_error(entry, action, errno.into());
        let stat = fstat(inode).map_err(|errno| failed("look at", errno))?;
        let mut mode_now = stat.st_mode & 0o7777;
        let (uid, gid) = self.owner(entry)?;
        if (stat.st_uid, stat.st_gid) != (uid.as_raw(), gid.as_raw()) {
            let result = fchown(inode, Some(uid), Some(gid));
            self.owned(entry, result)?;
            mode_now &= !0o6000;
        }
        for (xattr, value) in &entry.xattrs {
            if self.wants_xattr(xattr) {
                let result = fsetxattr(inode, &**xattr, value, XattrFlags::empty());
                self.xattr_set(entry, xattr, result)?;
            }
        }
        let mode = mode as u32 & 0o7777;
        // An access list sets group bits of its own, so what it left is not what was seen before.
        if mode != mode_now || !entry.xattrs.is_empty() {
            fchmod(inode, Mode::from_raw_mode(mode)).map_err(|errno| failed("set the mode of", errno))?;
        }
        Ok(())
    }

    fn chown_at(&mut self, entry: &Entry, parent: &OwnedFd, base: &[u8]) -> Result<(), UnpackError> {
        let (uid, gid) = self.owner(entry)?;
        let result = chownat(parent, base, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
        self.owned(entry, result)
    }

    fn owned(&mut self, entry: &Entry, result: rustix::io::Result<()>) -> Result<(), UnpackError> {
        match result {
            Ok(()) => Ok(()),
            Err(Errno::PERM | Errno::INVAL) if self.options.owners == Owners::Ignore => {
                self.totals.owners_ignored += 1;
                Ok(())
            }
            Err(errno) => Err(place_error(entry, "set the owner of", errno.into())),
        }
    }

    fn xattrs_at(&mut self, entry: &Entry, parent: &OwnedFd, base: &[u8]) -> Result<(), UnpackError> {
        if entry.xattrs.is_empty() {
            return Ok(());
        }
        let inode = pin(parent, base).map_err(|errno| place_error(entry, "look at", errno.into()))?;
        for (xattr, value) in &entry.xattrs {
            if self.wants_xattr(xattr) {
                let result = setxattr(proc_path(inode.as_fd()), &**xattr, value, XattrFlags::empty());
                self.xattr_set(entry, xattr, result)?;
            }
        }
        Ok(())
    }

    fn chmod_at(&mut self, entry: &Entry, parent: &OwnedFd, base: &[u8]) -> Result<(), UnpackError> {
        let failed = |errno: Errno| place_error(entry, "set the mode of", errno.into());
        let inode = pin(parent, base).map_err(failed)?;
        let stat = fstat(&inode).map_err(failed)?;
        let mode = entry.mode as u32 & 0o7777;
        if stat.st_mode & 0o7777 != mode && FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            // A device must not be opened to change its mode; its handle has a path of its own.
            chmod(proc_path(inode.as_fd()), Mode::from_raw_mode(mode)).map_err(failed)?;
        }
        Ok(())
    }

    // Instructions to overlayfs in a layer would hide, redirect or fake files; no layer tool writes them.
    fn wants_xattr(&mut self, xattr: &[u8]) -> bool {
        let is_instruction = xattr.starts_with(b"trusted.overlay.") || xattr.starts_with(b"user.overlay.");
        self.totals.xattrs_ignored += u64::from(is_instruction);
        !is_instruction
    }

    // As Docker: a file system without attributes and a process without the right are no errors, a bad value is.
    fn xattr_set(
        &mut self,
        entry: &Entry,
        xattr: &[u8],
        result: rustix::io::Result<()>,
    ) -> Result<(), UnpackError> {
        match result {
            Ok(()) => Ok(()),
            Err(Errno::NOTSUP | Errno::PERM) => {
                self.totals.xattrs_ignored += 1;
                Ok(())
            }
            Err(errno) => Err(UnpackError::Xattr {
                name: EntryName::new(&entry.name),
                xattr: EntryName::new(xattr),
                source: errno.into(),
            }),
        }
    }
}

// Docker's two texts for what `cp` does not replace.
fn check_kind(entry: &Entry, parent: &OwnedFd, base: &[u8]) -> Result<(), UnpackError> {
    let is_directory = match statat(parent, base, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
        Err(_) => return Ok(()),
    };
    match (is_directory, entry.type_byte == b'5') {
        (true, false) => Err(UnpackError::DirectoryInTheWay(EntryName::new(&entry.name))),
        (false, true) => Err(UnpackError::NoDirectoryInTheWay(EntryName::new(&entry.name))),
        _ => Ok(()),
    }
}

// 4294967295 is -1 to chown(2): "leave as it is", which would leave the file to root.
fn owner(entry: &Entry) -> Result<(Uid, Gid), UnpackError> {
    let id = |id: i64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    match (id(entry.uid), id(entry.gid)) {
        (Some(uid), Some(gid)) => Ok((Uid::from_raw(uid), Gid::from_raw(gid))),
        _ => Err(UnpackError::Owner { name: EntryName::new(&entry.name), uid: entry.uid, gid: entry.gid }),
    }
}

fn pin(parent: &OwnedFd, base: &[u8]) -> rustix::io::Result<OwnedFd> {
    openat(parent, base, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn proc_path(inode: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", inode.as_raw_fd())
}

// Docker: never before 1970, never after what fits into nanoseconds, never read before it was written.
fn times(entry: &Entry) -> Timestamps {
    const SECONDS_MAX: i64 = i64::MAX / 1_000_000_000;
    let in_range = |time: Timestamp| {
        if (0..SECONDS_MAX).contains(&time.seconds) { time } else { Timestamp::default() }
    };
    let mtime = in_range(entry.mtime);
    let atime = entry.atime.map_or(mtime, in_range).max(mtime);
    let timespec = |time: Timestamp| Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
    Timestamps { last_access: timespec(atime), last_modification: timespec(mtime) }
}
