//! The commands about containers.

mod commit;
mod copy;
mod files;
mod lifecycle;
mod list;
mod logs;
mod process;
mod request;
mod run;
mod stats;

use super::Failure;
use crate::cli::container::ContainerCommand;
use crate::context::Context;
use crate::terminal::screen;

/// Runs a command about containers.
pub fn run(context: &Context, command: ContainerCommand) -> Result<(), Failure> {
    match command {
        ContainerCommand::Run(run) => run::run(context, &run),
        ContainerCommand::Create(run) => run::create(context, &run),
        ContainerCommand::Start { containers, attach, interactive, detach_keys } => {
            run::start(context, &containers, attach, interactive, detach_keys.as_deref())
        }
        ContainerCommand::Attach { container, no_stdin, sig_proxy, detach_keys } => {
            run::attach(context, &container, !no_stdin, sig_proxy, detach_keys.as_deref())
        }
        ContainerCommand::Stop { containers, signal, timeout_seconds } => {
            lifecycle::stop(context, &containers, signal.as_deref(), timeout_seconds)
        }
        ContainerCommand::Restart { containers, signal, timeout_seconds } => {
            lifecycle::restart(context, &containers, signal.as_deref(), timeout_seconds)
        }
        ContainerCommand::Kill { containers, signal } => {
            lifecycle::kill(context, &containers, signal.as_deref())
        }
        ContainerCommand::Pause { containers } => lifecycle::pause(context, &containers, true),
        ContainerCommand::Unpause { containers } => lifecycle::pause(context, &containers, false),
        ContainerCommand::Wait { containers } => lifecycle::wait(context, &containers),
        ContainerCommand::Remove { containers, force, volumes } => {
            lifecycle::remove(context, &containers, force, volumes)
        }
        ContainerCommand::Prune { force, filters } => lifecycle::prune(context, force, &filters),
        ContainerCommand::Exec(exec) => process::exec(context, &exec),
        ContainerCommand::Top { container, ps_args } => process::top(context, &container, &ps_args),
        ContainerCommand::Logs(logs) => logs::run(context, &logs),
        ContainerCommand::List(list) => list::run(context, &list),
        ContainerCommand::Diff { container } => files::diff(context, &container),
        ContainerCommand::Export { container, output } => {
            files::export(context, &container, output.as_deref())
        }
        ContainerCommand::Commit(command) => commit::commit(context, &command),
        ContainerCommand::Copy(command) => copy::run(context, &command),
        ContainerCommand::Rename { container, name } => commit::rename(context, &container, &name),
        ContainerCommand::Stats(command) => stats::run(context, &command),
        ContainerCommand::Update(command) => commit::update(context, &command),
    }
}

/// Prints an error as the program prints those that end it.
fn complain(error: &dyn std::fmt::Display) {
    eprintln!("Error: {}", screen::escape_lines(&error.to_string()));
}

/// Does the same to each container; the names of those that it worked for are printed, and the rest is complained of.
fn each<E: Into<anyhow::Error>>(
    containers: &[String],
    mut act: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<(), Failure> {
    let mut failed = false;
    for container in containers {
        match act(container) {
            Ok(Some(line)) => println!("{line}"),
            Ok(None) => println!("{container}"),
            Err(error) => {
                complain(&format!("{:#}", error.into()));
                failed = true;
            }
        }
    }
    if failed { Err(Failure::Reported { exit_code: 1 }) } else { Ok(()) }
}
