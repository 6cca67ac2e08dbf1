//! kill -9, power cuts, failing system calls and full disks: nothing acknowledged is lost, nothing half-made shows.
//!
//! `SHALE_TEST_KILLS` and `SHALE_TEST_CUTS` set how often (a full run: 1000 and 300), `SHALE_TEST_SEED` the moments.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use shale_tests::data_root::{DataRoot, layer_differences};
use shale_tests::disk::Disk;
use shale_tests::image::storage;
use shale_tests::peer::{Access, DockerRegistry, Dockerd, Options, Shale};
use shale_tests::program::{require, run};
use shale_tests::random::{Random, number};
use shale_tests::scratch::Scratch;
use shale_tests::tree::Compare;

/// Enough layers to be hit between two of them, small enough to be pulled often.
const IMAGE: &str = "whiteouts";

/// Two images that share nothing.
const OTHER: &str = "hard-links";

/// What the store must hold after everything went well.
struct Expected {
    root: DataRoot,
}

impl Expected {
    fn pull(scratch: &Scratch, registry: &DockerRegistry, names: &[&str]) -> Self {
        let shale = Shale::new(&scratch.folder("expected"));
        for name in names {
            shale.shale(&["pull", "--quiet", &reference(registry, name)]);
        }
        Self { root: DataRoot::read(shale.data_root()) }
    }

    /// Every layer of the expected root is here, equal in all its files.
    #[track_caller]
    fn check(&self, shale: &Shale, when: &str) {
        let found = DataRoot::read(shale.data_root());
        for (id, config) in &self.root.configs {
            assert!(found.configs.get(id) == Some(config), "{when}: config {id} is not whole");
        }
        for (chain, layer) in &self.root.layers {
            let ours = found.layers.get(chain).unwrap_or_else(|| panic!("{when}: layer {chain} is missing"));
            let difference = layer_differences(chain, ours, layer, Compare { times: true });
            assert_eq!(difference, Vec::<String>::new(), "{when}");
        }
    }
}

fn reference(registry: &DockerRegistry, name: &str) -> String {
    format!("{}/images/{name}:1", registry.host())
}

#[track_caller]
fn check_no_leftovers(shale: &Shale, when: &str) {
    shale.shale(&["gc"]);
    assert_eq!(DataRoot::read(shale.data_root()).leftovers, Vec::<String>::new(), "{when}");
}

#[test]
fn killed_at_random_moments_the_store_stays_sound_and_the_next_run_completes() {
    let scratch = Scratch::new("kill");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let target = DockerRegistry::start(&scratch.folder("t"), Access::Open);
    let expected = Expected::pull(&scratch, &registry, &[IMAGE, OTHER]);
    let shale = Shale::new(&scratch.folder("shale"));
    let (image, other) = (reference(&registry, IMAGE), reference(&registry, OTHER));
    let saved = scratch.path().join("saved.tar");
    shale.shale(&["pull", "--quiet", &other]);
    shale.shale(&["save", "-o", saved.to_str().expect("scratch paths are text"), &other]);
    let pushed = format!("{}/pushed:1", target.host());
    shale.shale(&["tag", &other, &pushed]);
    let operations: [Vec<&str>; 6] = [
        vec!["pull", &image],
        vec!["rmi", &image],
        vec!["load", "-i", saved.to_str().expect("scratch paths are text")],
        vec!["tag", &other, "moving:tag"],
        vec!["push", &pushed],
        vec!["gc"],
    ];
    // How long each takes when nobody interrupts; the moments are spread over that.
    let mut longest = Vec::new();
    for operation in &operations {
        let start = Instant::now();
        shale.shale(operation);
        longest.push(start.elapsed());
    }
    let mut moments = Random::of_this_run();
    let mut interrupted = 0;
    for round in 0..number("SHALE_TEST_KILLS", 40) {
        // Every other kill hits a pull, the longest way through the store.
        let chosen = if round % 2 == 0 { 0 } else { moments.below(6) as usize };
        if chosen == 0 {
            let _ = shale.run(&["rmi", &image]);
        }
        let span = u64::try_from(longest[chosen].as_micros()).expect("it is short");
        let delay = Duration::from_micros(moments.below(span));
        let when = format!("round {round}: {} killed after {delay:?}", operations[chosen].join(" "));
        let mut child = shale
            .command(&operations[chosen])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        // A kill at a random moment is the subject here, so this sleep is not a wait for something.
        std::thread::sleep(delay);
        child.kill().expect("the child is ours");
        interrupted += usize::from(!child.wait().expect("the child is ours").success());
        shale.check_sound(&when);
    }
    assert!(interrupted > 0, "no kill came in time");
    shale.shale(&["pull", "--quiet", &image]);
    shale.shale(&["pull", "--quiet", &other]);
    expected.check(&shale, "after all kills");
    check_no_leftovers(&shale, "after all kills");
    let docker = Dockerd::start(&scratch.folder("d"), shale.data_root(), &Options::default());
    for reference in [&image, &other] {
        docker.docker(&["run", "--rm", "--network", "none", reference, "/bin/sh", "-c", "ls /"]);
    }
}

