//! A tree as text, one line for each inode name, to compare with what Docker made.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

/// Lists everything below `root`: type, mode, owner, size, time, device, links, target, attributes, content.
pub fn list(root: &Path) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    walk(root, Path::new(""), &mut lines, &mut first_names);
    lines
}

fn walk(root: &Path, below: &Path, lines: &mut BTreeMap<String, String>, first: &mut BTreeMap<u64, String>) {
    let mut children: Vec<_> =
        fs::read_dir(root.join(below)).unwrap().map(|child| child.unwrap().file_name()).collect();
    children.sort();
    for child in children {
        let path = below.join(&child);
        let full = root.join(&path);
        let stat = fs::symlink_metadata(&full).unwrap();
        let name = path.as_os_str().as_bytes().escape_ascii().to_string();
        let kind = stat.file_type();
        let letter = match kind {
            _ if kind.is_dir() => 'd',
            _ if kind.is_symlink() => 'l',
            _ if kind.is_char_device() => 'c',
            _ if kind.is_block_device() => 'b',
            _ if kind.is_fifo() => 'p',
            _ if kind.is_socket() => 's',
            _ => 'f',
        };
        let mut line = format!("{letter} {:o} {}:{}", stat.mode() & 0o7777, stat.uid(), stat.gid());
        if !kind.is_dir() {
            write!(line, " {}", stat.size()).unwrap();
        }
        if letter == 'c' || letter == 'b' {
            write!(line, " rdev={:x}", stat.rdev()).unwrap();
        }
        let is_whiteout = letter == 'c' && stat.rdev() == 0;
        if !is_whiteout {
            write!(line, " mtime={}.{:09}", stat.mtime(), stat.mtime_nsec()).unwrap();
        }
        if !kind.is_dir() && stat.nlink() > 1 {
            let known = first.entry(stat.ino()).or_insert_with(|| name.clone());
            write!(line, " nlink={} inode-of={known}", stat.nlink()).unwrap();
        }
        if kind.is_symlink() {
            let target = fs::read_link(&full).unwrap();
            write!(line, " -> {}", target.as_os_str().as_bytes().escape_ascii()).unwrap();
        }
        if kind.is_file() {
            write!(line, " {}", shale_oci::Digest::sha256(&fs::read(&full).unwrap()).short()).unwrap();
        }
        for (xattr, value) in xattrs(&full) {
            write!(line, " {xattr}={value}").unwrap();
        }
        lines.insert(name, line);
        if kind.is_dir() {
            walk(root, &path, lines, first);
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).unwrap();
            let text = value[..length].iter().map(|byte| format!("{byte:02x}")).collect();
            (name.escape_ascii().to_string(), text)
        })
        .collect()
}

/// Fails with the lines that differ.
#[track_caller]
pub fn assert_same(found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>, what: &str) {
    let mut differences = String::new();
    for name in found.keys().chain(expected.keys()).collect::<std::collections::BTreeSet<_>>() {
        if found.get(name) != expected.get(name) {
            writeln!(
                differences,
                "{name}\n  found    {:?}\n  expected {:?}",
                found.get(name),
                expected.get(name)
            )
            .unwrap();
        }
    }
    assert!(differences.is_empty(), "{what}:\n{differences}");
}
