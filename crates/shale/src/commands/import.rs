//! `shale import`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use anyhow::{Context as _, anyhow};
use shale_engine::archive::import::Import;
use shale_engine::images::tag::parse_tag_target;
use shale_oci::Platform;

use super::Failure;
use crate::context::Context;

/// Makes an image of the tar of a file system, and prints its ID.
pub fn run(context: &Context, command: &crate::cli::Import) -> Result<(), Failure> {
    let import = Import {
        changes: command.changes.clone(),
        message: command.message.clone().unwrap_or_else(|| "Imported from -".to_owned()),
        platform: match &command.platform {
            Some(platform) => platform.parse()?,
            None => Platform::host(),
        },
        reference: command.reference.as_deref().map(parse_tag_target).transpose()?,
    };
    let archive = open(&command.source)?;
    let image = context.engine()?.import(archive, &import, &jiff::Zoned::now())?;
    println!("{image}");
    Ok(())
}

fn open(source: &str) -> Result<Box<dyn Read + Send>, anyhow::Error> {
    if source == "-" {
        return Ok(Box::new(File::from(io::stdin().as_fd().try_clone_to_owned()?)));
    }
    if source.starts_with("http://") || source.starts_with("https://") {
        return Err(anyhow!(
            "import does not fetch URLs; pipe the archive in: curl -L {source} | shale import -"
        ));
    }
    let file = File::open(source).with_context(|| format!("could not open {source}"))?;
    Ok(Box::new(file))
}
