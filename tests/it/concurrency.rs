//! Many processes on one store: all succeed, nothing is downloaded twice, the result is that of a serial run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shale_tests::data_root::DataRoot;
use shale_tests::image::storage;
use shale_tests::peer::{Access, DockerRegistry, Shale};
use shale_tests::scratch::Scratch;
use shale_tests::tree::Compare;

const NAMES: [&str; 8] = [
    "busybox",
    "whiteouts",
    "hard-links",
    "special-files",
    "many-layers",
    "same-layer-twice",
    "empty-layer",
    "debian",
];

#[test]
fn eight_pulls_beside_rmi_gc_fsck_and_images_are_one_serial_run() {
    let scratch = Scratch::new("many");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let references: Vec<String> =
        NAMES.iter().map(|name| format!("{}/images/{name}:1", registry.host())).collect();
    let shale = Shale::new(&scratch.folder("shale"));
    let victim = format!("{}/images/times-and-xattrs:1", registry.host());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pulls: Vec<_> = references
            .iter()
            .map(|reference| scope.spawn(|| shale.shale(&["pull", "--quiet", reference])))
            .collect();
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                shale.shale(&["images", "--all"]);
                shale.shale(&["gc"]);
            }
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                shale.shale(&["fsck"]);
            }
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                shale.shale(&["pull", "--quiet", &victim]);
                shale.shale(&["rmi", &victim]);
            }
        });
        let outcomes: Vec<_> = pulls.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::SeqCst);
        assert!(outcomes.iter().all(Result::is_ok), "a pull failed");
    });
    let mut downloads: BTreeMap<String, usize> = BTreeMap::new();
    for line in registry.requests("GET", "/blobs/") {
        let digest = line.split("/blobs/").nth(1).and_then(|rest| rest.split_whitespace().next());
        *downloads.entry(digest.unwrap_or_default().to_owned()).or_default() += 1;
    }
    shale.shale(&["gc"]);

    let serial = Shale::new(&scratch.folder("serial"));
    for reference in &references {
        serial.shale(&["pull", "--quiet", reference]);
    }
    let (together, alone) = (DataRoot::read(shale.data_root()), DataRoot::read(serial.data_root()));
    assert_eq!(together.leftovers, Vec::<String>::new());
    assert_eq!(together.configs, alone.configs);
    assert_eq!(together.repositories, alone.repositories);
    for (chain, layer) in &alone.layers {
        let ours = together.layers.get(chain).unwrap_or_else(|| panic!("layer {chain} is missing"));
        let difference =
            shale_tests::data_root::layer_differences(chain, ours, layer, Compare { times: true });
        assert_eq!(difference, Vec::<String>::new());
    }
    // What the victim alone has is fetched each time anew; everything else once, by whoever came first.
    let blobs = together.diff_ids.keys().filter(|digest| alone.diff_ids.contains_key(*digest));
    for digest in blobs {
        let count = downloads.get(&format!("sha256:{digest}")).copied().unwrap_or(0);
        assert_eq!(count, 1, "downloads of {digest}");
    }
    assert!(shale.run(&["fsck"]).is_success());
}

/// How long every command runs beside every other.
const LOOPS: Duration = Duration::from_secs(20);

/// What a command may say when another one has taken the image away, or not made it yet.
const GONE: [&str; 4] = [
    "No such image",
    "does not exist locally with the tag",
    "tag does not exist",
    "reference does not exist",
];

/// Only that an image is not there may stop a command; nothing is half there, and nothing is left.
///
/// `container prune` is not among them: as with docker it takes containers between their making and their start.
#[test]
fn every_command_goes_beside_every_other() {
    let scratch = Scratch::new("all");
    let source = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let target = DockerRegistry::start(&scratch.folder("t"), Access::Open);
    let shale = Shale::new(&scratch.folder("shale"));
    let [busybox, whiteouts, names, zstd] =
        ["busybox", "whiteouts", "names", "zstd"].map(|name| format!("{}/images/{name}:1", source.host()));
    let pushed = format!("{}/raced:1", target.host());
    let path = |name: &str| scratch.path().join(name).to_str().expect("scratch paths are text").to_owned();
    let (archive, saved, tar, context) = (path("w.tar"), path("o.tar"), path("e.tar"), path("context"));
    shale.shale(&["pull", "--quiet", &whiteouts]);
    shale.shale(&["pull", "--quiet", &busybox]);
    shale.shale(&["save", "-o", &archive, &whiteouts]);
    fs::write(&tar, [0; 1024]).expect("the disk takes it");
    fs::create_dir(&context).expect("the scratch directory is ours");
    let dockerfile = format!("FROM {busybox}\nRUN echo > /made\nCOPY Dockerfile /\n");
    fs::write(Path::new(&context).join("Dockerfile"), dockerfile).expect("the disk takes it");
    let loops: [&[&str]; 23] = [
        &["pull", &whiteouts],
        &["pull", &names],
        &["pull", &zstd],
        &["rmi", "-f", &whiteouts],
        &["rmi", "-f", &names],
        &["rmi", "-f", &zstd],
        &["image", "prune", "-f"],
        &["gc"],
        &["fsck"],
        &["load", "-i", &archive],
        &["save", "-o", &saved, &whiteouts],
        &["import", &tar, "raced/imported:1"],
        &["tag", &whiteouts, &pushed],
        &["push", &pushed],
        &["build", "--network", "none", "-t", "raced/built:1", &context],
        &["build", "--network", "none", "--no-cache", "-t", "raced/new:1", &context],
        &["run", "--rm", "--network", "none", &busybox, "sh", "-c", ":"],
        &["images", "-a", "--digests"],
        &["images", "--tree"],
        &["history", &names],
        &["diff", &whiteouts, &zstd],
        &["system", "df", "-v"],
        &["ps", "-a"],
    ];
    let end = Instant::now() + LOOPS;
    std::thread::scope(|scope| {
        for words in loops {
            scope.spawn(|| {
                while Instant::now() < end {
                    let finished = shale.run(words);
                    let is_gone = |line: &str| GONE.iter().any(|gone| line.contains(gone));
                    let may_fail = finished.code() < 126 && finished.stderr.lines().any(is_gone);
                    assert!(finished.is_success() || may_fail, "{}", finished.describe());
                }
            });
        }
    });
    shale.shale(&["container", "prune", "-f"]);
    assert_eq!(shale.shale(&["gc"]), "Total reclaimed space: 0B\n");
    shale.shale(&["fsck"]);
}
