//! `shale explain`.
//!
//! Exit code 0: the subject is known. 1: it is not, or it is the begin of several values.

mod text;

use std::io::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::Failure;
use crate::cli::Explain;
use crate::context::Context;
use crate::terminal::json::{Escape, compact, indented};
use crate::terminal::template::{Subject, Template};
use crate::terminal::{output, screen};

/// Says what an identifier is and how it connects, or what an image wastes.
pub fn run(context: &Context, command: &Explain) -> Result<(), Failure> {
    let engine = context.engine_to_look()?;
    if command.waste {
        let waste = engine.waste(&command.subject)?;
        return print(command.format.as_deref(), &waste, |width| text::waste(&waste, width));
    }
    let explanation = engine.explain(&command.subject)?;
    print(command.format.as_deref(), &explanation, |width| text::explanation(&explanation, width))?;
    match explanation.meanings.is_empty() {
        true => Err(Failure::Reported { exit_code: 1 }),
        false => Ok(()),
    }
}

/// Prints a result as `--format` asks: as JSON, through a template, or as text for a terminal or a pipe.
pub(super) fn print(
    format: Option<&str>,
    result: &impl Serialize,
    render: impl FnOnce(Option<usize>) -> String,
) -> Result<(), Failure> {
    let text = match format {
        None | Some("") => {
            let stdout = std::io::stdout();
            let columns = || screen::size(&stdout).map_or(80, |size| size.columns);
            render(screen::is_terminal(&stdout).then(columns))
        }
        Some("json") => indented(&document(result)?, Escape::Nothing) + "\n",
        Some("{{json .}}") => compact(&document(result)?, Escape::Nothing) + "\n",
        Some(source) => Template::parse(source)?.render(&document(result)?, Subject::Document)? + "\n",
    };
    Ok(output::stdout().write_all(text.as_bytes())?)
}

fn document(result: &impl Serialize) -> Result<Value, Failure> {
    Ok(serde_json::to_value(result)?)
}
