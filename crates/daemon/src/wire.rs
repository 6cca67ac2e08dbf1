//! Sockets and TLS.

pub(crate) mod listen;
pub(crate) mod tls;
