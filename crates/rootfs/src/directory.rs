//! A directory as a handle, and the directories below it, found without ever leaving it.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;

use crate::name::split;

/// Directories that one operation keeps open at most; archives are in depth-first order, so few are enough.
const OPEN_MAX: usize = 64;

/// An open directory; everything that this crate does happens below one.
#[derive(Debug)]
pub struct Rootfs {
    directory: OwnedFd,
}

impl Rootfs {
    /// Opens the directory at `path`, which the caller chose.
    ///
    /// # Errors
    /// The kernel's own, for instance when there is no directory.
    pub fn open(path: &Path) -> io::Result<Rootfs> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Rootfs { directory: openat(CWD, path, flags, Mode::empty())? })
    }

    /// Takes over a handle of a directory.
    pub fn from_fd(directory: OwnedFd) -> Rootfs {
        Rootfs { directory }
    }

    /// Returns Docker's size of the tree: the lengths of everything but directories, each inode once.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn size_bytes(&self) -> io::Result<u64> {
        shale_tree::size_bytes(&self.directory, b".")
    }

    pub(crate) fn open_below(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        open_in_root(self.directory.as_fd(), if path.is_empty() { b"." } else { path }, flags)
    }
}

impl AsFd for Rootfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

// Links are followed as a process that was chrooted into `root` would follow them.
fn open_in_root(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut attempts = 0;
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // The kernel could not prove that ".." stayed inside while something else was renamed.
            Err(Errno::AGAIN | Errno::INTR) if attempts < 64 => attempts += 1,
            result => return Ok(result?),
        }
    }
}

/// The open directories of one operation, by cleaned path.
pub(crate) struct Directories<'r> {
    root: &'r Rootfs,
    root_directory: Rc<OwnedFd>,
    open: HashMap<Box<[u8]>, (Rc<OwnedFd>, u64)>,
    clock: u64,
    made: u64,
    last: Option<(Box<[u8]>, Rc<OwnedFd>)>,
}

impl<'r> Directories<'r> {
    pub fn new(root: &'r Rootfs) -> io::Result<Directories<'r>> {
        let root_directory = Rc::new(root.as_fd().try_clone_to_owned()?);
        Ok(Directories { root, root_directory, open: HashMap::new(), clock: 0, made: 0, last: None })
    }

    /// Returns the directory at `path`, links followed inside the root.
    pub fn find(&mut self, path: &[u8]) -> io::Result<Rc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root_directory));
        }
        if let Some((last, directory)) = &self.last
            && **last == *path
        {
            return Ok(Rc::clone(directory));
        }
        self.clock += 1;
        let directory = match self.open.get_mut(path) {
            Some((directory, used)) => {
                *used = self.clock;
                Rc::clone(directory)
            }
            None => {
                let directory = self.root.open_below(path, OFlags::PATH | OFlags::DIRECTORY)?;
                self.remember(path, directory)
            }
        };
        self.last = Some((path.into(), Rc::clone(&directory)));
        Ok(directory)
    }

    /// Returns the directory at `path` after making what is missing of it, 0755 and owned by this process.
    pub fn find_or_create(&mut self, path: &[u8]) -> io::Result<Rc<OwnedFd>> {
        match self.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let mut existing = path;
        let mut parent = loop {
            existing = split(existing).0;
            match self.find(existing) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !existing.is_empty() => {}
                found => break found?,
            }
        };
        let mut end = existing.len();
        while end < path.len() {
            let start = if end == 0 { 0 } else { end + 1 };
            end =
                path[start..].iter().position(|byte| *byte == b'/').map_or(path.len(), |slash| start + slash);
            self.made += u64::from(create(&parent, &path[start..end])?);
            parent = self.find(&path[..end])?;
        }
        Ok(parent)
    }

    /// Returns how many directories [`Directories::find_or_create`] made.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Keeps `directory`, which is what `path` names now.
    pub fn remember(&mut self, path: &[u8], directory: OwnedFd) -> Rc<OwnedFd> {
        if self.open.len() >= OPEN_MAX {
            let oldest_kept = self.clock.saturating_sub(OPEN_MAX as u64 / 2);
            self.open.retain(|_, (_, used)| *used > oldest_kept);
            if self.open.len() >= OPEN_MAX {
                self.open.clear();
            }
        }
        self.clock += 1;
        let directory = Rc::new(directory);
        self.open.insert(path.into(), (Rc::clone(&directory), self.clock));
        directory
    }

    /// Forgets all directories: something was removed, and any path may lead elsewhere now.
    pub fn forget(&mut self) {
        self.open.clear();
        self.last = None;
    }
}

// Tells whether there was nothing of that name.
fn create(parent: &OwnedFd, name: &[u8]) -> io::Result<bool> {
    const MODE: u32 = 0o755;
    match mkdirat(parent, name, Mode::from_raw_mode(MODE)) {
        Ok(()) => {}
        // A link that leads nowhere; the next step finds that there is no directory.
        Err(Errno::EXIST) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty())?;
    // The umask of this process is no business of an image.
    if fstat(&directory)?.st_mode & 0o777 != MODE {
        fchmod(&directory, Mode::from_raw_mode(MODE))?;
    }
    Ok(true)
}
