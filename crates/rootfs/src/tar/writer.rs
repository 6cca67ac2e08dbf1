//! Headers as Docker writes them, byte for byte: plain ustar where it is enough, PAX where it is not.
//!
//! Source: the layers and archives that dockerd 24 to 29 write, observed 2026-11-21.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::header::BLOCK_BYTES;

/// What stands in a header.
#[derive(Debug, Clone, Copy)]
pub struct TarEntry<'a> {
    /// The name; directories end in a slash.
    pub name: &'a [u8],
    /// `0` file, `1` hard link, `2` symlink, `3` char, `4` block, `5` directory, `6` FIFO.
    pub type_byte: u8,
    /// Permission bits with set-uid, set-gid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content that follow.
    pub size_bytes: u64,
    /// Whole seconds since 1970.
    pub mtime_seconds: i64,
    /// Target of a link.
    pub link_name: &'a [u8],
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// The extended attribute `security.capability`, the only one that Docker packs.
    pub capability: Option<&'a [u8]>,
}

impl<'a> TarEntry<'a> {
    /// Returns a file of root's with mode 0644, to be changed where it differs.
    pub fn file(name: &'a [u8], size_bytes: u64, mtime_seconds: i64) -> TarEntry<'a> {
        TarEntry {
            name,
            type_byte: b'0',
            mode: 0o644,
            uid: 0,
            gid: 0,
            size_bytes,
            mtime_seconds,
            link_name: b"",
            device: (0, 0),
            capability: None,
        }
    }

    /// Returns a directory of root's with mode 0755; `name` ends in a slash.
    pub fn directory(name: &'a [u8], mtime_seconds: i64) -> TarEntry<'a> {
        TarEntry { type_byte: b'5', mode: 0o755, ..TarEntry::file(name, 0, mtime_seconds) }
    }
}

/// Writes an archive entry by entry.
#[must_use = "an archive needs its end"]
pub struct TarWriter<'w> {
    stream: &'w mut dyn Write,
    header: Vec<u8>,
    content_bytes: u64,
    padding_bytes: usize,
}

impl<'w> TarWriter<'w> {
    /// Starts an archive.
    pub fn new(stream: &'w mut dyn Write) -> TarWriter<'w> {
        TarWriter { stream, header: Vec::new(), content_bytes: 0, padding_bytes: 0 }
    }

    /// Writes the header of `entry`; its content follows through [`TarWriter::content`].
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when the content of the entry before is not complete, and those of the stream.
    pub fn header(&mut self, entry: &TarEntry<'_>) -> io::Result<()> {
        self.end_content()?;
        self.header.clear();
        encode(entry, &mut self.header);
        self.content_bytes = entry.size_bytes;
        self.padding_bytes = padding(entry.size_bytes);
        self.stream.write_all(&self.header)
    }

    /// Writes the next bytes of the content.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when they are more than the header says, and those of the stream.
    pub fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.content_bytes.checked_sub(bytes.len() as u64);
        self.content_bytes = left.ok_or_else(|| invalid("more content than the tar header says"))?;
        self.stream.write_all(bytes)
    }

    /// Writes the two zero blocks that end an archive.
    ///
    /// # Errors
    /// As [`TarWriter::header`].
    pub fn finish(mut self) -> io::Result<()> {
        self.end_content()?;
        self.stream.write_all(&[0; 2 * BLOCK_BYTES])?;
        self.stream.flush()
    }

