//! Unpacks one layer below a directory and writes its tar-split on the way.

mod limits;
mod paths;
mod place;
mod seen;
mod whiteout;

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, ftruncate, seek};
use shale_oci::DiffId;

use crate::directory::Rootfs;
use crate::early_sync::EarlySync;
use crate::hashing::{HashedInput, Stop};
use crate::name::{self, EntryName};
use crate::tar::{ArchiveError, Entry, Reader};
use crate::tar_split::{Checksum, SplitWriter};

pub use limits::Limits;
use place::{Placed, Placer};
use seen::SeenNames;

/// Content of an entry that has no file to keep it goes into tar-split; more than this is refused.
const EMBEDDED_BYTES_MAX: u64 = 1 << 20;

/// What `.wh.` names become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Whiteouts {
    /// Character devices 0:0 and `trusted.overlay.opaque`, as overlayfs wants them.
    #[default]
    OverlayTrusted,
    /// The same with `user.overlay.opaque`, for overlayfs mounted in a user namespace.
    OverlayUser,
    /// Removals of what earlier layers left in the same tree.
    Apply,
    /// Ordinary files, named as in the archive.
    Literal,
}

/// What happens when the kernel does not let this process give files away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owners {
    /// It is an error.
    #[default]
    Keep,
    /// The files belong to this process; for processes without privileges.
    Ignore,
}

/// What happens to character and block devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Devices {
    /// They are made; that the kernel refuses is an error.
    #[default]
    Create,
    /// They are left out, as Docker does in a user namespace.
    Skip,
}

/// What an entry for the root directory itself does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootEntry {
    /// Nothing, as in Docker.
    #[default]
    Ignore,
    /// It sets mode, owner, times and extended attributes of the root, as the OCI image-spec has it.
    Apply,
}

/// What may be in the place of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replace {
    /// Anything; it goes, unless both are directories.
    #[default]
    Anything,
    /// No directory in the place of something else, and nothing else in the place of a directory: the rule of
    /// `docker cp`.
    SameKind,
}

/// How to unpack.
#[derive(Clone, Copy)]
pub struct Unpack<'a> {
    /// What `.wh.` names become.
    pub whiteouts: Whiteouts,
    /// Whether files must get the owners that the archive names.
    pub owners: Owners,
    /// Whether devices are made.
    pub devices: Devices,
    /// Whether an entry for the root counts.
    pub root_entry: RootEntry,
    /// What an entry may take the place of.
    pub replace: Replace,
    /// Owner and group of every entry, whatever the archive says; `None` keeps the archive's.
    pub owner: Option<(u32, u32)>,
    /// What a layer may cost.
    pub limits: Limits,
    /// What is told of written bytes; for trees that are synced at the end.
    pub early_sync: Option<&'a EarlySync>,
    /// Called after each half mebibyte with the tar bytes read so far; a break stops the work.
    pub progress: &'a dyn Fn(u64) -> ControlFlow<()>,
}

impl Default for Unpack<'_> {
    fn default() -> Self {
        Unpack {
            whiteouts: Whiteouts::default(),
            owners: Owners::default(),
            devices: Devices::default(),
            root_entry: RootEntry::default(),
            replace: Replace::default(),
            owner: None,
            limits: Limits::default(),
            early_sync: None,
            progress: &|_| ControlFlow::Continue(()),
        }
    }
}

/// What [`unpack`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// Digest of every byte of the stream, also of those after the end of the archive.
    pub diff_id: DiffId,
    /// Length of the stream.
    pub tar_bytes: u64,
    /// Docker's `size`: the lengths of all files and links, each inode once.
    pub size_bytes: u64,
    /// Entries of the archive, global headers not counted.
    pub entries: u64,
    /// The layer says that nothing below it shows, with an opaque marker at its root.
    pub root_opaque: bool,
    /// Extended attributes that were left out: instructions to overlayfs, and those that the kernel did not permit.
    pub xattrs_ignored: u64,
    /// Entries whose owner was not set, because of [`Owners::Ignore`].
    pub owners_ignored: u64,
    /// Devices left out because of [`Devices::Skip`].
    pub devices_skipped: u64,
}

