//! One file or directory of a tree, packed under a name of the caller's choice.

use std::io::Write;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, statat};

use super::{Pack, PackError, Packed, Packer, read_error};
use crate::directory::Rootfs;

/// Writes the entry `name` of the directory `parent`, with all that is below it, to `out`; in the tar it is `named`.
///
/// A link at `name` is packed as a link. With the name `.` it is `parent` itself. What hard links lead to is part of the
/// tar as far as it is below `name`.
///
/// # Errors
/// [`PackError`]; part of the tar was written.
pub fn pack_entry(
    parent: &Rootfs,
    name: &[u8],
    named: &[u8],
    out: &mut dyn Write,
    options: &Pack<'_>,
) -> Result<Packed, PackError> {
    let mut packer = Packer::new(out, None, options);
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| read_error(named, "look at", errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let directory = packer.directory(parent.as_fd(), name, named)?;
        let again = directory.try_clone().map_err(|source| read_error(named, "open", source))?;
        packer.walk(&Rootfs::from_fd(again), named.to_vec(), directory)?;
    } else {
        packer.entry(parent.as_fd(), name, named)?;
    }
    packer.emit_raw(&[0; 1024])?;
    packer.finish()
}
