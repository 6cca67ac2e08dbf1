//! `shale exec` and `top`.

use std::io;

use shale_engine::containers::exec::Exec as Request;
use shale_runtime::{Followed, Signals, Stdio, Stream, WindowSize};

use super::request::environment;
use crate::cli::container::Exec;
use crate::commands::Failure;
use crate::context::Context;
use crate::terminal::screen;

/// Exit code when the program could not be started.
const EXIT_NOT_STARTED: u8 = 126;

/// Runs one more process in a container.
pub fn exec(context: &Context, exec: &Exec) -> Result<(), Failure> {
    if exec.interactive && exec.tty && !exec.detach && !screen::is_terminal(io::stdin()) {
        return Err(anyhow::anyhow!("the input device is not a TTY").into());
    }
    let keys = super::run::detach_keys(exec.detach_keys.as_deref())?;
    let engine = context.engine()?;
    let not_started = |error: &dyn std::fmt::Display| {
        // With the end of line of a terminal, as dockerd writes it.
        print!("{error}\r\n");
        Failure::Reported { exit_code: EXIT_NOT_STARTED }
    };
    let planned = engine.plan_exec(
        &exec.container,
        &Request {
            command: exec.command.clone(),
            env: environment(&exec.env, &exec.env_files)?,
            working_dir: exec.working_dir.clone(),
            user: exec.user.clone(),
            terminal: exec.tty,
            size: if exec.tty { WindowSize::of(io::stdin()) } else { None },
            open_stdin: exec.interactive && !exec.detach,
            privileged: exec.privileged,
        },
    );
    let planned = planned.map_err(|error| match error.is_of_start() {
        true => not_started(&error),
        false => error.into(),
    })?;
    if exec.detach {
        let started = planned.container.exec_detached(&planned.id, &planned.spec);
        return started.map_err(|error| not_started(&error));
    }
    let stream = planned.container.exec(&planned.id, &planned.spec).map_err(|error| not_started(&error))?;
    let stdio = Stdio {
        stdin: if exec.interactive { Stream::Inherit } else { Stream::Null },
        stdout: Stream::Inherit,
        stderr: Stream::Inherit,
    };
    // As docker's, signals are not passed on to an exec; a terminal sends its keys.
    let mut signals = if exec.tty { Signals::of_process()? } else { Signals::none() };
    let followed = Followed { exec: Some(&planned.id), terminal: exec.tty, detach_keys: &keys };
    planned.container.follow(&stream, followed, stdio, &mut signals)?;
    let state = planned.container.exec_state(&planned.id)?;
    match state.exit_code.unwrap_or(0) {
        0 => Ok(()),
        code => Err(Failure::Reported { exit_code: code as u8 }),
    }
}

/// Prints the processes of a container.
pub fn top(context: &Context, container: &str, ps_args: &[String]) -> Result<(), Failure> {
    let engine = context.engine()?;
    let (_, running) = engine.running_container(container)?;
    let default = ["-ef".to_owned()];
    let rows = running.top(if ps_args.is_empty() { &default } else { ps_args })?;
    print!("{}", columns(&rows));
    Ok(())
}

/// Columns twenty wide with three blanks between, as docker's `top` has them.
fn columns(rows: &[Vec<String>]) -> String {
    const WIDTH_MIN: usize = 20;
    const PADDING: usize = 3;
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let longest = rows.iter().filter_map(|row| row.get(column)).map(|cell| screen::columns(cell)).max();
        (longest.unwrap_or(0) + PADDING).max(WIDTH_MIN)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let cell = screen::escape(cell);
            text.push_str(&cell);
            if column + 1 < row.len() {
                let pad = widths[column].saturating_sub(screen::columns(&cell));
                text.extend(std::iter::repeat_n(' ', pad));
            }
        }
        text.push('\n');
    }
    text
}
