//! `POST /containers/{id}/exec` and what follows: one more process in a container.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use shale_engine::containers::exec::Exec;
use shale_engine::containers::{Record, Status};
use shale_engine_api::ApiVersion;
use shale_runtime::{ExecState, WindowSize};
use tokio::io::AsyncWriteExt;

use super::lifecycle::window_size;
use crate::answer::{Answer, document, empty, with_status};
use crate::body::RequestBody;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::request::Call;
use crate::route::OfExec;
use crate::wire::detach_keys::DetachKeys;
use crate::wire::hijack::{Framing, JoinEnd, hand_over, join};

/// How long an exec is known after its end, as in dockerd.
const KNOWN: Duration = Duration::from_secs(5 * 60);
/// How often, and how many times, is looked for the terminal of a process that starts.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
const LOOKS_FOR_TERMINAL: u32 = 100;
/// Exit code of a process that could not be started, as in dockerd 20.10.
const EXIT_NOT_STARTED: i32 = 126;

/// The description of a process, as clients send it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Wanted {
    user: Option<String>,
    privileged: bool,
    tty: bool,
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    /// docker-py writes it with a small letter, which Go's reader does not mind.
    #[serde(alias = "detachKeys")]
    detach_keys: Option<String>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    cmd: Option<Vec<String>>,
}

/// How a process is started, as clients send it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Start {
    detach: bool,
    tty: bool,
    console_size: Option<[u16; 2]>,
}

#[derive(Debug, Clone)]
struct Known {
    container: String,
    wanted: Wanted,
    is_started: bool,
    /// How it ended, when the runtime has nothing written down.
    exit_code: Option<i32>,
    ended: Option<Instant>,
}

/// The processes that were described to this daemon.
#[derive(Clone, Default)]
pub(crate) struct Execs(Arc<Mutex<HashMap<String, Known>>>);

impl Execs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, id: &str, known: Known) {
        let mut execs = self.lock();
        execs.retain(|_, known| known.ended.is_none_or(|ended| ended.elapsed() < KNOWN));
        execs.insert(id.to_owned(), known);
    }

    fn get(&self, id: &str) -> Result<Known, Failure> {
        let missing = || Failure::missing(format!("No such exec instance: {id}"));
        self.lock().get(id).cloned().ok_or_else(missing)
    }

    /// Notes the start; a process starts once.
    fn begin(&self, id: &str) -> Result<(), Failure> {
        let mut execs = self.lock();
        match execs.get_mut(id) {
            None => Err(Failure::missing(format!("No such exec instance: {id}"))),
            Some(known) if known.is_started && known.ended.is_some() => {
                Err(Failure::new(StatusCode::CONFLICT, format!("Error: Exec command {id} has already run")))
            }
            Some(known) if known.is_started => {
                let text = format!("Error: Exec command {id} is already running");
                Err(Failure::new(StatusCode::CONFLICT, text))
            }
            Some(known) => {
                known.is_started = true;
                Ok(())
            }
        }
    }

    fn end(&self, id: &str, exit_code: i32) {
        if let Some(known) = self.lock().get_mut(id) {
            (known.exit_code, known.ended) = (Some(exit_code), Some(Instant::now()));
        }
    }

    /// Returns the processes of a container that were not seen to end.
    pub(crate) fn of_container(&self, container: &str) -> Vec<String> {
        let execs = self.lock();
        let of = execs.iter().filter(|(_, known)| known.container == container && known.ended.is_none());
        of.map(|(id, _)| id.clone()).collect()
    }
}

/// Takes the description of a process.
pub(crate) async fn create(
    daemon: &Daemon,
    call: &Call,
    body: RequestBody,
    name: String,
) -> Result<Answer, Failure> {
    let mut wanted: Wanted = call.document(body).await?;
    let command = wanted.cmd.take().unwrap_or_default();
    if command.is_empty() {
        return Err(Failure::invalid("No exec command specified"));
    }
    wanted.cmd = Some(command);
    DetachKeys::parse(wanted.detach_keys.as_deref().unwrap_or_default())?;
    let record = daemon.container(&name).await?;
    let conflict = |text: String| Failure::new(StatusCode::CONFLICT, text);
    if record.status() == Status::Paused {
        return Err(conflict(format!("Container {name} is paused, unpause the container before exec")));
    }
    if !record.is_running() {
        return Err(conflict(format!("Container {} is not running", record.id)));
    }
    let id = shale_engine::containers::exec::new_exec_id();
    daemon.container_event(&record, &action("exec_create", &wanted), &[("execID", &id)]);
    let container = record.id.clone();
    let known = Known { container, wanted, is_started: false, exit_code: None, ended: None };
    daemon.execs.insert(&id, known);
    Ok(with_status(StatusCode::CREATED, &json!({ "Id": id })))
}

