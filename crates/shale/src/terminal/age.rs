//! Times as Docker prints them: `2 weeks ago`, and the two forms of CREATED AT.
//!
//! The current time and the time zone come from the caller.

use jiff::{Timestamp, tz::TimeZone};
use shale_engine_api::units::human_duration;

/// Returns how long before `now` an event at `then` was, in Docker's words: `2 weeks ago`.
///
/// A time in the future is `Less than a second ago`, as Docker says.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    human_duration(
        now.as_second() as i128 * 1_000_000_000 + i128::from(now.subsec_nanosecond())
            - then.as_second() as i128 * 1_000_000_000
            - i128::from(then.subsec_nanosecond()),
    ) + " ago"
}

/// Returns `time` as Go's `Time.String` writes whole seconds: `2026-11-21 22:21:41 +0000 UTC` (CREATED AT of images).
pub fn go_time(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// Returns `time` in RFC 3339 with whole seconds, `Z` for UTC (CREATED AT of history).
pub fn rfc3339(time: Timestamp, zone: &TimeZone) -> String {
    let zoned = time.to_zoned(zone.clone());
    match zoned.offset().seconds() {
        0 => zoned.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        _ => zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_second_are_cut() {
        let then = Timestamp::new(100, 600_000_000).unwrap();
        assert_eq!(ago(then, Timestamp::new(102, 500_000_000).unwrap()), "1 second ago");
        assert_eq!(ago(then, Timestamp::new(102, 600_000_000).unwrap()), "2 seconds ago");
    }

    #[test]
    fn created_at_of_the_recorded_tables() {
        // images-json.txt and history-app-nohuman.txt of fixtures/docker/20.10.24.
        let time: Timestamp = "2026-11-21T22:21:41Z".parse().unwrap();
        assert_eq!(go_time(time, &TimeZone::UTC), "2026-11-21 22:21:41 +0000 UTC");
        assert_eq!(rfc3339(time, &TimeZone::UTC), "2026-11-21T22:21:41Z");
    }

    #[test]
    fn other_zones_show_their_offset_and_name() {
        // The output of Go's Time.String and Format(time.RFC3339) for these instants.
        let time: Timestamp = "2026-11-21T22:21:41Z".parse().unwrap();
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(go_time(time, &zone), "2026-11-21 23:21:41 +0100 CET");
        assert_eq!(rfc3339(time, &zone), "2026-11-21T23:21:41+01:00");
    }
}
