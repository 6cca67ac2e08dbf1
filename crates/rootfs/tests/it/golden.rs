//! dockerd's own data roots: every layer comes out of tar-split with its digest, and goes in again as dockerd left it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use shale_rootfs::{Pack, Rootfs, Unpack, pack, pack_with_tar_split, tar_split, unpack};

use crate::{fixture, tree};

/// Extracts a stored data root; only root can, because of devices and owners.
fn data_root(version: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let extract = |archive: &Path| {
        let status = Command::new("tar")
            .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "--same-owner", "-xpf"])
            .arg(archive)
            .arg("-C")
            .arg(directory.path())
            .status()
            .expect("GNU tar is installed");
        assert!(status.success(), "these tests run as root, with GNU tar and xz");
    };
    if version == "28.5.2" {
        extract(&fixture("docker/28.5.2/data-root+save.tar.xz"));
        extract(&directory.path().join("data-root.tar"));
    } else {
        extract(&fixture("docker/20.10.24/data-root.tar.xz"));
    }
    let root = find(directory.path(), "overlay2").expect("a data root has overlay2");
    let root = root.parent().unwrap().to_path_buf();
    (directory, root)
}

fn find(below: &Path, name: &str) -> Option<PathBuf> {
    let children: Vec<_> = fs::read_dir(below).unwrap().map(|child| child.unwrap().path()).collect();
    if let Some(found) = children.iter().find(|child| child.file_name().is_some_and(|n| n == name)) {
        return Some(found.clone());
    }
    children.iter().filter(|child| child.is_dir() && !child.is_symlink()).find_map(|child| find(child, name))
}

struct StoredLayer {
    chain: String,
    diff_id: String,
    size: String,
    diff: PathBuf,
    tar_split: Vec<u8>,
}

fn layers(root: &Path) -> Vec<StoredLayer> {
    let layerdb = find(root, "layerdb").unwrap().join("sha256");
    let mut layers = Vec::new();
    for chain in fs::read_dir(layerdb).unwrap() {
        let chain = chain.unwrap().path();
        let text = |name: &str| fs::read_to_string(chain.join(name)).unwrap();
        let compressed = fs::read(chain.join("tar-split.json.gz")).unwrap();
        let mut tar_split = Vec::new();
        flate2::read::MultiGzDecoder::new(&compressed[..]).read_to_end(&mut tar_split).unwrap();
        layers.push(StoredLayer {
            chain: chain.file_name().unwrap().to_string_lossy().into_owned(),
            diff_id: text("diff"),
            size: text("size"),
            diff: root.join("overlay2").join(text("cache-id")).join("diff"),
            tar_split,
        });
    }
    assert!(layers.len() >= 5, "{} layers", layers.len());
    layers
}

/// tar-split as values: the text differs between versions of Go, what it says must not.
pub fn meaning(lines: &[u8]) -> (Vec<serde_json::Value>, Vec<u8>) {
    use base64::Engine as _;
    let mut files = Vec::new();
    let mut segments = Vec::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut value: serde_json::Value = serde_json::from_slice(line).unwrap();
        if value["type"] == 2 {
            let payload = value["payload"].as_str().unwrap();
            segments.extend(base64::engine::general_purpose::STANDARD.decode(payload).unwrap());
        } else {
            value.as_object_mut().unwrap().remove("position");
            files.push(value);
        }
    }
    (files, segments)
}

fn check_version(version: &str) {
    let (_keep, root) = data_root(version);
    for layer in layers(&root) {
        let what = format!("{version} {}", layer.chain);
        let diff = Rootfs::open(&layer.diff).unwrap();

        let mut tar = Vec::new();
        let assembled = tar_split::assemble(&mut &layer.tar_split[..], &diff, &mut tar).unwrap();
        assert_eq!(assembled.diff_id.to_string(), layer.diff_id, "{what}");
        assert_eq!(assembled.tar_bytes, tar.len() as u64);
        let verified = tar_split::verify(&mut &layer.tar_split[..], &diff).unwrap().unwrap();
        assert_eq!(verified, assembled);
        let faults = tar_split::quick_check(&mut &layer.tar_split[..], &diff).unwrap();
        assert!(faults.is_empty(), "{what}: {faults:?}");

        let again = tempfile::tempdir().unwrap();
        let again_root = Rootfs::open(again.path()).unwrap();
        let mut tar_split_again = Vec::new();
        let unpacked = unpack(&again_root, &mut &tar[..], &mut tar_split_again, &Unpack::default()).unwrap();
        assert_eq!(unpacked.diff_id.to_string(), layer.diff_id, "{what}");
        assert_eq!(unpacked.tar_bytes, assembled.tar_bytes);
        assert_eq!(unpacked.size_bytes.to_string(), layer.size, "{what}");
        assert_eq!(again_root.size_bytes().unwrap(), unpacked.size_bytes);
        tree::assert_same(&tree::list(again.path()), &tree::list(&layer.diff), &what);

        let (files, segments) = meaning(&tar_split_again);
        let (files_expected, segments_expected) = meaning(&layer.tar_split);
        assert_eq!(files, files_expected, "{what}");
        assert!(segments == segments_expected, "{what}");
        let names: Vec<_> = tar_split::entries(&mut &layer.tar_split[..])
            .map(|entry| entry.unwrap().name.as_bytes().to_vec())
            .collect();
        assert_eq!(names.len(), files.len());
    }
}

