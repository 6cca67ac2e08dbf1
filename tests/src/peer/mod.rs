//! The programs around Shale, each started on its own directory and loopback port.

mod cutting_proxy;
mod docker_registry;
mod dockerd;
mod shale;
mod shale_daemon;
mod shale_registry;
mod static_registry;
mod token_server;

pub use cutting_proxy::CuttingProxy;
pub use docker_registry::{Access, DockerRegistry};
pub use dockerd::{Dockerd, Options};
pub use shale::Shale;
pub use shale_daemon::ShaleDaemon;
pub use shale_registry::{Guard, PASSWORD, ShaleRegistry, USER};
pub use static_registry::{Body, StaticRegistry};
pub use token_server::TokenServer;
