//! `eq`, `ne`, `lt`, `le`, `gt` and `ge`, and what counts as true.

use std::cmp::Ordering;

use serde_json::Value;

use super::print::{print_value, type_name};

/// Returns whether an `if` takes `value`: not false, zero, empty or nil.
pub(super) fn is_true(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => *value,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(entries)) => !entries.is_empty(),
    }
}

/// Returns whether `left` equals one of `others`.
pub(super) fn equals_any(left: &Value, others: &[&Value]) -> Result<bool, String> {
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for right in others {
        if equals(left, right)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equals(left: &Value, right: &Value) -> Result<bool, String> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(left.is_null() && right.is_null()),
        (Value::Array(_) | Value::Object(_), Value::Array(_) | Value::Object(_)) => {
            let mut shown = String::new();
            print_value(left, &mut shown);
            Err(format!("non-comparable type {shown}: {}", type_name(left)))
        }
        _ => order_of_equal_kinds(left, right).map(Ordering::is_eq),
    }
}

/// Returns how `left` stands to `right`; only numbers of one kind and strings have an order.
pub(super) fn order(left: &Value, right: &Value) -> Result<Ordering, String> {
    let is_basic = |value: &Value| !matches!(value, Value::Null | Value::Array(_) | Value::Object(_));
    if !is_basic(left) || !is_basic(right) {
        return Err("invalid type for comparison".to_owned());
    }
    if left.is_boolean() && right.is_boolean() {
        return Err("invalid type for comparison".to_owned());
    }
    order_of_equal_kinds(left, right)
}

fn order_of_equal_kinds(left: &Value, right: &Value) -> Result<Ordering, String> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Ok(left.cmp(right)),
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) if left.is_f64() == right.is_f64() => {
            if left.is_f64() {
                return Ok(left.as_f64().partial_cmp(&right.as_f64()).unwrap_or(Ordering::Less));
            }
            let wide = |number: &serde_json::Number| {
                number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
            };
            Ok(wide(left).cmp(&wide(right)))
        }
        _ => Err(format!("incompatible types for comparison: {} and {}", type_name(left), type_name(right))),
    }
}
