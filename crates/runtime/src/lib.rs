//! Runs one process in a prepared root filesystem through an OCI runtime.
//!
//! Promise: whatever the root filesystem holds, no call follows its links on the host or reads it without a bound;
//! a container sees the descriptors 0, 1 and 2 and no others; its inheritable and ambient capabilities are empty.
//!
//! Not here: images, layers, Dockerfile words, the Docker API, async.

mod cgroup;
mod console;
mod detach;
mod find;
mod launch;
pub mod log;
mod process;
mod root_dir;
mod run;
mod signal;
pub mod spec;

pub use cgroup::{BlockIo, Cgroups, CpuStats, MemoryStats, NetworkStats, Stats};
pub use console::{RawMode, WindowSize};
pub use detach::{
    AttachStreams, Container, ControlError, DETACH_KEYS, DetachedSpec, EndNotice, ExecSpec, ExecState,
    FollowEnd, Followed, Health, HealthCheck, HealthResult, HealthStatus, KILL_WAIT, Restart, State,
    StateError, Status, Waiting, supervise_main,
};
pub use find::{FindError, IdMap, Runtime, Supervisor};
pub use launch::{ExitStatus, StartError};
pub use process::ProcessId;
pub use run::{RunError, Running, Stdio, Stream, WaitError};
pub use signal::{Signal, SignalError, SignalSender, Signals};
pub use spec::ContainerSpec;
