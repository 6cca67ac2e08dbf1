//! Starting a container or a process in it with the OCI runtime, and removing what it leaves.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use rustix::fs::FileType;
use rustix::process::{WaitId, WaitIdOptions};
use serde::Deserialize;

use crate::cgroup::Cgroups;
use crate::console::ConsoleSocket;
use crate::find::Runtime;
use crate::process::open_pid;
use crate::root_dir::RootDir;
use crate::spec::{ContainerSpec, PidNamespace, SpecError, docker_environment};

/// Why a container did not start. The texts are those of `docker run`; see [`StartError::exit_code`].
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program is not in the container.
    #[error("{message}")]
    NotFound {
        /// The runtime's words, as Docker passes them on.
        message: String,
    },
    /// The program is there and cannot be executed.
    #[error("{message}")]
    NotExecutable {
        /// The runtime's words, as Docker passes them on.
        message: String,
    },
    /// The runtime refused for another reason.
    #[error("{message}")]
    Refused {
        /// The runtime's words, as Docker passes them on.
        message: String,
    },
    /// The description of the container is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The runtime or the supervisor itself could not be started or understood.
    #[error("could not run {path}")]
    Io {
        /// Program or file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Detached containers need a program to run as supervisor; see [`Runtime::with_supervisor`].
    #[error("this program has no supervisor for detached containers")]
    NoSupervisor,
    /// The supervisor did not answer as it should.
    #[error("the container's supervisor failed: {message}")]
    Supervisor {
        /// What it said, or the end of its log.
        message: String,
    },
}

impl StartError {
    /// What `docker run` exits with: 127 not found, 126 not executable, 125 all else.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            _ => 125,
        }
    }

    /// The text with its causes, for whoever gets a text alone.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Io { source, .. } => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// Sorts a message as dockerd and its client do: by the words in it.
    pub(crate) fn from_message(message: String) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if has(&["executable file not found", "no such file or directory"]) {
            Self::NotFound { message }
        } else if has(&["permission denied", "is a directory"]) {
            Self::NotExecutable { message }
        } else {
            Self::Refused { message }
        }
    }
}

/// How a process of a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ExitStatus {
    /// The exit code; 128 and the signal's number for a process that a signal ended.
    pub code: i32,
    /// Whether the kernel killed a process of the container for want of memory.
    pub oom_killed: bool,
}

/// A running process that is a child of this one.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: u32,
    pub(crate) descriptor: OwnedFd,
    pub(crate) terminal: Option<OwnedFd>,
}

impl Launched {
    /// Waits for the end; `oom_killed` is left to the caller.
    pub(crate) fn reap(&self) -> io::Result<i32> {
        use std::os::fd::AsFd;
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.descriptor.as_fd()), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(None) => return Err(rustix::io::Errno::CHILD.into()),
                Ok(Some(status)) => {
                    let code =
                        status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
                    return Ok(code.unwrap_or(255));
                }
            }
        }
    }
}

/// Standard input, output and error of the runtime, which the container inherits.
pub(crate) struct Inherited {
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
}

impl Inherited {
    pub(crate) fn null() -> Self {
        Self { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::null() }
    }
}

/// Writes the bundle of a container: a directory that only this user may enter, with `config.json`.
pub(crate) fn write_bundle(
    runtime: &Runtime,
    directory: &Path,
    spec: &ContainerSpec,
) -> Result<(), StartError> {
    check_program(spec)?;
    let config = spec.bundle_config(runtime.id_map.as_ref())?;
    make_private_directory(directory).map_err(StartError::io(directory))?;
    let path = directory.join("config.json");
    let text = serde_json::to_vec(&config).expect("a JSON value always serialises");
    fs::write(&path, text).map_err(StartError::io(path))
}

pub(crate) fn make_private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Refuses a program that is certainly not in the root, in the runtime's own words.
///
/// The runtime would find out too, but only after it printed its complaint on what is by then the container's
/// standard error. What mounts may hide is left to it.
fn check_program(spec: &ContainerSpec) -> Result<(), StartError> {
    let Some(program) = spec.args.first().filter(|program| !program.is_empty()) else { return Ok(()) };
    let Ok(root) = RootDir::open(&spec.rootfs) else { return Ok(()) };
    if !spec.mounts.is_empty() || spec.init.is_some() {
        return Ok(());
    }
    let refuse = |reason: &str| {
        Err(StartError::from_message(format!(
            "OCI runtime create failed: runc create failed: unable to start container process: \
             exec: \"{program}\": {reason}: unknown"
        )))
    };
    let absent = |path: &Path| root.stat(path).err() == Some(rustix::io::Errno::NOENT);
    if program.contains('/') {
        let path = spec.cwd.join(program);
        return match root.stat(&path) {
            Err(rustix::io::Errno::NOENT) => refuse(&format!("stat {program}: no such file or directory")),
            Ok(stat)
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                    || stat.st_mode & 0o111 == 0 =>
            {
                refuse("permission denied")
            }
            _ => Ok(()),
        };
    }
    let environment = docker_environment(&spec.env, &spec.hostname, spec.terminal);
    let path = environment.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    if path.split(':').all(|directory| absent(&spec.cwd.join(directory).join(program))) {
        return refuse("executable file not found in $PATH");
    }
    Ok(())
}

