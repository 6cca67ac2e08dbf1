//! Digests of files that earlier builds read, so that a context is not read again while nothing in it changed.
//!
//! Promise: a digest is used only for a file whose inode, size and times are those it had when its bytes were hashed, and
//! only when its last change was then long enough ago that the kernel cannot have missed a later one. Whatever is wrong
//! with the notes costs time and nothing else.
//! Not here: links, devices, files of images: those are cheap, or gone after the build.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Stat, fstat, fstatfs};
use sha2::{Digest as _, Sha256};

use super::Tree;

/// First bytes of the notes on one context.
const MAGIC: &[u8] = b"shale files 1\n";
/// A write through a mapping changes the times only once until the page has been written back, which the kernel does
/// after 30 seconds plus 5 at most; a file must have been left alone for longer before its digest is believed.
const SETTLED_AFTER: Duration = Duration::from_secs(40);
/// Notes that are read; more is no file of ours.
const SIZE_BYTES_MAX: u64 = 1 << 30;
/// Contexts that are remembered.
const CONTEXTS_MAX: usize = 64;
/// File systems of this kernel, whose change times nobody but the kernel sets: ext, xfs, btrfs, tmpfs, overlay, f2fs, zfs.
const TRUSTED_FILE_SYSTEMS: [u64; 7] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1];

/// What a file's inode said when its bytes were hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    numbers: [u64; 8],
}

impl State {
    fn of(stat: &Stat) -> State {
        let numbers = [
            stat.st_dev,
            stat.st_ino,
            stat.st_size as u64,
            u64::from(stat.st_mode),
            stat.st_mtime as u64,
            stat.st_mtime_nsec,
            stat.st_ctime as u64,
            stat.st_ctime_nsec,
        ];
        State { numbers }
    }
}

#[derive(Debug, Clone, Copy)]
struct Note {
    state: State,
    digest: [u8; 32],
}

/// The notes on the contexts that a build reads.
#[derive(Debug)]
pub(crate) struct KnownFiles {
    directory: PathBuf,
    contexts: Mutex<HashMap<String, Arc<Mutex<Notes>>>>,
}

/// The notes on one context, by path.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    notes: HashMap<Vec<u8>, Note>,
    /// Paths that this build asked for.
    used: HashSet<Vec<u8>>,
    is_changed: bool,
}

impl KnownFiles {
    /// Reads and keeps notes below `directory`, which is made when there is something to keep.
    pub fn below(directory: PathBuf) -> KnownFiles {
        KnownFiles { directory, contexts: Mutex::default() }
    }

    /// Returns the notes on `tree`; `None` where its files have to be read each time.
    pub fn of(&self, tree: &Tree) -> Option<Arc<Mutex<Notes>>> {
        if tree.hashes_owners {
            return None;
        }
        let root = tree.descriptor();
        let kind = fstatfs(root).ok()?.f_type as u64;
        if !TRUSTED_FILE_SYSTEMS.contains(&kind) {
            return None;
        }
        let stat = fstat(root).ok()?;
        let name = format!("{:x}-{:x}", stat.st_dev, stat.st_ino);
        let mut contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        let notes = contexts
            .entry(name)
            .or_insert_with_key(|name| Arc::new(Mutex::new(Notes::read(&self.directory.join(name)))));
        Some(Arc::clone(notes))
    }

    /// Writes what changed; a failure costs the next build some time.
    pub fn save(&self) {
        let contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, notes) in contexts.iter() {
            let mut notes = lock(notes);
            if std::mem::take(&mut notes.is_changed) {
                notes.forget_unused();
                let _ = notes.write(&self.directory, name);
            }
        }
    }
}

pub(crate) fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A digest that was just taken.
#[derive(Debug)]
pub(crate) struct Fresh {
    path: Vec<u8>,
    note: Note,
}

impl Fresh {
    /// Notes the digest of a file that was `before` when `started` came, and is `after` now; `None` when it changed, or may
    /// still have been changing.
    pub fn new(
        path: &[u8],
        before: &Stat,
        after: &Stat,
        started: SystemTime,
        digest: [u8; 32],
    ) -> Option<Fresh> {
        let state = State::of(before);
        let changed = Duration::from_secs(u64::try_from(before.st_ctime.max(before.st_mtime)).ok()?);
        let age = started.duration_since(UNIX_EPOCH + changed).ok()?;
        let is_settled = age > SETTLED_AFTER + Duration::from_secs(1) && state == State::of(after);
        is_settled.then(|| Fresh { path: path.to_owned(), note: Note { state, digest } })
    }
}

impl Notes {
    /// Returns the digest of the file at `path` if it is still as it was.
    pub fn find(&self, path: &[u8], stat: &Stat) -> Option<[u8; 32]> {
        self.notes.get(path).filter(|note| note.state == State::of(stat)).map(|note| note.digest)
    }

