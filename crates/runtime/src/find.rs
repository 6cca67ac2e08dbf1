//! Finds the OCI runtime of the machine and what this process may ask of it.

use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::spec::{ContainerSpec, SpecError};

/// An OCI runtime that works here, and where it keeps its records.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(crate) program: PathBuf,
    pub(crate) records: PathBuf,
    pub(crate) id_map: Option<IdMap>,
    pub(crate) supervisor: Option<Supervisor>,
}

/// How the program that holds this crate is started again as a supervisor: it must then call
/// [`crate::supervise_main`] with the arguments that follow these.
#[derive(Debug, Clone)]
pub struct Supervisor {
    /// The program, normally `/proc/self/exe`.
    pub program: PathBuf,
    /// Arguments before those of `supervise_main`.
    pub args: Vec<OsString>,
}

/// User and group IDs of an ordinary user's namespace, as ranges inside → outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    /// (inside, outside, count)
    pub uids: Vec<(u32, u32, u32)>,
    /// (inside, outside, count)
    pub gids: Vec<(u32, u32, u32)>,
}

/// Why there is no runtime to work with.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Neither runc nor crun is installed.
    #[error(
        "no OCI runtime found on PATH: install the package `runc` (or `crun`), or name one with --runtime"
    )]
    NotFound,
    /// The program the user named cannot be run.
    #[error("the OCI runtime {path} cannot be run")]
    NotRunnable {
        /// As given.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The place for an ordinary user's records is somebody else's.
    #[error("{path} is not a directory of this user alone: remove it, or set XDG_RUNTIME_DIR to one that is")]
    NotPrivate {
        /// The directory.
        path: PathBuf,
    },
    /// What was found refuses to work on this machine.
    #[error("the OCI runtime {path} does not work on this machine: {message}; install the package `runc`")]
    Refuses {
        /// The program.
        path: PathBuf,
        /// Its own words.
        message: String,
    },
}

impl Runtime {
    /// Finds a runtime: `configured`, else `runc`, else `crun` on `PATH`.
    ///
    /// As root containers run directly; an ordinary user's run in a user namespace made of the ranges in
    /// `/etc/subuid` and `/etc/subgid`, or of one ID.
    ///
    /// # Errors
    /// [`FindError`]; the message says what to install.
    pub fn find(configured: Option<&Path>) -> Result<Self, FindError> {
        let program = match configured {
            Some(path) => path.to_owned(),
            None => on_path("runc").or_else(|| on_path("crun")).ok_or(FindError::NotFound)?,
        };
        rustix::fs::access(&program, rustix::fs::Access::EXEC_OK)
            .map_err(|errno| FindError::NotRunnable { path: program.clone(), source: errno.into() })?;
        if program.file_name().is_some_and(|name| name == "crun") && is_hybrid() {
            let message = "it does not support cgroup v1 and v2 side by side".to_owned();
            return Err(FindError::Refuses { path: program, message });
        }
        let uid = rustix::process::geteuid().as_raw();
        let own_map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let is_real_root = uid == 0 && own_map.split_whitespace().eq(["0", "0", "4294967295"]);
        let (records, id_map) = if is_real_root {
            (PathBuf::from("/run/shale/runtime"), None)
        } else {
            let outer_uid = match own_map.split_whitespace().nth(1) {
                Some(outer) if uid == 0 => outer.to_owned(),
                _ => uid.to_string(),
            };
            let id_map = if uid == 0 { IdMap::of_this_namespace(&own_map) } else { IdMap::of_this_user(uid) };
            (private_directory(&outer_uid)?.join("shale/runtime"), Some(id_map))
        };
        Ok(Self { program, records, id_map, supervisor: None })
    }

    /// A runtime for what was started with it before: nothing is looked for or checked.
    pub(crate) fn at(program: PathBuf, records: PathBuf) -> Self {
        Self { program, records, id_map: None, supervisor: None }
    }

    /// Keeps the runtime's own records in `directory`; everyone who works on the same containers must agree on it.
    #[must_use]
    pub fn with_records(mut self, directory: impl Into<PathBuf>) -> Self {
        self.records = directory.into();
        self
    }

