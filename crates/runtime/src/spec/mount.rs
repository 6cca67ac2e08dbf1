//! What is mounted in a container, and where: targets are resolved inside the root before the runtime sees them.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{ContainerSpec, Ipc};
use crate::root_dir::{self, MountPoint, RootDir};

/// One mount that the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A file or directory of the host: a bind or a volume.
    Bind(BindMount),
    /// A file system in memory.
    Tmpfs(TmpfsMount),
}

/// A file or directory of the host, seen inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub target: PathBuf,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether mounts below the source come along.
    pub recursive: bool,
    /// `rprivate` for binds; `None` for volumes, as in Docker.
    pub propagation: Option<Propagation>,
}

/// How later mounts below a bind travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Propagation {
    Private,
    RecursivePrivate,
    Shared,
    RecursiveShared,
    Slave,
    RecursiveSlave,
}

impl Propagation {
    fn option(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::RecursivePrivate => "rprivate",
            Self::Shared => "shared",
            Self::RecursiveShared => "rshared",
            Self::Slave => "slave",
            Self::RecursiveSlave => "rslave",
        }
    }
}

/// A file system in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TmpfsMount {
    /// Inside.
    pub target: PathBuf,
    /// `size=…`, `mode=…`, `exec` …, over Docker's `noexec,nosuid,nodev`.
    pub options: Vec<String>,
}

/// Why a mount was refused.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The target is relative, or has `..`; Docker's text.
    #[error("invalid mount path: '{target}' mount path must be absolute")]
    NotAbsolute {
        /// Inside.
        target: PathBuf,
    },
    /// The target is `/`; Docker's text.
    #[error("invalid specification: destination can't be '/'")]
    Root,
    /// The source does not exist; Docker's text.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {path}")]
    NoSource {
        /// On the host.
        path: PathBuf,
    },
    /// The place inside cannot be made: something else is there, or it leads out of the root.
    #[error("could not make the mount point {target} in the container")]
    Target {
        /// Inside.
        target: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Mount {
    /// Where it is mounted, inside.
    pub fn target(&self) -> &Path {
        match self {
            Self::Bind(bind) => &bind.target,
            Self::Tmpfs(tmpfs) => &tmpfs.target,
        }
    }
}

/// Every mount of the container in the order they are made, as `mounts` of a bundle; makes missing mount points.
pub(super) fn mount_values(spec: &ContainerSpec, rootless: bool) -> Result<Vec<Value>, MountError> {
    let root = RootDir::open(&spec.rootfs)
        .map_err(|source| MountError::Target { target: spec.rootfs.clone(), source })?;
    let asked = sorted(&spec.mounts)?;
    let mut values: Vec<Value> = pseudo_mounts(spec, rootless)
        .into_iter()
        .filter(|(destination, _)| !asked.iter().any(|mount| mount.target() == Path::new(destination)))
        .map(|(_, value)| value)
        .collect();
    let mut covered = Vec::new();
    for mount in asked {
        let (value, target) = place(&root, mount, &covered)?;
        covered.push(target);
        values.push(value);
    }
    if let Some(init) = &spec.init {
        let target = make_target(&root, Path::new("/sbin/docker-init"), MountPoint::File, &covered)?;
        values.push(json!({
            "destination": target, "type": "bind", "source": init, "options": ["bind", "ro"],
        }));
    }
    for (name, source) in spec.etc_files.bindings() {
        let destination = Path::new(name);
        if covered.iter().any(|target| target == destination) {
            continue;
        }
        let target = make_target(&root, destination, MountPoint::File, &covered)?;
        let options: &[&str] =
            if spec.read_only_root { &["rbind", "ro", "rprivate"] } else { &["rbind", "rprivate"] };
        values.push(json!({ "destination": target, "type": "bind", "source": source, "options": options }));
    }
    Ok(values)
}

/// Upper directories first, so that a mount never hides one made before it.
fn sorted(mounts: &[Mount]) -> Result<Vec<&Mount>, MountError> {
    for mount in mounts {
        let target = mount.target();
        if !root_dir::is_plain_absolute(target) {
            return Err(MountError::NotAbsolute { target: target.to_owned() });
        }
        if target == Path::new("/") {
            return Err(MountError::Root);
        }
    }
    let mut sorted: Vec<&Mount> = mounts.iter().collect();
    sorted.sort_by_key(|mount| mount.target().components().count());
    Ok(sorted)
}

fn place(root: &RootDir, mount: &Mount, covered: &[PathBuf]) -> Result<(Value, PathBuf), MountError> {
    match mount {
        Mount::Bind(bind) => {
            let metadata = std::fs::metadata(&bind.source)
                .map_err(|_| MountError::NoSource { path: bind.source.clone() })?;
            let kind = if metadata.is_dir() { MountPoint::Directory } else { MountPoint::File };
            let target = make_target(root, &bind.target, kind, covered)?;
            let mut options = vec![if bind.recursive { "rbind" } else { "bind" }];
            if bind.read_only {
                options.push("ro");
            }
            options.extend(bind.propagation.map(Propagation::option));
            let value = json!({
                "destination": target, "type": "bind", "source": bind.source, "options": options,
            });
            Ok((value, target))
        }
        Mount::Tmpfs(tmpfs) => {
            let target = make_tmpfs_target(root, &tmpfs.target, covered)?;
            let value = json!({
                "destination": target, "type": "tmpfs", "source": "tmpfs",
                "options": tmpfs_options(&tmpfs.options),
            });
            Ok((value, target))
        }
    }
}

/// Makes the mount point, unless an earlier mount covers the place: then the runtime makes it in that mount.
fn make_target(
    root: &RootDir,
    target: &Path,
    kind: MountPoint,
    covered: &[PathBuf],
) -> Result<PathBuf, MountError> {
    let pseudo = ["/dev", "/proc", "/sys"].map(PathBuf::from);
    if covered.iter().chain(&pseudo).any(|above| target.starts_with(above) && target != above) {
        return Ok(target.to_owned());
    }
    root.make_mount_point(target, kind)
        .map_err(|source| MountError::Target { target: target.to_owned(), source })
}

/// As [`make_target`], but a place that is not there is left to the runtime: it gives a tmpfs the mode of the directory
/// that it finds, and the one that was asked for where it finds none.
fn make_tmpfs_target(root: &RootDir, target: &Path, covered: &[PathBuf]) -> Result<PathBuf, MountError> {
    let is_missing = root.stat(target).err() == Some(rustix::io::Errno::NOENT);
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return make_target(root, target, MountPoint::Directory, covered);
    };
    // A link that leads nowhere is missing, too; what it names is made here, inside the root.
    if !is_missing || root.has_entry(target) {
        return make_target(root, target, MountPoint::Directory, covered);
    }
    match parent == Path::new("/") {
        true => Ok(target.to_owned()),
        false => Ok(make_target(root, parent, MountPoint::Directory, covered)?.join(name)),
    }
}

