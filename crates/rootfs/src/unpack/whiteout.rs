//! `.wh.` names.
//!
//! Source: OCI image-spec v1.1, layer.md, "Whiteouts"; aufs names as moby's overlay2 driver treats them.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, FileType, Mode, OFlags, openat};
use shale_tree::remove_tree;

use super::seen::SeenNames;
use crate::name::split;

const PREFIX: &[u8] = b".wh.";
const RESERVED_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a name says in a layer with whiteouts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'n> {
    Ordinary,
    /// Nothing of the lower layers shows in the directory of this name.
    Opaque,
    /// This name of the lower layers is gone.
    Removed(&'n [u8]),
    /// A name that no file can have.
    Invalid,
}

/// Tells what a cleaned name means.
pub(super) fn meaning(cleaned: &[u8]) -> Meaning<'_> {
    let (directory, base) = split(cleaned);
    let is_marker = |part: &[u8]| part.starts_with(PREFIX) && !part.starts_with(RESERVED_PREFIX);
    if directory.split(|byte| *byte == b'/').any(is_marker) {
        return Meaning::Invalid;
    }
    match base.strip_prefix(PREFIX) {
        None => Meaning::Ordinary,
        Some(_) if base == OPAQUE => Meaning::Opaque,
        Some(b"" | b"." | b"..") => Meaning::Invalid,
        Some(name) => Meaning::Removed(name),
    }
}

/// Tells whether a removed name is one of aufs' own, which mean nothing in a flat tree.
pub(super) fn is_reserved(removed: &[u8]) -> bool {
    removed.starts_with(PREFIX)
}

/// What the current layer itself has put into a flat tree, so that its whiteouts spare it, in whatever order they come.
#[derive(Default)]
pub(super) struct Touched(SeenNames);

impl Touched {
    pub fn insert(&mut self, cleaned: &[u8]) {
        let mut path = cleaned;
        while !path.is_empty() && self.0.insert(path) {
            path = split(path).0;
        }
    }

    /// Returns the memory that this takes.
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// Removes `name` from `directory`, which is at `path`, except for what this layer put there.
    pub fn remove(&self, directory: &OwnedFd, path: &[u8], name: &[u8]) -> io::Result<()> {
        let child = join(path, name);
        if !self.0.contains(&child) {
            return remove_tree(directory, name);
        }
        match open(directory, name) {
            Ok(directory) => self.empty(&directory, &child),
            // A file of this layer.
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes everything in `directory`, which is at `path`, except for what this layer put there.
    pub fn empty(&self, directory: &OwnedFd, path: &[u8]) -> io::Result<()> {
        // Depth is bounded: only directories that entries of this layer lie in are gone into.
        for child in Dir::read_from(open(directory, b".")?)? {
            let child = child?;
            let name = child.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = join(path, name);
            if !self.0.contains(&path) {
                remove_tree(directory, name)?;
            } else if child.file_type() == FileType::Directory {
                self.empty(&open(directory, name)?, &path)?;
            }
        }
        Ok(())
    }
}

fn open(directory: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty())
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_aufs_made_them_mean() {
        assert_eq!(meaning(b"a/b"), Meaning::Ordinary);
        assert_eq!(meaning(b"a/.wh.b"), Meaning::Removed(b"b"));
        assert_eq!(meaning(b".wh..wh..opq"), Meaning::Opaque);
        assert_eq!(meaning(b".wh..wh.aufs"), Meaning::Removed(b".wh.aufs"));
        assert_eq!(meaning(b".wh..wh.plnk/12.3"), Meaning::Ordinary);
    }

    #[test]
    fn whiteouts_of_no_file_are_invalid() {
        for name in [&b"a/.wh."[..], b"a/.wh..", b"a/.wh...", b".wh.d/f"] {
            assert_eq!(meaning(name), Meaning::Invalid);
        }
    }
}
