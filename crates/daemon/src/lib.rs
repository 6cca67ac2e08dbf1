//! The Engine API over a socket: a request becomes a call of the engine, and its answer a document of the version asked.
//!
//! Promise: nothing is cached between requests, so that whatever another `shale` does on the same root is seen at once;
//! a client that goes away cancels what it asked for; a malformed request is a 4xx.
//! Not here: what a pull or a removal means; that is the engine's.

mod answer;
mod body;
mod build;
mod check;
mod containers;
mod daemon;
mod description;
mod events;
mod failure;
mod images;
mod metrics;
mod networks;
mod objects;
mod progress;
mod registry_auth;
mod request;
mod route;
mod serve;
mod system;
mod transfer;
mod volumes;
mod wire;

pub use check::check_head;
pub use daemon::{Experiments, Identity};
pub use description::{describe_engine, describe_version};
pub use serve::{Config, Limits, Server, StartError};
pub use wire::listen::{Host, HostError, SocketAccess};
pub use wire::tls::{TlsError, TlsFiles};
