//! `shale load`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use anyhow::{Context as _, anyhow};
use shale_engine::archive::load::{Input, Loaded};
use shale_oci::Platform;

use super::Failure;
use crate::cli::Load;
use crate::context::{Context, ShownProgress};
use crate::terminal::screen;

/// Loads the images of an archive from a file, from standard input, or from a directory with an OCI layout.
pub fn run(context: &Context, command: &Load) -> Result<(), Failure> {
    let platform = command.platform.as_deref().map(str::parse::<Platform>).transpose()?;
    let input = match &command.input {
        Some(path) if path.is_dir() => Input::Directory(path.clone()),
        Some(path) => {
            Input::File(File::open(path).with_context(|| format!("could not open {}", path.display()))?)
        }
        None if screen::is_terminal(io::stdin()) => {
            return Err(anyhow!("requested load from stdin, but stdin is empty").into());
        }
        None => Input::File(File::from(io::stdin().as_fd().try_clone_to_owned()?)),
    };
    let engine = context.engine()?;
    // As docker: what moves is shown on a terminal only.
    let progress = ShownProgress::shown(command.quiet || !screen::is_terminal(io::stdout()));
    let loaded = engine.load(input, platform.as_ref(), &*progress)?;
    drop(progress);
    for line in loaded.iter().flat_map(lines) {
        println!("{line}");
    }
    Ok(())
}

/// Returns docker's lines about one image.
fn lines(loaded: &Loaded) -> Vec<String> {
    if loaded.names.is_empty() {
        return vec![format!("Loaded image ID: {}", loaded.image)];
    }
    let mut lines = Vec::new();
    for name in &loaded.names {
        let reference = name.reference.familiar();
        lines.extend(name.replaced.map(|replaced| {
            format!("The image {reference} already exists, renaming the old one with ID {replaced} to empty string")
        }));
        lines.push(format!("Loaded image: {reference}"));
    }
    lines
}
