//! `shale registry serve` when the machine fails it: the power is cut, or a call to the disk fails.
//!
//! `SHALE_TEST_CUTS` and `SHALE_TEST_FAULTS` set how often (full runs: 40 cuts, 40 steps through a call), `SHALE_TEST_SEED` the
//! moments, `SHALE_TEST_CASE` picks one call. A server that is killed is a test of the crate `registry`.

use std::collections::BTreeMap;
use std::io;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use shale_tests::disk::Disk;
use shale_tests::http::{self, Answer};
use shale_tests::peer::{Guard, ShaleRegistry};
use shale_tests::program::run;
use shale_tests::random::{Random, number};
use shale_tests::scratch::Scratch;
use shale_tests::sha256_hex;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &[u8] = b"{\"architecture\":\"amd64\",\"os\":\"linux\"}";
/// One batch through the page cache, one around it with an odd end, several.
const SIZES: [u64; 3] = [10_000, 300_001, 2_500_000];

/// What must be found under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was acknowledged.
    Present,
    /// It was asked for and not answered, or answered with an error: whole or not at all.
    Unknown,
    /// Its deletion was acknowledged.
    Absent,
}

/// What was asked for so far: by path its bytes and what must be found.
#[derive(Debug, Default)]
struct Ledger(Mutex<BTreeMap<String, (Vec<u8>, State)>>);

impl Ledger {
    fn note(&self, path: &str, bytes: &[u8], state: State) {
        let mut entries = self.0.lock().expect("no holder panics");
        let known = entries.get(path).map(|(_, state)| *state);
        // A blob that is here already stays, whatever becomes of pushing it again.
        if !(state == State::Unknown && known == Some(State::Present) && path.contains("/blobs/")) {
            entries.insert(path.to_owned(), (bytes.to_vec(), state));
        }
    }

    #[track_caller]
    fn check(&self, registry: &ShaleRegistry, when: &str) {
        for (path, (bytes, state)) in &*self.0.lock().expect("no holder panics") {
            let answer = http::get(&registry.host(), path).expect("the registry answers");
            let is_whole = answer.status == 200 && answer.body == *bytes;
            let is_right = match state {
                State::Present => is_whole,
                State::Absent => answer.status == 404,
                State::Unknown => is_whole || answer.status == 404,
            };
            let length = answer.body.len();
            assert!(
                is_right,
                "{path}, {state:?}, is answered with {} and {length} bytes {when}",
                answer.status
            );
        }
        let mut fsck = Command::new(ShaleRegistry::program());
        run(fsck.args(["registry", "fsck", "--root"]).arg(registry.root())).success();
    }
}

fn bytes(seed: u64, length: u64) -> Vec<u8> {
    let mut random = Random::of_seed(seed);
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.below(u64::MAX).to_le_bytes())
        .flatten()
        .take(length as usize)
        .collect();
    let name = seed.to_le_bytes();
    bytes[..name.len()].copy_from_slice(&name);
    bytes
}

fn manifest(layer: &[u8]) -> Vec<u8> {
    let descriptor = |media_type: &str, bytes: &[u8]| {
        let digest = sha256_hex(bytes);
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{digest}","size":{}}}"#, bytes.len())
    };
    let config = descriptor("application/vnd.oci.image.config.v1+json", CONFIG);
    let layer = descriptor("application/vnd.oci.image.layer.v1.tar", layer);
    format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{layer}]}}"#)
        .into_bytes()
}

fn location(answer: &Answer) -> String {
    answer.header("location").expect("an upload has a place").to_owned()
}

