//! Packs the files below a directory, usually the upper directory of an overlay, into the layer that Docker would make.
//!
//! Source: the layers of `docker commit` and `docker build` on dockerd 24 to 29, observed 2026-11-21; hard links to
//! whiteouts included, because they are part of the digest.

mod entry;

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, fstat, major, minor, openat,
    readlinkat, statat,
};
use rustix::io::Errno;
use shale_oci::DiffId;

use crate::directory::Rootfs;
use crate::hashing::HashedOutput;
use crate::name::EntryName;
use crate::tar::{TarEntry, encode, padding};
use crate::tar_split::{Checksum, SplitWriter};
use crate::unpack::Whiteouts;

pub use entry::pack_entry;

const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const OPEN_FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
/// Directories kept open at most; deeper ones are opened again on the way back.
const OPEN_MAX: usize = 64;

/// How to pack.
#[derive(Clone, Copy)]
pub struct Pack<'a> {
    /// What deletions look like below the directory; [`Whiteouts::Apply`] and [`Whiteouts::Literal`] know none.
    pub whiteouts: Whiteouts,
    /// Called after each entry with the tar bytes made so far; a break stops the work.
    pub progress: &'a dyn Fn(u64) -> ControlFlow<()>,
}

impl Default for Pack<'_> {
    fn default() -> Self {
        Pack { whiteouts: Whiteouts::default(), progress: &|_| ControlFlow::Continue(()) }
    }
}

/// What [`pack`] made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Digest of the tar.
    pub diff_id: DiffId,
    /// Length of the tar.
    pub tar_bytes: u64,
    /// Docker's `size`: the lengths of all files and links, each inode once.
    pub size_bytes: u64,
    /// Entries; 0 for a layer that changes nothing.
    pub entries: u64,
}

