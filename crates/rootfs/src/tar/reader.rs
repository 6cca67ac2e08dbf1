//! The reader: a state machine over blocks that remembers every byte which is not file content.

use std::io;

use super::header::{BLOCK_BYTES, Block, Dialect, Fields, dialect, text};
use super::sparse::{self, RawRegion};
use super::{ArchiveError, Entry, is_header_only, pax};

/// A PAX header longer than this is refused.
const PAX_BYTES_MAX: u64 = 1 << 20;
/// A GNU long name longer than this is refused; the kernel takes 4,095 bytes.
const LONG_NAME_BYTES_MAX: u64 = 64 << 10;
/// All extension headers before one entry, together; they stay in memory until the entry is known.
const EXTENSIONS_BYTES_MAX: usize = 16 << 20;

/// Where the bytes of an archive come from.
pub(crate) trait Source {
    /// Returns the next bytes, at most `max`; empty only where the stream ends.
    fn take(&mut self, max: u64) -> io::Result<&[u8]>;

    /// Fills `block` and returns 512, or fewer where the stream ends.
    fn read_block(&mut self, block: &mut Block) -> io::Result<usize> {
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            let bytes = self.take((BLOCK_BYTES - filled) as u64)?;
            if bytes.is_empty() {
                break;
            }
            block[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        }
        Ok(filled)
    }

    /// Passes over the next bytes, at most `max`; returns how many, 0 only where the stream ends.
    fn skip(&mut self, max: u64) -> io::Result<u64> {
        Ok(self.take(max)?.len() as u64)
    }
}

/// Reads entries, and keeps in `raw` all bytes since the last payload that are not payload.
pub(crate) struct Reader<S> {
    pub source: S,
    pub raw: Vec<u8>,
    payload_bytes: u64,
    padding_bytes: usize,
    ended: bool,
}

impl<S: Source> Reader<S> {
    pub fn new(source: S) -> Reader<S> {
        Reader { source, raw: Vec::new(), payload_bytes: 0, padding_bytes: 0, ended: false }
    }

    /// Returns how many stored bytes of the current entry have not been taken.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Returns the next stored bytes of the current entry, at most `max`; the caller asks only while some are left.
    pub fn payload(&mut self, max: u64) -> Result<&[u8], ArchiveError> {
        let bytes = self.source.take(self.payload_bytes.min(max)).map_err(ArchiveError::Read)?;
        if bytes.is_empty() {
            return Err(ArchiveError::Truncated);
        }
        self.payload_bytes -= bytes.len() as u64;
        Ok(bytes)
    }

    /// Passes over the stored bytes of the current entry that were not taken.
    pub fn skip_payload(&mut self) -> Result<(), ArchiveError> {
        while self.payload_bytes > 0 {
            let skipped = self.source.skip(self.payload_bytes).map_err(ArchiveError::Read)?;
            if skipped == 0 {
                return Err(ArchiveError::Truncated);
            }
            self.payload_bytes -= skipped;
        }
        Ok(())
    }

