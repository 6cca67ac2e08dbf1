//! Values as Go's `fmt` prints them with `%v`, and Go's quoted strings.

use std::fmt::Write as _;

use serde_json::Value;

/// Appends `value` as `fmt.Fprint` writes it: `[a b]`, `map[k:v]` with sorted keys, `<nil>`.
pub(super) fn print_value(value: &Value, output: &mut String) {
    match value {
        Value::Null => output.push_str("<nil>"),
        Value::Bool(value) => output.push_str(if *value { "true" } else { "false" }),
        Value::String(text) => output.push_str(text),
        Value::Number(number) if number.is_f64() => {
            output.push_str(&print_float(number.as_f64().expect("is_f64 was asked")));
        }
        Value::Number(number) => write!(output, "{number}").expect("a String takes every write"),
        Value::Array(items) => {
            output.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    output.push(' ');
                }
                print_value(item, output);
            }
            output.push(']');
        }
        Value::Object(_) => {
            output.push_str("map[");
            for (at, (key, item)) in sorted_entries(value).into_iter().enumerate() {
                if at > 0 {
                    output.push(' ');
                }
                output.push_str(key);
                output.push(':');
                print_value(item, output);
            }
            output.push(']');
        }
    }
}

/// Returns a `time.Duration` of so many nanoseconds as its `String` writes it: `1m30s`, `1.5s`, `300ms`.
pub(super) fn print_duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let nanoseconds = nanoseconds.unsigned_abs();
    let decimal = |unit: u64, places: usize| {
        let fraction = format!("{:0places$}", nanoseconds % unit);
        let text = format!("{}.{fraction}", nanoseconds / unit % if places == 9 { 60 } else { unit });
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let minutes = nanoseconds / 60_000_000_000;
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{nanoseconds}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(1_000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(1_000_000, 6)),
        _ if minutes == 0 => format!("{sign}{}s", decimal(1_000_000_000, 9)),
        _ if minutes < 60 => format!("{sign}{minutes}m{}s", decimal(1_000_000_000, 9)),
        _ => format!("{sign}{}h{}m{}s", minutes / 60, minutes % 60, decimal(1_000_000_000, 9)),
    }
}

/// Returns a time, which JSON has as RFC 3339, as `time.Time`'s `String` writes it.
pub(super) fn print_time(text: &str) -> String {
    let Some((date, clock)) = text.split_once('T') else { return text.to_owned() };
    if let Some(clock) = clock.strip_suffix('Z') {
        return format!("{date} {clock} +0000 UTC");
    }
    match clock.rfind(['+', '-']) {
        Some(at) => {
            // A zone without a name is called by its offset.
            let (clock, offset) = (&clock[..at], clock[at..].replace(':', ""));
            format!("{date} {clock} {offset} {offset}")
        }
        None => text.to_owned(),
    }
}

/// Returns the entries of an object by key, as Go walks maps; nothing for other values.
pub(super) fn sorted_entries(value: &Value) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = value.as_object().into_iter().flatten().collect();
    entries.sort_unstable_by_key(|&(key, _)| key);
    entries
}

/// Returns the shortest text that reads back as `float`, with an exponent below 1e-4 and from 1e21 on.
fn print_float(float: f64) -> String {
    let scientific = format!("{float:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().expect("Rust prints the exponent as a decimal integer");
    if (-4..21).contains(&exponent) {
        return float.to_string();
    }
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// Returns Go's name of the type that `value` decodes into.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Returns `text` as a Go string literal, as `%q` writes it.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            _ if character.is_ascii_control() => {
                write!(quoted, "\\x{:02x}", character as u32).expect("a String")
            }
            _ if character.is_control()
                || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}') =>
            {
                write!(quoted, "\\u{:04x}", character as u32).expect("a String");
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns the text that a Go string, raw string or character literal stands for; its first byte is the quote.
pub(super) fn unquote(literal: &str) -> Result<String, &'static str> {
    const INVALID: &str = "invalid syntax";
    let inner = literal.get(1..literal.len().saturating_sub(1)).ok_or(INVALID)?;
    if literal.starts_with('`') {
        return Ok(inner.replace('\r', ""));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.next().ok_or(INVALID)?;
        let mut number_after = |count, radix| {
            let digits: String = rest.by_ref().take(count).collect();
            if digits.len() != count {
                return Err(INVALID);
            }
            u32::from_str_radix(&digits, radix).map_err(|_| INVALID)
        };
        let byte = match escape {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '\'' | '"' => escape as u8,
            'x' => number_after(2, 16)? as u8,
            '0'..='7' => {
                let rest_of_number = number_after(2, 8)?;
                u8::try_from(escape.to_digit(8).expect("an octal digit") * 64 + rest_of_number)
                    .map_err(|_| INVALID)?
            }
            'u' | 'U' => {
                let code = number_after(if escape == 'u' { 4 } else { 8 }, 16)?;
                let character = char::from_u32(code).ok_or(INVALID)?;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return Err(INVALID),
        };
        bytes.push(byte);
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        // Printed by Go 1.26's time.Duration.
        let cases = [
            (0, "0s"),
            (999, "999ns"),
            (1_500, "1.5µs"),
            (300_000_000, "300ms"),
            (1_500_000_000, "1.5s"),
            (30_000_000_000, "30s"),
            (60_000_000_000, "1m0s"),
            (90_250_000_000, "1m30.25s"),
            (5_400_000_000_000, "1h30m0s"),
            (-2_000_000_000, "-2s"),
        ];
        for (nanoseconds, expected) in cases {
            assert_eq!(print_duration(nanoseconds), expected);
        }
    }

    #[test]
    fn times_are_those_of_go() {
        assert_eq!(print_time("2026-11-23T04:00:04.25Z"), "2026-11-23 04:00:04.25 +0000 UTC");
        assert_eq!(print_time("2026-11-23T04:00:04-05:30"), "2026-11-23 04:00:04 -0530 -0530");
    }
}
