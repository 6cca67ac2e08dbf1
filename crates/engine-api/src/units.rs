//! Sizes and lengths of time as Docker writes and reads them: `1.99MB` in tables, `1.986MB` in progress and disk usage,
//! `2 weeks`, `64m` for memory.

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// Returns `size_bytes` in base 1000 with up to four significant digits, as `docker system df` and progress bars show it.
///
/// Source: go-units `HumanSize`.
pub fn human_size(size_bytes: u64) -> String {
    scaled(size_bytes as f64, 1000.0, &DECIMAL, 4)
}

/// Returns `size_bytes` in base 1000 with up to three significant digits, as `docker images` and `docker history` show it.
///
/// Source: go-units `HumanSizeWithPrecision(size, 3)`.
pub fn table_size(size_bytes: u64) -> String {
    scaled(size_bytes as f64, 1000.0, &DECIMAL, 3)
}

/// Returns `size_bytes` in base 1024 with up to four significant digits, as `docker info` shows memory.
///
/// Source: go-units `BytesSize`.
pub fn binary_size(size_bytes: u64) -> String {
    scaled(size_bytes as f64, 1024.0, &BINARY, 4)
}

fn scaled(mut size: f64, base: f64, units: &[&str], precision: usize) -> String {
    let mut unit = 0;
    while size >= base && unit < units.len() - 1 {
        size /= base;
        unit += 1;
    }
    significant_digits(size, precision) + units[unit]
}

/// Formats `number` as C's `%.{precision}g`: that many significant digits, no trailing zeros, an exponent where the
/// number needs more digits before the point than `precision` has (999.9 with three digits is `1e+03`, as in Docker).
pub fn significant_digits(number: f64, precision: usize) -> String {
    let precision = precision.max(1);
    let scientific = format!("{number:.*e}", precision - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().expect("Rust prints the exponent as a decimal integer");
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.abs());
    }
    let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
    without_trailing_zeros(&format!("{number:.decimals$}")).to_owned()
}

fn without_trailing_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// Returns a length of time in Docker's words: `2 weeks`. A negative one is `Less than a second`.
///
/// Source: go-units `HumanDuration`. Hours are rounded, everything else is cut.
pub fn human_duration(nanoseconds: i128) -> String {
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

/// Reads a size whose units are powers of 1000, whatever is written behind them: `10m`, `1.5kB`, `1KiB` is 1000.
/// `None` is an invalid size.
///
/// Source: go-units `FromHumanSize` before 0.5.
pub fn parse_human_size(text: &str) -> Option<u64> {
    parse_size(text, 1000.0)
}

/// The same with powers of 1024, as sizes of memory are typed: `64m`, `1.5g`.
///
/// Source: go-units `RAMInBytes` before 0.5.
pub fn parse_memory_size(text: &str) -> Option<u64> {
    parse_size(text, 1024.0)
}

fn parse_size(text: &str, base: f64) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if !number.starts_with(|first: char| first.is_ascii_digit()) || number.ends_with('.') {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let power = match unit.strip_suffix('i').unwrap_or(unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    Some((number * base.powi(power)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_the_recorded_docker_tables() {
        // Sizes in bytes from fixtures/docker/*/api, text from the matching CLI output.
        assert_eq!(table_size(1_982_486), "1.98MB");
        assert_eq!(human_size(1_982_486), "1.982MB");
        assert_eq!(human_size(1_982_601), "1.983MB");
        assert_eq!(table_size(1_985_786), "1.99MB");
        assert_eq!(table_size(6), "6B");
        assert_eq!(human_size(0), "0B");
        assert_eq!(human_size(115), "115B");
    }

    #[test]
    fn sizes_of_the_recorded_progress_bars() {
        assert_eq!(human_size(513_024), "513kB");
        assert_eq!(human_size(269_312), "269.3kB");
        assert_eq!(human_size(1_040_384), "1.04MB");
        assert_eq!(human_size(50_347_190), "50.35MB");
        assert_eq!(human_size(25_173_686), "25.17MB");
    }

    #[test]
    fn rounding_up_to_the_next_power_prints_an_exponent_like_printf() {
        // printf '%.3g' 999.9 prints 1e+03; go-units does not rescale.
        assert_eq!(table_size(999_900), "1e+03kB");
        assert_eq!(table_size(999_400), "999kB");
        assert_eq!(human_size(999_960), "1000kB");
        assert_eq!(human_size(1_000), "1kB");
    }

    #[test]
    fn binary_units_start_at_1024() {
        assert_eq!(binary_size(1_023), "1023B");
        assert_eq!(binary_size(1_024), "1KiB");
        assert_eq!(binary_size(1_536), "1.5KiB");
        assert_eq!(binary_size(1 << 30), "1GiB");
    }

    #[test]
    fn the_largest_size_has_a_unit() {
        assert_eq!(human_size(u64::MAX), "18.45EB");
    }

    #[test]
    fn sizes_of_progress_have_four_digits() {
        let sizes = [999, 1000, 1500, 77_483_258, 123_456_789_012].map(human_size);
        assert_eq!(sizes, ["999B", "1kB", "1.5kB", "77.48MB", "123.5GB"]);
    }

    // Expected values: docker-data-root.md 7.1 and go-units' rules, worked out by hand.
    #[test]
    fn every_step_of_the_scale_of_time() {
        const MINUTE: i128 = 60;
        const HOUR: i128 = 60 * MINUTE;
        const DAY: i128 = 24 * HOUR;
        for (seconds, words) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (59 * MINUTE + 59, "59 minutes"),
            (HOUR, "About an hour"),
            (89 * MINUTE, "About an hour"),
            (90 * MINUTE, "2 hours"),
            (47 * HOUR, "47 hours"),
            (48 * HOUR, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (59 * DAY, "8 weeks"),
            (60 * DAY, "2 months"),
            (729 * DAY, "24 months"),
            (730 * DAY, "2 years"),
            (365 * 56 * DAY + 14 * DAY, "56 years"),
        ] {
            assert_eq!(human_duration(seconds * 1_000_000_000), words, "{seconds} seconds");
        }
    }

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, expected) in [("1k", 1000), ("1.5kB", 1500), ("1KiB", 1000), ("10m", 10_000_000), ("7", 7)]
        {
            assert_eq!(parse_human_size(text), Some(expected), "{text}");
        }
        // 32kb is 32768, and a fraction is taken before the unit.
        for (text, expected) in
            [("32", 32), ("32b", 32), ("32kb", 32768), ("64m", 67_108_864), ("1.5g", 1_610_612_736)]
        {
            assert_eq!(parse_memory_size(text), Some(expected), "{text}");
        }
        for text in ["", "-1", "abc", "k", "1x", "1..2", "1 0k", "1kk", "1.", "1kbb", " 1"] {
            assert_eq!((parse_human_size(text), parse_memory_size(text)), (None, None), "{text}");
        }
    }

    #[test]
    fn significant_digits_follow_printf() {
        // Each expected value is the output of printf(1).
        for (number, precision, expected) in [
            (0.0, 3, "0"),
            (0.5, 3, "0.5"),
            (0.00001234, 3, "1.23e-05"),
            (0.0001234, 3, "0.000123"),
            (100.0, 3, "100"),
            (1234.0, 3, "1.23e+03"),
            (1.005, 3, "1"),
            (9.996, 3, "10"),
        ] {
            assert_eq!(significant_digits(number, precision), expected, "{number} with {precision} digits");
        }
    }
}
