//! Sizes as Docker prints them: `1.99MB` in tables, `1.986MB` in progress and disk usage.

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
pub(super) fn significant_digits(number: f64, precision: usize) -> String {
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
