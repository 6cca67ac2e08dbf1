//! A container's health: a command that is run in it again and again, and what its ends say.
//!
//! Source: moby `daemon/health.go` at v20.10.24; the interval of the start period is that of v25.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};

use super::client::exec_process;
use super::exec::ExecSpec;
use super::server::Session;
use super::state::{self, Status, now};
use crate::launch::{Inherited, StartError, make_private_directory};

/// Results that are kept.
const RESULTS_MAX: usize = 5;
/// How much of what a check printed is kept.
const OUTPUT_BYTES_MAX: usize = 4096;

/// How a container's health is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Between two checks, and before the first.
    pub interval: Duration,
    /// A check that takes longer is killed and counts as failed.
    pub timeout: Duration,
    /// After the start, as long as none succeeded, failures do not count.
    pub start_period: Duration,
    /// Between two checks in that time.
    pub start_interval: Duration,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
}

/// What the checks said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// In one word.
    pub status: HealthStatus,
    /// Failures since the last success.
    pub failing_streak: u32,
    /// The last five checks.
    pub log: Vec<HealthResult>,
}

/// A container's health in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum HealthStatus {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    /// Returns the word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// How one check ended. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct HealthResult {
    pub start: String,
    pub end: String,
    /// -1 for one that could not be started, or took too long.
    pub exit_code: i32,
    pub output: String,
}

impl Health {
    /// Takes a result in; `is_start_period` when the container has just been started.
    fn record(&mut self, check: &HealthCheck, result: HealthResult, is_start_period: bool) {
        if result.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if !(self.status == HealthStatus::Starting && is_start_period) {
            self.failing_streak += 1;
            if self.failing_streak >= check.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        if self.log.len() >= RESULTS_MAX {
            self.log.remove(0);
        }
        self.log.push(result);
    }
}

/// Checks a container's health until it is dropped.
pub(super) struct Monitor {
    _stop: Sender<()>,
}

/// Begins to check the health of the session's container, which has just been started.
pub(super) fn watch(session: &Arc<Session>) -> Option<Monitor> {
    let check = session.plan.health.clone()?;
    let (stop, stopped) = channel();
    let session = Arc::clone(session);
    session.change(|state| state.health = Some(Health::default()));
    std::thread::spawn(move || follow(&session, &check, &stopped));
    Some(Monitor { _stop: stop })
}

fn follow(session: &Arc<Session>, check: &HealthCheck, stopped: &Receiver<()>) {
    let started = Instant::now();
    let mut is_starting = true;
    loop {
        let is_start_period = started.elapsed() < check.start_period;
        let interval = if is_starting && is_start_period { check.start_interval } else { check.interval };
        if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        // A paused container is as healthy as it was.
        if session.plan.runtime().cgroups(&session.plan.cgroup_path).is_frozen() {
            continue;
        }
        let is_start_period = started.elapsed() < check.start_period;
        let result = probe(session, check);
        session.change(|state| {
            if state.status == Status::Running
                && let Some(health) = &mut state.health
            {
                health.record(check, result, is_start_period);
                is_starting = health.status == HealthStatus::Starting;
            }
        });
    }
}

fn probe(session: &Session, check: &HealthCheck) -> HealthResult {
    let start = now();
    let (exit_code, output) = match run(session, check) {
        Ok(Some(ended)) => ended,
        Ok(None) => (-1, format!("Health check exceeded timeout ({})", go_duration(check.timeout))),
        Err(error) => (-1, error.message()),
    };
    HealthResult { start, end: now(), exit_code, output }
}

/// Runs the command; `None` when it took too long.
fn run(session: &Session, check: &HealthCheck) -> Result<Option<(i32, String)>, StartError> {
    let directory = session.directory.join("exec/health");
    make_private_directory(&directory).map_err(StartError::io(&directory))?;
    let path = session.directory.join("bundle/config.json");
    let config: serde_json::Value =
        state::load(&path).map_err(|error| StartError::Io { path: error.path, source: error.source })?;
    let spec = ExecSpec { args: check.args.clone(), ..ExecSpec::default() };
    let path = directory.join("process.json");
    let process = exec_process(&config["process"], &spec).to_string();
    std::fs::write(&path, process).map_err(StartError::io(path))?;
    let pipe = || -> std::io::Result<(OwnedFd, OwnedFd, OwnedFd)> {
        let (near, far) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&near, true)?;
        let other = far.try_clone()?;
        Ok((near, far, other))
    };
    let (output, stdout, stderr) = pipe().map_err(StartError::io(Path::new("pipe")))?;
    let inherited = Inherited { stdout: stdout.into(), stderr: stderr.into(), ..Inherited::null() };
    let deadline = Instant::now() + check.timeout;
    let launched = session.plan.runtime().launch_exec(&directory, &session.plan.id, inherited, false)?;
    let mut kept = Vec::new();
    let mut output = File::from(output);
    let mut is_open = true;
    let in_time = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break false;
        }
        let mut watched = vec![PollFd::from_borrowed_fd(launched.descriptor.as_fd(), PollFlags::IN)];
        if is_open {
            watched.push(PollFd::new(&output, PollFlags::IN));
        }
        let timeout = rustix::time::Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let _ = rustix::event::poll(&mut watched, Some(&timeout));
        let has_ended = !watched[0].revents().is_empty();
        // What it left running may hold the pipe open: only what is there is read.
        is_open = is_open && take(&mut output, &mut kept);
        if has_ended {
            break true;
        }
    };
    if !in_time {
        let _ = rustix::process::pidfd_send_signal(&launched.descriptor, rustix::process::Signal::KILL);
    }
    // Whatever came of it: a zombie would keep the container's first process from ending.
    let code = launched.reap().map_err(StartError::io(Path::new("the health check")))?;
    Ok(in_time.then(|| (code, text(&kept))))
}