#[test]
fn what_a_pull_acknowledged_survives_a_power_cut() {
    let scratch = Scratch::new("cut");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let expected = Expected::pull(&scratch, &registry, &[IMAGE]);
    let disk = Disk::make(scratch.path(), "acknowledged", "400M", &[]);
    let shale = Shale::on_root(scratch.path(), &disk.path().join("root"));
    shale.shale(&["pull", "--quiet", &reference(&registry, IMAGE)]);
    let disk = disk.cut_power();
    let shale = Shale::on_root(scratch.path(), &disk.path().join("root"));
    shale.check_sound("after the cut");
    expected.check(&shale, "after the cut");
    check_no_leftovers(&shale, "after the cut");
}

#[test]
fn a_pull_that_a_power_cut_ended_is_completed_by_the_next() {
    let scratch = Scratch::new("cut");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let start = Instant::now();
    let expected = Expected::pull(&scratch, &registry, &[IMAGE]);
    let span = u64::try_from(start.elapsed().as_micros()).expect("it is short");
    let image = reference(&registry, IMAGE);
    let mut moments = Random::of_this_run();
    for round in 0..number("SHALE_TEST_CUTS", 8) {
        let disk = Disk::make(scratch.path(), &format!("cut{round}"), "400M", &[]);
        let shale = Shale::on_root(scratch.path(), &disk.path().join("root"));
        let delay = Duration::from_micros(moments.below(span));
        let mut child = shale
            .command(&["pull", "--quiet", &image])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(delay);
        let was_acknowledged = matches!(child.try_wait(), Ok(Some(status)) if status.success());
        let when = format!("round {round}: cut after {delay:?}");
        let disk = {
            let _ = child.kill();
            let _ = child.wait();
            disk.cut_power()
        };
        let shale = Shale::on_root(scratch.path(), &disk.path().join("root"));
        if was_acknowledged {
            expected.check(&shale, &when);
        }
        shale.check_sound(&when);
        shale.shale(&["pull", "--quiet", &image]);
        expected.check(&shale, &when);
        check_no_leftovers(&shale, &when);
    }
}

#[test]
fn each_state_of_the_disk_during_a_pull_is_one_that_the_next_start_can_use() {
    let scratch = Scratch::new("copies");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let expected = Expected::pull(&scratch, &registry, &[IMAGE]);
    let image = reference(&registry, IMAGE);
    let mut seen = BTreeSet::new();
    for round in 0..number("SHALE_TEST_COPIES", 1) {
        let disk = Disk::make(scratch.path(), &format!("disk{round}"), "48M", &[]);
        let shale = Shale::on_root(scratch.path(), &disk.path().join("root"));
        let mut child = shale
            .command(&["pull", "--quiet", &image])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut copies = Vec::new();
        let mut is_over = false;
        while !is_over {
            // Asked before the copy: what was acknowledged by then has to be in it.
            is_over = child.try_wait().expect("the child is ours").is_some();
            // Stopped meanwhile: a copy that is not of one moment is worth nothing.
            signal(&child, Signal::STOP);
            let copy = disk.copy(&format!("copy{}", copies.len()));
            signal(&child, Signal::CONT);
            copies.extend(copy.filter(|copy| seen.insert(copy.digest.clone())).map(|copy| (is_over, copy)));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(child.wait().expect("the child is ours").success(), "the pull on a good disk failed");
        drop(disk);
        for (at, (was_acknowledged, copy)) in copies.iter().enumerate() {
            let when = format!("round {round}: state {at} of the disk");
            let disk = copy.start();
            let shale = Shale::on_root(scratch.path(), &disk.path().join("root"));
            if *was_acknowledged {
                expected.check(&shale, &when);
            }
            shale.check_sound(&when);
            shale.shale(&["pull", "--quiet", &image]);
            expected.check(&shale, &when);
            check_no_leftovers(&shale, &when);
        }
    }
    println!("{} states", seen.len());
    // A pull waits for the disk twice; a copy may miss what was between the two.
    assert!(seen.len() >= 2, "only {} states were seen", seen.len());
}

/// Sends a signal to a child that was not waited for yet.
fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process has an ID");
    let _ = kill_process(pid, signal);
}

