//! A container's record → what the runtime is told.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shale_runtime::ContainerSpec;
use shale_runtime::spec::{
    BindMount, BlockLimit, BlockLimitKind, Capabilities, Device, DeviceError, Dns, EtcFiles, HostsFile, Ipc,
    Mount, Network, PidNamespace, Propagation, Resources, Rlimit, Seccomp, TmpfsMount, User, UserError, Uts,
    resolv_conf,
};

use super::Record;
use super::limits::{self, LimitError};
use super::links::LinkError;
use super::log_config::LogOptionError;
use super::settings::{Settings, ThrottledDevice};

/// Why a container's settings cannot be carried out. The messages are Docker's where it has them.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// `hostconfig.json` is none.
    #[error("the container's host config cannot be read")]
    Document(#[from] serde_json::Error),
    /// An unknown `--security-opt`.
    #[error("invalid --security-opt 2: {0:?}")]
    SecurityOption(String),
    /// A file of `--security-opt seccomp=` that is no profile.
    #[error("opening seccomp profile ({0}) failed")]
    SeccompProfile(String),
    /// `--ipc`, `--pid` or `--uts` with another word.
    #[error("Invalid {kind} mode: {mode}")]
    Mode {
        /// Which namespace.
        kind: &'static str,
        /// As given.
        mode: String,
    },
    /// `--init`, and there is no such program.
    #[error(
        "exec: \"docker-init\": executable file not found in $PATH: install the package tini, or leave --init out"
    )]
    NoInit,
    /// A device of the host.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The user is not one of the image's.
    #[error(transparent)]
    User(#[from] UserError),
    /// `/etc/hosts` and its like could not be written.
    #[error("could not write {path}")]
    EtcFile {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A log driver or an option of one that there is not.
    #[error(transparent)]
    Log(#[from] LogOptionError),
    /// Limits that contradict themselves or the machine.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A device that is to be slowed down and is not there.
    #[error("stat {path}: {}", reason(source))]
    Throttled {
        /// The device.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A control group outside of the containers' own hierarchy.
    #[error("invalid cgroup parent {0:?}: it has to be a path without \"..\"")]
    CgroupParent(String),
    /// The network of a container that does not run.
    #[error("cannot join network of a non running container: {0}")]
    NotJoined(String),
    /// An option of `--tmpfs`.
    #[error("invalid tmpfs option [{0:?}]")]
    TmpfsOption(String),
    /// `--stop-signal`.
    #[error("Invalid signal: {0}")]
    StopSignal(String),
    /// `--link`.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// `--gpus`.
    #[error("could not select device driver \"\" with capabilities: [[gpu]]; give its nodes with --device")]
    DeviceRequest,
    /// `--storage-opt`.
    #[error("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")]
    StorageOption,
    /// `--add-host` without an address.
    #[error("invalid add-host: {0}")]
    ExtraHost(String),
}

/// Refuses at once what could never start.
pub(super) fn check(settings: &Settings) -> Result<(), SettingsError> {
    // Any process will do: whose network it is is looked at when the container starts.
    network(settings, &|_| Some(1)).map(drop)?;
    limits::check(settings)?;
    settings.log_config.check()?;
    for option in settings.tmpfs.iter().flatten().flat_map(|(_, options)| options.split(',')) {
        check_tmpfs_option(option)?;
    }
    super::links::check_network(settings)?;
    if settings.device_requests.as_ref().is_some_and(|requests| !requests.is_empty()) {
        return Err(SettingsError::DeviceRequest);
    }
    if settings.storage_opt.as_ref().is_some_and(|options| !options.is_empty()) {
        return Err(SettingsError::StorageOption);
    }
    if settings.cgroup_parent.split('/').any(|part| part == "..") {
        return Err(SettingsError::CgroupParent(settings.cgroup_parent.clone()));
    }
    if settings.init == Some(true) {
        init_program()?;
    }
    security(settings).map(drop)
}

/// Builds the description of a container whose files are mounted at `root`.
///
/// `pid_of` finds the first process of another running container, for namespaces that are joined.
pub(super) fn build(
    record: &Record,
    settings: &Settings,
    root: &Path,
    directory: &Path,
    pid_of: &dyn Fn(&str) -> Option<u32>,
) -> Result<ContainerSpec, SettingsError> {
    let config = record.config();
    let network = network(settings, pid_of)?;
    let mut spec = ContainerSpec::new(record.id.clone(), root, record.command());
    spec.env = config.env.clone().unwrap_or_default();
    if !config.working_dir.is_empty() {
        spec.cwd = PathBuf::from(&config.working_dir);
    }
    let group_add = settings.group_add.clone().unwrap_or_default();
    spec.user = User::resolve(root, &config.user, &group_add)?;
    spec.hostname.clone_from(&config.hostname);
    spec.terminal = config.tty;
    spec.etc_files = etc_files(record, settings, &network, directory)?;
    spec.mounts = mounts(record, settings);
    if settings.shm_size > 0 {
        spec.shm_size_bytes = settings.shm_size;
    }
    spec.capabilities = Capabilities {
        add: settings.cap_add.clone().unwrap_or_default(),
        drop: settings.cap_drop.clone().unwrap_or_default(),
    };
    spec.privileged = settings.privileged;
    for device in settings.devices.iter().flatten() {
        spec.devices.push(Device::from_host(
            Path::new(&device.path_on_host),
            Path::new(&device.path_in_container),
            &device.cgroup_permissions,
        )?);
    }
    spec.device_cgroup_rules = settings.device_cgroup_rules.clone().unwrap_or_default();
    let security = security(settings)?;
    spec.seccomp = security.seccomp;
    spec.no_new_privileges = security.no_new_privileges;
    spec.system_paths_unconfined = security.system_paths_unconfined;
    spec.rlimits = settings.ulimits.iter().flatten().map(rlimit).collect();
    spec.network = network;
    spec.ipc = ipc(settings, pid_of)?;
    spec.pid = match settings.pid_mode.as_str() {
        "" | "private" => PidNamespace::Private,
        "host" => PidNamespace::Host,
        mode => match mode.strip_prefix("container:").and_then(pid_of) {
            Some(pid) => PidNamespace::Join(format!("/proc/{pid}/ns/pid").into()),
            None => return Err(SettingsError::Mode { kind: "PID", mode: mode.to_owned() }),
        },
    };
    spec.uts = match settings.uts_mode.as_str() {
        "" => Uts::Private,
        "host" => Uts::Host,
        mode => return Err(SettingsError::Mode { kind: "UTS", mode: mode.to_owned() }),
    };
    if settings.network_mode == "host" {
        // Docker shares the host's name there unless one was given.
        spec.uts = if config.hostname == host_name() { Uts::Host } else { spec.uts };
    }
    match settings.cgroupns_mode.as_str() {
        "private" => spec.cgroup_namespace = true,
        "host" => spec.cgroup_namespace = false,
        _ => {}
    }
    spec.sysctls = settings.sysctls.clone().unwrap_or_default();
    spec.resources = Resources { block_limits: block_limits(settings)?, ..resources(settings) };
    spec.annotations = settings.annotations.clone().unwrap_or_default();
    if !settings.cgroup_parent.is_empty() {
        spec.cgroup_parent = format!("/{}", settings.cgroup_parent.trim_matches('/'));
    }
    spec.oom_score_adj = settings.oom_score_adj;
    spec.read_only_root = settings.readonly_rootfs;
    if settings.init == Some(true) {
        spec.init = Some(init_program()?);
    }
    Ok(spec)
}

/// Source: moby `pkg/mount` `MergeTmpfsOptions` at v20.10.24.
fn check_tmpfs_option(option: &str) -> Result<(), SettingsError> {
    const WORDS: [&str; 30] = [
        "async",
        "atime",
        "bind",
        "defaults",
        "dev",
        "diratime",
        "dirsync",
        "exec",
        "mand",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "nomand",
        "norelatime",
        "nostrictatime",
        "nosuid",
        "private",
        "relatime",
        "remount",
        "ro",
        "rprivate",
        "rshared",
        "rslave",
        "rw",
        "shared",
        "slave",
        "strictatime",
        "suid",
        "sync",
    ];
    const VALUES: [&str; 7] = ["gid", "mode", "mpol", "nr_blocks", "nr_inodes", "size", "uid"];
    let is_known = match option.split_once('=') {
        Some((name, _)) => VALUES.contains(&name),
        None => option.is_empty() || WORDS.contains(&option),
    };
    if is_known { Ok(()) } else { Err(SettingsError::TmpfsOption(option.to_owned())) }
}

fn network(settings: &Settings, pid_of: &dyn Fn(&str) -> Option<u32>) -> Result<Network, SettingsError> {
    match settings.network_mode.as_str() {
        "" | "none" | "default" => Ok(Network::None),
        "host" => Ok(Network::Host),
        mode => match mode.strip_prefix("container:") {
            Some(other) => match pid_of(other) {
                Some(pid) => Ok(Network::Join(format!("/proc/{pid}/ns/net").into())),
                None => Err(SettingsError::NotJoined(other.to_owned())),
            },
            // One that somebody made: there is no bridge that could connect to others.
            None => Ok(Network::None),
        },
    }
}

fn ipc(settings: &Settings, pid_of: &dyn Fn(&str) -> Option<u32>) -> Result<Ipc, SettingsError> {
    Ok(match settings.ipc_mode.as_str() {
        "" | "private" | "shareable" => Ipc::Private,
        "host" => Ipc::Host,
        "none" => Ipc::None,
        mode => match mode.strip_prefix("container:").and_then(pid_of) {
            Some(pid) => Ipc::Join {
                namespace: format!("/proc/{pid}/ns/ipc").into(),
                shm: format!("/proc/{pid}/root/dev/shm").into(),
            },
            None => return Err(SettingsError::Mode { kind: "IPC", mode: mode.to_owned() }),
        },
    })
}

struct Security {
    seccomp: Seccomp,
    no_new_privileges: bool,
    system_paths_unconfined: bool,
}

fn security(settings: &Settings) -> Result<Security, SettingsError> {
    let mut security =
        Security { seccomp: Seccomp::Default, no_new_privileges: false, system_paths_unconfined: false };
    for option in settings.security_opt.iter().flatten() {
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (key, value) {
            ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("systempaths", "unconfined") => security.system_paths_unconfined = true,
            ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin") => security.seccomp = Seccomp::Default,
            // The option carries the profile itself: the command line reads the file.
            ("seccomp", profile) => {
                let profile = serde_json::from_str(profile)
                    .map_err(|_| SettingsError::SeccompProfile(profile.chars().take(80).collect()))?;
                security.seccomp = Seccomp::Custom(profile);
            }
            // There is nothing to label with here, as on a host without these modules.
            ("apparmor" | "label", _) => {}
            _ => return Err(SettingsError::SecurityOption(option.clone())),
        }
    }
    Ok(security)
}

pub(super) fn resources(settings: &Settings) -> Resources {
    let positive = |number: i64| (number > 0).then_some(number);
    Resources {
        memory_bytes: positive(settings.memory),
        memory_swap_bytes: (settings.memory_swap != 0).then_some(settings.memory_swap),
        memory_reservation_bytes: positive(settings.memory_reservation),
        memory_swappiness: settings.memory_swappiness.and_then(|number| number.try_into().ok()),
        oom_kill_disable: settings.oom_kill_disable.unwrap_or(false),
        nano_cpus: positive(settings.nano_cpus),
        cpu_shares: u64::try_from(settings.cpu_shares).ok().filter(|shares| *shares > 0),
        cpu_quota_us: (settings.cpu_quota != 0).then_some(settings.cpu_quota),
        cpu_period_us: u64::try_from(settings.cpu_period).ok().filter(|period| *period > 0),
        cpu_realtime_period_us: (settings.cpu_realtime_period > 0).then_some(settings.cpu_realtime_period),
        cpu_realtime_runtime_us: (settings.cpu_realtime_runtime != 0)
            .then_some(settings.cpu_realtime_runtime),
        cpuset_cpus: settings.cpuset_cpus.clone(),
        cpuset_mems: settings.cpuset_mems.clone(),
        pids_max: settings.pids_limit.filter(|limit| *limit != 0),
        blkio_weight: (settings.blkio_weight > 0).then_some(settings.blkio_weight),
        block_limits: Vec::new(),
    }
}

/// `--blkio-weight-device` and `--device-read-bps` with its kin: the kernel knows devices by their numbers.
fn block_limits(settings: &Settings) -> Result<Vec<BlockLimit>, SettingsError> {
    let mut limits = Vec::new();
    let mut add = |kind, path: &String, value: u64| {
        let device = BlockLimit::of_device(kind, Path::new(path), value);
        let refused = |source| SettingsError::Throttled { path: path.clone(), source };
        device.map(|limit| limits.push(limit)).map_err(refused)
    };
    for device in settings.blkio_weight_device.iter().flatten() {
        add(BlockLimitKind::Weight, &device.path, device.weight.into())?;
    }
    let kinds: [(BlockLimitKind, &Option<Vec<ThrottledDevice>>); 4] = [
        (BlockLimitKind::ReadBytes, &settings.blkio_device_read_bps),
        (BlockLimitKind::WriteBytes, &settings.blkio_device_write_bps),
        (BlockLimitKind::ReadOperations, &settings.blkio_device_read_iops),
        (BlockLimitKind::WriteOperations, &settings.blkio_device_write_iops),
    ];
    for (kind, devices) in kinds {
        devices.iter().flatten().try_for_each(|device| add(kind, &device.path, device.rate))?;
    }
    Ok(limits)
}

/// What the kernel said, in the words of the C library alone.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn rlimit(limit: &super::settings::Ulimit) -> Rlimit {
    // -1 is the largest there is: no limit.
    Rlimit { name: limit.name.clone(), soft: limit.soft as u64, hard: limit.hard as u64 }
}

fn mounts(record: &Record, settings: &Settings) -> Vec<Mount> {
    let mut mounts = Vec::new();
    for point in record.mount_points() {
        let (Some(source), Some(target)) = (point["Source"].as_str(), point["Destination"].as_str()) else {
            continue;
        };
        let propagation = match point["Propagation"].as_str() {
            _ if point["Type"] == "volume" => None,
            Some("private") => Some(Propagation::Private),
            Some("shared") => Some(Propagation::Shared),
            Some("rshared") => Some(Propagation::RecursiveShared),
            Some("slave") => Some(Propagation::Slave),
            Some("rslave") => Some(Propagation::RecursiveSlave),
            _ => Some(Propagation::RecursivePrivate),
        };
        mounts.push(Mount::Bind(BindMount {
            source: source.into(),
            target: target.into(),
            read_only: point["RW"] == false,
            recursive: point["Spec"]["BindOptions"]["NonRecursive"] != true,
            propagation,
        }));
    }
    for (target, options) in settings.tmpfs.iter().flatten() {
        let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
        mounts.push(Mount::Tmpfs(TmpfsMount { target: target.into(), options }));
    }
    for request in settings.mounts.iter().flatten().filter(|request| request.kind == "tmpfs") {
        let mut options = Vec::new();
        if let Some(asked) = &request.tmpfs_options {
            if asked.size_bytes > 0 {
                options.push(format!("size={}", asked.size_bytes));
            }
            if asked.mode > 0 {
                options.push(format!("mode={:o}", asked.mode));
            }
        }
        if request.read_only {
            options.push("ro".to_owned());
        }
        mounts.push(Mount::Tmpfs(TmpfsMount { target: request.target.clone().into(), options }));
    }
    mounts
}

fn etc_files(
    record: &Record,
    settings: &Settings,
    network: &Network,
    directory: &Path,
) -> Result<EtcFiles, SettingsError> {
    let mut extra = Vec::new();
    for host in settings.extra_hosts.iter().flatten() {
        let (name, address) =
            host.split_once([':', '=']).ok_or_else(|| SettingsError::ExtraHost(host.clone()))?;
        extra.push((name.to_owned(), address.to_owned()));
    }
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let write = |name: &str, text: String| -> Result<Option<PathBuf>, SettingsError> {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|source| SettingsError::EtcFile { path: path.clone(), source })?;
        Ok(Some(path))
    };
    let config = record.config();
    let host_name = match config.domainname.is_empty() {
        true => config.hostname,
        false => format!("{}.{}", config.hostname, config.domainname),
    };
    Ok(EtcFiles {
        resolv_conf: write(
            "resolv.conf",
            dns(settings).apply(&resolv_conf(&read("/etc/resolv.conf"), network)),
        )?,
        hostname: write("hostname", format!("{host_name}\n"))?,
        hosts: write("hosts", HostsFile { extra }.text(network, &read("/etc/hosts")))?,
    })
}

fn dns(settings: &Settings) -> Dns {
    Dns {
        servers: settings.dns.clone().unwrap_or_default(),
        options: settings.dns_options.clone().unwrap_or_default(),
        search: settings.dns_search.clone().unwrap_or_default(),
    }
}

pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn init_program() -> Result<PathBuf, SettingsError> {
    let places =
        ["/usr/libexec/docker/docker-init", "/usr/bin/docker-init", "/usr/bin/tini-static", "/usr/bin/tini"];
    let found = places.into_iter().map(PathBuf::from).find(|path| path.is_file());
    found.ok_or(SettingsError::NoInit)
}
