//! The commands: each takes plain values, calls the engine, and prints.

pub mod completion;
mod history;
mod images;
mod inspect;
mod pull;
mod push;
mod registry;
mod tag;
mod tour;

use crate::cli::Command;
use crate::context::Context;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// To be printed.
    Error(anyhow::Error),
    /// Printed already, where several things failed one by one.
    Reported {
        /// Exit code of the program.
        exit_code: u8,
    },
    /// Ctrl-C.
    Interrupted,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Error(error.into())
    }
}

/// Runs a command.
pub fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Pull { reference, all_tags, platform, quiet } => {
            pull::run(context, &reference, all_tags, platform.as_deref(), quiet)
        }
        Command::Push { reference, all_tags, quiet, .. } => push::run(context, &reference, all_tags, quiet),
        Command::Images(images) => images::run(context, &images),
        Command::Inspect { names, format, .. } | Command::ImageInspect { names, format, .. } => {
            inspect::run(context, &names, format.as_deref())
        }
        Command::History { image, format, human, no_trunc, quiet, .. } => {
            history::run(context, &image, history::Options { format, human, no_trunc, quiet })
        }
        Command::Tag { source, target } => tag::run(context, &source, &target),
        Command::Tour => tour::run(),
        Command::Registry(command) => registry::run(context, command),
        Command::Completion { shell, descriptions } => completion::script(shell, descriptions),
        _ => Err(anyhow::anyhow!("not built yet").into()),
    }
}
