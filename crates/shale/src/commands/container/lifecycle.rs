//! `shale stop`, `restart`, `kill`, `pause`, `unpause`, `wait`, `rm` and `container prune`.

use std::io;
use std::time::Duration;

use shale_engine::containers::find::FindContainerError;
use shale_engine::containers::list::ListContainers;
use shale_engine::containers::remove::{RemoveContainer, RemoveContainerError};
use shale_engine::images::filter::Filter;
use shale_runtime::Signal;

use super::{complain, each};
use crate::commands::Failure;
use crate::context::Context;
use crate::terminal::prompt;
use crate::terminal::units::human_size;

fn signal(typed: Option<&str>) -> Result<Option<Signal>, Failure> {
    Ok(typed.map(str::parse).transpose()?)
}

fn patience(seconds: Option<i64>) -> Option<Duration> {
    // A negative number is no limit; a year is as good.
    seconds.map(|seconds| u64::try_from(seconds).map_or(Duration::from_secs(31_536_000), Duration::from_secs))
}

/// Stops containers.
pub fn stop(
    context: &Context,
    containers: &[String],
    typed: Option<&str>,
    seconds: Option<i64>,
) -> Result<(), Failure> {
    let (engine, signal) = (context.engine()?, signal(typed)?);
    each(containers, |container| engine.stop_container(container, signal, patience(seconds)).map(|()| None))
}

/// Stops containers and starts them again.
pub fn restart(
    context: &Context,
    containers: &[String],
    typed: Option<&str>,
    seconds: Option<i64>,
) -> Result<(), Failure> {
    let (engine, signal) = (context.engine()?, signal(typed)?);
    each(containers, |container| -> anyhow::Result<Option<String>> {
        engine.stop_container(container, signal, patience(seconds))?;
        engine.start_container(container)?;
        Ok(None)
    })
}

/// Sends a signal, by default the one that ends a process at once.
pub fn kill(context: &Context, containers: &[String], typed: Option<&str>) -> Result<(), Failure> {
    let engine = context.engine()?;
    let signal = signal(typed)?.unwrap_or(Signal::KILL);
    each(containers, |container| engine.kill_container(container, signal).map(|()| None))
}

/// Holds the processes of containers, or lets them go on.
pub fn pause(context: &Context, containers: &[String], hold: bool) -> Result<(), Failure> {
    let engine = context.engine()?;
    each(containers, |container| {
        let done = match hold {
            true => engine.pause_container(container),
            false => engine.unpause_container(container),
        };
        done.map(|()| None)
    })
}

/// Waits for the ends of containers and prints their exit codes.
pub fn wait(context: &Context, containers: &[String]) -> Result<(), Failure> {
    let engine = context.engine()?;
    each(containers, |container| engine.wait_container(container).map(|code| Some(code.to_string())))
}

/// Removes containers.
pub fn remove(context: &Context, containers: &[String], force: bool, volumes: bool) -> Result<(), Failure> {
    let engine = context.engine()?;
    let mut failed = false;
    for container in containers {
        match engine.remove_container(container, RemoveContainer { force, volumes }) {
            Ok(()) => println!("{container}"),
            Err(error) => {
                // With --force nothing was to be there, and nothing is.
                let is_missing =
                    matches!(error, RemoveContainerError::Find(FindContainerError::NoSuchContainer(_)));
                failed |= !(force && is_missing);
                complain(&format!("{:#}", anyhow::Error::from(error)));
            }
        }
    }
    if failed { Err(Failure::Reported { exit_code: 1 }) } else { Ok(()) }
}

/// Removes all containers that do not run.
pub fn prune(context: &Context, force: bool, filters: &[String]) -> Result<(), Failure> {
    let now = jiff::Timestamp::now();
    let filters = filters.iter().map(|text| Filter::parse(text, now)).collect::<Result<Vec<_>, _>>()?;
    if !force {
        let mut question = "WARNING! This will remove all stopped containers.\n".to_owned();
        question.push_str("Are you sure you want to continue? [y/N] ");
        if !prompt::confirm(&question, io::stdin(), io::stdout())? {
            return Ok(());
        }
    }
    let engine = context.engine()?;
    let (mut removed, mut reclaimed_bytes) = (Vec::new(), 0);
    for record in engine.list_containers(&ListContainers { all: true, ..ListContainers::default() })? {
        let labels = record.labels().into_iter().collect();
        let is_chosen = filters.iter().all(|filter| match filter {
            Filter::Until(moment) => record.created() < *moment,
            Filter::Label(label) => label.is_in(Some(&labels)),
            Filter::NotLabel(label) => !label.is_in(Some(&labels)),
            _ => false,
        });
        if record.is_running() || !is_chosen {
            continue;
        }
        let size_bytes = engine.container_sizes(&record)?.0;
        match engine.remove_container(&record.id, RemoveContainer::default()) {
            Ok(()) => {
                reclaimed_bytes += size_bytes;
                removed.push(record.id);
            }
            // Started or removed since it was listed.
            Err(
                RemoveContainerError::Running(_)
                | RemoveContainerError::Paused(_)
                | RemoveContainerError::Find(FindContainerError::NoSuchContainer(_)),
            ) => {}
            Err(error) => complain(&format!("{:#}", anyhow::Error::from(error))),
        }
    }
    if !removed.is_empty() {
        println!("Deleted Containers:");
        removed.iter().for_each(|id| println!("{id}"));
        println!();
    }
    println!("Total reclaimed space: {}", human_size(reclaimed_bytes));
    Ok(())
}
