//! Where the members of an archive stand: its headers are read, its contents are passed over.
//!
//! Only for the archive around images. What is in a layer is read by `shale_rootfs`, which knows far more about tar.

use std::collections::HashMap;
use std::io;

const BLOCK_BYTES: usize = 512;
/// An image has at most 125 layers of three members each, so even archives of many images stay far below.
const MEMBERS_MAX: usize = 1 << 18;
/// All names together, which stay in memory.
const NAMES_BYTES_MAX: usize = 32 << 20;
/// One extension header: a long name or PAX records.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;

/// Where the blocks of an archive come from, in order.
pub(super) trait Blocks {
    /// Fills `buffer`, less only where the archive ends, and returns how many bytes there were.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Passes over `bytes`; returns whether they were all there.
    fn skip(&mut self, bytes: u64) -> io::Result<bool>;

    /// Returns where the next byte stands in the file that will be read from.
    fn position(&self) -> u64;
}

/// Why bytes are not an archive that can be read from.
#[derive(Debug, thiserror::Error)]
pub enum TarIndexError {
    /// The input failed, or a decoder found it damaged.
    #[error("could not read the archive")]
    Read(#[source] io::Error),
    /// Not an archive at all, or a damaged one. The message is Docker's.
    #[error("archive/tar: invalid tar header")]
    Header,
    /// The archive ends within a header or a content.
    #[error("unexpected EOF")]
    Truncated,
    /// A member that an extracting program would write elsewhere.
    #[error("the archive has a member {0:?}, which leads out of it")]
    Escape(String),
    /// More members or longer names than any archive of images has.
    #[error("the archive has too many members")]
    TooManyMembers,
    /// A long name or a PAX header that is longer than any honest one.
    #[error("the archive has an extension header of {0} bytes")]
    ExtensionTooLong(u64),
}

/// What stands in an archive under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Member {
    /// A content of `bytes` bytes at `position`.
    File { position: u64, bytes: u64 },
    /// Another name of the archive, already seen from its root.
    Link(Vec<u8>),
    /// A link out of the archive.
    OutwardLink,
    /// A directory, a device, a FIFO, a sparse file: nothing to read.
    Other,
}

/// The members of an archive by their cleaned names; of several with one name the last counts, as for who extracts.
pub(crate) type TarIndex = HashMap<Vec<u8>, Member>;

/// Reads all headers.
pub(super) fn read_index(blocks: &mut dyn Blocks) -> Result<TarIndex, TarIndexError> {
    let mut index = TarIndex::new();
    let mut names_bytes = 0;
    let mut extensions = Extensions::default();
    while let Some(block) = next_header(blocks, index.is_empty())? {
        let size = number(&block[124..136]).ok_or(TarIndexError::Header)?;
        let type_byte = block[156];
        match type_byte {
            b'x' | b'L' | b'K' => {
                let extension = read_extension(blocks, size)?;
                extensions.add(type_byte, &extension)?;
                continue;
            }
            b'g' => {
                skip_content(blocks, size)?;
                continue;
            }
            _ => {}
        }
        let Extensions { path, link, size: long_size, is_sparse } = std::mem::take(&mut extensions);
        let size = long_size.unwrap_or(size);
        let written = path.unwrap_or_else(|| header_name(&block));
        let link = link.unwrap_or_else(|| text(&block[157..257]).to_vec());
        let name = clean(&written).ok_or_else(|| escape(&written))?;
        let is_directory = written.ends_with(b"/");
        let member = match type_byte {
            // A hard link names a member from the root of the archive, a symbolic link from its own directory.
            b'1' => clean(&link).map_or(Member::OutwardLink, Member::Link),
            b'2' => beside(&name, &link).map_or(Member::OutwardLink, Member::Link),
            b'3'..=b'6' => Member::Other,
            b'0' | b'7' | 0 if is_sparse || is_directory => {
                skip_content(blocks, size)?;
                Member::Other
            }
            b'0' | b'7' | 0 => {
                let position = blocks.position();
                skip_content(blocks, size)?;
                Member::File { position, bytes: size }
            }
            _ => {
                skip_content(blocks, size)?;
                Member::Other
            }
        };
        names_bytes += name.len() + if let Member::Link(target) = &member { target.len() } else { 0 };
        index.insert(name, member);
        if index.len() > MEMBERS_MAX || names_bytes > NAMES_BYTES_MAX {
            return Err(TarIndexError::TooManyMembers);
        }
    }
    Ok(index)
}

