//! `shale logout`.

use super::Failure;
use super::login::Server;
use crate::context::Context;
use crate::terminal::screen;

/// Forgets the credentials of a registry. That there are none is no error, as in docker.
///
/// Source: docker CLI 28.2 `registry/logout.go`, observed 2026-11-22.
pub fn run(context: &Context, server: Option<&str>) -> Result<(), Failure> {
    let server = Server::parse(server)?;
    println!("Removing login credentials for {}", server.key);
    if let Err(error) = context.config_file().erase(&server.key) {
        eprintln!("WARNING: could not erase credentials:");
        let error = format!("{}: {:#}", server.key, anyhow::Error::from(error));
        eprintln!("{}", screen::escape_lines(&error));
    }
    Ok(())
}