    /// Returns the next entry, or `None` where the archive ends; the payload of the last one must have been taken.
    pub fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        debug_assert_eq!(self.payload_bytes, 0, "the payload was taken");
        let mut records = None;
        let mut long_name = Vec::new();
        let mut long_link = Vec::new();
        loop {
            if self.ended || !self.skip_padding()? {
                self.ended = true;
                return Ok(None);
            }
            let Some(block) = self.header_block()? else {
                self.ended = true;
                return Ok(None);
            };
            let fields = Fields::parse(&block)?;
            self.begin_payload(fields.size_bytes, fields.type_byte)?;
            match fields.type_byte {
                b'x' => records = Some(pax::parse(&self.extension(PAX_BYTES_MAX, "PAX header")?)?),
                b'g' => {
                    // Docker reads a global header, and then ignores what it says and the local one before it.
                    pax::parse(&self.extension(PAX_BYTES_MAX, "PAX header")?)?;
                    return Ok(Some(entry(fields)));
                }
                b'L' => long_name = text(&self.extension(LONG_NAME_BYTES_MAX, "GNU long name")?).to_vec(),
                b'K' => {
                    long_link = text(&self.extension(LONG_NAME_BYTES_MAX, "GNU long link name")?).to_vec()
                }
                _ => {
                    let mut records = records.unwrap_or_default();
                    let dialect = fields.dialect;
                    let mut entry = entry(fields);
                    let mut size = apply(&mut entry, &records)?;
                    if !long_name.is_empty() {
                        entry.name = long_name;
                    }
                    if !long_link.is_empty() {
                        entry.link_name = long_link;
                    }
                    if entry.type_byte == 0 {
                        entry.type_byte = if entry.name.ends_with(b"/") { b'5' } else { b'0' };
                    }
                    self.begin_payload(size, entry.type_byte)?;
                    let regions = match entry.type_byte {
                        b'S' if dialect == Dialect::Gnu => Some(self.old_gnu_sparse(&block, &mut size)?),
                        b'S' => return Err(ArchiveError::Header("a sparse entry is not in GNU format")),
                        _ => self.pax_sparse(&mut entry, &mut records, &mut size)?,
                    };
                    entry.size_bytes = u64::try_from(size).unwrap_or(0);
                    if let Some(regions) = regions {
                        if entry.is_header_only() || size < 0 {
                            return Err(ArchiveError::Header("an entry without content has a sparse map"));
                        }
                        entry.sparse =
                            Some(sparse::validate(&regions, entry.size_bytes, self.payload_bytes)?);
                    }
                    return Ok(Some(entry));
                }
            }
        }
    }

    // An archive may end inside the padding after its last payload.
    fn skip_padding(&mut self) -> Result<bool, ArchiveError> {
        while self.padding_bytes > 0 {
            let bytes = self.source.take(self.padding_bytes as u64).map_err(ArchiveError::Read)?;
            if bytes.is_empty() {
                return Ok(false);
            }
            self.padding_bytes -= bytes.len();
            self.raw.extend_from_slice(bytes);
        }
        Ok(true)
    }

    // Two zero blocks end an archive; so does the end of the stream, also after one zero block.
    fn header_block(&mut self) -> Result<Option<Block>, ArchiveError> {
        let Some(block) = self.block_or_end()? else { return Ok(None) };
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        match self.block_or_end()? {
            Some(second) if second.iter().any(|byte| *byte != 0) => {
                Err(ArchiveError::Header("one zero block is followed by more"))
            }
            _ => Ok(None),
        }
    }

    fn block_or_end(&mut self) -> Result<Option<Block>, ArchiveError> {
        if self.raw.len() > EXTENSIONS_BYTES_MAX {
            return Err(ArchiveError::TooLong("chain of extension headers"));
        }
        let mut block = [0; BLOCK_BYTES];
        match self.source.read_block(&mut block).map_err(ArchiveError::Read)? {
            0 => Ok(None),
            BLOCK_BYTES => {
                self.raw.extend_from_slice(&block);
                Ok(Some(block))
            }
            _ => Err(ArchiveError::Truncated),
        }
    }

    fn block(&mut self) -> Result<Block, ArchiveError> {
        self.block_or_end()?.ok_or(ArchiveError::Truncated)
    }

    fn begin_payload(&mut self, size: i64, type_byte: u8) -> Result<(), ArchiveError> {
        let size = if is_header_only(type_byte) { 0 } else { size };
        let size = u64::try_from(size).map_err(|_| ArchiveError::Header("a size is negative"))?;
        self.payload_bytes = size;
        self.padding_bytes = (size.wrapping_neg() % BLOCK_BYTES as u64) as usize;
        Ok(())
    }

    // The data of an extension header is not file content: it goes to `raw` with the headers.
    fn extension(&mut self, bytes_max: u64, what: &'static str) -> Result<Vec<u8>, ArchiveError> {
        if self.payload_bytes > bytes_max {
            return Err(ArchiveError::TooLong(what));
        }
        let mut extension = Vec::new();
        while self.payload_bytes > 0 {
            extension.extend_from_slice(self.payload(u64::MAX)?);
        }
        self.raw.extend_from_slice(&extension);
        Ok(extension)
    }

    fn old_gnu_sparse(&mut self, block: &Block, size: &mut i64) -> Result<Vec<RawRegion>, ArchiveError> {
        *size = super::header::number(&block[483..495])?;
        let (mut regions, mut extended) = sparse::old_gnu_header(block)?;
        while extended {
            let block = self.block()?;
            extended = sparse::old_gnu(&block[..505], 21, &mut regions)?;
        }
        Ok(regions)
    }

    fn pax_sparse(
        &mut self,
        entry: &mut Entry,
        records: &mut pax::Records,
        size: &mut i64,
    ) -> Result<Option<Vec<RawRegion>>, ArchiveError> {
        let value = |key: &[u8]| records.get(key).map(Vec::as_slice).unwrap_or_default();
        let map_in_data = match (value(b"GNU.sparse.major"), value(b"GNU.sparse.minor")) {
            (b"0", b"0" | b"1") => false,
            (b"1", b"0") => true,
            (b"", b"") if !value(pax::SPARSE_MAP).is_empty() => false,
            _ => return Ok(None),
        };
        if !value(b"GNU.sparse.name").is_empty() {
            entry.name = value(b"GNU.sparse.name").to_vec();
        }
        let real_size = match value(b"GNU.sparse.size") {
            b"" => value(b"GNU.sparse.realsize"),
            size => size,
        };
        if !real_size.is_empty() {
            *size = pax::decimal(real_size).ok_or(ArchiveError::Header("a sparse size is no number"))?;
        }
        if !map_in_data {
            return sparse::from_records(records).map(Some);
        }
        let mut lines = sparse::Lines::default();
        let mut map_bytes = 0;
        loop {
            if self.payload_bytes < BLOCK_BYTES as u64 {
                return Err(ArchiveError::Truncated);
            }
            map_bytes += BLOCK_BYTES as u64;
            if map_bytes > PAX_BYTES_MAX {
                return Err(ArchiveError::TooLong("sparse map"));
            }
            let block = self.block()?;
            self.payload_bytes -= BLOCK_BYTES as u64;
            if let Some(regions) = lines.push(&block)? {
                return Ok(Some(regions));
            }
        }
    }
}

