//! Spans of time as Go's `time.ParseDuration` reads them: `1h30m`, `1.5s`, `-2ms`.

const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("\u{b5}s", 1e3),
    ("\u{3bc}s", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Returns the nanoseconds of a written span.
///
/// # Errors
/// With Go's words.
pub fn nanoseconds(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let is_number = |character: char| character.is_ascii_digit() || character == '.';
        let number = &rest[..rest.find(|character| !is_number(character)).unwrap_or(rest.len())];
        let amount: f64 = number.parse().map_err(|_| invalid())?;
        rest = &rest[number.len()..];
        let unit = &rest[..rest.find(is_number).unwrap_or(rest.len())];
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, nanoseconds) =
            known.ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        total += amount * nanoseconds;
        rest = &rest[unit.len()..];
    }
    if total > i64::MAX as f64 {
        return Err(invalid());
    }
    Ok((sign * total) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_go_reads_them() {
        // From the documentation of Go's time.ParseDuration.
        for (text, expected) in [
            ("300ms", 300_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("2h45m", 9_900_000_000_000),
            ("0", 0),
            ("1us", 1_000),
        ] {
            assert_eq!(nanoseconds(text), Ok(expected), "{text}");
        }
        assert_eq!(nanoseconds("x").unwrap_err(), "time: invalid duration \"x\"");
        assert_eq!(nanoseconds("3").unwrap_err(), "time: missing unit in duration \"3\"");
        assert_eq!(nanoseconds("3q").unwrap_err(), "time: unknown unit \"q\" in duration \"3q\"");
    }
}
