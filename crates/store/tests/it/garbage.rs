//! What gc and the sweep at each open remove, and what they leave alone.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use rustix::fs::{IFlags, Mode, OFlags, ioctl_setflags};
use shale_store::{Finding, Garbage, GcOptions, GcReport, Store};

use crate::fixture::{Tar, chains, open, store_image};

fn gc(store: &Store) -> GcReport {
    store.gc(GcOptions { dry_run: false, downloads_before: SystemTime::UNIX_EPOCH }).unwrap()
}

fn entries(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[test]
fn what_a_killed_dockerd_leaves_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    drop(open(root));
    // As in the reference, section 9: extracting, killed.
    let orphan = format!("{:064x}", 0xabcdef);
    fs::create_dir_all(root.join("overlay2").join(&orphan).join("diff/etc")).unwrap();
    fs::write(root.join("overlay2").join(&orphan).join("diff/etc/passwd"), "12345").unwrap();
    fs::write(root.join("overlay2").join(&orphan).join("link"), "A".repeat(26)).unwrap();
    symlink(format!("../{orphan}/diff"), root.join("overlay2/l").join("A".repeat(26))).unwrap();
    symlink("../gone/diff", root.join("overlay2/l").join("B".repeat(26))).unwrap();
    let write_set = root.join("image/overlay2/layerdb/tmp/write-set-12345");
    fs::create_dir(&write_set).unwrap();
    fs::write(write_set.join("tar-split.json.gz"), "").unwrap();
    fs::write(root.join("image/overlay2/imagedb/content/sha256/.tmp-x123"), "x").unwrap();
    fs::create_dir(root.join("overlay2/opaque-bug-check123")).unwrap();
    // Not ours to judge.
    fs::create_dir(root.join("overlay2/notes")).unwrap();

    let store = open(root);
    let dry = GcOptions { dry_run: true, downloads_before: SystemTime::UNIX_EPOCH };
    let would = store.gc(dry).unwrap();
    assert!(
        would.items.iter().any(
            |item| item.garbage == Garbage::OverlayDirectory(orphan.clone()) && item.size_bytes == 5 + 26
        )
    );
    assert_eq!(gc(&store).items, would.items);
    assert_eq!(gc(&store).items, []);
    assert_eq!(entries(&root.join("overlay2/l")), 0);
    assert_eq!(entries(&root.join("overlay2")), 2, "l and notes");
    assert_eq!(entries(&root.join("image/overlay2/layerdb/tmp")), 0);
    assert_eq!(entries(&root.join("image/overlay2/imagedb/content/sha256")), 0);
}

#[test]
fn layers_without_an_image_go_top_down() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let kept = ["a", "b"].map(Tar::of);
    let id = store_image(&store, &kept, "kept", "kept:1");
    let extra = ["c", "d"].map(|name| Tar::of(name).finish(&store)).into();
    drop(store.publish_layers(Some(chains(&kept)[0]), extra).unwrap());
    let chains = chains(&["a", "c", "d"].map(Tar::of));
    let report = gc(&store);
    let expected = [Garbage::Layer(chains[2]), Garbage::Layer(chains[1])];
    assert_eq!(report.items.iter().map(|item| item.garbage.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(store.layers().unwrap().len(), 2);
    assert_eq!(entries(&directory.path().join("overlay2")), 3);
    store.image(id).unwrap().unwrap();
    assert!(store.fsck().unwrap().is_empty());
}

#[test]
fn what_a_living_process_makes_or_holds_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (store, other) = (open(directory.path()), open(directory.path()));
    let writer = store.begin_layer().unwrap();
    let finished = Tar::of("a").finish(&store);
    let published = store.publish_layers(None, vec![Tar::of("b").finish(&store)]).unwrap();
    assert_eq!(gc(&other).items, []);
    drop(open(directory.path()));
    assert!(writer.diff_path().exists());
    assert!(finished.diff_path().exists());
    assert!(store.layer_diff_path(&published[0]).exists());
    drop((writer, finished, published));
    assert_eq!(gc(&other).items.len(), 1, "the published layer, which no image uses");
}

