//! Sockets and TLS, and connections that are taken over.

pub(crate) mod detach_keys;
pub(crate) mod hijack;
pub(crate) mod listen;
pub(crate) mod tls;
