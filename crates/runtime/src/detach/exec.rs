//! One more process in a running container.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::broadcast::Broadcast;
use super::protocol::{Reply, send};
use super::server::{Session, copy_input, refused};
use super::state;
use super::supervise::{Pipes, lock};
use crate::console::WindowSize;
use crate::launch::{Launched, StartError, make_private_directory};
use crate::log::LogStream;
use crate::process::ProcessId;
use crate::spec::User;

/// A process to start in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`, over the container's own.
    pub env: Vec<String>,
    /// Working directory; the container's when `None`.
    pub cwd: Option<PathBuf>,
    /// The user; the container's when `None`.
    pub user: Option<User>,
    /// Whether it gets a terminal, and of what size.
    pub terminal: bool,
    /// The terminal's size at the start.
    pub size: Option<WindowSize>,
    /// All capabilities.
    pub privileged: bool,
    /// Whether standard input stays open for the attached client.
    pub open_stdin: bool,
}

/// What is known of an exec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// Its process; the number 0 when it never started.
    pub process: Option<ProcessId>,
    /// How it ended; `None` while it runs.
    pub exit_code: Option<i32>,
}

pub(super) fn serve(
    session: &Arc<Session>,
    id: &str,
    process: &serde_json::Value,
    stdin: bool,
    attach: bool,
    size: Option<WindowSize>,
    stream: &UnixStream,
) -> io::Result<()> {
    let directory = session.directory.join("exec").join(id);
    let terminal = process["terminal"] == true;
    let launch = || -> Result<(Launched, Pipes), StartError> {
        make_private_directory(&directory).map_err(StartError::io(&directory))?;
        let path = directory.join("process.json");
        std::fs::write(&path, process.to_string()).map_err(StartError::io(path))?;
        let mut pipes = Pipes::open(terminal, stdin).map_err(StartError::io("pipe"))?;
        let inherited = std::mem::replace(&mut pipes.inherited, crate::launch::Inherited::null());
        let launched =
            session.plan.runtime().launch_exec(&directory, &session.plan.id, inherited, terminal)?;
        Ok((launched, pipes))
    };
    let record = |state: &ExecState| {
        if let Err(error) = state::store(&directory.join("state.json"), state) {
            eprintln!("{error}: {}", error.source);
        }
    };
    let (mut launched, pipes) = match launch() {
        Ok(started) => started,
        Err(error) => {
            // Docker 20.10 ends an exec that could not start with 126, whatever the reason.
            record(&ExecState { process: None, exit_code: Some(126) });
            return send(stream, &refused(&error.message()));
        }
    };
    let mut state = ExecState { process: ProcessId::find(launched.pid), exit_code: None };
    record(&state);
    // From here on nothing may return before the process is reaped: a zombie in the container's pid namespace keeps its
    // first process from ending. A client that was killed meanwhile is no reason.
    let is_heard = send(stream, &Reply::Ok).is_ok();
    let broadcast = Broadcast::new(!terminal);
    if attach
        && is_heard
        && let Ok(stream) = stream.try_clone()
    {
        let _ = broadcast.add(stream, true, true);
    }
    let mut outputs = Vec::new();
    let mut input = pipes.stdin;
    if let Some(terminal) = launched.terminal.take() {
        if let Some(size) = size {
            let _ = size.set(&terminal);
        }
        input = if stdin { terminal.try_clone().ok() } else { None };
        if let Ok(terminal) = terminal.try_clone() {
            lock(&session.exec_terminals).insert(id.to_owned(), terminal);
        }
        outputs.push((terminal, LogStream::Stdout));
    }
    outputs.extend(pipes.stdout.map(|pipe| (pipe, LogStream::Stdout)));
    outputs.extend(pipes.stderr.map(|pipe| (pipe, LogStream::Stderr)));
    if let (Some(input), Ok(stream)) = (input, stream.try_clone()) {
        std::thread::spawn(move || copy_input(&stream, input));
    }
    std::thread::scope(|scope| {
        for (pipe, which) in &outputs {
            let broadcast = &broadcast;
            scope.spawn(move || broadcast.copy(pipe, *which, None));
        }
        state.exit_code = Some(launched.reap().unwrap_or(255));
        lock(&session.exec_terminals).remove(id);
    });
    // Recorded before the stream ends: who reads to its end finds the exit code.
    record(&state);
    broadcast.close();
    Ok(())
}
