//! Containers: made from images, started under a supervisor, looked into, copied from, turned into images, removed.
//!
//! A container is what Docker keeps of one: a record in `containers/<id>`, an init and a writable directory below
//! `overlay2`. While it runs its files are mounted in a mount namespace of its supervisor, and nowhere else: when that
//! process is gone, however it went, so is the mount.
//! Not here: printing; what a runtime is told (that is the crate `runtime`).

pub mod archive;
pub mod changes;
pub mod commit;
pub mod copy;
pub mod create;
pub mod document;
pub mod endpoints;
pub mod exec;
pub mod find;
pub mod health;
pub mod limits;
pub mod links;
pub mod list;
pub mod log_config;
pub mod logs;
pub mod names;
mod namespace;
pub mod pause;
mod propagation;
pub mod record;
pub mod remove;
pub mod rename;
mod settings;
pub mod settle;
mod spec;
pub mod start;
pub mod stats;
pub mod update;
mod view;
mod volumes;
pub mod wait;

pub use record::{MountedVolume, Record, Status};
pub use settings::HostConfig;
pub(crate) use volumes::random_id;
