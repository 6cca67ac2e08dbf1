//! Durations in Go's syntax: `1h30m`, `1.5s`, `100ms`.

use std::time::Duration;

/// Why a text is no duration. The messages are Go's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationFault {
    /// Neither digits nor units where they should be, or too long for Go.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit that Go does not know.
    #[error("time: unknown unit {unit:?} in duration {duration:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        duration: String,
    },
}

/// A duration with its sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignedDuration {
    pub is_negative: bool,
    pub length: Duration,
}

/// Reads a duration.
///
/// Source: the documentation of Go's `time.ParseDuration`; the range is that of 64-bit nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<SignedDuration, DurationFault> {
    let invalid = || DurationFault::Invalid(text.to_owned());
    let (is_negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(SignedDuration { is_negative: false, length: Duration::ZERO });
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanoseconds: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after_fraction) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_end =
            after_fraction.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after_fraction.len());
        let unit = &after_fraction[..unit_end];
        let scale: u128 = match unit {
            "" => return Err(DurationFault::MissingUnit(text.to_owned())),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(DurationFault::UnknownUnit { unit: unit.to_owned(), duration: text.to_owned() }),
        };
        let whole: u128 =
            if whole.is_empty() { 0 } else { whole.parse::<u64>().map_err(|_| invalid())?.into() };
        nanoseconds += whole * scale + fraction_of(fraction, scale);
        if nanoseconds > i64::MAX as u128 {
            return Err(invalid());
        }
        rest = &after_fraction[unit_end..];
    }
    let length = Duration::from_nanos(u64::try_from(nanoseconds).map_err(|_| invalid())?);
    Ok(SignedDuration { is_negative, length })
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Returns `0.<digits>` of `scale`; digits beyond the eighteenth do not count.
fn fraction_of(digits: &str, scale: u128) -> u128 {
    let digits = &digits[..digits.len().min(18)];
    let value: u128 = digits.parse().unwrap_or(0);
    value * scale / 10u128.pow(digits.len() as u32)
}
