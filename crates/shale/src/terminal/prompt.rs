//! Questions to the person at the terminal: yes or no, a name, a password.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::screen;

/// Asks `question` and returns whether the answer is yes; everything else, and no answer, is no.
///
/// # Errors
/// When reading or writing fails.
///
/// Source: docker CLI 28.2 `PromptForConfirmation` (`Are you sure you want to continue? [y/N] `).
pub fn confirm(question: &str, input: impl Read, mut output: impl Write) -> io::Result<bool> {
    write!(output, "{} [y/N] ", screen::escape_lines(question))?;
    output.flush()?;
    let mut answer = String::new();
    BufReader::new(input.take(ANSWER_SIZE_MAX)).read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// Asks for a line of text that everybody may see, such as a user name; `default` stands for an empty answer.
///
/// # Errors
/// When reading or writing fails.
pub fn ask(question: &str, default: &str, input: impl Read, mut output: impl Write) -> io::Result<String> {
    match default {
        "" => write!(output, "{question}: ")?,
        _ => write!(output, "{question} ({}): ", screen::escape(default))?,
    }
    output.flush()?;
    let mut answer = String::new();
    BufReader::new(input.take(ANSWER_SIZE_MAX)).read_line(&mut answer)?;
    let answer = answer.trim();
    Ok(if answer.is_empty() { default } else { answer }.to_owned())
}

/// Asks for a password: what is typed does not show.
///
/// # Errors
/// When reading or writing fails, or when `input` is no terminal. The terminal shows what is typed again in every case,
/// also when a signal such as Ctrl-C ends the process.
pub fn ask_password(question: &str, input: &io::Stdin, mut output: impl Write) -> io::Result<String> {
    let mut ends = Ends::watch()?;
    let silence = Silence::of(input)?;
    write!(output, "{question}: ")?;
    output.flush()?;
    if let Some(signal) = ends.before_line(input)? {
        drop(silence);
        writeln!(output)?;
        signal_hook::low_level::emulate_default_handler(signal)?;
    }
    let mut answer = String::new();
    input.lock().take(ANSWER_SIZE_MAX).read_line(&mut answer)?;
    // The person's line break did not show either.
    writeln!(output)?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads a password that a program pipes in (`--password-stdin`): everything, without the last line break.
///
/// # Errors
/// When reading fails or the text is no UTF-8.
pub fn read_password(input: impl Read) -> io::Result<String> {
    let mut answer = String::new();
    input.take(ANSWER_SIZE_MAX).read_to_string(&mut answer)?;
    let answer = answer.strip_suffix('\n').unwrap_or(&answer);
    Ok(answer.strip_suffix('\r').unwrap_or(answer).to_owned())
}

/// The longest answer; tokens of identity providers have some thousand bytes.
const ANSWER_SIZE_MAX: u64 = 64 * 1024;

/// A terminal that does not show what is typed, until the value is dropped.
struct Silence<'i> {
    input: &'i io::Stdin,
    before: rustix::termios::Termios,
}

impl<'i> Silence<'i> {
    fn of(input: &'i io::Stdin) -> io::Result<Silence<'i>> {
        let before = tcgetattr(input)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(input, OptionalActions::Flush, &silent)?;
        Ok(Silence { input, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // Nothing can be done for a terminal that is gone.
        let _ = tcsetattr(self.input, OptionalActions::Now, &self.before);
    }
}

/// The signals that end a process, held back until the value is dropped.
struct Ends {
    signals: SignalDelivery<UnixStream, SignalOnly>,
    /// A handler that is gone leaves a signal without any effect; from the end on this one does what the default does.
    is_over: Arc<AtomicBool>,
}

impl Ends {
    fn watch() -> io::Result<Ends> {
        const ENDS: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
        let (read, write) = UnixStream::pair()?;
        let signals = SignalDelivery::with_pipe(read, write, SignalOnly, ENDS)?;
        let is_over = Arc::new(AtomicBool::new(false));
        for signal in ENDS {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&is_over))?;
        }
        Ok(Ends { signals, is_over })
    }

    /// Waits until a line can be read; returns the signal that came first, if one did.
    fn before_line(&mut self, input: &io::Stdin) -> io::Result<Option<i32>> {
        loop {
            let mut waiting =
                [PollFd::new(input, PollFlags::IN), PollFd::new(self.signals.get_read(), PollFlags::IN)];
            match poll(&mut waiting, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let can_read = !waiting[0].revents().is_empty();
            if let Some(signal) = self.signals.pending().next() {
                return Ok(Some(signal));
            }
            if can_read {
                return Ok(None);
            }
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, expected: bool) {
        let mut shown = Vec::new();
        assert_eq!(
            confirm("Are you sure you want to continue?", answer.as_bytes(), &mut shown).unwrap(),
            expected
        );
        assert_eq!(String::from_utf8(shown).unwrap(), "Are you sure you want to continue? [y/N] ");
    }

    #[test]
    fn only_y_is_yes() {
        check("y\n", true);
        check("Y\n", true);
        check(" y \n", true);
        check("n\n", false);
        check("\n", false);
        check("", false);
        check("yes\n", false);
    }

    #[test]
    fn a_name_may_have_a_default() {
        let mut shown = Vec::new();
        assert_eq!(ask("Username", "bob", &b"\n"[..], &mut shown).unwrap(), "bob");
        assert_eq!(ask("Username", "", &b"eve\r\n"[..], &mut shown).unwrap(), "eve");
        assert_eq!(String::from_utf8(shown).unwrap(), "Username (bob): Username: ");
    }

    #[test]
    fn a_piped_password_loses_one_line_break() {
        assert_eq!(read_password(&b"s3cret\n"[..]).unwrap(), "s3cret");
        assert_eq!(read_password(&b"s3cret\r\n"[..]).unwrap(), "s3cret");
        assert_eq!(read_password(&b" two\nlines \n\n"[..]).unwrap(), " two\nlines \n");
    }
}
