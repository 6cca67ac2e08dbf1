//! Tar archives: read entry for entry as Go's `archive/tar` reads them, written byte for byte as Docker writes them.

mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

use std::io;

pub(crate) use reader::{Reader, Source, starts_with_header};
pub(crate) use sparse::Region;
pub use writer::{TarEntry, TarWriter};
pub(crate) use writer::{encode, padding};

/// Seconds and nanoseconds since 1970; the nanoseconds always count forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

impl Timestamp {
    pub(crate) const fn from_seconds(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanoseconds: 0 }
    }
}

/// Why bytes are not a tar archive that Docker would read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The stream below failed: a socket, a disk, or a decoder that found its input damaged.
    #[error("could not read the archive")]
    Read(#[source] io::Error),
    /// The archive ends inside a header or a payload.
    #[error("unexpected EOF")]
    Truncated,
    /// A header is malformed.
    #[error("invalid tar header: {0}")]
    Header(&'static str),
    /// An extension header is longer than any honest one.
    #[error("the {0} is too long")]
    TooLong(&'static str),
}

/// One entry of an archive, after all extension headers.
#[derive(Debug)]
pub(crate) struct Entry {
    pub name: Vec<u8>,
    pub link_name: Vec<u8>,
    /// `0` file, `1` hard link, `2` symlink, `3` char, `4` block, `5` directory, `6` FIFO, `S` old GNU sparse file,
    /// `g` global header; other values as they are.
    pub type_byte: u8,
    pub mode: i64,
    pub uid: i64,
    pub gid: i64,
    /// Length of the file, holes included; for types without payload whatever the header says.
    pub size_bytes: u64,
    pub mtime: Timestamp,
    pub atime: Option<Timestamp>,
    pub device_major: i64,
    pub device_minor: i64,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Present when only these regions are stored.
    pub sparse: Option<Vec<Region>>,
}

impl Entry {
    /// Tells whether this type has no payload, whatever size its header claims.
    pub fn is_header_only(&self) -> bool {
        is_header_only(self.type_byte)
    }
}

fn is_header_only(type_byte: u8) -> bool {
    matches!(type_byte, b'1'..=b'6')
}
