//! The registry server: the OCI distribution API and Docker's, over files and SQLite.
//!
//! Promise: what was answered with 201 or 202 is durable; nothing else is visible.
//! Not here: the image engine, the Docker Engine API, printing.

pub mod api;
pub mod auth;
pub mod blob_store;
mod blobs;
pub mod commands;
pub mod config;
pub mod maintenance;
pub mod manifest;
pub mod metadata;
mod metrics;
pub mod name;
mod notifications;
mod open;
mod registry;
pub mod serve;
pub mod takeover;
mod ui;
mod wire;

pub use config::Config;
pub use open::OpenRegistryError;
pub use registry::{MissingTargets, Policy, Registry};
pub use serve::{Server, StartError};
pub use wire::tls::TlsError;
