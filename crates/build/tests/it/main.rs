//! Builds in real stores, with real containers. They need root, an OCI runtime and a static busybox.

mod buildkit;
mod cache;
mod classic;
mod copy;
mod hostile;
mod machine;
mod run;
mod squash;
