//! Maps of sparse files: where the stored bytes of an entry belong in the file.

use super::header::{Block, number};
use super::{ArchiveError, pax};

/// A cap that no real sparse file comes near, because each region costs memory before the file is seen.
pub(crate) const REGIONS_MAX: usize = 100_000;

/// `length_bytes` stored bytes that belong at `offset_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub offset_bytes: u64,
    pub length_bytes: u64,
}

pub(crate) type RawRegion = (i64, i64);

const BAD_MAP: ArchiveError = ArchiveError::Header("the sparse map is malformed");

/// Adds the regions of an old GNU header or extension block; tells whether an extension block follows.
pub(crate) fn old_gnu(
    block: &[u8],
    entries: usize,
    regions: &mut Vec<RawRegion>,
) -> Result<bool, ArchiveError> {
    for entry in block.chunks_exact(24).take(entries) {
        if entry[0] == 0 {
            break;
        }
        if regions.len() == REGIONS_MAX {
            return Err(ArchiveError::TooLong("sparse map"));
        }
        regions.push((number(&entry[..12])?, number(&entry[12..24])?));
    }
    Ok(block[24 * entries] != 0)
}

/// Returns the regions of the old GNU header itself, and whether an extension block follows.
pub(crate) fn old_gnu_header(block: &Block) -> Result<(Vec<RawRegion>, bool), ArchiveError> {
    let mut regions = Vec::new();
    let extended = old_gnu(&block[386..483], 4, &mut regions)?;
    Ok((regions, extended))
}

/// Reads the map that formats 0.0 and 0.1 keep in PAX records.
pub(crate) fn from_records(records: &pax::Records) -> Result<Vec<RawRegion>, ArchiveError> {
    let count =
        records.get(&b"GNU.sparse.numblocks"[..]).and_then(|count| pax::decimal(count)).ok_or(BAD_MAP)?;
    let count = usize::try_from(count).map_err(|_| BAD_MAP)?;
    if count > REGIONS_MAX {
        return Err(ArchiveError::TooLong("sparse map"));
    }
    let map = records.get(pax::SPARSE_MAP).map(Vec::as_slice).unwrap_or_default();
    let mut numbers = Vec::with_capacity(2 * count);
    for text in map.split(|byte| *byte == b',').filter(|_| !map.is_empty()) {
        if numbers.len() == 2 * count {
            return Err(BAD_MAP);
        }
        numbers.push(pax::decimal(text).ok_or(BAD_MAP)?);
    }
    if numbers.len() != 2 * count {
        return Err(BAD_MAP);
    }
    Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// The decimal lines of format 1.0, which stand before the data of the entry and fill whole blocks.
#[derive(Default)]
pub(crate) struct Lines {
    current: Vec<u8>,
    count: Option<usize>,
    numbers: Vec<i64>,
}

impl Lines {
    /// Takes the next block; returns the regions when the map is complete. The rest of that block is padding.
    pub fn push(&mut self, block: &Block) -> Result<Option<Vec<RawRegion>>, ArchiveError> {
        for byte in block {
            if *byte != b'\n' {
                self.current.push(*byte);
                if self.current.len() > 32 {
                    return Err(BAD_MAP);
                }
                continue;
            }
            let value = pax::decimal(&self.current).ok_or(BAD_MAP)?;
            self.current.clear();
            match self.count {
                None => {
                    let count = usize::try_from(value).map_err(|_| BAD_MAP)?;
                    if count > REGIONS_MAX {
                        return Err(ArchiveError::TooLong("sparse map"));
                    }
                    self.count = Some(count);
                }
                Some(_) => self.numbers.push(value),
            }
            if self.count.is_some_and(|count| self.numbers.len() == 2 * count) {
                return Ok(Some(self.numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()));
            }
        }
        Ok(None)
    }
}

/// Checks that the regions are in order, inside the file, and together as long as what is stored.
pub(crate) fn validate(
    regions: &[RawRegion],
    size_bytes: u64,
    stored_bytes: u64,
) -> Result<Vec<Region>, ArchiveError> {
    let mut valid = Vec::with_capacity(regions.len());
    let mut end = 0_u64;
    let mut stored = 0_u64;
    for (offset, length) in regions {
        let offset_bytes = u64::try_from(*offset).map_err(|_| BAD_MAP)?;
        let length_bytes = u64::try_from(*length).map_err(|_| BAD_MAP)?;
        if offset_bytes < end || offset_bytes + length_bytes > size_bytes {
            return Err(BAD_MAP);
        }
        end = offset_bytes + length_bytes;
        stored += length_bytes;
        valid.push(Region { offset_bytes, length_bytes });
    }
    if stored != stored_bytes {
        return Err(ArchiveError::Header("the sparse map and the stored bytes differ in length"));
    }
    Ok(valid)
}
