//! Texts as Go's `%q` and `%v` print them, because Docker's history and its cache keys are made so.

use std::fmt::Write as _;
use std::time::Duration;

/// `%q` of a string.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            other => push_escaped(&mut quoted, other),
        }
    }
    quoted.push('"');
    quoted
}

/// `%q` of a list of strings.
pub(crate) fn quote_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(" "))
}

/// `%q` of a number, which Go takes for a character.
pub(crate) fn quote_number(number: u32) -> String {
    let character = char::from_u32(number).unwrap_or('\u{fffd}');
    let mut quoted = String::from("'");
    match character {
        '\'' => quoted.push_str("\\'"),
        other => push_escaped(&mut quoted, other),
    }
    quoted.push('\'');
    quoted
}

fn push_escaped(text: &mut String, character: char) {
    match character {
        '\\' => text.push_str("\\\\"),
        '\u{7}' => text.push_str("\\a"),
        '\u{8}' => text.push_str("\\b"),
        '\u{c}' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        '\u{b}' => text.push_str("\\v"),
        c if (c as u32) < 0x20 || c as u32 == 0x7f => {
            let _ = write!(text, "\\x{:02x}", c as u32);
        }
        c if c.is_control() || (c != ' ' && c.is_whitespace()) || c == '\u{feff}' => {
            let _ = write!(text, "\\u{:04x}", c as u32);
        }
        c => text.push(c),
    }
}

/// `%v` of a list of strings.
pub(crate) fn list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// A duration as Go prints it: `1h2m3.5s`, `1.5ms`, `0s`.
pub(crate) fn duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    let fraction = |number: u128, unit: u128| {
        let (whole, rest) = (number / unit, number % unit);
        if rest == 0 {
            return whole.to_string();
        }
        let digits = unit.ilog10() as usize;
        format!("{whole}.{}", format!("{rest:0digits$}").trim_end_matches('0'))
    };
    if nanoseconds < 1_000 {
        return format!("{nanoseconds}ns");
    }
    if nanoseconds < 1_000_000 {
        return format!("{}µs", fraction(nanoseconds, 1_000));
    }
    if nanoseconds < 1_000_000_000 {
        return format!("{}ms", fraction(nanoseconds, 1_000_000));
    }
    let minutes = nanoseconds / 60_000_000_000;
    let seconds = fraction(nanoseconds % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected texts are those of Go's fmt for the same values.
    #[test]
    fn texts_are_quoted_as_go_does() {
        assert_eq!(quote("a\"b\\c\n\u{1}é"), "\"a\\\"b\\\\c\\n\\x01é\"");
        assert_eq!(quote_list(&["echo".to_owned(), "h i".to_owned()]), "[\"echo\" \"h i\"]");
        assert_eq!(quote_number(0), "'\\x00'");
        assert_eq!(quote_number(10), "'\\n'");
        assert_eq!(quote_number(39), "'\\''");
        assert_eq!(quote_number(65), "'A'");
    }

    #[test]
    fn durations_are_printed_as_go_does() {
        for (milliseconds, text) in
            [(0, "0s"), (5000, "5s"), (1500, "1.5s"), (90_000, "1m30s"), (3_600_000, "1h0m0s"), (2, "2ms")]
        {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
        assert_eq!(duration(Duration::from_micros(1500)), "1.5ms");
    }
}
