//! JSON as Go's `encoding/json` writes it: one line, or indented by four spaces; keys in the order of the value.

use serde_json::Value;

/// Which characters become `\u` escapes besides the control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// None, as in `{{json .}}`.
    Nothing,
    /// `<`, `>` and `&`, as in `--format json` of listings.
    Html,
    /// Those, below the key `Config` alone: an image of API 1.50 and later.
    HtmlInConfig,
}

/// Returns `value` on one line.
pub fn compact(value: &Value, escape: Escape) -> String {
    let mut output = String::new();
    write(value, escape, None, &mut output);
    output
}

/// Returns `value` indented by four spaces, without a line break at the end, as `docker inspect` prints it.
pub fn indented(value: &Value, escape: Escape) -> String {
    let mut output = String::new();
    write(value, escape, Some(0), &mut output);
    output
}

/// Returns a list whose items each have their own escapes: indented as by [`indented`], or on one line.
pub fn list(items: &[(&Value, Escape)], is_indented: bool) -> String {
    if items.is_empty() {
        return "[]".to_owned();
    }
    let mut output = String::from("[");
    let depth = is_indented.then_some(0);
    for (at, (item, escape)) in items.iter().enumerate() {
        separate(at, depth, &mut output);
        write(item, *escape, depth.map(|depth| depth + 1), &mut output);
    }
    break_line(depth, &mut output);
    output.push(']');
    output
}

fn write(value: &Value, escape: Escape, depth: Option<usize>, output: &mut String) {
    match value {
        Value::Null => output.push_str("null"),
        Value::Bool(value) => output.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => output.push_str(&number.to_string()),
        Value::String(text) => write_text(text, escape, output),
        Value::Array(items) if items.is_empty() => output.push_str("[]"),
        Value::Object(entries) if entries.is_empty() => output.push_str("{}"),
        Value::Array(items) => {
            output.push('[');
            for (at, item) in items.iter().enumerate() {
                separate(at, depth, output);
                write(item, escape, depth.map(|depth| depth + 1), output);
            }
            break_line(depth, output);
            output.push(']');
        }
        Value::Object(entries) => {
            output.push('{');
            for (at, (key, item)) in entries.iter().enumerate() {
                separate(at, depth, output);
                write_text(key, escape, output);
                output.push_str(if depth.is_some() { ": " } else { ":" });
                let is_config = escape == Escape::HtmlInConfig && key == "Config";
                let escape = if is_config { Escape::Html } else { escape };
                write(item, escape, depth.map(|depth| depth + 1), output);
            }
            break_line(depth, output);
            output.push('}');
        }
    }
}

fn separate(at: usize, depth: Option<usize>, output: &mut String) {
    if at > 0 {
        output.push(',');
    }
    break_line(depth.map(|depth| depth + 1), output);
}

fn break_line(depth: Option<usize>, output: &mut String) {
    if let Some(depth) = depth {
        output.push('\n');
        output.extend(std::iter::repeat_n("    ", depth));
    }
}

fn write_text(text: &str, escape: Escape, output: &mut String) {
    output.push('"');
    for character in text.chars() {
        match character {
            '"' => output.push_str("\\\""),
            '\\' => output.push_str("\\\\"),
            '\n' => output.push_str("\\n"),
            '\r' => output.push_str("\\r"),
            '\t' => output.push_str("\\t"),
            '\u{8}' => output.push_str("\\b"),
            '\u{c}' => output.push_str("\\f"),
            '<' | '>' | '&' if escape == Escape::Html => {
                output.push_str(&format!("\\u{:04x}", character as u32))
            }
            '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                output.push_str(&format!("\\u{:04x}", character as u32))
            }
            _ => output.push(character),
        }
    }
    output.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_inspect_document_comes_back_byte_for_byte() {
        let recorded = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fixtures/docker/20.10.24/cli-28.2/inspect-app.json"
        ));
        let document: Value = serde_json::from_str(recorded).unwrap();
        assert_eq!(indented(&document, Escape::Nothing) + "\n", recorded);
    }

    #[test]
    fn a_document_of_docker_28_comes_back_with_its_escapes() {
        let recorded = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fixtures/docker/28.5.2/cli-28.2/inspect-app.json"
        ));
        let document: Value = serde_json::from_str(recorded).unwrap();
        let items = [(&document[0], Escape::HtmlInConfig)];
        assert_eq!(list(&items, true) + "\n", recorded);
    }

    #[test]
    fn empty_lists_and_maps_stay_on_one_line() {
        let document: Value = serde_json::from_str(r#"{"b":[],"a":{},"c":null}"#).unwrap();
        assert_eq!(
            indented(&document, Escape::Nothing),
            "{\n    \"b\": [],\n    \"a\": {},\n    \"c\": null\n}"
        );
        assert_eq!(compact(&document, Escape::Nothing), r#"{"b":[],"a":{},"c":null}"#);
    }

    #[test]
    fn control_characters_are_escaped_as_go_does() {
        // Go: json.Marshal("\x00\x1b\b\f\u2028<").
        let text = Value::from("\0\u{1b}\u{8}\u{c}\u{2028}<");
        assert_eq!(compact(&text, Escape::Html), r#""\u0000\u001b\b\f\u2028\u003c""#);
    }
}