/// Why a layer was not unpacked; the caller removes what is already there.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message says what each field is")]
pub enum UnpackError {
    /// The archive is damaged, or the stream it comes from failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A name leads out of the root.
    #[error("{0:?} leads out of the layer")]
    Escape(EntryName),
    /// Two entries have one cleaned name; their tar could not be made again from one file.
    #[error("duplicates of file paths not supported: {0:?}")]
    Duplicate(EntryName),
    /// A type that has no place in a layer.
    #[error("unhandled tar header type {type_byte} of {name:?}")]
    UnsupportedType { name: EntryName, type_byte: u8 },
    /// An owner that is no user or group: negative, or above 4294967294, which the kernel takes for "leave as is".
    #[error("{name:?} has the owner {uid}:{gid}, which cannot exist")]
    Owner { name: EntryName, uid: i64, gid: i64 },
    /// A device number out of range, or 0:0, also by a hard link, which overlayfs takes for a deletion.
    #[error("{name:?} has the device number {major}:{minor}, which no layer may have")]
    DeviceNumber { name: EntryName, major: i64, minor: i64 },
    /// A whiteout of nothing, of a directory itself, or in the middle of a path.
    #[error("{0:?} is no whiteout of a file")]
    Whiteout(EntryName),
    /// An entry for the root that is no directory.
    #[error("the root of a layer is a directory, but {0:?} is an entry of type {1}")]
    Root(EntryName, u8),
    /// Something else than a directory in the place of one; the text is Docker's.
    #[error("cannot overwrite directory {0:?} with non-directory")]
    DirectoryInTheWay(EntryName),
    /// A directory in the place of something else; the text is Docker's.
    #[error("cannot overwrite non-directory {0:?} with directory")]
    NoDirectoryInTheWay(EntryName),
    /// Content where there is no file to keep it.
    #[error("{0:?} is no file, but has content")]
    Content(EntryName),
    /// The layer costs more than [`Limits`] allow.
    #[error("the layer has more than {0}")]
    Limit(LimitReached),
    /// The disk, or the permissions of this process.
    #[error("could not {action} {name:?}")]
    Place { name: EntryName, action: &'static str, source: io::Error },
    /// An extended attribute that the file system does not take; `ENOSPC` says that it does not fit into the inode.
    #[error("could not set {xattr:?} of {name:?}")]
    Xattr { name: EntryName, xattr: EntryName, source: io::Error },
    /// Writing tar-split failed.
    #[error("could not write tar-split")]
    TarSplit(#[source] io::Error),
    /// The progress hook asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// The limit that a layer went beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitReached {
    /// [`Limits::tar_bytes_max`].
    #[error("{0} bytes")]
    TarBytes(u64),
    /// [`Limits::entries_max`].
    #[error("{0} files and directories")]
    Entries(u64),
    /// [`Limits::names_bytes_max`].
    #[error("{0} bytes of directory names")]
    NamesBytes(u64),
    /// [`Limits::depth_max`].
    #[error("{0} nested directories")]
    Depth(usize),
    /// [`Limits::expanded_bytes_max`].
    #[error("{0} bytes of file for so few bytes of tar")]
    ExpandedBytes(u64),
}

/// Unpacks the uncompressed `tar` below `root`, reads it to its end, and writes its tar-split, uncompressed.
///
/// Order of entries, replacement of what is there, owners, modes and times are Docker's; where Docker obeys a hostile
/// layer, this refuses it. `root` is private to the caller until this returns.
///
/// # Errors
/// [`UnpackError`]; part of the layer may be below `root` and part of the lines in `tar_split`.
///
/// Source: moby `pkg/archive` at v20.10.24 and v28.5.2, observed 2026-11-21.
pub fn unpack(
    root: &Rootfs,
    tar: &mut dyn Read,
    tar_split: &mut dyn Write,
    options: &Unpack<'_>,
) -> Result<Unpacked, UnpackError> {
    let input = HashedInput::new(tar, options.limits.tar_bytes_max, options.progress);
    let mut layer = Layer {
        reader: Reader::new(input),
        split: SplitWriter::new(tar_split),
        placer: Placer::new(root, options)?,
        seen: SeenNames::default(),
        cleaned: Vec::new(),
        expanded_bytes: 0,
        entries: 0,
        options,
    };
    match layer.run() {
        Ok(()) => layer.finish(),
        Err(error) => Err(match layer.reader.source.stop {
            Some(Stop::Cancelled) => UnpackError::Cancelled,
            Some(Stop::TooLong) => UnpackError::Limit(LimitReached::TarBytes(options.limits.tar_bytes_max)),
            None => error,
        }),
    }
}

struct Layer<'a> {
    reader: Reader<HashedInput<'a>>,
    split: SplitWriter<'a>,
    placer: Placer<'a>,
    seen: SeenNames,
    cleaned: Vec<u8>,
    expanded_bytes: u64,
    entries: u64,
    options: &'a Unpack<'a>,
}

impl Layer<'_> {
    fn run(&mut self) -> Result<(), UnpackError> {
        while let Some(entry) = self.reader.next()? {
            match entry.type_byte {
                b'g' => self.global(&entry)?,
                _ => self.entry(&entry)?,
            }
        }
        self.flush_raw()?;
        // Read the tar to its end: what follows the archive counts for the diff ID and must come out again.
        loop {
            let rest =
                crate::tar::Source::take(&mut self.reader.source, u64::MAX).map_err(ArchiveError::Read)?;
            if rest.is_empty() {
                break;
            }
            self.split.segment(rest).map_err(UnpackError::TarSplit)?;
        }
        self.placer.finish_directories()
    }

    fn finish(self) -> Result<Unpacked, UnpackError> {
        let tar_bytes = self.reader.source.read_bytes();
        let placed = self.placer.finish()?;
        self.split.finish().map_err(UnpackError::TarSplit)?;
        Ok(Unpacked {
            diff_id: self.reader.source.finish(),
            tar_bytes,
            size_bytes: placed.size_bytes,
            entries: self.entries,
            root_opaque: placed.root_opaque,
            xattrs_ignored: placed.xattrs_ignored,
            owners_ignored: placed.owners_ignored,
            devices_skipped: placed.devices_skipped,
        })
    }

