//! A tree that files are copied from: the context, or the root of a stage or image.
//!
//! Promise: every path is followed here, name by name, below the tree's root; the kernel is then asked for a path
//! without links, so nothing outside is ever opened, even while somebody renames parts of the tree.

mod hash;
mod known;
mod list;
mod pattern;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;
use shale_dockerfile::IgnoreFile;

pub(crate) use hash::{hash_entry, hash_list};
pub(crate) use known::KnownFiles;
pub(crate) use list::{Entry, join};
pub(crate) use pattern::{Malformed, has_wildcards, matches};

/// Links followed in one path at most, as in the kernel.
const LINKS_MAX: usize = 40;

/// A tree below one directory.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    ignore: IgnoreFile,
    /// Whether files count as root's whoever owns them: those of the context.
    pub is_context: bool,
    /// Whether the owners of a context's files are part of their digests all the same.
    pub hashes_owners: bool,
    /// Whether ignored directories and exceptions are treated as docker's own program treats them.
    pub walks_as_docker: bool,
    /// Whether a link is hashed as what it leads to, as the classic builder does; a link whose text changes is then not
    /// noticed, so nobody else does.
    pub hashes_link_targets: bool,
}

/// Something in a tree, without links in its path.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Relative to the root, links resolved; empty for the root.
    pub path: Vec<u8>,
    pub stat: Stat,
}

impl Found {
    pub fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }
}

impl Tree {
    /// Opens the context at `path`, whose rules are `ignore`.
    pub fn context(path: &Path, ignore: IgnoreFile) -> io::Result<Tree> {
        Ok(Tree {
            root: open_directory(path)?,
            ignore,
            is_context: true,
            hashes_owners: false,
            walks_as_docker: false,
            hashes_link_targets: false,
        })
    }

    /// Opens files that were fetched to `path`; they count as root's, like those of a context.
    pub fn fetched(path: &Path) -> io::Result<Tree> {
        Tree::context(path, IgnoreFile::default())
    }

    /// Opens the root of a stage or image at `path`.
    pub fn root(path: &Path) -> io::Result<Tree> {
        Ok(Tree {
            root: open_directory(path)?,
            ignore: IgnoreFile::default(),
            is_context: false,
            hashes_owners: true,
            walks_as_docker: false,
            hashes_link_targets: false,
        })
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub fn has_ignore_rules(&self) -> bool {
        !self.ignore.rules().is_empty()
    }

    /// Returns the rule's line that hides `path`.
    pub fn hiding_rule(&self, path: &str) -> Option<usize> {
        let verdict = self.ignore.verdict(path);
        verdict.is_ignored.then_some(verdict.line).flatten()
    }

    /// Returns what `path` leads to, links followed inside the tree; `None` when there is nothing, or it is ignored.
    pub fn find(&self, path: &str) -> io::Result<Option<Found>> {
        let followed = follow(self.descriptor(), path.as_bytes())?;
        let Some(stat) = self.stat(&followed)? else { return Ok(None) };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let found = Found { path: followed, stat };
        if self.is_hidden(&found.path, is_directory)? {
            return Ok(None);
        }
        Ok(Some(found))
    }

    /// Whether the ignore rules take `path` out of the tree; a directory stays when something below it does.
    fn is_hidden(&self, path: &[u8], is_directory: bool) -> io::Result<bool> {
        if path.is_empty() || !self.ignores(path) {
            return Ok(false);
        }
        Ok(!(is_directory && self.readmits_below(path)?))
    }

    fn ignores(&self, path: &[u8]) -> bool {
        // The context itself is never ignored, although `*` matches an empty path.
        !path.is_empty()
            && !self.ignore.rules().is_empty()
            && self.ignore.matches(&String::from_utf8_lossy(path))
    }

    fn may_readmit(&self, path: &[u8]) -> bool {
        let path = String::from_utf8_lossy(path);
        self.ignore.has_exceptions()
            && if self.walks_as_docker {
                self.ignore.has_exception_text_below(&path)
            } else {
                self.ignore.may_readmit_below(&path)
            }
    }

    fn stat(&self, path: &[u8]) -> io::Result<Option<Stat>> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            _ if path.is_empty() => return Ok(Some(rustix::fs::fstat(&self.root)?)),
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let found = open_plain(self.descriptor(), parent, OFlags::PATH | OFlags::DIRECTORY)
            .and_then(|parent| statat(parent, name, AtFlags::SYMLINK_NOFOLLOW));
        match found {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a regular file for reading.
    pub fn open_file(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let file = open_plain(self.descriptor(), path, flags)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// Opens a directory.
    pub fn open_directory(&self, path: &[u8]) -> io::Result<OwnedFd> {
        Ok(open_plain(self.descriptor(), path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?)
    }

    pub fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = slash.map_or((&b""[..], path), |slash| (&path[..slash], &path[slash + 1..]));
        let parent = open_plain(self.descriptor(), parent, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(readlinkat(parent, name, Vec::new())?.into_bytes())
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a path without links below `root`.
pub(crate) fn open_plain(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..64 {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

/// Resolves the links of `path` inside `root`, as a process chrooted there would; names that do not exist stay.
///
/// # Errors
/// `ELOOP` after [`LINKS_MAX`] links.
pub(crate) fn follow(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<Vec<u8>> {
    let split = |path: &[u8]| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<VecDeque<_>>();
    let mut waiting = split(path);
    let mut reached: Vec<u8> = Vec::new();
    let mut links = 0;
    while let Some(name) = waiting.pop_front() {
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                reached.truncate(reached.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        let parent = open_plain(root, &reached, OFlags::PATH | OFlags::DIRECTORY);
        let target = parent.and_then(|parent| readlinkat(parent, name.as_slice(), Vec::new()));
        match target {
            Ok(target) => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::LOOP.into());
                }
                let target = target.into_bytes();
                if target.first() == Some(&b'/') {
                    reached.clear();
                }
                let mut next = split(&target);
                next.append(&mut waiting);
                waiting = next;
            }
            Err(_) => {
                if !reached.is_empty() {
                    reached.push(b'/');
                }
                reached.extend_from_slice(&name);
            }
        }
    }
    Ok(reached)
}

/// Reads a regular file of at most `size_bytes_max` bytes below `root`, links followed inside; `None` when there is none.
pub(crate) fn read_small_file(
    root: BorrowedFd<'_>,
    path: &str,
    size_bytes_max: u64,
) -> io::Result<Option<Vec<u8>>> {
    let path = follow(root, path.as_bytes())?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match open_plain(root, &path, flags) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    read_regular(file, size_bytes_max).map(Some)
}

/// Reads an open file to its end; only regular files, so that a pipe cannot hold the build up.
pub(crate) fn read_regular(file: OwnedFd, size_bytes_max: u64) -> io::Result<Vec<u8>> {
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut content = Vec::new();
    std::fs::File::from(file).take(size_bytes_max + 1).read_to_end(&mut content)?;
    if content.len() as u64 > size_bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than the limit"));
    }
    Ok(content)
}
