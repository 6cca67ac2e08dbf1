//! `fsck`: the damages of `fixtures/docker/*/damage-probe.txt` made on dockerd's own roots, and their repair.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::SystemTime;

use shale_engine::check::repair::Repaired;
use shale_engine::check::{CheckReport, Severity};
use shale_engine::images::remove::Remove;
use shale_engine::progress::{Progress, Silent};
use shale_engine::{Access, Engine};
use shale_oci::Reference;
use shale_registry_client::{Client, ClientOptions, Proxies, Retries};
use shale_testkit::bad_registry::BadRegistry;
use shale_testkit::image::{Flavour, ImageBuilder, LayerBuilder};

use crate::golden::extract;

/// The image that was pulled by digest: one layer, no container, no child.
const PULLED: &str = "204a8746149a684e099230782d82c9d8ffd0b95f24e8635c9bca9e6359c343ce";
const PULLED_CHAIN: &str = "8c0959704bfc68e7cb20334e6c3eed36656328f5643e25d804e77bf6716cad36";
/// The top layer of fx/app:1, which has three below it.
const APP_CHAIN: &str = "7423f9463fd0a069b298f85aab129316d3275d8991383a06d35e312b4be9bf3c";

/// A root of dockerd 20.10 to be damaged.
struct Victim {
    root: PathBuf,
    _directory: tempfile::TempDir,
}

impl Victim {
    fn new() -> Victim {
        let directory = tempfile::tempdir().unwrap();
        Victim { root: extract("20.10.24", directory.path()), _directory: directory }
    }

    fn layer(&self, chain: &str, file: &str) -> PathBuf {
        self.root.join("image/overlay2/layerdb/sha256").join(chain).join(file)
    }

    fn cache(&self, chain: &str, file: &str) -> PathBuf {
        let cache_id = fs::read_to_string(self.layer(chain, "cache-id")).unwrap();
        self.root.join("overlay2").join(cache_id).join(file)
    }

    fn images(&self, file: &str) -> PathBuf {
        self.root.join("image/overlay2").join(file)
    }
}

fn check_root(root: &Path) -> CheckReport {
    Engine::open_to_check(root, Access::Read).unwrap().check(&|_| ()).unwrap()
}

/// The callback stands for another process that removes images while the largest layer is read.
#[test]
fn a_layer_that_is_removed_meanwhile_is_not_damaged() {
    let victim = Victim::new();
    let engine = Engine::open_to_check(&victim.root, Access::Write).unwrap();
    let other = Engine::open(&victim.root).unwrap();
    let once = Once::new();
    let remove_all = || {
        for image in other.store().image_ids().unwrap() {
            let _ = other.remove(&image.to_string(), Remove { force: true, prune: true });
        }
    };
    let report = engine.check(&|_| once.call_once(remove_all)).unwrap();
    assert_ne!(other.store().layers().unwrap().len(), report.layers, "some layers went");
    assert_eq!(codes(&report), Vec::<&str>::new());
}

fn codes(report: &CheckReport) -> Vec<&'static str> {
    let serious = report.problems.iter().filter(|problem| problem.severity > Severity::Leftover);
    let mut codes: Vec<_> = serious.map(|problem| problem.code).collect();
    codes.dedup();
    codes
}

#[track_caller]
fn check(damage: impl FnOnce(&Victim), expected: &[&str]) {
    let victim = Victim::new();
    damage(&victim);
    let report = check_root(&victim.root);
    assert_eq!(codes(&report), expected, "{:#?}", report.problems);
    assert_eq!(report.is_sound(), expected.is_empty());
    for problem in &report.problems {
        assert!(!problem.what.is_empty() && !problem.consequence.is_empty() && !problem.advice.is_empty());
    }
}

fn append(path: PathBuf, text: &str) {
    let content = fs::read_to_string(&path).unwrap() + text;
    fs::write(path, content).unwrap();
}

