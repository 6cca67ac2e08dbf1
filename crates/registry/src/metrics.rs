//! What the server counts, in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What kind of request was answered; the label `route`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Kind {
    Ping,
    Catalog,
    Tags,
    Manifest,
    Blob,
    Upload,
    Referrers,
    Token,
    Ui,
    Other,
}

const KINDS: [(Kind, &str); 10] = [
    (Kind::Ping, "ping"),
    (Kind::Catalog, "catalog"),
    (Kind::Tags, "tags"),
    (Kind::Manifest, "manifest"),
    (Kind::Blob, "blob"),
    (Kind::Upload, "upload"),
    (Kind::Referrers, "referrers"),
    (Kind::Token, "token"),
    (Kind::Ui, "ui"),
    (Kind::Other, "other"),
];
const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "other"];
/// Upper ends of the buckets of the time that an answer's head took, in microseconds.
const BUCKETS: [(u64, &str); 9] = [
    (100, "0.0001"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (5_000, "0.005"),
    (25_000, "0.025"),
    (100_000, "0.1"),
    (500_000, "0.5"),
    (2_500_000, "2.5"),
    (10_000_000, "10"),
];

/// The counters: fixed cells, so that counting is one addition and nothing an outsider sends makes a new one.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: [[[AtomicU64; 6]; METHODS.len()]; KINDS.len()],
    buckets: [AtomicU64; BUCKETS.len()],
    seconds_micros: AtomicU64,
    seconds_count: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) collected_blobs: AtomicU64,
    pub(crate) collected_bytes: AtomicU64,
    pub(crate) events_waiting: AtomicU64,
}

impl Metrics {
    pub(crate) fn count(&self, kind: Kind, method: &str, status: u16, took: Duration) {
        let method = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        let class = usize::from(status / 100).min(5);
        self.requests[kind as usize][method][class].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = BUCKETS.iter().position(|(end, _)| micros <= *end) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.seconds_micros.fetch_add(micros, Ordering::Relaxed);
        self.seconds_count.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns everything as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("# TYPE shale_registry_requests_total counter\n");
        for (kind, route) in KINDS {
            for (method, name) in METHODS.iter().enumerate() {
                for class in 1..6 {
                    let count = self.requests[kind as usize][method][class].load(Ordering::Relaxed);
                    if count > 0 {
                        let _ = writeln!(
                            text,
                            "shale_registry_requests_total{{route=\"{route}\",method=\"{name}\",status=\"{class}xx\"}} {count}"
                        );
                    }
                }
            }
        }
        text.push_str("# TYPE shale_registry_request_seconds histogram\n");
        let mut below = 0;
        for (bucket, (_, end)) in self.buckets.iter().zip(BUCKETS) {
            below += bucket.load(Ordering::Relaxed);
            let _ = writeln!(text, "shale_registry_request_seconds_bucket{{le=\"{end}\"}} {below}");
        }
        let count = self.seconds_count.load(Ordering::Relaxed);
        let micros = self.seconds_micros.load(Ordering::Relaxed);
        let _ = writeln!(text, "shale_registry_request_seconds_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(
            text,
            "shale_registry_request_seconds_sum {}.{:06}",
            micros / 1_000_000,
            micros % 1_000_000
        );
        let _ = writeln!(text, "shale_registry_request_seconds_count {count}");
        for (name, kind, value) in [
            ("connections", "gauge", &self.connections),
            ("received_bytes_total", "counter", &self.received_bytes),
            ("sent_bytes_total", "counter", &self.sent_bytes),
            ("collected_blobs_total", "counter", &self.collected_blobs),
            ("collected_bytes_total", "counter", &self.collected_bytes),
            ("events_waiting", "gauge", &self.events_waiting),
        ] {
            let value = value.load(Ordering::Relaxed);
            let _ = writeln!(text, "# TYPE shale_registry_{name} {kind}\nshale_registry_{name} {value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_method_and_class() {
        let metrics = Metrics::default();
        metrics.count(Kind::Blob, "GET", 206, Duration::from_micros(300));
        metrics.count(Kind::Blob, "BREW", 418, Duration::from_secs(20));
        let text = metrics.text();
        assert!(text.contains("requests_total{route=\"blob\",method=\"GET\",status=\"2xx\"} 1\n"), "{text}");
        assert!(
            text.contains("requests_total{route=\"blob\",method=\"other\",status=\"4xx\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("seconds_bucket{le=\"0.0005\"} 1\n")
                && text.contains("seconds_bucket{le=\"+Inf\"} 2\n")
        );
        assert!(text.contains("request_seconds_sum 20.000300\n"), "{text}");
    }
}