/// The command is part of an event's name.
fn action(verb: &str, wanted: &Wanted) -> String {
    let command = wanted.cmd.as_deref().unwrap_or_default();
    let (program, arguments) =
        command.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    format!("{verb}: {program} {}", arguments.join(" "))
}

/// Answers what is asked of one process.
pub(crate) async fn answer(
    daemon: &Daemon,
    call: &Call,
    body: RequestBody,
    of: OfExec,
    id: &str,
) -> Result<Answer, Failure> {
    match of {
        OfExec::Start => start(daemon, call, body, id).await,
        OfExec::Inspect => inspect(daemon, id).await,
        OfExec::Resize => resize(daemon, call, id).await,
    }
}

async fn start(daemon: &Daemon, call: &Call, body: RequestBody, id: &str) -> Result<Answer, Failure> {
    let how: Start = call.document(body).await?;
    let known = daemon.execs.get(id)?;
    let record = daemon.container(&known.container).await.map_err(|_| {
        Failure::new(StatusCode::CONFLICT, format!("Container {} is not running", known.container))
    })?;
    let conflict = |text: String| Failure::new(StatusCode::CONFLICT, text);
    if record.status() == Status::Paused {
        return Err(conflict(format!(
            "Container {} is paused, unpause the container before exec",
            record.id
        )));
    }
    if !record.is_running() {
        return Err(conflict(format!("Container {} is not running", record.id)));
    }
    daemon.execs.begin(id)?;
    let wanted = known.wanted;
    daemon.container_event(&record, &action("exec_start", &wanted), &[("execID", id)]);
    let size = how.console_size.filter(|_| call.version >= ApiVersion::one(42));
    let exec = Exec {
        command: wanted.cmd.clone().unwrap_or_default(),
        env: wanted.env.clone().unwrap_or_default(),
        working_dir: wanted.working_dir.clone().filter(|directory| !directory.is_empty()),
        user: wanted.user.clone().filter(|user| !user.is_empty()),
        terminal: wanted.tty,
        size: size
            .filter(|size| size.iter().all(|n| *n > 0))
            .map(|[rows, columns]| WindowSize { rows, columns }),
        open_stdin: wanted.attach_stdin && !how.detach,
        privileged: wanted.privileged,
    };
    let after = daemon.clone_for_long();
    let id = id.to_owned();
    if how.detach {
        after.exec_attached(&record, &id, exec, true).await?;
        return Ok(empty(StatusCode::OK));
    }
    // The request says how the stream is framed, whatever the process has; what a terminal writes is then in frames.
    let framing = if wanted.tty && how.tty { Framing::Raw } else { Framing::Multiplexed };
    let is_bare = wanted.tty;
    let keys = DetachKeys::parse(wanted.detach_keys.as_deref().unwrap_or_default())?;
    let keys = Some(keys).filter(|_| wanted.tty);
    let _ = (wanted.attach_stdout, wanted.attach_stderr);
    Ok(hand_over(daemon, call, framing, move |mut client| async move {
        match after.exec_attached(&record, &id, exec, false).await {
            Err(failure) => {
                // The head is gone, so dockerd tells it here, on standard output.
                let line = format!("{}\r\n", failure.message);
                let _ = client.write_all(&framing.frame(1, line.as_bytes())).await;
                let _ = client.shutdown().await;
            }
            Ok(None) => {}
            Ok(Some(stream)) => {
                let output = if is_bare { framing } else { Framing::Raw };
                if join(client, stream, wanted.attach_stdin, keys, output).await == JoinEnd::Detached {
                    after.container_event(&record, "exec_detach", &[("execID", &id)]);
                }
            }
        }
    }))
}

