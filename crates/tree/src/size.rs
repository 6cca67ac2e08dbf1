//! The size of a tree as Docker counts it.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, statat};
use rustix::io::Errno;

use crate::walk::Walk;

/// Returns the lengths of everything but directories at and below `name` in `parent`, each inode once.
///
/// What somebody removes meanwhile counts nothing.
///
/// # Errors
/// The first that the kernel reports.
pub fn size_bytes(parent: impl AsFd, name: &[u8]) -> io::Result<u64> {
    let parent = parent.as_fd();
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(stat.st_size.unsigned_abs());
    }
    let mut walk = Walk::begin(parent, name)?;
    let mut linked = HashSet::new();
    let mut total = 0;
    loop {
        let child = walk.next_child()?;
        let Some(directory) = walk.directory() else { return Ok(total) };
        let Some(child) = child else {
            walk.leave()?;
            continue;
        };
        let name = child.file_name().to_bytes();
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            match walk.enter(name) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        } else if stat.st_nlink == 1 || linked.insert((stat.st_dev, stat.st_ino)) {
            total += stat.st_size.unsigned_abs();
        }
    }
}