/// Returns `path` without empty parts and dots; nothing where it leads out, whichever way it is joined.
pub(super) fn clean(path: &[u8]) -> Option<Vec<u8>> {
    join(Vec::new(), path)
}

/// Returns `target` as seen from the root, for a link at `name`; an absolute one is a path of the machine.
fn beside(name: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if target.starts_with(b"/") {
        return None;
    }
    let directory = name.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |slash| &name[..slash]);
    join(directory.to_vec(), target)
}

fn join(base: Vec<u8>, path: &[u8]) -> Option<Vec<u8>> {
    let mut joined = base;
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if joined.is_empty() => return None,
            b".." => joined.truncate(joined.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            part => {
                if !joined.is_empty() {
                    joined.push(b'/');
                }
                joined.extend_from_slice(part);
            }
        }
    }
    Some(joined)
}

fn escape(name: &[u8]) -> TarIndexError {
    TarIndexError::Escape(String::from_utf8_lossy(name).into_owned())
}

/// What extension headers say about the member that follows them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

impl Extensions {
    fn add(&mut self, type_byte: u8, content: &[u8]) -> Result<(), TarIndexError> {
        match type_byte {
            b'L' => self.path = Some(text(content).to_vec()),
            b'K' => self.link = Some(text(content).to_vec()),
            _ => self.add_records(content)?,
        }
        Ok(())
    }

    fn add_records(&mut self, mut rest: &[u8]) -> Result<(), TarIndexError> {
        let invalid = || TarIndexError::Header;
        while !rest.is_empty() {
            let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(invalid)?;
            let length = decimal(&rest[..space]).ok_or_else(invalid)?;
            let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
            let (record, after) = rest.split_at(length.ok_or_else(invalid)?);
            let record = record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n"));
            let record = record.ok_or_else(invalid)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(invalid)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" if !value.is_empty() => self.path = Some(value.to_vec()),
                b"linkpath" if !value.is_empty() => self.link = Some(value.to_vec()),
                b"size" if !value.is_empty() => self.size = Some(decimal(value).ok_or_else(invalid)?),
                key if key.starts_with(b"GNU.sparse.") => self.is_sparse = true,
                _ => {}
            }
            rest = after;
        }
        Ok(())
    }
}

/// Returns the next header; nothing where the archive ends: after a zero block, or with the input.
fn next_header(blocks: &mut dyn Blocks, is_first: bool) -> Result<Option<[u8; BLOCK_BYTES]>, TarIndexError> {
    let mut block = [0; BLOCK_BYTES];
    match blocks.read(&mut block).map_err(TarIndexError::Read)? {
        0 if is_first => return Err(TarIndexError::Truncated),
        0 => return Ok(None),
        BLOCK_BYTES => {}
        // What is shorter than a header and stands alone was never an archive.
        _ if is_first => return Err(TarIndexError::Header),
        _ => return Err(TarIndexError::Truncated),
    }
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let stated = octal(&block[148..156]).ok_or(TarIndexError::Header)?;
    let sum = |byte: (usize, &u8)| if (148..156).contains(&byte.0) { 0x20 } else { u64::from(*byte.1) };
    if block.iter().enumerate().map(sum).sum::<u64>() != stated {
        return Err(TarIndexError::Header);
    }
    Ok(Some(block))
}

