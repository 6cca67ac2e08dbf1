//! The supervisor process: waits for the word, starts the container, waits for its end, records it, goes.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::broadcast::Broadcast;
use super::health::{self, HealthCheck, HealthStatus};
use super::protocol;
use super::restart::{self, Restart, Restarts};
use super::server::{self, Session};
use super::state::{self, State, Status, now};
use crate::console::WindowSize;
use crate::find::Runtime;
use crate::launch::{ExitStatus, Inherited, Launched, StartError};
use crate::log::{Log, LogFile, LogStream};
use crate::process::ProcessId;
use crate::spec::PidNamespace;

/// How long a supervisor waits for the word to start.
const START_WAIT: Duration = Duration::from_secs(60);
/// How long it waits for the ends of the output pipes once the container's first process is gone.
const DRAIN_WAIT: Duration = Duration::from_secs(10);

/// `supervise.json`: what a supervisor is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) id: String,
    pub(super) program: PathBuf,
    pub(super) records: PathBuf,
    pub(super) rootless: bool,
    pub(super) cgroup_path: String,
    pub(super) own_pid_namespace: bool,
    #[serde(default)]
    pub(super) log_file: Option<LogFile>,
    pub(super) terminal: bool,
    pub(super) open_stdin: bool,
    pub(super) stdin_once: bool,
    pub(super) size: Option<WindowSize>,
    pub(super) restart: Restart,
    #[serde(default)]
    pub(super) health: Option<HealthCheck>,
}

impl Plan {
    pub(super) fn load(directory: &Path) -> Result<Self, state::StateError> {
        state::load(&directory.join("supervise.json"))
    }

    pub(super) fn runtime(&self) -> Runtime {
        let mut runtime = Runtime::at(self.program.clone(), self.records.clone());
        runtime.id_map = self.rootless.then(|| crate::find::IdMap { uids: Vec::new(), gids: Vec::new() });
        runtime
    }

    pub(super) fn pid_namespace(&self) -> PidNamespace {
        if self.own_pid_namespace { PidNamespace::Private } else { PidNamespace::Host }
    }
}

/// The whole life of a supervisor or guard process: `args` are those that come after [`crate::Supervisor::args`].
///
/// Call it before anything else in `main`, and end with what it returns.
pub fn supervise_main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let words: Vec<&Path> = args.iter().map(Path::new).collect();
    match words.as_slice() {
        [word, program, records] if *word == Path::new("guard") => {
            crate::run::guard_main(&Runtime::at(program.to_path_buf(), records.to_path_buf()));
            ExitCode::SUCCESS
        }
        [word, directory] if *word == Path::new("supervise") => match supervise(directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}: {error:?}");
                ExitCode::from(125)
            }
        },
        _ => {
            eprintln!("this command is started by the program itself");
            ExitCode::from(125)
        }
    }
}

/// What a started container gives the supervisor to hold.
pub(super) struct Held {
    launched: Launched,
    copiers: Receiver<()>,
    copier_count: usize,
}

fn supervise(directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    // A session of its own: the terminal of whoever started it may go, and its Ctrl-C is not meant for this process.
    let _ = rustix::process::setsid();
    let plan = Plan::load(directory)?;
    let listener = protocol::listen(directory)?;
    let state = State::created(&plan.id);
    state.store(directory)?;
    let session = Arc::new(Session::new(directory.to_owned(), plan, state));
    let accepting = Arc::clone(&session);
    std::thread::spawn(move || server::accept(&accepting, &listener));
    // The starter reads this line and connects. Nothing else is ever printed.
    let _ = writeln!(std::io::stdout(), "ready");

    let Some(held) = session.wait_for_start(START_WAIT, starter_is_gone) else {
        session.finish(|state| {
            state.status = Status::Exited;
            state.error.get_or_insert_with(|| "nobody said start".to_owned());
        });
        return Ok(());
    };
    let mut held = held;
    let mut restarts = Restarts::default();
    loop {
        let began = Instant::now();
        let monitor = health::watch(&session);
        let ended = see_out(&session, &held);
        drop(monitor);
        drop(held);
        let code = ended.as_ref().map_or(255, |exit| exit.code);
        let pause = restarts.next(session.plan.restart, code, began.elapsed());
        let Some(pause) = pause.filter(|_| !restart::is_stopped(directory)) else {
            session.finish(|state| record_end(state, Status::Exited, ended));
            break;
        };
        session.pause(|state| record_end(state, Status::Restarting, ended));
        if !sleep_unless_stopped(directory, pause) {
            session.finish(|state| state.status = Status::Exited);
            break;
        }
        held = match launch(&session) {
            Ok((again, init)) => {
                session.change(|state| {
                    state.status = Status::Running;
                    state.init = Some(init);
                    state.started_at = Some(now());
                    state.restarts = restarts.count;
                });
                again
            }
            Err(error) => {
                session.finish(|state| {
                    state.status = Status::Exited;
                    state.error = Some(error.to_string());
                    state.exit = Some(ExitStatus { code: error.exit_code(), oom_killed: false });
                });
                break;
            }
        };
    }
    let _ = fs::remove_file(directory.join("control"));
    Ok(())
}

