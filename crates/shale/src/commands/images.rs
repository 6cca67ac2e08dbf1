//! `shale images`.

use anyhow::bail;
use shale_engine::images::filter::Filter;
use shale_engine::images::list::List;
use shale_engine_api::ImageSummary;

use super::Failure;
use crate::cli::Images;
use crate::context::Context;
use crate::terminal::listing::{Clock, image_tree, images};
use crate::terminal::screen;

/// Prints the list of images, or the tree.
pub fn run(context: &Context, command: &Images) -> Result<(), Failure> {
    if command.tree {
        refuse_with_tree(command)?;
    }
    let clock = Clock::of_system();
    let mut filters = Vec::new();
    for filter in &command.filters {
        filters.push(Filter::parse(filter, clock.now)?);
    }
    // No pattern is every image, as with docker.
    if let Some(pattern) = command.reference.as_deref().filter(|pattern| !pattern.is_empty()) {
        filters.push(Filter::reference(pattern)?);
    }
    let engine = context.engine_to_look()?;
    let summaries = engine.list(&List { all: command.all, filters })?;
    let rows: Vec<images::Image> = summaries.iter().map(row).collect();
    if command.tree {
        // Docker takes so many where nobody says how many there are.
        let width = screen::size(std::io::stdout()).map_or(80, |size| size.columns);
        print!("{}", image_tree::render(&rows, command.all, width));
        return Ok(());
    }
    let options = images::Options {
        format: command.format.clone(),
        quiet: command.quiet,
        digests: command.digests,
        no_trunc: command.no_trunc,
    };
    print!("{}", images::render(&rows, &options, &clock)?);
    Ok(())
}

/// Refuses the flags that docker's tree does not know either, with its words.
fn refuse_with_tree(command: &Images) -> anyhow::Result<()> {
    for (flag, is_given) in [
        ("--quiet", command.quiet),
        ("--no-trunc", command.no_trunc),
        ("--show-digest", command.digests),
        ("--format", !command.format.is_empty()),
    ] {
        if is_given {
            bail!("{flag} is not yet supported with --tree");
        }
    }
    Ok(())
}

/// Returns the row of an image, without what only `system df` counts.
pub(super) fn row(summary: &ImageSummary) -> images::Image {
    let split = |names: &[String], at: char| {
        names
            .iter()
            .filter_map(|name| name.rsplit_once(at))
            .map(|(repository, rest)| (repository.to_owned(), rest.to_owned()))
            .collect()
    };
    images::Image {
        id: summary.id.to_string(),
        tags: split(&summary.repo_tags, ':'),
        digests: split(&summary.repo_digests, '@'),
        created_seconds: summary.created,
        size_bytes: summary.size_bytes,
        shared_size_bytes: None,
        containers: None,
    }
}
