//! Reads Docker's `json-file` log: all of it, its tail, from or to a moment, or as it grows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::LogStream;

/// How often a growing log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);
const BLOCK_BYTES: u64 = 64 << 10;

/// One entry: a line with its newline, or a piece of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it was written.
    pub stream: LogStream,
    /// When.
    pub time: Timestamp,
    /// What.
    pub line: String,
}

/// Which entries to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Only the last so many.
    pub tail: Option<usize>,
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Up to this moment.
    pub until: Option<Timestamp>,
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read the log {path}")]
pub struct LogReadError {
    /// The file.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

/// A place in a log file.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: File,
    pending: Vec<u8>,
    start: usize,
    options: LogOptions,
}

#[derive(Deserialize)]
struct Line {
    log: String,
    stream: LogStream,
    time: String,
}

impl LogReader {
    /// Opens a log at the first entry that `options` ask for.
    ///
    /// # Errors
    /// [`LogReadError`], also when there is no log.
    pub fn open(path: &Path, options: LogOptions) -> Result<Self, LogReadError> {
        let open = || {
            let mut file = File::open(path)?;
            let begin = options.tail.map(|count| tail_offset(&mut file, count)).transpose()?;
            file.seek(SeekFrom::Start(begin.unwrap_or(0)))?;
            Ok(file)
        };
        let file = open().map_err(|source| LogReadError { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, pending: Vec::new(), start: 0, options })
    }

    /// The next entry; `None` at the present end. Lines that are no entries are passed over.
    ///
    /// # Errors
    /// [`LogReadError`].
    pub fn next_entry(&mut self) -> Result<Option<LogEntry>, LogReadError> {
        loop {
            let rest = &self.pending[self.start..];
            let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
                if self.fill().map_err(|source| LogReadError { path: self.path.clone(), source })? == 0 {
                    return Ok(None);
                }
                continue;
            };
            let line = serde_json::from_slice::<Line>(&rest[..length]);
            self.start += length + 1;
            let Ok(line) = line else { continue };
            let Ok(time) = line.time.parse::<Timestamp>() else { continue };
            if self.options.since.is_some_and(|since| time < since) {
                continue;
            }
            if self.options.until.is_some_and(|until| time > until) {
                return Ok(None);
            }
            return Ok(Some(LogEntry { stream: line.stream, time, line: line.log }));
        }
    }

    /// The next entry of a growing log; `None` when `ended` says that nobody writes any more and all is read.
    ///
    /// # Errors
    /// [`LogReadError`].
    pub fn follow(&mut self, mut ended: impl FnMut() -> bool) -> Result<Option<LogEntry>, LogReadError> {
        loop {
            // Asked before reading: what was written up to then is read below.
            let was_ended = ended();
            if let Some(entry) = self.next_entry()? {
                return Ok(Some(entry));
            }
            let past_until = self.options.until.is_some_and(|until| Timestamp::now() > until);
            if was_ended || past_until {
                return Ok(None);
            }
            std::thread::sleep(FOLLOW_INTERVAL);
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.pending.drain(..self.start);
        self.start = 0;
        let before = self.pending.len();
        self.file.by_ref().take(BLOCK_BYTES).read_to_end(&mut self.pending)?;
        Ok(self.pending.len() - before)
    }
}

/// Where the last `count` lines begin, found from the end.
fn tail_offset(file: &mut File, count: usize) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut lines = 0;
    let mut block = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(begin))?;
        block.clear();
        file.by_ref().take(end - begin).read_to_end(&mut block)?;
        for (place, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            if lines == count {
                return Ok(begin + place as u64 + 1);
            }
            lines += 1;
        }
        end = begin;
    }
    Ok(0)
}
