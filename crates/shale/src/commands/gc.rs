//! `shale gc`.

use std::time::SystemTime;

use super::Failure;
use crate::context::Context;
use crate::terminal::{screen, units::human_size};

/// Removes what nothing needs, or only lists it.
pub fn run(context: &Context, dry_run: bool) -> Result<(), Failure> {
    let collected = context.engine()?.collect(dry_run, SystemTime::now())?;
    for item in &collected.items {
        let name = screen::escape(&item.name);
        println!("{:<18}  {:>9}  {name}", item.kind, human_size(item.size_bytes));
    }
    let outcome = if dry_run { "Reclaimable space" } else { "Total reclaimed space" };
    println!("{outcome}: {}", human_size(collected.size_bytes()));
    for reason in collected.kept.iter().chain(&collected.failed) {
        eprintln!("{}", screen::escape(reason));
    }
    if collected.failed.is_empty() { Ok(()) } else { Err(Failure::Reported { exit_code: 1 }) }
}
