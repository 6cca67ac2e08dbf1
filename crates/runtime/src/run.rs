//! A container in the foreground: started, waited for and removed by this very process.

mod guard;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags};

pub(crate) use guard::guard_main;

use crate::cgroup::Cgroups;
use crate::console::{RawMode, WindowSize};
use crate::find::Runtime;
use crate::launch::{ExitStatus, Inherited, Launched, StartError, write_bundle};
use crate::signal::{Signal, Signals};
use crate::spec::{ContainerSpec, PidNamespace};

/// One of a container's three standard streams.
#[derive(Debug, Default)]
pub enum Stream {
    /// `/dev/null`.
    #[default]
    Null,
    /// This process's own.
    Inherit,
    /// A pipe, file or socket; closed here once the container has it.
    Descriptor(OwnedFd),
}

/// A container's standard streams.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Standard input; with a terminal, where keys come from.
    pub stdin: Stream,
    /// Standard output; with a terminal, where the screen goes.
    pub stdout: Stream,
    /// Standard error; unused with a terminal.
    pub stderr: Stream,
}

/// Why a started container could not be waited for.
#[derive(Debug, thiserror::Error)]
#[error("could not wait for container {id}")]
pub struct WaitError {
    /// The container.
    pub id: String,
    /// What the kernel said.
    pub source: io::Error,
}

/// Why [`Runtime::run_to_end`] has no exit status.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start; [`StartError::exit_code`] is what `docker run` would exit with.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It started and was lost.
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// A foreground container. Dropping it kills the container and removes it.
#[derive(Debug)]
#[must_use = "a dropped container is killed"]
pub struct Running {
    runtime: Runtime,
    id: String,
    bundle: PathBuf,
    launched: Launched,
    cgroups: Cgroups,
    pid_namespace: PidNamespace,
    keys: Option<OwnedFd>,
    screen: Option<OwnedFd>,
    reaped: bool,
}

impl Runtime {
    /// Runs a container to its end and removes it; the exit status is the process's own.
    ///
    /// Signals are passed on to it. Without a terminal the process writes straight to the descriptors given, in its
    /// own order; with one, a caller's terminal on `stdin` is put into raw mode and its size is followed.
    /// When this process is killed, so is the container, if there is a supervisor program.
    ///
    /// # Errors
    /// [`RunError`]; nothing is left behind.
    pub fn run_to_end(
        &self,
        spec: &ContainerSpec,
        stdio: Stdio,
        signals: &mut Signals,
    ) -> Result<ExitStatus, RunError> {
        Ok(self.start(spec, stdio)?.wait(signals)?)
    }

    /// Starts a foreground container.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left behind.
    pub fn start(&self, spec: &ContainerSpec, stdio: Stdio) -> Result<Running, StartError> {
        let bundle = self.records.with_file_name("bundles").join(&spec.id);
        write_bundle(self, &bundle, spec)?;
        guard::register(self, &spec.id, &spec.cgroup_path());
        let (inherited, keys, screen) = if spec.terminal {
            let descriptor =
                |stream, own: BorrowedFd<'_>| open_stream(stream, own).map_err(StartError::io("stdio"));
            let keys = descriptor(stdio.stdin, io::stdin().as_fd())?;
            let screen = descriptor(stdio.stdout, io::stdout().as_fd())?;
            (Inherited::null(), keys, screen)
        } else {
            let inherited = Inherited {
                stdin: stdio.stdin.into_std(),
                stdout: stdio.stdout.into_std(),
                stderr: stdio.stderr.into_std(),
            };
            (inherited, None, None)
        };
        let launched = self.launch(&bundle, &spec.id, inherited, spec.terminal).inspect_err(|_| {
            let _ = fs::remove_dir_all(&bundle);
            guard::unregister(self, &spec.id);
        })?;
        Ok(Running {
            cgroups: self.cgroups(&spec.cgroup_path()),
            runtime: self.clone(),
            id: spec.id.clone(),
            bundle,
            launched,
            pid_namespace: spec.pid.clone(),
            keys,
            screen,
            reaped: false,
        })
    }
}

impl Stream {
    fn into_std(self) -> std::process::Stdio {
        match self {
            Self::Null => std::process::Stdio::null(),
            Self::Inherit => std::process::Stdio::inherit(),
            Self::Descriptor(descriptor) => descriptor.into(),
        }
    }
}

pub(crate) fn open_stream(stream: Stream, own: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    match stream {
        Stream::Null => Ok(None),
        Stream::Inherit => own.try_clone_to_owned().map(Some),
        Stream::Descriptor(descriptor) => Ok(Some(descriptor)),
    }
}