/// Why a directory was not packed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message says what each field is")]
pub enum PackError {
    /// The disk, or the permissions of this process.
    #[error("could not {action} {name:?}")]
    Read { name: EntryName, action: &'static str, source: io::Error },
    /// A file has another length than when it was looked at.
    #[error("{0:?} changed while it was packed")]
    Changed(EntryName),
    /// overlayfs says that the content is elsewhere (`redirect_dir` or `metacopy`); only a mount shows it.
    #[error("{0:?} is a reference to another layer of the overlay")]
    Redirected(EntryName),
    /// The receiver of the tar failed.
    #[error("could not write the tar")]
    Write(#[source] io::Error),
    /// The receiver of tar-split failed.
    #[error("could not write tar-split")]
    TarSplit(#[source] io::Error),
    /// The progress hook asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// Writes everything below `root` to `out` as a layer tar.
///
/// The tar depends on the tree alone: names in byte order, times in whole seconds, no user names, no attributes but
/// `security.capability`, no sockets, no entry for the root.
///
/// # Errors
/// [`PackError`]; part of the tar was written.
pub fn pack(root: &Rootfs, out: &mut dyn Write, options: &Pack<'_>) -> Result<Packed, PackError> {
    Packer::new(out, None, options).run(root)
}

/// Writes what [`pack`] writes, and its tar-split, uncompressed, to `tar_split`.
///
/// # Errors
/// As [`pack`].
pub fn pack_with_tar_split(
    root: &Rootfs,
    out: &mut dyn Write,
    tar_split: &mut dyn Write,
    options: &Pack<'_>,
) -> Result<Packed, PackError> {
    Packer::new(out, Some(SplitWriter::new(tar_split)), options).run(root)
}

struct Packer<'a> {
    output: HashedOutput<'a>,
    split: Option<SplitWriter<'a>>,
    /// Bytes since the last content that belong to tar-split.
    raw: Vec<u8>,
    options: &'a Pack<'a>,
    /// The first name of each inode that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    size_bytes: u64,
    tar_bytes: u64,
    entries: u64,
}

struct Level {
    directory: Option<OwnedFd>,
    path_length: usize,
    /// Names yet to come, last first.
    names: Vec<Vec<u8>>,
}

impl<'a> Packer<'a> {
    fn new(out: &'a mut dyn Write, split: Option<SplitWriter<'a>>, options: &'a Pack<'a>) -> Packer<'a> {
        Packer {
            output: HashedOutput::new(out),
            split,
            raw: Vec::new(),
            options,
            links: HashMap::new(),
            size_bytes: 0,
            tar_bytes: 0,
            entries: 0,
        }
    }

    fn run(mut self, root: &Rootfs) -> Result<Packed, PackError> {
        let failed = |source| read_error(b"/", "open", source);
        let directory = root.open_below(b"", OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        self.walk(root, Vec::new(), directory)?;
        self.emit_raw(&[0; 1024])?;
        self.finish()
    }

    // Packs what is below `directory`, which is `root` itself and has the name `prefix` in the tar.
    fn walk(&mut self, root: &Rootfs, prefix: Vec<u8>, directory: OwnedFd) -> Result<(), PackError> {
        let failed = |path: &[u8], source| read_error(path, "open", source);
        let prefix_length = prefix.len();
        let mut path = prefix;
        let names = names(&directory).map_err(|source| failed(b"/", source))?;
        let mut levels = vec![Level { directory: Some(directory), path_length: prefix_length, names }];
        while let Some(level) = levels.last_mut() {
            path.truncate(level.path_length);
            let Some(name) = level.names.pop() else {
                levels.pop();
                continue;
            };
            if level.directory.is_none() {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let below = path[prefix_length..].strip_prefix(b"/").unwrap_or(&path[prefix_length..]);
                level.directory =
                    Some(root.open_below(below, flags).map_err(|source| failed(&path, source))?);
            }
            let parent = level.directory.as_ref().expect("opened above").as_fd();
            if !path.is_empty() && !path.ends_with(b"/") {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            if let Some(directory) = self.entry(parent, &name, &path)? {
                let names = self::names(&directory).map_err(|source| failed(&path, source))?;
                levels.push(Level { directory: Some(directory), path_length: path.len(), names });
                if let Some(index) = levels.len().checked_sub(OPEN_MAX + 1) {
                    levels[index].directory = None;
                }
            }
            if (self.options.progress)(self.tar_bytes).is_break() {
                return Err(PackError::Cancelled);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Packed, PackError> {
        if let Some(mut split) = self.split.take() {
            split.segment(&self.raw).map_err(PackError::TarSplit)?;
            split.finish().map_err(PackError::TarSplit)?;
        }
        let (diff_id, tar_bytes) = self.output.finish().map_err(PackError::Write)?;
        Ok(Packed { diff_id, tar_bytes, size_bytes: self.size_bytes, entries: self.entries })
    }

    // Returns the directory to go into, if it is one.
    fn entry(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<Option<OwnedFd>, PackError> {
        let failed = |action, errno: Errno| read_error(path, action, errno.into());
        let stat =
            statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| failed("look at", errno))?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type == FileType::Directory {
            return self.directory(parent, name, path).map(Some);
        }
        let is_first = stat.st_nlink == 1 || !self.links.contains_key(&(stat.st_dev, stat.st_ino));
        if is_first {
            self.size_bytes += stat.st_size.unsigned_abs();
        }
        let mut link_name = match self.links.get(&(stat.st_dev, stat.st_ino)) {
            Some(first) if stat.st_nlink > 1 => first.clone(),
            _ => Vec::new(),
        };
        if is_first && stat.st_nlink > 1 && file_type != FileType::Socket {
            self.links.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        let mut entry = TarEntry { name: path, ..common(&stat) };
        match file_type {
            // A whiteout keeps the link name that the shared inode gave it: Docker's quirk.
            FileType::CharacterDevice if stat.st_rdev == 0 && self.knows_whiteouts() => {
                let whiteout = [&path[..path.len() - name.len()], &b".wh."[..], name].concat();
                entry = TarEntry {
                    name: &whiteout,
                    type_byte: b'0',
                    mode: 0o600,
                    link_name: &link_name,
                    ..entry
                };
                self.header(&entry, None)?;
            }
            FileType::RegularFile => {
                let file =
                    openat(parent, name, OPEN_FILE, Mode::empty()).map_err(|errno| failed("open", errno))?;
                let capability = capability(&file, path)?;
                entry.capability = capability.as_deref();
                if is_first {
                    self.file(&TarEntry { size_bytes: stat.st_size.unsigned_abs(), ..entry }, &file)?;
                } else {
                    self.header(&TarEntry { type_byte: b'1', link_name: &link_name, ..entry }, None)?;
                }
            }
            FileType::Symlink | FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                entry.type_byte = match file_type {
                    _ if !is_first => b'1',
                    FileType::Symlink => b'2',
                    FileType::CharacterDevice => b'3',
                    FileType::BlockDevice => b'4',
                    _ => b'6',
                };
                if entry.type_byte == b'2' {
                    let target =
                        readlinkat(parent, name, Vec::new()).map_err(|errno| failed("read", errno))?;
                    link_name = target.into_bytes();
                }
                if matches!(file_type, FileType::CharacterDevice | FileType::BlockDevice) {
                    entry.device = (major(stat.st_rdev), minor(stat.st_rdev));
                }
                self.header(&TarEntry { link_name: &link_name, ..entry }, None)?;
            }
            // Sockets mean nothing without the process that made them.
            _ => {}
        }
        Ok(None)
    }

    fn directory(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<OwnedFd, PackError> {
        let failed = |action, errno: Errno| read_error(path, action, errno.into());
        let directory =
            openat(parent, name, OPEN_DIRECTORY, Mode::empty()).map_err(|errno| failed("open", errno))?;
        let stat = fstat(&directory).map_err(|errno| failed("look at", errno))?;
        let with_slash = if path.ends_with(b"/") { path.to_vec() } else { [path, b"/"].concat() };
        let entry = TarEntry { name: &with_slash, type_byte: b'5', ..common(&stat) };
        self.header(&entry, None)?;
        if self.knows_whiteouts() {
            let prefix: &[u8] = match self.options.whiteouts {
                Whiteouts::OverlayUser => b"user.overlay.",
                _ => b"trusted.overlay.",
            };
            let xattrs = xattr_names(&directory).map_err(|errno| failed("read attributes of", errno))?;
            let has = |suffix: &[u8]| names_of(&xattrs).any(|name| name.strip_prefix(prefix) == Some(suffix));
            if has(b"redirect") {
                return Err(PackError::Redirected(EntryName::new(path)));
            }
            let mut value = [0; 2];
            if has(b"opaque")
                && fgetxattr(&directory, [prefix, b"opaque"].concat(), &mut value[..]) == Ok(1)
                && value[0] == b'y'
            {
                let marker = [path, b"/.wh..wh..opq"].concat();
                let mode = stat.st_mode & 0o777;
                self.header(
                    &TarEntry { name: &marker, type_byte: b'0', mode, mtime_seconds: 0, ..entry },
                    None,
                )?;
            }
        }
        Ok(directory)
    }

    fn file(&mut self, entry: &TarEntry<'_>, file: &OwnedFd) -> Result<(), PackError> {
        if entry.size_bytes == 0 {
            return self.header(entry, None);
        }
        self.header(entry, Some(()))?;
        let mut checksum = Checksum::new();
        let mut left = entry.size_bytes;
        while left > 0 {
            let space = self.output.space().map_err(PackError::Write)?;
            let length = space.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match rustix::io::read(file, &mut space[..length]) {
                Ok(0) => return Err(PackError::Changed(EntryName::new(entry.name))),
                Ok(read) => {
                    if self.split.is_some() {
                        checksum.update(&space[..read]);
                    }
                    self.output.advance(read);
                    left -= read as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(read_error(entry.name, "read", errno.into())),
            }
        }
        if fstat(file)
            .map_err(|errno| read_error(entry.name, "look at", errno.into()))?
            .st_size
            .unsigned_abs()
            != entry.size_bytes
        {
            return Err(PackError::Changed(EntryName::new(entry.name)));
        }
        self.tar_bytes += entry.size_bytes;
        if let Some(split) = &mut self.split {
            split
                .file(entry.name, Some((entry.size_bytes, checksum.finish())))
                .map_err(PackError::TarSplit)?;
        }
        self.emit_raw(&[0; 512][..padding(entry.size_bytes)])
    }

    // With content, the line of tar-split follows when the checksum is known.
    fn header(&mut self, entry: &TarEntry<'_>, content: Option<()>) -> Result<(), PackError> {
        self.entries += 1;
        let start = self.raw.len();
        encode(entry, &mut self.raw);
        self.tar_bytes += (self.raw.len() - start) as u64;
        self.output.write(&self.raw[start..]).map_err(PackError::Write)?;
        match &mut self.split {
            None => {}
            Some(split) => {
                split.segment(&self.raw).map_err(PackError::TarSplit)?;
                if content.is_none() {
                    split.file(entry.name, None).map_err(PackError::TarSplit)?;
                }
            }
        }
        self.raw.clear();
        Ok(())
    }

    fn emit_raw(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.output.write(bytes).map_err(PackError::Write)?;
        self.tar_bytes += bytes.len() as u64;
        self.raw.extend_from_slice(bytes);
        Ok(())
    }

    fn knows_whiteouts(&self) -> bool {
        matches!(self.options.whiteouts, Whiteouts::OverlayTrusted | Whiteouts::OverlayUser)
    }
}

fn common<'e>(stat: &Stat) -> TarEntry<'e> {
    TarEntry {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        ..TarEntry::file(b"", 0, stat.st_mtime)
    }
}

fn read_error(path: &[u8], action: &'static str, source: io::Error) -> PackError {
    PackError::Read { name: EntryName::new(path), action, source }
}

// Last name first.
fn names(directory: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for child in Dir::read_from(directory)? {
        let child = child?;
        let name = child.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

fn xattr_names(inode: &OwnedFd) -> Result<Vec<u8>, Errno> {
    // Most inodes have none, and few have more than fit here.
    let mut names = vec![0; 256];
    loop {
        match flistxattr(inode, &mut names[..]) {
            Ok(length) => {
                names.truncate(length);
                return Ok(names);
            }
            Err(Errno::RANGE) if names.len() < 64 << 10 => names.resize(64 << 10, 0),
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
    }
}

fn names_of(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == 0).filter(|name| !name.is_empty())
}

// A capability that is bound to a user namespace loses that binding: in an image it means the one it runs in.
fn capability(file: &OwnedFd, path: &[u8]) -> Result<Option<Vec<u8>>, PackError> {
    const VERSION_2_BYTES: usize = 20;
    let failed = |errno: Errno| read_error(path, "read attributes of", errno.into());
    let list = xattr_names(file).map_err(failed)?;
    if names_of(&list).any(|name| name == b"trusted.overlay.metacopy" || name == b"user.overlay.metacopy") {
        return Err(PackError::Redirected(EntryName::new(path)));
    }
    if !names_of(&list).any(|name| name == b"security.capability") {
        return Ok(None);
    }
    let mut value = vec![0; 64];
    let length = fgetxattr(file, "security.capability", &mut value[..]).map_err(failed)?;
    value.truncate(length);
    if value.len() > VERSION_2_BYTES && value[3] == 3 {
        value[3] = 2;
        value.truncate(VERSION_2_BYTES);
    }
    Ok(Some(value))
}
