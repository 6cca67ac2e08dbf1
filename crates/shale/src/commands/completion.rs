//! `shale completion`, and the answers to what its scripts ask.

use super::Failure;
use crate::cli::Shell;
use crate::cli::complete::{Request, script as script_of};
use crate::context::Context;

/// Prints the script of a shell.
pub fn script(shell: Shell, descriptions: bool) -> Result<(), Failure> {
    print!("{}", script_of(shell, descriptions));
    Ok(())
}

/// Prints what could stand at the end of a command line; never fails, because nobody would see it.
pub fn answer(context: &Context, request: &Request) -> u8 {
    print!("{}", request.answer(|| context.image_names()).text());
    0
}
