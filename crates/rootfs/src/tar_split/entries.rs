//! What a layer holds, read from tar-split alone.

use std::io::{self, Read};

use super::read::{LineError, Record, Records};
use crate::name::EntryName;
use crate::tar::{ArchiveError, Entry, Reader, Source, Timestamp};

/// Why the headers in tar-split could not be read.
#[derive(Debug, thiserror::Error)]
pub enum EntriesError {
    /// A line is malformed, or the stream failed.
    #[error(transparent)]
    Line(LineError),
    /// The segments together are no tar archive.
    #[error(transparent)]
    Archive(ArchiveError),
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file with its content.
    File,
    /// One more name of an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// What a `.wh.` name says about the layers below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhiteoutKind {
    /// The name without `.wh.` is deleted.
    Removed,
    /// Everything in the directory is hidden.
    Opaque,
}

/// One entry of a layer.
#[derive(Debug, Clone)]
pub struct EntryRecord {
    /// The name as the tar has it.
    pub name: EntryName,
    /// Its kind.
    pub kind: EntryKind,
    /// Permission bits with set-uid, set-gid and sticky.
    pub mode: u32,
    /// Owner; negative in archives that no unpacker accepts.
    pub uid: i64,
    /// Group.
    pub gid: i64,
    /// Length of the file; 0 for what has no content.
    pub size_bytes: u64,
    /// CRC-64/ISO of the content, as tar-split has it; absent for what has no content, and for sparse files.
    pub checksum: Option<[u8; 8]>,
    /// Time of the last change.
    pub mtime: Timestamp,
    /// Target of a hard link or symbolic link, empty for others.
    pub link_name: EntryName,
    /// Major and minor number of a device.
    pub device: (i64, i64),
    /// Extended attributes, by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Present when the name is a whiteout.
    pub whiteout: Option<WhiteoutKind>,
}

/// The entries of a layer, in the order of its tar; see [`entries`].
pub struct Entries<'a> {
    reader: Reader<Segments<'a>>,
    failed: bool,
}

/// Reads the headers of a layer out of its uncompressed tar-split; no file of the layer is touched.
pub fn entries(tar_split: &mut dyn Read) -> Entries<'_> {
    let records = Records::new(tar_split);
    let source = Segments { records, bytes: Vec::new(), start: 0, absent_bytes: 0, error: None };
    Entries { reader: Reader::new(source), failed: false }
}

impl Iterator for Entries<'_> {
    type Item = Result<EntryRecord, EntriesError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.advance() {
            Ok(entry) => entry.map(Ok),
            Err(error) => {
                self.failed = true;
                Some(Err(match self.reader.source.error.take() {
                    Some(line) => EntriesError::Line(line),
                    None => EntriesError::Archive(error),
                }))
            }
        }
    }
}

impl Entries<'_> {
    fn advance(&mut self) -> Result<Option<EntryRecord>, ArchiveError> {
        loop {
            self.reader.skip_payload()?;
            self.reader.raw.clear();
            let Some(entry) = self.reader.next()? else { return Ok(None) };
            if let Some(mut record) = record(entry) {
                record.checksum = self.reader.source.checksum().map_err(ArchiveError::Read)?;
                return Ok(Some(record));
            }
        }
    }
}

fn record(entry: Entry) -> Option<EntryRecord> {
    let kind = match entry.type_byte {
        b'0' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharacterDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        _ => return None,
    };
    let trimmed = entry.name.strip_suffix(b"/").unwrap_or(&entry.name);
    let base = trimmed.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let whiteout = match base {
        b".wh..wh..opq" => Some(WhiteoutKind::Opaque),
        _ if base.starts_with(b".wh.") => Some(WhiteoutKind::Removed),
        _ => None,
    };
    Some(EntryRecord {
        name: EntryName::new(&entry.name),
        kind,
        mode: entry.mode as u32 & 0o7777,
        uid: entry.uid,
        gid: entry.gid,
        size_bytes: if kind == EntryKind::File { entry.size_bytes } else { 0 },
        checksum: None,
        mtime: entry.mtime,
        link_name: EntryName::new(&entry.link_name),
        device: (entry.device_major, entry.device_minor),
        xattrs: entry.xattrs,
        whiteout,
    })
}

// A tar whose file contents are not there: as many zero bytes stand for them.
struct Segments<'a> {
    records: Records<'a>,
    bytes: Vec<u8>,
    start: usize,
    absent_bytes: u64,
    error: Option<LineError>,
}

impl Segments<'_> {
    /// Returns the checksum of the content that follows; right after a header, where its segment ends.
    fn checksum(&mut self) -> io::Result<Option<[u8; 8]>> {
        if self.start < self.bytes.len() || self.absent_bytes > 0 {
            return Ok(None);
        }
        match self.records.next() {
            Ok(Some(Record::File { size_bytes, checksum, .. })) => {
                self.absent_bytes = size_bytes;
                Ok((size_bytes > 0).then_some(checksum))
            }
            Ok(Some(Record::Segment(bytes))) => {
                self.bytes.clear();
                self.bytes.extend_from_slice(bytes);
                self.start = 0;
                Ok(None)
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.error = Some(error);
                Err(io::Error::other("tar-split is damaged"))
            }
        }
    }
}

impl Source for Segments<'_> {
    fn take(&mut self, max: u64) -> io::Result<&[u8]> {
        static ABSENT: [u8; 64 << 10] = [0; 64 << 10];
        while self.start == self.bytes.len() && self.absent_bytes == 0 {
            match self.records.next() {
                Ok(None) => return Ok(&[]),
                Ok(Some(Record::Segment(bytes))) => {
                    self.bytes.clear();
                    self.bytes.extend_from_slice(bytes);
                    self.start = 0;
                }
                Ok(Some(Record::File { size_bytes, .. })) => self.absent_bytes = size_bytes,
                Err(error) => {
                    self.error = Some(error);
                    return Err(io::Error::other("tar-split is damaged"));
                }
            }
        }
        if self.absent_bytes > 0 {
            let length = self.absent_bytes.min(max).min(ABSENT.len() as u64);
            self.absent_bytes -= length;
            return Ok(&ABSENT[..length as usize]);
        }
        let length = (self.bytes.len() - self.start).min(usize::try_from(max).unwrap_or(usize::MAX));
        self.start += length;
        Ok(&self.bytes[self.start - length..self.start])
    }

    // A damaged line may claim any length; passing over it costs nothing.
    fn skip(&mut self, max: u64) -> io::Result<u64> {
        if self.absent_bytes == 0 {
            return Ok(self.take(max)?.len() as u64);
        }
        let length = self.absent_bytes.min(max);
        self.absent_bytes -= length;
        Ok(length)
    }
}
