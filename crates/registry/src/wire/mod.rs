//! The bytes below HTTP: listeners, connections, TLS, and files that go to a socket without passing through us.

pub(crate) mod activity;
pub(crate) mod file_body;
pub(crate) mod listen;
pub(crate) mod mapping;
pub(crate) mod memory;
pub(crate) mod stream;
pub mod tls;
