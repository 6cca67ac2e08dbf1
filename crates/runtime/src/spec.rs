//! What a container is: the process, its view of files, its limits and its separations.
//!
//! [`ContainerSpec::bundle_config`] turns it into the OCI runtime's `config.json`, equal in effect to the one that
//! dockerd 20.10 writes for the same `docker run` flags.
//!
//! Not here: images (their `Env`, `User` and so on come in as plain values) and the runtime's command line.

mod block_limit;
mod capability;
mod config;
mod device;
mod mount;
mod network_files;
mod seccomp;
mod user;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use block_limit::{BlockLimit, BlockLimitKind};
pub use capability::{Capabilities, CapabilityError};
pub(crate) use config::resource_values;
pub use config::{RLIMITS, SpecError, docker_environment};
pub use device::{Device, DeviceError, DeviceKind, host_devices};
pub use mount::{BindMount, Mount, MountError, Propagation, TmpfsMount};
pub use network_files::{Dns, EtcFiles, HostsFile, resolv_conf};
pub use seccomp::Seccomp;
pub use user::{User, UserError};

/// One process in a prepared root filesystem. [`ContainerSpec::new`] gives Docker's defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSpec {
    /// Name towards the OCI runtime and of the cgroup: 1 to 128 of `[A-Za-z0-9_.-]`, normally 64 hex digits.
    pub id: String,
    /// The mounted root filesystem on the host.
    pub rootfs: PathBuf,
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value` of the image and the user; `PATH`, `HOSTNAME` and `TERM` are added as Docker adds them.
    pub env: Vec<String>,
    /// Working directory; made (0755, root) when the root has none.
    pub cwd: PathBuf,
    /// The user; see [`User::resolve`].
    pub user: User,
    /// Host name inside; ignored with [`Uts::Host`] except for the variable `HOSTNAME`.
    pub hostname: String,
    /// Whether the process gets a terminal.
    pub terminal: bool,
    /// Binds, volumes and tmpfs, besides the pseudo file systems.
    pub mounts: Vec<Mount>,
    /// `/etc/resolv.conf`, `/etc/hostname` and `/etc/hosts` on the host, to be bound over the image's.
    pub etc_files: EtcFiles,
    /// Size of `/dev/shm`.
    pub shm_size_bytes: u64,
    /// `--cap-add` and `--cap-drop`.
    pub capabilities: Capabilities,
    /// `--privileged`: all capabilities and devices, no seccomp, nothing masked.
    pub privileged: bool,
    /// `--device`.
    pub devices: Vec<Device>,
    /// `--annotation`: passed on to the runtime.
    pub annotations: BTreeMap<String, String>,
    /// `--device-cgroup-rule`, such as `c 10:200 rwm`.
    pub device_cgroup_rules: Vec<String>,
    /// The system call filter.
    pub seccomp: Seccomp,
    /// Whether `/proc` and `/sys` show everything (`--security-opt systempaths=unconfined`).
    pub system_paths_unconfined: bool,
    /// `--ulimit`.
    pub rlimits: Vec<Rlimit>,
    /// Network namespace.
    pub network: Network,
    /// IPC namespace and `/dev/shm`.
    pub ipc: Ipc,
    /// PID namespace.
    pub pid: PidNamespace,
    /// UTS namespace.
    pub uts: Uts,
    /// `--cgroupns private`; Docker's default is private on cgroup v2 and host on v1.
    pub cgroup_namespace: bool,
    /// `--sysctl`.
    pub sysctls: BTreeMap<String, String>,
    /// Limits.
    pub resources: Resources,
    /// `--oom-score-adj`.
    pub oom_score_adj: i32,
    /// `--read-only`.
    pub read_only_root: bool,
    /// `--security-opt no-new-privileges`.
    pub no_new_privileges: bool,
    /// `--init`: an init program on the host, run as process 1 from `/sbin/docker-init`.
    pub init: Option<PathBuf>,
    /// The cgroup below which the container's own is made.
    pub cgroup_parent: String,
}

impl ContainerSpec {
    /// A container with Docker's defaults, no network but a loopback device, and the root user.
    pub fn new(id: impl Into<String>, rootfs: impl Into<PathBuf>, args: Vec<String>) -> Self {
        let id = id.into();
        Self {
            hostname: id.chars().take(12).collect(),
            id,
            rootfs: rootfs.into(),
            args,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: User { additional_gids: vec![0], ..User::default() },
            terminal: false,
            mounts: Vec::new(),
            etc_files: EtcFiles::default(),
            shm_size_bytes: 64 << 20,
            capabilities: Capabilities::default(),
            privileged: false,
            devices: Vec::new(),
            annotations: BTreeMap::new(),
            device_cgroup_rules: Vec::new(),
            seccomp: Seccomp::Default,
            system_paths_unconfined: false,
            rlimits: Vec::new(),
            network: Network::None,
            ipc: Ipc::Private,
            pid: PidNamespace::Private,
            uts: Uts::Private,
            cgroup_namespace: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            sysctls: BTreeMap::new(),
            resources: Resources::default(),
            oom_score_adj: 0,
            read_only_root: false,
            no_new_privileges: false,
            init: None,
            cgroup_parent: "/shale".to_owned(),
        }
    }
}

/// `--network`, as far as a runtime without a network driver goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Network {
    /// A namespace of its own with a loopback device.
    #[default]
    None,
    /// The host's.
    Host,
    /// A namespace made by someone else, such as `/proc/<pid>/ns/net` of another container.
    Join(PathBuf),
}

/// `--ipc`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ipc {
    /// A namespace and a `/dev/shm` of its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// A namespace of its own, without `/dev/shm`.
    None,
    /// Another container's namespace and `/dev/shm`.
    Join {
        /// `/proc/<pid>/ns/ipc`.
        namespace: PathBuf,
        /// That container's `/dev/shm`.
        shm: PathBuf,
    },
}

/// `--pid`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PidNamespace {
    /// Of its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// Another container's, `/proc/<pid>/ns/pid`.
    Join(PathBuf),
}

/// `--uts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Uts {
    /// Of its own.
    #[default]
    Private,
    /// The host's.
    Host,
}

/// One `--ulimit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rlimit {
    /// Docker's name: `nofile`, `core`, `nproc` …
    pub name: String,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// cgroup limits; `None` sets none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// `--memory`.
    pub memory_bytes: Option<i64>,
    /// `--memory-swap`: memory and swap together, -1 for no limit; Docker's default is twice the memory.
    pub memory_swap_bytes: Option<i64>,
    /// `--memory-reservation`.
    pub memory_reservation_bytes: Option<i64>,
    /// `--memory-swappiness`, 0 to 100.
    pub memory_swappiness: Option<u64>,
    /// `--oom-kill-disable`.
    pub oom_kill_disable: bool,
    /// `--cpus` times 10⁹.
    pub nano_cpus: Option<i64>,
    /// `--cpu-shares`.
    pub cpu_shares: Option<u64>,
    /// `--cpu-quota`.
    pub cpu_quota_us: Option<i64>,
    /// `--cpu-period`.
    pub cpu_period_us: Option<u64>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: String,
    /// `--cpuset-mems`.
    pub cpuset_mems: String,
    /// `--pids-limit`.
    pub pids_max: Option<i64>,
    /// `--blkio-weight`.
    pub blkio_weight: Option<u16>,
    /// `--cpu-rt-period`.
    pub cpu_realtime_period_us: Option<u64>,
    /// `--cpu-rt-runtime`.
    pub cpu_realtime_runtime_us: Option<i64>,
    /// Limits of single block devices.
    pub block_limits: Vec<BlockLimit>,
}
