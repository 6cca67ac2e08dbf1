//! From a [`ContainerSpec`] to the OCI runtime's `config.json`.
//!
//! Differences from dockerd 20.10 that have no effect in a container: no prestart hook (the runtime itself raises the
//! loopback device), zero limits are left out, and capabilities that this process could not give are not asked for.

use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{
    CapabilityError, ContainerSpec, Device, Ipc, MountError, Network, PidNamespace, Resources, Rlimit,
    Seccomp, UserError, Uts, block_limit, host_devices, mount, seccomp,
};
use crate::find::IdMap;
use crate::root_dir::{self, RootDir};

/// The variable that Docker sets when the image sets none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Docker's smallest memory limit.
const MEMORY_BYTES_MIN: i64 = 6 << 20;

/// The limits that the kernel has for a process, by the names of `--ulimit`.
pub const RLIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

const MASKED_PATHS: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Why a container cannot be described to the runtime.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The ID has characters that a path or a cgroup cannot carry.
    #[error("invalid container ID \"{id}\"")]
    Id {
        /// As given.
        id: String,
    },
    /// No program; Docker's text.
    #[error("No command specified")]
    NoCommand,
    /// The working directory is relative; Docker's text.
    #[error("the working directory '{cwd}' is invalid, it needs to be an absolute path")]
    RelativeCwd {
        /// As given.
        cwd: PathBuf,
    },
    /// The working directory cannot be made; the text is Docker's.
    #[error("Cannot mkdir: {cwd} is not a directory")]
    CwdNotADirectory {
        /// As given.
        cwd: PathBuf,
    },
    /// The root cannot be opened, or the working directory cannot be made in it.
    #[error("could not prepare {path} in the root filesystem")]
    Root {
        /// What was being opened or made.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// `--memory` below 6 MiB; Docker's text.
    #[error("Minimum memory limit allowed is 6MB")]
    MemoryTooSmall,
    /// A `--device-cgroup-rule` that does not read `[acb] major:minor [rwm]`; Docker's text.
    #[error("invalid device cgroup rule format: '{rule}'")]
    DeviceRule {
        /// As given.
        rule: String,
    },
    /// A `--ulimit` whose name the kernel does not know; Docker's text.
    #[error("invalid ulimit type: {name}")]
    Rlimit {
        /// As given.
        name: String,
    },
    /// Bad `--cap-add` or `--cap-drop`.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    /// Bad mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Bad user.
    #[error(transparent)]
    User(#[from] UserError),
}

impl ContainerSpec {
    /// The bundle's `config.json`; makes the working directory and missing mount points in the root.
    ///
    /// `id_map` is set for an ordinary user: the container then gets a user namespace and none of what the kernel
    /// keeps for real root (cgroup limits, device nodes, kernel parameters).
    pub(crate) fn bundle_config(&self, id_map: Option<&IdMap>) -> Result<Value, SpecError> {
        self.check()?;
        let capabilities = self.capabilities.resolve(self.privileged)?;
        self.make_cwd()?;
        let mut args = self.args.clone();
        if self.init.is_some() {
            args.splice(0..0, ["/sbin/docker-init".to_owned(), "--".to_owned()]);
        }
        let mut process = process_value(self, &args, &capabilities);
        let mut linux = Map::new();
        if let Some(map) = id_map {
            // One mapped id, or a kernel that denies setgroups: supplementary groups cannot be set.
            process["user"]["additionalGids"] = json!([]);
            linux.insert("uidMappings".into(), map.uid_values());
            linux.insert("gidMappings".into(), map.gid_values());
        } else {
            self.root_only(&mut linux)?;
        }
        linux.insert("namespaces".into(), self.namespaces(id_map.is_some()));
        if !self.privileged && !self.system_paths_unconfined {
            linux.insert("maskedPaths".into(), json!(MASKED_PATHS));
            linux.insert("readonlyPaths".into(), json!(READ_ONLY_PATHS));
        }
        match &self.seccomp {
            _ if self.privileged => {}
            Seccomp::Default => {
                linux.insert("seccomp".into(), seccomp::default_profile(&capabilities));
            }
            Seccomp::Custom(profile) => {
                linux.insert("seccomp".into(), profile.clone());
            }
            Seccomp::Unconfined => {}
        }
        let mut config = json!({
            "ociVersion": "1.0.2-dev",
            "process": process,
            "root": { "path": self.rootfs },
            "mounts": mount::mount_values(self, id_map.is_some())?,
        });
        if self.read_only_root {
            config["root"]["readonly"] = json!(true);
        }
        if self.uts == Uts::Private {
            config["hostname"] = json!(self.hostname);
        }
        if !self.annotations.is_empty() {
            config["annotations"] = json!(self.annotations);
        }
        config["linux"] = Value::Object(linux);
        Ok(config)
    }

    fn check(&self) -> Result<(), SpecError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let starts_well = self.id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !starts_well || self.id.len() > 128 || !self.id.bytes().all(plain) {
            return Err(SpecError::Id { id: self.id.clone() });
        }
        if self.args.first().is_none_or(String::is_empty) {
            return Err(SpecError::NoCommand);
        }
        if !root_dir::is_plain_absolute(&self.cwd) {
            return Err(SpecError::RelativeCwd { cwd: self.cwd.clone() });
        }
        if let Some(limit) = self.rlimits.iter().find(|limit| !RLIMITS.contains(&limit.name.as_str())) {
            return Err(SpecError::Rlimit { name: limit.name.clone() });
        }
        if self.resources.memory_bytes.is_some_and(|bytes| bytes > 0 && bytes < MEMORY_BYTES_MIN) {
            return Err(SpecError::MemoryTooSmall);
        }
        Ok(())
    }

    fn make_cwd(&self) -> Result<(), SpecError> {
        let root = RootDir::open(&self.rootfs)
            .map_err(|source| SpecError::Root { path: self.rootfs.clone(), source })?;
        // A working directory on a mount is made there by the runtime.
        if self.mounts.iter().any(|mount| self.cwd.starts_with(mount.target())) {
            return Ok(());
        }
        if ["/dev", "/proc", "/sys"].iter().any(|pseudo| self.cwd.starts_with(pseudo)) {
            return Ok(());
        }
        root.make_directories(&self.cwd).map_err(|source| {
            if source.kind() == io::ErrorKind::NotADirectory {
                SpecError::CwdNotADirectory { cwd: self.cwd.clone() }
            } else {
                SpecError::Root { path: self.cwd.clone(), source }
            }
        })
    }

    /// What only real root may ask of the kernel.
    fn root_only(&self, linux: &mut Map<String, Value>) -> Result<(), SpecError> {
        let mut sysctls = self.sysctls.clone();
        if self.network == Network::None {
            // Ports below 1024 and `ping` are open to every user: the namespace is the container's own.
            sysctls.entry("net.ipv4.ip_unprivileged_port_start".into()).or_insert("0".into());
            sysctls.entry("net.ipv4.ping_group_range".into()).or_insert("0 2147483647".into());
        }
        if !sysctls.is_empty() {
            linux.insert("sysctl".into(), json!(sysctls));
        }
        let mut resources = resource_values(&self.resources);
        let devices = if self.privileged { host_devices() } else { self.devices.clone() };
        resources.insert("devices".into(), self.device_rules()?);
        linux.insert("resources".into(), Value::Object(resources));
        linux.insert("cgroupsPath".into(), json!(self.cgroup_path()));
        if !devices.is_empty() {
            linux.insert("devices".into(), devices.iter().map(device_value).collect());
        }
        Ok(())
    }

    /// Path of the container's cgroup below each hierarchy.
    pub fn cgroup_path(&self) -> String {
        format!("{}/{}", self.cgroup_parent.trim_end_matches('/'), self.id)
    }

    fn device_rules(&self) -> Result<Value, SpecError> {
        if self.privileged {
            return Ok(json!([{ "allow": true, "access": "rwm" }]));
        }
        let character = |allow: bool, major: u32, minor: u32| json!({ "allow": allow, "type": "c", "major": major, "minor": minor, "access": "rwm" });
        // zero, null, urandom, random, tty, console; never fuse.
        let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
        rules.extend([(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)].map(|(a, b)| character(true, a, b)));
        rules.push(character(false, 10, 229));
        rules.extend(self.devices.iter().map(|device| {
            json!({
                "allow": true, "type": device.kind.letter(), "major": device.major, "minor": device.minor,
                "access": device.access,
            })
        }));
        for rule in &self.device_cgroup_rules {
            rules.push(device_rule(rule).ok_or_else(|| SpecError::DeviceRule { rule: rule.clone() })?);
        }
        Ok(Value::Array(rules))
    }

    fn namespaces(&self, with_user: bool) -> Value {
        let own = |kind: &str| json!({ "type": kind });
        let joined = |kind: &str, path: &PathBuf| json!({ "type": kind, "path": path });
        let mut namespaces = vec![own("mount")];
        match &self.network {
            Network::None => namespaces.push(own("network")),
            Network::Join(path) => namespaces.push(joined("network", path)),
            Network::Host => {}
        }
        if self.uts == Uts::Private {
            namespaces.push(own("uts"));
        }
        match &self.pid {
            PidNamespace::Private => namespaces.push(own("pid")),
            PidNamespace::Join(path) => namespaces.push(joined("pid", path)),
            PidNamespace::Host => {}
        }
        match &self.ipc {
            Ipc::Private | Ipc::None => namespaces.push(own("ipc")),
            Ipc::Join { namespace, .. } => namespaces.push(joined("ipc", namespace)),
            Ipc::Host => {}
        }
        if self.cgroup_namespace && !with_user {
            namespaces.push(own("cgroup"));
        }
        if with_user {
            namespaces.push(own("user"));
        }
        Value::Array(namespaces)
    }
}

