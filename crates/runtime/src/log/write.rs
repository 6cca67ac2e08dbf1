//! Writes a log: an entry a line of output, a longer line in pieces of 16 KiB.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use jiff::{SignedDuration, Timestamp};

use super::file::{LogFile, LogForm};
use super::local::Part;
use super::{LogStream, json, local, rotate};

/// Docker's piece of a line that is longer.
const PIECE_BYTES: usize = 16 << 10;

/// An open log, written by one writer a stream.
#[derive(Debug)]
pub(crate) struct Log(Mutex<Sink>);

#[derive(Debug)]
struct Sink {
    log: LogFile,
    file: File,
    size_bytes: u64,
    encoded: Vec<u8>,
    /// Times only grow: a reader that loses its file to a rotation goes on by them.
    last: Timestamp,
    compressor: Option<JoinHandle<()>>,
}

/// One stream's way into the log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    log: Arc<Log>,
    stream: LogStream,
    line: Vec<u8>,
    /// How many pieces of the line are written.
    pieces: u64,
    /// The name that a line in pieces has in the `local` form.
    line_id: String,
}

impl Log {
    /// Opens the log for appending, and makes its directory if the form has one of its own.
    pub(crate) fn open(log: &LogFile) -> io::Result<Arc<Log>> {
        if let (LogForm::Local, Some(directory)) = (log.form, log.path.parent()) {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let file = log.append()?;
        let size_bytes = file.metadata()?.len();
        let sink = Sink {
            log: log.clone(),
            file,
            size_bytes,
            encoded: Vec::new(),
            last: Timestamp::UNIX_EPOCH,
            compressor: None,
        };
        Ok(Arc::new(Log(Mutex::new(sink))))
    }

    /// The writer of one stream.
    pub(crate) fn writer(self: &Arc<Self>, stream: LogStream) -> LogWriter {
        LogWriter { log: Arc::clone(self), stream, line: Vec::new(), pieces: 0, line_id: String::new() }
    }
}

impl LogWriter {
    /// Takes output; whole lines are written, the rest waits.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let log = Arc::clone(&self.log);
        let mut sink = log.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !bytes.is_empty() {
            let room = &bytes[..bytes.len().min(PIECE_BYTES - self.line.len())];
            let taken = room.iter().position(|&byte| byte == b'\n').map_or(room.len(), |place| place + 1);
            self.line.extend_from_slice(&room[..taken]);
            bytes = &bytes[taken..];
            if self.line.ends_with(b"\n") || self.line.len() == PIECE_BYTES {
                self.pass_line(&mut sink)?;
            }
        }
        sink.flush()
    }

    /// Writes a last line that has no newline.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let log = Arc::clone(&self.log);
        let mut sink = log.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.line.is_empty() {
            self.pass_line(&mut sink)?;
        }
        sink.flush()
    }

    fn pass_line(&mut self, sink: &mut Sink) -> io::Result<()> {
        let full = sink.log.rotation.filter(|rotation| sink.size_bytes >= rotation.size_bytes_max);
        let rotated = full.map_or(Ok(()), |_| sink.rotate());
        let time = sink.next_time();
        let before = sink.encoded.len();
        match sink.log.form {
            LogForm::JsonFile => json::encode(&self.line, self.stream, time, &mut sink.encoded),
            LogForm::Local => {
                let whole = self.line.strip_suffix(b"\n");
                if self.pieces == 0 && whole.is_none() {
                    self.line_id = line_id(time, self.stream);
                }
                self.pieces += 1;
                let is_part = self.pieces > 1 || whole.is_none();
                let part = Part { id: &self.line_id, number: self.pieces, is_last: whole.is_some() };
                let line = whole.unwrap_or(&self.line);
                local::encode(line, self.stream, time, is_part.then_some(part), &mut sink.encoded);
                if whole.is_some() {
                    self.pieces = 0;
                }
            }
        }
        sink.size_bytes += (sink.encoded.len() - before) as u64;
        self.line.clear();
        rotated
    }
}

impl Sink {
    fn next_time(&mut self) -> Timestamp {
        let later = self.last + SignedDuration::from_nanos(1);
        self.last = Timestamp::now().max(later);
        self.last
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.encoded);
        self.encoded.clear();
        written
    }

    fn rotate(&mut self) -> io::Result<()> {
        let Some(rotation) = self.log.rotation else { return Ok(()) };
        self.flush()?;
        self.wait_for_compressor();
        self.log.rotate(rotation)?;
        self.file = self.log.append()?;
        self.size_bytes = 0;
        if rotation.compress {
            let (path, youngest) = (self.log.numbered(1, false), self.last);
            // A file that cannot be compressed stays as it is, and is read as it is.
            self.compressor = Some(std::thread::spawn(move || drop(rotate::compress(&path, youngest))));
        }
        Ok(())
    }

    fn wait_for_compressor(&mut self) {
        if let Some(compressor) = self.compressor.take() {
            let _ = compressor.join();
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.wait_for_compressor();
    }
}