/// Whether nobody reads this process's standard output any more, which its starter does as long as it lives.
fn starter_is_gone() -> bool {
    let stdout = std::io::stdout();
    let mut watched = [rustix::event::PollFd::new(&stdout, rustix::event::PollFlags::empty())];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    let _ = rustix::event::poll(&mut watched, Some(&now));
    watched[0].revents().contains(rustix::event::PollFlags::ERR)
}

/// Waits for the container's end, takes its last output, and removes what the runtime keeps of it.
fn see_out(session: &Session, held: &Held) -> std::io::Result<ExitStatus> {
    let code = held.launched.reap();
    let deadline = Instant::now() + DRAIN_WAIT;
    for _ in 0..held.copier_count {
        let _ = held.copiers.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
    let plan = &session.plan;
    let runtime = plan.runtime();
    let cgroups = runtime.cgroups(&plan.cgroup_path);
    let oom_killed = cgroups.oom_killed();
    runtime.remove(&plan.id, &cgroups, &plan.pid_namespace());
    Ok(ExitStatus { code: code?, oom_killed })
}

fn record_end(state: &mut State, status: Status, ended: std::io::Result<ExitStatus>) {
    state.status = status;
    state.finished_at = Some(now());
    // As in Docker: who does not run is not healthy.
    if let Some(health) = &mut state.health {
        health.status = HealthStatus::Unhealthy;
    }
    match ended {
        Ok(exit) => state.exit = Some(exit),
        Err(error) => state.error = Some(format!("the supervisor could not wait: {error}")),
    }
}

/// Sleeps; false as soon as somebody wants the container to stay as it is.
fn sleep_unless_stopped(directory: &Path, pause: Duration) -> bool {
    let until = Instant::now() + pause;
    while Instant::now() < until {
        if restart::is_stopped(directory) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Creates and starts the container of the session.
pub(super) fn launch(session: &Arc<Session>) -> Result<(Held, ProcessId), StartError> {
    let plan = &session.plan;
    let bundle = session.directory.join("bundle");
    let runtime = plan.runtime();
    let open = |log: &LogFile| Log::open(log).map_err(StartError::io(&log.path));
    let log = plan.log_file.as_ref().map(open).transpose()?;
    let pipes = Pipes::open(plan.terminal, plan.open_stdin).map_err(StartError::io("pipe"))?;
    let mut launched = runtime.launch(&bundle, &plan.id, pipes.inherited, plan.terminal)?;
    let (done, copiers) = channel();
    let mut outputs = vec![];
    if let Some(terminal) = launched.terminal.take() {
        if let Some(size) = plan.size {
            let _ = size.set(&terminal);
        }
        let another = |terminal: &OwnedFd| terminal.try_clone().map_err(StartError::io("dup"));
        *lock(&session.stdin) = plan.open_stdin.then(|| another(&terminal)).transpose()?;
        *lock(&session.terminal) = Some(another(&terminal)?);
        outputs.push((terminal, LogStream::Stdout));
    } else {
        *lock(&session.stdin) = pipes.stdin;
        outputs.extend(pipes.stdout.map(|pipe| (pipe, LogStream::Stdout)));
        outputs.extend(pipes.stderr.map(|pipe| (pipe, LogStream::Stderr)));
    }
    let copier_count = outputs.len();
    for (pipe, stream) in outputs {
        let (session, done) = (Arc::clone(session), done.clone());
        let log = log.as_ref().map(|log| log.writer(stream));
        std::thread::spawn(move || {
            session.broadcast.copy(&pipe, stream, log);
            let _ = done.send(());
        });
    }
    // A process that has ended already is a zombie without a start time worth keeping.
    let init = ProcessId::find(launched.pid).unwrap_or(ProcessId { pid: launched.pid, start_ticks: 0 });
    Ok((Held { launched, copiers, copier_count }, init))
}

/// Pipes between this process and a new one; none with a terminal.
pub(super) struct Pipes {
    pub(super) inherited: Inherited,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

impl Pipes {
    pub(super) fn open(terminal: bool, open_stdin: bool) -> std::io::Result<Self> {
        let mut inherited = Inherited::null();
        if terminal {
            return Ok(Self { inherited, stdin: None, stdout: None, stderr: None });
        }
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (stdout, far_stdout) = pipe()?;
        let (stderr, far_stderr) = pipe()?;
        (inherited.stdout, inherited.stderr) = (far_stdout.into(), far_stderr.into());
        let mut stdin = None;
        if open_stdin {
            let (far_stdin, near) = pipe()?;
            inherited.stdin = far_stdin.into();
            stdin = Some(near);
        }
        Ok(Self { inherited, stdin, stdout: Some(stdout), stderr: Some(stderr) })
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Session {
    fn new(directory: PathBuf, plan: Plan, state: State) -> Self {
        let broadcast = Broadcast::new(!plan.terminal);
        Self::with(directory, plan, state, broadcast)
    }
}