impl Runtime {
    /// Creates and starts the container of a bundle as a child of this process.
    pub(crate) fn launch(
        &self,
        bundle: &Path,
        id: &str,
        stdio: Inherited,
        terminal: bool,
    ) -> Result<Launched, StartError> {
        make_private_directory(&self.records).map_err(StartError::io(&self.records))?;
        let console = open_console(terminal)?;
        let mut command = self.command();
        command.arg("--log").arg(bundle.join("log.json")).args(["--log-format", "json", "run", "--detach"]);
        command.arg("--bundle").arg(bundle);
        let started = start(command, bundle, id, stdio, console, "OCI runtime create failed: ");
        if started.is_err() {
            // A container that failed half way leaves records and groups under its name.
            self.delete(id);
        }
        started
    }

    /// Starts one more process in a running container as a child of this process.
    pub(crate) fn launch_exec(
        &self,
        directory: &Path,
        id: &str,
        stdio: Inherited,
        terminal: bool,
    ) -> Result<Launched, StartError> {
        let console = open_console(terminal)?;
        let mut command = self.command();
        command.arg("--log").arg(directory.join("log.json")).args([
            "--log-format",
            "json",
            "exec",
            "--detach",
        ]);
        command.arg("--process").arg(directory.join("process.json"));
        start(command, directory, id, stdio, console, "OCI runtime exec failed: ")
    }

    /// The control groups of a container; an ordinary user's has none.
    pub(crate) fn cgroups(&self, path: &str) -> Cgroups {
        if self.id_map.is_some() { Cgroups::default() } else { Cgroups::at(path) }
    }

    /// Removes what the runtime keeps of an ended container: its groups and its records.
    ///
    /// Starting the runtime for it would cost more than the container's own start, so that the usual case is done
    /// here: the first process is reaped, and with it the kernel ended all others of the pid namespace.
    pub(crate) fn remove(&self, id: &str, cgroups: &Cgroups, pid: &PidNamespace) {
        let records = self.records.join(id);
        if *pid == PidNamespace::Private && cgroups.remove() && fs::remove_dir_all(&records).is_ok() {
            return;
        }
        self.delete(id);
    }

    /// Ends and removes a container in whatever state it is.
    pub(crate) fn delete(&self, id: &str) {
        if !self.records.join(id).exists() {
            return;
        }
        let mut command = self.command();
        command.args(["delete", "--force", id]);
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn open_console(terminal: bool) -> Result<Option<ConsoleSocket>, StartError> {
    terminal.then(ConsoleSocket::open).transpose().map_err(StartError::io("the console socket"))
}

fn start(
    mut command: Command,
    directory: &Path,
    id: &str,
    stdio: Inherited,
    console: Option<ConsoleSocket>,
    prefix: &str,
) -> Result<Launched, StartError> {
    adopt_orphans();
    let pid_file = directory.join("pid");
    if let Some(console) = &console {
        command.arg("--console-socket").arg(&console.path);
    }
    command.arg("--pid-file").arg(&pid_file).arg(id);
    let program = command.get_program().to_owned();
    // A group of its own: a Ctrl-C at the caller's terminal is the caller's to forward.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let status = command
        .stdin(stdio.stdin)
        .stdout(stdio.stdout)
        .stderr(stdio.stderr)
        .status()
        .map_err(StartError::io(PathBuf::from(&program)))?;
    // The parent's copies of the pipes' far ends live in the command: without this no reader ever sees the end.
    drop(command);
    if !status.success() {
        return Err(refusal(directory, prefix, &program.to_string_lossy()));
    }
    let text = fs::read_to_string(&pid_file).map_err(StartError::io(&pid_file))?;
    let pid = text.trim().parse::<u32>().map_err(|_| StartError::Io {
        path: pid_file,
        source: io::Error::new(io::ErrorKind::InvalidData, "no number"),
    })?;
    // The process is this one's child since the runtime ended, and stays a zombie until it is reaped here: the
    // number cannot have passed to another.
    let descriptor = open_pid(pid).map_err(StartError::io("pidfd_open"))?;
    let terminal = console.map(|console| console.receive()).transpose();
    let terminal = terminal.map_err(StartError::io("the console socket"))?;
    Ok(Launched { pid, descriptor, terminal })
}

/// Makes orphans below this process its children, so that it can wait for what the runtime leaves running.
fn adopt_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The argument is a switch, not a process.
        let _ = rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1));
    });
}

#[derive(Deserialize)]
struct LogLine {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// The runtime's last complaint, worded as Docker words it.
fn refusal(directory: &Path, prefix: &str, program: &str) -> StartError {
    let log = fs::read_to_string(directory.join("log.json")).unwrap_or_default();
    let complaint = log
        .lines()
        .filter_map(|line| serde_json::from_str::<LogLine>(line).ok())
        .rfind(|line| line.level == "error" || line.level == "fatal");
    match complaint {
        // Docker creates and starts in two steps, so that its runtime says "create".
        Some(line) => {
            let words = line.msg.replacen("runc run failed", "runc create failed", 1);
            StartError::from_message(format!("{prefix}{words}: unknown"))
        }
        None => StartError::Refused { message: format!("{prefix}{program} did not say why: unknown") },
    }
}