#[test]
fn what_containers_and_buildkit_name_stays() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = open(root);
    let chain = store.publish_layers(None, vec![Tar::of("a").finish(&store)]).unwrap()[0].chain_id;
    let built = store.publish_layers(None, vec![Tar::of("b").finish(&store)]).unwrap()[0].chain_id;
    let id = format!("{:064x}", 0xabcdef);
    let mount = root.join("image/overlay2/layerdb/mounts/c");
    fs::create_dir_all(&mount).unwrap();
    fs::write(mount.join("mount-id"), &id).unwrap();
    fs::write(mount.join("init-id"), format!("{id}-init")).unwrap();
    fs::write(mount.join("parent"), chain.to_string()).unwrap();
    let snapshot = "sqnpmfdc6inihxbssgym9vlw8";
    for name in [&*id, &format!("{id}-init"), snapshot] {
        fs::create_dir(root.join("overlay2").join(name)).unwrap();
    }
    fs::create_dir(root.join("buildkit")).unwrap();
    fs::write(root.join("buildkit/snapshots.db"), format!("\0k{snapshot}committed\x01{built}\0")).unwrap();
    assert_eq!(gc(&store).items, []);

    fs::remove_file(mount.join("mount-id")).unwrap();
    fs::create_dir(root.join("overlay2").join("f".repeat(64))).unwrap();
    let report = gc(&store);
    assert_eq!((report.items, report.damaged_mounts), (vec![], vec!["c".to_owned()]));

    fs::remove_dir_all(mount).unwrap();
    fs::remove_dir_all(root.join("buildkit")).unwrap();
    assert_eq!(gc(&store).items.len(), 6);
    assert_eq!(entries(&root.join("overlay2")), 1);
}

#[test]
fn while_a_container_has_no_mount_or_a_layer_is_missing_no_directory_goes() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = open(root);
    store_image(&store, &["a"].map(Tar::of), "a", "a:1");
    let orphan = root.join("overlay2").join("f".repeat(64));
    fs::create_dir(&orphan).unwrap();
    let id = "c".repeat(64);
    let record = root.join("containers").join(&id).join("config.v2.json");
    fs::create_dir_all(record.parent().unwrap()).unwrap();
    for content in [r#"{"ID":"c"}"#, "{"] {
        fs::write(&record, content).unwrap();
        let report = gc(&store);
        assert_eq!((report.items, report.damaged_mounts), (vec![], vec![id.clone()]), "{content}");
        let findings = store.fsck().unwrap();
        let names_it = |finding: &Finding| matches!(finding, Finding::Container { name } if *name == id);
        assert!(findings.iter().any(names_it), "{findings:?}");
    }
    // dockerd takes the mount of a container that goes before its record.
    fs::write(&record, r#"{"ID":"c","State":{"Dead":true}}"#).unwrap();
    assert_eq!(gc(&store).items.len(), 1);

    fs::create_dir(&orphan).unwrap();
    let chain = store.layers().unwrap()[0].chain_id;
    let layer = root.join("image/overlay2/layerdb/sha256").join(chain.hex());
    fs::rename(&layer, root.join("aside")).unwrap();
    let report = gc(&store);
    assert_eq!((report.items, report.missing_layers), (vec![], vec![chain]));
    fs::rename(root.join("aside"), &layer).unwrap();
    let cache_id = fs::read(layer.join("cache-id")).unwrap();
    for damage in ["", &"e".repeat(64)] {
        fs::write(layer.join("cache-id"), damage).unwrap();
        let report = gc(&store);
        assert_eq!((report.items, report.missing_layers), (vec![], vec![chain]), "{damage:?}");
    }
    fs::write(layer.join("cache-id"), cache_id).unwrap();
    fs::remove_file(&record).unwrap();
    assert_eq!(gc(&store).items.len(), 1);
}

#[test]
fn while_a_container_names_a_directory_that_is_not_there_no_directory_goes() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = open(root);
    fs::create_dir_all(root.join("overlay2").join("f".repeat(64))).unwrap();
    let id = "c".repeat(64);
    let mount = root.join("image/overlay2/layerdb/mounts").join(&id);
    fs::create_dir_all(&mount).unwrap();
    fs::write(mount.join("mount-id"), "e".repeat(64)).unwrap();
    let container = root.join("containers").join(&id);
    fs::create_dir_all(&container).unwrap();
    fs::write(container.join("config.v2.json"), r#"{"ID":"c"}"#).unwrap();
    let report = gc(&store);
    assert_eq!((report.items, report.damaged_mounts), (vec![], vec![id]));
    // Without its record it is what is left of one that went.
    fs::remove_dir_all(container).unwrap();
    assert_eq!(gc(&store).items.len(), 1);
}

