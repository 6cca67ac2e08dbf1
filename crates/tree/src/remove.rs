//! Recursive deletion.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, chmod, fchmod, openat, unlinkat};
use rustix::io::Errno;

use crate::walk::Walk;

/// Removes `name` in the directory `parent` and everything below it; that there is nothing is no error.
///
/// No path is resolved, so nothing outside the tree is touched even while somebody moves parts of it. Several processes
/// may remove the same tree at once. Rights that its directories deny their owner are taken.
///
/// # Errors
/// The first that the kernel reports; part of the tree may be gone.
pub fn remove_tree(parent: impl AsFd, name: &[u8]) -> io::Result<()> {
    let parent = parent.as_fd();
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut removal = Removal { parent, progress: true };
    loop {
        let walk = match Walk::begin(parent, name) {
            Err(Errno::ACCESS) => open_up(parent, name).and_then(|()| Walk::begin(parent, name)),
            begun => begun,
        };
        match walk {
            Err(Errno::NOENT) => return Ok(()),
            walk => match removal.run(walk?) {
                // Others removed the directory that we were in, and with it our way back: again from the top.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => return result,
            },
        }
    }
}

struct Removal<'p> {
    parent: BorrowedFd<'p>,
    /// Something was removed since a directory was found filled last.
    progress: bool,
}

impl Removal<'_> {
    fn run(&mut self, mut walk: Walk) -> io::Result<()> {
        loop {
            let child = walk.next_child()?;
            let Some(directory) = walk.directory() else { return Ok(()) };
            let Some(child) = child else {
                self.leave(&mut walk)?;
                continue;
            };
            let name = child.file_name().to_bytes();
            if child.file_type() == FileType::Directory {
                enter(&mut walk, name)?;
                continue;
            }
            match unlink(directory, name, AtFlags::empty()) {
                Ok(()) => self.progress = true,
                Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => enter(&mut walk, name)?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Removes the directory that was emptied.
    fn leave(&mut self, walk: &mut Walk) -> io::Result<()> {
        let Some(name) = walk.leave()? else { return Ok(()) };
        let removed = match walk.directory() {
            Some(above) => unlink(above, &name, AtFlags::REMOVEDIR),
            None => unlinkat(self.parent, &*name, AtFlags::REMOVEDIR),
        };
        match removed {
            Ok(()) => self.progress = true,
            Err(Errno::NOENT) => {}
            // A file system may skip names while others go, and another process may have added one.
            Err(Errno::NOTEMPTY | Errno::EXIST) if std::mem::take(&mut self.progress) => {
                match walk.directory() {
                    Some(_) => enter(walk, &name)?,
                    None => *walk = Walk::begin(self.parent, &name)?,
                }
            }
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

// Goes into a directory unless somebody removed it.
fn enter(walk: &mut Walk, name: &[u8]) -> io::Result<()> {
    let entered = match walk.enter(name) {
        Err(Errno::ACCESS) => {
            let directory = walk.directory().expect("the walk is in the directory of the name");
            fchmod(directory, Mode::RWXU)?;
            open_up(directory, name).and_then(|()| walk.enter(name))
        }
        entered => entered,
    };
    match entered {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn unlink(directory: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> rustix::io::Result<()> {
    match unlinkat(directory, name, flags) {
        Err(Errno::ACCESS) => {
            fchmod(directory, Mode::RWXU)?;
            unlinkat(directory, name, flags)
        }
        result => result,
    }
}

// Images have directories that their owner may not read; root may.
fn open_up(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let pinned = openat(parent, name, flags, Mode::empty())?;
    chmod(format!("/proc/self/fd/{}", pinned.as_raw_fd()), Mode::RWXU)
}
