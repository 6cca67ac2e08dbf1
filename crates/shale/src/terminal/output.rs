//! Standard output, of which no failure is lost: what could not be written makes the program fail.
//!
//! Not here: `println!`, which panics with what the kernel said; [`Lost::of_panic`] reads that.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use crate::EXIT_FAILURE;

/// Exit code when the reader of the output went away, as a shell reports it.
pub const EXIT_BROKEN_PIPE: u8 = 141;

/// Why output was lost first.
static LOST: OnceLock<Lost> = OnceLock::new();

/// Why output was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// Nobody reads any more, as behind `| head -1`: nothing to tell anybody.
    NoReader,
    /// What the kernel said.
    Failed(String),
}

impl Lost {
    fn of(error: &io::Error) -> Lost {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Lost::NoReader,
            _ => Lost::Failed(error.to_string()),
        }
    }

    /// Reads the message with which `println!` panics; `None` when it is another one.
    pub fn of_panic(message: &str) -> Option<Lost> {
        let said = message.strip_prefix("failed printing to stdout: ")?;
        let is_broken_pipe =
            said.ends_with(&format!("(os error {})", rustix::io::Errno::PIPE.raw_os_error()));
        Some(if is_broken_pipe { Lost::NoReader } else { Lost::Failed(said.to_owned()) })
    }

    /// Tells a person, if there is something to tell, and returns the exit code.
    pub fn tell(&self) -> u8 {
        match self {
            Lost::NoReader => EXIT_BROKEN_PIPE,
            Lost::Failed(said) => {
                eprintln!("Error: could not write to standard output: {said}");
                EXIT_FAILURE
            }
        }
    }
}

/// Returns why output was lost, after the last of it was written; `None` when all of it arrived.
pub fn lost() -> Option<&'static Lost> {
    let _ = stdout().flush();
    LOST.get()
}

/// Returns why output was lost if `error` comes of that.
pub fn lost_by(error: &anyhow::Error) -> Option<&'static Lost> {
    let lost = lost()?;
    let causes = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref().map(Lost::of);
    error.chain().any(|cause| causes(cause).as_ref() == Some(lost)).then_some(lost)
}

/// A way to standard output that remembers a failure, also where its user does not look at it.
#[derive(Debug)]
pub struct Output<W>(W);

/// Returns standard output, as `println!` has it.
pub fn stdout() -> Output<io::Stdout> {
    Output(io::stdout())
}

/// Returns standard output without a buffer of its own, for archives.
///
/// # Errors
/// When there is none.
pub fn unbuffered_stdout() -> io::Result<Output<File>> {
    Ok(Output(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
}

impl<W: Write> Output<W> {
    fn noted<T>(result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::Interrupted
        {
            LOST.get_or_init(|| Lost::of(error));
        }
        result
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::noted(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::noted(self.0.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_println_says_why() {
        let said = |message: &str| Lost::of_panic(message);
        let full = "No space left on device (os error 28)";
        assert_eq!(said("failed printing to stdout: Broken pipe (os error 32)"), Some(Lost::NoReader));
        assert_eq!(said(&format!("failed printing to stdout: {full}")), Some(Lost::Failed(full.to_owned())));
        assert_eq!(said("index out of bounds"), None);
    }
}
