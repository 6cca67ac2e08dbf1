//! Recursive deletion through directory handles.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, chmod, fstat, openat, unlinkat};
use rustix::io::Errno;

/// Directories kept open at most; the way back to others goes through `..`, checked against where it must lead.
const OPEN_MAX: usize = 32;

const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Level {
    directory: Option<OwnedFd>,
    identity: (u64, u64),
    name: Vec<u8>,
    subdirectories: Vec<Vec<u8>>,
}

/// Removes `name` in the directory `parent` and everything below it; that there is nothing is no error.
///
/// No link is followed and no path is resolved, so neither the depth nor the names of the tree matter, and nothing
/// outside it is touched even while somebody moves parts of it.
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
    let mut levels = vec![enter(parent, name)?];
    while let Some(level) = levels.last_mut() {
        let directory = level.directory.as_ref().expect("the deepest level is open").as_fd();
        if let Some(name) = level.subdirectories.pop() {
            let below = enter(directory, &name)?;
            levels.push(below);
            if let Some(index) = levels.len().checked_sub(OPEN_MAX + 1) {
                levels[index].directory = None;
            }
            continue;
        }
        let done = levels.pop().expect("there is a last level");
        match levels.last_mut() {
            None => unlinkat(parent, done.name, AtFlags::REMOVEDIR)?,
            Some(above) => {
                if above.directory.is_none() {
                    above.directory =
                        Some(back(done.directory.as_ref().expect("it was open"), above.identity)?);
                }
                unlinkat(above.directory.as_ref().expect("opened above"), done.name, AtFlags::REMOVEDIR)?;
            }
        }
    }
    Ok(())
}

// Opens a directory and removes what is no directory in it.
fn enter(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<Level> {
    let directory = match openat(parent, name, OPEN_DIRECTORY, Mode::empty()) {
        // Images have directories that their owner may not read; root may.
        Err(Errno::ACCESS) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let pinned = openat(parent, name, flags, Mode::empty())?;
            chmod(format!("/proc/self/fd/{}", pinned.as_raw_fd()), Mode::RWXU)?;
            openat(parent, name, OPEN_DIRECTORY, Mode::empty())?
        }
        result => result?,
    };
    let stat = fstat(&directory)?;
    let mut subdirectories = Vec::new();
    for child in Dir::read_from(&directory)? {
        let child = child?;
        let child_name = child.file_name().to_bytes();
        if child_name == b"." || child_name == b".." {
            continue;
        }
        if child.file_type() == FileType::Directory {
            subdirectories.push(child_name.to_vec());
            continue;
        }
        match unlinkat(&directory, child_name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => subdirectories.push(child_name.to_vec()),
            Err(Errno::ACCESS) if stat.st_mode & 0o300 != 0o300 => {
                rustix::fs::fchmod(&directory, Mode::RWXU)?;
                unlinkat(&directory, child_name, AtFlags::empty())?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    let identity = (stat.st_dev, stat.st_ino);
    Ok(Level { directory: Some(directory), identity, name: name.to_vec(), subdirectories })
}

fn back(directory: &OwnedFd, identity: (u64, u64)) -> io::Result<OwnedFd> {
    let above = openat(directory, "..", OPEN_DIRECTORY, Mode::empty())?;
    let stat = fstat(&above)?;
    if (stat.st_dev, stat.st_ino) != identity {
        return Err(io::Error::other("a directory was moved while it was removed"));
    }
    Ok(above)
}
