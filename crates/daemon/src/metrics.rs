//! What the daemon counts, in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use shale_engine::containers::Status;

use crate::answer::{Answer, whole};
use crate::daemon::Daemon;
use crate::failure::Failure;

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "other"];

/// The counters: fixed cells, so that nothing an outsider sends makes a new one.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// By method, and by the first digit of the status.
    requests: [[AtomicU64; 6]; METHODS.len()],
    micros: AtomicU64,
}

impl Metrics {
    /// Counts an answer, whose head took `took`.
    pub(crate) fn count(&self, method: &Method, status: u16, took: Duration) {
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1);
        self.requests[method][usize::from(status / 100).min(5)].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn text(&self) -> String {
        let mut text = String::from("# TYPE shale_daemon_requests_total counter\n");
        let mut total = 0;
        for (cells, method) in self.requests.iter().zip(METHODS) {
            for (class, count) in cells.iter().enumerate().skip(1) {
                let count = count.load(Ordering::Relaxed);
                total += count;
                if count > 0 {
                    let labels = format!("method=\"{method}\",status=\"{class}xx\"");
                    let _ = writeln!(text, "shale_daemon_requests_total{{{labels}}} {count}");
                }
            }
        }
        let micros = self.micros.load(Ordering::Relaxed);
        let _ = writeln!(
            text,
            "# TYPE shale_daemon_request_seconds summary\nshale_daemon_request_seconds_sum {}.{:06}\n\
             shale_daemon_request_seconds_count {total}",
            micros / 1_000_000,
            micros % 1_000_000
        );
        text
    }
}

/// Answers `GET /metrics`: what was counted, and the containers by state under dockerd's name for them.
pub(crate) async fn answer(daemon: &Daemon) -> Result<Answer, Failure> {
    let records = daemon
        .blocking(|engine| engine.container_records().map_err(|error| Failure::internal(&error)))
        .await?;
    let count = |status: Status| records.iter().filter(|record| record.status() == status).count();
    let (running, paused) = (count(Status::Running), count(Status::Paused));
    let mut text = daemon.metrics.text();
    text.push_str("# TYPE engine_daemon_container_states_containers gauge\n");
    let states = [("paused", paused), ("running", running), ("stopped", records.len() - running - paused)];
    for (state, count) in states {
        let _ = writeln!(text, "engine_daemon_container_states_containers{{state=\"{state}\"}} {count}");
    }
    let mut answer = whole(text.into());
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_method_and_class() {
        let metrics = Metrics::default();
        metrics.count(&Method::GET, 200, Duration::from_millis(1500));
        metrics.count(&Method::GET, 204, Duration::ZERO);
        metrics.count(&Method::PATCH, 404, Duration::from_micros(7));
        assert_eq!(
            metrics.text(),
            "# TYPE shale_daemon_requests_total counter\n\
             shale_daemon_requests_total{method=\"GET\",status=\"2xx\"} 2\n\
             shale_daemon_requests_total{method=\"other\",status=\"4xx\"} 1\n\
             # TYPE shale_daemon_request_seconds summary\n\
             shale_daemon_request_seconds_sum 1.500007\n\
             shale_daemon_request_seconds_count 3\n"
        );
    }
}
