//! `hostconfig.json`: how a container is tied to its host.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use shale_runtime::Restart;

use super::log_config::LogConfig;

/// What `docker run` without flags writes.
///
/// Source: `hostconfig.json` of dockerd 20.10.24, observed 2026-11-22.
const DEFAULT: &str = r#"{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"json-file","Config":{}},"NetworkMode":"none","PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":false,"VolumeDriver":"","VolumesFrom":null,"CapAdd":null,"CapDrop":null,"CgroupnsMode":"host","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"private","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":67108864,"Runtime":"runc","ConsoleSize":[0,0],"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"BlkioDeviceWriteBps":[],"BlkioDeviceReadIOps":[],"BlkioDeviceWriteIOps":[],"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,"DeviceRequests":null,"KernelMemory":0,"KernelMemoryTCP":0,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":null,"OomKillDisable":false,"PidsLimit":null,"Ulimits":[],"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":["/proc/asound","/proc/acpi","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/timer_list","/proc/timer_stats","/proc/sched_debug","/proc/scsi","/sys/firmware"],"ReadonlyPaths":["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]}"#;

/// Docker's host config, as the document that is stored and shown; [`HostConfig::read`] gives the parts that count.
#[derive(Debug, Clone, PartialEq)]
pub struct HostConfig(pub(super) Value);

impl Default for HostConfig {
    fn default() -> HostConfig {
        HostConfig(serde_json::from_str(DEFAULT).expect("the text above is JSON"))
    }
}

impl HostConfig {
    /// Takes the keys of a document over the defaults, as the Engine API does.
    pub fn from_document(document: &Value) -> HostConfig {
        let mut config = HostConfig::default();
        for (key, value) in document.as_object().into_iter().flatten() {
            let is_unset = value.is_null() || value == "" || (value == 0 && key == "ShmSize");
            if !is_unset {
                config.set(key, value.clone());
            }
        }
        config
    }

    /// Sets one of Docker's keys.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0[key] = value.into();
    }

    /// Returns the document.
    pub fn document(&self) -> &Value {
        &self.0
    }

    pub(super) fn read(&self) -> Result<Settings, serde_json::Error> {
        Settings::deserialize(&self.0)
    }
}

/// The parts of a host config that a container here is made of.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Settings {
    pub binds: Option<Vec<String>>,
    pub mounts: Option<Vec<MountRequest>>,
    pub tmpfs: Option<BTreeMap<String, String>>,
    pub network_mode: String,
    pub auto_remove: bool,
    pub runtime: String,
    pub restart_policy: RestartPolicy,
    pub log_config: LogConfig,
    pub cap_add: Option<Vec<String>>,
    pub cap_drop: Option<Vec<String>>,
    pub devices: Option<Vec<DeviceRequest>>,
    pub device_cgroup_rules: Option<Vec<String>>,
    pub extra_hosts: Option<Vec<String>>,
    pub group_add: Option<Vec<String>>,
    pub ipc_mode: String,
    pub pid_mode: String,
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    pub cgroupns_mode: String,
    pub privileged: bool,
    pub readonly_rootfs: bool,
    pub security_opt: Option<Vec<String>>,
    pub sysctls: Option<BTreeMap<String, String>>,
    pub shm_size: u64,
    pub oom_score_adj: i32,
    pub ulimits: Option<Vec<Ulimit>>,
    pub init: Option<bool>,
    pub memory: i64,
    pub memory_swap: i64,
    pub memory_reservation: i64,
    pub memory_swappiness: Option<i64>,
    pub oom_kill_disable: Option<bool>,
    pub nano_cpus: i64,
    pub cpu_shares: i64,
    pub cpu_period: i64,
    pub cpu_quota: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub pids_limit: Option<i64>,
    pub blkio_weight: u16,
    pub blkio_weight_device: Option<Vec<WeightDevice>>,
    pub blkio_device_read_bps: Option<Vec<ThrottledDevice>>,
    pub blkio_device_write_bps: Option<Vec<ThrottledDevice>>,
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Option<Vec<ThrottledDevice>>,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Option<Vec<ThrottledDevice>>,
    pub cpu_realtime_period: u64,
    pub cpu_realtime_runtime: i64,
    pub cgroup_parent: String,
    pub annotations: Option<BTreeMap<String, String>>,
    pub dns: Option<Vec<String>>,
    pub dns_options: Option<Vec<String>>,
    pub dns_search: Option<Vec<String>>,
    pub volumes_from: Option<Vec<String>>,
    pub volume_driver: String,
    pub links: Option<Vec<String>>,
    pub device_requests: Option<Vec<Value>>,
    pub storage_opt: Option<BTreeMap<String, String>>,
}

/// One `--blkio-weight-device`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct WeightDevice {
    pub path: String,
    pub weight: u16,
}

/// One `--device-read-bps` or one of its kin.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ThrottledDevice {
    pub path: String,
    pub rate: u64,
}

/// `--restart`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RestartPolicy {
    pub name: String,
    pub maximum_retry_count: u32,
}

impl RestartPolicy {
    pub fn restart(&self) -> Restart {
        match self.name.as_str() {
            "always" | "unless-stopped" => Restart::Always,
            "on-failure" => Restart::OnFailure { retries_max: self.maximum_retry_count },
            _ => Restart::No,
        }
    }
}

/// One `--mount`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct MountRequest {
    #[serde(rename = "Type")]
    pub kind: String,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub bind_options: Option<BindOptions>,
    pub volume_options: Option<VolumeOptions>,
    pub tmpfs_options: Option<TmpfsOptions>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct BindOptions {
    pub propagation: String,
    pub non_recursive: bool,
    pub read_only_force_recursive: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct VolumeOptions {
    pub no_copy: bool,
    pub labels: Option<BTreeMap<String, String>>,
    pub driver_config: Option<DriverConfig>,
    pub subpath: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DriverConfig {
    pub name: String,
    pub options: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TmpfsOptions {
    pub size_bytes: i64,
    pub mode: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeviceRequest {
    pub path_on_host: String,
    pub path_in_container: String,
    pub cgroup_permissions: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}