/// Docker's tmpfs options with the user's over them: `exec` takes `noexec` away.
fn tmpfs_options(asked: &[String]) -> Vec<String> {
    const OPPOSITES: [(&str, &str); 6] = [
        ("exec", "noexec"),
        ("suid", "nosuid"),
        ("dev", "nodev"),
        ("rw", "ro"),
        ("async", "sync"),
        ("atime", "noatime"),
    ];
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev", "rprivate"].map(str::to_owned).to_vec();
    for option in asked.iter().filter(|option| !option.is_empty()) {
        options.retain(|earlier| {
            earlier != option
                && !OPPOSITES
                    .iter()
                    .any(|(on, off)| (earlier == on && option == off) || (earlier == off && option == on))
        });
        options.push(option.clone());
    }
    options
}

/// The pseudo file systems of every container, as Docker mounts them.
fn pseudo_mounts(spec: &ContainerSpec, rootless: bool) -> Vec<(&'static str, Value)> {
    let mount = |destination: &'static str, kind: &str, source: &str, options: Vec<String>| {
        let value = json!({ "destination": destination, "type": kind, "source": source, "options": options });
        (destination, value)
    };
    let strings = |options: &[&str]| options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>();
    let safe = ["nosuid", "noexec", "nodev"];
    let mut devpts = strings(&["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]);
    if !rootless {
        devpts.push("gid=5".to_owned());
    }
    let mut sysfs = strings(&safe);
    let mut cgroup = strings(&safe);
    if !spec.privileged {
        sysfs.push("ro".to_owned());
        cgroup.insert(0, "ro".to_owned());
    }
    let mut mounts = vec![
        mount("/proc", "proc", "proc", strings(&safe)),
        mount("/dev", "tmpfs", "tmpfs", strings(&["nosuid", "strictatime", "mode=755", "size=65536k"])),
        mount("/dev/pts", "devpts", "devpts", devpts),
    ];
    if rootless {
        // The kernel mounts sysfs only for the owner of the network namespace; cgroups belong to real root.
        let mut bound = strings(&["rbind", "ro"]);
        bound.extend(strings(&safe));
        mounts.push(mount("/sys", "none", "/sys", bound));
    } else {
        mounts.push(mount("/sys", "sysfs", "sysfs", sysfs));
        mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", cgroup));
    }
    mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", strings(&safe)));
    let bound = strings(&["rbind", "rprivate"]);
    match &spec.ipc {
        Ipc::Private => {
            let mut options = strings(&safe);
            options.extend(["mode=1777".to_owned(), format!("size={}", spec.shm_size_bytes)]);
            mounts.push(mount("/dev/shm", "tmpfs", "shm", options));
        }
        Ipc::Host => mounts.push(mount("/dev/shm", "bind", "/dev/shm", bound)),
        Ipc::Join { shm, .. } => mounts.push(mount("/dev/shm", "bind", &shm.to_string_lossy(), bound)),
        Ipc::None => {}
    }
    mounts
}
