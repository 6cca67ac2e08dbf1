//! `shale ps`.

use shale_engine::containers::Record;
use shale_engine::containers::list::ListContainers;

use crate::cli::container::List;
use crate::commands::Failure;
use crate::context::Context;
use crate::terminal::listing::Clock;
use crate::terminal::listing::containers::{self, Container, Options};

/// Prints the table of containers.
pub fn run(context: &Context, list: &List) -> Result<(), Failure> {
    let engine = context.engine_to_look()?;
    let last = if list.latest { Some(1) } else { list.last.and_then(|last| usize::try_from(last).ok()) };
    let options = ListContainers { all: list.all, last, filters: list.filters.clone() };
    let shows_size = list.size || list.format.contains(".Size");
    let mut rows = Vec::new();
    for record in engine.list_containers(&options)? {
        let size = if shows_size { Some(engine.container_sizes(&record)?) } else { None };
        rows.push(row(&engine, &record, size));
    }
    let options =
        Options { format: list.format.clone(), quiet: list.quiet, size: list.size, no_trunc: list.no_trunc };
    print!("{}", containers::render(&rows, &options, &Clock::of_system())?);
    Ok(())
}

fn row(engine: &shale_engine::Engine, record: &Record, size: Option<(u64, u64)>) -> Container {
    let image = record.image();
    // A name that leads to another image by now is not shown; the ID is.
    let found = engine.find_image(record.image_name()).ok().map(|found| found.id);
    let image_name = match (image, found) {
        (Some(image), found) if found != Some(image) => image.to_string(),
        _ => record.image_name().to_owned(),
    };
    Container {
        id: record.id.clone(),
        name: record.name().to_owned(),
        image: image_name,
        command: record.command(),
        created: record.created(),
        status: record.status(),
        exit_code: record.exit_code(),
        started: record.started(),
        finished: record.finished(),
        labels: record.labels(),
        mounts: record.mount_names(),
        network: record.network().to_owned(),
        health: record.health().map(str::to_owned),
        size,
    }
}
