//! Two directory trees side by side: everything that a layer can say about a file.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What is compared beside names, types, modes, owners, links, devices, xattrs and contents.
#[derive(Debug, Clone, Copy)]
pub struct Compare {
    /// Modification times to the nanosecond. Never those of whiteouts: they are the moment of unpacking.
    pub times: bool,
}

/// Path below the root, as bytes, to a description of all that is there.
pub type Listing = BTreeMap<Vec<u8>, String>;

/// Describes every entry below `root`, not `root` itself.
pub fn list(root: &Path, compare: Compare) -> io::Result<Listing> {
    let mut listing = Listing::new();
    let mut first_names: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    let mut folders = vec![root.to_owned()];
    let mut paths: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.symlink_metadata()?.is_dir() {
                folders.push(path.clone());
            }
            paths.push(path);
        }
    }
    // Sorted, so that the first name of a hard link group is the same in both trees.
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(root).expect("it was found below").as_os_str().as_bytes().to_vec();
        let metadata = path.symlink_metadata()?;
        let first = (metadata.nlink() > 1 && !metadata.is_dir()).then(|| {
            first_names.entry((metadata.dev(), metadata.ino())).or_insert_with(|| name.clone()).clone()
        });
        listing.insert(name, describe(&path, &metadata, first.as_deref(), compare)?);
    }
    Ok(listing)
}

/// Lengths of all files below `folder`; 0 when it is not there.
pub fn size_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// One line for each difference, with both sides; empty when the trees are equal.
pub fn differences(left: &Listing, right: &Listing) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, ours) in left {
        match right.get(name) {
            None => lines.push(format!("{}: only on the left: {ours}", name.escape_ascii())),
            Some(theirs) if theirs != ours => {
                lines.push(format!("{}:\n    left  {ours}\n    right {theirs}", name.escape_ascii()));
            }
            Some(_) => {}
        }
    }
    for (name, theirs) in right.iter().filter(|(name, _)| !left.contains_key(*name)) {
        lines.push(format!("{}: only on the right: {theirs}", name.escape_ascii()));
    }
    lines
}

fn describe(path: &Path, metadata: &Metadata, first: Option<&[u8]>, compare: Compare) -> io::Result<String> {
    let kind = metadata.file_type();
    let is_device = kind.is_char_device() || kind.is_block_device();
    let is_whiteout = kind.is_char_device() && metadata.rdev() == 0;
    let mut line = format!("{:o} {}:{}", metadata.mode(), metadata.uid(), metadata.gid());
    if compare.times && !is_whiteout {
        line.push_str(&format!(" {}.{:09}", metadata.mtime(), metadata.mtime_nsec()));
    }
    if is_device {
        line.push_str(&format!(" device {}", metadata.rdev()));
    }
    if kind.is_symlink() {
        line.push_str(&format!(" -> {}", fs::read_link(path)?.as_os_str().as_bytes().escape_ascii()));
    }
    // Whiteouts made by one mount share an inode, those made by unpacking do not; neither is content.
    if let Some(first) = first.filter(|_| !is_whiteout) {
        line.push_str(&format!(" same file as {} ({} names)", first.escape_ascii(), metadata.nlink()));
    }
    for (name, value) in xattrs(path)? {
        line.push_str(&format!(" {name}={}", hex::encode(value)));
    }
    if kind.is_file() {
        let mut hasher = Sha256::new();
        io::copy(&mut fs::File::open(path)?, &mut HashWriter(&mut hasher))?;
        line.push_str(&format!(" {} bytes sha256:{}", metadata.len(), hex::encode(hasher.finalize())));
    }
    Ok(line)
}

/// The hasher as a sink for `io::copy`.
struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Extended attributes of the entry itself, sorted, without the kernel's own bookkeeping of overlays.
fn xattrs(path: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let path = CString::new(path.as_os_str().to_owned().into_vec()).expect("paths hold no NUL");
    let mut names = vec![0; 64 * 1024];
    let length = match rustix::fs::llistxattr(path.as_c_str(), &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(found),
        Err(error) => return Err(error.into()),
    };
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let name = CStr::from_bytes_with_nul(name).expect("the kernel ends names with NUL");
        let mut value = vec![0; 64 * 1024];
        let size = rustix::fs::lgetxattr(path.as_c_str(), name, &mut value)?;
        value.truncate(size);
        let name = name.to_string_lossy().into_owned();
        if !["trusted.overlay.impure", "trusted.overlay.origin", "trusted.overlay.uuid"]
            .contains(&name.as_str())
        {
            found.insert(name, value);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::shell;
    use crate::scratch::Scratch;

    /// Applies `change` to one of two equal trees and returns the names that then differ.
    fn changed(change: &str) -> Vec<String> {
        let scratch = Scratch::new("tree");
        let make = "mkdir d; echo f > d/f; ln d/f d/hard; ln -s f d/l; mknod d/n c 1 3; mkfifo d/p; : > d/e
            mknod d/wh c 0 0; find . -exec touch -h -d @1000000000 {} +";
        let [left, right] = ["left", "right"].map(|name| {
            let tree = scratch.folder(name);
            shell(&tree, make);
            tree
        });
        shell(&right, change);
        let listed = |tree: &Path| list(tree, Compare { times: true }).unwrap();
        differences(&listed(&left), &listed(&right))
            .iter()
            .map(|line| line.split(':').next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn equal_trees_do_not_differ() {
        assert_eq!(changed("true"), Vec::<String>::new());
        assert_eq!(changed("touch d/wh"), Vec::<String>::new(), "a whiteout has no time");
    }

    #[test]
    fn each_kind_of_change_is_seen() {
        for (change, name) in [
            ("chmod 600 d/e", "d/e"),
            ("chmod u+s d/e", "d/e"),
            ("chown 1:0 d/e", "d/e"),
            ("chown 0:1 d/e", "d/e"),
            ("touch -d '2001-09-09 01:46:40.000000001 UTC' d/e", "d/e"),
            ("setfattr -n user.a d/e", "d/e"),
            ("setfattr -h -n trusted.a -v 1 d/l", "d/l"),
            ("chmod 700 d", "d"),
        ] {
            assert_eq!(changed(change), [name], "{change}");
        }
        for (change, name) in [
            ("ln -sfn g d/l; touch -h -d @1000000000 d/l", "d/l"),
            ("rm d/n; mknod d/n c 1 5; touch -d @1000000000 d/n", "d/n"),
            ("rm d/p; echo > d/p; touch -d @1000000000 d/p", "d/p"),
            ("rm d/e", "d/e"),
            ("echo > d/new", "d/new"),
            ("rm d/wh", "d/wh"),
        ] {
            assert_eq!(changed(&format!("{change}; touch -d @1000000000 d")), [name], "{change}");
        }
        let unlinked = changed("cp -a d/hard x; rm d/hard; mv x d/hard; touch -d @1000000000 d .");
        assert_eq!(unlinked, ["d/f", "d/hard"], "a broken hard link is a difference of both names");
        assert_eq!(changed("echo g > d/f; touch -d @1000000000 d/f"), ["d/f", "d/hard"]);
    }
}
