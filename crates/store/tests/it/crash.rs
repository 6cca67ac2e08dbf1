//! Every system call of every write path fails once, or kills the process; kills at random moments; many processes.
//!
//! The tests start this test binary again, to run one of the ignored tests below as the process that suffers, under
//! `strace` where a chosen call is to fail.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use shale_oci::{Digest, ImageId};
use shale_store::{
    Access, Finding, GcOptions, Name, NewImage, NewLayer, Publication, PutImage, ReferenceChange, Severity,
    Store, V2Metadata,
};

use crate::fixture::{Tar, chains, config, open};

type Failure = Box<dyn std::error::Error>;

const ROOT: &str = "SHALE_STORE_TEST_ROOT";

/// Also removes what may still be of use: nobody comes back here.
fn everything() -> GcOptions {
    let downloads_before = SystemTime::now() + Duration::from_secs(3600);
    GcOptions { dry_run: false, downloads_before }
}

fn image_id(layers: &[Tar]) -> ImageId {
    ImageId::new(Digest::sha256(config(layers).as_bytes()))
}

/// Pulls an image of hand-made layers as the engine does: what is there is held, the rest is unpacked by one process
/// at a time; the name comes last.
fn pull(store: &Store, layers: &[Tar], repository: &str) -> Result<ImageId, Failure> {
    let mut held = Vec::new();
    let mut claims = Vec::new();
    let mut finished = Vec::new();
    for (tar, chain) in layers.iter().zip(chains(layers)) {
        if finished.is_empty() {
            if let Some(layer) = store.hold_layer(chain)? {
                held.push(layer);
                continue;
            }
            let blob = tar.diff_id().digest();
            let mut claim = store.claim_blob(blob)?;
            if let Some(layer) = store.hold_layer(chain)? {
                claim.discard()?;
                held.push(layer);
                continue;
            }
            claim.append(b"part of a blob")?;
            claims.push(claim);
        }
        finished.push(tar.try_finish(store)?);
    }
    let base = held.last().map(|layer| layer.chain_id);
    let image = image_id(layers);
    let (tag, digest) = (format!("{repository}:1"), format!("{repository}@{}", image.digest()));
    let names = vec![
        ReferenceChange::Digest { name: Name { repository, key: &digest }, image },
        ReferenceChange::Tag { name: Name { repository, key: &tag }, image },
    ];
    let seen = layers
        .iter()
        .map(|tar| (tar.diff_id(), V2Metadata::pulled(tar.diff_id().digest(), "docker.io/library/app")));
    let _published = store.publish(Publication {
        layers: NewLayer::stack(base, finished).collect(),
        seen: seen.collect(),
        images: vec![NewImage { config: config(layers).as_bytes(), put: PutImage::default(), names }],
    })?;
    claims.into_iter().try_for_each(|claim| claim.discard())?;
    Ok(image)
}