/// Reads what is there; false at the end.
fn take(output: &mut File, kept: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => return false,
            // One byte more than is shown says that there was more.
            Ok(count) => {
                let room = (OUTPUT_BYTES_MAX + 1).saturating_sub(kept.len());
                kept.extend_from_slice(&buffer[..count.min(room)]);
            }
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

fn text(kept: &[u8]) -> String {
    match kept.len() > OUTPUT_BYTES_MAX {
        true => format!("{}...", String::from_utf8_lossy(&kept[..OUTPUT_BYTES_MAX])),
        false => String::from_utf8_lossy(kept).into_owned(),
    }
}

/// As Go prints it: `1m30s`, `500ms`.
fn go_duration(duration: Duration) -> String {
    let (seconds, rest) = (duration.as_secs(), duration.subsec_nanos());
    if seconds == 0 {
        return format!("{}ms", f64::from(rest) / 1e6);
    }
    let fraction = seconds as f64 % 60.0 + f64::from(rest) / 1e9;
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{fraction}s"),
        (0, minutes) => format!("{minutes}m{fraction}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(retries: u32) -> HealthCheck {
        HealthCheck {
            args: vec!["true".to_owned()],
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            start_period: Duration::ZERO,
            start_interval: Duration::from_secs(5),
            retries,
        }
    }

    fn ended(exit_code: i32) -> HealthResult {
        HealthResult { start: String::new(), end: String::new(), exit_code, output: String::new() }
    }

    #[test]
    fn failures_count_in_a_row_and_not_while_it_starts() {
        let (check, mut health) = (check(2), Health::default());
        health.record(&check, ended(1), true);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 0));
        health.record(&check, ended(1), false);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 1));
        health.record(&check, ended(0), false);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
        // The start period is over with the first success.
        health.record(&check, ended(1), true);
        health.record(&check, ended(-1), true);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Unhealthy, 2));
        health.record(&check, ended(0), false);
        assert_eq!((health.status, health.log.len()), (HealthStatus::Healthy, 5));
    }

    #[test]
    fn spans_are_printed_as_go_prints_them() {
        for (ms, text) in
            [(500, "500ms"), (1000, "1s"), (1500, "1.5s"), (90_000, "1m30s"), (3_600_000, "1h0m0s")]
        {
            assert_eq!(go_duration(Duration::from_millis(ms)), text);
        }
    }
}
