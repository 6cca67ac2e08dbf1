//! What a container uses: processor, memory, processes, disks, network.

use std::collections::BTreeMap;
use std::path::Path;

use super::Cgroups;

/// One reading of a container's counters. Fields that the machine does not count are zero or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes now.
    pub pids_current: u64,
    /// Most processes allowed; `None` without a limit.
    pub pids_limit: Option<u64>,
    /// Bytes and operations by device.
    pub block_io: Vec<BlockIo>,
    /// Interfaces of the container's network namespace, by name.
    pub networks: BTreeMap<String, NetworkStats>,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// All of it.
    pub total_ns: u64,
    /// By processor; empty on cgroup v2.
    pub per_cpu_ns: Vec<u64>,
    /// In the kernel.
    pub kernel_ns: u64,
    /// Outside it.
    pub user_ns: u64,
    /// What all processors of the machine spent since boot, idle time included.
    pub system_ns: u64,
    /// Processors of the machine.
    pub online_cpus: u32,
    /// Periods of the quota so far.
    pub periods: u64,
    /// Periods in which the container was held back.
    pub throttled_periods: u64,
    /// For how long.
    pub throttled_ns: u64,
}

/// Memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Now, page cache included.
    pub usage_bytes: u64,
    /// Most so far; 0 on cgroup v2.
    pub usage_bytes_max: u64,
    /// The limit; the machine's memory when there is none.
    pub limit_bytes: u64,
    /// `memory.stat`, as the kernel names its rows.
    pub rows: BTreeMap<String, u64>,
}

/// Bytes and operations on one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// `Read`, `Write` …
    pub operation: String,
    /// Bytes.
    pub bytes: u64,
    /// Operations.
    pub count: u64,
}

/// One network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NetworkStats {
    pub received_bytes: u64,
    pub received_packets: u64,
    pub received_errors: u64,
    pub received_dropped: u64,
    pub sent_bytes: u64,
    pub sent_packets: u64,
    pub sent_errors: u64,
    pub sent_dropped: u64,
}

/// `USER_HZ`, which is 100 on every architecture that Linux containers run on.
const NS_PER_TICK: u64 = 10_000_000;

impl Cgroups {
    /// Reads the counters; `pid` is a process of the container, whose network namespace is looked at.
    pub fn stats(&self, pid: u32) -> Stats {
        let mut stats = Stats { networks: networks(pid), ..Stats::default() };
        system_cpu(&mut stats.cpu);
        if let Some(directory) = self.v2()
            && directory.join("cpu.stat").exists()
        {
            unified(directory, &mut stats);
        }
        self.legacy(&mut stats);
        let machine = machine_memory_bytes();
        if stats.memory.limit_bytes == 0 || stats.memory.limit_bytes > machine {
            stats.memory.limit_bytes = machine;
        }
        stats
    }

    fn legacy(&self, stats: &mut Stats) {
        if let Some(directory) = self.v1("cpuacct") {
            stats.cpu.total_ns = number(directory, "cpuacct.usage");
            stats.cpu.per_cpu_ns = text(directory, "cpuacct.usage_percpu")
                .split_ascii_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            let rows = rows(directory, "cpuacct.stat");
            stats.cpu.user_ns = row(&rows, "user") * NS_PER_TICK;
            stats.cpu.kernel_ns = row(&rows, "system") * NS_PER_TICK;
        }
        if let Some(directory) = self.v1("cpu") {
            let rows = rows(directory, "cpu.stat");
            stats.cpu.periods = row(&rows, "nr_periods");
            stats.cpu.throttled_periods = row(&rows, "nr_throttled");
            stats.cpu.throttled_ns = row(&rows, "throttled_time");
        }
        if let Some(directory) = self.v1("memory") {
            stats.memory = MemoryStats {
                usage_bytes: number(directory, "memory.usage_in_bytes"),
                usage_bytes_max: number(directory, "memory.max_usage_in_bytes"),
                limit_bytes: number(directory, "memory.limit_in_bytes"),
                rows: rows(directory, "memory.stat"),
            };
        }
        if let Some(directory) = self.v1("pids") {
            stats.pids_current = number(directory, "pids.current");
            stats.pids_limit = text(directory, "pids.max").trim().parse().ok();
        }
        if let Some(directory) = self.v1("blkio") {
            let bytes = text(directory, "blkio.throttle.io_service_bytes_recursive");
            let counts = text(directory, "blkio.throttle.io_serviced_recursive");
            for line in bytes.lines() {
                let Some((major, minor, operation, bytes)) = block_row(line) else { continue };
                let same = |line: &str| {
                    block_row(line)
                        .filter(|found| (found.0, found.1, found.2) == (major, minor, operation))
                        .map(|found| found.3)
                };
                let count = counts.lines().find_map(same).unwrap_or(0);
                stats.block_io.push(BlockIo { major, minor, operation: operation.to_owned(), bytes, count });
            }
        }
    }
}

