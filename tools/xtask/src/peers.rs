//! The Debian packages that the tests need: peers of Shale and small tools.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What proves a package to be there, and its name in Debian.
const PACKAGES: [(&str, &str); 27] = [
    ("dockerd", "docker.io"),
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("podman", "podman"),
    ("buildah", "buildah"),
    ("umoci", "umoci"),
    ("runc", "runc"),
    ("busybox", "busybox-static"),
    ("debootstrap", "debootstrap"),
    ("newuidmap", "uidmap"),
    ("htpasswd", "apache2-utils"),
    ("zstd", "zstd"),
    ("xz", "xz-utils"),
    ("bzip2", "bzip2"),
    ("setfattr", "attr"),
    ("setcap", "libcap2-bin"),
    ("strace", "strace"),
    ("mkfs.ext4", "e2fsprogs"),
    ("losetup", "mount"),
    ("setpriv", "util-linux"),
    ("fuse-overlayfs", "fuse-overlayfs"),
    ("openssl", "openssl"),
    ("jq", "jq"),
    ("python3", "python3"),
    ("git", "git"),
    ("script", "bsdutils"),
    ("systemd-socket-activate", "systemd"),
];

/// Where root's programs stand; a PATH without the sbin directories must not lead to an installation.
const PROGRAM_DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Installs the packages whose program is missing; does nothing, and asks nobody, when all are there.
///
/// No service is started: while apt runs, `/usr/sbin/policy-rc.d` forbids it, as Debian policy provides.
pub fn install_missing() -> Result<()> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(program, _)| !is_installed(program)).map(|(_, package)| *package).collect();
    if !is_root()? {
        bail!(
            "the tests mount file systems, make device nodes and start dockerd, so they need root: \
             run them with sudo, or only the steps `cargo xtask test fmt tidy clippy`"
        );
    }
    if missing.is_empty() {
        println!("all {} packages are installed", PACKAGES.len());
        return Ok(());
    }
    if !is_installed("apt-get") {
        bail!("there is no apt-get here; install these yourself: {}", missing.join(" "));
    }
    println!("installing {}", missing.join(" "));
    let _no_services = ServicesForbidden::begin()?;
    apt_get(&["update"])?;
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&missing);
    apt_get(&install)
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(["-q", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .context("could not start apt-get")?;
    if !status.success() {
        bail!("apt-get {} ended with {status}", arguments[0]);
    }
    Ok(())
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(PROGRAM_DIRECTORIES.iter().map(PathBuf::from))
        .any(|directory| directory.join(program).is_file())
}

fn is_root() -> Result<bool> {
    // The owner of /proc/self is the effective user; no crate is needed to ask.
    Ok(fs::metadata("/proc/self").context("could not look at /proc/self")?.uid() == 0)
}

/// Keeps maintainer scripts from starting daemons until it is dropped.
struct ServicesForbidden {
    made: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl ServicesForbidden {
    fn begin() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { made: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("could not write {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("could not make {POLICY} executable"))?;
        Ok(Self { made: true })
    }
}

impl Drop for ServicesForbidden {
    fn drop(&mut self) {
        if self.made {
            let _ = fs::remove_file(POLICY);
        }
    }
}
