//! The damages of `fixtures/docker/*/damage-probe.txt`, each with its verdict.

use std::fs;
use std::path::{Path, PathBuf};

use shale_oci::{Digest, ImageId};
use shale_store::{Access, GcOptions, Layer, OpenOptions, Severity, Store};

use crate::fixture::{Tar, open, store_image};

/// A store with one image of two layers, to be damaged.
struct Victim {
    directory: tempfile::TempDir,
    id: ImageId,
    layers: Vec<Layer>,
}

impl Victim {
    fn new() -> Victim {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        let id = store_image(&store, &["a", "b"].map(Tar::of), "dmg/x", "dmg/x:1");
        let layers = store.image(id).unwrap().unwrap().layers;
        Victim { directory, id, layers }
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Path of a file of a layer's metadata.
    fn layer(&self, index: usize, file: &str) -> PathBuf {
        self.root().join("image/overlay2/layerdb/sha256").join(self.layers[index].chain_id.hex()).join(file)
    }

    /// Path of a file of a layer's directory.
    fn cache(&self, index: usize, file: &str) -> PathBuf {
        self.root().join("overlay2").join(&self.layers[index].cache_id).join(file)
    }

    fn content(&self) -> PathBuf {
        self.root().join("image/overlay2/imagedb/content/sha256").join(self.id.hex())
    }

    fn append(&self, path: PathBuf, text: &str) {
        let content = fs::read_to_string(&path).unwrap() + text;
        fs::write(path, content).unwrap();
    }

    fn store(&self) -> Store {
        Store::open_damaged(self.root(), OpenOptions { create: false, access: Access::Write }).unwrap()
    }
}

/// `is_listed` is what `docker images` did in the probe.
#[track_caller]
fn check(damage: impl FnOnce(&Victim), is_listed: bool, codes: &[&str]) {
    let victim = Victim::new();
    damage(&victim);
    let store = victim.store();
    let findings = store.fsck().unwrap();
    let mut found: Vec<_> = findings
        .iter()
        .filter(|finding| finding.severity() > Severity::Leftover)
        .map(|finding| finding.code())
        .collect();
    found.dedup();
    assert_eq!(found, codes, "{findings:#?}");
    let images = store.images().unwrap();
    assert_eq!(images.iter().any(|stored| stored.id == victim.id && stored.image.is_ok()), is_listed);
    // gc must not make things worse: what is needed and not damaged itself is still there.
    let before = store.layers().unwrap();
    store.gc(GcOptions { dry_run: false, downloads_before: std::time::SystemTime::UNIX_EPOCH }).unwrap();
    assert_eq!(store.layers().unwrap(), before);
}

#[test]
fn an_undamaged_store_has_no_findings() {
    check(|_| {}, true, &[]);
}

fn make_directory(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

/// Whoever opens one as an ordinary file waits for ever.
fn make_fifo(path: &Path) {
    fs::remove_file(path).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

fn make_loop(path: &Path) {
    fs::remove_file(path).unwrap();
    std::os::unix::fs::symlink(path.file_name().unwrap(), path).unwrap();
}

#[test]
fn layers_that_docker_does_not_load() {
    let broken = &["image-layer-damaged", "layer-size"];
    check(|victim| fs::remove_file(victim.layer(1, "size")).unwrap(), false, broken);
    check(|victim| victim.append(victim.layer(1, "size"), "\n"), false, broken);
    for put in [make_directory, make_fifo, make_loop] {
        check(|victim| put(&victim.layer(1, "size")), false, broken);
    }
    let broken = &["image-layer-damaged", "layer-diff-id"];
    check(|victim| fs::write(victim.layer(1, "diff"), "sha256:nonsense").unwrap(), false, broken);
    let broken = &["image-layer-damaged", "layer-cache-id"];
    check(|victim| fs::write(victim.layer(1, "cache-id"), "").unwrap(), false, broken);
    for put in [make_directory, make_fifo, make_loop] {
        check(|victim| put(&victim.layer(1, "cache-id")), false, broken);
    }
    check(|victim| fs::write(victim.layer(1, "cache-id"), "../..").unwrap(), false, broken);
    let broken = &["image-layer-damaged", "layer-descriptor"];
    check(|victim| fs::write(victim.layer(1, "descriptor.json"), "{").unwrap(), false, broken);
    check(|victim| fs::write(victim.layer(1, "descriptor.json"), "{\"size\":1}").unwrap(), true, &[]);
    let broken = &["image-layer-damaged", "layer-parent"];
    check(|victim| fs::write(victim.layer(1, "parent"), "x").unwrap(), false, broken);
}

#[test]
fn a_missing_layer_hides_the_image_and_breaks_those_above() {
    let missing = |victim: &Victim| fs::remove_dir_all(victim.layer(0, "")).unwrap();
    check(missing, false, &["image-layer-missing", "layer-parent-damaged"]);
    let circle = |victim: &Victim| {
        fs::write(victim.layer(0, "parent"), victim.layers[1].chain_id.to_string()).unwrap();
    };
    let victim = Victim::new();
    circle(&victim);
    assert!(victim.store().find_layer(victim.layers[1].chain_id).is_err());
}

#[test]
fn layers_that_docker_loads_and_cannot_use() {
    check(
        |victim| fs::remove_file(victim.layer(0, "tar-split.json.gz")).unwrap(),
        true,
        &["layer-tar-split-missing"],
    );
    let cut = |victim: &Victim| {
        let path = victim.layer(0, "tar-split.json.gz");
        let content = fs::read(&path).unwrap();
        fs::write(&path, &content[..content.len() / 2]).unwrap();
    };
    check(cut, true, &["layer-tar-split-damaged"]);
    check(|victim| fs::remove_dir_all(victim.cache(0, "diff")).unwrap(), true, &["layer-directory-missing"]);
    let link = |victim: &Victim, index| fs::read_to_string(victim.cache(index, "link")).unwrap();
    check(
        |victim| fs::remove_file(victim.root().join("overlay2/l").join(link(victim, 0))).unwrap(),
        true,
        &["layer-link"],
    );
    check(|victim| fs::remove_file(victim.cache(1, "lower")).unwrap(), true, &["layer-lower"]);
    check(|victim| fs::write(victim.cache(1, "lower"), "").unwrap(), true, &["layer-lower"]);
    check(|victim| fs::remove_file(victim.cache(1, "link")).unwrap(), true, &["layer-link-file"]);
    check(|victim| fs::write(victim.cache(1, "link"), "").unwrap(), true, &["layer-link-file"]);
    // After a power cut Docker's link files are empty; the layer above cannot be checked then either.
    check(
        |victim| fs::write(victim.cache(0, "link"), "").unwrap(),
        true,
        match chain_order() {
            true => &["layer-link-file", "layer-lower"],
            false => &["layer-lower", "layer-link-file"],
        },
    );
    check(
        |victim| fs::remove_dir_all(victim.cache(1, "")).unwrap(),
        true,
        &["layer-directory-missing", "layer-link-file", "layer-lower"],
    );
}

/// Findings come in the order of chain IDs; says whether the lower layer's is first.
fn chain_order() -> bool {
    let chains = crate::fixture::chains(&["a", "b"].map(Tar::of));
    chains[0] < chains[1]
}

#[test]
fn what_docker_does_not_mind_is_no_finding() {
    check(|victim| fs::remove_file(victim.cache(0, "committed")).unwrap(), true, &[]);
    for file in ["diff", "cache-id"] {
        check(|victim| victim.append(victim.layer(1, file), "\n"), true, &[]);
    }
    check(|victim| victim.append(victim.layer(1, "parent"), "\n"), true, &[]);
    let short = |victim: &Victim| {
        let id = "sqnpmfdc6inihxbssgym9vlw8";
        let link = fs::read_to_string(victim.cache(1, "link")).unwrap();
        let link = victim.root().join("overlay2/l").join(link);
        fs::rename(victim.cache(1, ""), victim.root().join("overlay2").join(id)).unwrap();
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(format!("../{id}/diff"), link).unwrap();
        fs::write(victim.layer(1, "cache-id"), id).unwrap();
    };
    check(short, true, &[]);
    let store = |victim: &Victim| open(victim.root());
    let foreign = |victim: &Victim| {
        for path in
            ["image/overlay2/layerdb/sha256/x", "image/overlay2/imagedb/content/sha256/x", "overlay2/x"]
        {
            fs::write(victim.root().join(path), "").unwrap();
        }
        drop(store(victim));
    };
    check(foreign, true, &[]);
}

#[test]
fn images_that_docker_skips() {
    check(
        |victim| victim.append(victim.content(), " "),
        false,
        // The name is there, and so is the image it names, though damaged.
        &["image-content"],
    );
    let parent = ImageId::new(Digest::sha256(b"gone"));
    check(
        |victim| {
            let directory =
                victim.root().join("image/overlay2/imagedb/metadata/sha256").join(victim.id.hex());
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("parent"), parent.to_string()).unwrap();
        },
        true,
        &["image-parent-missing"],
    );
}

#[test]
fn names_that_docker_does_not_find() {
    let names = |text: String| {
        move |victim: &Victim| {
            fs::write(victim.root().join("image/overlay2/repositories.json"), text).unwrap();
        }
    };
    let gone = ImageId::new(Digest::sha256(b"gone"));
    check(
        names(format!("{{\"Repositories\":{{\"a\":{{\"a:1\":\"{gone}\"}}}}}}")),
        true,
        &["name-without-image"],
    );
    check(
        names(format!("{{\"Repositories\":{{\"a\":{{\"docker.io/library/a:1\":\"{gone}\"}}}}}}")),
        true,
        &["name-not-familiar"],
    );
    check(names("null".to_owned()), true, &["names-damaged"]);
    check(names(String::new()), true, &["names-damaged"]);
}

#[test]
fn a_damaged_layer_is_replaced_by_publishing_it_again() {
    for file in ["size", "diff", "cache-id", "tar-split.json.gz"] {
        let victim = Victim::new();
        fs::remove_file(victim.layer(0, file)).unwrap();
        let store = victim.store();
        assert!(store.hold_layer(victim.layers[0].chain_id).unwrap_err().is_damage(), "{file}");
        let finished = vec![Tar::of("a").finish(&store)];
        drop(store.publish_layers(None, finished).unwrap());
        let image = store.image(victim.id).unwrap().unwrap();
        store.check_layer(&image.layers[0]).unwrap();
        if file == "cache-id" {
            // Nothing says any more which link the layer above means; it is found and published again too.
            assert!(store.hold_layer(victim.layers[1].chain_id).unwrap_err().is_damage());
            let finished = vec![Tar::of("b").finish(&store)];
            drop(store.publish_layers(Some(image.layers[0].chain_id), finished).unwrap());
        }
        store.gc(GcOptions { dry_run: false, downloads_before: std::time::SystemTime::UNIX_EPOCH }).unwrap();
        assert!(store.fsck().unwrap().is_empty(), "{file}: {:#?}", store.fsck().unwrap());
    }
}
