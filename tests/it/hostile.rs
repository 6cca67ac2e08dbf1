//! Every case of `fixtures/hostile` through the program: the right verdict, and nothing outside the root is touched.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use shale_tests::data_root::DataRoot;
use shale_tests::disk::Disk;
use shale_tests::peer::{Body, Shale, StaticRegistry};
use shale_tests::program::{Bounded, run_bounded, shell};
use shale_tests::scratch::{Scratch, unmount_below};
use shale_tests::tree::{self, Compare, Listing};
use shale_tests::{fixtures, sha256_hex};

/// Time for one case; the slowest honest one unpacks 100,000 files in an unoptimised build.
const TIME_MAX: Duration = Duration::from_secs(120);

/// Memory for one case, in an unoptimised build.
const MEMORY_MAX_KIB: u64 = 160 * 1024;

/// Bytes that a refused image may leave: locks and empty indexes, no part of it.
const RESIDUE_MAX_BYTES: u64 = 64 * 1024;

const REPOSITORY: &str = "hostile/case";

#[test]
fn each_case_has_the_right_verdict_and_stays_inside() {
    let canary = Canary::lock();
    let scratch = Scratch::new("hostile");
    // A bomb fills this file system and not the machine's.
    let disk = Disk::make(scratch.path(), "disk", "3G", &[]);
    let good = Good::unpack(&scratch);
    let cases: Value = serde_json::from_slice(&corpus("cases.json")).expect("the index is JSON");
    let cases = cases.as_array().expect("the index is a list");
    assert!(cases.len() >= 213, "only {} cases", cases.len());
    let only = std::env::var("SHALE_TEST_CASE").unwrap_or_default();
    let mut failures = Vec::new();
    for case in cases.iter().filter(|case| text(case, "id").contains(&only)) {
        let id = text(case, "id");
        let work = disk.path().join(id);
        fs::create_dir_all(&work).expect("the disk is ours");
        let complaints = judge(case, &work, &canary, &good);
        failures.extend(
            complaints.into_iter().map(|complaint| {
                format!("{id} ({}: {}): {complaint}", text(case, "rule"), text(case, "right"))
            }),
        );
        unmount_below(&work);
        fs::remove_dir_all(&work).expect("the disk is ours");
    }
    assert!(failures.is_empty(), "{} complaints:\n{}", failures.len(), failures.join("\n"));
}

fn judge(case: &Value, work: &Path, canary: &Canary, good: &Good) -> Vec<String> {
    let shale = Shale::new(work);
    canary.reset();
    let before = canary.listing();
    let evil = StaticRegistry::start();
    let (outcome, requests) = offer(case, &shale, good, &evil);
    let mut complaints = Vec::new();
    if canary.listing() != before {
        complaints.push(format!("the canary changed: {:?}", tree::differences(&before, &canary.listing())));
    }
    if !evil.requests().is_empty() {
        complaints.push(format!("asked a host that it was not sent to: {:?}", evil.requests()));
    }
    let finished = &outcome.finished;
    if finished.code() >= 126 || finished.code() == 101 {
        complaints.push(format!("after {:?}: {}", outcome.elapsed, finished.describe()));
    }
    if outcome.peak_kib > MEMORY_MAX_KIB {
        complaints.push(format!("used {} KiB", outcome.peak_kib));
    }
    let is_accepted = finished.is_success();
    match text(case, "rule") {
        "ok" if !is_accepted => complaints.push(format!("was refused: {}", finished.stderr)),
        "reject" if is_accepted => complaints.push("was accepted".to_owned()),
        _ => {}
    }
    let root = DataRoot::read(shale.data_root());
    complaints.extend(root.leftovers.iter().map(|name| format!("left over: {name}")));
    if is_accepted {
        complaints.extend(tree_complaint(case, &shale, &root));
    } else {
        if !root.configs.is_empty() || !root.layers.is_empty() {
            complaints.push(format!("refused, but {} layers stay", root.layers.len()));
        }
        let residue = tree::size_bytes(shale.data_root());
        if residue > RESIDUE_MAX_BYTES {
            complaints.push(format!("refused, but {residue} bytes stay"));
        }
        if finished.stderr.trim().is_empty() {
            complaints.push("refused without a word".to_owned());
        }
        if finished.stderr.chars().any(|c| c.is_control() && c != '\n' && c != '\t' && c != '\r') {
            complaints.push(format!("control characters in the message: {:?}", finished.stderr));
        }
    }
    if requests > 200 {
        complaints.push(format!("{requests} requests"));
    }
    complaints
}