/// 64 hexadecimal digits, as Docker's; a line's begin is its own within one log.
fn line_id(time: Timestamp, stream: LogStream) -> String {
    let begin = time.as_nanosecond() as u64;
    let which = std::process::id() as u64 | (stream as u64) << 32;
    format!("{begin:032x}{which:032x}")
}

#[cfg(test)]
mod tests {
    use super::super::{LogOptions, LogReader, Rotation};
    use super::*;

    fn log(directory: &tempfile::TempDir, form: LogForm, files_max: u32, compress: bool) -> LogFile {
        let rotation = Some(Rotation { size_bytes_max: 1000, files_max, compress });
        LogFile { path: directory.path().join("logs/log"), form, rotation }
    }

    fn names(directory: &tempfile::TempDir) -> Vec<String> {
        let entries = std::fs::read_dir(directory.path().join("logs")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn read(log: &LogFile, tail: Option<usize>) -> String {
        let options = LogOptions { tail, ..LogOptions::default() };
        let mut reader = LogReader::open(log, options).unwrap();
        std::iter::from_fn(|| reader.next_entry().unwrap()).map(|entry| entry.line).collect()
    }

    fn lines(numbers: std::ops::RangeInclusive<u32>) -> String {
        numbers.map(|number| format!("{number}\n")).collect()
    }

    #[test]
    fn full_files_are_numbered_and_the_oldest_go() {
        for (form, compress, expected) in [
            (LogForm::JsonFile, false, vec!["log", "log.1", "log.2"]),
            (LogForm::JsonFile, true, vec!["log", "log.1.gz", "log.2.gz"]),
            (LogForm::Local, true, vec!["log", "log.1.gz", "log.2.gz"]),
        ] {
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir(directory.path().join("logs")).unwrap();
            let log = log(&directory, form, 3, compress);
            let mut writer = Log::open(&log).unwrap().writer(LogStream::Stdout);
            for number in 1..=200 {
                writer.write(format!("{number}\n").as_bytes()).unwrap();
            }
            drop(writer);
            assert_eq!(names(&directory), expected);
            let all = read(&log, None);
            let first: u32 = all.lines().next().unwrap().parse().unwrap();
            assert!((100..190).contains(&first), "{first}");
            assert_eq!(all, lines(first..=200));
            assert_eq!(read(&log, Some(3)), lines(198..=200));
            assert_eq!(read(&log, Some(40)), lines((200 - 39).max(first)..=200));
            assert_eq!(read(&log, Some(0)), "");
        }
    }

    #[test]
    fn a_reader_goes_on_across_rotations_without_a_gap() {
        for compress in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir(directory.path().join("logs")).unwrap();
            let log = log(&directory, LogForm::JsonFile, 4, compress);
            let mut writer = Log::open(&log).unwrap().writer(LogStream::Stdout);
            let mut reader = LogReader::open(&log, LogOptions::default()).unwrap();
            let mut seen = String::new();
            // 14 entries a file: with 20 between two looks, one or two rotations are passed each time.
            for number in 1..=300 {
                writer.write(format!("{number}\n").as_bytes()).unwrap();
                if number % 20 == 0 {
                    seen.extend(std::iter::from_fn(|| reader.next_entry().unwrap()).map(|entry| entry.line));
                }
            }
            assert_eq!(seen, lines(1..=300));
        }
    }

    #[test]
    fn two_streams_share_the_files() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("logs")).unwrap();
        let log = log(&directory, LogForm::JsonFile, 100, false);
        let open = Log::open(&log).unwrap();
        std::thread::scope(|scope| {
            for stream in [LogStream::Stdout, LogStream::Stderr] {
                let mut writer = open.writer(stream);
                scope.spawn(move || {
                    (0..300).for_each(|number| writer.write(format!("{number}\n").as_bytes()).unwrap());
                });
            }
        });
        let mut reader = LogReader::open(&log, LogOptions::default()).unwrap();
        let entries: Vec<_> = std::iter::from_fn(|| reader.next_entry().unwrap()).collect();
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let of_stream =
                entries.iter().filter(|entry| entry.stream == stream).map(|entry| entry.line.clone());
            assert_eq!(of_stream.collect::<String>(), lines(0..=299));
        }
    }

    #[test]
    fn a_line_in_pieces_comes_back_whole() {
        let directory = tempfile::tempdir().unwrap();
        let log = LogFile { rotation: None, ..log(&directory, LogForm::Local, 1, false) };
        let mut writer = Log::open(&log).unwrap().writer(LogStream::Stdout);
        let long = format!("{}\nshort\nend", "x".repeat(40_000));
        writer.write(long.as_bytes()).unwrap();
        writer.finish().unwrap();
        assert_eq!(read(&log, None), long);
        assert_eq!(read(&log, Some(2)), "short\nend");
    }
}
