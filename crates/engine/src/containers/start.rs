//! Starting, signalling, stopping and waiting for containers.

use std::io;
use std::path::Path;
use std::time::Duration;

use shale_runtime::{
    Container, ControlError, DetachedSpec, ExitStatus, FindError, KILL_WAIT, Restart, Runtime, Signal,
    StartError, Supervisor, WindowSize,
};
use shale_store::{ContainerLock, DiskError, Durability, RecordError};

use super::Record;
use super::find::FindContainerError;
use super::logs::LogsError;
use super::namespace::{self, Syncs};
use super::propagation::{self, PropagationError};
use super::settings::Settings;
use super::settle::SettleError;
use super::spec::{self, SettingsError};
use crate::Engine;

/// The word with which the program is started again as a container's supervisor.
pub const SUPERVISOR_WORD: &str = "__supervise-container";

/// Why a container did not start. The messages are Docker's where it has them.
#[derive(Debug, thiserror::Error)]
pub enum StartContainerError {
    /// It is not there.
    #[error(transparent)]
    Find(#[from] FindContainerError),
    /// It is gone, or is being removed.
    #[error("container is marked for removal and cannot be started")]
    Gone,
    /// It is paused.
    #[error("cannot start a paused container, try unpause instead")]
    Paused,
    /// There is no OCI runtime.
    #[error(transparent)]
    Runtime(#[from] FindError),
    /// The settings cannot be carried out.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The values of the log options mean nothing.
    #[error(transparent)]
    Log(#[from] LogsError),
    /// The network that it was made in is gone.
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    /// A bind mount asks for what the host's mounts do not allow.
    #[error(transparent)]
    Propagation(#[from] PropagationError),
    /// The files could not be mounted.
    #[error("could not mount the container's files")]
    Mount(#[source] io::Error),
    /// The runtime or the supervisor said no.
    #[error("{}", shim_text(.0))]
    Start(#[from] StartError),
    /// The record could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The end of an earlier run could not be recorded.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The runtime's words, with those that dockerd puts before them.
fn shim_text(error: &StartError) -> String {
    let text = error.to_string();
    if text.starts_with("OCI runtime") { format!("failed to create shim task: {text}") } else { text }
}

impl StartContainerError {
    /// Returns what `docker run` would exit with.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartContainerError::Start(error) => error.exit_code().try_into().unwrap_or(125),
            // As docker's client, which goes by the words.
            StartContainerError::Settings(error)
                if error.to_string().contains("no such file or directory") =>
            {
                127
            }
            _ => 125,
        }
    }
}

/// A container whose supervisor waits for the word; dropping it leaves a container that was never started.
#[derive(Debug)]
#[must_use = "the container does not run yet"]
pub struct Prepared {
    /// The container, to attach to before its first byte.
    pub container: Container,
    record: Record,
    lock: ContainerLock,
}

/// What [`Engine::prepare_container`] found.
#[derive(Debug)]
pub enum Preparation {
    /// It can be started.
    Prepared(Box<Prepared>),
    /// It runs already.
    Running(Container),
}

impl Engine {
    fn runtime(&self, settings: &Settings) -> Result<Runtime, FindError> {
        let program = "/proc/self/exe".into();
        // Docker's default is a word, not a wish: whatever works on this machine.
        let named = Some(settings.runtime.as_str()).filter(|name| !name.is_empty() && *name != "runc");
        Ok(Runtime::find(named.map(Path::new))?
            .with_supervisor(Supervisor { program, args: vec![SUPERVISOR_WORD.into()] }))
    }

    /// Mounts a container's files and starts its supervisor; the container itself waits for [`Engine::start_prepared`].
    ///
    /// # Errors
    /// [`StartContainerError`]; the record says why, and nothing else was left.
    pub fn prepare_container(
        &self,
        text: &str,
        size: Option<WindowSize>,
    ) -> Result<Preparation, StartContainerError> {
        let id = self.find_container(text)?.id;
        let lock = self.store.lock_container(&id)?.ok_or(StartContainerError::Gone)?;
        let record = self.container_record(&id)?.ok_or(StartContainerError::Gone)?;
        if record.is_running() {
            if record.status() == super::Status::Paused {
                return Err(StartContainerError::Paused);
            }
            let (container, _) = self.supervised(&id).ok_or(StartContainerError::Gone)?;
            return Ok(Preparation::Running(container));
        }
        match self.supervise(&record, size) {
            Ok(container) => Ok(Preparation::Prepared(Box::new(Prepared { container, record, lock }))),
            Err(error) => {
                self.record_failure(&lock, record, &error)?;
                Err(error)
            }
        }
    }

    fn supervise(&self, record: &Record, size: Option<WindowSize>) -> Result<Container, StartContainerError> {
        let paths = self.mount_paths(&record.id)?.ok_or(StartContainerError::Gone)?;
        let settings = record.host_config.read().map_err(SettingsError::from)?;
        let runtime = self.runtime(&settings)?;
        let config = record.config();
        for point in record.mount_points().filter(|point| point["Type"] == "bind") {
            let text = |key: &str| point[key].as_str().unwrap_or_default();
            propagation::check(Path::new(text("Source")), text("Propagation"))?;
        }
        let directory = self.supervisor_directory(&record.id);
        let pid_of = |name: &str| {
            let other = self.find_container(name).ok()?;
            Some(self.supervised(&other.id)?.1.init?.pid)
        };
        let started = namespace::in_private_namespace(|| {
            let syncs = match record.durability() {
                Durability::Durable => Syncs::AsAsked,
                Durability::Volatile => Syncs::Never,
            };
            let mounted = namespace::mount(&self.store, self.privileges, &paths, syncs);
            mounted.map_err(StartContainerError::Mount)?;
            let etc = self.store.container_directory(&record.id);
            let mode = record.network();
            self.network_of_mode(mode).map_err(|_| StartContainerError::NoSuchNetwork(mode.to_owned()))?;
            let mut container = spec::build(record, &settings, &paths.merged, &etc, &pid_of)?;
            container.env.splice(0..0, self.link_environment(record).map_err(SettingsError::Link)?);
            let log = match self.container_log(record) {
                Err(LogsError::Unreadable) => None,
                found => Some(found?),
            };
            let spec = DetachedSpec {
                container,
                log,
                open_stdin: config.open_stdin,
                stdin_once: config.stdin_once,
                size,
                health: super::health::check(&config),
                restart: match self.restarts_are_callers {
                    true => Restart::No,
                    false => settings.restart_policy.restart(),
                },
            };
            Ok(runtime.supervise(&directory, &spec)?)
        });
        started.map_err(StartContainerError::Mount)?
    }

    /// Starts what was prepared.
    ///
    /// # Errors
    /// [`StartContainerError`]; the record says why.
    pub fn start_prepared(&self, prepared: Prepared) -> Result<Container, StartContainerError> {
        let Prepared { container, mut record, lock } = prepared;
        if let Err(error) = container.start() {
            let error = StartContainerError::Start(error);
            self.record_failure(&lock, record, &error)?;
            return Err(error);
        }
        record.set_state("Running", true);
        record.set_state("Error", "");
        record.set_state("ExitCode", 0);
        record.set_state("OOMKilled", false);
        record.set_state("FinishedAt", super::record::NEVER);
        record.document["HasBeenStartedBefore"] = true.into();
        record.document["HasBeenManuallyStopped"] = false.into();
        // What became of it since is already known where it was short.
        let record = self.as_it_is_now(record);
        self.store.write_container(&lock, &record.id, &record.encode(), record.durability())?;
        Ok(container)
    }

    fn record_failure(
        &self,
        lock: &ContainerLock,
        mut record: Record,
        error: &StartContainerError,
    ) -> Result<(), StartContainerError> {
        record.set_state("Error", error.to_string());
        // What docker's client exits with is not what dockerd writes down.
        let code = if error.exit_code() == 125 { 128 } else { error.exit_code() };
        record.set_state("ExitCode", code);
        record.set_state("Running", false);
        if let Some(paths) = self.mount_paths(&record.id)? {
            namespace::unmount(&paths);
        }
        Ok(self.store.write_container(lock, &record.id, &record.encode(), record.durability())?)
    }

    /// Starts a container that nobody attaches to.
    ///
    /// # Errors
    /// [`StartContainerError`].
    pub fn start_container(&self, text: &str) -> Result<(), StartContainerError> {
        match self.prepare_container(text, None)? {
            Preparation::Running(_) => Ok(()),
            Preparation::Prepared(prepared) => self.start_prepared(*prepared).map(drop),
        }
    }

    /// Returns the supervised container of a running one.
    ///
    /// # Errors
    /// [`SignalContainerError`], also when it does not run.
    pub fn running_container(&self, text: &str) -> Result<(Record, Container), SignalContainerError> {
        let record = self.find_container(text)?;
        if !record.is_running() {
            return Err(SignalContainerError::NotRunning { id: record.id });
        }
        match self.supervised(&record.id) {
            Some((container, _)) => Ok((record, container)),
            None => Err(SignalContainerError::NotRunning { id: record.id }),
        }
    }

    /// Sends a signal to a running container.
    ///
    /// # Errors
    /// [`SignalContainerError`].
    pub fn kill_container(&self, text: &str, signal: Signal) -> Result<(), SignalContainerError> {
        let (record, container) = match self.running_container(text) {
            Err(SignalContainerError::NotRunning { id }) => {
                return Err(SignalContainerError::CannotKill { container: text.to_owned(), id });
            }
            Err(SignalContainerError::Find(FindContainerError::NoSuchContainer(_))) => {
                return Err(SignalContainerError::CannotKillMissing(text.to_owned()));
            }
            found => found?,
        };
        // As in dockerd, whoever kills a container does not want it back, unless it has a signal of its own to end with.
        if signal == Signal::KILL || record.config().stop_signal.is_empty() {
            container.keep_stopped()?;
        }
        container.kill(signal)?;
        if signal == Signal::KILL {
            // As dockerd, which answers when the container is gone.
            self.ended_or_gone(&record.id, container.wait_at_most(KILL_WAIT))?;
            self.settle_container(&record.id)?;
        }
        Ok(())
    }

    /// Stops a container: its stop signal, patience, then a kill. One that does not run is let be.
    ///
    /// # Errors
    /// [`SignalContainerError`].
    pub fn stop_container(
        &self,
        text: &str,
        signal: Option<Signal>,
        patience: Option<Duration>,
    ) -> Result<(), SignalContainerError> {
        let (record, container) = match self.running_container(text) {
            Err(SignalContainerError::NotRunning { .. }) => return Ok(()),
            found => found?,
        };
        let config = record.config();
        let signal = signal.or_else(|| config.stop_signal.parse().ok()).unwrap_or(Signal::TERM);
        let own =
            config.stop_timeout.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
        let patience = patience.or(own).unwrap_or(Duration::from_secs(10));
        self.ended_or_gone(&record.id, container.stop(signal, patience))?;
        Ok(self.settle_container(&record.id)?)
    }

    /// Takes for done what was to end a container that has ended otherwise, or has gone with its record: with `--rm`,
    /// whoever sees the end first removes it.
    pub(super) fn ended_or_gone(
        &self,
        id: &str,
        told: Result<ExitStatus, ControlError>,
    ) -> Result<(), ControlError> {
        match told {
            Ok(_) | Err(ControlError::NotRunning { .. }) => Ok(()),
            Err(_) if matches!(self.container_record(id), Ok(None)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits for the end of a container, and returns its exit code at once if it does not run.
    ///
    /// # Errors
    /// [`SignalContainerError`].
    pub fn wait_container(&self, text: &str) -> Result<i64, SignalContainerError> {
        let record = self.find_container(text)?;
        match self.supervised(&record.id) {
            Some((container, state))
                if record.is_running() || state.status == shale_runtime::Status::Created =>
            {
                let ExitStatus { code, .. } = container.wait()?;
                self.settle_container(&record.id)?;
                Ok(code.into())
            }
            _ => Ok(record.exit_code()),
        }
    }
}

/// Why a container was not signalled, stopped or waited for.
#[derive(Debug, thiserror::Error)]
pub enum SignalContainerError {
    /// It is not there.
    #[error(transparent)]
    Find(#[from] FindContainerError),
    /// It does not run.
    #[error("Container {id} is not running")]
    NotRunning {
        /// The container.
        id: String,
    },
    /// It does not run, in the words of `docker kill`.
    #[error("Cannot kill container: {container}: Container {id} is not running")]
    CannotKill {
        /// As typed.
        container: String,
        /// The container.
        id: String,
    },
    /// It is not there, in the words of `docker kill`.
    #[error("Cannot kill container: {0}: No such container: {0}")]
    CannotKillMissing(String),
    /// Its supervisor or its process.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Its end could not be recorded.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Records the end of the container whose supervisor worked in `directory`; the last act of a supervisor.
///
/// # Errors
/// [`SettleError`], or nothing that can be said where the data root is gone.
pub fn settle_supervised(directory: &Path) -> Result<(), SettleError> {
    let Some(container) = directory.parent() else { return Ok(()) };
    let Some(id) = container.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let Some(root) = container.parent().and_then(Path::parent) else { return Ok(()) };
    match Engine::open(root) {
        Ok(engine) => engine.settle_container(id),
        // A dockerd has taken the root meanwhile; the next command here settles it.
        Err(_) => Ok(()),
    }
}
