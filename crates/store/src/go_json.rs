//! Strings as Go's `encoding/json` writes them, with its HTML escapes.
//!
//! Source: Go 1.19 `encoding/json/encode.go`, `encodeState.string` with `escapeHTML`.

use std::fmt::Write;

/// Appends `text` as a JSON string.
pub(crate) fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                write!(json, "\\u{:04x}", u32::from(character)).expect("a String takes everything");
            }
            _ => json.push(character),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        // From the Go documentation of json.HTMLEscape and encode_test.go.
        let mut json = String::new();
        push_string(&mut json, "<&>\u{2028}\u{2029}\"\\\n\r\t\x01\x7fé");
        assert_eq!(json, r#""\u003c\u0026\u003e\u2028\u2029\"\\\n\r\t\u0001"#.to_owned() + "\x7fé\"");
    }
}
