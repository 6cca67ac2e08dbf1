//! What `shale tour` leaves behind: nothing, however it ends.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(60);

/// Starts a tour whose directory goes below `temporary`; returns it when it has named its registry.
fn start(temporary: &Path) -> (Child, BufReader<ChildStdout>, String) {
    let mut tour = Command::new(env!("CARGO_BIN_EXE_shale"))
        .arg("tour")
        .env("TMPDIR", temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(tour.stdout.take().unwrap());
    let registry = output.by_ref().lines().find_map(|line| {
        let line = line.unwrap();
        let (_, tag) = line.split_once(" -t ")?;
        Some(tag.split_once('/').unwrap().0.to_owned())
    });
    (tour, output, registry.expect("the tour names its registry"))
}

fn is_empty(directory: &Path) -> bool {
    directory.read_dir().unwrap().next().is_none()
}

/// The guard ends after the tour, so its work is waited for.
#[track_caller]
fn check_nothing_stays(temporary: &Path, registry: &str) {
    let start = Instant::now();
    while !is_empty(temporary) || TcpStream::connect(registry).is_ok() {
        assert!(start.elapsed() < LIMIT, "the directory or the registry is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nothing_stays_when_nobody_reads() {
    let temporary = tempfile::tempdir().unwrap();
    let (mut tour, output, registry) = start(temporary.path());
    drop(output);
    assert_eq!(tour.wait().unwrap().code(), Some(141), "as a shell reports it");
    check_nothing_stays(temporary.path(), &registry);
}

#[test]
fn nothing_stays_when_it_is_ended() {
    for signal in [Signal::TERM, Signal::INT, Signal::KILL] {
        let temporary = tempfile::tempdir().unwrap();
        let (mut tour, output, registry) = start(temporary.path());
        kill_process(Pid::from_child(&tour), signal).unwrap();
        assert!(!tour.wait().unwrap().success());
        check_nothing_stays(temporary.path(), &registry);
        drop(output);
    }
}

#[test]
fn settings_for_another_registry_are_not_for_the_tour() {
    let temporary = tempfile::tempdir().unwrap();
    let tour = Command::new(env!("CARGO_BIN_EXE_shale"))
        .arg("tour")
        .env("TMPDIR", temporary.path())
        .envs([("REGISTRY_AUTH", "bad"), ("REGISTRY_HTTP_ADDR", "nowhere")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(tour.status.success(), "{}", String::from_utf8_lossy(&tour.stderr));
    assert!(is_empty(temporary.path()));
}

#[test]
fn nothing_stays_when_the_registry_does_not_start() {
    let temporary = tempfile::tempdir().unwrap();
    // The registry may write no file.
    let script = format!("ulimit -f 0; exec {} tour", env!("CARGO_BIN_EXE_shale"));
    let tour = Command::new("/bin/sh")
        .args(["-c", &script])
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(tour.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&tour.stderr).contains("the registry did not start"));
    assert!(is_empty(temporary.path()));
}
