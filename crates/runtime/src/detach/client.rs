//! The starter's side: makes a container's directory and supervisor, finds them again, and speaks to them.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde_json::{Value, json};

use super::exec::{ExecSpec, ExecState};
use super::health::HealthCheck;
use super::protocol::{Reply, Request, connect, receive, send};
use super::restart::{self, Restart};
use super::state::{self, State, StateError, Status};
use super::supervise::Plan;
use crate::cgroup::{Cgroups, Stats};
use crate::console::WindowSize;
use crate::find::Runtime;
use crate::launch::{ExitStatus, StartError, make_private_directory, write_bundle};
use crate::log::LogFile;
use crate::process::ProcessId;
use crate::signal::Signal;
use crate::spec::{Capabilities, ContainerSpec, PidNamespace, Resources};

/// How long a killed process may take to end.
pub const KILL_WAIT: Duration = Duration::from_secs(10);

/// A container to run under a supervisor.
#[derive(Debug, Clone)]
pub struct DetachedSpec {
    /// The container.
    pub container: ContainerSpec,
    /// Where and how its output is logged; `None` logs nothing.
    pub log: Option<LogFile>,
    /// `-i`: standard input is a pipe, not `/dev/null`.
    pub open_stdin: bool,
    /// Standard input ends with the first attached client's.
    pub stdin_once: bool,
    /// Size of the terminal at the start.
    pub size: Option<WindowSize>,
    /// What happens when it ends.
    pub restart: Restart,
    /// How its health is checked.
    pub health: Option<HealthCheck>,
}

