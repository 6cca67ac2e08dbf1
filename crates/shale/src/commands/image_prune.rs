//! `shale image prune`.

use std::io;

use jiff::Timestamp;
use shale_engine::images::filter::Filter;
use shale_engine::images::remove::Removed;

use super::Failure;
use crate::context::Context;
use crate::terminal::prompt;
use crate::terminal::units::human_size;

const DANGLING: &str = "WARNING! This will remove all dangling images.\nAre you sure you want to continue?";
const ALL: &str = "WARNING! This will remove all images without at least one container associated to them.\nAre you sure you want to continue?";

/// Removes images that nobody needs, after asking.
pub fn run(context: &Context, all: bool, force: bool, filters: &[String]) -> Result<(), Failure> {
    let now = Timestamp::now();
    let filters = filters.iter().map(|filter| Filter::parse(filter, now)).collect::<Result<Vec<_>, _>>()?;
    if !force && !prompt::confirm(if all { ALL } else { DANGLING }, io::stdin(), io::stdout())? {
        return Ok(());
    }
    let pruned = context.engine()?.prune_images(all, &filters)?;
    if !pruned.removed.is_empty() {
        println!("Deleted Images:");
        for item in &pruned.removed {
            match item {
                Removed::Untagged(name) => println!("untagged: {name}"),
                Removed::Deleted(id) => println!("deleted: {id}"),
            }
        }
        println!();
    }
    println!("Total reclaimed space: {}", human_size(pruned.reclaimed_bytes));
    Ok(())
}
