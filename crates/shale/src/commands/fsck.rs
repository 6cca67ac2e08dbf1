//! `shale fsck`.
//!
//! Exit code 0: the store is sound, or only space is lost. 1: something is wrong.

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use shale_engine::check::repair::Repaired;
use shale_engine::check::{CheckReport, Checked, Problem, Severity};
use shale_engine::{Access, Engine, OpenError};

use super::Failure;
use crate::context::{Context, ShownProgress};
use crate::terminal::{screen, units::human_size};
use crate::user_namespace;

/// Checks the store, repairs it if asked to, and prints what is wrong.
pub fn run(context: &Context, repair: bool, quiet: bool) -> Result<(), Failure> {
    user_namespace::enter_if_not_root()?;
    let root = context.data_root();
    let access = if repair { Access::Write } else { Access::Read };
    let engine = match Engine::open_to_check(&root, access) {
        Ok(engine) => engine,
        Err(OpenError::Missing(_)) if !repair => context.engine()?,
        Err(error) => {
            Err::<(), _>(error).with_context(|| format!("could not open the store {}", root.display()))?;
            return Ok(());
        }
    };
    let mut report = check(&engine, quiet)?;
    print_problems(&report, quiet);
    if repair && !report.problems.is_empty() {
        let client = context.client()?;
        let progress = ShownProgress::shown(quiet);
        let repaired = context.block_on(async {
            Ok::<_, Failure>(engine.repair(&client, &report, &progress, SystemTime::now()).await)
        })?;
        drop(progress);
        print_repaired(&repaired);
        report = check(&engine, quiet)?;
        if !report.problems.is_empty() {
            println!("Not repaired:");
            print_problems(&report, quiet);
        }
    }
    if !quiet {
        println!("{}", summary(&report));
    }
    if report.is_sound() { Ok(()) } else { Err(Failure::Reported { exit_code: 1 }) }
}

fn check(engine: &Engine, quiet: bool) -> Result<CheckReport, Failure> {
    let is_shown = !quiet && screen::is_terminal(std::io::stderr());
    let last_shown = std::sync::Mutex::new(None::<Instant>);
    let show = |checked: Checked| {
        let mut last_shown = last_shown.lock().expect("showing does not panic");
        let is_due = last_shown.is_none_or(|shown| shown.elapsed() >= Duration::from_millis(100));
        if is_shown && is_due {
            *last_shown = Some(Instant::now());
            let (bytes, total) = (human_size(checked.bytes), human_size(checked.bytes_total));
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[KChecking layers: {}/{}, {bytes}/{total}",
                checked.layers,
                checked.layers_total
            );
        }
    };
    let report = engine.check(&show)?;
    if is_shown {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    Ok(report)
}

/// Prints a paragraph for each problem: its kind and what is wrong, then what follows and what to do.
fn print_problems(report: &CheckReport, quiet: bool) {
    let is_shown = |problem: &&Problem| !quiet || problem.severity > Severity::Leftover;
    for problem in report.problems.iter().filter(is_shown) {
        let severity = match problem.severity {
            Severity::Leftover => "leftover",
            Severity::Warning => "warning",
            Severity::Damage => "damage",
        };
        println!("{severity} [{}] {}", problem.code, screen::escape(&problem.what));
        if !problem.names.is_empty() {
            println!("    concerns: {}", screen::escape(&problem.names.join(", ")));
        }
        println!("    follows:  {}", problem.consequence);
        println!("    to do:    {}", problem.advice);
    }
}

fn print_repaired(repaired: &Repaired) {
    for chain in &repaired.relinked {
        println!("Linked again: layer {chain}");
    }
    for (image, reference) in &repaired.fetched {
        println!("Fetched again: image {image} from {}", reference.familiar());
    }
    for (image, reason) in &repaired.failed {
        println!("Not fetched: image {image}: {}", screen::escape(reason));
    }
    for reason in &repaired.failures {
        println!("Not done: {}", screen::escape(reason));
    }
    for item in &repaired.freed.items {
        println!("Removed: {} {}", item.kind, screen::escape(&item.name));
    }
    for reason in &repaired.freed.failed {
        println!("Not removed: {}", screen::escape(reason));
    }
}

fn summary(report: &CheckReport) -> String {
    let count = |severity| report.problems.iter().filter(|problem| problem.severity == severity).count();
    let (damage, warnings, leftovers) =
        (count(Severity::Damage), count(Severity::Warning), count(Severity::Leftover));
    let checked =
        [counted(report.images, "image"), counted(report.layers, "layer"), human_size(report.content_bytes)]
            .join(", ");
    match (damage, warnings) {
        (0, 0) if leftovers == 0 => format!("The store is sound: {checked} checked."),
        (0, 0) => format!(
            "The store is sound: {checked} checked; {}, see shale gc.",
            counted(leftovers, "leftover")
        ),
        _ => format!("Damage: {damage}, warnings: {warnings}, leftovers: {leftovers}; {checked} checked."),
    }
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
