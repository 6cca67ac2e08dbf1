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
