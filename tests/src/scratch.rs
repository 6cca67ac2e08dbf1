//! A directory for one test, with nothing mounted and nothing left when it ends.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mount::{UnmountFlags, unmount};

/// A fresh directory that is unmounted and removed on drop, unless `SHALE_TEST_KEEP` is set.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Scratch {
    /// Makes a directory whose name starts with `subject`, short enough for Unix sockets below it.
    pub fn new(subject: &str) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = base().join(format!("shale-{subject}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("could not make {}: {error}", path.display()));
        Self { path }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder below the directory.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("could not make {}: {error}", path.display()));
        path
    }

    /// Writes a file below the directory.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the folder can be made");
        fs::write(&path, content)
            .unwrap_or_else(|error| panic!("could not write {}: {error}", path.display()));
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("SHALE_TEST_KEEP").is_some() {
            eprintln!("kept {}", self.path.display());
            return;
        }
        unmount_below(&self.path);
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where scratch directories go: `SHALE_TEST_DIR`, else the temporary directory.
pub fn base() -> PathBuf {
    std::env::var_os("SHALE_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// Unmounts everything that is mounted at or below `directory`, last mounted first.
pub fn unmount_below(directory: &Path) {
    // A few rounds: dockerd bind-mounts its root onto itself, and each mount there shows only its top.
    for _ in 0..4 {
        let points = mount_points_below(directory);
        if points.is_empty() {
            return;
        }
        for point in points.iter().rev() {
            let _ = unmount(point, UnmountFlags::DETACH);
        }
    }
}

fn mount_points_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| PathBuf::from(std::ffi::OsStr::from_bytes(&unescape_octal(field))))
        .filter(|point| point.starts_with(directory))
        .collect()
}

/// Undoes the `\040` notation of mountinfo.
fn unescape_octal(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let code = (first == b'\\' && tail.len() >= 3)
            .then(|| std::str::from_utf8(&tail[..3]).ok().and_then(|code| u8::from_str_radix(code, 8).ok()))
            .flatten();
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}