fn read_extension(blocks: &mut dyn Blocks, size: u64) -> Result<Vec<u8>, TarIndexError> {
    if size > EXTENSION_BYTES_MAX {
        return Err(TarIndexError::ExtensionTooLong(size));
    }
    let mut content = vec![0; size as usize];
    if blocks.read(&mut content).map_err(TarIndexError::Read)? < content.len() {
        return Err(TarIndexError::Truncated);
    }
    skip_padding(blocks, size)?;
    Ok(content)
}

fn skip_content(blocks: &mut dyn Blocks, size: u64) -> Result<(), TarIndexError> {
    match blocks.skip(size).map_err(TarIndexError::Read)? {
        true => skip_padding(blocks, size),
        false => Err(TarIndexError::Truncated),
    }
}

// An archive may end within the padding of its last content; the next header then finds the end.
fn skip_padding(blocks: &mut dyn Blocks, size: u64) -> Result<(), TarIndexError> {
    blocks.skip(size.wrapping_neg() % BLOCK_BYTES as u64).map(drop).map_err(TarIndexError::Read)
}

fn header_name(block: &[u8; BLOCK_BYTES]) -> Vec<u8> {
    let name = text(&block[..100]);
    // GNU headers keep other things where ustar has the prefix.
    match &block[257..263] {
        b"ustar\0" if block[345] != 0 => [text(&block[345..500]), b"/", name].concat(),
        _ => name.to_vec(),
    }
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Reads a size: octal digits, or GNU's base 256 for large ones; never negative, never beyond 2^62.
fn number(field: &[u8]) -> Option<u64> {
    let value = match field.first()? {
        first if first & 0x80 == 0 => octal(field)?,
        first if first & 0x40 != 0 => return None,
        first => field[1..].iter().try_fold(u64::from(first & 0x3f), |value, byte| {
            (value >> 56 == 0).then_some(value << 8 | u64::from(*byte))
        })?,
    };
    (value >> 62 == 0).then_some(value)
}

fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii_start();
    let digits = &digits[..digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len())];
    digits.iter().try_fold(0_u64, |value, digit| {
        (matches!(digit, b'0'..=b'7') && value >> 60 == 0).then(|| value << 3 | u64::from(digit - b'0'))
    })
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then_some(())?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|value: &u64| value >> 62 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shale_rootfs::{TarEntry, TarWriter};
    use shale_testkit::image::LayerBuilder;

    struct Bytes<'a>(&'a [u8], usize);

    impl Blocks for Bytes<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.0.len() - self.1);
            buffer[..length].copy_from_slice(&self.0[self.1..self.1 + length]);
            self.1 += length;
            Ok(length)
        }

        fn skip(&mut self, bytes: u64) -> io::Result<bool> {
            let length = (bytes as usize).min(self.0.len() - self.1);
            self.1 += length;
            Ok(length as u64 == bytes)
        }

        fn position(&self) -> u64 {
            self.1 as u64
        }
    }

    fn index(archive: &[u8]) -> Result<TarIndex, TarIndexError> {
        read_index(&mut Bytes(archive, 0))
    }

    #[track_caller]
    fn content<'a>(archive: &'a [u8], name: &str) -> &'a [u8] {
        match index(archive).unwrap().get(name.as_bytes()) {
            Some(Member::File { position, bytes }) => {
                &archive[*position as usize..(*position + *bytes) as usize]
            }
            other => panic!("{name} is {other:?}"),
        }
    }

    #[test]
    fn contents_stand_where_the_index_says() {
        let archive = LayerBuilder::new()
            .file("./manifest.json", 0o644, b"[]")
            .directory("blobs", 0o755)
            .file("blobs/sha256/aa", 0o644, &[7; 1000])
            .file("manifest.json", 0o644, b"[1]")
            .tar();
        assert_eq!(content(&archive, "blobs/sha256/aa"), [7; 1000]);
        assert_eq!(content(&archive, "manifest.json"), b"[1]", "the last of one name counts");
        assert_eq!(index(&archive).unwrap()[&b"blobs"[..]], Member::Other);
    }

    #[test]
    fn long_names_are_read_from_pax_headers() {
        let name = format!("{}/ä{}", "d".repeat(200), "n".repeat(120));
        let mut archive = Vec::new();
        let mut writer = TarWriter::new(&mut archive);
        writer.header(&TarEntry::file(name.as_bytes(), 3, -1)).unwrap();
        writer.content(b"abc").unwrap();
        writer.finish().unwrap();
        assert_eq!(content(&archive, &name), b"abc");
    }

    #[test]
    fn links_are_followed_only_inside() {
        let archive = LayerBuilder::new()
            .symlink("a/layer.tar", "../b/./layer.tar")
            .symlink("out", "../b")
            .symlink("absolute", "/b")
            .hard_link("c/layer.tar", "b/layer.tar")
            .tar();
        let index = index(&archive).unwrap();
        assert_eq!(index[&b"a/layer.tar"[..]], Member::Link(b"b/layer.tar".to_vec()));
        assert_eq!(index[&b"c/layer.tar"[..]], Member::Link(b"b/layer.tar".to_vec()));
        assert_eq!(index[&b"out"[..]], Member::OutwardLink);
        assert_eq!(index[&b"absolute"[..]], Member::OutwardLink);
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        assert!(matches!(index(b""), Err(TarIndexError::Truncated)));
        assert!(matches!(index(b"this is not a tar"), Err(TarIndexError::Header)));
        assert!(matches!(index(&[b'x'; 4096]), Err(TarIndexError::Header)));
        let archive = LayerBuilder::new().file("a", 0o644, &[0; 5000]).tar();
        assert!(matches!(index(&archive[..4000]), Err(TarIndexError::Truncated)));
        let escaping = LayerBuilder::new().file("a/../../b", 0o644, b"").tar();
        assert!(matches!(index(&escaping), Err(TarIndexError::Escape(_))));
        assert_eq!(index(&[0; 1024]).unwrap().len(), 0);
    }

    #[test]
    fn damage_is_an_error_or_another_index_and_never_a_panic() {
        let archive = LayerBuilder::new()
            .entry("h", b'x', 0o644, "", b"15 path=abc/def\n14 size=00010\n")
            .file("a", 0o644, b"content")
            .entry("long", b'L', 0o644, "", b"a/long/name\0")
            .symlink("l", "a")
            .tar();
        for at in 0..archive.len() {
            for bit in [0x01, 0x80, 0xff] {
                let mut damaged = archive.clone();
                damaged[at] ^= bit;
                // The checksum is made right again, so that the fields behind it are read.
                let start = at / BLOCK_BYTES * BLOCK_BYTES;
                let block = &mut damaged[start..start + BLOCK_BYTES];
                let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum::<u64>()
                    - block[148..156].iter().map(|byte| u64::from(*byte)).sum::<u64>()
                    + 8 * 0x20;
                if !(148..156).contains(&(at % BLOCK_BYTES)) && block[257..262] == *b"ustar" {
                    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
                for member in index(&damaged).unwrap_or_default().into_values() {
                    if let Member::File { position, bytes } = member {
                        assert!(position + bytes <= damaged.len() as u64);
                    }
                }
                let _ = index(&damaged[..at]);
            }
        }
    }

    #[test]
    fn sizes_are_octal_or_base_256() {
        assert_eq!(number(b"00000000017\0"), Some(15));
        assert_eq!(number(b"        17 \0"), Some(15));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1]), Some((2 << 32) + 1));
        assert_eq!(number(&[0xff; 12]), None, "negative");
        assert_eq!(number(b"0000000009\0\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0]), None, "beyond 2^62");
    }
}
