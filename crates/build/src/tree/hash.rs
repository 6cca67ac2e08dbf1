//! The digest of what COPY and ADD copy, which is Docker's cache key: tarsum version 1.
//!
//! Source: builder reference 6, recomputed from the keys that dockerd 20.10.24 wrote.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{FileType, fgetxattr, major, minor};
use sha2::{Digest as _, Sha256};

use super::{Entry, Tree};

const BUFFER_BYTES: usize = 128 << 10;
/// Fewer entries than this are not worth a thread.
const ENTRIES_PER_THREAD: usize = 64;

/// Returns the digest of one entry: of its header, and of its bytes if it is a file.
pub(crate) fn hash_entry(tree: &Tree, entry: &Entry) -> io::Result<String> {
    let mut buffer = vec![0; BUFFER_BYTES];
    hash_with(tree, entry, &mut buffer)
}

/// Returns the digests of all entries, in their order; on all cores.
pub(crate) fn hash_list(tree: &Tree, entries: &[Entry]) -> io::Result<Vec<String>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(entries.len().div_ceil(ENTRIES_PER_THREAD)).max(1);
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<Vec<(usize, String)>> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(entry) = entries.get(index) else { return Ok(done) };
            done.push((index, hash_with(tree, entry, &mut buffer)?));
        }
    };
    let parts: Vec<io::Result<Vec<(usize, String)>>> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut parts = vec![work()];
        parts.extend(others.into_iter().map(|other| other.join().expect("hashing does not panic")));
        parts
    });
    let mut hashes = vec![String::new(); entries.len()];
    for part in parts {
        for (index, hash) in part? {
            hashes[index] = hash;
        }
    }
    Ok(hashes)
}

fn hash_with(tree: &Tree, entry: &Entry, buffer: &mut [u8]) -> io::Result<String> {
    let stat = &entry.stat;
    let kind = entry.kind();
    if kind == FileType::Symlink && tree.hashes_link_targets {
        let target = tree.find(&String::from_utf8_lossy(&entry.path))?;
        return match target.filter(|target| !target.path.is_empty()) {
            Some(target) => hash_with(tree, &Entry::new(target.path, target.stat), buffer),
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
    let (uid, gid) = if tree.is_context { (0, 0) } else { (stat.st_uid, stat.st_gid) };
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
    if let Some(file) = file {
        let mut value = [0; 64];
        if let Ok(length) = fgetxattr(&file, "security.capability", &mut value[..]) {
            add("security.capability", &value[..length]);
        }
        loop {
            match rustix::io::read(&file, &mut *buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(hex::encode(hasher.finalize()))
}