impl Daemon {
    /// Starts a process, and notes its end when it comes.
    async fn exec_attached(
        &self,
        record: &Record,
        id: &str,
        exec: Exec,
        detached: bool,
    ) -> Result<Option<std::os::unix::net::UnixStream>, Failure> {
        let (container_id, exec_id) = (record.id.clone(), id.to_owned());
        let started = self
            .blocking(move |engine| -> Result<_, Failure> {
                let planned = engine.plan_exec(&container_id, &exec)?;
                let stream = match detached {
                    true => planned.container.exec_detached(&exec_id, &planned.spec).map(|()| None),
                    false => planned.container.exec(&exec_id, &planned.spec).map(Some),
                };
                Ok((stream.map_err(not_started)?, planned.container))
            })
            .await;
        let (stream, container) = match started {
            Ok(started) => started,
            Err(failure) => {
                self.execs.end(id, EXIT_NOT_STARTED);
                return Err(failure);
            }
        };
        let (daemon, record, id) = (self.clone(), record.clone(), id.to_owned());
        tokio::spawn(async move {
            let mut pause = Duration::from_millis(5);
            loop {
                let (container, exec_id) = (container.clone(), id.clone());
                let state = daemon.blocking(move |_| {
                    container.exec_state(&exec_id).map_err(|error| Failure::internal(&error))
                });
                match state.await {
                    Ok(ExecState { exit_code: None, .. }) => {}
                    Ok(ExecState { exit_code: Some(code), .. }) => {
                        return daemon.exec_ended(&record, &id, code);
                    }
                    // The container is gone, and with it what was written down.
                    Err(_) => return daemon.exec_ended(&record, &id, 137),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        });
        Ok(stream)
    }

    fn exec_ended(&self, record: &Record, id: &str, code: i32) {
        self.execs.end(id, code);
        self.container_event(record, "exec_die", &[("execID", id), ("exitCode", &code.to_string())]);
    }
}

/// The runtime's words, with dockerd's status.
fn not_started(error: shale_runtime::ControlError) -> Failure {
    Failure::invalid(error.to_string())
}

async fn inspect(daemon: &Daemon, id: &str) -> Result<Answer, Failure> {
    let known = daemon.execs.get(id)?;
    let state = daemon.exec_state(&known, id).await;
    let pid = state.as_ref().and_then(|state| state.process.as_ref()).map_or(0, |process| process.pid);
    // The runtime knows the end before its watcher does.
    let exit_code = known.exit_code.or(state.as_ref().and_then(|state| state.exit_code));
    let is_running = known.is_started && exit_code.is_none();
    let wanted = &known.wanted;
    let command = wanted.cmd.as_deref().unwrap_or_default();
    let mut process = json!({
        "tty": wanted.tty,
        "entrypoint": command.first(),
        "arguments": command.get(1..).unwrap_or_default(),
        "privileged": wanted.privileged,
    });
    if let Some(user) = wanted.user.as_ref().filter(|user| !user.is_empty()) {
        process["user"] = json!(user);
    }
    Ok(document(&json!({
        "ID": id,
        "Running": is_running,
        "ExitCode": exit_code,
        "ProcessConfig": process,
        "OpenStdin": wanted.attach_stdin,
        "OpenStderr": wanted.attach_stderr,
        "OpenStdout": wanted.attach_stdout,
        "CanRemove": false,
        "ContainerID": known.container,
        "DetachKeys": wanted.detach_keys.clone().unwrap_or_default(),
        "Pid": pid,
    })))
}

impl Daemon {
    async fn exec_state(&self, known: &Known, id: &str) -> Option<ExecState> {
        let (container, id) = (known.container.clone(), id.to_owned());
        let state = self.blocking(move |engine| {
            let (_, container) = engine.running_container(&container)?;
            container.exec_state(&id).map_err(|error| Failure::internal(&error))
        });
        state.await.ok()
    }
}

async fn resize(daemon: &Daemon, call: &Call, id: &str) -> Result<Answer, Failure> {
    let size = window_size(call)?;
    let known = daemon.execs.get(id)?;
    if !known.wanted.tty {
        return Ok(empty(StatusCode::OK));
    }
    let mut looks_left = LOOKS_FOR_TERMINAL;
    loop {
        let (exec_id, container) = (id.to_owned(), known.container.clone());
        let resized = daemon.blocking(move |engine| {
            let (_, container) = engine.running_container(&container)?;
            container.resize_exec(&exec_id, size).map_err(Failure::from)
        });
        match resized.await {
            Ok(()) => return Ok(empty(StatusCode::OK)),
            // Clients tell the size as soon as the connection is theirs; the process may be on its way.
            Err(_) if looks_left > 0 && daemon.execs.get(id)?.ended.is_none() => {
                looks_left -= 1;
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}
