//! The members of an archive or of a directory with an OCI layout, found by name and read at any place.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::spool::{index_file, is_plain, spool};
use super::tar_index::{Member, TarIndex, TarIndexError, clean};

/// How many links may lead from one name to the next.
const LINKS_MAX: usize = 8;

/// Where images are loaded from.
pub enum Input {
    /// A file; an archive in it that is not compressed is read where it stands.
    File(File),
    /// A stream, which is copied to the disk first: the member that explains the others often comes last.
    Stream(Box<dyn Read + Send>),
    /// A directory with an OCI layout.
    Directory(PathBuf),
}

/// Why a member was not read.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] TarIndexError),
    /// The directory cannot be opened.
    #[error("could not open {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such member.
    #[error("the archive has no member {0:?}")]
    Missing(String),
    /// A link, a directory or a device where a file must be.
    #[error("the member {0:?} is no file")]
    NotAFile(String),
    /// A link, or a name, that leads out.
    #[error("the member {0:?} leads out of the archive")]
    Escape(String),
    /// A small document that is not small.
    #[error("the member {name:?} is {bytes} bytes long; at most {bytes_max} are read")]
    TooLarge {
        /// The member.
        name: String,
        /// How long it is.
        bytes: u64,
        /// How long it may be.
        bytes_max: u64,
    },
    /// The input failed.
    #[error("could not read the member {name:?}")]
    Read {
        /// The member.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// Files by name.
pub(crate) enum Members {
    Archive { file: Arc<File>, index: TarIndex },
    Directory(OwnedFd),
}

/// Whether a member may be reached through links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// As `docker save` up to 24 writes a layer that it has already written.
    Follow,
    Refuse,
}

impl Members {
    /// Opens `input`; a stream is kept in a nameless file below `spool_directory`.
    pub fn open(input: Input, spool_directory: &Path) -> Result<Members, MembersError> {
        let stream: Box<dyn Read + Send> = match input {
            Input::Directory(path) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                return match openat(CWD, &path, flags, Mode::empty()) {
                    Ok(directory) => Ok(Members::Directory(directory)),
                    Err(error) => Err(MembersError::Directory { path, source: error.into() }),
                };
            }
            Input::File(file) if is_plain(&file).map_err(TarIndexError::Read)? => {
                let index = index_file(&file)?;
                return Ok(Members::Archive { file: Arc::new(file), index });
            }
            Input::File(file) => Box::new(file),
            Input::Stream(stream) => stream,
        };
        let (file, index) = spool(stream, spool_directory)?;
        Ok(Members::Archive { file: Arc::new(file), index })
    }

    /// Tells whether there is something of that name.
    pub fn has(&self, name: &str) -> bool {
        !matches!(self.find(name, Links::Refuse), Err(MembersError::Missing(_)))
    }

    /// Finds the file `name`.
    pub fn find(&self, name: &str, links: Links) -> Result<Content, MembersError> {
        let cleaned = clean(name.as_bytes()).ok_or_else(|| MembersError::Escape(name.to_owned()))?;
        match self {
            Members::Archive { file, index } => find_indexed(file, index, name, cleaned, links),
            Members::Directory(directory) => open_below(directory, name, &cleaned),
        }
    }

    /// Reads the small file `name` whole.
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, MembersError> {
        let mut content = self.find(name, Links::Refuse)?;
        let bytes = content.left_bytes();
        if bytes > bytes_max {
            return Err(MembersError::TooLarge { name: name.to_owned(), bytes, bytes_max });
        }
        let mut document = Vec::with_capacity(bytes as usize);
        match content.read_to_end(&mut document) {
            Ok(_) => Ok(document),
            Err(source) => Err(MembersError::Read { name: name.to_owned(), source }),
        }
    }
}

fn find_indexed(
    file: &Arc<File>,
    index: &TarIndex,
    name: &str,
    cleaned: Vec<u8>,
    links: Links,
) -> Result<Content, MembersError> {
    let mut next = &cleaned;
    for _ in 0..=LINKS_MAX {
        match index.get(next) {
            None => return Err(MembersError::Missing(name.to_owned())),
            Some(Member::File { position, bytes }) => {
                return Ok(Content { file: Arc::clone(file), position: *position, end: position + bytes });
            }
            Some(Member::Link(target)) if links == Links::Follow => next = target,
            Some(Member::OutwardLink) => return Err(MembersError::Escape(name.to_owned())),
            Some(Member::Link(_) | Member::Other) => break,
        }
    }
    Err(MembersError::NotAFile(name.to_owned()))
}

fn open_below(directory: &OwnedFd, name: &str, cleaned: &[u8]) -> Result<Content, MembersError> {
    // A FIFO must not make the open wait; what is no file is refused below.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let read = |source| MembersError::Read { name: name.to_owned(), source };
    let file: File = match openat2(directory, cleaned, flags, Mode::empty(), resolve) {
        Ok(file) => file.into(),
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(MembersError::Missing(name.to_owned())),
        Err(Errno::XDEV | Errno::LOOP) => return Err(MembersError::Escape(name.to_owned())),
        Err(error) => return Err(read(error.into())),
    };
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        return Err(MembersError::NotAFile(name.to_owned()));
    }
    Ok(Content { file: Arc::new(file), position: 0, end: metadata.len() })
}

/// The bytes of one member. Clones read from where the original stands, each on its own.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Content {
    /// Passes over `bytes`, at most to the end.
    pub fn skip(&mut self, bytes: u64) {
        self.position += bytes.min(self.left_bytes());
    }

    /// Returns how many bytes are left.
    pub fn left_bytes(&self) -> u64 {
        self.end - self.position
    }
}

impl Read for Content {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left_bytes()).unwrap_or(usize::MAX).min(into.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(&mut into[..wanted], self.position)?;
        if count == 0 {
            // The file was cut after it was indexed.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += count as u64;
        Ok(count)
    }
}
