//! The digest of what COPY and ADD copy, which is Docker's cache key: tarsum version 1.
//!
//! Source: builder reference 6, recomputed from the keys that dockerd 20.10.24 wrote.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use rustix::fs::{FileType, fgetxattr, fstat, major, minor};
use sha2::{Digest as _, Sha256};

use super::known::{self, Fresh, KnownFiles};
use super::{Entry, Tree};

const BUFFER_BYTES: usize = 128 << 10;
/// Fewer entries than this are not worth a thread.
const ENTRIES_PER_THREAD: usize = 64;

/// Returns the digest of one entry: of its header, and of its bytes if it is a file.
pub(crate) fn hash_entry(tree: &Tree, entry: &Entry, known: &KnownFiles) -> io::Result<String> {
    Ok(hash_list(tree, std::slice::from_ref(entry), known)?.remove(0))
}

/// Returns the digests of all entries, in their order; on all cores, and only of what `known` has no digest of.
pub(crate) fn hash_list(tree: &Tree, entries: &[Entry], known: &KnownFiles) -> io::Result<Vec<String>> {
    let notes = known.of(tree);
    let mut hashes = vec![String::new(); entries.len()];
    let mut unknown: Vec<usize> = (0..entries.len()).collect();
    if let Some(notes) = &notes {
        let notes = known::lock(notes);
        unknown.retain(|index| match notes.find(&entries[*index].path, &entries[*index].stat) {
            Some(digest) => {
                hashes[*index] = hex::encode(digest);
                false
            }
            None => true,
        });
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(unknown.len().div_ceil(ENTRIES_PER_THREAD)).max(1);
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<Vec<(usize, String, Option<Fresh>)>> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut done = Vec::new();
        loop {
            let Some(index) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) else { return Ok(done) };
            let mut fresh = None;
            let hash = hash_with(tree, &entries[*index], &mut buffer, &mut fresh)?;
            done.push((*index, hash, fresh));
        }
    };
    let parts = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut parts = vec![work()];
        parts.extend(others.into_iter().map(|other| other.join().expect("hashing does not panic")));
        parts
    });
    let mut noted = Vec::new();
    for part in parts {
        for (index, hash, fresh) in part? {
            hashes[index] = hash;
            noted.extend(fresh);
        }
    }
    if let Some(notes) = &notes {
        let files = entries.iter().filter(|entry| entry.kind() == FileType::RegularFile);
        known::lock(notes).add(files.map(|entry| entry.path.as_slice()), noted);
    }
    Ok(hashes)
}

fn hash_with(tree: &Tree, entry: &Entry, buffer: &mut [u8], fresh: &mut Option<Fresh>) -> io::Result<String> {
    let started = SystemTime::now();
    let stat = &entry.stat;
    let kind = entry.kind();
    if kind == FileType::Symlink && tree.hashes_link_targets {
        let target = tree.find(&String::from_utf8_lossy(&entry.path))?;
        return match target.filter(|target| !target.path.is_empty()) {
            Some(target) => hash_with(tree, &Entry::new(target.path, target.stat), buffer, &mut None),
            // A link that leads nowhere counts by its own name.
            None => Ok(String::from_utf8_lossy(&entry.path).into_owned()),
        };
    }
    let mut name = entry.path.clone();
    if kind == FileType::Directory {
        name.push(b'/');
    }
    let file = if kind == FileType::RegularFile { Some(tree.open_file(&entry.path)?) } else { None };
    let link = if kind == FileType::Symlink { tree.read_link(&entry.path)? } else { Vec::new() };
    let (uid, gid) = if tree.hashes_owners { (stat.st_uid, stat.st_gid) } else { (0, 0) };
    let size = if file.is_some() { stat.st_size } else { 0 };
    let device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice)
        .then(|| (major(stat.st_rdev), minor(stat.st_rdev)));
    let type_flag = match kind {
        FileType::Symlink => "2",
        FileType::CharacterDevice => "3",
        FileType::BlockDevice => "4",
        FileType::Directory => "5",
        FileType::Fifo => "6",
        _ => "0",
    };
    let mut hasher = Sha256::new();
    let mut add = |key: &str, value: &[u8]| {
        hasher.update(key.as_bytes());
        hasher.update(value);
    };
    add("name", &name);
    add("mode", stat.st_mode.to_string().as_bytes());
    add("uid", uid.to_string().as_bytes());
    add("gid", gid.to_string().as_bytes());
    add("size", size.to_string().as_bytes());
    add("typeflag", type_flag.as_bytes());
    add("linkname", &link);
    // User names belong to the machine and not to the files, so they stay empty.
    add("uname", b"");
    add("gname", b"");
    add("devmajor", device.map_or(0, |device| device.0).to_string().as_bytes());
    add("devminor", device.map_or(0, |device| device.1).to_string().as_bytes());
    if let Some(file) = &file {
        let mut value = [0; 64];
        if let Ok(length) = fgetxattr(file, "security.capability", &mut value[..]) {
            add("security.capability", &value[..length]);
        }
        let mut read = 0;
        loop {
            match rustix::io::read(file, &mut *buffer) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    read += count as u64;
                    // The end of a small file need not be asked for; what is longer than it was is read on.
                    if read == u64::try_from(size).unwrap_or_default() && count < buffer.len() {
                        break;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let digest = hasher.finalize().into();
    if let Some(file) = &file {
        *fresh = Fresh::new(&entry.path, stat, &fstat(file)?, started, digest);
    }
    Ok(hex::encode(digest))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use shale_dockerfile::IgnoreFile;

    use super::*;

    fn look(context: &Path, notes: &Path) -> (String, Vec<Entry>) {
        let tree = Tree::context(context, IgnoreFile::default()).unwrap();
        let known = KnownFiles::below(notes.to_owned());
        let entries = tree.list(b"").unwrap();
        let hashes = hash_list(&tree, &entries, &known).unwrap();
        known.save();
        (hashes.join(","), entries)
    }

    #[test]
    fn a_file_that_may_still_change_is_read_each_time_and_a_settled_one_is_not() {
        let place = tempfile::tempdir().unwrap();
        let (context, notes) = (place.path().join("context"), place.path().join("notes"));
        std::fs::create_dir(&context).unwrap();
        std::fs::write(context.join("file"), "one").unwrap();
        let (first, entries) = look(&context, &notes);
        assert!(!notes.exists(), "a file of this second is not noted");
        // As if the file had been read a minute later; a digest that no file has shows whether it is read.
        let tree = Tree::context(&context, IgnoreFile::default()).unwrap();
        let known = KnownFiles::below(notes.clone());
        let stat = entries[0].stat;
        let later = std::time::UNIX_EPOCH + Duration::from_secs(stat.st_ctime as u64 + 60);
        let fresh = Fresh::new(b"file", &stat, &stat, later, [7; 32]).unwrap();
        known::lock(&known.of(&tree).unwrap()).add([&b"file"[..]].into_iter(), vec![fresh]);
        known.save();
        assert_eq!(look(&context, &notes).0, "07".repeat(32));
        std::fs::write(context.join("file"), "two").unwrap();
        let changed = look(&context, &notes).0;
        assert_ne!(changed, first);
        assert_ne!(changed, "07".repeat(32));
        std::fs::write(context.join("file"), "one").unwrap();
        assert_eq!(look(&context, &notes).0, first, "the digest is that of the bytes");
    }
}