#[test]
fn roots_of_docker_are_sound_and_every_file_is_read() {
    for version in ["20.10.24", "28.5.2"] {
        let directory = tempfile::tempdir().unwrap();
        let root = extract(version, directory.path());
        let report = check_root(&root);
        assert!(report.problems.is_empty(), "{version}: {:#?}", report.problems);
        assert_eq!((report.images, report.layers, report.content_bytes), (7, 5, 1_982_607));
    }
}

#[test]
fn layers_that_docker_does_not_load() {
    let damaged = |code| ["image-layer-damaged", code];
    let layer = |victim: &Victim, file: &str| victim.layer(PULLED_CHAIN, file);
    // nosize, size_nl, baddigest, cacheid_empty, nolayer
    check(|victim| fs::remove_file(layer(victim, "size")).unwrap(), &damaged("layer-size"));
    check(|victim| append(layer(victim, "size"), "\n"), &damaged("layer-size"));
    check(|victim| fs::write(layer(victim, "diff"), "sha256:zz").unwrap(), &damaged("layer-diff-id"));
    check(|victim| fs::write(layer(victim, "cache-id"), "").unwrap(), &damaged("layer-cache-id"));
    check(|victim| fs::write(layer(victim, "descriptor.json"), "{").unwrap(), &damaged("layer-descriptor"));
    check(|victim| fs::remove_dir_all(layer(victim, "")).unwrap(), &["image-layer-missing"]);
}

