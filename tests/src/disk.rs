//! A small ext4 of its own on a loop device: to be filled, to be cut from power, to be looked at afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{require, run, shell};
use crate::scratch::unmount_below;

/// A mounted file system in a file; dropping it unmounts it.
#[derive(Debug)]
pub struct Disk {
    backing: PathBuf,
    mount_point: PathBuf,
}

impl Disk {
    /// Makes and mounts a file system of `size` (`24M`), with `options` for mkfs. Nothing is written back by itself: the
    /// journal is committed every ten minutes.
    #[track_caller]
    pub fn make(directory: &Path, name: &str, size: &str, options: &[&str]) -> Self {
        let backing = Self::format(directory, name, size, options);
        Self::mount(&backing, &backing, "loop,commit=600")
    }

    /// The same with the mount options that a machine has, for measurements.
    #[track_caller]
    pub fn make_ordinary(directory: &Path, name: &str, size: &str) -> Self {
        // All tables are written now, so that no background thread does it during the measurement.
        let options = ["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"];
        let backing = Self::format(directory, name, size, &options);
        // Without direct I/O, what was written lies in memory once more, and each sync has to write all of it.
        let script = format!("losetup --direct-io=on --show --find '{}'", backing.display());
        let device = PathBuf::from(shell(directory, &script).trim());
        let disk = Self::mount(&device, &backing, "defaults");
        // Takes effect when nothing uses the device any longer.
        run(Command::new(require("losetup", "mount")).arg("--detach").arg(&device)).success();
        disk
    }

    #[track_caller]
    fn format(directory: &Path, name: &str, size: &str, options: &[&str]) -> PathBuf {
        let backing = directory.join(name);
        shell(directory, &format!("truncate -s {size} {name}"));
        let mkfs = require("mkfs.ext4", "e2fsprogs");
        run(Command::new(mkfs).args(["-q", "-F"]).args(options).arg(&backing)).success();
        backing
    }

    #[track_caller]
    fn mount(device: &Path, backing: &Path, options: &str) -> Self {
        // One for each backing file, so that the end of the dead disk does not unmount its copy.
        let mut mount_point = backing.to_owned().into_os_string();
        mount_point.push(".mounted");
        let mount_point = PathBuf::from(mount_point);
        fs::create_dir_all(&mount_point).expect("the scratch directory is ours");
        let mut mount = Command::new(require("mount", "mount"));
        run(mount.args(["-o", options]).arg(device).arg(&mount_point)).success();
        Self { backing: backing.to_owned(), mount_point }
    }

    /// Where the file system is mounted.
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Copies what a power cut at this moment would leave; none when the disk was written meanwhile.
    ///
    /// Compared with the disk afterwards, because a copy that took a part before a write and a part after it is a state
    /// that never was.
    #[track_caller]
    pub fn copy(&self, name: &str) -> Option<DiskCopy> {
        let copy = self.backing.with_extension(name);
        let mut command = Command::new(require("cp", "coreutils"));
        run(command.arg("--sparse=always").arg(&self.backing).arg(&copy)).success();
        let bytes = fs::read(&copy).expect("it was just written");
        let is_whole = fs::read(&self.backing).expect("the scratch directory is ours") == bytes;
        let copy = DiskCopy { digest: crate::sha256_hex(&bytes), backing: copy };
        is_whole.then_some(copy)
    }

    /// Cuts the power: all that is not on the disk is gone. Returns what the next start finds, as a copy.
    ///
    /// `EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH`, as xfstests' godown does it. A copy is mounted because the dead file
    /// system may stay pinned by another mount namespace.
    #[track_caller]
    pub fn cut_power(self) -> Self {
        let script = "import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))
";
        run(Command::new(require("python3", "python3")).args(["-c", script]).arg(&self.mount_point))
            .success();
        unmount_below(&self.mount_point);
        let copy = self.backing.with_extension("after");
        let mut command = Command::new(require("cp", "coreutils"));
        run(command.arg("--sparse=always").arg(&self.backing).arg(&copy)).success();
        Self::mount(&copy, &copy, "loop,commit=600")
    }
}

/// What a disk held at one moment; dropping it removes it.
#[derive(Debug)]
pub struct DiskCopy {
    /// SHA-256 of its bytes.
    pub digest: String,
    backing: PathBuf,
}

impl DiskCopy {
    /// Mounts the copy, as the next start would.
    #[track_caller]
    pub fn start(&self) -> Disk {
        Disk::mount(&self.backing, &self.backing, "loop,commit=600")
    }
}

impl Drop for DiskCopy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.backing);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount_below(&self.mount_point);
    }
}