fn entry(fields: Fields) -> Entry {
    Entry {
        name: fields.name,
        link_name: fields.link_name,
        type_byte: fields.type_byte,
        mode: fields.mode,
        uid: fields.uid,
        gid: fields.gid,
        size_bytes: u64::try_from(fields.size_bytes).unwrap_or(0),
        mtime: fields.mtime,
        atime: fields.atime,
        device_major: fields.device_major,
        device_minor: fields.device_minor,
        xattrs: Vec::new(),
        sparse: None,
    }
}

// Returns the size that holds; an empty value leaves the header's own in force.
fn apply(entry: &mut Entry, records: &pax::Records) -> Result<i64, ArchiveError> {
    const WRONG: ArchiveError = ArchiveError::Header("a PAX value is no number");
    let number = |value: &[u8]| pax::decimal(value).ok_or(WRONG);
    let mut size = entry.size_bytes.cast_signed();
    for (key, value) in records.iter().filter(|(_, value)| !value.is_empty()) {
        match key.as_slice() {
            b"path" => entry.name.clone_from(value),
            b"linkpath" => entry.link_name.clone_from(value),
            b"uid" => entry.uid = number(value)?,
            b"gid" => entry.gid = number(value)?,
            b"mtime" => entry.mtime = pax::timestamp(value).ok_or(WRONG)?,
            b"atime" => entry.atime = Some(pax::timestamp(value).ok_or(WRONG)?),
            b"ctime" => drop(pax::timestamp(value).ok_or(WRONG)?),
            b"size" => size = number(value)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    entry.xattrs.push((name.to_vec(), value.clone()));
                }
            }
        }
    }
    entry.xattrs.sort();
    Ok(size)
}

/// Tells whether `prefix` begins with a header block whose checksum is right.
pub(crate) fn starts_with_header(prefix: &[u8]) -> bool {
    prefix.first_chunk::<BLOCK_BYTES>().is_some_and(|block| dialect(block).is_some() && block[0] != 0)
}
