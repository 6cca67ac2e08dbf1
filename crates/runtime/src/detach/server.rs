//! The supervisor's side of the control socket: a thread for each connection.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::broadcast::Broadcast;
use super::exec;
use super::protocol::{Reply, Request, receive, send};
use super::state::{State, Status, now};
use super::supervise::{Held, Plan, launch, lock};
use crate::run::write_all;

/// How often a supervisor that waits looks whether its starter is still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long the last replies may take before the supervisor goes.
const GOODBYE: Duration = Duration::from_secs(2);

/// What all threads of a supervisor share.
pub(super) struct Session {
    pub(super) directory: PathBuf,
    pub(super) plan: Plan,
    pub(super) broadcast: Broadcast,
    pub(super) stdin: Mutex<Option<OwnedFd>>,
    pub(super) terminal: Mutex<Option<OwnedFd>>,
    pub(super) exec_terminals: Mutex<HashMap<String, OwnedFd>>,
    pub(super) talking: AtomicUsize,
    state: Mutex<State>,
    held: Mutex<Option<Held>>,
    changed: Condvar,
}

impl Session {
    pub(super) fn with(directory: PathBuf, plan: Plan, state: State, broadcast: Broadcast) -> Self {
        Self {
            directory,
            plan,
            broadcast,
            stdin: Mutex::default(),
            terminal: Mutex::default(),
            exec_terminals: Mutex::default(),
            talking: AtomicUsize::new(0),
            state: Mutex::new(state),
            held: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Waits for the container to be started; `None` when it was not, or failed, or `is_hopeless` says that nobody is
    /// there to start it.
    pub(super) fn wait_for_start(&self, longest: Duration, is_hopeless: impl Fn() -> bool) -> Option<Held> {
        let deadline = std::time::Instant::now() + longest;
        let created = |state: &mut State| state.status == Status::Created;
        while lock(&self.state).status == Status::Created
            && std::time::Instant::now() < deadline
            && !is_hopeless()
        {
            drop(self.changed.wait_timeout_while(lock(&self.state), LOOK_INTERVAL, created));
        }
        // A word that came at the last moment is carried out first.
        lock(&self.held).take()
    }

    /// Records the end, tells everyone, and waits for the telling.
    pub(super) fn finish(&self, change: impl FnOnce(&mut State)) {
        self.change(change);
        self.broadcast.close();
        let deadline = std::time::Instant::now() + GOODBYE;
        while self.talking.load(Ordering::SeqCst) > 0 && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Records an end that is none yet, and lets go of everyone attached.
    pub(super) fn pause(&self, change: impl FnOnce(&mut State)) {
        self.change(change);
        self.broadcast.close();
        *lock(&self.stdin) = None;
        *lock(&self.terminal) = None;
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        if let Err(error) = state.store(&self.directory) {
            eprintln!("{error}: {}", error.source);
        }
        self.changed.notify_all();
    }

    pub(super) fn is_running(&self) -> bool {
        lock(&self.state).status == Status::Running
    }

    fn start(self: &Arc<Self>) -> Reply {
        // Held throughout: a second word finds the first one's result.
        let mut held = lock(&self.held);
        if lock(&self.state).status != Status::Created {
            return refused("container is already started");
        }
        match launch(self) {
            Ok((started, init)) => {
                *held = Some(started);
                drop(held);
                self.change(|state| {
                    state.status = Status::Running;
                    state.init = Some(init);
                    state.started_at = Some(now());
                });
                Reply::Ok
            }
            Err(error) => {
                drop(held);
                let message = error.message();
                let exit = crate::launch::ExitStatus { code: error.exit_code(), oom_killed: false };
                self.change(|state| {
                    state.status = Status::Exited;
                    state.error = Some(message.clone());
                    state.exit = Some(exit);
                    state.finished_at = Some(now());
                });
                refused(&message)
            }
        }
    }

    fn wait_for_exit(&self, next: bool) -> Reply {
        let goes_on = |state: &mut State| match state.status {
            Status::Exited => false,
            Status::Restarting => !next,
            Status::Created | Status::Running => true,
        };
        let state = self.changed.wait_while(lock(&self.state), goes_on);
        let state = state.unwrap_or_else(|poisoned| poisoned.into_inner());
        match state.exit {
            Some(exit) => Reply::Exited(exit),
            None => refused(state.error.as_deref().unwrap_or("unknown")),
        }
    }

    fn attach(&self, stream: &UnixStream, stdin: bool, stdout: bool, stderr: bool) -> io::Result<()> {
        if lock(&self.state).status == Status::Exited {
            return send(stream, &refused("the container has ended"));
        }
        send(stream, &Reply::Ok)?;
        self.broadcast.add(stream.try_clone()?, stdout, stderr)?;
        if !stdin {
            return Ok(());
        }
        let created = |state: &mut State| state.status == Status::Created;
        drop(self.changed.wait_while(lock(&self.state), created));
        let input = lock(&self.stdin).as_ref().map(OwnedFd::try_clone).transpose()?;
        let Some(input) = input else { return Ok(()) };
        copy_input(stream, input);
        if self.plan.stdin_once && !self.plan.terminal {
            *lock(&self.stdin) = None;
        }
        Ok(())
    }
}

/// Copies what a client types until it says that no more comes.
pub(super) fn copy_input(mut stream: &UnixStream, input: OwnedFd) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if write_all(&input, &buffer[..count]).is_err() {
            return;
        }
    }
}

pub(super) fn refused(message: &str) -> Reply {
    Reply::Refused { message: message.to_owned() }
}

pub(super) fn accept(session: &Arc<Session>, listener: &UnixListener) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors: some will come back.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let session = Arc::clone(session);
        std::thread::spawn(move || {
            let Ok(request) = receive::<Request>(&stream) else { return };
            // Errors here mean that the client has gone.
            let _ = answer(&session, request, &stream);
        });
    }
}

fn answer(session: &Arc<Session>, request: Request, stream: &UnixStream) -> io::Result<()> {
    let talk = |act: &dyn Fn() -> Reply| {
        session.talking.fetch_add(1, Ordering::SeqCst);
        let sent = send(stream, &act());
        session.talking.fetch_sub(1, Ordering::SeqCst);
        sent
    };
    match request {
        Request::Start => talk(&|| session.start()),
        Request::Wait { next } => {
            session.talking.fetch_add(1, Ordering::SeqCst);
            // Said first: from here on the end is not missed.
            let sent = send(stream, &Reply::Ok).and_then(|()| send(stream, &session.wait_for_exit(next)));
            session.talking.fetch_sub(1, Ordering::SeqCst);
            sent
        }
        Request::Attach { stdin, stdout, stderr } => session.attach(stream, stdin, stdout, stderr),
        Request::Resize { exec, size } => talk(&|| {
            let resized = match &exec {
                None => lock(&session.terminal).as_ref().map(|terminal| size.set(terminal)),
                Some(id) => lock(&session.exec_terminals).get(id).map(|terminal| size.set(terminal)),
            };
            match resized {
                Some(Ok(())) => Reply::Ok,
                Some(Err(error)) => refused(&error.to_string()),
                None => refused("it has no terminal"),
            }
        }),
        Request::Exec { id, process, stdin, attach, size } => {
            if !session.is_running() {
                return send(stream, &refused(&format!("Container {} is not running", session.plan.id)));
            }
            exec::serve(session, &id, &process, stdin, attach, size, stream)
        }
    }
}