    // Docker ignores global headers, but its tar-split names them; a second of that name would be a duplicate there.
    fn global(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        self.flush_raw()?;
        if name::clean(&entry.name, &mut self.cleaned).is_ok() && self.seen.insert(&self.cleaned) {
            self.split.file(&entry.name, None).map_err(UnpackError::TarSplit)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        self.check(entry)?;
        let placed = self.placer.place(entry, &self.cleaned)?;
        self.check_placed()?;
        match placed {
            Placed::File(file) => {
                let content = self.content(entry, &file)?;
                self.placer.finish_file(entry, &file)?;
                self.split.file(&entry.name, content).map_err(UnpackError::TarSplit)
            }
            Placed::Done => {
                self.embed(entry)?;
                self.split.file(&entry.name, None).map_err(UnpackError::TarSplit)
            }
        }
    }

    fn check(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        let limits = &self.options.limits;
        let limit = |reached| Err(UnpackError::Limit(reached));
        self.entries += 1;
        name::clean(&entry.name, &mut self.cleaned)
            .map_err(|_| UnpackError::Escape(EntryName::new(&entry.name)))?;
        if self.cleaned.iter().filter(|byte| **byte == b'/').count() >= limits.depth_max {
            return limit(LimitReached::Depth(limits.depth_max));
        }
        if !self.seen.insert(&self.cleaned) {
            return Err(UnpackError::Duplicate(EntryName::new(&entry.name)));
        }
        if !entry.is_header_only() {
            self.expanded_bytes = self.expanded_bytes.saturating_add(entry.size_bytes);
            let stored = self.reader.source.read_bytes().saturating_add(self.reader.payload_bytes());
            let max = limits.expanded_bytes_max(stored);
            if entry.sparse.is_some() && self.expanded_bytes > max {
                return limit(LimitReached::ExpandedBytes(max));
            }
        }
        Ok(())
    }

    // One entry adds no more than the directories of one path, so that this is soon enough.
    fn check_placed(&self) -> Result<(), UnpackError> {
        let Limits { entries_max, names_bytes_max, .. } = self.options.limits;
        let limit = |reached| Err(UnpackError::Limit(reached));
        if self.entries.saturating_add(self.placer.directories_made()) > entries_max {
            return limit(LimitReached::Entries(entries_max));
        }
        if self.placer.names_bytes() > names_bytes_max {
            return limit(LimitReached::NamesBytes(names_bytes_max));
        }
        Ok(())
    }

    fn flush_raw(&mut self) -> Result<(), UnpackError> {
        self.split.segment(&self.reader.raw).map_err(UnpackError::TarSplit)?;
        self.reader.raw.clear();
        Ok(())
    }

    // Returns what tar-split says of the content, `None` when the content itself went into tar-split.
    fn content(&mut self, entry: &Entry, file: &OwnedFd) -> Result<Option<(u64, [u8; 8])>, UnpackError> {
        self.flush_raw()?;
        let failed = |source| place_error(entry, "write", source);
        if let Some(regions) = &entry.sparse {
            // What is stored is not what the file holds, so tar-split keeps the stored bytes.
            for region in regions {
                seek(file, SeekFrom::Start(region.offset_bytes)).map_err(|errno| failed(errno.into()))?;
                let mut left = region.length_bytes;
                while left > 0 {
                    let bytes = self.reader.payload(left)?;
                    left -= bytes.len() as u64;
                    write_all(file, bytes).map_err(failed)?;
                    self.split.segment(bytes).map_err(UnpackError::TarSplit)?;
                }
            }
            ftruncate(file, entry.size_bytes).map_err(|errno| failed(errno.into()))?;
            return Ok(None);
        }
        if entry.size_bytes == 0 {
            return Ok(None);
        }
        let mut checksum = Checksum::new();
        while self.reader.payload_bytes() > 0 {
            let bytes = self.reader.payload(u64::MAX)?;
            checksum.update(bytes);
            write_all(file, bytes).map_err(failed)?;
            if let Some(early_sync) = self.options.early_sync {
                early_sync.wrote(bytes.len() as u64);
            }
        }
        Ok(Some((entry.size_bytes, checksum.finish())))
    }

    fn embed(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if self.reader.payload_bytes() > EMBEDDED_BYTES_MAX {
            return Err(UnpackError::Content(EntryName::new(&entry.name)));
        }
        self.flush_raw()?;
        while self.reader.payload_bytes() > 0 {
            let bytes = self.reader.payload(u64::MAX)?;
            self.split.segment(bytes).map_err(UnpackError::TarSplit)?;
        }
        Ok(())
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn place_error(entry: &Entry, action: &'static str, source: io::Error) -> UnpackError {
    UnpackError::Place { name: EntryName::new(&entry.name), action, source }
}
