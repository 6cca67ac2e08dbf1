//! Containers run by the real OCI runtime in a root filesystem made of a static busybox.
//!
//! Needs root, and the packages `runc` and `busybox-static`; a missing one fails the tests with its name.
//! The expected values come from dockerd 20.10.24 run with the same flags and the same root filesystem.

mod detached;
mod foreground;
mod hostile;
mod like_docker;
mod rootless;
mod setup;
