//! One run of `cargo test`: shown while it runs, bounded in time, and read for what failed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a run of the test programs said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tests {
    /// Names of the tests that failed.
    pub failed: BTreeSet<String>,
    /// Names of the tests that were said to run for long and had no outcome yet.
    pub unfinished: BTreeSet<String>,
    /// Test programs that began, less those that came to their result: a test that aborts has no outcome.
    without_result: usize,
}

impl Tests {
    /// Takes in one line of libtest's plain output.
    fn read(&mut self, line: &str) {
        if line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test")) {
            self.without_result += 1;
        } else if line.starts_with("test result: ") {
            self.without_result = self.without_result.saturating_sub(1);
            return;
        }
        let Some(rest) = line.strip_prefix("test ") else { return };
        if let Some(name) = rest.strip_suffix(" has been running for over 60 seconds") {
            self.unfinished.insert(name.to_owned());
        } else if let Some((name, outcome)) = rest.rsplit_once(" ... ") {
            self.unfinished.remove(name);
            if outcome.starts_with("FAILED") {
                self.failed.insert(name.to_owned());
            }
        }
    }

    /// Whether a second try of the failed tests alone would tell all: something failed, and everything had an outcome.
    pub fn can_be_repeated(&self) -> bool {
        !self.failed.is_empty() && self.unfinished.is_empty() && self.without_result == 0
    }
}

/// Runs `command` and passes its standard output on; ends it, and all that descends from it, after `limit`.
///
/// The first value is what the tests said, also when the run failed.
pub fn run(mut command: Command, limit: Duration) -> (Tests, Result<()>) {
    let mut tests = Tests::default();
    let result = watch(&mut command, limit, &mut tests);
    (tests, result)
}

fn watch(command: &mut Command, limit: Duration, tests: &mut Tests) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {:?}", command.get_program()))?;
    let output = child.stdout.take().expect("it is piped");
    let (sender, lines) = channel();
    // Not joined: a descendant that outlives the command may hold the pipe for ever.
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + limit;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let line = String::from_utf8_lossy(&line);
                println!("{line}");
                tests.read(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                end_with_descendants(&mut child);
                let names: Vec<&str> = tests.unfinished.iter().map(String::as_str).collect();
                bail!(
                    "not ended after {} minutes; still running: {}",
                    limit.as_secs() / 60,
                    names.join(", ")
                );
            }
        }
    }
    verdict(child.wait().context("could not wait for the tests")?)
}

fn verdict(status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("ended with {status}");
    }
    Ok(())
}

/// Kills the command, its children, theirs and so on, the youngest last so that no parent can replace what was killed.
fn end_with_descendants(child: &mut Child) {
    let mut doomed = vec![child.id()];
    let mut next = 0;
    let processes = parents();
    while let Some(&parent) = doomed.get(next) {
        doomed.extend(
            processes.iter().filter(|(_, its_parent)| *its_parent == parent).map(|(process, _)| *process),
        );
        next += 1;
    }
    let _ = Command::new("kill")
        .arg("-KILL")
        .args(doomed.iter().map(u32::to_string))
        .stderr(Stdio::null())
        .status();
    let _ = child.wait();
}

/// Each process of the system with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let process: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
            // "PID (NAME) STATE PARENT …", and the name may hold anything, so read from its last bracket.
            let stat = String::from_utf8_lossy(&stat).into_owned();
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((process, parent))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn failed_tests_are_told_by_name() {
        let (tests, result) = run(
            shell("echo 'test a::b ... ok'; echo 'test a::c ... FAILED'; exit 101"),
            Duration::from_secs(20),
        );
        assert!(result.is_err());
        assert_eq!(tests.failed.iter().map(String::as_str).collect::<Vec<_>>(), ["a::c"]);
        assert!(tests.can_be_repeated());
    }

    #[test]
    fn a_test_program_that_was_killed_is_not_repeated_by_names() {
        let whole = "echo 'running 1 test'; echo 'test a::c ... FAILED'; echo 'test result: FAILED. 0 passed; 1 failed'";
        let (tests, _) = run(shell(whole), Duration::from_secs(20));
        assert!(tests.can_be_repeated());
        let (tests, _) =
            run(shell(&format!("{whole}; echo 'running 2 tests'; exit 1")), Duration::from_secs(20));
        assert!(!tests.can_be_repeated());
    }

    #[test]
    fn a_run_that_hangs_is_ended_with_its_children_and_names_the_test() {
        let script =
            "echo 'test a::slow has been running for over 60 seconds'; sleep 4321 & echo child $!; wait";
        let start = Instant::now();
        let (tests, result) = run(shell(script), Duration::from_secs(1));
        assert!(start.elapsed() < Duration::from_secs(60));
        let error = result.unwrap_err().to_string();
        assert!(error.contains("a::slow"), "{error}");
        assert!(!tests.can_be_repeated());
        let goes_on = |(process, _): (u32, u32)| {
            fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| line == b"sleep\x004321\x00")
        };
        while parents().into_iter().any(goes_on) {
            assert!(start.elapsed() < Duration::from_secs(60), "the child of the command goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
