//! `shale tag`.

use super::Failure;
use crate::context::Context;

/// Gives an image another name.
pub fn run(context: &Context, source: &str, target: &str) -> Result<(), Failure> {
    context.engine()?.tag(source, target, &jiff::Zoned::now())?;
    Ok(())
}
