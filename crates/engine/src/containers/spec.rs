//! A container's record → what the runtime is told.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shale_runtime::ContainerSpec;
use shale_runtime::spec::{
    BindMount, Capabilities, Device, DeviceError, EtcFiles, HostsFile, Ipc, Mount, Network, PidNamespace,
    Propagation, Resources, Rlimit, Seccomp, TmpfsMount, User, UserError, Uts, resolv_conf,
};

use super::Record;
use super::settings::Settings;

/// Why a container's settings cannot be carried out. The messages are Docker's where it has them.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// `hostconfig.json` is none.
    #[error("the container's host config cannot be read")]
    Document(#[from] serde_json::Error),
    /// A network that only a daemon can make.
    #[error(
        "network {0} not found: Shale knows the networks \"none\" and \"host\", and \"container:NAME\" for that of another container"
    )]
    Network(String),
    /// An unknown `--security-opt`.
    #[error("invalid --security-opt 2: {0:?}")]
    SecurityOption(String),
    /// A file of `--security-opt seccomp=` that is no profile.
    #[error("opening seccomp profile ({0}) failed")]
    SeccompProfile(String),
    /// `--ipc`, `--pid` or `--uts` with another word.
    #[error("invalid {kind} mode: {mode}")]
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
    /// The smallest limit.
    #[error("Minimum memory limit allowed is 6MB")]
    MemoryTooSmall,
    /// More processors than there are.
    #[error("Range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available")]
    Cpus(usize),
    /// `--add-host` without an address.
    #[error("invalid add-host: {0}")]
    ExtraHost(String),
}

/// Refuses at once what could never start.
pub(super) fn check(settings: &Settings) -> Result<(), SettingsError> {
    network(settings, &|_| None).map(drop)?;
    if settings.memory > 0 && settings.memory < 6 << 20 {
        return Err(SettingsError::MemoryTooSmall);
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if settings.nano_cpus < 0 || settings.nano_cpus > cpus as i64 * 1_000_000_000 {
        return Err(SettingsError::Cpus(cpus));
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
    spec.resources = resources(settings);
    spec.oom_score_adj = settings.oom_score_adj;
    spec.read_only_root = settings.readonly_rootfs;
    if settings.init == Some(true) {
        spec.init = Some(init_program()?);
    }
    Ok(spec)
}

fn network(settings: &Settings, pid_of: &dyn Fn(&str) -> Option<u32>) -> Result<Network, SettingsError> {
    match settings.network_mode.as_str() {
        "" | "none" | "default" => Ok(Network::None),
        "host" => Ok(Network::Host),
        mode => match mode.strip_prefix("container:") {
            Some(other) => Ok(match pid_of(other) {
                Some(pid) => Network::Join(format!("/proc/{pid}/ns/net").into()),
                None => Network::None,
            }),
            None => Err(SettingsError::Network(mode.to_owned())),
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
        cpu_shares: (settings.cpu_shares > 0).then_some(settings.cpu_shares),
        cpu_quota_us: (settings.cpu_quota != 0).then_some(settings.cpu_quota),
        cpu_period_us: (settings.cpu_period > 0).then_some(settings.cpu_period),
        cpuset_cpus: settings.cpuset_cpus.clone(),
        cpuset_mems: settings.cpuset_mems.clone(),
        pids_max: settings.pids_limit.filter(|limit| *limit != 0),
        blkio_weight: (settings.blkio_weight > 0).then_some(settings.blkio_weight),
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
            recursive: true,
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
        resolv_conf: write("resolv.conf", resolv_conf(&read("/etc/resolv.conf"), network))?,
        hostname: write("hostname", format!("{host_name}\n"))?,
        hosts: write("hosts", HostsFile { extra }.text(network, &read("/etc/hosts")))?,
    })
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
