//! kill -9 at random moments: nothing is left for ever, and the store stays sound.
//!
//! `SHALE_TEST_KILLS` sets how often each command is killed, `SHALE_TEST_SEED` the moments.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shale_tests::peer::{Shale, ShaleRegistry};
use shale_tests::program::run;
use shale_tests::random::{Random, number};
use shale_tests::scratch::Scratch;

use super::pair::{names, shale_with_image};

/// Starts a command in a group of its own and kills the whole group after `delay`; true when it had ended before.
fn kill_after(shale: &Shale, words: &[&str], delay: Duration) -> bool {
    let mut child = std::os::unix::process::CommandExt::process_group(&mut shale.command(words), 0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    std::thread::sleep(delay);
    let had_ended = child.try_wait().expect("ours").is_some();
    let group = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    let _ = child.wait();
    had_ended
}

/// Pids whose command line or environment of names speaks of this root, the test's own aside.
fn processes_of(root: &Path) -> Vec<String> {
    let root = root.to_str().expect("text");
    let mut found = Vec::new();
    for pid in names(Path::new("/proc")).iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(root) {
            found.push(format!("{pid} {line}"));
        }
    }
    found
}

fn cgroups_of(ids: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for hierarchy in names(Path::new("/sys/fs/cgroup")) {
        for group in names(&Path::new("/sys/fs/cgroup").join(&hierarchy).join("shale")) {
            if ids.contains(&group) {
                found.push(format!("{hierarchy}/shale/{group}"));
            }
        }
    }
    found
}

#[test]
fn nothing_is_left_for_ever_whenever_run_exec_and_rm_are_killed() {
    let scratch = Scratch::new("c-kill");
    let shale = shale_with_image(&scratch);
    let mut random = Random::of_this_run();
    let mut seen_ids: Vec<String> = Vec::new();
    for round in 0..number("SHALE_TEST_KILLS", 12) {
        // How long a whole one takes now, on this machine and under this load.
        let start = Instant::now();
        shale.shale(&["run", "--rm", "--network", "none", "busybox", "true"]);
        let whole_ms = start.elapsed().as_millis().max(1) as u64;
        shale.shale(&["run", "-d", "--name", "target", "--network", "none", "busybox", "sleep", "1000"]);
        let commands: [&[&str]; 5] = [
            &["run", "--rm", "--network", "none", "busybox", "sleep", "1000"],
            &["run", "-d", "--network", "none", "busybox", "sleep", "1000"],
            &["exec", "target", "sleep", "1000"],
            &["cp", "/etc/services", "target:/tmp"],
            &["rm", "-f", "target"],
        ];
        for words in commands {
            kill_after(&shale, words, Duration::from_millis(random.below(whole_ms * 5 / 4)));
            seen_ids.extend(names(&shale.data_root().join("containers")));
        }
        check_is_clean(&shale, &mut seen_ids, round);
    }
}

/// Whatever was killed: all containers are listed and can be removed, and then nothing is there any more.
#[track_caller]
fn check_is_clean(shale: &Shale, seen_ids: &mut Vec<String>, round: u64) {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        let listed = shale.shale(&["ps", "-aq", "--no-trunc"]);
        let ids: Vec<&str> = listed.split_whitespace().collect();
        if !ids.is_empty() {
            let words = [&["rm", "-f"][..], &ids].concat();
            let _ = run(&mut shale.command(&words));
        }
        // A lock of a process that is being killed may be held for a moment; one that nobody starts any more gives up.
        let root = shale.data_root();
        let left = [
            names(&root.join("containers")),
            names(&root.join("image/overlay2/layerdb/mounts")),
            names(&root.join("shale/leases")),
            processes_of(root),
            mounts_of(root),
            cgroups_of(seen_ids),
        ]
        .concat();
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < limit, "round {round}: left for ever: {left:#?}");
        std::thread::sleep(Duration::from_millis(200));
        // The next command that writes sweeps.
        let _ = run(&mut shale.command(&["gc"]));
    }
    let fsck = run(&mut shale.command(&["fsck", "--quiet"]));
    assert!(fsck.is_success(), "round {round}: {}", fsck.describe());
    seen_ids.clear();
}

/// Mounts below the root that any process sees.
fn mounts_of(root: &Path) -> Vec<String> {
    let root = root.to_str().expect("text");
    let mut found = Vec::new();
    for pid in names(Path::new("/proc")).iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        found.extend(table.lines().filter(|line| line.contains(root)).map(|line| format!("{pid}: {line}")));
    }
    found
}

/// A runtime that was deleting what it had half made leaves a process in the container's groups and no record of it.
#[test]
fn a_process_that_no_record_tells_of_is_ended_with_its_groups() {
    let scratch = Scratch::new("unrecorded");
    let id = format!("unrecorded-{}", std::process::id());
    let mut sleeper = Command::new("sleep").arg("1000").spawn().expect("sleep is there");
    let mut groups = Vec::new();
    for hierarchy in ["pids", "memory", "unified", ""] {
        let group = Path::new("/sys/fs/cgroup").join(hierarchy).join("shale").join(&id);
        let is_hierarchy =
            group.parent().and_then(Path::parent).is_some_and(|top| top.join("cgroup.procs").exists());
        if is_hierarchy && std::fs::create_dir_all(&group).is_ok() {
            let moved = std::fs::write(group.join("cgroup.procs"), sleeper.id().to_string());
            moved.expect("root moves processes");
            groups.push(group);
        }
    }
    assert!(!groups.is_empty(), "there are no control groups here");
    let mut guard = Command::new(ShaleRegistry::program())
        .args(["__supervise-container", "guard", "/usr/sbin/runc"])
        .arg(scratch.path().join("records"))
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut told = guard.stdin.take().expect("piped");
    writeln!(told, "+{id} /shale/{id}").expect("it reads");
    drop(told);
    let start = Instant::now();
    while sleeper.try_wait().expect("ours").is_none() && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(guard.wait().expect("ours").success());
    sleeper.kill().expect("ours");
    assert!(start.elapsed() < Duration::from_secs(20), "the process goes on");
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
}