/// Calls that a write path can fail at, by strace's names.
const CALLS: [&str; 10] = [
    "fsync",
    "fdatasync",
    "syncfs",
    "renameat2,renameat,rename",
    "write",
    "openat",
    "mkdirat,mkdir",
    "linkat",
    "symlinkat",
    "openat2",
];

#[test]
fn each_system_call_may_fail_once_and_a_failed_one_is_never_acknowledged() {
    let scratch = Scratch::new("fault");
    let strace = require("strace", "strace");
    let timeout = require("timeout", "coreutils");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let expected = Expected::pull(&scratch, &registry, &[IMAGE]);
    let image = reference(&registry, IMAGE);
    // Under strace each run takes a second; a full sweep goes on until a run meets no fault.
    let steps = number("SHALE_TEST_FAULTS", 4);
    let only = std::env::var("SHALE_TEST_CASE").unwrap_or_default();
    let mut hits = 0;
    for call in CALLS.into_iter().filter(|call| call.contains(&only)) {
        let before = hits;
        for error in ["EIO", "ENOSPC"] {
            for step in 1..=steps {
                let shale = Shale::new(&scratch.folder("shale"));
                // Later calls belong to the layers and the commit; the first ones to the start of the program.
                let nth = if steps <= 8 { step * step * 3 - 2 } else { step };
                let log = scratch.path().join("strace.log");
                // Ends strace and what it traces: a runtime whose own wakeups fail may wait for ever.
                let mut command = Command::new(&timeout);
                command.args(["--signal=KILL", "120"]).arg(&strace);
                command.args(["-f", "-y", "-qq", "-o"]).arg(&log);
                command.args(["-e", &format!("trace={call}"), "-e"]);
                command.arg(format!("inject={call}:error={error}:when={nth}"));
                command.arg(shale.program()).arg("--data-root").arg(shale.data_root());
                let finished = run(command.args(["pull", "--quiet", &image]));
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                // Each thread has an n-th call of its own.
                let injected: Vec<&str> = log.lines().filter(|line| line.contains("(INJECTED)")).collect();
                let is_hit = !injected.is_empty();
                let when = format!("{call} number {nth} fails with {error}: {}", finished.describe());
                // A runtime whose own wakeups fail may panic or wait; the store has to stand that too.
                let root = shale.data_root().to_str().expect("scratch paths are text");
                if injected.iter().all(|line| line.contains(root)) {
                    assert!(finished.code() < 126 && finished.code() != 101, "{when}");
                }
                hits += usize::from(is_hit);
                if finished.is_success() {
                    expected.check(&shale, &when);
                    let is_sync = call.contains("sync");
                    assert!(!(is_hit && is_sync), "acknowledged after a failed sync: {when}");
                }
                shale.check_sound(&when);
                shale.shale(&["pull", "--quiet", &image]);
                expected.check(&shale, &when);
                check_no_leftovers(&shale, &when);
                std::fs::remove_dir_all(shale.data_root()).expect("the root is ours");
                if !is_hit {
                    break;
                }
            }
        }
        println!("{call}: {} faults were met", hits - before);
    }
    assert!(hits > 20 || !only.is_empty(), "only {hits} faults were met");
}

#[test]
fn a_full_disk_and_one_without_inodes_give_an_error_and_the_space_back() {
    let scratch = Scratch::new("full");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    for (name, size, options) in [("bytes", "24M", &["-m", "0"][..]), ("inodes", "400M", &["-N", "400"][..])]
    {
        let disk = Disk::make(scratch.path(), name, size, options);
        let shale = Shale::on_root(scratch.path(), &disk.path().join("root"));
        let message = shale.run(&["pull", "--quiet", &reference(&registry, "debian")]).refusal();
        assert!(message.to_lowercase().contains("no space left"), "{name}: {message}");
        shale.check_sound(name);
        check_no_leftovers(&shale, name);
        shale.shale(&["pull", "--quiet", &reference(&registry, IMAGE)]);
        shale.check_sound(name);
    }
}
