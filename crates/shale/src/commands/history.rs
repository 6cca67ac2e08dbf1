//! `shale history`.

use super::Failure;
use crate::context::Context;
use crate::terminal::listing::Clock;
pub use crate::terminal::listing::history::Options;
use crate::terminal::listing::history::{Step, render};

/// Prints how an image was made, newest step first.
pub fn run(context: &Context, image: &str, platform: Option<&str>, options: Options) -> Result<(), Failure> {
    let engine = context.engine_to_look()?;
    if let Some(platform) = platform {
        engine.check_platform(image, &platform.parse()?)?;
    }
    let steps: Vec<Step> = engine
        .history(image)?
        .into_iter()
        .map(|item| Step {
            id: item.id.map(|id| id.to_string()),
            created_seconds: item.created,
            created_by: item.created_by,
            size_bytes: item.size_bytes,
            comment: item.comment,
        })
        .collect();
    print!("{}", render(&steps, &options, &Clock::of_system())?);
    Ok(())
}
