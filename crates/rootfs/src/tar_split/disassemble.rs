//! tar-split of a tar whose files are somewhere else already.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;

use super::{Assembled, Checksum, SplitWriter};
use crate::hashing::HashedInput;
use crate::tar::{ArchiveError, Reader, Source as _};

/// Why [`disassemble`] stopped.
#[derive(Debug, thiserror::Error)]
pub enum DisassembleError {
    /// The tar is damaged, or its stream failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The receiver failed.
    #[error("could not write tar-split")]
    Write(#[source] io::Error),
}

/// Reads the uncompressed `tar` to its end and writes its tar-split, uncompressed; returns the digest of the tar.
///
/// Nothing is unpacked and no name is judged; sparse files are kept whole in tar-split.
///
/// # Errors
/// [`DisassembleError`]; part of the lines was written.
pub fn disassemble(tar: &mut dyn Read, tar_split: &mut dyn Write) -> Result<Assembled, DisassembleError> {
    let mut reader = Reader::new(HashedInput::new(tar, u64::MAX, &|_| ControlFlow::Continue(())));
    let mut split = SplitWriter::new(tar_split);
    let write = DisassembleError::Write;
    while let Some(entry) = reader.next()? {
        split.segment(&reader.raw).map_err(write)?;
        reader.raw.clear();
        if entry.type_byte == b'g' {
            continue;
        }
        let mut checksum = Checksum::new();
        let stored_bytes = reader.payload_bytes();
        while reader.payload_bytes() > 0 {
            let bytes = reader.payload(u64::MAX)?;
            match entry.sparse {
                Some(_) => split.segment(bytes).map_err(write)?,
                None => checksum.update(bytes),
            }
        }
        let content = (entry.sparse.is_none() && stored_bytes > 0).then(|| (stored_bytes, checksum.finish()));
        split.file(&entry.name, content).map_err(write)?;
    }
    split.segment(&reader.raw).map_err(write)?;
    loop {
        let rest = reader.source.take(u64::MAX).map_err(ArchiveError::Read)?;
        if rest.is_empty() {
            break;
        }
        split.segment(rest).map_err(write)?;
    }
    split.finish().map_err(write)?;
    let tar_bytes = reader.source.read_bytes();
    Ok(Assembled { diff_id: reader.source.finish(), tar_bytes })
}
