//! Reads a log: all of it, its tail, from or to a moment, or as it grows; its older files first.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;

use super::file::{Found, LogFile, LogForm};
use super::{LogStream, json, local};

/// How often a growing log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);
const BLOCK_BYTES: u64 = 64 << 10;
/// How often the files are listed again when a rotation comes between.
const LISTINGS_MAX: u32 = 8;

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

/// A place in a log.
#[derive(Debug)]
pub struct LogReader {
    log: LogFile,
    input: Option<Input>,
    last: Option<Timestamp>,
    options: LogOptions,
}

impl LogReader {
    /// Opens a log at the first entry that `options` ask for; one that is not there yet has no entries.
    ///
    /// # Errors
    /// [`LogReadError`].
    pub fn open(log: &LogFile, options: LogOptions) -> Result<Self, LogReadError> {
        let mut reader = Self { log: log.clone(), input: None, last: None, options };
        reader.input = reader.first().map_err(|source| reader.failed(source))?;
        Ok(reader)
    }

    /// The next entry; `None` at the present end. What is no entry is passed over.
    ///
    /// # Errors
    /// [`LogReadError`].
    pub fn next_entry(&mut self) -> Result<Option<LogEntry>, LogReadError> {
        loop {
            let Some(entry) = self.read().map_err(|source| self.failed(source))? else { return Ok(None) };
            self.last = self.last.max(Some(entry.time));
            if self.options.since.is_some_and(|since| entry.time < since) {
                continue;
            }
            if self.options.until.is_some_and(|until| entry.time > until) {
                return Ok(None);
            }
            return Ok(Some(entry));
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

    fn failed(&self, source: io::Error) -> LogReadError {
        LogReadError { path: self.log.path.clone(), source }
    }

    /// The next entry of this file, or of those that come after it.
    fn read(&mut self) -> io::Result<Option<LogEntry>> {
        loop {
            if let Some(entry) = self.input.as_mut().map_or(Ok(None), Input::next)? {
                return Ok(Some(entry));
            }
            let Some(next) = self.next_input()? else { return Ok(None) };
            // Once it has a follower, nobody writes to a file any more; until then somebody may have.
            if let Some(entry) = self.input.as_mut().map_or(Ok(None), Input::next)? {
                return Ok(Some(entry));
            }
            self.input = Some(next);
        }
    }

    /// The file with the first entry that is asked for.
    fn first(&self) -> io::Result<Option<Input>> {
        let mut files = self.files();
        let Some(mut left) = self.options.tail else {
            return files.pop().map_or(Ok(None), |oldest| Input::open(&oldest.path, self.log.form));
        };
        let mut begin = None;
        for file in files {
            let Some((input, found)) = Input::tail(&file.path, self.log.form, left)? else { continue };
            (begin, left) = (Some(input), left - found);
            if left == 0 {
                break;
            }
        }
        Ok(begin)
    }

    /// The file after the one that is being read; `None` when that is the present one.
    fn next_input(&self) -> io::Result<Option<Input>> {
        let Some(present) = &self.input else { return self.first() };
        let files = self.files();
        if let Some(place) = files.iter().position(|file| file.inode == present.inode) {
            let Some(next) = place.checked_sub(1).map(|next| &files[next]) else { return Ok(None) };
            let input = Input::open(&next.path, self.log.form)?;
            // Another file by now: looked for again.
            return Ok(input.filter(|input| input.inode == next.inode));
        }
        // It was compressed, or it is gone: the oldest file that begins after what was read.
        let mut oldest = None;
        for file in files {
            let Some(mut input) = Input::open(&file.path, self.log.form)? else { continue };
            let begin = input.next()?;
            if begin.is_some_and(|begin| Some(begin.time) <= self.last) {
                break;
            }
            oldest = Some(file);
        }
        oldest.map_or(Ok(None), |file| Input::open(&file.path, self.log.form))
    }

    /// The files, youngest first, listed until no rotation came between.
    fn files(&self) -> Vec<Found> {
        let mut files = self.log.read_order();
        for _ in 0..LISTINGS_MAX {
            let again = self.log.read_order();
            if again == files {
                break;
            }
            files = again;
        }
        files
    }
}

/// One file of a log that is being read.
struct Input {
    inode: u64,
    form: LogForm,
    bytes: Box<dyn Read + Send>,
    pending: Vec<u8>,
    start: usize,
    /// So many entries are not asked for.
    skip: usize,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Input({})", self.inode)
    }
}

impl Input {
    /// Opens a file of a log; `None` when a rotation has taken it away.
    fn open(path: &Path, form: LogForm) -> io::Result<Option<Input>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let inode = file.metadata()?.ino();
        let bytes: Box<dyn Read + Send> = match is_compressed(path) {
            true => Box::new(MultiGzDecoder::new(BufReader::new(file))),
            false => Box::new(file),
        };
        Ok(Some(Input { inode, form, bytes, pending: Vec::new(), start: 0, skip: 0 }))
    }

    /// Opens a file at the last `count` of its entries, and says how many it has of them.
    fn tail(path: &Path, form: LogForm, count: usize) -> io::Result<Option<(Input, usize)>> {
        let Some(mut input) = Input::open(path, form)? else { return Ok(None) };
        if is_compressed(path) {
            let mut total = 0;
            while input.step()?.is_some() {
                total += 1;
            }
            let found = count.min(total);
            return Ok(Input::open(path, form)?.map(|input| (Input { skip: total - found, ..input }, found)));
        }
        let mut file = File::open(path)?;
        input.inode = file.metadata()?.ino();
        let (offset, found) = match form {
            LogForm::JsonFile => last_lines(&mut file, count)?,
            LogForm::Local => last_messages(&mut file, count)?,
        };
        file.seek(SeekFrom::Start(offset))?;
        input.bytes = Box::new(file);
        Ok(Some((input, found)))
    }

    /// The next entry that is asked for; `None` at the present end.
    fn next(&mut self) -> io::Result<Option<LogEntry>> {
        while let Some(entry) = self.step()? {
            if self.skip > 0 {
                self.skip -= 1;
            } else if entry.is_some() {
                return Ok(entry);
            }
        }
        Ok(None)
    }

    /// The next entry, or what stands in the place of one.
    fn step(&mut self) -> io::Result<Option<Option<LogEntry>>> {
        loop {
            let rest = &self.pending[self.start..];
            let decoded = match self.form {
                LogForm::JsonFile => json::decode(rest),
                LogForm::Local => local::decode(rest)?,
            };
            if let Some((taken, entry)) = decoded {
                self.start += taken;
                return Ok(Some(entry));
            }
            self.pending.drain(..self.start);
            self.start = 0;
            if self.bytes.by_ref().take(BLOCK_BYTES).read_to_end(&mut self.pending)? == 0 {
                return Ok(None);
            }
        }
    }
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// Where the last `count` lines begin, found from the end, and how many there are.
fn last_lines(file: &mut File, count: usize) -> io::Result<(u64, usize)> {
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
                return Ok((begin + place as u64 + 1, count));
            }
            lines += 1;
        }
        end = begin;
    }
    Ok((0, lines))
}

/// The same for entries between their lengths.
fn last_messages(file: &mut File, count: usize) -> io::Result<(u64, usize)> {
    let mut end = file.seek(SeekFrom::End(0))?;
    for found in 0..count {
        let mut length = [0; 4];
        let Some(place) = end.checked_sub(4) else { return Ok((end, found)) };
        file.seek(SeekFrom::Start(place))?;
        file.read_exact(&mut length)?;
        let whole = local::entry_length(length)? as u64 + 8;
        end = end.checked_sub(whole).ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok((end, count))
}
