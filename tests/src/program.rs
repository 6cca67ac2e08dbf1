//! Running programs: one command to its end, or a server until it is dropped.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What a finished command said.
#[derive(Debug)]
pub struct Finished {
    /// The command as one would type it, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output, lossily as text.
    pub stdout: String,
    /// Standard error, lossily as text.
    pub stderr: String,
}

impl Finished {
    /// Whether the exit code was 0.
    pub fn is_success(&self) -> bool {
        self.status.success()
    }

    /// The exit code; a signal N counts as 128 + N, as in a shell.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Standard output when the exit code was 0.
    ///
    /// # Panics
    /// With command, code and both outputs otherwise.
    #[track_caller]
    pub fn success(self) -> String {
        assert!(self.is_success(), "{}", self.describe());
        self.stdout
    }

    /// Standard error when the exit code was a refusal: neither 0, nor a signal, nor Rust's code for a panic.
    #[track_caller]
    pub fn refusal(self) -> String {
        assert!(!self.is_success(), "was accepted: {}", self.describe());
        assert!(self.code() < 126 && self.code() != 101, "{}", self.describe());
        self.stderr
    }

    /// All that is known about the run, for a failure message.
    pub fn describe(&self) -> String {
        format!(
            "{} ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.command, self.status, self.stdout, self.stderr
        )
    }
}

/// Runs `command` to its end without standard input.
#[track_caller]
pub fn run(command: &mut Command) -> Finished {
    let shown = show(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("could not start {shown}: {error}"));
    Finished {
        command: shown,
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What a run cost beside its outcome.
#[derive(Debug)]
pub struct Bounded {
    /// How it ended; killed by us (SIGKILL) when it took longer than allowed.
    pub finished: Finished,
    /// Highest resident memory seen, sampled every few milliseconds.
    pub peak_kib: u64,
    /// Wall time.
    pub elapsed: Duration,
}

/// Runs `command` to its end or for `limit`, watching its memory.
#[track_caller]
pub fn run_bounded(command: &mut Command, limit: Duration) -> Bounded {
    let shown = show(command);
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("could not start {shown}: {error}"));
    let (mut out, mut err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let out = std::thread::spawn(move || read_lossily(&mut out));
    let err = std::thread::spawn(move || read_lossily(&mut err));
    let mut peak_kib = 0;
    let status = loop {
        if is_another_program(child.id()) {
            peak_kib = peak_kib.max(resident_peak_kib(child.id()));
        }
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break status;
        }
        if start.elapsed() > limit {
            child.kill().expect("the child is ours");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let finished = Finished {
        command: shown,
        status,
        stdout: out.join().expect("reading does not panic"),
        stderr: err.join().expect("reading does not panic"),
    };
    Bounded { finished, peak_kib, elapsed: start.elapsed() }
}

fn read_lossily(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is still worth showing.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether `pid` runs something else than this program. Between its fork and its exec a child has our memory.
fn is_another_program(pid: u32) -> bool {
    let program = |of: &str| fs::read_link(format!("/proc/{of}/exe")).ok();
    program(&pid.to_string()).is_some_and(|theirs| program("self") != Some(theirs))
}

/// Highest resident memory of a process so far; 0 when it is gone.
pub fn resident_peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Runs `script` with `sh -eu` in `directory`; standard output when it succeeds.
#[track_caller]
pub fn shell(directory: &Path, script: &str) -> String {
    run(Command::new("sh").args(["-euc", script]).current_dir(directory)).success()
}

fn show(command: &Command) -> String {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}

/// The absolute path of `program`.
///
/// # Panics
/// Names the Debian `package` when the program is missing.
#[track_caller]
pub fn require(program: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{program} is missing: install the Debian package {package}"))
}

/// A server that dies with this process at the latest.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `program`, its output going to the file `log`.
    #[track_caller]
    pub fn start(
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        environment: &[(&str, &str)],
        log: &Path,
    ) -> Self {
        let out = File::options().create(true).append(true).open(log).expect("the log can be written");
        let err = out.try_clone().expect("a file can be opened twice");
        // setpriv execs the program, so the pid is the server's; when the tests are killed, it gets SIGTERM.
        let child = Command::new(require("setpriv", "util-linux"))
            .args(["--pdeathsig", "TERM", "--"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("could not start {}: {error}", program.display()));
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, child, log: log.to_owned() }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `ready`, up to `limit`; false when the server ended by itself meanwhile.
    #[track_caller]
    pub fn wait_until(&mut self, limit: Duration, ready: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        while !ready() {
            if self.child.try_wait().expect("the child is ours").is_some() {
                return false;
            }
            assert!(start.elapsed() < limit, "{} is not ready after {limit:?}:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// SIGTERM, then SIGKILL when that is not enough after `grace`.
    pub fn stop(&mut self, grace: Duration) {
        self.signal(Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < grace {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }

    /// SIGKILL, now.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop(Duration::from_secs(20));
        }
    }
}
