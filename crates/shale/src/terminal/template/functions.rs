//! The functions of templates: Go's, and Docker's `json`, `split`, `join`, `title`, `lower`, `upper`, `pad`, `truncate`.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    compare::{equals_any, is_true, order},
    print::{print_value, type_name},
    printf::sprintf,
};
use crate::terminal::json;

/// What a parameter accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Parameter {
    Any,
    Text,
    Integer,
    /// A list, or a map, of anything.
    List,
}

/// The parameters of a function: those that must be there, and the one that may repeat after them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signature {
    pub fixed: &'static [Parameter],
    pub repeated: Option<Parameter>,
}

use Parameter::{Any, Integer, List, Text};

/// Returns the parameters of a function, `None` for a name that is none.
///
/// In the header of a table every value is a heading, so `join` and `json` take text there.
pub(super) fn signature(name: &str, in_header: bool) -> Option<Signature> {
    let (fixed, repeated): (&'static [Parameter], _) = match name {
        "json" | "title" | "lower" | "upper" if in_header => (&[Text], None),
        "join" | "split" if in_header => (&[Text, Text], None),
        "and" | "or" | "index" | "slice" | "call" | "eq" => (&[Any], Some(Any)),
        "not" | "len" | "json" => (&[Any], None),
        "ne" | "lt" | "le" | "gt" | "ge" => (&[Any, Any], None),
        "print" | "println" | "html" | "js" | "urlquery" => (&[], Some(Any)),
        "printf" => (&[Text], Some(Any)),
        "split" => (&[Text, Text], None),
        "join" => (&[List, Text], None),
        "title" | "lower" | "upper" => (&[Text], None),
        "pad" => (&[Text, Integer, Integer], None),
        "truncate" => (&[Text, Integer], None),
        _ => return None,
    };
    Some(Signature { fixed, repeated })
}

/// Returns whether templates know a function of this name.
pub(super) fn is_function(name: &str) -> bool {
    signature(name, false).is_some()
}