    fn end_content(&mut self) -> io::Result<()> {
        if self.content_bytes > 0 {
            return Err(invalid("less content than the tar header says"));
        }
        let padding_bytes = std::mem::take(&mut self.padding_bytes);
        self.stream.write_all(&[0; BLOCK_BYTES][..padding_bytes])
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Returns how many bytes fill the last block of a content.
pub(crate) fn padding(content_bytes: u64) -> usize {
    (content_bytes.wrapping_neg() % BLOCK_BYTES as u64) as usize
}

/// Appends the header of `entry` to `out`, after an extended header when it needs one.
pub(crate) fn encode(entry: &TarEntry<'_>, out: &mut Vec<u8>) {
    let records = records(entry);
    let split = split_prefix(entry.name);
    let path_only = records.len() == 1 && records.contains_key(&b"path"[..]);
    let prefix = match split {
        Some(split) if path_only => Some(split),
        _ => None,
    };
    if prefix.is_none() && !records.is_empty() {
        extended(entry.name, &records, out);
    }
    let (directory, name) = prefix.unwrap_or((b"", entry.name));
    let mut block = Header::new(entry.type_byte);
    block.text(0..100, name);
    block.octal(100..108, u64::from(entry.mode));
    block.octal(108..116, u64::from(entry.uid));
    block.octal(116..124, u64::from(entry.gid));
    block.octal(124..136, entry.size_bytes);
    block.octal(136..148, u64::try_from(entry.mtime_seconds).unwrap_or(0));
    block.text(157..257, entry.link_name);
    block.octal(329..337, u64::from(entry.device.0));
    block.octal(337..345, u64::from(entry.device.1));
    block.text(345..500, directory);
    out.extend_from_slice(&block.finish());
}

fn records<'e>(entry: &TarEntry<'e>) -> BTreeMap<&'static [u8], std::borrow::Cow<'e, [u8]>> {
    let mut records = BTreeMap::new();
    let decimal = |value: String| std::borrow::Cow::Owned(value.into_bytes());
    for (key, text) in [(&b"path"[..], entry.name), (b"linkpath", entry.link_name)] {
        if text.len() > 100 || !text.is_ascii() {
            records.insert(key, text.into());
        }
    }
    for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
        if u64::from(id) > OCTAL_7_MAX {
            records.insert(key, decimal(id.to_string()));
        }
    }
    if entry.size_bytes > OCTAL_11_MAX {
        records.insert(b"size", decimal(entry.size_bytes.to_string()));
    }
    if u64::try_from(entry.mtime_seconds).map_or(true, |seconds| seconds > OCTAL_11_MAX) {
        records.insert(b"mtime", decimal(entry.mtime_seconds.to_string()));
    }
    if let Some(capability) = entry.capability {
        records.insert(b"SCHILY.xattr.security.capability", capability.into());
    }
    records
}

const OCTAL_7_MAX: u64 = 0o7_777_777;
const OCTAL_11_MAX: u64 = 0o77_777_777_777;

// The last slash among the first 156 bytes parts a name in a prefix of up to 155 and a rest of up to 100 bytes.
fn split_prefix(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 || !name.is_ascii() {
        return None;
    }
    let searched = if name.len() > 156 { &name[..156] } else { name.strip_suffix(b"/").unwrap_or(name) };
    let slash = searched.iter().rposition(|byte| *byte == b'/').filter(|slash| *slash > 0)?;
    let rest = &name[slash + 1..];
    (slash <= 155 && (1..=100).contains(&rest.len())).then_some((&name[..slash], rest))
}

fn extended(name: &[u8], records: &BTreeMap<&[u8], std::borrow::Cow<'_, [u8]>>, out: &mut Vec<u8>) {
    let mut content = Vec::new();
    for (key, value) in records {
        record(key, value, &mut content);
    }
    let base = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (directory, base) = name.split_at(base);
    let mut header_name: Vec<u8> = [directory, b"PaxHeaders.0/", base].concat();
    header_name.retain(u8::is_ascii);
    header_name.truncate(100);
    while header_name.last() == Some(&b'/') {
        header_name.pop();
    }
    let mut block = Header::new(b'x');
    block.text(0..100, &header_name);
    for field in [100..108, 108..116, 116..124] {
        block.octal(field, 0);
    }
    block.octal(124..136, content.len() as u64);
    block.octal(136..148, 0);
    out.extend_from_slice(&block.finish());
    let padding_bytes = padding(content.len() as u64);
    out.extend_from_slice(&content);
    out.resize(out.len() + padding_bytes, 0);
}

// The length counts its own digits.
fn record(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if length.to_string().len() > rest.to_string().len() {
        length += 1;
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

struct Header([u8; BLOCK_BYTES]);

impl Header {
    fn new(type_byte: u8) -> Header {
        let mut block = [0; BLOCK_BYTES];
        block[156] = type_byte;
        block[257..265].copy_from_slice(b"ustar\x0000");
        Header(block)
    }

    // What is not ASCII is left out: the extended header has the whole text.
    fn text(&mut self, field: std::ops::Range<usize>, text: &[u8]) {
        let field = &mut self.0[field];
        let ascii: Vec<u8> = text.iter().copied().filter(u8::is_ascii).collect();
        let length = ascii.len().min(field.len());
        field[..length].copy_from_slice(&ascii[..length]);
        // A cut name that happens to end in a slash would make a directory of a file.
        if ascii.len() > length && field.last() == Some(&b'/') {
            let end = field.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
            field[end] = 0;
        }
    }

    // Digits and a NUL; a number that does not fit is 0, because the extended header has it.
    fn octal(&mut self, field: std::ops::Range<usize>, number: u64) {
        let field = &mut self.0[field];
        let digits = field.len() - 1;
        let number = if number >> (3 * digits) == 0 { number } else { 0 };
        for (index, digit) in field[..digits].iter_mut().enumerate() {
            *digit = b'0' + (number >> (3 * (digits - 1 - index)) & 7) as u8;
        }
        field[digits] = 0;
    }

    fn finish(mut self) -> [u8; BLOCK_BYTES] {
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.octal(148..155, sum);
        self.0[155] = b' ';
        self.0
    }
}
