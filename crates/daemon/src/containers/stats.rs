//! `GET /containers/{id}/stats`.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use shale_engine::containers::stats::ContainerStats;
use shale_runtime::{CpuStats, Stats};
use tokio::sync::mpsc;

use crate::answer::{Answer, Body, document, stream};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::request::Call;

/// Between two readings.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells what a container uses: once, or again and again.
pub(crate) async fn answer(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    let id = daemon.container(&name).await?.id;
    let follows = call.query.is_on_or("stream", true);
    let is_one_shot = call.query.is_on("one-shot");
    if is_one_shot && follows {
        return Err(Failure::invalid("cannot have stream=true and one-shot=true"));
    }
    let first = daemon.reading(&id).await?;
    if !follows {
        if first.read.is_none() || is_one_shot {
            return Ok(document(&described(&first, None)));
        }
        tokio::time::sleep(INTERVAL).await;
        let second = daemon.reading(&id).await?;
        return Ok(document(&described(&second, Some(&first))));
    }
    let (pieces, receiver) = mpsc::channel(1);
    let daemon = daemon.clone();
    tokio::spawn(async move {
        let mut before = None;
        let mut next = Some(first);
        while let Some(reading) = next.take() {
            let line = format!("{}\n", described(&reading, before.as_ref()));
            if pieces.send(Ok(Bytes::from(line))).await.is_err() {
                return;
            }
            before = Some(reading);
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = pieces.closed() => return,
                () = daemon.stopping.wait() => return,
            }
            // A container that is gone ends the stream.
            next = daemon.reading(&id).await.ok();
        }
    });
    Ok(stream(Body::Pieces(receiver), "application/json"))
}

impl Daemon {
    async fn reading(&self, id: &str) -> Result<ContainerStats, Failure> {
        let id = id.to_owned();
        self.blocking(move |engine| engine.container_stats(&id)).await
    }
}

/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

fn described(now: &ContainerStats, before: Option<&ContainerStats>) -> Value {
    let moment = |read: Option<Timestamp>| read.map_or_else(|| NEVER.to_owned(), |read| format!("{read:.9}"));
    let runs = now.read.is_some();
    let nothing = CpuStats::default();
    let earlier = before.map_or(&nothing, |before| &before.stats.cpu);
    let mut described = json!({
        "read": moment(now.read),
        "preread": moment(before.and_then(|before| before.read)),
        "pids_stats": pids(&now.stats, runs),
        "blkio_stats": block_io(&now.stats, runs),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu(&now.stats.cpu),
        "precpu_stats": cpu(earlier),
        "memory_stats": if runs { memory(&now.stats) } else { json!({}) },
        "name": format!("/{}", now.name),
        "id": now.id,
    });
    let networks: Map<String, Value> = now
        .stats
        .networks
        .iter()
        .filter(|(name, _)| *name != "lo")
        .map(|(name, network)| {
            let counted = json!({
                "rx_bytes": network.received_bytes, "rx_packets": network.received_packets,
                "rx_errors": network.received_errors, "rx_dropped": network.received_dropped,
                "tx_bytes": network.sent_bytes, "tx_packets": network.sent_packets,
                "tx_errors": network.sent_errors, "tx_dropped": network.sent_dropped,
            });
            (name.clone(), counted)
        })
        .collect();
    if !networks.is_empty() {
        described["networks"] = Value::Object(networks);
    }
    described
}

fn pids(stats: &Stats, runs: bool) -> Value {
    let mut pids = json!({});
    if runs {
        pids["current"] = json!(stats.pids_current);
    }
    if let Some(limit) = stats.pids_limit {
        pids["limit"] = json!(limit);
    }
    pids
}

fn cpu(cpu: &CpuStats) -> Value {
    let mut usage = json!({ "total_usage": cpu.total_ns });
    if !cpu.per_cpu_ns.is_empty() {
        usage["percpu_usage"] = json!(cpu.per_cpu_ns);
    }
    usage["usage_in_kernelmode"] = json!(cpu.kernel_ns);
    usage["usage_in_usermode"] = json!(cpu.user_ns);
    let mut described = json!({ "cpu_usage": usage });
    if cpu.system_ns > 0 {
        described["system_cpu_usage"] = json!(cpu.system_ns);
    }
    if cpu.online_cpus > 0 {
        described["online_cpus"] = json!(cpu.online_cpus);
    }
    described["throttling_data"] = json!({
        "periods": cpu.periods, "throttled_periods": cpu.throttled_periods, "throttled_time": cpu.throttled_ns,
    });
    described
}

fn memory(stats: &Stats) -> Value {
    let memory = &stats.memory;
    let mut described = json!({ "usage": memory.usage_bytes });
    if memory.usage_bytes_max > 0 {
        described["max_usage"] = json!(memory.usage_bytes_max);
    }
    described["stats"] = json!(memory.rows);
    described["limit"] = json!(memory.limit_bytes);
    described
}

fn block_io(stats: &Stats, runs: bool) -> Value {
    let table = |value: &dyn Fn(&shale_runtime::BlockIo) -> u64| -> Value {
        let rows = stats.block_io.iter().map(
            |row| json!({ "major": row.major, "minor": row.minor, "op": row.operation, "value": value(row) }),
        );
        if runs { rows.collect() } else { Value::Null }
    };
    let nothing = if runs { json!([]) } else { Value::Null };
    json!({
        "io_service_bytes_recursive": table(&|row| row.bytes),
        "io_serviced_recursive": table(&|row| row.count),
        "io_queue_recursive": nothing,
        "io_service_time_recursive": nothing,
        "io_wait_time_recursive": nothing,
        "io_merged_recursive": nothing,
        "io_time_recursive": nothing,
        "sectors_recursive": nothing,
    })
}
