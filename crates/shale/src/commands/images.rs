//! `shale images`.

use shale_engine::images::filter::Filter;
use shale_engine::images::list::List;
use shale_engine_api::ImageSummary;

use super::Failure;
use crate::cli::Images;
use crate::context::Context;
use crate::terminal::listing::{Clock, images};

/// Prints the list of images.
pub fn run(context: &Context, command: &Images) -> Result<(), Failure> {
    let clock = Clock::of_system();
    let mut filters = Vec::new();
    for filter in &command.filters {
        filters.push(Filter::parse(filter, clock.now)?);
    }
    filters.extend(command.reference.clone().map(Filter::Reference));
    let engine = context.engine_to_look()?;
    let summaries = engine.list(&List { all: command.all, filters })?;
    let rows: Vec<images::Image> = summaries.iter().map(row).collect();
    let options = images::Options {
        format: command.format.clone(),
        quiet: command.quiet,
        digests: command.digests,
        no_trunc: command.no_trunc,
    };
    print!("{}", images::render(&rows, &options, &clock)?);
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