/// The `process` value. Inheritable and ambient capabilities are never set.
fn process_value(spec: &ContainerSpec, args: &[String], capabilities: &[&str]) -> Value {
    let mut process = json!({
        "user": {
            "uid": spec.user.uid, "gid": spec.user.gid, "additionalGids": spec.user.additional_gids,
        },
        "args": args,
        "env": docker_environment(&spec.env, &spec.hostname, spec.terminal),
        "cwd": spec.cwd,
        "capabilities": { "bounding": capabilities },
        "oomScoreAdj": spec.oom_score_adj,
    });
    if spec.user.uid == 0 {
        // Any other user loses them in the kernel when the user is set.
        process["capabilities"]["effective"] = json!(capabilities);
        process["capabilities"]["permitted"] = json!(capabilities);
    }
    if spec.terminal {
        process["terminal"] = json!(true);
    }
    if spec.no_new_privileges {
        process["noNewPrivileges"] = json!(true);
    }
    let limits: Vec<Value> = spec.rlimits.iter().map(rlimit_value).collect();
    if !limits.is_empty() {
        process["rlimits"] = Value::Array(limits);
    }
    process
}

/// `PATH`, `HOSTNAME` and, with a terminal, `TERM`, as far as `env` does not set them, then `env`; an entry without
/// `=` takes the variable away.
///
/// Source: moby container/env.go, observed with dockerd 20.10.24.
pub fn docker_environment(env: &[String], hostname: &str, terminal: bool) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut built = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if terminal {
        built.push("TERM=xterm".to_owned());
    }
    for entry in env {
        let variable = name(entry);
        let place = built.iter().position(|earlier| name(earlier) == variable);
        match (place, entry.contains('=')) {
            (Some(place), true) => built[place] = entry.clone(),
            (Some(place), false) => drop(built.remove(place)),
            (None, true) => built.push(entry.clone()),
            (None, false) => {}
        }
    }
    built
}

