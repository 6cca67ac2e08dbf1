//! A container's files, mounted where only the caller's thread and the processes it starts see them.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;
use shale_store::{OverlayPaths, Store};

use crate::Privileges;

/// Does `work` in a thread with a mount namespace of its own. Mounts that it makes are gone when the last process that
/// it started there is.
pub(super) fn in_private_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: only the file system context and the mounts of this new thread change; it holds no pointers
            // into the context that it leaves, and no other thread is concerned.
            #[allow(unsafe_code)]
            unsafe {
                rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS)?;
            }
            // Later mounts of the host still arrive; none from here leaves.
            let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", slave)?;
            Ok(work())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whether a mount syncs. When an overlay is unmounted, the kernel syncs the whole file system below it, which may take
/// seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syncs {
    /// When asked, and at the end.
    AsAsked,
    /// Never (`volatile`).
    Never,
}

/// Mounts a directory at its `merged`; the calling thread is in a private namespace.
///
/// Source: moby `daemon/graphdriver/overlay2/overlay.go` `Get` at v20.10.24.
pub(super) fn mount(
    store: &Store,
    privileges: Privileges,
    paths: &OverlayPaths,
    syncs: Syncs,
) -> io::Result<()> {
    match fs::create_dir(&paths.merged) {
        Ok(()) => fs::set_permissions(&paths.merged, fs::Permissions::from_mode(0o700))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    // Left by a process that was killed.
    forget_volatile(paths)?;
    // The lower names are short and relative: with 128 of them all options still fit into a page.
    std::env::set_current_dir(store.overlay_path())?;
    let mut options = Vec::new();
    if Path::new("/sys/module/overlay/parameters/index").exists() {
        options.extend_from_slice(b"index=off,");
    }
    if privileges == Privileges::UserNamespace {
        options.extend_from_slice(b"userxattr,");
    }
    options.extend_from_slice(b"lowerdir=");
    for (at, lower) in paths.lower.iter().enumerate() {
        if at > 0 {
            options.push(b':');
        }
        options.extend_from_slice(lower.as_os_str().as_bytes());
    }
    let below = |path: &Path| path.strip_prefix(store.overlay_path()).unwrap_or(path).to_owned();
    options.extend_from_slice(b",upperdir=");
    options.extend_from_slice(below(&paths.upper).as_os_str().as_bytes());
    options.extend_from_slice(b",workdir=");
    options.extend_from_slice(below(&paths.work).as_os_str().as_bytes());
    let target = below(&paths.merged);
    let overlay = |options: Vec<u8>| -> io::Result<()> {
        let options = CString::new(options)?;
        let flags = MountFlags::empty();
        Ok(rustix::mount::mount("overlay", target.as_path(), "overlay", flags, Some(options.as_c_str()))?)
    };
    if syncs == Syncs::Never {
        match overlay([options.as_slice(), b",volatile"].concat()) {
            // A kernel before 5.10 does not know the word.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {}
            mounted => return mounted,
        }
    }
    overlay(options)
}

/// Takes away the note by which the kernel refuses a second mount of what was mounted with [`Syncs::Never`]: what was
/// written is not lost as long as the machine runs, and who keeps it syncs it.
pub(super) fn forget_volatile(paths: &OverlayPaths) -> io::Result<()> {
    match fs::remove_dir_all(paths.work.join("work/incompat")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes a mount and its directory away again.
pub(super) fn unmount(paths: &OverlayPaths) {
    let _ = rustix::mount::unmount(&paths.merged, UnmountFlags::DETACH);
    let _ = fs::remove_dir(&paths.merged);
}

/// Makes the files that every container has whatever its image has: Docker's init layer. The init directory is mounted
/// at `root`.
///
/// Source: moby `daemon/initlayer/setup_unix.go` at v20.10.24.
pub(super) fn fill_init(root: &Path) -> io::Result<()> {
    enum Wanted {
        Directory,
        File,
        Link(&'static str),
    }
    let wanted = [
        ("dev/pts", Wanted::Directory),
        ("dev/shm", Wanted::Directory),
        ("proc", Wanted::Directory),
        ("sys", Wanted::Directory),
        (".dockerenv", Wanted::File),
        ("etc/resolv.conf", Wanted::File),
        ("etc/hosts", Wanted::File),
        ("etc/hostname", Wanted::File),
        ("dev/console", Wanted::File),
        ("etc/mtab", Wanted::Link("/proc/mounts")),
    ];
    for (path, kind) in wanted {
        // Whatever is no directory on the way is the image's own and goes, so that no link of it is followed.
        let mut prefix = root.to_owned();
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            prefix.push(part);
            match fs::symlink_metadata(&prefix) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => fs::remove_file(&prefix)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if parts.peek().is_some() {
                make_directory(&prefix)?;
            }
        }
        match kind {
            Wanted::Directory => make_directory(&prefix)?,
            Wanted::Link(target) => std::os::unix::fs::symlink(target, &prefix)?,
            Wanted::File if prefix.is_dir() => {}
            Wanted::File => {
                fs::File::create_new(&prefix)?.set_permissions(fs::Permissions::from_mode(0o755))?;
            }
        }
    }
    Ok(())
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
