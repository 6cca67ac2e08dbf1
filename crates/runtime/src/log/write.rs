//! Writes Docker's `json-file` log: one object a line of output, a longer line in pieces of 16 KiB.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::LogStream;

/// Docker's piece of a line that is longer.
const PIECE_BYTES: usize = 16 << 10;

/// One stream's way into the log file.
#[derive(Debug)]
pub(crate) struct LogWriter {
    file: File,
    stream: LogStream,
    line: Vec<u8>,
    encoded: Vec<u8>,
}

impl LogWriter {
    /// Opens the file for appending (mode 0640); two writers may share one file, each entry is one write.
    pub(crate) fn open(path: &Path, stream: LogStream) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        Ok(Self { file, stream, line: Vec::new(), encoded: Vec::new() })
    }

    /// Takes output; whole lines are written, the rest waits.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = &bytes[..bytes.len().min(PIECE_BYTES - self.line.len())];
            let taken = room.iter().position(|&byte| byte == b'\n').map_or(room.len(), |place| place + 1);
            self.line.extend_from_slice(&room[..taken]);
            bytes = &bytes[taken..];
            if self.line.ends_with(b"\n") || self.line.len() == PIECE_BYTES {
                self.encode_line();
            }
        }
        self.flush()
    }

    /// Writes a last line that has no newline.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if !self.line.is_empty() {
            self.encode_line();
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.encoded);
        self.encoded.clear();
        written
    }

    fn encode_line(&mut self) {
        let time = jiff::Timestamp::now();
        self.encoded.extend(b"{\"log\":\"");
        escape(&self.line, &mut self.encoded);
        let stream = if self.stream == LogStream::Stdout { "stdout" } else { "stderr" };
        writeln!(self.encoded, "\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}").expect("memory takes all");
        self.line.clear();
    }
}

/// Escapes as Docker's logger does: `<`, `>`, `&` and the two Unicode line ends by number, and each byte that is not
/// UTF-8 as U+FFFD.
fn escape(line: &[u8], encoded: &mut Vec<u8>) {
    for chunk in line.utf8_chunks() {
        let mut plain = 0;
        let text = chunk.valid();
        for (place, character) in text.char_indices() {
            let special =
                matches!(character, '\0'..='\x1f' | '"' | '\\' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
            if !special {
                continue;
            }
            encoded.extend(&text.as_bytes()[plain..place]);
            plain = place + character.len_utf8();
            match character {
                '"' => encoded.extend(b"\\\""),
                '\\' => encoded.extend(b"\\\\"),
                '\n' => encoded.extend(b"\\n"),
                '\r' => encoded.extend(b"\\r"),
                other => write!(encoded, "\\u{:04x}", u32::from(other)).expect("memory takes all"),
            }
        }
        encoded.extend(&text.as_bytes()[plain..]);
        for _ in chunk.invalid() {
            encoded.extend(b"\\ufffd");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_dockers() {
        // Taken from the log file that dockerd 20.10.24 wrote for these bytes.
        let line = b"\xff\x01<>&\tq\"\\\n";
        let mut encoded = Vec::new();
        escape(line, &mut encoded);
        assert_eq!(encoded, br#"\ufffd\u0001\u003c\u003e\u0026\u0009q\"\\\n"#);
        encoded.clear();
        escape("😀 \u{2028}\n".as_bytes(), &mut encoded);
        assert_eq!(encoded, "😀 \\u2028\\n".as_bytes());
    }
}
