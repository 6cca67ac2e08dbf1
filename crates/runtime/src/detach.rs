//! Containers that outlive the program that started them: each has a supervisor, a small process of its own.
//!
//! The supervisor is the parent of the container's first process. It takes its output, writes it to the log and to
//! whoever is attached, starts further processes in it, records how it ended, and goes. It is the same program,
//! started again ([`crate::Supervisor`]), and it is spoken to over a socket in the container's directory.
//!
//! A container's directory: `supervise.json` (what to do), `state.json` (replaced as a whole), `control` (socket),
//! `bundle/`, `exec/<id>/`, `supervisor.log`.

mod broadcast;
mod client;
mod exec;
mod follow;
mod health;
mod notice;
mod protocol;
mod restart;
mod server;
mod state;
mod supervise;

pub use client::{AttachStreams, Container, ControlError, DetachedSpec, KILL_WAIT, Waiting};
pub use exec::{ExecSpec, ExecState};
pub use follow::{DETACH_KEYS, FollowEnd, Followed};
pub use health::{Health, HealthCheck, HealthResult, HealthStatus};
pub use notice::EndNotice;
pub use restart::Restart;
pub use state::{State, StateError, Status};
pub use supervise::supervise_main;
