//! A container's root directory as the host may touch it: every name is resolved by the kernel below the root.
//!
//! The root comes from an image and is hostile: `/etc` may be a link to the host's, `/etc/passwd` a pipe or a
//! gigabyte. Nothing here joins a path of the image to a path of the host.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// An open root directory.
#[derive(Debug)]
pub(crate) struct RootDir {
    directory: OwnedFd,
}

/// What [`RootDir::make_mount_point`] puts where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MountPoint {
    Directory,
    File,
}

impl RootDir {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Opens `path`; links are followed inside the root only.
    fn open_in_root(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // A rename elsewhere on the machine can make the kernel give up with EAGAIN; the answer is to ask again.
        for _ in 0..64 {
            let opened = rustix::fs::openat2(
                &self.directory,
                relative,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                resolve,
            );
            if opened.as_ref().err() != Some(&Errno::AGAIN) {
                return opened;
            }
        }
        Err(Errno::AGAIN)
    }

    /// Mode and type of what `path` leads to.
    pub(crate) fn stat(&self, path: &Path) -> Result<rustix::fs::Stat, Errno> {
        rustix::fs::fstat(self.open_in_root(path, OFlags::PATH)?)
    }

    /// Whether there is anything of that name, if only a link that leads nowhere.
    pub(crate) fn has_entry(&self, path: &Path) -> bool {
        self.open_in_root(path, OFlags::PATH | OFlags::NOFOLLOW).is_ok()
    }

    /// Reads a regular file of at most `size_bytes_max` bytes; `None` when there is none.
    ///
    /// A pipe, a device or a directory is an error and is never opened for reading.
    pub(crate) fn read_regular(&self, path: &Path, size_bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let opened = self.open_in_root(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY);
        let file = match opened {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut content = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0).min(1 << 16));
        File::from(file).take(size_bytes_max + 1).read_to_end(&mut content)?;
        if content.len() as u64 > size_bytes_max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than the limit"));
        }
        Ok(Some(content))
    }

    /// Makes the directory `path` and those above it (mode 0755); existing links to directories are followed
    /// inside the root.
    pub(crate) fn make_directories(&self, path: &Path) -> io::Result<()> {
        self.directories(path).map(drop)
    }

    /// Makes a place to mount on, unless something is there, and returns its name with every link resolved.
    pub(crate) fn make_mount_point(&self, path: &Path, kind: MountPoint) -> io::Result<PathBuf> {
        match self.open_in_root(path, OFlags::PATH) {
            Ok(existing) => return self.name_of(&existing),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let opened = match kind {
            MountPoint::Directory => self.directories(path)?,
            MountPoint::File => {
                let parent = self.directories(path.parent().unwrap_or(Path::new("/")))?;
                let name = path.file_name().ok_or(Errno::INVAL)?;
                // O_EXCL: a dangling link at the last name is refused, not followed.
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o755))?
            }
        };
        self.name_of(&opened)
    }

    fn directories(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut reached = PathBuf::new();
        let mut directory = self.open_in_root(Path::new("."), flags)?;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::RootDir | Component::CurDir => continue,
                Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL.into()),
            };
            reached.push(name);
            directory = match self.open_in_root(&reached, flags) {
                Ok(next) => next,
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
                        // Something is there that does not lead anywhere: a dangling link.
                        Err(Errno::EXIST) => return Err(Errno::NOTDIR.into()),
                        made => made?,
                    }
                    let made = rustix::fs::openat(
                        &directory,
                        name,
                        flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                        Mode::empty(),
                    )?;
                    // The mode was cut by the umask; a directory in a root must not depend on the caller's.
                    rustix::fs::chmodat(
                        &directory,
                        name,
                        Mode::from_raw_mode(0o755),
                        rustix::fs::AtFlags::empty(),
                    )?;
                    made
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(directory)
    }

    /// Absolute name, below the root, of something opened in it.
    fn name_of(&self, opened: &OwnedFd) -> io::Result<PathBuf> {
        let root = descriptor_path(&self.directory)?;
        let full = descriptor_path(opened)?;
        let below = full.strip_prefix(&root).map_err(|_| io::Error::from(Errno::XDEV))?;
        Ok(Path::new("/").join(below))
    }
}

fn descriptor_path(descriptor: &impl AsFd) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd());
    std::fs::read_link(link)
}

/// Whether `path` is absolute, has no `..` and no NUL: the only shape a container path may have here.
pub(crate) fn is_plain_absolute(path: &Path) -> bool {
    path.is_absolute()
        && !path.as_os_str().as_bytes().contains(&0)
        && path.components().all(|component| !matches!(component, Component::ParentDir))
}