fn unified(directory: &Path, stats: &mut Stats) {
    let cpu = rows(directory, "cpu.stat");
    stats.cpu.total_ns = row(&cpu, "usage_usec") * 1000;
    stats.cpu.user_ns = row(&cpu, "user_usec") * 1000;
    stats.cpu.kernel_ns = row(&cpu, "system_usec") * 1000;
    stats.cpu.periods = row(&cpu, "nr_periods");
    stats.cpu.throttled_periods = row(&cpu, "nr_throttled");
    stats.cpu.throttled_ns = row(&cpu, "throttled_usec") * 1000;
    stats.memory = MemoryStats {
        usage_bytes: number(directory, "memory.current"),
        usage_bytes_max: 0,
        limit_bytes: number(directory, "memory.max"),
        rows: rows(directory, "memory.stat"),
    };
    stats.pids_current = number(directory, "pids.current");
    stats.pids_limit = text(directory, "pids.max").trim().parse().ok();
    for line in text(directory, "io.stat").lines() {
        let mut words = line.split_ascii_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        let values: BTreeMap<&str, u64> = words
            .filter_map(|word| word.split_once('='))
            .filter_map(|(key, value)| Some((key, value.parse().ok()?)))
            .collect();
        for (operation, bytes, count) in [("read", "rbytes", "rios"), ("write", "wbytes", "wios")] {
            stats.block_io.push(BlockIo {
                major,
                minor,
                operation: operation.to_owned(),
                bytes: values.get(bytes).copied().unwrap_or(0),
                count: values.get(count).copied().unwrap_or(0),
            });
        }
    }
}

fn text(directory: &Path, file: &str) -> String {
    std::fs::read_to_string(directory.join(file)).unwrap_or_default()
}

fn number(directory: &Path, file: &str) -> u64 {
    text(directory, file).trim().parse().unwrap_or(0)
}

fn rows(directory: &Path, file: &str) -> BTreeMap<String, u64> {
    text(directory, file)
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
        .collect()
}

fn row(rows: &BTreeMap<String, u64>, name: &str) -> u64 {
    rows.get(name).copied().unwrap_or(0)
}

fn device(word: &str) -> Option<(u32, u32)> {
    let (major, minor) = word.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn block_row(line: &str) -> Option<(u32, u32, &str, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (major, minor) = device(words.next()?)?;
    Some((major, minor, words.next()?, words.next()?.parse().ok()?))
}

fn system_cpu(cpu: &mut CpuStats) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    for line in stat.lines().take_while(|line| line.starts_with("cpu")) {
        if let Some(times) = line.strip_prefix("cpu ") {
            let ticks = times.split_ascii_whitespace().take(8).filter_map(|word| word.parse::<u64>().ok());
            cpu.system_ns = ticks.sum::<u64>() * NS_PER_TICK;
        } else {
            cpu.online_cpus += 1;
        }
    }
}

fn machine_memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .map_or(u64::MAX, |kib| kib * 1024)
}

fn networks(pid: u32) -> BTreeMap<String, NetworkStats> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, counts)| {
            let counts: Vec<u64> =
                counts.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
            let count = |place: usize| counts.get(place).copied().unwrap_or(0);
            let stats = NetworkStats {
                received_bytes: count(0),
                received_packets: count(1),
                received_errors: count(2),
                received_dropped: count(3),
                sent_bytes: count(8),
                sent_packets: count(9),
                sent_errors: count(10),
                sent_dropped: count(11),
            };
            (name.trim().to_owned(), stats)
        })
        .collect()
}
