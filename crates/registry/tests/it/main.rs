//! The registry over its sockets, in one process with the test.

mod access;
mod client;
mod conformance;
mod crash;
mod events;
mod gc;
mod hostile;
mod protocol;
mod takeover;
mod tls;
mod ui;
