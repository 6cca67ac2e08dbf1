//! Makes a layer's tar again, or checks that it could be made.

use std::io::{self, Read, Write};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;
use shale_oci::DiffId;

use super::Checksum;
use super::entries::{EntriesError, EntryKind, WhiteoutKind, entries};
use super::read::{LineError, Record, Records};
use crate::directory::{Directories, Rootfs};
use crate::hashing::HashedOutput;
use crate::name::{self, EntryName, split};

/// What [`assemble`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assembled {
    /// Digest of what was written; the caller compares it with the layer's.
    pub diff_id: DiffId,
    /// Length of what was written.
    pub tar_bytes: u64,
}

/// Why the tar was not made; part of it was written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message says what each field is")]
pub enum AssembleError {
    /// tar-split is damaged.
    #[error(transparent)]
    TarSplit(#[from] LineError),
    /// A file in the layer is not the one that the tar had.
    #[error(transparent)]
    File(Fault),
    /// The layer's directory cannot be used.
    #[error("could not open the layer")]
    Root(#[source] io::Error),
    /// The receiver failed.
    #[error("could not write the tar")]
    Write(#[source] io::Error),
}

/// A file of a layer that is not as it was.
#[derive(Debug, thiserror::Error)]
#[error("{kind} for {name:?}")]
pub struct Fault {
    /// The name in the tar.
    pub name: EntryName,
    /// What is wrong with it.
    #[source]
    pub kind: FaultKind,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message says what each field is")]
pub enum FaultKind {
    /// It is not there, or its name leads out of the layer.
    #[error("no such file or directory")]
    Missing,
    /// Something else has its name.
    #[error("wrong file type")]
    Type,
    /// It is shorter or longer than it was.
    #[error("file size {found} instead of {expected}")]
    Size { expected: u64, found: u64 },
    /// Its content changed.
    #[error("file integrity checksum failed")]
    Checksum,
    /// The disk failed.
    #[error("read error")]
    Unreadable(#[source] io::Error),
}

/// Writes the tar that `tar_split` (uncompressed lines) and the files below `root` make; returns its digest.
///
/// # Errors
/// [`AssembleError`]; the receiver throws away what it got.
pub fn assemble(
    tar_split: &mut dyn Read,
    root: &Rootfs,
    out: &mut dyn Write,
) -> Result<Assembled, AssembleError> {
    let mut faults = Vec::new();
    let assembled = run(tar_split, root, out, &mut faults, 1)?;
    match faults.pop() {
        Some(fault) => Err(AssembleError::File(fault)),
        None => Ok(assembled),
    }
}

/// Reads every file that `tar_split` names and reports those that changed; `Ok` holds what [`assemble`] would return
/// when there are none.
///
/// # Errors
/// As [`assemble`], but for [`AssembleError::File`].
pub fn verify(
    tar_split: &mut dyn Read,
    root: &Rootfs,
) -> Result<Result<Assembled, Vec<Fault>>, AssembleError> {
    let mut faults = Vec::new();
    let assembled = run(tar_split, root, &mut io::sink(), &mut faults, usize::MAX)?;
    Ok(if faults.is_empty() { Ok(assembled) } else { Err(faults) })
}

/// Compares type and length of every entry with what is below `root`, without reading content.
///
/// # Errors
/// [`EntriesError`] when tar-split is damaged; what differs in the tree is in the list.
pub fn quick_check(tar_split: &mut dyn Read, root: &Rootfs) -> Result<Vec<Fault>, EntriesError> {
    let mut directories =
        Directories::new(root).map_err(|error| EntriesError::Line(LineError::Read(error)))?;
    let mut faults = Vec::new();
    let mut cleaned = Vec::new();
    for entry in entries(tar_split) {
        let entry = entry?;
        if name::clean(entry.name.as_bytes(), &mut cleaned).is_err() {
            faults.push(Fault { name: entry.name, kind: FaultKind::Missing });
            continue;
        }
        if cleaned.is_empty() {
            continue;
        }
        let (path, base) = split(&cleaned);
        let (base, expected) = match (&entry.whiteout, entry.kind) {
            (Some(WhiteoutKind::Opaque), _) => continue,
            (Some(WhiteoutKind::Removed), _) => (&base[".wh.".len()..], FileType::CharacterDevice),
            (None, EntryKind::Directory) => (base, FileType::Directory),
            (None, EntryKind::Symlink) => (base, FileType::Symlink),
            (None, EntryKind::CharacterDevice) => (base, FileType::CharacterDevice),
            (None, EntryKind::BlockDevice) => (base, FileType::BlockDevice),
            (None, EntryKind::Fifo) => (base, FileType::Fifo),
            (None, EntryKind::File | EntryKind::HardLink) => (base, FileType::RegularFile),
        };
        let stat =
            directories.find(path).and_then(|parent| Ok(statat(&parent, base, AtFlags::SYMLINK_NOFOLLOW)?));
        let kind = match stat {
            Err(error) => missing_or_unreadable(error),
            Ok(stat) => {
                let found = FileType::from_raw_mode(stat.st_mode);
                let found_bytes = stat.st_size.unsigned_abs();
                match entry.kind {
                    EntryKind::HardLink if entry.whiteout.is_none() => {
                        if found != FileType::Directory {
                            continue;
                        }
                        FaultKind::Type
                    }
                    _ if found != expected => FaultKind::Type,
                    EntryKind::File if entry.whiteout.is_none() && found_bytes != entry.size_bytes => {
                        FaultKind::Size { expected: entry.size_bytes, found: found_bytes }
                    }
                    _ => continue,
                }
            }
        };
        faults.push(Fault { name: entry.name, kind });
    }
    Ok(faults)
}

fn run(
    tar_split: &mut dyn Read,
    root: &Rootfs,
    out: &mut dyn Write,
    faults: &mut Vec<Fault>,
    faults_max: usize,
) -> Result<Assembled, AssembleError> {
    let mut records = Records::new(tar_split);
    let mut files =
        Files { directories: Directories::new(root).map_err(AssembleError::Root)?, cleaned: Vec::new() };
    let mut output = HashedOutput::new(out);
    while faults.len() < faults_max
        && let Some(record) = records.next()?
    {
        match record {
            Record::Segment(bytes) => output.write(bytes).map_err(AssembleError::Write)?,
            Record::File { size_bytes: 0, .. } => {}
            Record::File { name, size_bytes, checksum } => {
                match files.copy(name, size_bytes, checksum, &mut output) {
                    Ok(()) => {}
                    Err(CopyError::Write(error)) => return Err(AssembleError::Write(error)),
                    Err(CopyError::Fault(kind)) => faults.push(Fault { name: EntryName::new(name), kind }),
                }
            }
        }
    }
    let (diff_id, tar_bytes) = output.finish().map_err(AssembleError::Write)?;
    Ok(Assembled { diff_id, tar_bytes })
}

struct Files<'r> {
    directories: Directories<'r>,
    cleaned: Vec<u8>,
}

enum CopyError {
    Fault(FaultKind),
    Write(io::Error),
}

impl Files<'_> {
    fn copy(
        &mut self,
        name: &[u8],
        size_bytes: u64,
        expected: [u8; 8],
        output: &mut HashedOutput<'_>,
    ) -> Result<(), CopyError> {
        let fault = |error| CopyError::Fault(missing_or_unreadable(error));
        name::clean(name, &mut self.cleaned).map_err(|_| CopyError::Fault(FaultKind::Missing))?;
        let (path, base) = split(&self.cleaned);
        let parent = self.directories.find(path).map_err(fault)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(&parent, base, flags, Mode::empty()) {
            Err(Errno::LOOP | Errno::NXIO) => return Err(CopyError::Fault(FaultKind::Type)),
            result => result.map_err(|errno| fault(errno.into()))?,
        };
        let stat = fstat(&file).map_err(|errno| fault(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(CopyError::Fault(FaultKind::Type));
        }
        let found = stat.st_size.unsigned_abs();
        if found != size_bytes {
            return Err(CopyError::Fault(FaultKind::Size { expected: size_bytes, found }));
        }
        let mut checksum = Checksum::new();
        let mut left = size_bytes;
        while left > 0 {
            let space = output.space().map_err(CopyError::Write)?;
            let length = space.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match rustix::io::read(&file, &mut space[..length]) {
                Ok(0) => {
                    let found = size_bytes - left;
                    return Err(CopyError::Fault(FaultKind::Size { expected: size_bytes, found }));
                }
                Ok(read) => {
                    checksum.update(&space[..read]);
                    output.advance(read);
                    left -= read as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(fault(errno.into())),
            }
        }
        if checksum.finish() != expected {
            return Err(CopyError::Fault(FaultKind::Checksum));
        }
        Ok(())
    }
}

fn missing_or_unreadable(error: io::Error) -> FaultKind {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FaultKind::Missing,
        _ => FaultKind::Unreadable(error),
    }
}
