//! Docker's `json-file` form: one object a line of output, a longer line in pieces.

use std::io::Write;

use jiff::Timestamp;
use serde::Deserialize;

use super::{LogEntry, LogStream};

#[derive(Deserialize)]
struct Line {
    log: String,
    stream: LogStream,
    time: String,
}

/// Appends one entry; `line` has its newline, if it has one.
pub(super) fn encode(line: &[u8], stream: LogStream, time: Timestamp, encoded: &mut Vec<u8>) {
    encoded.extend(b"{\"log\":\"");
    escape(line, encoded);
    writeln!(encoded, "\",\"stream\":\"{}\",\"time\":\"{time}\"}}", stream.name()).expect("memory takes all");
}

/// Returns how many bytes the first entry takes, and the entry if it is one; `None` when it is not complete.
pub(super) fn decode(bytes: &[u8]) -> Option<(usize, Option<LogEntry>)> {
    let length = bytes.iter().position(|&byte| byte == b'\n')?;
    let entry = serde_json::from_slice::<Line>(&bytes[..length]).ok().and_then(|line| {
        let time = line.time.parse().ok()?;
        Some(LogEntry { stream: line.stream, time, line: line.log })
    });
    Some((length + 1, entry))
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