/// Pushes a blob in two parts; returns the status that ended it: 201, or the first that is not what it should be.
fn push_blob(host: &str, repository: &str, blob: &[u8]) -> io::Result<u16> {
    let begun = http::request(host, "POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"")?;
    if begun.status != 202 {
        return Ok(begun.status);
    }
    let (first, second) = blob.split_at(blob.len() / 3);
    let patched = http::request(host, "PATCH", &location(&begun), &[], first)?;
    if patched.status != 202 {
        return Ok(patched.status);
    }
    let path = format!("{}?digest=sha256:{}", location(&patched), sha256_hex(blob));
    Ok(http::request(host, "PUT", &path, &[], second)?.status)
}

/// Pushes an image and notes what may be expected from now on; returns the statuses.
fn push(host: &str, ledger: &Ledger, repository: &str, tag: &str, layer: &[u8]) -> io::Result<Vec<u16>> {
    let mut statuses = Vec::new();
    for blob in [CONFIG, layer] {
        let path = format!("/v2/{repository}/blobs/sha256:{}", sha256_hex(blob));
        ledger.note(&path, blob, State::Unknown);
        statuses.push(push_blob(host, repository, blob)?);
        if statuses.last() == Some(&201) {
            ledger.note(&path, blob, State::Present);
        }
    }
    if statuses.iter().all(|status| *status == 201) {
        let (path, manifest) = (format!("/v2/{repository}/manifests/{tag}"), manifest(layer));
        ledger.note(&path, &manifest, State::Unknown);
        let answer = http::request(host, "PUT", &path, &[("Content-Type", MANIFEST)], &manifest)?;
        if answer.status == 201 {
            ledger.note(&path, &manifest, State::Present);
        }
        statuses.push(answer.status);
    }
    Ok(statuses)
}

/// Pushes and deletes until the registry is gone, or enough is done.
fn work(host: &str, ledger: &Ledger, worker: u64, round: u64) -> io::Result<()> {
    let repository = format!("r{}", worker % 2);
    for step in 0..12 {
        let seed = (round << 16) | (worker << 8) | step;
        let layer = bytes(seed, SIZES[(step % 3) as usize]);
        let tag = format!("w{worker}-{step}");
        let statuses = push(host, ledger, &repository, &tag, &layer)?;
        assert_eq!(statuses, [201, 201, 201]);
        if step % 4 == 3 {
            let path = format!("/v2/{repository}/manifests/{tag}");
            let manifest = manifest(&layer);
            ledger.note(&path, &manifest, State::Unknown);
            assert_eq!(http::request(host, "DELETE", &path, &[], b"")?.status, 202);
            ledger.note(&path, &manifest, State::Absent);
        }
    }
    Ok(())
}

/// Sends the beginning of a blob in parts of an odd length and leaves it; returns its place.
fn begin(host: &str, blob: &[u8]) -> io::Result<String> {
    let mut place = location(&http::request(host, "POST", "/v2/r0/blobs/uploads/", &[], b"")?);
    for part in [&blob[..100_001], &blob[100_001..1_600_000], &blob[1_600_000..2_000_003]] {
        place = location(&http::request(host, "PATCH", &place, &[], part)?);
    }
    Ok(place)
}

/// Ends what [`begin`] left, where the registry knows of it: with the bytes that it says it lacks.
#[track_caller]
fn go_on(host: &str, place: &str, blob: &[u8], when: &str) -> bool {
    let known = http::request(host, "GET", place, &[], b"").expect("the registry answers");
    if known.status == 404 {
        return false;
    }
    let range = known.header("range").unwrap_or_else(|| panic!("{} {when}", known.status));
    // Nothing is `0-0` too; a byte more or less is told apart by the digest.
    let last: usize = range.trim_start_matches("0-").parse().expect("a range has an end");
    let received = if last == 0 { 0 } else { last + 1 };
    let path = format!("{place}?digest=sha256:{}", sha256_hex(blob));
    let ended = http::request(host, "PUT", &path, &[], &blob[received..]).expect("the registry answers");
    assert_eq!(ended.status, 201, "an upload of which {received} bytes were here is not taken {when}");
    true
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let scratch = Scratch::new("registry-cut");
    let mut moments = Random::of_this_run();
    let (mut acknowledged, mut resumed) = (0, 0);
    for round in 0..number("SHALE_TEST_CUTS", 4) {
        let disk = Disk::make(scratch.path(), &format!("cut{round}"), "400M", &[]);
        let registry = ShaleRegistry::start(disk.path(), Guard::Open);
        let (host, ledger) = (registry.host(), Ledger::default());
        let left = bytes(u64::MAX - round, 2_500_000);
        let delay = Duration::from_millis(moments.below(1500));
        let when = format!("in round {round}, cut after {delay:?}");
        let place = std::thread::scope(|scope| {
            for worker in 0..3 {
                let (host, ledger) = (&host, &ledger);
                scope.spawn(move || work(host, ledger, worker, round));
            }
            let begun = scope.spawn(|| begin(&host, &left));
            std::thread::sleep(delay);
            registry.kill();
            begun.join().expect("it does not panic").ok()
        });
        let disk = disk.cut_power();
        let registry = ShaleRegistry::start(disk.path(), Guard::Open);
        ledger.check(&registry, &when);
        resumed += place.is_some_and(|place| go_on(&registry.host(), &place, &left, &when)) as usize;
        let statuses = push(&registry.host(), &ledger, "r0", "after", &bytes(round, 2_500_000));
        assert_eq!(statuses.expect("the registry answers"), [201, 201, 201], "{when}");
        ledger.check(&registry, &when);
        let entries = ledger.0.into_inner().expect("no holder panics");
        acknowledged += entries.values().filter(|(_, state)| *state == State::Present).count();
    }
    println!("{acknowledged} acknowledged blobs and manifests, {resumed} uploads went on");
}

/// Calls by which the registry changes the disk, by strace's names.
const CALLS: [&str; 7] = [
    "fsync",
    "fdatasync",
    "pwrite64",
    "renameat2,renameat,rename",
    "mkdirat,mkdir",
    "openat",
    "unlinkat,unlink",
];

#[test]
fn each_call_to_the_disk_may_fail_once_and_nothing_is_acknowledged_that_is_not_there() {
    let scratch = Scratch::new("registry-fault");
    let steps = number("SHALE_TEST_FAULTS", 2);
    let only = std::env::var("SHALE_TEST_CASE").unwrap_or_default();
    let (mut hits, mut refused) = (0, 0);
    for call in CALLS.into_iter().filter(|call| call.contains(&only)) {
        for error in ["EIO", "ENOSPC"] {
            for step in 1..=steps {
                let nth = if steps <= 8 { step * step * 2 - 1 } else { step };
                let met = fail(&scratch, call, error, nth);
                hits += usize::from(met.hit);
                refused += usize::from(met.refused);
                if !met.hit {
                    break;
                }
            }
        }
    }
    println!("{hits} faults were met, {refused} of them by clients");
    assert!(hits > 10 || !only.is_empty(), "only {hits} faults were met");
}

#[test]
fn a_database_that_cannot_be_written_stops_the_start() {
    let scratch = Scratch::new("registry-readonly");
    drop(ShaleRegistry::start(scratch.path(), Guard::Open));
    // Root may write everything; the system's refusal of another user is played, and a disk that refuses the log once.
    for (file, error) in [("registry.db", "EACCES"), ("registry.db-wal", "EIO")] {
        let file = scratch.path().join("root/shale").join(file).display().to_string();
        let inject = format!("inject=openat:error={error}:when=1");
        let options = ["-f", "-qq", "-o", "/dev/null", "-P", &file, "-e", &inject];
        let refused = ShaleRegistry::start_traced(scratch.path(), &options.map(str::to_owned));
        let log = refused.expect_err("the registry serves what it cannot write");
        assert!(log.contains("cannot be written"), "{log}");
    }
}

/// What came of a fault.
struct Met {
    hit: bool,
    refused: bool,
}

/// Lets the call number `nth` of each thread fail while a registry starts and takes in two images.
fn fail(scratch: &Scratch, call: &str, error: &str, nth: u64) -> Met {
    let directory = scratch.folder("registry");
    let trace = directory.join("strace.log");
    // Made whole first, so that the faults meet pushes and not the first start alone.
    drop(ShaleRegistry::start(&directory, Guard::Open));
    let mut options: Vec<String> = ["-f", "-y", "-qq", "-o"].map(str::to_owned).into();
    options.extend([trace.display().to_string(), "-e".to_owned(), format!("trace={call}")]);
    options.extend(["-e".to_owned(), format!("inject={call}:error={error}:when={nth}")]);
    let injected = || {
        let log = std::fs::read_to_string(&trace).unwrap_or_default();
        log.lines().filter(|line| line.contains("(INJECTED)")).map(str::to_owned).collect::<Vec<_>>()
    };
    let ledger = Ledger::default();
    let when = format!("when {call} number {nth} failed with {error}");
    let mut statuses = Vec::new();
    if let Ok(registry) = ShaleRegistry::start_traced(&directory, &options) {
        let at_start = injected().len();
        for (tag, seed) in [("a", 1), ("b", 2)] {
            let pushed = push(&registry.host(), &ledger, "r", tag, &bytes(seed, 1_500_000));
            statuses.extend(pushed.unwrap_or_else(|error| panic!("no answer {when}: {error}")));
        }
        let clear = statuses.iter().all(|status| matches!(status, 201 | 500 | 507));
        assert!(clear, "{statuses:?} {when}\n{}", registry.log());
        let met = injected();
        if call.contains("sync") && met.len() > at_start {
            assert!(statuses.iter().any(|status| *status >= 500), "acknowledged {when}: {met:?}");
        }
        // Each thread has an n-th call of its own, so a few more may fail.
        let again = (0..20).any(|number| {
            let pushed = push(&registry.host(), &ledger, "r", "next", &bytes(100 + number, 1_500_000));
            pushed.is_ok_and(|statuses| statuses == [201, 201, 201])
        });
        assert!(again, "no push succeeds any more {when}\n{}", registry.log());
        registry.kill();
    }
    let registry = ShaleRegistry::start(&directory, Guard::Open);
    ledger.check(&registry, &when);
    drop(registry);
    let hit = !injected().is_empty();
    std::fs::remove_dir_all(&directory).expect("the scratch directory is ours");
    Met { hit, refused: statuses.iter().any(|status| *status != 201) }
}
