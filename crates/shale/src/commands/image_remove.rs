//! `shale rmi`.

use shale_engine::Engine;
use shale_engine::images::find::FindError;
use shale_engine::images::platform::CheckPlatformError;
use shale_engine::images::remove::{Remove, RemoveError, Removed};
use shale_oci::Platform;

use super::Failure;
use crate::cli::ImageRemove;
use crate::context::Context;
use crate::terminal::screen;

/// Removes names and images; goes on after one that cannot be removed, and says so at the end.
pub fn run(context: &Context, command: &ImageRemove) -> Result<(), Failure> {
    let engine = context.engine()?;
    let remove = Remove { force: command.force, prune: !command.no_prune };
    let mut errors = Vec::new();
    let mut is_fatal = false;
    let platforms =
        command.platforms.iter().map(|platform| platform.parse()).collect::<Result<Vec<_>, _>>()?;
    for image in &command.images {
        if let Some(error) = other_platform(&engine, image, &platforms) {
            is_fatal = true;
            errors.push(format!("Error: {:#}", anyhow::Error::from(error)));
            continue;
        }
        match engine.remove(image, remove) {
            Ok(removed) => print(&removed),
            Err(error) => {
                // With --force, docker takes an image that is not there for removed.
                is_fatal |= !(command.force && matches!(error, RemoveError::Find(FindError::NoSuchImage(_))));
                errors.push(format!("Error: {:#}", anyhow::Error::from(error)));
            }
        }
    }
    for error in &errors {
        eprintln!("{}", screen::escape_lines(error));
        if let Some(hint) = super::hint::for_error(context, error) {
            eprintln!("{hint}");
        }
    }
    if is_fatal { Err(Failure::Reported { exit_code: 1 }) } else { Ok(()) }
}

/// An image is for one platform: it goes when that is asked for, and stays when another one is.
fn other_platform(engine: &Engine, image: &str, platforms: &[Platform]) -> Option<CheckPlatformError> {
    let checked = platforms.iter().map(|platform| engine.check_platform(image, platform));
    checked.filter_map(Result::err).find(|error| matches!(error, CheckPlatformError::Other { .. }))
}

fn print(removed: &[Removed]) {
    for item in removed {
        match item {
            Removed::Untagged(name) => println!("Untagged: {name}"),
            Removed::Deleted(id) => println!("Deleted: {id}"),
        }
    }
}
