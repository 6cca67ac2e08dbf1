//! `shale container diff` and `export`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::anyhow;

use crate::commands::Failure;
use crate::context::Context;
use crate::terminal::{output, screen};

/// Prints what a container changed.
pub fn diff(context: &Context, container: &str) -> Result<(), Failure> {
    let engine = context.engine()?;
    let mut text = String::new();
    for change in engine.container_changes(container)? {
        let path = change.path.to_string_lossy();
        text.push_str(&format!("{} {}\n", change.kind.letter(), screen::escape(&path)));
    }
    Ok(output::stdout().write_all(text.as_bytes())?)
}

/// Writes a container's files as one tar.
pub fn export(context: &Context, container: &str, output: Option<&Path>) -> Result<(), Failure> {
    let engine = context.engine()?;
    match output {
        Some(path) => {
            engine.find_container(container)?;
            let mut file = io::BufWriter::new(File::create(path)?);
            engine.export_container(container, &mut file)?;
            Ok(file.flush()?)
        }
        None if screen::is_terminal(io::stdout()) => {
            Err(anyhow!("cowardly refusing to save to a terminal. Use the -o flag or redirect").into())
        }
        None => {
            let mut stdout = io::BufWriter::new(output::unbuffered_stdout()?);
            engine.export_container(container, &mut stdout)?;
            Ok(stdout.flush()?)
        }
    }
}
