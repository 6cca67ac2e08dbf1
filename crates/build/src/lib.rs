//! Runs a Dockerfile's stages: step keys, cache, COPY, ADD, RUN, commit.
//!
//! Promise: every step that Docker's classic builder commits is an image with its parent, so a dockerd that opens the
//! root finds the cache; a file of the context is read where it lies, and no link leads out of it; the upper directory
//! of a step becomes the layer in place.
//! Not here: HTTP, registries, text of the command line.

mod archive;
mod build;
mod buildkit;
mod cache;
mod cache_source;
mod commit;
mod container;
mod context;
mod copy;
mod error;
mod excerpt;
mod export;
mod git;
mod go_text;
mod mounts;
mod namespace;
mod options;
mod order;
mod owner;
mod parallel;
mod ports;
mod remote;
mod run;
mod squash;
mod stage;
mod step;
mod tree;

pub use build::{Built, Failed, StepReport, build};
pub use context::{Context, ContextError, UnpackedContext};
pub use error::{BuildError, CopyFault, StoreError};
pub use excerpt::excerpt;
pub use export::{export_directory, export_tar, unpack_directory};
pub use git::{GitError, GitSource};
pub use namespace::enter_mount_namespace;
pub use options::{BuildOptions, ImageFormat, NamedContext, RunNetwork};
pub use owner::OwnerError;
pub use parallel::Cancel;
pub use ports::{Images, Output, PortError};

pub use shale_runtime::spec::{Resources, Rlimit};
pub use shale_runtime::{Supervisor, supervise_main};
