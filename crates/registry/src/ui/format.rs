//! Sizes, times and media types for people.

use crate::metadata::UnixMillis;

/// Returns a size as docker prints it: three or four significant digits, thousands.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    // Precise enough for four digits, which is all that is shown.
    let mut value = bytes as f64;
    while value >= 1000.0 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.2} {}", UNITS[unit]),
        _ if value < 100.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// Returns how long ago `at` was, seen from `now`.
pub(super) fn age(at: UnixMillis, now: UnixMillis) -> String {
    let seconds = (now - at).max(0) / 1000;
    let (number, unit) = match seconds {
        0..60 => return "just now".to_owned(),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        86_400..2_592_000 => (seconds / 86_400, "day"),
        2_592_000..31_536_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural} ago")
}

/// Returns what a media type says, in a few words; one that is not known stays as it is.
pub(super) fn kind(media_type: &str) -> &str {
    match media_type {
        "application/vnd.oci.image.index.v1+json" => "OCI index",
        "application/vnd.oci.image.manifest.v1+json" => "OCI image",
        "application/vnd.docker.distribution.manifest.v2+json" => "Docker image",
        "application/vnd.docker.distribution.manifest.list.v2+json" => "Docker list",
        "application/vnd.cncf.notary.signature" => "Notation signature",
        "application/vnd.dev.cosign.artifact.sig.v1+json"
        | "application/vnd.dev.sigstore.bundle.v0.3+json" => "cosign signature",
        "application/spdx+json" | "text/spdx" => "SPDX SBOM",
        "application/vnd.cyclonedx+json" | "application/vnd.cyclonedx" => "CycloneDX SBOM",
        "application/vnd.in-toto+json" => "in-toto attestation",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        assert_eq!(
            [size(0), size(999), size(1000), size(12_345_678), size(5_600_000_000)],
            ["0 B", "999 B", "1.00 kB", "12.3 MB", "5.60 GB"]
        );
        assert_eq!(
            [age(0, 59_000), age(0, 60_000), age(0, 7_200_000), age(9, 0)],
            ["just now", "1 minute ago", "2 hours ago", "just now"]
        );
    }
}
