//! A mount namespace of the process's own: what a build mounts is nobody else's, and goes when the process is killed.

use std::io;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

/// Moves this process into a mount namespace of its own. Call it before other threads start.
///
/// # Errors
/// When the kernel does not allow it; the builds then mount in the namespace that the process has.
pub fn enter_mount_namespace() -> io::Result<()> {
    // SAFETY: no other thread runs yet, so the whole process moves.
    #[allow(unsafe_code)]
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    // What others mount later is still seen; what is mounted here is not seen by them.
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}