fn rlimit_value(limit: &Rlimit) -> Value {
    json!({ "type": format!("RLIMIT_{}", limit.name.to_ascii_uppercase()), "soft": limit.soft, "hard": limit.hard })
}

pub(crate) fn resource_values(asked: &Resources) -> Map<String, Value> {
    let mut memory = Map::new();
    let mut cpu = Map::new();
    let set = |map: &mut Map<String, Value>, key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(key.to_owned(), value);
        }
    };
    let limit = asked.memory_bytes.filter(|&bytes| bytes > 0);
    set(&mut memory, "limit", limit.map(Value::from));
    let swap = asked.memory_swap_bytes.or(limit.map(|bytes| bytes * 2));
    set(&mut memory, "swap", swap.map(Value::from));
    set(&mut memory, "reservation", asked.memory_reservation_bytes.map(Value::from));
    set(&mut memory, "swappiness", asked.memory_swappiness.map(Value::from));
    set(&mut memory, "disableOOMKiller", asked.oom_kill_disable.then_some(Value::Bool(true)));
    let (quota, period) = match asked.nano_cpus {
        Some(nano) => (Some(nano / 10_000), Some(100_000)),
        None => (asked.cpu_quota_us, asked.cpu_period_us),
    };
    set(&mut cpu, "shares", asked.cpu_shares.map(Value::from));
    set(&mut cpu, "quota", quota.map(Value::from));
    set(&mut cpu, "period", period.map(Value::from));
    set(&mut cpu, "realtimePeriod", asked.cpu_realtime_period_us.map(Value::from));
    set(&mut cpu, "realtimeRuntime", asked.cpu_realtime_runtime_us.map(Value::from));
    set(&mut cpu, "cpus", Some(&asked.cpuset_cpus).filter(|set| !set.is_empty()).map(|set| json!(set)));
    set(&mut cpu, "mems", Some(&asked.cpuset_mems).filter(|set| !set.is_empty()).map(|set| json!(set)));
    let mut resources = Map::new();
    for (key, map) in [("memory", memory), ("cpu", cpu)] {
        if !map.is_empty() {
            resources.insert(key.to_owned(), Value::Object(map));
        }
    }
    if let Some(pids) = asked.pids_max {
        resources.insert("pids".to_owned(), json!({ "limit": pids }));
    }
    let mut block = Map::new();
    set(&mut block, "weight", asked.blkio_weight.map(Value::from));
    block_limit::add(&asked.block_limits, &mut block);
    if !block.is_empty() {
        resources.insert("blockIO".to_owned(), Value::Object(block));
    }
    resources
}

fn device_value(device: &Device) -> Value {
    json!({
        "path": device.path, "type": device.kind.letter(), "major": device.major, "minor": device.minor,
        "fileMode": device.mode, "uid": device.uid, "gid": device.gid,
    })
}

/// `c 10:200 rwm`, `a *:* rwm`.
fn device_rule(written: &str) -> Option<Value> {
    let mut words = written.split(' ');
    let kind = words.next().filter(|kind| ["a", "b", "c"].contains(kind))?;
    let (major, minor) = words.next()?.split_once(':')?;
    let access =
        words.next().filter(|access| !access.is_empty() && access.bytes().all(|b| b"rwm".contains(&b)))?;
    if words.next().is_some() {
        return None;
    }
    let number = |text: &str| match text {
        "*" => Some(-1),
        digits => digits.parse::<u32>().ok().map(i64::from),
    };
    Some(json!({
        "allow": true, "type": kind, "major": number(major)?, "minor": number(minor)?, "access": access,
    }))
}
