//! The command line: words → a [`Command`] of plain values, or docker's words for what is wrong.
//!
//! Promise: flags, help, complaints and exit codes are docker's wherever docker has the command. `tests/it` holds them
//! against the docker program.
//! Not here: what commands do.

mod command;
pub mod complete;
pub mod container;
mod duration;
mod flags;
mod help;
mod spec;
pub mod suggest;
mod tree;

use std::{ffi::OsString, path::PathBuf};

#[allow(unused_imports)] // The commands name them.
pub use self::{
    command::{
        Build, Command, Copy, Daemon, Explain, ImageRemove, Images, Import, Inspect, Load, Login,
        ManifestInspect, RegistryCommand, Save, Search, Serve, Shell,
    },
    help::UsageError,
};
use self::{
    flags::{Matches, Until, read},
    spec::Spec,
};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Run a command.
    Run(Command),
    /// Print this text and leave with 0: to standard error where somebody typed the program's name alone.
    Help {
        /// The text, with its last line break.
        text: String,
        /// Nobody asked for it.
        to_stderr: bool,
    },
    /// Print the version and leave with 0.
    Version,
    /// Print what could stand at the end of these words: `shale __complete …`, for shells.
    Complete(complete::Request),
}

/// Flags of the program itself; they may stand before or after the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Global {
    /// `--data-root`: where the store is.
    pub data_root: Option<PathBuf>,
    /// `--config`: where `config.json` is.
    pub config: Option<PathBuf>,
    /// `--log-level`.
    pub log_level: Option<String>,
    /// `--debug`.
    pub debug: bool,
}

/// A command line that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub action: Action,
    /// For every command.
    pub global: Global,
}

/// Understands the words after the program's name; `columns` is the width for help, 80 where there is no terminal.
///
/// # Errors
/// With the text for standard error and the exit code.
pub fn parse(words: impl IntoIterator<Item = OsString>, columns: usize) -> Result<Invocation, UsageError> {
    let words = words.into_iter().map(utf8).collect::<Result<Vec<String>, UsageError>>()?;
    let root = tree::root();
    let (program, mut rest) = read(&words, &[root.flags, HELP], Until::Command)
        .map_err(|reason| help::flag_error(&[root], &reason))?;
    let mut global = Global::default();
    global.take(&program)?;
    let done = |action| Ok(Invocation { action, global: global.clone() });
    if program.is_on("version") {
        return done(Action::Version);
    }
    let Some(first) = rest.first() else {
        let to_stderr = !program.is_on("help");
        return done(Action::Help { text: help::help(&[root], columns), to_stderr });
    };
    if program.is_on("help") {
        return done(Action::Help { text: help::help(&[root], columns), to_stderr: false });
    }
    match first.as_str() {
        "help" => return done(Action::Help { text: help_topic(&rest[1..], columns)?, to_stderr: false }),
        "__complete" | "__completeNoDesc" => {
            return done(Action::Complete(complete::Request::of(&rest[1..])));
        }
        _ => {}
    }
    let mut path = vec![root];
    loop {
        let group = path[path.len() - 1];
        let Some((word, after)) = rest.split_first() else { break };
        match group.find(word) {
            Some(found) => path.push(found),
            None => return Err(help::unknown_command(&path, word)),
        }
        rest = after;
        let found = path[path.len() - 1];
        if found.commands.is_empty() || rest.first().is_none_or(|word| word.starts_with('-')) {
            break;
        }
    }
    run(&path, rest, global, columns)
}

/// Understands what stands after the command.
fn run(
    path: &[&'static Spec],
    rest: &[String],
    mut global: Global,
    columns: usize,
) -> Result<Invocation, UsageError> {
    let spec = path[path.len() - 1];
    let until = if spec.flags_first { Until::Command } else { Until::End };
    let (mut matches, arguments) = read(rest, &[spec.flags, HELP, tree::global_flags()], until)
        .map_err(|reason| help::flag_error(path, &reason))?;
    matches.arguments.extend_from_slice(arguments);
    // A command may have a flag of the same name, which then is the command's own.
    global.take_unless(&matches, |flag| spec.flags.iter().any(|own| own.long == flag))?;
    let action = match spec.make {
        _ if matches.is_on("help") => Action::Help { text: help::help(path, columns), to_stderr: false },
        None => match matches.arguments.first() {
            Some(word) => return Err(help::unknown_command(path, word)),
            None => Action::Help { text: help::help(path, columns), to_stderr: true },
        },
        Some(make) => {
            help::check_argument_count(path, matches.arguments.len())?;
            Action::Run(make(&matches))
        }
    };
    Ok(Invocation { action, global })
}

fn help_topic(topic: &[String], columns: usize) -> Result<String, UsageError> {
    let mut path = vec![tree::root()];
    for word in topic {
        let found = path[path.len() - 1].find(word).ok_or_else(|| help::unknown_topic(topic))?;
        path.push(found);
    }
    Ok(help::help(&path, columns))
}

const HELP: &[spec::Flag] = &[spec::Flag::switch("help", Some('h'), "Print usage")];

const LOG_LEVELS: [&str; 5] = ["debug", "info", "warn", "error", "fatal"];

impl Global {
    fn take(&mut self, matches: &Matches) -> Result<(), UsageError> {
        self.take_unless(matches, |_| false)
    }

    fn take_unless(&mut self, matches: &Matches, is_own: impl Fn(&str) -> bool) -> Result<(), UsageError> {
        // Else a script whose variable is not set would work on the default store.
        if !is_own("data-root") && matches.text("data-root") == Some("") {
            let text = "invalid argument \"\" for \"--data-root\" flag: it names no directory".to_owned();
            return Err(UsageError { text, exit_code: 125 });
        }
        let path = |flag| matches.filled(flag).filter(|_| !is_own(flag)).map(PathBuf::from);
        self.data_root = path("data-root").or_else(|| self.data_root.take());
        self.config = path("config").or_else(|| self.config.take());
        self.debug |= !is_own("debug") && matches.is_on("debug");
        if let Some(level) = matches.filled("log-level").filter(|_| !is_own("log-level")) {
            if !LOG_LEVELS.contains(&level.as_str()) {
                let text = format!("unable to parse logging level: {level}");
                return Err(UsageError { text, exit_code: 1 });
            }
            self.log_level = Some(level);
        }
        Ok(())
    }
}

fn utf8(word: OsString) -> Result<String, UsageError> {
    word.into_string().map_err(|word| UsageError {
        text: format!("shale: the argument {:?} is not UTF-8", word.to_string_lossy()),
        exit_code: 1,
    })
}

#[cfg(test)]
mod tests;