    /// Sets the program to start as supervisor; without it there are no detached containers, and a foreground
    /// container outlives a caller that is killed.
    #[must_use]
    pub fn with_supervisor(mut self, supervisor: Supervisor) -> Self {
        self.supervisor = Some(supervisor);
        self
    }

    /// First line of what the runtime says about itself, such as `runc version 1.1.5`; starts it.
    pub fn version(&self) -> std::io::Result<String> {
        let output = Command::new(&self.program).arg("--version").stdin(Stdio::null()).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
    }

    /// Path of the runtime.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The user namespace that containers get; `None` as root.
    pub fn id_map(&self) -> Option<&IdMap> {
        self.id_map.as_ref()
    }

    /// The `config.json` that a container gets; makes its working directory and mount points in the root.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn bundle_config(&self, spec: &ContainerSpec) -> Result<Value, SpecError> {
        spec.bundle_config(self.id_map.as_ref())
    }

    /// The command `runtime --root R …`.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.records);
        command
    }
}

/// Returns a directory that belongs to this user alone and goes with the boot.
///
/// Below `/tmp` anybody may make a directory of any name first: one that is not this user's own is refused.
fn private_directory(outer_uid: &str) -> Result<PathBuf, FindError> {
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    if let Some(path) = named.filter(|path| path.is_absolute() && path.is_dir()) {
        return Ok(path);
    }
    let path = PathBuf::from(format!("/tmp/shale-{outer_uid}"));
    let _ = std::fs::DirBuilder::new().mode(0o700).create(&path);
    let own = rustix::process::geteuid().as_raw();
    let is_private = |metadata: &std::fs::Metadata| {
        metadata.is_dir() && metadata.uid() == own && metadata.mode() & 0o077 == 0
    };
    match std::fs::symlink_metadata(&path) {
        Ok(metadata) if is_private(&metadata) => Ok(path),
        _ => Err(FindError::NotPrivate { path }),
    }
}

impl IdMap {
    /// All ids of the user namespace that this process is in, each onto itself.
    fn of_this_namespace(uid_map: &str) -> Self {
        let gid_map = std::fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
        let ranges = |map: &str| {
            let line = |line: &str| {
                let mut fields = line.split_whitespace().filter_map(|field| field.parse::<u32>().ok());
                let (inside, _, count) = (fields.next()?, fields.next()?, fields.next()?);
                Some((inside, inside, count))
            };
            map.lines().filter_map(line).collect()
        };
        Self { uids: ranges(uid_map), gids: ranges(&gid_map) }
    }

    fn of_this_user(uid: u32) -> Self {
        let gid = rustix::process::getegid().as_raw();
        let with_tools = on_path("newuidmap").is_some() && on_path("newgidmap").is_some();
        let read = |file: &str, own: u32| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let mut map = vec![(0, own, 1)];
            if with_tools && let Some((first, count)) = sub_ids(&text, uid) {
                map.push((1, first, count));
            }
            map
        };
        Self { uids: read("/etc/subuid", uid), gids: read("/etc/subgid", gid) }
    }

    pub(crate) fn uid_values(&self) -> Value {
        ranges(&self.uids)
    }

    pub(crate) fn gid_values(&self) -> Value {
        ranges(&self.gids)
    }
}

fn ranges(ranges: &[(u32, u32, u32)]) -> Value {
    ranges
        .iter()
        .map(|(inside, outside, count)| json!({ "containerID": inside, "hostID": outside, "size": count }))
        .collect()
}

/// First range of a user in `/etc/subuid`; users stand there by name or by number.
fn sub_ids(text: &str, uid: u32) -> Option<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        if Some(owner) != name.as_deref() && owner.parse() != Ok(uid) {
            return None;
        }
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    // An ordinary user's PATH often lacks the two where Debian puts runc.
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| {
            candidate.is_file() && rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok()
        })
}

fn is_hybrid() -> bool {
    Path::new("/sys/fs/cgroup/unified/cgroup.controllers").exists()
}
