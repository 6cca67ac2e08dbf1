//! `shale push`.

use anyhow::anyhow;
use shale_oci::{Platform, Reference};

use super::Failure;
use crate::context::{Context, ShownProgress};

/// Pushes one tag or, with `all_tags`, every tag that the store has of a repository.
///
/// A platform is checked: an image here is for one only.
pub fn run(
    context: &Context,
    reference: &str,
    all_tags: bool,
    platform: Option<&str>,
    quiet: bool,
) -> Result<(), Failure> {
    let reference = Reference::parse(reference)?;
    let platform = platform.map(str::parse::<Platform>).transpose()?;
    if all_tags && !reference.is_name_only() {
        return Err(anyhow!("tag can't be used with --all-tags/-a").into());
    }
    if !all_tags && reference.is_name_only() && !quiet {
        println!("Using default tag: latest");
    }
    let engine = context.engine_to_read()?;
    let client = context.client()?;
    let progress = ShownProgress::shown(quiet);
    progress.message(&format!("The push refers to repository [{}]", reference.repository));
    context.block_on(async {
        let references = if all_tags {
            engine.local_tags(&reference.repository)?
        } else {
            vec![reference.clone().or_latest()]
        };
        for reference in &references {
            if let Some(platform) = &platform {
                engine.check_platform(&reference.familiar(), platform)?;
            }
            engine.push(&client, reference, &progress).await?;
        }
        Ok::<(), Failure>(())
    })?;
    if quiet {
        println!("{}", if all_tags { reference } else { reference.or_latest() });
    }
    Ok(())
}
