//! `shale copy`.

use shale_engine::copy::{CopyOptions, Place, copy};
use shale_oci::Reference;

use super::Failure;
use crate::cli::Copy;
use crate::context::{Context, ShownProgress};

/// Copies an image from one place to another; no store is opened.
pub fn run(context: &Context, command: &Copy) -> Result<(), Failure> {
    let from: Place = command.source.parse()?;
    let to: Place = command.destination.parse()?;
    let platforms = command.platforms.iter().map(|platform| platform.parse()).collect::<Result<_, _>>()?;
    let options = CopyOptions { platforms, referrers: !command.no_referrers };
    let client = context.client()?;
    let progress = ShownProgress::shown(command.quiet);
    progress.message(&format!("Copying {from} to {to}"));
    let copying = async { Ok::<_, Failure>(copy(&client, &from, &to, &options, &progress).await) };
    let copied = context.block_on(copying)?.map_err(|error| match error.refusing(&from, &to) {
        Some(Reference { repository, .. }) => {
            let name = repository.familiar();
            let hint = format!("access to {name} refused, may require 'shale login {}'", repository.domain());
            anyhow::Error::from(error).context(hint)
        }
        None => error.into(),
    })?;
    if command.quiet {
        println!("{}", copied.digest);
        return Ok(());
    }
    if copied.referrers > 0 {
        progress.message(&format!("Referrers: {}", copied.referrers));
    }
    progress.message(&format!("Digest: {} size: {}", copied.digest, copied.size_bytes));
    Ok(())
}
