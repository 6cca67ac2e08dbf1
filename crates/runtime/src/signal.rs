//! Signals: their names as `docker kill` takes them, and where a foreground container gets them from.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::str::FromStr;

use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const REAL_TIME_MIN: u8 = 34;
const REAL_TIME_MAX: u8 = 64;

/// A signal number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(u8);

/// The text names no signal; Docker's text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("Invalid signal: {written}")]
pub struct SignalError {
    written: String,
}

impl Signal {
    /// Ends a process at once.
    pub const KILL: Self = Self(9);
    /// Asks a process to end.
    pub const TERM: Self = Self(15);
    /// Ctrl-C.
    pub const INT: Self = Self(2);

    /// The kernel's number.
    pub fn number(self) -> u8 {
        self.0
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        (1..=REAL_TIME_MAX).contains(&number).then_some(Self(number))
    }

    #[allow(unsafe_code)]
    pub(crate) fn to_kernel(self) -> rustix::process::Signal {
        rustix::process::Signal::from_named_raw(i32::from(self.0)).unwrap_or_else(|| {
            // SAFETY: the number is between 1 and 64. rustix asks callers not to touch the signals that the C
            // library keeps for itself in this process; the value is only ever sent to a container's process.
            unsafe { rustix::process::Signal::from_raw_unchecked(i32::from(self.0)) }
        })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0) - 1) {
            Some(name) => write!(formatter, "SIG{name}"),
            None => write!(formatter, "{}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    /// Reads `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3`, `RTMAX-1`.
    fn from_str(written: &str) -> Result<Self, SignalError> {
        let invalid = || SignalError { written: written.to_owned() };
        if let Ok(number) = written.parse::<u8>() {
            return Self::from_number(number).ok_or_else(invalid);
        }
        let upper = written.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let aliases =
            [("POLL", 29), ("IOT", 6), ("CLD", 17), ("RTMIN", REAL_TIME_MIN), ("RTMAX", REAL_TIME_MAX)];
        let number = NAMES
            .iter()
            .position(|known| *known == name)
            .map(|place| place as u8 + 1)
            .or_else(|| aliases.iter().find(|(alias, _)| *alias == name).map(|(_, number)| *number))
            .or_else(|| REAL_TIME_MIN.checked_add(name.strip_prefix("RTMIN+")?.parse().ok()?))
            .or_else(|| REAL_TIME_MAX.checked_sub(name.strip_prefix("RTMAX-")?.parse().ok()?))
            .ok_or_else(invalid)?;
        Self::from_number(number).ok_or_else(invalid)
    }
}

/// Where a foreground container gets signals from.
pub struct Signals(Source);

enum Source {
    None,
    Process(SignalDelivery<UnixStream, SignalOnly>),
    Channel(OwnedFd),
}

/// Sends signals to whoever waits with the other end; may be cloned and used from any thread.
#[derive(Debug)]
pub struct SignalSender(OwnedFd);

impl Signals {
    /// No signals.
    pub fn none() -> Self {
        Self(Source::None)
    }

    /// The signals that this process gets, except those that mean something to itself alone.
    ///
    /// While the value lives the process does not end by them.
    ///
    /// # Errors
    /// When handlers cannot be installed.
    pub fn of_process() -> io::Result<Self> {
        use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
        let (read, write) = UnixStream::pair()?;
        let signals = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH];
        Ok(Self(Source::Process(SignalDelivery::with_pipe(read, write, SignalOnly, signals)?)))
    }

    /// A way to send signals by hand: cancelling a build sends [`Signal::KILL`].
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn channel() -> io::Result<(SignalSender, Self)> {
        use rustix::pipe::PipeFlags;
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok((SignalSender(write), Self(Source::Channel(read))))
    }

    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Source::None => None,
            Source::Process(delivery) => Some(delivery.get_read().as_fd()),
            Source::Channel(read) => Some(read.as_fd()),
        }
    }

    /// Signals that have arrived; call when the descriptor is readable.
    pub(crate) fn take(&mut self) -> Vec<Signal> {
        match &mut self.0 {
            Source::None => Vec::new(),
            Source::Process(delivery) => delivery
                .pending()
                .filter_map(|number| u8::try_from(number).ok().and_then(Signal::from_number))
                .collect(),
            Source::Channel(read) => {
                let mut numbers = [0; 64];
                let count = rustix::io::read(&*read, &mut numbers).unwrap_or(0);
                if count == 0 {
                    // Every sender is gone: nothing will come, and an end of file is readable for ever.
                    self.0 = Source::None;
                }
                numbers[..count].iter().copied().filter_map(Signal::from_number).collect()
            }
        }
    }
}

impl SignalSender {
    /// Sends `signal`; it is lost when nobody waits any more.
    pub fn send(&self, signal: Signal) {
        // A full pipe holds thousands of signals that nobody took; one more changes nothing.
        let _ = rustix::io::write(&self.0, &[signal.number()]);
    }

    /// Another sender for the same container.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_the_kernels() {
        let number = |text: &str| text.parse::<Signal>().map(Signal::number).ok();
        for (text, expected) in [("9", 9), ("KILL", 9), ("sigterm", 15), ("SIGRTMIN", 34), ("RTMIN+3", 37)] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        assert_eq!(number("SIGRTMAX-1"), Some(63));
        assert_eq!(number("SYS"), Some(31));
        for text in ["0", "65", "", "SIG", "NOSUCH", "RTMIN+99", "-9"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
