//! Every hostile layer of the corpus, each in a process of its own with little memory, judged by the corpus' rules.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::Deserialize;
use shale_rootfs::{Limits, RootEntry, Rootfs, Unpack, decompress, tar_split, unpack};

use crate::{fixture, tree};

#[derive(Deserialize)]
struct Case {
    id: String,
    rule: String,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    diff_ids: Vec<String>,
    tree: Option<Vec<String>>,
}

/// What is accepted where the corpus leaves it open; true is accepted.
const OPEN: [(&str, bool); 37] = [
    // A file named with a slash at its end is a file, as to Go, and then has no members.
    ("T13-file-trailing-slash", false),
    // A name that stands twice: tar-split could not keep both.
    ("S04-sym-then-file", false),
    ("H11-replace-target", false),
    ("D07-write-over-dev", false),
    ("R02-file-to-dir", false),
    ("R04-dir-to-sym", false),
    ("R05-sym-to-dir", false),
    ("R08-10k-dups", false),
    // Each layer is unpacked on its own, so a link target must be in it.
    ("H09-lower-layer", false),
    ("W06-plnk", true),
    ("W08-wh-then-add", true),
    ("W09-add-then-wh", false),
    ("W10-opq-after", true),
    ("W11-wh-dirtype", true),
    ("W13-wh-data", true),
    // Whiteouts in overlayfs' own form are instructions to the kernel that no layer tool writes.
    ("W17-chardev-0-0", false),
    ("D03-unknown-type", false),
    ("D04-gnu-types", false),
    ("D05-contiguous", false),
    ("N08-empty", false),
    ("P18-mtime-neg", true),
    ("P19-mtime-huge", true),
    // A capability or access list that the kernel does not understand.
    ("P23-xattr-weird", false),
    ("P24-xattr-empty-key", false),
    ("P26-xattr-500", false),
    ("F09-trunc-pad", true),
    ("F19-mtime-b256-neg", true),
    ("C20-bz2", true),
    ("C22-mt-tar-body-gz", true),
    ("C23-mt-zst-body-gz", true),
    // Looks like gzip to a sniffer, but its checksum says tar header.
    ("C24-polyglot-gz", true),
    ("C27-empty-blob", true),
    ("C29-512-zeros", true),
    // Bounded is the rule; these two are honest but big, the others below lie.
    ("C32-100k-files", true),
    ("P29-many-x", true),
    ("SP02-gnu-1T", false),
    ("C18-zst-bomb-16G", false),
];

const CANARY: &str = "/tmp/hostile-canary";
const CHILD: &str = "SHALE_HOSTILE_FILES";

fn cases() -> Vec<Case> {
    serde_json::from_slice(&fs::read(fixture("hostile/cases.json")).unwrap()).unwrap()
}

/// The directory that the cases aim at. Other suites use it too, and other runs of this one: the lock makes them wait.
struct Canary {
    before: BTreeMap<String, String>,
    _lock: fs::File,
}