/// Which streams an attached client takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AttachStreams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Why a supervised container did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Its supervisor cannot be reached; [`Container::state`] tells what became of it.
    #[error("the supervisor of the container in {directory} cannot be reached")]
    Unreachable {
        /// The container's directory.
        directory: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The supervisor or the runtime said no, in Docker's words.
    #[error("{message}")]
    Refused {
        /// Those words.
        message: String,
    },
    /// The container does not run.
    #[error("Container {id} is not running")]
    NotRunning {
        /// The container.
        id: String,
    },
    /// Its record cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A program or file that the act needs.
    #[error("could not use {path}")]
    Io {
        /// Program or file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A supervised container, found by its directory. Any process may hold any number of these.
#[derive(Debug, Clone)]
pub struct Container {
    directory: PathBuf,
}

impl Runtime {
    /// Starts the supervisor of a container in `directory`, which must lie where only this user may enter.
    ///
    /// The container itself waits for [`Container::start`], so that clients can attach before its first byte.
    ///
    /// # Errors
    /// [`StartError`]; an older container in the directory must have ended.
    pub fn supervise(&self, directory: &Path, spec: &DetachedSpec) -> Result<Container, StartError> {
        let supervisor = self.supervisor.as_ref().ok_or(StartError::NoSupervisor)?;
        make_private_directory(directory).map_err(StartError::io(directory))?;
        let bundle = directory.join("bundle");
        write_bundle(self, &bundle, &spec.container)?;
        let plan = Plan {
            id: spec.container.id.clone(),
            program: self.program.clone(),
            records: self.records.clone(),
            rootless: self.id_map.is_some(),
            cgroup_path: spec.container.cgroup_path(),
            own_pid_namespace: spec.container.pid == PidNamespace::Private,
            log_file: spec.log.clone(),
            terminal: spec.container.terminal,
            open_stdin: spec.open_stdin,
            stdin_once: spec.stdin_once,
            size: spec.size,
            restart: spec.restart,
            health: spec.health.clone(),
        };
        restart::unmark(directory).map_err(StartError::io(directory))?;
        let path = directory.join("supervise.json");
        state::store(&path, &plan).map_err(|error| StartError::Io { path, source: error.source })?;
        let log_path = directory.join("supervisor.log");
        let log = fs::File::create(&log_path).map_err(StartError::io(&log_path))?;
        let mut command = Command::new(&supervisor.program);
        command.args(&supervisor.args).arg("supervise").arg(directory).current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(StartError::io(&supervisor.program))?;
        let mut line = String::new();
        let mut stdout = child.stdout.take();
        let said = stdout.as_mut().map(|stdout| BufReader::new(stdout.take(64)).read_line(&mut line));
        if !matches!(said, Some(Ok(_))) || line != "ready\n" {
            let _ = child.wait();
            return Err(StartError::Supervisor {
                message: fs::read_to_string(&log_path).unwrap_or_default(),
            });
        }
        // Reaped when it ends, if this process is still there: a long-lived caller must not gather zombies. The pipe stays
        // open meanwhile: by its end a supervisor that still waits for the word sees that its starter is gone.
        std::thread::spawn(move || {
            let _ = child.wait();
            drop(stdout);
        });
        Ok(Container { directory: directory.to_owned() })
    }
}

impl Container {
    /// Finds a container that was supervised in `directory`, running or not.
    ///
    /// # Errors
    /// [`StateError`] when there is no record.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        State::load(directory)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// The container's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The record. A container whose supervisor was killed is ended and cleaned up first: nobody takes its output
    /// or its end any more; its exit code is then 137.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn state(&self) -> Result<State, StateError> {
        let state = State::load(&self.directory)?;
        if state.status == Status::Exited || state.is_supervised() {
            return Ok(state);
        }
        // Read again: the supervisor may have written the end between the reading and its own.
        let mut state = State::load(&self.directory)?;
        if state.status == Status::Exited {
            return Ok(state);
        }
        let plan = Plan::load(&self.directory)?;
        let runtime = plan.runtime();
        runtime.delete(&plan.id);
        runtime.cgroups(&plan.cgroup_path).remove();
        state.status = Status::Exited;
        state.finished_at = Some(state::now());
        state.exit = Some(ExitStatus { code: 137, oom_killed: false });
        state.error = Some("the container's supervisor was killed".to_owned());
        state.store(&self.directory)?;
        Ok(state)
    }

    fn ask(&self, request: &Request) -> Result<(UnixStream, Reply), ControlError> {
        let ask = || {
            let stream = connect(&self.directory)?;
            send(&stream, request)?;
            let reply = receive(&stream)?;
            Ok((stream, reply))
        };
        ask().map_err(|source| ControlError::Unreachable { directory: self.directory.clone(), source })
    }

    fn ask_stream(&self, request: &Request) -> Result<UnixStream, ControlError> {
        match self.ask(request)? {
            (stream, Reply::Ok) => Ok(stream),
            (_, Reply::Refused { message }) => Err(ControlError::Refused { message }),
            (_, Reply::Exited(_)) => {
                Err(ControlError::Refused { message: "the container has ended".to_owned() })
            }
        }
    }

    /// Starts the container that waits in its supervisor.
    ///
    /// # Errors
    /// [`StartError`], as `docker run` words it; the record then says so too.
    pub fn start(&self) -> Result<(), StartError> {
        match self.ask(&Request::Start) {
            Ok((_, Reply::Ok | Reply::Exited(_))) => Ok(()),
            Ok((_, Reply::Refused { message })) => Err(StartError::from_message(message)),
            Err(error) => Err(StartError::Supervisor { message: error.to_string() }),
        }
    }

    /// Takes part in the container's streams, from now on.
    ///
    /// The socket carries Docker's attach stream: frames of eight bytes and a payload, or, with a terminal, bare
    /// bytes; what is written to it goes to standard input, which its half-close ends. It ends with the container.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn attach(&self, streams: AttachStreams) -> Result<UnixStream, ControlError> {
        let AttachStreams { stdin, stdout, stderr } = streams;
        self.ask_stream(&Request::Attach { stdin, stdout, stderr })
    }

    /// Sets the size of the container's terminal.
    ///
    /// # Errors
    /// [`ControlError`], also when it has none.
    pub fn resize(&self, size: WindowSize) -> Result<(), ControlError> {
        self.ask_stream(&Request::Resize { exec: None, size }).map(drop)
    }

    /// Waits for the container's end.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn wait(&self) -> Result<ExitStatus, ControlError> {
        match self.begin_wait(false) {
            Ok(waiting) => waiting.finish(),
            // It ended before the question, or its supervisor was killed meanwhile.
            Err(_) => self.ended(),
        }
    }

    /// Begins to wait for the container's end; with `next` an end after which it is started again counts, too.
    ///
    /// Begun before the start, no end is missed: the supervisor goes only when it has told everyone.
    ///
    /// # Errors
    /// [`ControlError::Unreachable`] when there is no supervisor, any more or yet.
    pub fn begin_wait(&self, next: bool) -> Result<Waiting, ControlError> {
        let (stream, reply) = self.ask(&Request::Wait { next })?;
        let exit = if let Reply::Exited(exit) = reply { Some(exit) } else { None };
        Ok(Waiting { container: self.clone(), stream, exit })
    }

    /// How it ended, from its record.
    fn ended(&self) -> Result<ExitStatus, ControlError> {
        let state = self.state()?;
        state.exit.ok_or_else(|| ControlError::Refused { message: state.error.unwrap_or_default() })
    }

    /// Starts one more process and takes part in its streams, as in [`Container::attach`].
    ///
    /// # Errors
    /// [`ControlError::Refused`] with Docker's words when it cannot start; its exit code is then 126.
    pub fn exec(&self, id: &str, exec: &ExecSpec) -> Result<UnixStream, ControlError> {
        self.start_exec(id, exec, true)
    }

    /// Starts one more process whose output nobody reads.
    ///
    /// # Errors
    /// As [`Container::exec`].
    pub fn exec_detached(&self, id: &str, exec: &ExecSpec) -> Result<(), ControlError> {
        self.start_exec(id, exec, false).map(drop)
    }

    fn start_exec(&self, id: &str, exec: &ExecSpec, attach: bool) -> Result<UnixStream, ControlError> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(ControlError::Refused { message: format!("invalid exec ID \"{id}\"") });
        }
        let config: Value = state::load(&self.directory.join("bundle/config.json"))?;
        let process = exec_process(&config["process"], exec);
        let stdin = exec.open_stdin;
        self.ask_stream(&Request::Exec { id: id.to_owned(), process, stdin, attach, size: exec.size })
    }

    /// What is known of an exec.
    ///
    /// # Errors
    /// [`StateError`] when there was none of that ID.
    pub fn exec_state(&self, id: &str) -> Result<ExecState, StateError> {
        state::load(&self.directory.join("exec").join(id).join("state.json"))
    }

    /// Sets the size of an exec's terminal.
    ///
    /// # Errors
    /// [`ControlError`], also when it has none.
    pub fn resize_exec(&self, id: &str, size: WindowSize) -> Result<(), ControlError> {
        self.ask_stream(&Request::Resize { exec: Some(id.to_owned()), size }).map(drop)
    }

    fn running(&self) -> Result<(Plan, ProcessId), ControlError> {
        let state = self.state()?;
        match state.init.filter(|_| state.status == Status::Running) {
            Some(init) => Ok((Plan::load(&self.directory)?, init)),
            None => Err(ControlError::NotRunning { id: state.id }),
        }
    }

    /// Sends a signal to the container's first process.
    ///
    /// # Errors
    /// [`ControlError::NotRunning`].
    pub fn kill(&self, signal: Signal) -> Result<(), ControlError> {
        let (plan, init) = self.running()?;
        init.signal(signal.to_kernel()).map_err(|_| ControlError::NotRunning { id: plan.id })
    }

    /// Notes that the container is not to be started again when it ends.
    ///
    /// # Errors
    /// [`ControlError::Io`].
    pub fn keep_stopped(&self) -> Result<(), ControlError> {
        let noted = restart::mark_stopped(&self.directory);
        noted.map_err(|source| ControlError::Io { path: self.directory.clone(), source })
    }

    /// Sends `signal`, waits for at most `patience`, then kills; returns how it ended.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn stop(&self, signal: Signal, patience: Duration) -> Result<ExitStatus, ControlError> {
        self.keep_stopped()?;
        match self.kill(signal) {
            // Between two lives: the supervisor sees the note and ends.
            Err(ControlError::NotRunning { .. }) if self.state()?.status == Status::Restarting => {}
            killed => killed?,
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if self.state()?.status == Status::Exited {
                return self.wait();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        match self.kill(Signal::KILL) {
            Ok(()) | Err(ControlError::NotRunning { .. }) => self.wait_at_most(KILL_WAIT),
            Err(error) => Err(error),
        }
    }

    /// As [`Container::wait`], for a process that was killed: the kernel may need long to let it go.
    ///
    /// # Errors
    /// [`ControlError::Refused`] with Docker's words when it takes longer than `longest`.
    pub fn wait_at_most(&self, longest: Duration) -> Result<ExitStatus, ControlError> {
        let deadline = Instant::now() + longest;
        let Ok(waiting) = self.begin_wait(false) else { return self.ended() };
        waiting.finish_while(&|| Instant::now() < deadline)?.ok_or_else(|| ControlError::Refused {
            message: "tried to kill container, but did not receive an exit event".to_owned(),
        })
    }

    /// Stops the container's processes where they are.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn pause(&self) -> Result<(), ControlError> {
        self.tell_runtime("pause")
    }

    /// Lets a paused container go on.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn resume(&self) -> Result<(), ControlError> {
        self.tell_runtime("resume")
    }

    fn tell_runtime(&self, word: &str) -> Result<(), ControlError> {
        let (plan, _) = self.running()?;
        let output = plan
            .runtime()
            .command()
            .args([word, &plan.id])
            .stdin(Stdio::null())
            .output()
            .map_err(|source| ControlError::Io { path: plan.program.clone(), source })?;
        if output.status.success() {
            return Ok(());
        }
        Err(ControlError::Refused { message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    }

    /// Gives a running container other limits; what `resources` leaves open stays.
    ///
    /// # Errors
    /// [`ControlError`]; it has the limits that it had.
    pub fn update(&self, resources: &Resources) -> Result<(), ControlError> {
        let (plan, _) = self.running()?;
        let path = self.directory.join("resources.json");
        let text = Value::Object(crate::spec::resource_values(resources)).to_string();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ControlError::Io { path, source }
        };
        fs::write(&path, text).map_err(failed(&path))?;
        let mut command = plan.runtime().command();
        let output =
            command.arg("update").arg("--resources").arg(&path).arg(&plan.id).stdin(Stdio::null()).output();
        let output = output.map_err(failed(&plan.program))?;
        if output.status.success() {
            return Ok(());
        }
        Err(ControlError::Refused { message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    }

    /// Whether the container is paused.
    ///
    /// # Errors
    /// [`ControlError::NotRunning`].
    pub fn is_paused(&self) -> Result<bool, ControlError> {
        Ok(self.cgroups()?.is_frozen())
    }

    /// The container's control groups.
    ///
    /// # Errors
    /// [`ControlError::NotRunning`].
    pub fn cgroups(&self) -> Result<Cgroups, ControlError> {
        let (plan, _) = self.running()?;
        Ok(plan.runtime().cgroups(&plan.cgroup_path))
    }

    /// The container's counters now.
    ///
    /// # Errors
    /// [`ControlError::NotRunning`].
    pub fn stats(&self) -> Result<Stats, ControlError> {
        let (plan, init) = self.running()?;
        Ok(plan.runtime().cgroups(&plan.cgroup_path).stats(init.pid))
    }

    /// The rows of the host's `ps` with `ps_args` (Docker's default is `-ef`) that are the container's; titles first.
    ///
    /// # Errors
    /// [`ControlError`]; a `ps` that shows no PID column is refused in Docker's words.
    pub fn top(&self, ps_args: &[String]) -> Result<Vec<Vec<String>>, ControlError> {
        let processes = self.cgroups()?.processes();
        let refuse = |message: String| ControlError::Refused { message };
        let output = Command::new("ps")
            .args(ps_args)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| ControlError::Io { path: "ps".into(), source })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(refuse(format!("error running ps: {said}")));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        let titles: Vec<String> =
            lines.next().unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
        let place = titles.iter().position(|title| title == "PID");
        let place = place.ok_or_else(|| refuse("Couldn't find PID field in ps output".to_owned()))?;
        let columns = titles.len();
        let mut table = vec![titles];
        for line in lines {
            // The last column may have blanks.
            let mut row: Vec<String> = Vec::with_capacity(columns);
            let mut rest = line.trim_start();
            while row.len() + 1 < columns {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                row.push(rest[..end].to_owned());
                rest = rest[end..].trim_start();
            }
            row.push(rest.trim_end().to_owned());
            if row.get(place).and_then(|pid| pid.parse().ok()).is_some_and(|pid| processes.contains(&pid)) {
                table.push(row);
            }
        }
        Ok(table)
    }
}

/// Somebody who waits for the end of a container.
#[derive(Debug)]
#[must_use = "nobody waits yet"]
pub struct Waiting {
    container: Container,
    stream: UnixStream,
    exit: Option<ExitStatus>,
}

impl Waiting {
    /// Waits.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn finish(self) -> Result<ExitStatus, ControlError> {
        match self.exit {
            Some(exit) => Ok(exit),
            None => match receive(&self.stream) {
                Ok(Reply::Exited(exit)) => Ok(exit),
                _ => self.container.ended(),
            },
        }
    }

    /// Waits as long as `goes_on` says so, which is asked several times a second; `None` when it said no.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn finish_while(self, goes_on: &dyn Fn() -> bool) -> Result<Option<ExitStatus>, ControlError> {
        let patience = rustix::time::Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
        while self.exit.is_none() {
            let mut watched = [PollFd::new(&self.stream, PollFlags::IN)];
            match rustix::event::poll(&mut watched, Some(&patience)) {
                Ok(0) | Err(rustix::io::Errno::INTR) if !goes_on() => return Ok(None),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => break,
            }
        }
        self.finish().map(Some)
    }
}