fn replace_by_pipe(path: PathBuf) {
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

#[test]
fn a_pipe_in_place_of_a_file_is_damage_and_nobody_waits_for_it() {
    let damaged = |code| ["image-layer-damaged", code];
    let layer = |victim: &Victim, file: &str| victim.layer(PULLED_CHAIN, file);
    check(|victim| replace_by_pipe(layer(victim, "size")), &damaged("layer-size"));
    check(|victim| replace_by_pipe(layer(victim, "diff")), &damaged("layer-diff-id"));
    check(|victim| replace_by_pipe(layer(victim, "cache-id")), &damaged("layer-cache-id"));
    check(|victim| replace_by_pipe(layer(victim, "tar-split.json.gz")), &["layer-tar-split-missing"]);
    check(|victim| replace_by_pipe(victim.images("imagedb/content/sha256").join(PULLED)), &["image-content"]);
    check(|victim| replace_by_pipe(victim.images("repositories.json")), &["names-damaged"]);
    // Without an end, too.
    check(
        |victim| {
            fs::remove_file(layer(victim, "size")).unwrap();
            std::os::unix::fs::symlink("/dev/zero", layer(victim, "size")).unwrap();
        },
        &["image-unreadable", "layer-unreadable"],
    );
}

#[test]
fn layers_that_docker_loads_and_cannot_use() {
    // notarsplit, badtarsplit
    check(
        |victim| fs::remove_file(victim.layer(PULLED_CHAIN, "tar-split.json.gz")).unwrap(),
        &["layer-tar-split-missing"],
    );
    let cut = |victim: &Victim| {
        let path = victim.layer(PULLED_CHAIN, "tar-split.json.gz");
        let content = fs::read(&path).unwrap();
        fs::write(path, &content[..content.len() / 2]).unwrap();
    };
    check(cut, &["layer-tar-split-damaged"]);
    // nodiffdir, emptyoverlay
    let missing = &["layer-directory-missing"];
    check(|victim| fs::remove_dir_all(victim.cache(PULLED_CHAIN, "diff")).unwrap(), missing);
    check(
        |victim| fs::remove_dir_all(victim.cache(PULLED_CHAIN, "")).unwrap(),
        &["layer-directory-missing", "layer-link-file"],
    );
    // nolinksym, nolinkfile, nolower
    let unlink = |victim: &Victim| {
        let link = fs::read_to_string(victim.cache(PULLED_CHAIN, "link")).unwrap();
        fs::remove_file(victim.root.join("overlay2/l").join(link)).unwrap();
    };
    check(unlink, &["layer-link"]);
    check(|victim| fs::remove_file(victim.cache(PULLED_CHAIN, "link")).unwrap(), &["layer-link-file"]);
    check(|victim| fs::remove_file(victim.cache(APP_CHAIN, "lower")).unwrap(), &["layer-lower"]);
}

#[test]
fn damage_that_only_reading_the_files_shows() {
    // diffwrong: another content of the same length, another length, no file, another kind of file
    let file = |victim: &Victim| victim.cache(PULLED_CHAIN, "diff/hello");
    check(|victim| fs::write(file(victim), "XXXXXX").unwrap(), &["layer-content"]);
    check(|victim| fs::write(file(victim), "hello, world\n").unwrap(), &["layer-content"]);
    check(|victim| fs::remove_file(file(victim)).unwrap(), &["layer-content"]);
    let replace = |victim: &Victim| {
        fs::remove_file(file(victim)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", file(victim)).unwrap();
    };
    check(replace, &["layer-content"]);
    // A layer that verifies in itself, under the name of another.
    let swap = |victim: &Victim| {
        let (from, to) =
            (victim.layer(APP_CHAIN, "tar-split.json.gz"), victim.layer(PULLED_CHAIN, "tar-split.json.gz"));
        fs::copy(from, to).unwrap();
    };
    check(swap, &["layer-content"]);
    let empty = |victim: &Victim| {
        // What gzip makes of nothing: a record without a line.
        let gzip: &[u8] = &[31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        fs::write(victim.layer(PULLED_CHAIN, "tar-split.json.gz"), gzip).unwrap();
    };
    check(empty, &["layer-content-digest"]);
}

#[test]
fn images_and_names() {
    let content = |victim: &Victim| victim.images(&format!("imagedb/content/sha256/{PULLED}"));
    // badimg, refmissing, parentmissing, and names that dockerd does not start on
    check(|victim| append(content(victim), "\n"), &["image-content"]);
    let edit = |victim: &Victim, from: &str, to: &str| {
        let path = victim.images("repositories.json");
        fs::write(&path, fs::read_to_string(&path).unwrap().replacen(from, to, 1)).unwrap();
    };
    check(
        |victim| edit(victim, "\"fx/base:1\":\"sha256:7", "\"fx/base:1\":\"sha256:8"),
        &["name-without-image"],
    );
    check(
        |victim| edit(victim, "\"fx/base\":{\"fx/base:1\"", "\"fx/base\":{\"docker.io/fx/base:1\""),
        &["name-not-familiar"],
    );
    check(|victim| fs::write(victim.images("repositories.json"), "").unwrap(), &["names-damaged"]);
    let orphan = |victim: &Victim| {
        let metadata = victim.images(&format!("imagedb/metadata/sha256/{PULLED}"));
        fs::create_dir_all(&metadata).unwrap();
        fs::write(metadata.join("parent"), format!("sha256:{}", "ab".repeat(32))).unwrap();
    };
    check(orphan, &["image-parent-missing"]);
}

#[test]
fn what_docker_does_not_mind_is_no_damage() {
    // nocommitted, cacheid_short, descr, imgnewline's like: white space around a diff ID
    check(
        |victim| {
            let bottom = "2a618d007ab312722ac37b36490554e0c658a1fd597559ebce9a93b5eb2cda5f";
            fs::remove_file(victim.cache(bottom, "committed")).unwrap();
        },
        &[],
    );
    let short = |victim: &Victim| {
        let link = fs::read_to_string(victim.cache(PULLED_CHAIN, "link")).unwrap();
        fs::rename(victim.cache(PULLED_CHAIN, ""), victim.root.join("overlay2/abc")).unwrap();
        fs::write(victim.layer(PULLED_CHAIN, "cache-id"), "abc").unwrap();
        let symlink = victim.root.join("overlay2/l").join(link);
        fs::remove_file(&symlink).unwrap();
        std::os::unix::fs::symlink("../abc/diff", symlink).unwrap();
    };
    check(short, &[]);
    check(|victim| append(victim.layer(PULLED_CHAIN, "diff"), "\n"), &[]);
    check(|victim| fs::write(victim.layer(PULLED_CHAIN, "descriptor.json"), "{\"size\":1}").unwrap(), &[]);
}

/// A store that pulled an image of three layers from a registry that runs as long as this value.
struct Pulled {
    registry: Option<BadRegistry>,
    root: tempfile::TempDir,
    reference: Reference,
    runtime: tokio::runtime::Runtime,
}

impl Pulled {
    fn new() -> Pulled {
        let layers =
            ["one", "two", "three"].map(|name| LayerBuilder::new().file(name, 0o644, name.as_bytes()));
        let image = layers.into_iter().fold(ImageBuilder::new(Flavour::Oci), ImageBuilder::layer).build();
        let registry = BadRegistry::start_with("good", image);
        let reference = Reference::parse(&format!("{}/app/web:latest", registry.host())).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let root = tempfile::tempdir().unwrap();
        let pulled = Pulled { registry: Some(registry), root, reference, runtime };
        let engine = Engine::open(pulled.root.path()).unwrap();
        let silent: Arc<dyn Progress> = Arc::new(Silent);
        pulled.runtime.block_on(engine.pull(&client(), &pulled.reference, None, &silent)).unwrap();
        pulled
    }

    /// Returns the path of the file that layer `index` holds.
    fn file(&self, index: usize) -> PathBuf {
        let engine = Engine::open_to_look(self.root.path()).unwrap();
        let image = engine.load_image(&self.reference.familiar()).unwrap();
        engine.store().layer_diff_path(&image.layers[index]).join(["one", "two", "three"][index])
    }

    fn repair(&self) -> (CheckReport, Repaired, CheckReport) {
        let engine = Engine::open_to_check(self.root.path(), Access::Write).unwrap();
        let before = engine.check(&|_| ()).unwrap();
        let silent: Arc<dyn Progress> = Arc::new(Silent);
        let client = client();
        let repair = engine.repair(&client, &before, &silent, SystemTime::now());
        let repaired = self.runtime.block_on(repair);
        (before, repaired, engine.check(&|_| ()).unwrap())
    }
}

pub fn client() -> Client {
    let retries = Retries { attempts_max: 1, ..ClientOptions::default().retries };
    Client::new(ClientOptions {
        certs_d: Vec::new(),
        proxies: Proxies::None,
        retries,
        ..ClientOptions::default()
    })
    .unwrap()
}

#[test]
fn a_layer_with_a_changed_file_is_fetched_again_and_those_above_stay() {
    let pulled = Pulled::new();
    let above = pulled.file(2);
    fs::write(pulled.file(0), "eno").unwrap();
    let (before, repaired, after) = pulled.repair();
    assert_eq!(codes(&before), ["layer-content"]);
    assert!(
        before.problems[0]
            .what
            .ends_with("1 of its files is not as recorded: one (file integrity checksum failed)"),
        "{}",
        before.problems[0].what
    );
    assert_eq!((repaired.fetched.len(), &repaired.failed[..]), (1, &[][..]));
    assert!(after.problems.is_empty(), "{:#?}", after.problems);
    assert_eq!(fs::read_to_string(pulled.file(0)).unwrap(), "one");
    assert_eq!(pulled.file(2), above, "a sound layer is not replaced");
}

#[test]
fn a_damaged_config_and_missing_files_are_fetched_again() {
    let pulled = Pulled::new();
    let id = Engine::open_to_look(pulled.root.path())
        .unwrap()
        .find_image(&pulled.reference.familiar())
        .unwrap()
        .id;
    let content = pulled.root.path().join("image/overlay2/imagedb/content/sha256").join(id.hex());
    let config = fs::read_to_string(&content).unwrap();
    fs::remove_file(pulled.file(1)).unwrap();
    fs::write(&content, config.replacen("linux", "xunil", 1)).unwrap();
    let (before, repaired, after) = pulled.repair();
    assert_eq!(codes(&before), ["image-content", "layer-content"]);
    assert_eq!(repaired.failed, []);
    assert!(after.problems.is_empty(), "{:#?}", after.problems);
    assert_eq!(fs::read_to_string(&content).unwrap(), config);
    assert_eq!(fs::read_to_string(pulled.file(1)).unwrap(), "two");
}

/// Each of them was left as it was by a repair at some time.
#[test]
fn one_repair_is_enough() {
    let second = |pulled: &Pulled| {
        let engine = Engine::open_to_look(pulled.root.path()).unwrap();
        let image = engine.load_image(&pulled.reference.familiar()).unwrap();
        let layers = pulled.root.path().join("image/overlay2/layerdb/sha256");
        layers.join(image.layers[1].chain_id.hex())
    };
    let replace_by_loop = |path: PathBuf| {
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink("loop", path.with_file_name("loop")).unwrap();
        std::os::unix::fs::symlink("loop", path).unwrap();
    };
    let replace_by_directory = |path: PathBuf| {
        fs::remove_file(&path).unwrap();
        fs::create_dir(path).unwrap();
    };
    let damages: [&dyn Fn(&Pulled); 8] = [
        // The layer gets another directory, which the third one has to name.
        &|pulled| fs::write(second(pulled).join("cache-id"), "").unwrap(),
        &|pulled| fs::remove_file(second(pulled).join("parent")).unwrap(),
        &|pulled| replace_by_loop(second(pulled).join("diff")),
        &|pulled| replace_by_loop(pulled.file(1).ancestors().nth(2).unwrap().join("lower")),
        &|pulled| replace_by_directory(second(pulled).join("diff")),
        &|pulled| replace_by_directory(pulled.file(1).ancestors().nth(2).unwrap().join("link")),
        &|pulled| {
            let link = pulled.file(1).ancestors().nth(2).unwrap().join("link");
            let link = fs::read_to_string(link).unwrap();
            replace_by_directory(pulled.root.path().join("overlay2/l").join(link));
        },
        // A name is left, which has a digest.
        &|pulled| {
            let contents = pulled.root.path().join("image/overlay2/imagedb/content/sha256");
            fs::remove_dir_all(&contents).unwrap();
            fs::create_dir(contents).unwrap();
        },
    ];
    for (index, damage) in damages.iter().enumerate() {
        let pulled = Pulled::new();
        damage(&pulled);
        let (before, repaired, after) = pulled.repair();
        assert!(!before.is_sound(), "{index}");
        assert_eq!((&repaired.failed[..], &repaired.failures[..]), (&[][..], &[][..]), "{index}");
        assert!(after.is_sound(), "{index}: {:#?}", after.problems);
    }
}

#[test]
fn what_is_no_directory_is_told_alone() {
    for directory in [
        "image/overlay2/distribution",
        "image/overlay2/imagedb/content/sha256",
        "image/overlay2/layerdb/mounts",
        "containers",
        "shale",
        "shale/leases",
    ] {
        let victim = Victim::new();
        let path = victim.root.join(directory);
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(codes(&check_root(&victim.root)), ["directory-damaged"], "{directory}");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(path.file_name().unwrap(), &path).unwrap();
        assert_eq!(codes(&check_root(&victim.root)), ["directory-damaged"], "{directory}");
    }
}

#[test]
fn links_are_mended_without_a_registry() {
    let mut pulled = Pulled::new();
    pulled.registry = None;
    let directory = |index: usize| pulled.file(index).ancestors().nth(2).unwrap().to_owned();
    let link = fs::read_to_string(directory(0).join("link")).unwrap();
    let second = fs::read_to_string(directory(1).join("link")).unwrap();
    fs::remove_file(directory(0).join("link")).unwrap();
    fs::remove_file(pulled.root.path().join("overlay2/l").join(second)).unwrap();
    fs::write(directory(2).join("lower"), "l/NONSENSE").unwrap();
    let (before, repaired, after) = pulled.repair();
    assert!(!before.is_sound());
    assert_eq!(repaired.relinked.len(), 3);
    assert_eq!(repaired.failed, []);
    assert!(after.problems.is_empty(), "{:#?}", after.problems);
    assert_eq!(
        fs::read_to_string(directory(0).join("link")).unwrap(),
        link,
        "the layers above name the old one"
    );
}

#[test]
fn without_the_registry_the_damage_stays_and_is_still_told() {
    let mut pulled = Pulled::new();
    pulled.registry = None;
    fs::write(pulled.file(0), "eno").unwrap();
    let (_, repaired, after) = pulled.repair();
    assert_eq!(repaired.fetched, []);
    assert!(!repaired.failed[0].1.is_empty());
    assert_eq!(codes(&after), ["layer-content"], "the layer's record is back, so the same damage is found");
}

/// Something that may befall a file, a link or a directory.
fn befall(kind: usize, path: &Path) {
    let is_directory = fs::symlink_metadata(path).unwrap().is_dir();
    let remove = || match is_directory {
        true => fs::remove_dir_all(path).unwrap(),
        false => fs::remove_file(path).unwrap(),
    };
    let rewrite = |change: fn(Vec<u8>) -> Vec<u8>| match fs::symlink_metadata(path).unwrap().is_file() {
        true => fs::write(path, change(fs::read(path).unwrap())).unwrap(),
        false => remove(),
    };
    match kind {
        0 => remove(),
        1 => rewrite(|content| content[..content.len() / 2].to_vec()),
        2 => rewrite(|mut content| {
            let middle = content.len() / 2;
            content.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 0x21);
            content
        }),
        3 => rewrite(|_| Vec::new()),
        4 => rewrite(|_| b"garbage\n".to_vec()),
        5 => {
            remove();
            fs::create_dir(path).unwrap();
        }
        6 if !is_directory => replace_by_pipe(path.to_owned()),
        7 => {
            remove();
            std::os::unix::fs::symlink(path.file_name().unwrap(), path).unwrap();
        }
        8 => {
            remove();
            std::os::unix::fs::symlink("/nonexistent/place", path).unwrap();
        }
        _ => {
            remove();
            fs::write(path, "").unwrap();
        }
    }
}

const KINDS: usize = 10;

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            walk(&path, found);
        }
        found.push(path);
    }
}

