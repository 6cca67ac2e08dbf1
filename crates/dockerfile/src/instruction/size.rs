//! Sizes as Docker writes them for memory: `64m`, `1.5GiB`; units are powers of 1024.

/// Returns the number of bytes, or `None` for anything else.
///
/// Source: the behaviour of `RAMInBytes` of the Go module `docker/go-units`.
pub(crate) fn parse_memory_size(text: &str) -> Option<i64> {
    let number_end = text.rfind(|c: char| c.is_ascii_digit() || c == '.')? + 1;
    let (number, unit) = text.split_at(number_end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let number: f64 = number.parse().ok().filter(|number: &f64| *number >= 0.0 && number.is_finite())?;
    let prefix = match unit.strip_suffix("ib").filter(|prefix| !prefix.is_empty()) {
        Some(prefix) => prefix,
        None => unit.strip_suffix('b').unwrap_or(&unit),
    };
    let power = match prefix {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    Some((number * 1024f64.powi(power)) as i64)
}
