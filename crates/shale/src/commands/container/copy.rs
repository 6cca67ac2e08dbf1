//! `shale cp`.

use std::io::{self, Write};
use std::path::Path;

use anyhow::anyhow;
use shale_engine::containers::copy::CopyOptions;

use crate::cli::container::ContainerCopy;
use crate::commands::Failure;
use crate::context::Context;
use crate::terminal::units::human_size;
use crate::terminal::{output, screen};

/// One side of a copy.
enum Side<'a> {
    Container(&'a str, &'a str),
    Here(&'a str),
    Stream,
}

/// Takes an argument apart: `CONTAINER:PATH`, a path of this machine, or `-`.
///
/// Source: docker CLI 28.2 `splitCpArg`.
fn side(argument: &str) -> Side<'_> {
    match argument.split_once(':') {
        _ if argument == "-" => Side::Stream,
        _ if argument.starts_with('/') => Side::Here(argument),
        // A dot says that it is a path, whatever follows.
        Some((container, _)) if container.starts_with('.') => Side::Here(argument),
        Some(("", path)) => Side::Here(path),
        Some((container, path)) => Side::Container(container, path),
        None => Side::Here(argument),
    }
}

/// Copies between a container and this machine.
pub fn run(context: &Context, copy: &ContainerCopy) -> Result<(), Failure> {
    if copy.source.is_empty() {
        return Err(anyhow!("source can not be empty").into());
    }
    if copy.destination.is_empty() {
        return Err(anyhow!("destination can not be empty").into());
    }
    let options = CopyOptions { follow_link: copy.follow_link, to_user: copy.archive };
    let quiet = copy.quiet.unwrap_or_else(|| !screen::is_terminal(io::stdout()));
    let (copied_bytes, target) = match (side(&copy.source), side(&copy.destination)) {
        (Side::Container(..), Side::Container(..)) => {
            return Err(anyhow!("copying between containers is not supported").into());
        }
        (Side::Container(container, path), Side::Stream) => {
            let mut stdout = io::BufWriter::new(output::unbuffered_stdout()?);
            context.engine_beside(container)?.copy_out_tar(
                container,
                Path::new(path),
                &mut stdout,
                options,
            )?;
            return Ok(stdout.flush()?);
        }
        (Side::Container(container, path), Side::Here(here)) => {
            let copied = context.engine_beside(container)?.copy_out(
                container,
                Path::new(path),
                Path::new(here),
                options,
            )?;
            (copied, here.to_owned())
        }
        (Side::Stream, Side::Container(container, path)) => {
            let tar = Box::new(io::stdin());
            context.engine_beside(container)?.copy_in_tar(tar, container, Path::new(path), options)?;
            return Ok(());
        }
        (Side::Here(here), Side::Container(container, path)) => {
            let copied = context.engine_beside(container)?.copy_in(
                Path::new(here),
                container,
                Path::new(path),
                options,
            )?;
            (copied, copy.destination.clone())
        }
        _ => return Err(anyhow!("must specify at least one container source").into()),
    };
    if !quiet {
        eprintln!("Successfully copied {} to {}", human_size(copied_bytes), screen::escape(&target));
    }
    Ok(())
}
