//! What ADD unpacks: archives, known by their content and not by their name.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use shale_dockerfile::Dialect;
use shale_rootfs::{Compression, decompress};

use crate::tree::{Found, Tree};

const BLOCK_BYTES: usize = 512;

/// Returns the uncompressed bytes of `found` if it is a tar archive, compressed or not.
pub(crate) fn is_archive(tree: &Tree, found: &Found, dialect: Dialect) -> Option<Box<dyn Read + Send>> {
    let mut file = File::from(tree.open_file(&found.path).ok()?);
    let mut prefix = Vec::with_capacity(BLOCK_BYTES);
    Read::take(&mut file, BLOCK_BYTES as u64).read_to_end(&mut prefix).ok()?;
    if Compression::detect(&prefix) == Compression::Zstd && !dialect.unpacks_zstd() {
        return None;
    }
    let mut first = [0; BLOCK_BYTES];
    let again = file.try_clone().ok()?;
    file.seek(SeekFrom::Start(0)).ok()?;
    decompress(Box::new(file)).ok()?.read_exact(&mut first).ok()?;
    if !is_header(&first) {
        return None;
    }
    let mut file = again;
    file.seek(SeekFrom::Start(0)).ok()?;
    decompress(Box::new(file)).ok()
}

/// Whether a block is the header of a tar entry: its checksum holds.
fn is_header(block: &[u8; BLOCK_BYTES]) -> bool {
    let field = block[148..156].split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(field);
    let Ok(expected) = u32::from_str_radix(text.trim(), 8) else { return false };
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { u32::from(b' ') } else { u32::from(*byte) })
        .sum();
    sum == expected
}
