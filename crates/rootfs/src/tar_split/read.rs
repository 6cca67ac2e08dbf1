//! Reads tar-split lines in bounded memory.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// dockerd writes segments of a mebibyte and, in theory, all extension headers of one file in one line.
const LINE_BYTES_MAX: u64 = 32 << 20;
const BUFFER_BYTES: usize = 128 << 10;

/// Why a line of tar-split makes no sense.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message says what each field is")]
pub enum LineError {
    /// The stream failed; a damaged gzip stream shows here.
    #[error("could not read tar-split")]
    Read(#[source] io::Error),
    /// No JSON object of tar-split.
    #[error("line {line} of tar-split is malformed")]
    Json { line: u64, source: serde_json::Error },
    /// JSON, but with a type, payload or position that cannot be.
    #[error("line {line} of tar-split has a bad {field}")]
    Field { line: u64, field: &'static str },
    /// A line of more than 32 MiB.
    #[error("line {line} of tar-split is too long")]
    TooLong { line: u64 },
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record<'r> {
    Segment(&'r [u8]),
    File { name: &'r [u8], size_bytes: u64, checksum: [u8; 8] },
}

pub(crate) struct Records<'a> {
    stream: BufReader<&'a mut dyn Read>,
    text: Vec<u8>,
    bytes: Vec<u8>,
    line: u64,
}

#[derive(Deserialize)]
struct Line<'l> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(borrow, default)]
    name: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    name_raw: Option<Cow<'l, str>>,
    #[serde(default)]
    size: u64,
    #[serde(borrow, default)]
    payload: Option<Cow<'l, str>>,
}

impl<'a> Records<'a> {
    pub fn new(stream: &'a mut dyn Read) -> Records<'a> {
        let stream = BufReader::with_capacity(BUFFER_BYTES, stream);
        Records { stream, text: Vec::new(), bytes: Vec::new(), line: 0 }
    }

    /// Returns the next line, or `None` at the end.
    pub fn next(&mut self) -> Result<Option<Record<'_>>, LineError> {
        loop {
            self.line += 1;
            self.text.clear();
            let mut limited = (&mut self.stream).take(LINE_BYTES_MAX);
            limited.read_until(b'\n', &mut self.text).map_err(LineError::Read)?;
            if self.text.len() as u64 == LINE_BYTES_MAX {
                return Err(LineError::TooLong { line: self.line });
            }
            if self.text.is_empty() {
                return Ok(None);
            }
            if !self.text.trim_ascii().is_empty() {
                break;
            }
        }
        let line = self.line;
        let parsed: Line<'_> =
            serde_json::from_slice(&self.text).map_err(|source| LineError::Json { line, source })?;
        let bad = |field| LineError::Field { line, field };
        let payload = parsed.payload.as_deref().unwrap_or_default();
        self.bytes.clear();
        match parsed.kind {
            2 => {
                STANDARD.decode_vec(payload, &mut self.bytes).map_err(|_| bad("payload"))?;
                Ok(Some(Record::Segment(&self.bytes)))
            }
            1 => {
                let mut checksum = [0; 8];
                // Without content nothing is checked, and some writers leave the checksum of nothing there.
                if parsed.size > 0 {
                    let decoded = STANDARD.decode(payload).map_err(|_| bad("payload"))?;
                    checksum = decoded.try_into().map_err(|_| bad("payload"))?;
                }
                match (parsed.name_raw, parsed.name) {
                    (Some(raw), _) => {
                        STANDARD.decode_vec(raw.as_bytes(), &mut self.bytes).map_err(|_| bad("name_raw"))?;
                    }
                    (None, Some(name)) => self.bytes.extend_from_slice(name.as_bytes()),
                    (None, None) => {}
                }
                Ok(Some(Record::File { name: &self.bytes, size_bytes: parsed.size, checksum }))
            }
            _ => Err(bad("type")),
        }
    }
}
