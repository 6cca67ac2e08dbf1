//! `shale stats`.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use shale_engine::Engine;
use shale_engine::containers::list::ListContainers;
use shale_engine::containers::stats::ContainerStats;

use crate::cli::container::ShowStats;
use crate::commands::Failure;
use crate::context::Context;
use crate::terminal::listing::stats::{Options, Usage, render};
use crate::terminal::{output, screen};

/// Between two readings, of which a rate is made.
const INTERVAL: Duration = Duration::from_secs(1);
/// Takes the terminal's cursor home and clears what is below it, as docker does between two tables.
const HOME: &str = "\x1b[H\x1b[J";

/// Prints what containers use: once, or every second until Ctrl-C.
pub fn run(context: &Context, command: &ShowStats) -> Result<(), Failure> {
    let engine = context.engine_to_look()?;
    let options = Options { format: command.format.clone(), no_trunc: command.no_trunc };
    let mut before = read(&engine, command)?;
    let on_screen = !command.no_stream && screen::is_terminal(io::stdout());
    loop {
        let started = Instant::now();
        std::thread::sleep(INTERVAL);
        let now = read(&engine, command)?;
        let rows: Vec<Usage> = now
            .iter()
            .map(|reading| Usage::between(before.iter().find(|earlier| earlier.id == reading.id), reading))
            .collect();
        let mut text = render(&rows, &options)?;
        if on_screen {
            text.insert_str(0, HOME);
        }
        output::stdout().write_all(text.as_bytes())?;
        if command.no_stream {
            return Ok(());
        }
        before = now;
        std::thread::sleep(INTERVAL.saturating_sub(started.elapsed()));
    }
}

fn read(engine: &Engine, command: &ShowStats) -> Result<Vec<ContainerStats>, Failure> {
    if !command.containers.is_empty() {
        let named = command.containers.iter().map(|name| engine.container_stats(name));
        return Ok(named.collect::<Result<_, _>>()?);
    }
    let list = ListContainers { all: command.all, ..ListContainers::default() };
    // One that goes meanwhile is left out.
    let records = engine.list_containers(&list)?;
    Ok(records.iter().filter_map(|record| engine.container_stats(&record.id).ok()).collect())
}
