//! Limits that contradict themselves or this machine, refused before anything is made. The messages are Docker's.
//!
//! Source: moby `daemon/daemon_unix.go` `verifyPlatformContainerResources` at v20.10.24.

use std::path::Path;

use serde_json::Value;

use super::settings::{HostConfig, Settings};

const MEMORY_BYTES_MIN: i64 = 6 << 20;

/// Why limits were refused.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// The smallest limit.
    #[error("Minimum memory limit allowed is 6MB")]
    MemoryTooSmall,
    /// Memory and swap together are less than memory alone.
    #[error("Minimum memoryswap limit should be larger than memory limit, see usage")]
    SwapBelowMemory,
    /// Swap alone.
    #[error("You should always set the Memory limit when using Memoryswap limit, see usage")]
    SwapAlone,
    /// The smallest soft limit.
    #[error("Minimum memory reservation allowed is 6MB")]
    ReservationTooSmall,
    /// The soft limit is above the hard one.
    #[error("Minimum memory limit can not be less than memory reservation limit, see usage")]
    ReservationAboveMemory,
    /// `--cpus` and `--cpu-period` or `--cpu-quota`.
    #[error("Conflicting options: Nano CPUs and CPU {0} cannot both be set")]
    CpusTwice(&'static str),
    /// More processors than there are.
    #[error("Range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available")]
    Cpus(usize),
    /// A negative share.
    #[error("shares: invalid argument")]
    Shares,
    /// A period that the kernel has no clock for.
    #[error("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")]
    Period,
    /// A quota below the clock.
    #[error("CPU cfs quota can not be less than 1ms (i.e. 1000)")]
    Quota,
    /// `--cpuset-cpus` or `--cpuset-mems` is no list of numbers.
    #[error("Invalid value {value} for cpuset {kind}: invalid format: {value}")]
    Set {
        /// `cpus` or `mems`.
        kind: &'static str,
        /// As given.
        value: String,
    },
    /// Processors or memory nodes that are not there.
    #[error("Requested {what} are not available - requested {value}, available: {available}")]
    NotAvailable {
        /// Which.
        what: &'static str,
        /// As given.
        value: String,
        /// What there is.
        available: String,
    },
    /// Outside of what the kernel takes.
    #[error("Range of blkio weight is from 10 to 1000")]
    Weight,
    /// Outside of what the kernel takes.
    #[error("Invalid value {0}, range for oom score adj is [-1000, 1000]")]
    OomScore(i32),
}

/// Refuses limits that could never be set.
pub(super) fn check(settings: &Settings) -> Result<(), LimitError> {
    let (memory, swap, soft) = (settings.memory, settings.memory_swap, settings.memory_reservation);
    if memory != 0 && memory < MEMORY_BYTES_MIN {
        return Err(LimitError::MemoryTooSmall);
    }
    if memory > 0 && swap > 0 && swap < memory {
        return Err(LimitError::SwapBelowMemory);
    }
    if memory == 0 && swap > 0 {
        return Err(LimitError::SwapAlone);
    }
    if soft > 0 && soft < MEMORY_BYTES_MIN {
        return Err(LimitError::ReservationTooSmall);
    }
    if memory > 0 && soft > 0 && memory < soft {
        return Err(LimitError::ReservationAboveMemory);
    }
    check_processors(settings)?;
    if settings.blkio_weight > 0 && !(10..=1000).contains(&settings.blkio_weight) && has_block_weights() {
        return Err(LimitError::Weight);
    }
    if !(-1000..=1000).contains(&settings.oom_score_adj) {
        return Err(LimitError::OomScore(settings.oom_score_adj));
    }
    Ok(())
}

fn check_processors(settings: &Settings) -> Result<(), LimitError> {
    if settings.nano_cpus > 0 && settings.cpu_period > 0 {
        return Err(LimitError::CpusTwice("Period"));
    }
    if settings.nano_cpus > 0 && settings.cpu_quota > 0 {
        return Err(LimitError::CpusTwice("Quota"));
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if settings.nano_cpus < 0 || settings.nano_cpus > cpus as i64 * 1_000_000_000 {
        return Err(LimitError::Cpus(cpus));
    }
    if settings.cpu_shares < 0 {
        return Err(LimitError::Shares);
    }
    if settings.cpu_period != 0 && !(1000..=1_000_000).contains(&settings.cpu_period) {
        return Err(LimitError::Period);
    }
    if settings.cpu_quota > 0 && settings.cpu_quota < 1000 {
        return Err(LimitError::Quota);
    }
    check_set("cpus", "CPUs", &settings.cpuset_cpus, "/sys/devices/system/cpu/online")?;
    check_set("mems", "memory nodes", &settings.cpuset_mems, "/sys/devices/system/node/online")
}

fn check_set(kind: &'static str, what: &'static str, value: &str, online: &str) -> Result<(), LimitError> {
    if value.is_empty() {
        return Ok(());
    }
    let asked = numbers(value).ok_or_else(|| LimitError::Set { kind, value: value.to_owned() })?;
    let available = std::fs::read_to_string(online).unwrap_or_else(|_| "0".to_owned());
    let available = available.trim().to_owned();
    let is_there = |range: &(u32, u32)| {
        let there = numbers(&available).unwrap_or_default();
        there.iter().any(|(first, last)| first <= &range.0 && &range.1 <= last)
    };
    match asked.iter().all(is_there) {
        true => Ok(()),
        false => Err(LimitError::NotAvailable { what, value: value.to_owned(), available }),
    }
}

/// `0-3,5` as ranges.
fn numbers(list: &str) -> Option<Vec<(u32, u32)>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some((first, last))
    };
    list.split(',').map(range).collect()
}

/// Whether the kernel weighs block devices: under the first kind of control groups only some of its schedulers do.
fn has_block_weights() -> bool {
    let groups = Path::new("/sys/fs/cgroup");
    !groups.join("blkio").exists() || groups.join("blkio/blkio.weight").exists()
}

/// Takes away what this kernel has no limit for, and says so.
pub(super) fn discard(settings: &Settings, config: &mut HostConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if has_block_weights() {
        return warnings;
    }
    let mut discard = |key: &str, nothing: Value, what: &str, short: &str| {
        config.set(key, nothing);
        warnings.push(format!(
            "Your kernel does not support Block I/O {what} or the cgroup is not mounted. {short} discarded."
        ));
    };
    if settings.blkio_weight > 0 {
        discard("BlkioWeight", 0.into(), "weight", "Weight");
    }
    if settings.blkio_weight_device.as_ref().is_some_and(|devices| !devices.is_empty()) {
        discard("BlkioWeightDevice", Value::Array(Vec::new()), "weight_device", "Weight-device");
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_ranges() {
        assert_eq!(numbers("0-3,5"), Some(vec![(0, 3), (5, 5)]));
        for wrong in ["x", "", "3-1", "1,", "-1"] {
            assert_eq!(numbers(wrong), None, "{wrong}");
        }
    }
}
