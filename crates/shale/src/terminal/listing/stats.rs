//! `shale stats`.

use serde_json::Value;
use shale_engine::containers::stats::ContainerStats;

use super::{cell, short_id};
use crate::terminal::{
    table::{Listing, row},
    template::TemplateError,
    units::{binary_size, table_size},
};

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

const LISTING: Listing = Listing {
    type_name: "*container.statsContext",
    headings: &[
        ("BlockIO", "BLOCK I/O"),
        ("CPUPerc", "CPU %"),
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("MemPerc", "MEM %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("Name", "NAME"),
        ("NetIO", "NET I/O"),
        ("PIDs", "PIDS"),
    ],
};

/// How to show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `--format`.
    pub format: String,
    /// `--no-trunc`.
    pub no_trunc: bool,
}

/// What a container used between two readings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    id: String,
    name: String,
    cpu_percent: f64,
    memory_bytes: u64,
    memory_limit_bytes: u64,
    received_bytes: u64,
    sent_bytes: u64,
    read_bytes: u64,
    written_bytes: u64,
    pids: u64,
}

impl Usage {
    /// Works out rates from two readings; without an earlier one there are none.
    ///
    /// Source: docker CLI 28.2 `cli/command/container/stats_helpers.go`.
    pub fn between(before: Option<&ContainerStats>, now: &ContainerStats) -> Usage {
        let stats = &now.stats;
        let cpu = |reading: &ContainerStats| (reading.stats.cpu.total_ns, reading.stats.cpu.system_ns);
        let (used, passed) = match before.filter(|before| before.read.is_some()) {
            Some(before) => {
                let (before, now) = (cpu(before), cpu(now));
                (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1))
            }
            None => (0, 0),
        };
        let cpu_percent = match passed {
            0 => 0.0,
            passed => used as f64 / passed as f64 * f64::from(stats.cpu.online_cpus.max(1)) * 100.0,
        };
        // What the kernel can drop at once is not counted: `total_inactive_file` on v1, `inactive_file` on v2.
        let rows = &stats.memory.rows;
        let inactive = rows.get("total_inactive_file").or_else(|| rows.get("inactive_file"));
        let memory_bytes = match inactive {
            Some(inactive) if *inactive < stats.memory.usage_bytes => stats.memory.usage_bytes - inactive,
            _ => stats.memory.usage_bytes,
        };
        // The loopback device is not the network.
        let networks = || stats.networks.iter().filter(|(name, _)| name.as_str() != "lo");
        let moved = |word: &str| {
            let of_kind = stats.block_io.iter().filter(|io| io.operation.eq_ignore_ascii_case(word));
            of_kind.map(|io| io.bytes).sum()
        };
        Usage {
            id: now.id.clone(),
            name: now.name.clone(),
            cpu_percent,
            memory_bytes,
            memory_limit_bytes: stats.memory.limit_bytes,
            received_bytes: networks().map(|(_, network)| network.received_bytes).sum(),
            sent_bytes: networks().map(|(_, network)| network.sent_bytes).sum(),
            read_bytes: moved("read"),
            written_bytes: moved("write"),
            pids: stats.pids_current,
        }
    }
}

/// Renders the listing.
pub fn render(usages: &[Usage], options: &Options) -> Result<String, TemplateError> {
    let format = match options.format.as_str() {
        "" | "table" => TABLE,
        own => own,
    };
    let rows: Vec<Value> = usages.iter().map(|usage| usage_row(usage, !options.no_trunc)).collect();
    LISTING.render(format, &rows)
}

fn usage_row(usage: &Usage, is_short: bool) -> Value {
    let id = if is_short { short_id(&usage.id) } else { &usage.id };
    let pair = |one: u64, other: u64, size: fn(u64) -> String| format!("{} / {}", size(one), size(other));
    let memory_percent = match usage.memory_limit_bytes {
        0 => 0.0,
        limit => usage.memory_bytes as f64 / limit as f64 * 100.0,
    };
    row([
        ("BlockIO", pair(usage.read_bytes, usage.written_bytes, table_size)),
        ("CPUPerc", format!("{:.2}%", usage.cpu_percent)),
        ("Container", cell(&usage.id)),
        ("ID", id.to_owned()),
        ("MemPerc", format!("{memory_percent:.2}%")),
        ("MemUsage", pair(usage.memory_bytes, usage.memory_limit_bytes, binary_size)),
        ("Name", cell(&usage.name)),
        ("NetIO", pair(usage.received_bytes, usage.sent_bytes, table_size)),
        ("PIDs", usage.pids.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use shale_runtime::{BlockIo, CpuStats, MemoryStats, Stats};

    use super::*;

    fn reading(total_ns: u64, system_ns: u64) -> ContainerStats {
        ContainerStats {
            id: "f".repeat(64),
            name: "web".to_owned(),
            read: Some(jiff::Timestamp::UNIX_EPOCH),
            stats: Stats {
                cpu: CpuStats { total_ns, system_ns, online_cpus: 2, ..CpuStats::default() },
                memory: MemoryStats {
                    usage_bytes: 3 << 20,
                    limit_bytes: 50 << 20,
                    rows: [("total_inactive_file".to_owned(), 1 << 20)].into(),
                    ..MemoryStats::default()
                },
                pids_current: 1,
                block_io: vec![BlockIo {
                    major: 8,
                    minor: 0,
                    operation: "Read".to_owned(),
                    bytes: 1_500_000,
                    count: 3,
                }],
                ..Stats::default()
            },
        }
    }

    #[test]
    fn rates_are_worked_out_as_docker_does() {
        // Half a second of one of two processors in one second of both: 0.5 / 2 * 2 = 50 %. Memory: 3 MiB less 1 MiB of
        // 50 MiB, 4 %.
        let usage = Usage::between(
            Some(&reading(1_000_000_000, 10_000_000_000)),
            &reading(1_500_000_000, 12_000_000_000),
        );
        let text = render(&[usage], &Options::default()).unwrap();
        let expected = "\
CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O    PIDS
ffffffffffff   web       50.00%    2MiB / 50MiB        4.00%     0B / 0B   1.5MB / 0B   1
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_container_that_does_not_run_uses_nothing() {
        let still = ContainerStats { read: None, stats: Stats::default(), ..reading(0, 0) };
        let text = render(&[Usage::between(None, &still)], &Options::default()).unwrap();
        // As `docker stats --no-stream` of dockerd 20.10.24 shows one.
        assert!(
            text.contains(
                "ffffffffffff   web       0.00%     0B / 0B             0.00%     0B / 0B   0B / 0B     0"
            ),
            "{text}"
        );
    }
}
