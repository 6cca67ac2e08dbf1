//! What is below a directory of a tree, ignore rules applied.

use std::io;

use rustix::fs::{AtFlags, Dir, FileType, Stat, statat};

use super::Tree;

/// Entries of one source at most; more is a mistake in the context, and would cost memory without end.
const ENTRIES_MAX: usize = 10_000_000;

/// One file, directory or link below a source.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Relative to the tree's root.
    pub path: Vec<u8>,
    pub stat: Stat,
    /// Whether it is an ignored directory that is here only for what is taken back below it.
    pub is_implied: bool,
}

impl Entry {
    pub fn new(path: Vec<u8>, stat: Stat) -> Entry {
        Entry { path, stat, is_implied: false }
    }

    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

impl Tree {
    /// Lists everything below the directory `path`, a directory in front of what it holds, names in the order of their
    /// bytes. Sockets are left out.
    pub fn list(&self, path: &[u8]) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.list_into(path, self.ignores(path), &mut entries)?;
        Ok(entries)
    }

    /// Returns the names in the directory `path` that the ignore rules leave, sorted.
    pub fn names(&self, path: &[u8]) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for (name, stat) in self.children(path)? {
            let path = join(path, &name);
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if !self.is_hidden(&path, is_directory)? {
                entries.push(Entry::new(path, stat));
            }
        }
        Ok(entries)
    }

    /// Whether anything below the ignored directory `path` is readmitted.
    pub(super) fn readmits_below(&self, path: &[u8]) -> io::Result<bool> {
        if !self.may_readmit(path) {
            return Ok(false);
        }
        let mut entries = Vec::new();
        self.list_into(path, true, &mut entries)?;
        Ok(!entries.is_empty())
    }

    fn list_into(&self, path: &[u8], is_ignored: bool, entries: &mut Vec<Entry>) -> io::Result<()> {
        if is_ignored && !self.may_readmit(path) {
            return Ok(());
        }
        for (name, stat) in self.children(path)? {
            let path = join(path, &name);
            let kind = FileType::from_raw_mode(stat.st_mode);
            let is_ignored = self.ignores(&path);
            if kind == FileType::Socket || (is_ignored && kind != FileType::Directory) {
                continue;
            }
            if entries.len() >= ENTRIES_MAX {
                return Err(io::Error::other("too many files"));
            }
            let place = entries.len();
            entries.push(Entry { path: path.clone(), stat, is_implied: is_ignored });
            if kind == FileType::Directory {
                self.list_into(&path, is_ignored, entries)?;
                // An ignored directory stays only for what is readmitted below it.
                if is_ignored && entries.len() == place + 1 {
                    entries.truncate(place);
                }
            }
        }
        Ok(())
    }

    fn children(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Stat)>> {
        let directory = self.open_directory(path)?;
        let mut children = Vec::new();
        for child in Dir::read_from(&directory)? {
            let child = child?;
            let name = child.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => children.push((name.to_vec(), stat)),
                // Removed since the directory was read.
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        children.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Ok(children)
    }
}

pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}