fn remove(store: &Store, repository: &str) -> Result<(), Failure> {
    let references = store.references()?;
    let names = references.of_repository(repository);
    let changes: Vec<_> = names.iter().map(|(name, _)| ReferenceChange::Remove { name: *name }).collect();
    store.change_references(&changes)?;
    let ids: HashSet<_> = names.iter().map(|(_, id)| *id).collect();
    for id in ids {
        match store.remove_image(id) {
            Ok(_)
            // Another process named it again, or was faster.
            | Err(shale_store::RemoveImageError::Referenced(_) | shale_store::RemoveImageError::NoSuchImage(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn first() -> [Tar; 2] {
    ["a", "b"].map(Tar::of)
}

fn second() -> [Tar; 2] {
    ["a", "c"].map(Tar::of)
}

/// Everything that writes, once. Each line in the file `acknowledged` says what is done for good.
fn story(root: &Path) -> Result<(), Failure> {
    let mut acknowledged = OpenOptions::new().append(true).open(root.with_extension("acknowledged"))?;
    let store = Store::open(root, shale_store::OpenOptions { create: true, access: Access::Write })?;
    pull(&store, &first(), "first")?;
    writeln!(acknowledged, "first")?;
    drop(Tar::of("dropped").try_finish(&store)?);
    store.set_last_updated(image_id(&first()), &"2026-11-21T22:04:19Z[UTC]".parse()?)?;
    pull(&store, &second(), "second")?;
    store.set_parent(image_id(&second()), Some(image_id(&first())))?;
    writeln!(acknowledged, "second")?;
    writeln!(acknowledged, "removing")?;
    remove(&store, "first")?;
    writeln!(acknowledged, "removed")?;
    drop(store.publish_layers(None, vec![Tar::of("unused").try_finish(&store)?])?);
    store.gc(everything())?;
    Ok(())
}

fn test_root() -> PathBuf {
    std::env::var_os(ROOT).expect("only run by another test").into()
}

#[test]
#[ignore = "the process that suffers; started by the other tests"]
fn suffer() {
    let code = match story(&test_root()) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "story failed: {error}");
            1
        }
    };
    std::process::exit(code);
}

#[test]
#[ignore = "one of many processes; started by the other tests"]
fn work() {
    let worker: usize = std::env::var("SHALE_STORE_TEST_WORKER").unwrap().parse().unwrap();
    let root = test_root();
    for round in 0..12 {
        let store = open(&root);
        let number = (worker + round) % 3;
        let layers = [Tar::of("a"), Tar::of(&format!("b{number}")), Tar::of("c")];
        let repository = format!("app{number}");
        pull(&store, &layers, &repository).unwrap();
        match (worker + round) % 4 {
            0 => remove(&store, &repository).unwrap(),
            1 => drop(store.gc(everything()).unwrap()),
            2 => {
                let damaged: Vec<_> =
                    store.images().unwrap().into_iter().filter(|found| found.image.is_err()).collect();
                assert!(damaged.is_empty(), "{damaged:?}");
            }
            _ => drop(pull(&store, &layers, &format!("worker{worker}")).unwrap()),
        }
    }
}

fn child(wrapper: &[&str], test: &str, root: &Path) -> Command {
    let executable = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(executable);
            command
        }
        [] => Command::new(executable),
    };
    command
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env(ROOT, root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Checks that what was acknowledged is there, that nothing is half there, that nothing stays after a gc, and that
/// the whole story succeeds again.
#[track_caller]
fn check_survivor(root: &Path, what: &str) {
    let acknowledged = fs::read_to_string(root.with_extension("acknowledged")).unwrap();
    let is_acknowledged = |word: &str| acknowledged.lines().any(|line| line == word);
    if root.join("image/overlay2/layerdb/sha256").exists() {
        let store =
            Store::open(root, shale_store::OpenOptions { create: false, access: Access::Read }).unwrap();
        check_whole(&store, what);
        let references = store.references().unwrap();
        for (word, layers) in [("first", first()), ("second", second())] {
            let id = image_id(&layers);
            let key = format!("{word}:1");
            let named = references.image(word, &key);
            if is_acknowledged(word) && !(word == "first" && is_acknowledged("removing")) {
                assert_eq!(named, Some(id), "{what}: {word} was acknowledged");
            }
            if word == "first" && is_acknowledged("removed") {
                assert_eq!(named, None, "{what}");
                assert!(store.image(id).unwrap().is_none(), "{what}");
            }
        }
    }
    let store = open(root);
    store.gc(everything()).unwrap();
    check_empty_handed(&store, what);
    drop(store);
    story(root).unwrap();
    check_empty_handed(&open(root), what);
}

/// Nothing but leftovers is wrong.
#[track_caller]
fn check_whole(store: &Store, what: &str) {
    let findings = store.fsck().unwrap();
    let bad: Vec<_> = findings.iter().filter(|finding| finding.severity() > Severity::Leftover).collect();
    assert!(bad.is_empty(), "{what}: {bad:#?}");
}

/// There are no leftovers either, counted without the store's own help.
#[track_caller]
fn check_empty_handed(store: &Store, what: &str) {
    let findings: Vec<Finding> = store.fsck().unwrap();
    assert!(findings.is_empty(), "{what}: {findings:#?}");
    let count = |path: &str| fs::read_dir(store.root().join(path)).unwrap().count();
    let layers = count("image/overlay2/layerdb/sha256");
    assert_eq!(count("overlay2"), layers + 1, "{what}");
    assert_eq!(count("overlay2/l"), layers, "{what}");
    for empty in ["image/overlay2/layerdb/tmp", "shale/leases", "shale/downloads"] {
        assert_eq!(count(empty), 0, "{what}: {empty}");
    }
}

/// A directory in memory: a kill does not need a disk, and thousands of syncs of a shared one take minutes.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn new_root(directory: &Path, name: &str) -> PathBuf {
    let root = directory.join(name);
    fs::write(root.with_extension("acknowledged"), "").unwrap();
    root
}

/// Runs the story again and again, with the N-th call of one kind going wrong, until it comes through untouched.
#[track_caller]
fn sweep(calls: &[&str], outcome: &str) {
    let directory = scratch();
    let hits = AtomicUsize::new(0);
    let next = AtomicUsize::new(0);
    let failed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                        hits.fetch_add(sweep_call(directory.path(), call, outcome), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        workers.into_iter().any(|worker| worker.join().is_err())
    });
    assert!(!failed);
    // The story has more write calls than this; fewer hits mean that strace did not do its work.
    assert!(hits.load(Ordering::Relaxed) >= 3 * calls.len(), "{hits:?} of {calls:?}");
}