impl Canary {
    fn set() -> Canary {
        let lock = fs::File::create(format!("{CANARY}.lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let directory = Path::new(CANARY);
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory.join("dir")).unwrap();
        fs::write(directory.join("existing"), "do not touch\n").unwrap();
        fs::write(directory.join("secret"), "SECRET-TOKEN\n").unwrap();
        fs::write(directory.join("dir/victim"), "victim\n").unwrap();
        Canary { before: canary_state(), _lock: lock }
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(CANARY);
    }
}

fn canary_state() -> BTreeMap<String, String> {
    let mut state = tree::list(Path::new(CANARY));
    let own = fs::metadata(CANARY).unwrap();
    state.insert(String::new(), format!("{:o} {}:{}", own.mode(), own.uid(), own.gid()));
    state
}

/// The trees of the corpus have type, mode, owner and, for files, length; whiteouts are not in them.
fn as_corpus_lists(root: &Path) -> Vec<String> {
    fn walk(root: &Path, below: &Path, lines: &mut Vec<String>) {
        for child in fs::read_dir(root.join(below)).unwrap() {
            let path = below.join(child.unwrap().file_name());
            let stat = fs::symlink_metadata(root.join(&path)).unwrap();
            let (name, mode, owner) =
                (path.display(), stat.mode() & 0o7777, format!("{}:{}", stat.uid(), stat.gid()));
            let kind = stat.file_type();
            if kind.is_dir() {
                lines.push(format!("{name} d {mode:o} {owner}"));
                walk(root, &path, lines);
            } else if kind.is_symlink() {
                lines
                    .push(format!("{name} l {owner} {}", fs::read_link(root.join(&path)).unwrap().display()));
            } else if kind.is_file() {
                lines.push(format!("{name} f {mode:o} {owner} {}", stat.len()));
            } else if !(kind.is_char_device() && stat.rdev() == 0) {
                lines.push(format!("{name} other {mode:o} {owner}"));
            }
        }
    }
    let mut lines = Vec::new();
    walk(root, Path::new(""), &mut lines);
    lines.sort();
    lines
}

/// Unpacks layers as a pull would; this is the process that may break.
#[test]
#[ignore = "runs only as a child of the test below"]
fn child() {
    let Ok(files) = std::env::var(CHILD) else { return };
    let limit = |resource, bytes| {
        setrlimit(resource, Rlimit { current: Some(bytes), maximum: Some(bytes) }).unwrap();
    };
    limit(Resource::As, 1 << 30);
    limit(Resource::Cpu, 120);
    limit(Resource::Fsize, 8 << 30);
    let scratch = std::env::var("SHALE_HOSTILE_SCRATCH").unwrap();
    for (index, file) in files.split(':').enumerate() {
        let path = Path::new(&scratch).join(index.to_string()).join("diff");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.parent().unwrap().join("link"), "LINK").unwrap();
        let root = Rootfs::open(&path).unwrap();
        let blob = fs::File::open(file).unwrap();
        let limits = Limits { tar_bytes_max: 256 << 20, ..Limits::for_blob(blob.metadata().unwrap().len()) };
        let options = Unpack { limits, root_entry: RootEntry::Apply, ..Unpack::default() };
        let mut lines = Vec::new();
        let result = decompress(Box::new(blob)).map_err(|error| format!("{error}")).and_then(|mut tar| {
            unpack(&root, &mut tar, &mut lines, &options).map_err(|error| format!("{error}"))
        });
        match result {
            Err(error) => println!("HOSTILE rejected {error:?}"),
            Ok(unpacked) => {
                let again = tar_split::assemble(&mut &lines[..], &root, &mut std::io::sink()).unwrap();
                assert_eq!(again.diff_id, unpacked.diff_id);
                assert_eq!(again.tar_bytes, unpacked.tar_bytes);
                assert_eq!(root.size_bytes().unwrap(), unpacked.size_bytes);
                println!("HOSTILE accepted {}", unpacked.diff_id);
            }
        }
        assert_eq!(fs::read_to_string(path.parent().unwrap().join("link")).unwrap(), "LINK");
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    println!("HOSTILE peak {}", peak.split_whitespace().nth(1).unwrap());
}

#[test]
fn hostile_layers_end_as_the_corpus_says() {
    let canary = Canary::set();
    let mut faults = Vec::new();
    let mut judged = 0;
    let mut elsewhere = Vec::new();
    for case in cases() {
        if case.files.is_empty() || case.files.iter().any(|file| !file.starts_with("layers/")) {
            elsewhere.push(case.id);
            continue;
        }
        judged += 1;
        let scratch = tempfile::tempdir().unwrap();
        let files: Vec<_> =
            case.files.iter().map(|file| fixture("hostile").join(file).display().to_string()).collect();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["hostile::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(CHILD, files.join(":"))
            .env("SHALE_HOSTILE_SCRATCH", scratch.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut fault = |what: String| faults.push(format!("{}: {what}", case.id));
        let said = |prefix: &str| -> Vec<String> {
            text.split("HOSTILE ")
                .skip(1)
                .filter_map(|rest| rest.lines().next()?.strip_prefix(prefix).map(str::to_string))
                .collect()
        };
        if !output.status.success() || said("peak ").is_empty() {
            fault(format!("the process broke: {text}{}", String::from_utf8_lossy(&output.stderr)));
            continue;
        }
        let peak_kib: u64 = said("peak ")[0].parse().unwrap();
        if peak_kib > 192 << 10 {
            fault(format!("{peak_kib} KiB of memory"));
        }
        if canary_state() != canary.before {
            fault("the canary changed".into());
        }
        let rejected = said("rejected ");
        let lies = rejected.is_empty() && said("accepted ") != case.diff_ids;
        let accepted = rejected.is_empty() && !lies;
        let open = OPEN.iter().find(|(id, _)| *id == case.id).map(|(_, accepted)| *accepted);
        let expected = match case.rule.as_str() {
            "ok" | "differ" => Some(true),
            "reject" => Some(false),
            "any" if open.is_none() => {
                fault(format!("is not in the list of decisions; accepted {accepted}, {rejected:?}"));
                None
            }
            _ => open,
        };
        if expected.is_some_and(|expected| expected != accepted) {
            fault(format!("rule {}, accepted {accepted}, {rejected:?}", case.rule));
        }
        if let (true, Some(expected), [_]) = (accepted, &case.tree, &case.files[..]) {
            let root = scratch.path().join("0/diff");
            let mut found = as_corpus_lists(&root);
            if let Some(line) = expected.iter().find(|line| line.starts_with(". ")) {
                let own = fs::metadata(&root).unwrap();
                found.insert(0, format!(". d {:o} {}:{}", own.mode() & 0o7777, own.uid(), own.gid()));
                assert!(line.starts_with(". d "));
            }
            let mut expected = expected.clone();
            expected.sort();
            if found != expected {
                fault(format!("found {found:?} instead of {expected:?}"));
            }
        }
        println!(
            "{:28} {:8} {}",
            case.id,
            case.rule,
            if accepted { "accepted".into() } else { format!("{rejected:?}") }
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(judged + elsewhere.len(), cases().len());
    println!("judged {judged} cases; not about layers: {}", elsewhere.join(" "));
}
