//! What a command cost: wall time, processor time, peak memory.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use shale_tests::program::resident_peak_kib;

/// The cost of one operation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Wall time.
    pub wall_s: f64,
    /// User and system time of the program, its children and, with a daemon, of that.
    pub cpu_s: f64,
    /// Highest resident memory of the program or the daemon.
    pub peak_mb: f64,
}

/// Runs `command`; with `daemon`, its process is charged too.
pub fn run(command: &mut Command, daemon: Option<u32>) -> Result<Cost> {
    if let Some(pid) = daemon {
        // Resets the high-water mark of resident memory.
        fs::write(format!("/proc/{pid}/clear_refs"), "5").context("the daemon is gone")?;
    }
    let before = cpu_s("self", Whose::Children) + daemon.map_or(0.0, daemon_cpu_s);
    let is_over = AtomicBool::new(false);
    let peak_kib = AtomicU64::new(0);
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("it does not start")?;
    let pid = child.id();
    let mut stderr = child.stderr.take().context("it was piped")?;
    let (status, wall, text) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                peak_kib.fetch_max(resident_peak_kib(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let reader = scope.spawn(move || std::io::read_to_string(&mut stderr).unwrap_or_default());
        let status = child.wait();
        let wall = start.elapsed();
        is_over.store(true, Ordering::Relaxed);
        (status, wall, reader.join().unwrap_or_default())
    });
    if !status.context("it cannot be waited for")?.success() {
        bail!("{:?} failed: {}", command.get_args().collect::<Vec<_>>(), text.trim());
    }
    let after = cpu_s("self", Whose::Children) + daemon.map_or(0.0, daemon_cpu_s);
    let peak_kib = peak_kib.into_inner().max(daemon.map_or(0, resident_peak_kib));
    Ok(Cost { wall_s: wall.as_secs_f64(), cpu_s: after - before, peak_mb: peak_kib as f64 / 1000.0 })
}

enum Whose {
    Own,
    Children,
}

fn daemon_cpu_s(pid: u32) -> f64 {
    let pid = pid.to_string();
    cpu_s(&pid, Whose::Own) + cpu_s(&pid, Whose::Children)
}

/// User and system seconds of a process, or of those of its children that ended.
fn cpu_s(pid: &str, whose: Whose) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the name in parentheses and may hold blanks; utime is the 14th, cutime the 16th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let first = match whose {
        Whose::Own => 11,
        Whose::Children => 13,
    };
    let ticks: u64 = fields.iter().skip(first).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on every architecture that Linux still runs on.
    ticks as f64 / 100.0
}

/// Waits until nothing of the last measurement is left to be written back.
pub fn settle() {
    rustix::fs::sync();
}

/// The median of each figure by itself.
pub fn median(costs: Vec<Cost>) -> Cost {
    let middle = |figure: fn(&Cost) -> f64| {
        let mut figures: Vec<f64> = costs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or_default()
    };
    Cost {
        wall_s: middle(|cost| cost.wall_s),
        cpu_s: middle(|cost| cost.cpu_s),
        peak_mb: middle(|cost| cost.peak_mb),
    }
}
