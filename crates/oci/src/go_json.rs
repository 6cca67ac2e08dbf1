//! JSON as Go's `encoding/json` writes it, because digests are taken over bytes that Docker wrote that way.
//!
//! Compact, `<`, `>`, `&`, U+2028 and U+2029 escaped inside strings. Maps must be sorted by the caller's types.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Returns `value` as Go's `json.Marshal` would write it.
///
/// # Errors
/// Only when `value` is not representable as JSON: a map whose keys are no strings.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, GoFormatter))?;
    Ok(String::from_utf8(bytes).expect("a JSON serializer writes UTF-8"))
}

/// Appends `text` to `json` as Go writes a string.
pub fn push_string(json: &mut String, text: &str) {
    json.push_str(&to_string(text).expect("a string is JSON"));
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain_from = 0;
        for (at, character) in fragment.char_indices() {
            let escape = match character {
                '<' => "\\u003c",
                '>' => "\\u003e",
                '&' => "\\u0026",
                '\u{2028}' => "\\u2028",
                '\u{2029}' => "\\u2029",
                _ => continue,
            };
            writer.write_all(&fragment.as_bytes()[plain_from..at])?;
            writer.write_all(escape.as_bytes())?;
            plain_from = at + character.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain_from..])
    }

    fn write_char_escape<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        escape: serde_json::ser::CharEscape,
    ) -> io::Result<()> {
        use serde_json::ser::CharEscape;
        match escape {
            // Go 1.22 and later write \b and \f short as well; Docker 20.10 and 28 are built with both kinds, and no
            // config that Docker makes itself has either, so the newer form stands.
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
            other => CompactFormatter.write_char_escape(writer, other),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn strings_are_escaped_as_go_does() {
        // From Go: json.Marshal("a<b>&c\u2028\"\\\n\x01é")
        let text = "a<b>&c\u{2028}\"\\\n\u{1}é";
        let quoted = r#""a\u003cb\u003e\u0026c\u2028\"\\\n\u0001é""#;
        assert_eq!(super::to_string(text).unwrap(), quoted);
        let mut json = "[".to_owned();
        super::push_string(&mut json, text);
        assert_eq!(json, format!("[{quoted}"));
    }
}
