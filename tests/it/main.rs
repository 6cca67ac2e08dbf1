//! The black-box suites: each promise of the program, judged by programs that are not ours.
//!
//! `tests/README.md` says what each holds.

mod build;
mod concurrency;
mod containers;
mod crash;
mod daemon;
mod dockers_root;
mod hostile;
mod opened_by_docker;
mod peers;
mod platforms;
mod pull;
mod push;
mod registry_clients;
mod registry_conformance;
mod registry_crash;
mod registry_load;
mod removal;
mod save_load_copy;
mod vectors;
mod wire;