fn sweep_call(directory: &Path, call: &str, outcome: &str) -> usize {
    for when in 1.. {
        let what = format!("{call} {outcome} {when}");
        let root = new_root(directory, &format!("{call}-{when}"));
        let log = root.with_extension("log");
        let inject = format!("inject={call}:{outcome}:when={when}");
        let trace = format!("trace={call}");
        let mut strace =
            vec!["strace", "-f", "-qq", "-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject];
        if outcome.starts_with("error") {
            // Several times faster, but strace 6.1 then counts no calls for signals.
            strace.insert(1, "--seccomp-bpf");
        }
        let output = child(&strace, "crash::suffer", &root).output().expect("strace is installed");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("crates/store/src"), "{what}: the store panicked: {stderr}");
        let log = fs::read_to_string(&log).unwrap_or_default();
        let is_hit = log.contains("(INJECTED)") || log.contains("killed by SIGKILL");
        if !is_hit {
            assert!(output.status.success(), "{what}: {stderr}");
        }
        check_survivor(&root, &what);
        fs::remove_dir_all(&root).unwrap();
        if !is_hit {
            return when - 1;
        }
    }
    unreachable!("the numbers do not end")
}

const CALLS: &[&str] = &[
    "mkdir", "rename", "symlink", "unlink", "unlinkat", "rmdir", "fsync", "syncfs", "write", "fchmod",
    "chmod", "flock",
];

#[test]
fn every_failing_write_call_leaves_a_whole_store() {
    sweep(CALLS, "error=EIO");
}

#[test]
fn a_kill_at_every_write_call_leaves_a_whole_store() {
    sweep(CALLS, "signal=KILL");
}

#[test]
fn every_open_that_fails_leaves_a_whole_store() {
    sweep(&["openat"], "error=ENOSPC");
}

#[test]
fn kills_at_random_moments_leave_a_whole_store() {
    let kills: u64 = std::env::var("SHALE_STORE_TEST_KILLS").map_or(40, |kills| kills.parse().unwrap());
    let directory = scratch();
    let root = new_root(directory.path(), "root");
    story(&root).unwrap();
    for kill in 0..kills {
        // Each survivor goes on with what the one before it left.
        fs::write(root.with_extension("acknowledged"), "").unwrap();
        let mut process = child(&[], "crash::suffer", &root).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(2_000 + kill * 7919 % 40_000));
        process.kill().unwrap();
        process.wait().unwrap();
        let mut stderr = String::new();
        process.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(stderr, "", "{kill}");
        check_survivor(&root, &format!("kill {kill}"));
    }
}

#[test]
fn eight_processes_share_a_root() {
    let directory = scratch();
    let root = directory.path().join("root");
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let mut command = child(&[], "crash::work", &root);
            command.env("SHALE_STORE_TEST_WORKER", worker.to_string()).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("1 passed"), "{text}");
    }
    let store = open(&root);
    check_whole(&store, "after all");
    store.gc(everything()).unwrap();
    check_empty_handed(&store, "after all");
    let repositories: HashSet<_> =
        store.references().unwrap().iter().map(|(name, _)| name.repository.to_owned()).collect();
    for repository in repositories {
        remove(&store, &repository).unwrap();
    }
    assert_eq!(store.layers().unwrap(), []);
    check_empty_handed(&store, "emptied");
}
