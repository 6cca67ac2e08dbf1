//! Eighteen odd tars, and what `docker import` does with each, on 20.10.24 and 28.5.2.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use shale_rootfs::{Rootfs, Unpack, UnpackError, Unpacked, tar_split, unpack};

use crate::{fixture, tree};

struct Imports {
    tars: BTreeMap<String, Vec<u8>>,
}

fn imports() -> Imports {
    let directory = tempfile::tempdir().unwrap();
    let archive = fixture("docker/import-tars/import-tars.tar.xz");
    let status = Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(directory.path()).status();
    assert!(status.expect("GNU tar is installed").success());
    let mut tars = BTreeMap::new();
    let mut waiting = vec![directory.path().to_path_buf()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|child| child.unwrap().path()));
        } else {
            tars.insert(path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap());
        }
    }
    assert_eq!(tars.len(), 18, "{:?}", tars.keys());
    Imports { tars }
}

impl Imports {
    fn unpack(&self, name: &str) -> (tempfile::TempDir, Result<Unpacked, UnpackError>) {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = Rootfs::open(directory.path()).unwrap();
        let tar = &self.tars[name];
        let mut lines = Vec::new();
        let result = unpack(&root, &mut &tar[..], &mut lines, &Unpack::default());
        if let Ok(unpacked) = &result {
            // Whatever is accepted comes out again, which Docker does not manage for all of them.
            let mut again = Vec::new();
            let assembled = tar_split::assemble(&mut &lines[..], &root, &mut again).unwrap();
            assert!(again == *tar, "{name}");
            assert_eq!(assembled.diff_id, unpacked.diff_id);
            assert_eq!(root.size_bytes().unwrap(), unpacked.size_bytes, "{name}");
        }
        (directory, result)
    }
}

#[test]
fn imports_end_as_in_docker() {
    let imports = imports();
    for name in imports.tars.keys() {
        let (_directory, result) = imports.unpack(name);
        let expected = match name.as_str() {
            "dup" => Err("duplicates of file paths not supported"),
            "hlfwd" => Err("could not link"),
            "slevil" => Err("could not find the directory of"),
            "sock" => Err("unhandled tar header type 55"),
            // Docker resolves both inside the root; it cannot push the second. Here a name that leaves is refused.
            "hlevil" | "dotdot" => Err("leads out of the layer"),
            _ => Ok(()),
        };
        match (&result, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{name}: {error}"),
            _ => panic!("{name}: {result:?}"),
        }
    }
}

#[test]
fn names_owners_and_modes_are_docker_s() {
    let imports = imports();
    let (directory, result) = imports.unpack("a");
    assert_eq!(result.unwrap().size_bytes, 56);
    let lines = tree::list(directory.path());
    assert!(lines["sub/suid"].starts_with("f 644 "), "{}", lines["sub/suid"]);
    assert!(lines.values().any(|line| line.contains(" 3000000:4294967294 ")), "{lines:#?}");
    assert!(lines.keys().any(|name| name.contains("\\xe9") || name.contains("\\xe4")), "{lines:#?}");
    // The entry "./" says 0700.
    let root = fs::metadata(directory.path()).unwrap();
    assert_eq!(root.mode() & 0o777, 0o755);
}

#[test]
fn attributes_and_times_are_docker_s() {
    let imports = imports();
    let (directory, result) = imports.unpack("b");
    assert_eq!(result.unwrap().size_bytes, 5);
    let lines = tree::list(directory.path()).into_values().collect::<Vec<_>>().join("\n");
    for expected in
        ["user.foo=", "trusted.", "security.capability=", "mtime=1700000000.500000000", "mtime=0.000000000"]
    {
        assert!(lines.contains(expected), "{expected}:\n{lines}");
    }
}

#[test]
fn whiteouts_are_docker_s() {
    let imports = imports();
    let (directory, result) = imports.unpack("wh");
    assert!(!result.unwrap().root_opaque);
    let lines = tree::list(directory.path());
    assert!(lines["dd"].contains("trusted.overlay.opaque=79"), "{lines:#?}");
    for name in ["dd/foo", "bar", ".wh.aufs"] {
        assert!(lines[name].starts_with("c 0 ") && lines[name].contains("rdev=0"), "{name}: {lines:#?}");
    }
    assert!(lines["bar"].starts_with("c 0 5:6"), "{lines:#?}");
    assert!(lines[".wh..wh.plnk/123"].starts_with('f'), "{lines:#?}");
    let whiteout = fs::symlink_metadata(directory.path().join("bar")).unwrap();
    assert!(whiteout.file_type().is_char_device());
}

#[test]
fn empty_streams_are_layers() {
    let imports = imports();
    let digest = |name| imports.unpack(name).1.unwrap().diff_id.hex();
    assert!(digest("empty").starts_with("5f70bf18"));
    assert!(digest("zero").starts_with("e3b0c442"));
}

#[test]
fn headers_with_a_size_but_no_content_come_out_again() {
    let (_directory, result) = imports().unpack("hlsize");
    assert_eq!(result.unwrap().size_bytes, 9);
}
