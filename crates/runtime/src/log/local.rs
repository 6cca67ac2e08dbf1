//! Docker's `local` form: a protocol-buffer message between two copies of its length.
//!
//! Source: bytes written by dockerd 20.10.24; field 1 stream, 2 nanoseconds, 3 line without its newline, 4 whether the line is in
//! pieces, 5 which piece (1 whether it is the last, 2 the line's ID, 3 its number from 1).

use std::io;

use jiff::Timestamp;

use super::{LogEntry, LogStream};

/// No entry is longer: a piece of a line and its fields.
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// Which piece of a line an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) id: &'a str,
    pub(super) number: u64,
    pub(super) is_last: bool,
}

/// Appends one entry; `line` is without its newline.
pub(super) fn encode(
    line: &[u8],
    stream: LogStream,
    time: Timestamp,
    part: Option<Part<'_>>,
    encoded: &mut Vec<u8>,
) {
    let start = encoded.len();
    encoded.extend([0; 4]);
    bytes_field(1, stream.name().as_bytes(), encoded);
    number_field(2, time.as_nanosecond() as u64, encoded);
    bytes_field(3, line, encoded);
    if let Some(part) = part {
        number_field(4, 1, encoded);
        let mut piece = Vec::with_capacity(80);
        if part.is_last {
            number_field(1, 1, &mut piece);
        }
        bytes_field(2, part.id.as_bytes(), &mut piece);
        number_field(3, part.number, &mut piece);
        bytes_field(5, &piece, encoded);
    }
    let length = ((encoded.len() - start - 4) as u32).to_be_bytes();
    encoded[start..start + 4].copy_from_slice(&length);
    encoded.extend(length);
}

/// Returns how many bytes the first entry takes, and the entry if it is one; `None` when it is not complete.
pub(super) fn decode(bytes: &[u8]) -> io::Result<Option<(usize, Option<LogEntry>)>> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = entry_length(*length)?;
    let Some(message) = rest.get(..length).filter(|_| rest.len() >= length + 4) else { return Ok(None) };
    Ok(Some((length + 8, read_message(message))))
}

/// The length of an entry's message.
pub(super) fn entry_length(bytes: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(bytes) as usize;
    if length > ENTRY_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged: an entry is too long"));
    }
    Ok(length)
}

fn read_message(message: &[u8]) -> Option<LogEntry> {
    let (mut stream, mut time, mut line) = (LogStream::Stdout, 0, &[][..]);
    let mut ends_line = true;
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field {
            (1, Content::Bytes(b"stderr")) => stream = LogStream::Stderr,
            (2, Content::Number(nanoseconds)) => time = nanoseconds as i64,
            (3, Content::Bytes(bytes)) => line = bytes,
            (5, Content::Bytes(piece)) => {
                ends_line = false;
                let mut fields = Fields(piece);
                while let Some(field) = fields.next()? {
                    ends_line |= field == (1, Content::Number(1));
                }
            }
            _ => {}
        }
    }
    let mut line = String::from_utf8_lossy(line).into_owned();
    if ends_line {
        line.push('\n');
    }
    let time = Timestamp::from_nanosecond(i128::from(time)).ok()?;
    Some(LogEntry { stream, time, line })
}

#[derive(Debug, PartialEq, Eq)]
enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, one after the other; the outer `None` when it is none.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<Option<(u64, Content<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let key = self.number()?;
        let number = self.number()?;
        match key & 7 {
            0 => Some(Some((key >> 3, Content::Number(number)))),
            2 => {
                let (bytes, rest) = self.0.split_at_checked(usize::try_from(number).ok()?)?;
                self.0 = rest;
                Some(Some((key >> 3, Content::Bytes(bytes))))
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

fn number_field(field: u8, number: u64, encoded: &mut Vec<u8>) {
    encoded.push(field << 3);
    varint(number, encoded);
}

fn bytes_field(field: u8, bytes: &[u8], encoded: &mut Vec<u8>) {
    encoded.push(field << 3 | 2);
    varint(bytes.len() as u64, encoded);
    encoded.extend(bytes);
}

fn varint(mut number: u64, encoded: &mut Vec<u8>) {
    while number >= 0x80 {
        encoded.push(number as u8 | 0x80);
        number >>= 7;
    }
    encoded.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    // What dockerd 20.10.24 wrote for `echo hi`, and for `printf end` after a line in three pieces.
    const HI: &[u8] = b"\0\0\0\x16\x0a\x06stdout\x10\xd2\xc7\xdc\x92\xe0\xfb\x99\xf5\x18\x1a\x02hi\0\0\0\x16";
    const END: &[u8] =
        b"\0\0\0\x5f\x0a\x06stdout\x10\xba\x86\xe4\x8c\xae\x81\x9a\xf5\x18\x1a\x03end\x20\x01\x2aD\x12@\
        332c48dfab3dc5c697cd7abdebfd2ac4ac702082720c958fcfbafa2cd4dbe0fb\x18\x01\0\0\0\x5f";

    #[test]
    fn entries_are_dockers() {
        let (taken, entry) = decode(HI).unwrap().unwrap();
        let entry = entry.unwrap();
        assert_eq!((taken, entry.line.as_str()), (HI.len(), "hi\n"));
        assert_eq!(entry.time.to_string(), "2026-11-22T15:33:24.680229842Z");
        let mut encoded = Vec::new();
        encode(b"hi", LogStream::Stdout, entry.time, None, &mut encoded);
        assert_eq!(encoded, HI);

        let (_, entry) = decode(END).unwrap().unwrap();
        let entry = entry.unwrap();
        assert_eq!(entry.line, "end");
        let id = "332c48dfab3dc5c697cd7abdebfd2ac4ac702082720c958fcfbafa2cd4dbe0fb";
        encoded.clear();
        let part = Part { id, number: 1, is_last: false };
        encode(b"end", LogStream::Stdout, entry.time, Some(part), &mut encoded);
        assert_eq!(encoded, END);
    }

    #[test]
    fn damaged_entries_are_passed_over_or_refused() {
        assert_eq!(decode(&HI[..HI.len() - 1]).unwrap(), None);
        assert_eq!(decode(b"\0\0\0\x02\x0a\xff\0\0\0\x02").unwrap(), Some((10, None)));
        assert!(decode(b"\xff\xff\xff\xff").is_err());
    }
}
