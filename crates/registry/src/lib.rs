//! The registry server: the OCI distribution API and Docker's, over files and SQLite.
//!
//! Promise: what was answered with 201 or 202 is durable; nothing else is visible.
//! Not here: the image engine, the Docker Engine API, printing.

pub mod api;
pub mod auth;
pub mod blob_store;
mod blobs;
pub mod config;
mod manifest;
pub mod metadata;
pub mod name;
mod registry;
pub mod serve;
mod wire;

pub use registry::{MissingTargets, Policy, Registry};
pub use serve::{ServeOptions, Server};