#[test]
fn a_container_that_somebody_makes_or_removes_is_not_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = open(root);
    let orphan = root.join("overlay2").join("f".repeat(64));
    let id = "c".repeat(64);
    let making = store.begin_mount(&id, None).unwrap();
    fs::remove_file(root.join("image/overlay2/layerdb/mounts").join(&id).join("mount-id")).unwrap();
    fs::create_dir_all(&orphan).unwrap();
    let is_it = |finding: &Finding| matches!(finding, Finding::Container { .. });
    assert!(!store.fsck().unwrap().iter().any(is_it));
    let report = gc(&store);
    assert_eq!((report.items.len(), report.damaged_mounts), (1, vec![]));
    drop(making);
}

#[test]
fn while_a_name_has_no_image_no_layer_goes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let id = store_image(&store, &["a"].map(Tar::of), "a", "a:1");
    fs::remove_file(directory.path().join("image/overlay2/imagedb/content/sha256").join(id.hex())).unwrap();
    let report = gc(&store);
    assert_eq!(report.damaged_images, [id]);
    assert_eq!(store.layers().unwrap().len(), 1);
}

#[test]
fn while_an_image_is_damaged_no_layer_goes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let id = store_image(&store, &["a"].map(Tar::of), "a", "a:1");
    let content = directory.path().join("image/overlay2/imagedb/content/sha256").join(id.hex());
    fs::write(&content, "{").unwrap();
    let report = gc(&store);
    assert_eq!((report.items, report.damaged_images), (vec![], vec![id]));
    assert_eq!(store.layers().unwrap().len(), 1);
}

/// A file that not even root can remove, until this is dropped.
struct Immovable(std::path::PathBuf);

impl Immovable {
    fn make(path: std::path::PathBuf) -> Immovable {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "12345").unwrap();
        ioctl_setflags(fs::File::open(&path).unwrap(), IFlags::IMMUTABLE).unwrap();
        Immovable(path)
    }
}

impl Drop for Immovable {
    fn drop(&mut self) {
        let _ = fs::File::open(&self.0).map(|file| ioctl_setflags(file, IFlags::empty()));
    }
}

#[test]
fn a_leftover_that_cannot_be_removed_stops_no_open_and_no_other_removal() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    drop(open(root));
    let layers = root.join("image/overlay2/layerdb");
    let removing = |letter: &str| layers.join(format!("sha256/{}-0-removing", letter.repeat(64)));
    let (staged, other) = (layers.join("tmp/staging-0"), layers.join("tmp/staging-1"));
    let immovable = [removing("a").join("diff"), staged.join("file")].map(Immovable::make);
    fs::create_dir(removing("b")).unwrap();
    fs::create_dir(&other).unwrap();

    let store = open(root);
    assert!(!removing("b").exists() && !other.exists());
    let report = gc(&store);
    let failed: Vec<_> = report.failures.iter().map(|failure| failure.path.clone()).collect();
    assert_eq!((failed, report.items), (vec![staged.clone(), removing("a")], vec![]));

    drop(immovable);
    drop(open(root));
    assert!(!removing("a").exists() && !staged.exists());
}

#[test]
fn a_layer_of_any_depth_can_be_removed() {
    // The limit of open files belongs to the process, so this is done in one of its own.
    let status = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" garbage::few_descriptors_child --exact --ignored"])
        .arg(std::env::current_exe().unwrap())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
#[ignore = "runs only as a child of the test above"]
fn few_descriptors_child() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let writer = store.begin_layer().unwrap();
    let layer = writer.diff_path().parent().unwrap().to_owned();
    let mut handle = open_path(&writer.diff_path());
    for _ in 0..100 {
        rustix::fs::mkdirat(&handle, "d", Mode::RWXU).unwrap();
        handle = rustix::fs::openat(&handle, "d", OFlags::PATH, Mode::empty()).unwrap();
    }
    drop(writer);
    assert!(!layer.exists());
}

fn open_path(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH, Mode::empty()).unwrap()
}
