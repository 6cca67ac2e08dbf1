//! Many processes on one store: all succeed, nothing is downloaded twice, the result is that of a serial run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

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
