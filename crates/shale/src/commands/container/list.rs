//! `shale ps` and `container inspect`.

use serde_json::Value;
use shale_engine::containers::Record;
use shale_engine::containers::list::ListContainers;

use crate::cli::container::List;
use crate::commands::Failure;
use crate::context::Context;
use crate::terminal::json::{Escape, compact, indented};
use crate::terminal::listing::Clock;
use crate::terminal::listing::containers::{self, Container, Options};
use crate::terminal::template::{Subject, Template};

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
        size,
    }
}

/// Prints all about containers, as JSON or through a template.
pub fn inspect(context: &Context, names: &[String], format: Option<&str>, size: bool) -> Result<(), Failure> {
    let template = match format {
        None | Some("json") => None,
        Some(source) => Some(Template::parse(source)?),
    };
    let engine = context.engine_to_look()?;
    let (mut documents, mut failed) = (Vec::new(), false);
    for name in names {
        match engine.find_container(name) {
            Ok(record) => documents.push(engine.container_document(&record, size)?),
            Err(error) => {
                failed = true;
                super::complain(&error);
            }
        }
    }
    match &template {
        Some(template) => {
            for document in &documents {
                println!("{}", template.render(document, Subject::Document)?);
            }
        }
        None if format == Some("json") => {
            println!("{}", compact(&Value::Array(documents), Escape::Nothing));
        }
        None => println!("{}", indented(&Value::Array(documents), Escape::Nothing)),
    }
    if failed { Err(Failure::Reported { exit_code: 1 }) } else { Ok(()) }
}
