//! The program `shale`: words from the command line in, text and an exit code out.

mod cli;
mod commands;
mod context;
mod terminal;
mod user_namespace;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cli::{Action, Invocation};
use commands::{Failure, tour};
use context::Context;
use shale_engine::containers::start::{SUPERVISOR_WORD, settle_supervised};
use terminal::{output, screen};

/// Exit code of a command that failed, as docker's.
const EXIT_FAILURE: u8 = 1;
/// Exit code after Ctrl-C, as a shell reports it.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    // Started by itself: the processes that stay when the one that started them is killed.
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == commands::SUPERVISE => return shale_build::supervise_main(words),
        Some(word) if word == tour::GUARD => {
            return tour::guard(Path::new(&words.next().unwrap_or_default()));
        }
        Some(word) if word == SUPERVISOR_WORD => return supervise(words.collect()),
        _ => {}
    }
    end_where_output_is_lost();
    let columns = screen::size(io::stdin()).map_or(80, |size| size.columns);
    let invocation = match cli::parse(std::env::args_os().skip(1), columns) {
        Ok(invocation) => invocation,
        Err(usage) => {
            eprintln!("{}", usage.text);
            return ExitCode::from(usage.exit_code);
        }
    };
    let code = run(invocation);
    ExitCode::from(match output::lost() {
        Some(lost) if code == 0 => lost.tell(),
        _ => code,
    })
}

/// Makes `shale images | head -1` end as other programs do: `println!` panics when nobody reads any more, or when the disk
/// is full, and so does `eprintln!`.
fn end_where_output_is_lost() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        if let Some(lost) = output::Lost::of_panic(message) {
            std::process::exit(lost.tell().into());
        }
        if message.starts_with("failed printing to stderr") {
            std::process::exit(EXIT_FAILURE.into());
        }
        report(panic);
    }));
}

/// The life of a container's supervisor, and then the record of how it ended.
fn supervise(words: Vec<OsString>) -> ExitCode {
    let directory = words.get(1).filter(|_| words[0] == "supervise").map(PathBuf::from);
    let code = shale_runtime::supervise_main(words.into_iter());
    if let Some(Err(error)) = directory.map(|directory| settle_supervised(&directory)) {
        eprintln!("{error}");
    }
    code
}

fn run(Invocation { action, global }: Invocation) -> u8 {
    match action {
        Action::Help { text, to_stderr: true } => write_all(io::stderr(), &text),
        Action::Help { text, to_stderr: false } => write_all(output::stdout(), &text),
        Action::Version => {
            let text = format!("Shale version {}, build {}\n", env!("CARGO_PKG_VERSION"), context::BUILD);
            write_all(output::stdout(), &text)
        }
        Action::Complete(request) => commands::completion::answer(&Context::new(global), &request),
        Action::Run(command) => {
            context::start_log(&global, &command);
            let context = Context::new(global);
            match commands::run(&context, command) {
                Ok(()) => 0,
                Err(failure) => report(&context, &failure),
            }
        }
    }
}

/// Prints what went wrong and chooses the exit code.
fn report(context: &Context, failure: &Failure) -> u8 {
    match failure {
        Failure::Interrupted => EXIT_INTERRUPTED,
        Failure::Reported { exit_code } => *exit_code,
        // The command says what the kernel said; what matters is whether anybody is there to read.
        Failure::Error(error) if let Some(lost) = output::lost_by(error) => lost.tell(),
        Failure::Error(error) => {
            let message = format!("{error:#}");
            eprintln!("Error: {}", screen::escape_lines(&message));
            if let Some(hint) = commands::hint::for_error(context, &message) {
                eprintln!("{hint}");
            }
            EXIT_FAILURE
        }
    }
}

/// Writes text; what standard output lost is told at the end.
fn write_all(mut output: impl Write, text: &str) -> u8 {
    let _ = output.write_all(text.as_bytes());
    0
}