/// Hands the case to `pull` or `load`; the outcome and the number of requests.
fn offer(case: &Value, shale: &Shale, good: &Good, evil: &StaticRegistry) -> (Bounded, usize) {
    let files: Vec<&str> = case["files"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if let [archive] = files.as_slice()
        && archive.starts_with("archives/")
    {
        let path = fixtures().join("hostile").join(archive);
        let path = path.to_str().expect("the repository's path is text");
        return (run_bounded(&mut shale.command(&["load", "-i", path]), TIME_MAX), 0);
    }
    let registry = StaticRegistry::start();
    let mut reference = format!("{}/{REPOSITORY}:1", registry.host());
    good.serve(&registry);
    if files.iter().any(|file| file.starts_with("json/")) {
        for file in &files {
            let bytes = corpus(file);
            if file.ends_with(".config.json") {
                registry.put_blob(REPOSITORY, &digest(&bytes), Body::Bytes(bytes));
                continue;
            }
            let manifest = with_evil_port(&bytes, evil);
            let media_type =
                case["content_type"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json");
            registry.put_manifest(REPOSITORY, "1", media_type, &manifest);
            if let Some(digest) = case["bydigest"].as_str() {
                registry.put_manifest(REPOSITORY, digest, media_type, &manifest);
                reference = format!("{}/{REPOSITORY}@{digest}", registry.host());
            }
        }
        match text(case, "id") {
            "J02-layer-bytes" => {
                let other = vec![b'x'; good.layer.len()];
                registry.put_blob(REPOSITORY, &digest(&good.layer), Body::Bytes(other));
            }
            "J03-layer-swap" => {
                let other = corpus("layers/T11-dots-slashes.tar.gz");
                registry.put_blob(REPOSITORY, &digest(&good.layer), Body::Bytes(other));
            }
            _ => {}
        }
    } else {
        serve_layers(case, &files, &registry);
    }
    let outcome = run_bounded(&mut shale.command(&["pull", &reference]), TIME_MAX);
    (outcome, registry.requests().len())
}

/// Serves an image of the case's layers with an honest config and manifest.
fn serve_layers(case: &Value, files: &[&str], registry: &StaticRegistry) {
    let mut files = files.to_vec();
    let mut diff_ids: Vec<String> = case["diff_ids"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let mut media: Vec<&str> =
        case["media"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match text(case, "id") {
        "J58-layers-10k" => files = vec!["layers/T11-dots-slashes.tar.gz"; 10_000],
        "C34-dir-bomb" => files = vec!["layers/C33-bz2-bomb-4G.tar"; 5],
        _ => {}
    }
    if media.len() != files.len() {
        media = vec!["application/vnd.oci.image.layer.v1.tar+gzip"; files.len()];
    }
    diff_ids.resize(files.len(), format!("sha256:{}", "0".repeat(64)));
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string().into_bytes();
    let mut known: BTreeMap<&str, (String, usize)> = BTreeMap::new();
    let mut layers = Vec::new();
    for (file, media_type) in files.iter().zip(media) {
        let (digest, size) = known.entry(file).or_insert_with(|| {
            let bytes = corpus(file);
            let (digest, size) = (digest(&bytes), bytes.len());
            registry.put_blob(REPOSITORY, &digest, Body::Bytes(bytes));
            (digest, size)
        });
        layers.push(json!({"mediaType": media_type, "digest": digest, "size": size}));
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(&config),
            "size": config.len(),
        },
        "layers": layers,
    });
    registry.put_blob(REPOSITORY, &digest(&config), Body::Bytes(config));
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    registry.put_manifest(REPOSITORY, "1", media_type, manifest.to_string().as_bytes());
}

fn with_evil_port(manifest: &[u8], evil: &StaticRegistry) -> Vec<u8> {
    const MARK: &[u8] = b"127.0.0.1:{EVIL}";
    match manifest.windows(MARK.len()).position(|window| window == MARK) {
        Some(at) => [&manifest[..at], evil.host().as_bytes(), &manifest[at + MARK.len()..]].concat(),
        None => manifest.to_vec(),
    }
}

/// Compares the image as a container would see it with the case's `tree`, where there is one.
///
/// The root's own line is left out: Docker's store takes nothing from an entry for the root, see `Unpack::root_entry`.
fn tree_complaint(case: &Value, shale: &Shale, root: &DataRoot) -> Option<String> {
    let expected = case["tree"].as_array()?.iter().filter_map(Value::as_str);
    let expected: Vec<&str> = expected.filter(|line| !line.starts_with(". d ")).collect();
    let mut diffs: Vec<(usize, &PathBuf)> = root
        .layers
        .values()
        .map(|layer| {
            let lower = layer.facts.iter().find(|fact| fact.starts_with("overlay lower"));
            (lower.map_or(0, |fact| fact.split(':').count()), &layer.diff)
        })
        .collect();
    diffs.sort_by_key(|(below, _)| std::cmp::Reverse(*below));
    // Mounted even where there is one layer, for a whiteout without anything below is no file either.
    let beside = shale.data_root();
    let [merged, empty] = ["merged", "empty"].map(|name| beside.with_file_name(name));
    for folder in [&merged, &empty] {
        fs::create_dir_all(folder).expect("the disk is ours");
    }
    let lower: Vec<String> = diffs.iter().map(|(_, diff)| diff.display().to_string()).collect();
    let command = format!("mount -t overlay overlay -o ro,lowerdir={}:empty merged", lower.join(":"));
    shell(merged.parent().expect("it is below the case's folder"), &command);
    let seen = short_lines(&merged);
    unmount_below(&merged);
    (seen != expected).then(|| format!("the tree is {seen:?}, not {expected:?}"))
}

/// The tree in the words of `cases.json`: `path type mode uid:gid size-or-target`.
fn short_lines(root: &Path) -> Vec<String> {
    let script = "find . -mindepth 1 -printf '%P\\t%y\\t%m\\t%U:%G\\t%s\\t%l\\n' | LC_ALL=C sort";
    shell(root, script)
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [path, kind, mode, owner, size, target] = fields.as_slice() else { return line.to_owned() };
            match *kind {
                "d" => format!("{path} d {mode} {owner}"),
                "l" => format!("{path} l {owner} {target}"),
                kind => format!("{path} {kind} {mode} {owner} {size}"),
            }
        })
        .collect()
}

