//! Writes tar-split lines.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const FLUSH_BYTES: usize = 128 << 10;
/// A longer segment is cut; where it is cut means nothing to a reader.
const SEGMENT_BYTES_MAX: usize = 1 << 20;

pub(crate) struct SplitWriter<'a> {
    stream: &'a mut dyn Write,
    lines: Vec<u8>,
    position: u64,
}

impl<'a> SplitWriter<'a> {
    pub fn new(stream: &'a mut dyn Write) -> SplitWriter<'a> {
        SplitWriter { stream, lines: Vec::new(), position: 0 }
    }

    /// Writes bytes that are to be emitted as they are.
    pub fn segment(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(SEGMENT_BYTES_MAX) {
            self.lines.extend_from_slice(b"{\"type\":2,\"payload\":\"");
            self.base64(piece);
            self.lines.push(b'"');
            self.end_line()?;
        }
        Ok(())
    }

    /// Writes a file whose content is in the layer, or an entry without content.
    pub fn file(&mut self, name: &[u8], content: Option<(u64, [u8; 8])>) -> io::Result<()> {
        self.lines.extend_from_slice(b"{\"type\":1,");
        match std::str::from_utf8(name) {
            Ok(name) => {
                self.lines.extend_from_slice(b"\"name\":\"");
                escape(name, &mut self.lines);
            }
            Err(_) => {
                self.lines.extend_from_slice(b"\"name_raw\":\"");
                self.base64(name);
            }
        }
        match content {
            Some((size_bytes, checksum)) => {
                write!(self.lines, "\",\"size\":{size_bytes},\"payload\":\"")?;
                self.base64(&checksum);
                self.lines.push(b'"');
            }
            None => self.lines.extend_from_slice(b"\",\"payload\":null"),
        }
        self.end_line()
    }

    pub fn finish(self) -> io::Result<()> {
        self.stream.write_all(&self.lines)?;
        self.stream.flush()
    }

    fn base64(&mut self, bytes: &[u8]) {
        let start = self.lines.len();
        self.lines.resize(start + bytes.len().div_ceil(3) * 4, 0);
        STANDARD.encode_slice(bytes, &mut self.lines[start..]).expect("the room was made for it");
    }

    fn end_line(&mut self) -> io::Result<()> {
        writeln!(self.lines, ",\"position\":{}}}", self.position)?;
        self.position += 1;
        if self.lines.len() >= FLUSH_BYTES {
            self.stream.write_all(&self.lines)?;
            self.lines.clear();
        }
        Ok(())
    }
}

// Go's encoding/json also escapes what would be markup in HTML or a line end in JavaScript.
fn escape(name: &str, out: &mut Vec<u8>) {
    for character in name.chars() {
        match character {
            '"' | '\\' => out.extend([b'\\', character as u8]),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
            }
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}
