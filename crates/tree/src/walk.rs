//! A way through a tree that keeps few directories open.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Dir, DirEntry, Mode, OFlags, fstat, openat};

/// Directories kept open at most; the way back to others goes through `..`, checked against where it must lead.
const OPEN_MAX: usize = 32;

const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A place in a tree, with the way back to its top.
pub(crate) struct Walk {
    levels: Vec<Level>,
}

struct Level {
    /// None in those far above the place.
    directory: Option<Dir>,
    /// How far the directory is read, for the day it is opened again.
    offset: i64,
    identity: (u64, u64),
    name: Box<[u8]>,
}

impl Walk {
    /// Begins in the directory `name` of `parent`.
    pub fn begin(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Walk> {
        Ok(Walk { levels: vec![open(parent, name)?] })
    }

    /// Returns the directory of this place; `None` after the top was left.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.levels.last().map(|level| directory_of(level).fd().expect("a Dir has a descriptor"))
    }

    /// Returns the next name in this directory; `None` at its end, and when somebody removed it.
    pub fn next_child(&mut self) -> rustix::io::Result<Option<DirEntry>> {
        let Some(level) = self.levels.last_mut() else { return Ok(None) };
        let directory = level.directory.as_mut().expect("the deepest level is open");
        for child in directory.by_ref() {
            let child = child?;
            level.offset = child.offset();
            if !matches!(child.file_name().to_bytes(), b"." | b"..") {
                return Ok(Some(child));
            }
        }
        Ok(None)
    }

    /// Goes into the directory `name` of this one.
    pub fn enter(&mut self, name: &[u8]) -> rustix::io::Result<()> {
        let below = open(self.directory().expect("the top was not left"), name)?;
        self.levels.push(below);
        if let Some(index) = self.levels.len().checked_sub(OPEN_MAX + 1) {
            self.levels[index].directory = None;
        }
        Ok(())
    }

    /// Goes back to the directory above, where reading goes on; returns the name of the one that was left.
    ///
    /// # Errors
    /// `NotFound` when somebody removed the directory that is left or the one above, and nothing but `..` led there.
    pub fn leave(&mut self) -> io::Result<Option<Box<[u8]>>> {
        let Some(left) = self.levels.pop() else { return Ok(None) };
        if let Some(above) = self.levels.last_mut()
            && above.directory.is_none()
        {
            let fd = directory_of(&left).fd().expect("a Dir has a descriptor");
            let mut again = open(fd, b"..")?;
            if again.identity != above.identity {
                return Err(io::Error::other("a directory was moved while something went through it"));
            }
            if let Some(directory) = &mut again.directory {
                // ext4 knows no places in a directory that was removed.
                directory.seek(above.offset).map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
            }
            above.directory = again.directory;
        }
        Ok(Some(left.name))
    }
}

fn directory_of(level: &Level) -> &Dir {
    level.directory.as_ref().expect("the deepest level is open")
}

fn open(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Level> {
    let directory = openat(parent, name, OPEN_DIRECTORY, Mode::empty())?;
    let stat = fstat(directory.as_fd())?;
    Ok(Level {
        directory: Some(Dir::new(directory)?),
        offset: 0,
        identity: (stat.st_dev, stat.st_ino),
        name: name.into(),
    })
}