    /// Takes note of what was read, and of what was asked for.
    pub fn add<'p>(&mut self, used: impl Iterator<Item = &'p [u8]>, fresh: Vec<Fresh>) {
        self.used.extend(used.map(<[u8]>::to_vec));
        self.is_changed |= !fresh.is_empty();
        self.notes.extend(fresh.into_iter().map(|fresh| (fresh.path, fresh.note)));
    }

    /// Files come and go, and another Dockerfile may use others; what is far more than this build used is dropped.
    fn forget_unused(&mut self) {
        if self.notes.len() > 2 * self.used.len() + 4096 {
            let used = &self.used;
            self.notes.retain(|path, _| used.contains(path));
        }
    }

    fn read(path: &Path) -> Notes {
        let small = std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= SIZE_BYTES_MAX);
        let content = if small { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
        let notes = decode(&content).unwrap_or_default();
        Notes { notes, ..Notes::default() }
    }

    /// Replaces the notes in one step. They are not synced: a torn file does not have its checksum.
    fn write(&self, directory: &Path, name: &str) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        make_room(directory, name)?;
        let new = directory.join(format!(".{name}-{}", std::process::id()));
        let written = std::fs::File::create(&new)
            .and_then(|mut file| file.write_all(&encode(&self.notes)))
            .and_then(|()| std::fs::rename(&new, directory.join(name)));
        if written.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        written
    }
}

/// Removes the notes that were not written for the longest time, and what killed processes left.
fn make_room(directory: &Path, own: &str) -> io::Result<()> {
    let mut others = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() != own {
            others.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    others.sort();
    let surplus = (others.len() + 1).saturating_sub(CONTEXTS_MAX);
    others.iter().take(surplus).for_each(|(_, path)| drop(std::fs::remove_file(path)));
    Ok(())
}

/// Writes the notes: each a path with its length, eight numbers and a digest; a checksum at the end.
fn encode(notes: &HashMap<Vec<u8>, Note>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (path, note) in notes {
        bytes.extend((path.len() as u64).to_le_bytes());
        bytes.extend(path);
        bytes.extend(note.state.numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend(note.digest);
    }
    let checksum = Sha256::digest(&bytes);
    bytes.extend(checksum);
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashMap<Vec<u8>, Note>> {
    let (content, checksum) = bytes.split_last_chunk::<32>()?;
    if Sha256::digest(content).as_slice() != checksum {
        return None;
    }
    let mut rest = content.strip_prefix(MAGIC)?;
    let mut notes = HashMap::new();
    while !rest.is_empty() {
        let length = usize::try_from(take_number(&mut rest)?).ok()?;
        let (path, after) = rest.split_at_checked(length)?;
        rest = after;
        let mut numbers = [0; 8];
        for number in &mut numbers {
            *number = take_number(&mut rest)?;
        }
        let (digest, after) = rest.split_first_chunk::<32>()?;
        rest = after;
        notes.insert(path.to_owned(), Note { state: State { numbers }, digest: *digest });
    }
    Some(notes)
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn note(first: u64) -> Note {
        Note { state: State { numbers: [first, 2, 3, 4, 5, 6, 7, u64::MAX] }, digest: [9; 32] }
    }

    #[test]
    fn notes_are_read_as_they_were_written_and_not_at_all_when_a_byte_differs() {
        let notes = HashMap::from([(b"a/b".to_vec(), note(1)), (vec![0xff, b'\n'], note(8))]);
        let bytes = encode(&notes);
        let read = decode(&bytes).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[&b"a/b"[..]].state, note(1).state);
        assert_eq!(read[&b"a/b"[..]].digest, [9; 32]);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_none(), "byte {at}");
            assert!(decode(&bytes[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn a_digest_is_noted_only_of_a_file_that_was_left_alone_long_enough() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stat = fstat(file.as_file().as_fd()).unwrap();
        let later = |seconds| UNIX_EPOCH + Duration::from_secs(stat.st_ctime as u64 + seconds);
        let fresh = |started, after: &Stat| Fresh::new(b"f", &stat, after, started, [0; 32]);
        assert!(fresh(later(30), &stat).is_none(), "30 seconds are too few");
        assert!(fresh(later(60), &stat).is_some());
        let mut changed = stat;
        changed.st_ctime_nsec ^= 1;
        assert!(fresh(later(60), &changed).is_none(), "it changed while it was read");
        let mut notes = Notes::default();
        notes.add([&b"f"[..]].into_iter(), fresh(later(60), &stat).into_iter().collect());
        assert_eq!(notes.find(b"f", &stat), Some([0; 32]));
        assert_eq!(notes.find(b"f", &changed), None);
        assert_eq!(notes.find(b"g", &stat), None);
    }
}
