//! Trees that no path can name, removed and measured with few descriptors.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, Mode, OFlags, linkat, mkdirat, open, openat, symlinkat};
use shale_tree::{remove_tree, size_bytes};

const CHILD: &str = "SHALE_TREE_TEST_DIRECTORY";

/// Runs an ignored test of this file in a process of its own, after a line of shell.
#[track_caller]
fn child(name: &str, directory: &Path, before: &str, uid: u32) {
    let output = Command::new("sh")
        .args(["-c", &format!("{before}; exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--test-threads=1"])
        .env(CHILD, directory)
        .uid(uid)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn go_down(parent: OwnedFd, name: &[u8]) -> OwnedFd {
    mkdirat(&parent, name, Mode::RWXU).unwrap();
    openat(&parent, name, OFlags::PATH, Mode::empty()).unwrap()
}

/// Makes `tree` with `depth` directories in each other, a link out of it and a file of one byte in each.
fn deep_tree(directory: &Path, depth: usize, name: impl Fn(usize) -> Vec<u8>) {
    fs::write(directory.join("kept"), "x").unwrap();
    let mut handle = go_down(open(directory, OFlags::PATH, Mode::empty()).unwrap(), b"tree");
    for level in 0..depth {
        symlinkat(directory, &handle, "link").unwrap();
        linkat(CWD, directory.join("kept"), &handle, "file", rustix::fs::AtFlags::empty()).unwrap();
        // A second directory, so that reading goes on where it was left.
        mkdirat(&handle, "beside", Mode::RWXU).unwrap();
        handle = go_down(handle, &name(level));
    }
}

#[test]
fn neither_depth_nor_names_choose_how_many_descriptors_are_open() {
    let directory = tempfile::tempdir().unwrap();
    deep_tree(directory.path(), 30_000, |level| match level {
        0 => b"\xff\n \x01".to_vec(),
        level if level % 2 == 0 => vec![b'n'; 255],
        _ => b"short".to_vec(),
    });
    child("few_descriptors_child", directory.path(), "ulimit -n 64", 0);
    assert!(!directory.path().join("tree").exists());
    assert_eq!(fs::read_to_string(directory.path().join("kept")).unwrap(), "x");
}

#[test]
#[ignore = "runs only as a child of the test above"]
fn few_descriptors_child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let directory = open(Path::new(&path), OFlags::PATH, Mode::empty()).unwrap();
    let links = 30_000 * path.as_bytes().len() as u64;
    assert_eq!(size_bytes(&directory, b"tree").unwrap(), links + 1);
    remove_tree(&directory, b"tree").unwrap();
}

#[test]
fn what_is_no_directory_goes_without_what_it_names_and_nothing_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "x").unwrap();
    std::os::unix::fs::symlink(&kept, directory.path().join("link")).unwrap();
    let handle = open(directory.path(), OFlags::PATH, Mode::empty()).unwrap();
    assert_eq!(size_bytes(&handle, b"link").unwrap(), kept.as_os_str().len() as u64);
    remove_tree(&handle, b"link").unwrap();
    remove_tree(&handle, b"link").unwrap();
    assert_eq!(fs::read_to_string(kept.join("file")).unwrap(), "x");
}

#[test]
fn several_remove_one_tree_at_once() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        deep_tree(directory.path(), 200, |level| format!("level {level}").into_bytes());
        let handle = open(directory.path(), OFlags::PATH, Mode::empty()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| remove_tree(&handle, b"tree").unwrap());
            }
        });
        assert!(!directory.path().join("tree").exists());
    }
}

#[test]
fn rights_that_a_tree_denies_its_owner_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = 65_534;
    let path = |name: &str| directory.path().join(name);
    for (name, mode) in [("tree", 0o500), ("tree/a", 0o000), ("tree/a/b", 0o600), ("tree/a/b/c", 0o100)] {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(name).join("file"), "").unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for name in ["", "tree", "tree/a", "tree/a/b", "tree/a/b/c"] {
        std::os::unix::fs::chown(path(name), Some(nobody), None).unwrap();
    }
    child("few_rights_child", directory.path(), ":", nobody);
    assert!(!path("tree").exists());
}

#[test]
#[ignore = "runs only as a child of the test above"]
fn few_rights_child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let directory = open(Path::new(&path), OFlags::PATH, Mode::empty()).unwrap();
    remove_tree(&directory, b"tree").unwrap();
}
