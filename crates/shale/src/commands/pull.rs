//! `shale pull`.

use anyhow::anyhow;
use shale_oci::{Platform, Reference};

use super::Failure;
use crate::context::{Context, ShownProgress};

/// Pulls one tag or, with `all_tags`, every tag of a repository.
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
    let engine = context.engine()?;
    let client = context.client()?;
    let progress = ShownProgress::shown(quiet);
    context.block_on(async {
        let references = if all_tags {
            let tags = client.tags(&reference.repository).await?;
            tags.into_iter().map(|tag| reference.repository.tagged(tag)).collect()
        } else {
            vec![reference.clone().or_latest()]
        };
        let mut is_new = false;
        let mut other_platforms = Vec::new();
        for reference in &references {
            let pulled = engine.pull(&client, reference, platform.as_ref(), &progress).await?;
            is_new |= pulled.is_new;
            other_platforms.extend(pulled.other_platform);
        }
        let named = if all_tags { reference.clone() } else { reference.clone().or_latest() };
        let outcome = if is_new { "Downloaded newer image for" } else { "Image is up to date for" };
        progress.message(&format!("Status: {outcome} {}", named.familiar()));
        for other in other_platforms {
            eprintln!("WARNING: {other}");
        }
        println!("{named}");
        Ok::<(), Failure>(())
    })
}