/// Whatever befalls one thing of a store: what is left of it is told, and one repair is enough, unless a person has to put
/// a directory or the names back.
#[test]
fn each_thing_of_a_store_may_be_damaged_in_each_way() {
    let pulled = Pulled::new();
    let names = {
        let mut found = Vec::new();
        walk(pulled.root.path(), &mut found);
        found.retain(|path| !path.ends_with("shale/lock"));
        found.sort_unstable();
        found
    };
    let sound = pulled.root.path().with_extension("sound");
    let copy = |from: &Path, to: &Path| {
        let _ = fs::remove_dir_all(to);
        let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(copied.success());
    };
    copy(pulled.root.path(), &sound);
    let mut by_a_person = 0;
    for (index, path) in names.iter().enumerate() {
        for kind in 0..KINDS {
            copy(&sound, pulled.root.path());
            befall(kind, path);
            let case = format!("kind {kind} of {} ({index})", path.display());
            let report = check_root(pulled.root.path());
            let Ok(engine) = Engine::open_to_check(pulled.root.path(), Access::Write) else {
                assert!(!report.is_sound(), "{case}: it is said to be sound and cannot be opened");
                by_a_person += 1;
                continue;
            };
            let silent: Arc<dyn Progress> = Arc::new(Silent);
            let client = client();
            let repaired =
                pulled.runtime.block_on(engine.repair(&client, &report, &silent, SystemTime::now()));
            let after = engine.check(&|_| ()).unwrap();
            let person = ["directory-damaged", "names-damaged"];
            match codes(&report).iter().any(|code| person.contains(code)) {
                true => by_a_person += 1,
                false => assert!(after.is_sound(), "{case}: {repaired:#?} {:#?}", after.problems),
            }
        }
    }
    fs::remove_dir_all(sound).unwrap();
    assert!(by_a_person < names.len() * KINDS / 4, "{by_a_person} of {}", names.len() * KINDS);
}