/// Calls `name` with arguments that fit its signature.
///
/// # Errors
/// The text after `error calling NAME: `.
pub(super) fn call(
    name: &str,
    arguments: &[Option<Cow<'_, Value>>],
    in_header: bool,
) -> Result<Option<Value>, String> {
    // A value that is not there is an untyped nil to every function.
    let values: Vec<&Value> =
        arguments.iter().map(|argument| argument.as_deref().unwrap_or(&Value::Null)).collect();
    if in_header && matches!(name, "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate") {
        return Ok(Some(values[0].clone()));
    }
    let compared = |accept: fn(std::cmp::Ordering) -> bool| order(values[0], values[1]).map(accept);
    let result = match name {
        "not" => Value::from(!is_true(Some(values[0]))),
        "len" if arguments[0].is_none() => {
            return Err("reflect: call of reflect.Value.Type on zero Value".to_owned());
        }
        "len" => Value::from(length(values[0])?),
        "index" => return index(values[0], &values[1..]),
        "slice" => slice(values[0], &values[1..])?,
        "eq" => Value::from(equals_any(values[0], &values[1..])?),
        "ne" => Value::from(!equals_any(values[0], &values[1..])?),
        "lt" => Value::from(compared(std::cmp::Ordering::is_lt)?),
        "le" => Value::from(compared(std::cmp::Ordering::is_le)?),
        "gt" => Value::from(compared(std::cmp::Ordering::is_gt)?),
        "ge" => Value::from(compared(std::cmp::Ordering::is_ge)?),
        "print" => Value::from(sprint(&values)),
        "println" => Value::from(sprintln(&values)),
        "printf" => Value::from(sprintf(text(values[0]), &values[1..])),
        "html" => Value::from(html(&printable(&values))),
        "js" => Value::from(javascript(&printable(&values))),
        "urlquery" => Value::from(url_query(&printable(&values))),
        "json" => Value::from(json::compact(values[0], json::Escape::Nothing)),
        "split" => split(text(values[0]), text(values[1])),
        "join" => Value::from(join(values[0], text(values[1]))),
        "title" => Value::from(title(text(values[0]))),
        "lower" => text(values[0])
            .chars()
            .map(|character| single(character, character.to_lowercase()))
            .collect::<String>()
            .into(),
        "upper" => text(values[0])
            .chars()
            .map(|character| single(character, character.to_uppercase()))
            .collect::<String>()
            .into(),
        "pad" => Value::from(pad(text(values[0]), integer(values[1]), integer(values[2]))?),
        "truncate" => Value::from(truncate(text(values[0]), integer(values[1]))?),
        _ => unreachable!("the parser lets no other function through"),
    };
    Ok(Some(result))
}

/// Returns the other case of `character` where that is one character, else `character`: Go leaves `ß` as it is.
fn single(character: char, mut other: impl Iterator<Item = char>) -> char {
    match (other.next(), other.next()) {
        (Some(other), None) => other,
        _ => character,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn integer(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(entries) => Ok(entries.len()),
        Value::Null => Err("len of nil pointer".to_owned()),
        _ => Err(format!("len of type {}", type_name(value))),
    }
}

fn index(value: &Value, keys: &[&Value]) -> Result<Option<Value>, String> {
    if value.is_null() {
        return Err("index of untyped nil".to_owned());
    }
    let mut found = value;
    for key in keys {
        found = match found {
            Value::Null => return Err("index of untyped nil".to_owned()),
            Value::Array(items) => {
                let at = position(key, items.len())?;
                items.get(at).ok_or("reflect: slice index out of range")?
            }
            Value::String(text) => {
                let at = position(key, text.len())?;
                let byte = text.as_bytes().get(at).ok_or("reflect: string index out of range")?;
                return Ok(Some(Value::from(*byte)));
            }
            Value::Object(entries) => match key {
                Value::String(key) => entries.get(key).unwrap_or(&Value::Null),
                Value::Null => return Err("value is nil; should be of type string".to_owned()),
                _ => return Err(format!("value has type {}; should be string", type_name(key))),
            },
            other => return Err(format!("can't index item of type {}", type_name(other))),
        };
    }
    Ok(Some(found.clone()))
}

/// Reads a position in something of `length` elements; one past the last is for `slice` to accept.
pub(super) fn position(key: &Value, length: usize) -> Result<usize, String> {
    match key {
        Value::Number(number) if !number.is_f64() => {
            match number.as_u64().and_then(|at| usize::try_from(at).ok()) {
                Some(at) if at <= length => Ok(at),
                _ => Err(format!("index out of range: {number}")),
            }
        }
        Value::Null => Err("cannot index slice/array with nil".to_owned()),
        _ => Err(format!("cannot index slice/array with type {}", type_name(key))),
    }
}

fn slice(value: &Value, keys: &[&Value]) -> Result<Value, String> {
    let length = match value {
        Value::Null => return Err("slice of untyped nil".to_owned()),
        Value::String(_) if keys.len() > 2 => return Err("cannot 3-index slice a string".to_owned()),
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        other => return Err(format!("can't slice item of type {}", type_name(other))),
    };
    if keys.len() > 3 {
        return Err(format!("too many slice indexes: {}", keys.len()));
    }
    let mut bounds = [0, length, length];
    for (bound, key) in bounds.iter_mut().zip(keys) {
        *bound = position(key, length)?;
    }
    let [start, end, capacity] = bounds;
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    if end > capacity {
        return Err(format!("invalid slice index: {end} > {capacity}"));
    }
    Ok(match value {
        Value::Array(items) => Value::from(items[start..end].to_vec()),
        _ => Value::from(String::from_utf8_lossy(&text(value).as_bytes()[start..end]).into_owned()),
    })
}

/// Joins as `fmt.Sprint`: a space between two neighbours of which neither is text.
fn sprint(values: &[&Value]) -> String {
    let mut output = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            output.push(' ');
        }
        print_value(value, &mut output);
    }
    output
}

