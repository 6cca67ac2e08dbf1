//! The registry over its sockets, in one process with the test.

mod access;
mod client;
mod conformance;
mod crash;
mod events;
mod gc;
mod hostile;
mod probes;
mod protocol;
mod status_codes;
mod takeover;
mod tls;
mod ui;
