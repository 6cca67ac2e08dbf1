//! One more process in a running container.

use shale_runtime::spec::{User, UserError};
use shale_runtime::{Container, ExecSpec, WindowSize};

use super::archive::ArchiveError;
use super::start::SignalContainerError;
use super::{Record, Status};
use crate::Engine;

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `NAME=value`, over the container's own.
    pub env: Vec<String>,
    /// The working directory; the container's when `None`.
    pub working_dir: Option<String>,
    /// The user; the container's when `None`.
    pub user: Option<String>,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// The terminal's size.
    pub size: Option<WindowSize>,
    /// Whether its standard input stays open.
    pub open_stdin: bool,
    /// All capabilities.
    pub privileged: bool,
}

/// Why nothing was run. The messages are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The container does not run, or is not there.
    #[error(transparent)]
    Container(#[from] SignalContainerError),
    /// It is paused.
    #[error("Container {0} is paused, unpause the container before exec")]
    Paused(String),
    /// Nothing to run.
    #[error("No exec command specified")]
    NoCommand,
    /// The working directory is relative.
    #[error("OCI runtime exec failed: exec failed: Cwd must be an absolute path: unknown")]
    RelativeWorkingDirectory(String),
    /// The user is not one of the container's.
    #[error(transparent)]
    User(#[from] UserError),
    /// The container's files could not be opened.
    #[error(transparent)]
    Files(#[from] ArchiveError),
}

impl ExecError {
    /// Whether docker finds out only when the process is to start, and says so on the process's own standard output.
    pub fn is_of_start(&self) -> bool {
        matches!(self, ExecError::RelativeWorkingDirectory(_) | ExecError::User(_))
    }
}

/// A process that is about to run.
#[derive(Debug)]
pub struct PlannedExec {
    /// The container.
    pub container: Container,
    /// Its record.
    pub record: Record,
    /// The exec's ID.
    pub id: String,
    /// What the runtime is told.
    pub spec: ExecSpec,
}

/// Returns an ID for a process that is described before it is started.
pub fn new_exec_id() -> String {
    super::volumes::random_id()
}

impl Engine {
    /// Works out what the runtime is told; [`Container::exec`] then starts it.
    ///
    /// # Errors
    /// [`ExecError`].
    pub fn plan_exec(&self, text: &str, exec: &Exec) -> Result<PlannedExec, ExecError> {
        let (record, container) = self.running_container(text)?;
        if record.status() == Status::Paused {
            return Err(ExecError::Paused(text.to_owned()));
        }
        if exec.command.is_empty() {
            return Err(ExecError::NoCommand);
        }
        if let Some(directory) = exec.working_dir.as_ref().filter(|directory| !directory.starts_with('/')) {
            return Err(ExecError::RelativeWorkingDirectory(directory.clone()));
        }
        let user = match &exec.user {
            Some(user) => Some(self.with_container_root(&record, |root| User::resolve(root, user, &[]))??),
            None => None,
        };
        let spec = ExecSpec {
            args: exec.command.clone(),
            env: exec.env.clone(),
            cwd: exec.working_dir.clone().map(Into::into),
            user,
            terminal: exec.terminal,
            size: exec.size,
            privileged: exec.privileged,
            open_stdin: exec.open_stdin,
        };
        Ok(PlannedExec { container, record, id: super::volumes::random_id(), spec })
    }
}
