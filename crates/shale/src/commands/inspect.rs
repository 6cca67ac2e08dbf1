//! `shale inspect` and `shale image inspect`.

use serde_json::Value;
use shale_engine::images::find::FindError;
use shale_engine::images::inspect::InspectError;
use shale_engine_api::ApiVersion;

use super::Failure;
use crate::context::Context;
use crate::terminal::json::{Escape, indented};
use crate::terminal::screen;
use crate::terminal::template::{Subject, Template};

/// Prints all about images, as JSON or through a template.
pub fn run(context: &Context, names: &[String], format: Option<&str>) -> Result<(), Failure> {
    let version = api_version()?;
    let template = match format {
        None | Some("json") => None,
        Some(source) => Some(Template::parse(source)?),
    };
    let engine = context.engine_to_look()?;
    let mut documents = Vec::new();
    let mut errors = Vec::new();
    for name in names {
        match engine.inspect(name) {
            Ok(image) => documents.push(image.document(version)),
            Err(InspectError::Find(FindError::NoSuchImage(_))) => {
                errors.push(format!("Error: No such image: {name}"))
            }
            Err(error) => errors.push(format!("Error: {:#}", anyhow::Error::from(error))),
        }
    }
    match &template {
        Some(template) => {
            for document in &documents {
                println!("{}", template.render(document, Subject::Document)?);
            }
        }
        None if format == Some("json") => {
            println!("{}", crate::terminal::json::compact(&Value::Array(documents), Escape::Nothing))
        }
        None => println!("{}", indented(&Value::Array(documents), Escape::Nothing)),
    }
    if errors.is_empty() {
        return Ok(());
    }
    for error in errors {
        eprintln!("{}", screen::escape_lines(&error));
    }
    Err(Failure::Reported { exit_code: 1 })
}

/// Returns the version whose shape documents have: `DOCKER_API_VERSION`, or the newest.
fn api_version() -> Result<ApiVersion, Failure> {
    match std::env::var("DOCKER_API_VERSION") {
        Ok(version) if !version.is_empty() => Ok(version.parse()?),
        _ => Ok(ApiVersion::NEWEST),
    }
}
