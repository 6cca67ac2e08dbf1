//! `shale inspect`, `image inspect` and `container inspect`.

use anyhow::anyhow;
use serde_json::Value;
use shale_engine::Engine;
use shale_engine::containers::find::FindContainerError;
use shale_engine::images::find::FindError;
use shale_engine::images::inspect::InspectError;
use shale_engine_api::ApiVersion;
use shale_oci::Platform;

use super::Failure;
use crate::cli::Inspect;
use crate::context::Context;
use crate::terminal::json::Escape;
use crate::terminal::listing::inspect::{CONTAINER, Format, IMAGE, Object, render};
use crate::terminal::screen;

/// Exit code for a template that cannot be read.
///
/// Source: docker CLI 28.2 `cli/command/inspect`, observed.
const EXIT_TEMPLATE: u8 = 64;

/// Types that docker knows and that this program has no objects of.
const OTHER_KINDS: [&str; 8] = ["config", "network", "node", "plugin", "secret", "service", "task", "volume"];

/// What a name may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A container, else an image.
    Any,
    Container,
    Image,
}

/// Prints all about images and containers, as JSON or through a template.
pub fn run(context: &Context, inspect: &Inspect) -> Result<(), Failure> {
    let version = api_version()?;
    let kind = kind(inspect.kind.as_deref())?;
    let platform = inspect.platform.as_deref().map(str::parse::<Platform>).transpose()?;
    let format = match Format::parse(inspect.format.as_deref()) {
        Ok(format) => format,
        Err(error) => {
            complain(&error.into());
            return Err(Failure::Reported { exit_code: EXIT_TEMPLATE });
        }
    };
    let engine = context.engine_to_look()?;
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    for name in &inspect.names {
        match find(&engine, name, kind, inspect.size, version, platform.as_ref()) {
            Ok(object) => objects.push(object),
            Err(error) => errors.push(error),
        }
    }
    let inspection = render(&objects, &format);
    print!("{}", inspection.text);
    errors.extend(inspection.error.map(anyhow::Error::from));
    if errors.is_empty() {
        return Ok(());
    }
    for error in &errors {
        complain(error);
        if let Some(hint) = super::hint::for_error(context, &error.to_string()) {
            eprintln!("{hint}");
        }
    }
    Err(Failure::Reported { exit_code: 1 })
}

fn complain(error: &anyhow::Error) {
    eprintln!("Error: {}", screen::escape_lines(&format!("{error:#}")));
}

fn kind(word: Option<&str>) -> Result<Kind, Failure> {
    match word {
        None | Some("") => Ok(Kind::Any),
        Some("container") => Ok(Kind::Container),
        Some("image") => Ok(Kind::Image),
        Some(other) if OTHER_KINDS.contains(&other) => Err(anyhow!(
            "there are no objects of type {other:?} here: inspect knows \"container\" and \"image\""
        )
        .into()),
        Some(other) => {
            Err(anyhow!("unknown type: {other:?}: must be one of \"container\", \"image\"").into())
        }
    }
}

/// Returns what `name` leads to; a container goes before an image, as in docker.
fn find(
    engine: &Engine,
    name: &str,
    kind: Kind,
    size: bool,
    version: ApiVersion,
    platform: Option<&Platform>,
) -> Result<Object, anyhow::Error> {
    if kind != Kind::Image {
        match engine.find_container(name) {
            Ok(record) => {
                let document = engine.container_document(&record, size)?;
                return Ok(Object { document, shape: CONTAINER, escape: Escape::Nothing });
            }
            Err(FindContainerError::NoSuchContainer(_)) if kind == Kind::Any => {}
            Err(error) => return Err(error.into()),
        }
    }
    let document = image(engine, name, version).map_err(|error| match error {
        InspectError::Find(FindError::NoSuchImage(_) | FindError::Reference(_)) if kind == Kind::Any => {
            anyhow!("No such object: {name}")
        }
        error => error.into(),
    })?;
    if let Some(platform) = platform {
        engine.check_platform(name, platform)?;
    }
    if size {
        eprintln!("WARNING: --size ignored for image");
    }
    let escape = if version >= ApiVersion::one(50) { Escape::HtmlInConfig } else { Escape::Nothing };
    Ok(Object { document, shape: IMAGE, escape })
}

fn image(engine: &Engine, name: &str, version: ApiVersion) -> Result<Value, InspectError> {
    Ok(engine.inspect(name)?.document(version))
}

/// Returns the version whose shape documents have: `DOCKER_API_VERSION`, or the newest.
fn api_version() -> Result<ApiVersion, Failure> {
    match std::env::var("DOCKER_API_VERSION") {
        Ok(version) if !version.is_empty() => Ok(version.parse()?),
        _ => Ok(ApiVersion::NEWEST),
    }
}
