//! Copying a directory's content: directories first, then files on all cores, then links and times.
//!
//! Promise: the same tree as one file after the other; of several faults the one that a walk would have met first.

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{AtFlags, FileType, OFlags, Stat, fchmod, linkat};
use rustix::io::Errno;
use shale_rootfs::EarlySync;

use super::place::{Destination, Placer, fault, open_parent, remove, set_times};
use crate::error::CopyFault;
use crate::tree::{Entry, Found, Tree, join, open_plain};

/// Files that a thread takes at a time: most are in one directory, which it then opens once.
const FILES_AT_ONCE: usize = 64;

/// What is left to do once the directories are there.
#[derive(Default)]
struct Work<'e> {
    /// Files and special files, with their paths below the destination's root.
    files: Vec<(&'e Entry, Vec<u8>)>,
    /// Further names of files: path and the first name.
    links: Vec<(&'e Entry, Vec<u8>, Vec<u8>)>,
    /// Times of directories that were in the source.
    times: Vec<(Vec<u8>, Stat)>,
}

impl Placer {
    /// Copies what is in a directory into the directory `path`, which is made if it is missing.
    pub fn copy_directory(
        &self,
        tree: &Tree,
        found: &Found,
        entries: &[Entry],
        root: &Destination,
        path: &[u8],
    ) -> Result<(), CopyFault> {
        let shown = format!("/{}", String::from_utf8_lossy(path));
        let failed = |source: io::Error| match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOTDIR) => CopyFault::NotDirectory(shown.clone()),
            _ => fault("copy", &shown, source),
        };
        let keeps_own = self.dialect.copies_owner_of_source_directory();
        let owner = if keeps_own { self.owner_of(&found.stat) } else { self.owner.unwrap_or_default() };
        let (top, is_new) = root.make_directories(path, owner).map_err(failed)?;
        if is_new && keeps_own {
            fchmod(&top, self.mode_of(&found.stat)).map_err(|errno| failed(errno.into()))?;
        }
        let below = root.below(is_new);
        let prefix = if found.path.is_empty() { 0 } else { found.path.len() + 1 };
        let work = self.make_directories_of(entries, prefix, below, path, &shown)?;
        self.place_files(tree, below, &work.files)?;
        for (entry, name, first) in &work.links {
            let linked = link(below, first, name);
            linked.map_err(|source| fault("copy", &String::from_utf8_lossy(&entry.path), source))?;
        }
        // The deepest first: nothing is made in a directory after its time was set.
        for (path, stat) in work.times.iter().rev() {
            open_plain(below, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
                .map_err(io::Error::from)
                .and_then(|directory| set_times(directory, stat))
                .map_err(failed)?;
        }
        if is_new && self.dialect.copies_time_of_source_directory() {
            set_times(&top, &found.stat).map_err(failed)?;
        }
        Ok(())
    }

    /// Makes the directories and says what goes into them.
    fn make_directories_of<'e>(
        &self,
        entries: &'e [Entry],
        prefix: usize,
        below: BorrowedFd<'_>,
        path: &[u8],
        shown: &str,
    ) -> Result<Work<'e>, CopyFault> {
        let mut work = Work::default();
        let mut firsts: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
        for entry in entries {
            let name = join(path, &entry.path[prefix..]);
            if entry.kind() == FileType::Directory {
                let at = |source| fault("mkdir", &String::from_utf8_lossy(&entry.path), source);
                let (parent, last) = open_parent(below, &name).map_err(at)?;
                if entry.is_implied && self.dialect.makes_ignored_directories_anew() {
                    let mut implied = entry.stat;
                    (implied.st_mode, implied.st_uid, implied.st_gid) = (0o040_755, 0, 0);
                    self.place_directory(&parent, last, &implied, shown)?;
                    continue;
                }
                self.place_directory(&parent, last, &entry.stat, shown)?;
                work.times.push((name, entry.stat));
                continue;
            }
            if entry.stat.st_nlink > 1 && entry.kind() == FileType::RegularFile {
                let inode = (entry.stat.st_dev, entry.stat.st_ino);
                if let Some(first) = firsts.get(&inode) {
                    work.links.push((entry, name, first.clone()));
                    continue;
                }
                firsts.insert(inode, name.clone());
            }
            work.files.push((entry, name));
        }
        Ok(work)
    }

    /// Writes all files, which have directories already.
    fn place_files(
        &self,
        tree: &Tree,
        below: BorrowedFd<'_>,
        files: &[(&Entry, Vec<u8>)],
    ) -> Result<(), CopyFault> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(files.len().div_ceil(FILES_AT_ONCE)).max(1);
        let next = AtomicUsize::new(0);
        let is_over = AtomicBool::new(false);
        let early_sync = EarlySync::new(below);
        let copy = || -> Result<(), (usize, CopyFault)> {
            loop {
                let start = next.fetch_add(FILES_AT_ONCE, Ordering::Relaxed);
                if start >= files.len() || is_over.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let batch = &files[start..files.len().min(start + FILES_AT_ONCE)];
                self.place_batch(tree, below, batch, &early_sync).map_err(|(index, fault)| {
                    is_over.store(true, Ordering::Relaxed);
                    (start + index, fault)
                })?;
            }
        };
        let ended = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(copy)).collect();
            let mut ended = vec![copy()];
            ended.extend(others.into_iter().map(|other| other.join().expect("copying does not panic")));
            ended
        });
        let first = ended.into_iter().filter_map(Result::err).min_by_key(|(index, _)| *index);
        first.map_or(Ok(()), |(_, fault)| Err(fault))
    }

    fn place_batch(
        &self,
        tree: &Tree,
        below: BorrowedFd<'_>,
        batch: &[(&Entry, Vec<u8>)],
        early_sync: &EarlySync,
    ) -> Result<(), (usize, CopyFault)> {
        let mut open: Option<(&[u8], OwnedFd)> = None;
        for (index, (entry, path)) in batch.iter().enumerate() {
            let at = |source| (index, fault("copy", &String::from_utf8_lossy(&entry.path), source));
            let split = path.iter().rposition(|byte| *byte == b'/');
            let (above, name) =
                split.map_or((&b""[..], &path[..]), |slash| (&path[..slash], &path[slash + 1..]));
            let parent = match open.take() {
                Some((path, parent)) if path == above => parent,
                _ => open_parent(below, path).map_err(at)?.0,
            };
            if self.place(tree, entry, &parent, name).map_err(at)?.is_some() {
                early_sync.wrote(u64::try_from(entry.stat.st_size).unwrap_or_default());
            }
            open = Some((above, parent));
        }
        Ok(())
    }
}

/// Gives the file `first` the further name `path`, whatever has it.
fn link(below: BorrowedFd<'_>, first: &[u8], path: &[u8]) -> io::Result<()> {
    let (first_parent, first_name) = open_parent(below, first)?;
    let (parent, name) = open_parent(below, path)?;
    for _ in 0..2 {
        match linkat(&first_parent, first_name, &parent, name, AtFlags::empty()) {
            Err(Errno::EXIST) => remove(&parent, name)?,
            linked => return Ok(linked?),
        }
    }
    Err(Errno::EXIST.into())
}