#[test]
fn layers_of_dockerd_20_10_come_out_and_go_in_unchanged() {
    check_version("20.10.24");
}

#[test]
fn layers_of_dockerd_28_come_out_and_go_in_unchanged() {
    check_version("28.5.2");
}

#[test]
fn a_commit_of_every_odd_file_is_packed_as_dockerd_28_packed_it() {
    let expected = fs::read(fixture("docker/28.5.2/odd-commit/layer.tar")).unwrap();
    let again = tempfile::tempdir().unwrap();
    let again_root = Rootfs::open(again.path()).unwrap();
    let mut lines = Vec::new();
    let unpacked = unpack(&again_root, &mut &expected[..], &mut lines, &Unpack::default()).unwrap();
    let diff_id = fs::read_to_string(fixture("docker/28.5.2/odd-commit/diffid.txt")).unwrap();
    assert!(diff_id.contains(&unpacked.diff_id.to_string()));
    assert!(diff_id.contains(&format!("size file: {}", unpacked.size_bytes)));

    // What the upper directory had and no tar carries: shared whiteouts, times before 1970 and below a second.
    let upper = again.path();
    fs::remove_file(upper.join("data/keep")).unwrap();
    fs::hard_link(upper.join("data/gone"), upper.join("data/keep")).unwrap();
    set_time(&upper.join("data/gone"), 1_795_301_083, 904_540_982);
    set_time(&upper.join("data"), 1_700_000_001, 0);
    set_time(&upper.join("w/neg"), -315_619_200, 0);
    set_time(&upper.join("w/sub"), 1_700_000_000, 999_999_999);
    std::os::unix::net::UnixListener::bind(upper.join("w/s")).unwrap();
    set_time(&upper.join("w"), 1_700_000_000, 0);

    let (mut tar, mut tar_split) = (Vec::new(), Vec::new());
    let packed = pack_with_tar_split(&again_root, &mut tar, &mut tar_split, &Pack::default()).unwrap();
    assert!(
        tar == expected,
        "the tar differs at byte {:?}",
        tar.iter().zip(&expected).position(|(a, b)| a != b)
    );
    assert_eq!(packed.diff_id, unpacked.diff_id);
    assert_eq!(packed.size_bytes, 132);
    let docker_lines = fs::read(fixture("docker/28.5.2/odd-commit/tar-split.json")).unwrap();
    assert_eq!(meaning(&tar_split), meaning(&docker_lines));
    assert_eq!(pack(&again_root, &mut Vec::new(), &Pack::default()).unwrap(), packed);
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn small_trees_have_the_digests_that_dockerd_24_and_later_give_them() {
    let vectors: serde_json::Value =
        serde_json::from_slice(&fs::read(fixture("docker/vectors.json")).unwrap()).unwrap();
    let digests: BTreeMap<String, String> = vectors["layer_dialects"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(tree, dialects)| (tree[..1].to_string(), dialects["24+"].as_str().unwrap().to_string()))
        .collect();
    let check = |make: &dyn Fn(&Path), expected: &str| {
        let directory = tempfile::tempdir().unwrap();
        make(directory.path());
        let packed =
            pack(&Rootfs::open(directory.path()).unwrap(), &mut Vec::new(), &Pack::default()).unwrap();
        assert_eq!(packed.diff_id.hex(), expected);
    };
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    check(
        &|root| {
            fs::write(root.join("f"), "hi\n").unwrap();
            mode(&root.join("f"), 0o644);
            set_time(&root.join("f"), 1_600_000_000, 0);
        },
        &digests["f"],
    );
    check(
        &|root| {
            fs::create_dir(root.join("s")).unwrap();
            fs::write(root.join("s/x"), "1\n").unwrap();
            mode(&root.join("s"), 0o755);
            mode(&root.join("s/x"), 0o644);
            set_time(&root.join("s/x"), 1_600_000_000, 0);
            set_time(&root.join("s"), 1_600_000_000, 0);
        },
        &digests["s"],
    );
    check(&|_| {}, "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
}