/// The config and layer that the cases about documents refer to.
struct Good {
    config: Vec<u8>,
    layer: Vec<u8>,
}

impl Good {
    fn unpack(scratch: &Scratch) -> Self {
        let folder = scratch.folder("good");
        let archive = fixtures().join("hostile/archives/K00-good.tar");
        shell(&folder, &format!("tar -xf {} && gzip -9 -n l/layer.tar", archive.display()));
        let read = |name: &str| fs::read(folder.join(name)).expect("the archive holds it");
        let good = Self { config: read("c.json"), layer: read("l/layer.tar.gz") };
        assert!(digest(&good.layer).starts_with("sha256:08c5c0e2b3a5"), "the layer that the manifests name");
        good
    }

    fn serve(&self, registry: &StaticRegistry) {
        for bytes in [&self.config, &self.layer] {
            registry.put_blob(REPOSITORY, &digest(bytes), Body::Bytes(bytes.clone()));
        }
    }
}

/// The directory that the cases aim at; one test at a time may have it.
struct Canary {
    _lock: File,
}

const CANARY: &str = "/tmp/hostile-canary";

impl Canary {
    fn lock() -> Self {
        let lock = File::create(format!("{CANARY}.lock")).expect("/tmp can be written");
        flock(&lock, FlockOperation::LockExclusive).expect("a file can be locked");
        Self { _lock: lock }
    }

    fn reset(&self) {
        let script = "rm -rf hostile-canary; mkdir -p hostile-canary/dir; cd hostile-canary
            echo existing > existing; echo secret > secret; echo victim > dir/victim; chmod 600 secret
            find . -exec touch -h -d @1000000000 {} +";
        shell(Path::new("/tmp"), script);
    }

    fn listing(&self) -> Listing {
        tree::list(Path::new(CANARY), Compare { times: true }).expect("the canary can be read")
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(CANARY);
    }
}

fn corpus(name: &str) -> Vec<u8> {
    let path = fixtures().join("hostile").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(bytes))
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_default()
}