/// The container's own process description with the exec's over it.
pub(super) fn exec_process(container: &Value, exec: &ExecSpec) -> Value {
    let mut process = container.clone();
    process["args"] = json!(exec.args);
    let mut env: Vec<String> = serde_json::from_value(container["env"].clone()).unwrap_or_default();
    let set_by_terminal = container["terminal"] == true && !exec.terminal;
    env.retain(|entry| !(set_by_terminal && entry == "TERM=xterm"));
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let has_term = env.iter().chain(&exec.env).any(|entry| name(entry) == "TERM");
    if exec.terminal && !has_term {
        env.push("TERM=xterm".to_owned());
    }
    for entry in &exec.env {
        env.retain(|earlier| name(earlier) != name(entry));
        if entry.contains('=') {
            env.push(entry.clone());
        }
    }
    process["env"] = json!(env);
    process["terminal"] = json!(exec.terminal);
    if let Some(cwd) = &exec.cwd {
        process["cwd"] = json!(cwd);
    }
    if let Some(user) = &exec.user {
        process["user"] = json!({ "uid": user.uid, "gid": user.gid, "additionalGids": user.additional_gids });
    }
    let granted = if exec.privileged {
        json!(Capabilities::default().resolve(true).unwrap_or_default())
    } else {
        container["capabilities"]["bounding"].clone()
    };
    process["capabilities"] = json!({ "bounding": granted });
    if process["user"]["uid"] == 0 {
        process["capabilities"]["effective"] = granted.clone();
        process["capabilities"]["permitted"] = granted;
    }
    process
}