impl Running {
    /// Number of the container's first process on the host.
    pub fn pid(&self) -> u32 {
        self.launched.pid
    }

    /// The container's control groups.
    pub fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    /// Sends a signal to the container's first process; one that has ended is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(&self.launched.descriptor, signal.to_kernel()) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the end, passing signals on, and removes the container.
    ///
    /// # Errors
    /// [`WaitError`]; the container is killed and removed.
    pub fn wait(mut self, signals: &mut Signals) -> Result<ExitStatus, WaitError> {
        let lost = |id: &str| {
            let id = id.to_owned();
            move |source| WaitError { id, source }
        };
        let raw = match (&self.launched.terminal, &self.keys) {
            (Some(_), Some(keys)) => RawMode::enter(keys).map_err(lost(&self.id))?,
            _ => None,
        };
        self.follow_size();
        self.attend(signals).map_err(lost(&self.id))?;
        drop(raw);
        let oom_killed = self.cgroups.oom_killed();
        let code = self.launched.reap().map_err(lost(&self.id))?;
        self.reaped = true;
        self.clean();
        Ok(ExitStatus { code, oom_killed })
    }

    /// Moves bytes and signals until the process ends.
    fn attend(&mut self, signals: &mut Signals) -> io::Result<()> {
        let mut buffer = vec![0; 32 << 10];
        let mut ended = false;
        loop {
            let keys = self.keys.as_ref().filter(|_| self.launched.terminal.is_some()).map(AsFd::as_fd);
            let screen = self.launched.terminal.as_ref().map(AsFd::as_fd);
            let all = [Some(self.launched.descriptor.as_fd()), signals.descriptor(), screen, keys];
            let places: Vec<usize> = (0..all.len()).filter(|&place| all[place].is_some()).collect();
            let mut watched: Vec<PollFd<'_>> =
                all.into_iter().flatten().map(|one| PollFd::from_borrowed_fd(one, PollFlags::IN)).collect();
            // Once the process has ended only what is still in the terminal's buffer is fetched.
            let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
            match rustix::event::poll(&mut watched, ended.then_some(&timeout)) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let mut ready = [false; 4];
            for (place, one) in places.into_iter().zip(&watched) {
                ready[place] = !one.revents().is_empty();
            }
            drop(watched);
            let [process, signal, screen, key] = ready;
            if signal {
                for signal in signals.take() {
                    if signal.number() == signal_hook::consts::SIGWINCH as u8
                        && self.launched.terminal.is_some()
                    {
                        self.follow_size();
                    } else {
                        self.signal(signal)?;
                    }
                }
            }
            if screen && !self.show(&mut buffer)? {
                self.launched.terminal = None;
            }
            if key && !ended {
                self.type_keys(&mut buffer)?;
            }
            if process {
                ended = true;
            }
            if ended && !(screen && self.launched.terminal.is_some()) {
                return Ok(());
            }
        }
    }

    /// Copies from the container's terminal; false at its end.
    fn show(&self, buffer: &mut [u8]) -> io::Result<bool> {
        let Some(terminal) = &self.launched.terminal else { return Ok(false) };
        let count = match rustix::io::read(terminal, &mut *buffer) {
            // The kernel's word for "nobody has the other side open".
            Ok(0) | Err(rustix::io::Errno::IO) => return Ok(false),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(true),
            other => other?,
        };
        if let Some(screen) = &self.screen {
            write_all(screen, &buffer[..count])?;
        }
        Ok(true)
    }

    fn type_keys(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let (Some(keys), Some(terminal)) = (&self.keys, &self.launched.terminal) else { return Ok(()) };
        match rustix::io::read(keys, &mut *buffer) {
            Ok(0) | Err(_) => self.keys = None,
            Ok(count) => {
                let _ = write_all(terminal, &buffer[..count]);
            }
        }
        Ok(())
    }

    fn follow_size(&self) {
        if let (Some(terminal), Some(keys)) = (&self.launched.terminal, &self.keys)
            && let Some(size) = WindowSize::of(keys)
        {
            let _ = size.set(terminal);
        }
    }

    fn clean(&mut self) {
        self.runtime.remove(&self.id, &self.cgroups, &self.pid_namespace);
        let _ = fs::remove_dir_all(&self.bundle);
        guard::unregister(&self.runtime, &self.id);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.signal(Signal::KILL);
            let _ = self.launched.reap();
            self.clean();
        }
    }
}

pub(crate) fn write_all(descriptor: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&descriptor, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut watched = [PollFd::new(&descriptor, PollFlags::OUT)];
                let _ = rustix::event::poll(&mut watched, None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
