//! Device nodes given to a container.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Character or block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Character device.
    Character,
    /// Block device.
    Block,
}

impl DeviceKind {
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Character => "c",
            Self::Block => "b",
        }
    }
}

/// One device node inside a container, and what may be done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Name inside.
    pub path: PathBuf,
    /// Kind.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits of the node.
    pub mode: u32,
    /// Owner of the node.
    pub uid: u32,
    /// Group of the node.
    pub gid: u32,
    /// Any of `rwm`.
    pub access: String,
}

/// Why a device was refused.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name on the host cannot be looked at.
    #[error("error gathering device information while adding custom device \"{path}\": {}", reason(source))]
    Stat {
        /// Name on the host.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The name on the host is no device.
    #[error("error gathering device information while adding custom device \"{path}\": not a device node")]
    NotADevice {
        /// Name on the host.
        path: PathBuf,
    },
}

/// What the kernel said, in Go's words: the client chooses its exit code by them.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

impl Device {
    /// The device `on_host`, to be found as `path` inside; links on the host are followed.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn from_host(
        on_host: &Path,
        path: impl Into<PathBuf>,
        access: impl Into<String>,
    ) -> Result<Self, DeviceError> {
        let metadata = std::fs::metadata(on_host)
            .map_err(|source| DeviceError::Stat { path: on_host.to_owned(), source })?;
        node(&metadata, path.into(), access.into())
            .ok_or_else(|| DeviceError::NotADevice { path: on_host.to_owned() })
    }
}

fn node(metadata: &std::fs::Metadata, path: PathBuf, access: String) -> Option<Device> {
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => DeviceKind::Character,
        kind if kind.is_block_device() => DeviceKind::Block,
        _ => return None,
    };
    Some(Device {
        path,
        kind,
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access,
    })
}

/// Every device node below the host's `/dev`, as `--privileged` gives them.
///
/// Terminals, shared memory and message queues are the container's own and are left out.
pub fn host_devices() -> Vec<Device> {
    let mut found = Vec::new();
    collect(Path::new("/dev"), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(directory: &Path, found: &mut Vec<Device>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            let own = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
            if !own.iter().any(|name| entry.file_name() == *name) {
                collect(&path, found);
            }
        } else if path != Path::new("/dev/console") {
            found.extend(node(&metadata, path, "rwm".to_owned()));
        }
    }
}
