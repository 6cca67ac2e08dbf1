//! Times as Docker prints them: `2 weeks ago`, and the two forms of CREATED AT.
//!
//! The current time and the time zone come from the caller.

use jiff::{Timestamp, tz::TimeZone};

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

/// Returns a length of time in Docker's words.
///
/// Source: go-units `HumanDuration`. Hours are rounded, everything else is cut.
fn human_duration(nanoseconds: i128) -> String {
    const SECOND: i128 = 1_000_000_000;
    const HOUR: i128 = 3600 * SECOND;
    let seconds = nanoseconds / SECOND;
    let minutes = nanoseconds / (60 * SECOND);
    let hours = (nanoseconds + HOUR / 2) / HOUR;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", nanoseconds / HOUR / 24 / 365),
    }
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

    #[track_caller]
    fn check(seconds: i64, expected: &str) {
        let then = Timestamp::from_second(1_700_000_000).unwrap();
        let now = Timestamp::from_second(1_700_000_000 + seconds).unwrap();
        assert_eq!(ago(then, now), format!("{expected} ago"));
    }

    // Expected values: docker-data-root.md 7.1 and go-units' rules, worked out by hand.
    #[test]
    fn every_step_of_the_scale() {
        const MINUTE: i64 = 60;
        const HOUR: i64 = 60 * MINUTE;
        const DAY: i64 = 24 * HOUR;
        check(-5, "Less than a second");
        check(0, "Less than a second");
        check(1, "1 second");
        check(59, "59 seconds");
        check(60, "About a minute");
        check(119, "About a minute");
        check(120, "2 minutes");
        check(59 * MINUTE + 59, "59 minutes");
        check(HOUR, "About an hour");
        check(89 * MINUTE, "About an hour");
        check(90 * MINUTE, "2 hours");
        check(47 * HOUR, "47 hours");
        check(48 * HOUR, "2 days");
        check(13 * DAY, "13 days");
        check(14 * DAY, "2 weeks");
        check(59 * DAY, "8 weeks");
        check(60 * DAY, "2 months");
        check(729 * DAY, "24 months");
        check(730 * DAY, "2 years");
        check(365 * 56 * DAY + 14 * DAY, "56 years");
    }

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