/// Joins as [`sprint`], with `<no value>` for nothing: what is about to be escaped is about to be shown.
fn printable(values: &[&Value]) -> String {
    let nothing = Value::from("<no value>");
    let shown: Vec<&Value> =
        values.iter().map(|&value| if value.is_null() { &nothing } else { value }).collect();
    sprint(&shown)
}

fn sprintln(values: &[&Value]) -> String {
    let mut output = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            output.push(' ');
        }
        print_value(value, &mut output);
    }
    output.push('\n');
    output
}

fn html(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0' => output.push('\u{fffd}'),
            '"' => output.push_str("&#34;"),
            '\'' => output.push_str("&#39;"),
            '&' => output.push_str("&amp;"),
            '<' => output.push_str("&lt;"),
            '>' => output.push_str("&gt;"),
            _ => output.push(character),
        }
    }
    output
}

fn javascript(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => output.push_str("\\\\"),
            '\'' => output.push_str("\\'"),
            '"' => output.push_str("\\\""),
            '<' | '>' | '&' | '=' => output.push_str(&format!("\\u{:04X}", character as u32)),
            _ if character.is_control() => output.push_str(&format!("\\u{:04X}", character as u32)),
            _ => output.push(character),
        }
    }
    output
}

fn url_query(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => output.push(byte.into()),
            b' ' => output.push('+'),
            _ => output.push_str(&format!("%{byte:02X}")),
        }
    }
    output
}

fn split(text: &str, separator: &str) -> Value {
    if separator.is_empty() {
        return text.chars().map(|character| Value::from(character.to_string())).collect();
    }
    text.split(separator).map(Value::from).collect()
}

fn join(list: &Value, separator: &str) -> String {
    let mut output = String::new();
    let mut append = |at: usize, item: &Value| {
        if at > 0 {
            output.push_str(separator);
        }
        print_value(item, &mut output);
    };
    match list {
        Value::Array(items) => items.iter().enumerate().for_each(|(at, item)| append(at, item)),
        _ => super::print::sorted_entries(list)
            .into_iter()
            .enumerate()
            .for_each(|(at, (_, item))| append(at, item)),
    }
    output
}

/// Upper-cases the first letter of every word; digits and underscores are part of words, as in Go's `strings.Title`.
fn title(text: &str) -> String {
    let mut previous = ' ';
    let mut output = String::with_capacity(text.len());
    for character in text.chars() {
        let begins_word = match previous {
            _ if previous.is_ascii() => !(previous.is_ascii_alphanumeric() || previous == '_'),
            _ => !previous.is_alphanumeric() && previous.is_whitespace(),
        };
        match begins_word {
            true => output.push(single(character, character.to_uppercase())),
            false => output.push(character),
        }
        previous = character;
    }
    output
}

/// The longest padding; Go would take the memory it is told to.
const PADDING_MAX: i64 = 1 << 20;

fn pad(text: &str, before: i64, after: i64) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let spaces = |count: i64| match count {
        0..=PADDING_MAX => Ok(" ".repeat(count as usize)),
        _ if count < 0 => Err("strings: negative Repeat count".to_owned()),
        _ => Err("strings: Repeat output length overflow".to_owned()),
    };
    Ok(spaces(before)? + text + &spaces(after)?)
}

/// Cuts `text` after `length` bytes.
fn truncate(text: &str, length: i64) -> Result<String, String> {
    match usize::try_from(length) {
        Ok(length) if text.len() < length => Ok(text.to_owned()),
        Ok(length) => Ok(String::from_utf8_lossy(&text.as_bytes()[..length]).into_owned()),
        Err(_) => Err(format!("runtime error: slice bounds out of range [:{length}]")),
    }
}
