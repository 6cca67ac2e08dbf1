//! What an operator can choose.

use std::time::Duration;

/// Limits on what an outsider chooses.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest manifest, in bytes.
    pub manifest_bytes_max: usize,
    /// Largest blob, in bytes; none when 0.
    pub blob_bytes_max: u64,
    /// Uploads that may be open at once.
    pub uploads_max: usize,
    /// Connections that may be open at once.
    pub connections_max: usize,
    /// How long a request's head may take, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a body may stand still.
    pub body_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub send_timeout: Duration,
    /// Most entries of one page of the catalog, of tags and of referrers.
    pub page_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            manifest_bytes_max: crate::manifest::MANIFEST_SIZE_MAX,
            blob_bytes_max: 0,
            uploads_max: 20_000,
            connections_max: 20_000,
            header_timeout: Duration::from_secs(20),
            body_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            page_max: 10_000,
        }
    }
}
