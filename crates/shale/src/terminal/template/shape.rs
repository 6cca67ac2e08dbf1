//! Go types of documents: what a template may ask of a field that the JSON leaves out.
//!
//! Promise: where Go's template would fail on a value of the type, these fail. The words of the failure are not Go's: docker
//! shows none of them, it tries the bare JSON instead.
//! Not here: which types there are.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    compare::is_true,
    functions::position,
    print::{print_duration, print_time, print_value},
};

/// A Go type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Text,
    Bool,
    Number,
    /// `time.Time`, which is text in JSON.
    Time,
    /// `time.Duration`, which is a number of nanoseconds in JSON.
    Duration,
    List(&'static Shape),
    /// A map whose keys are strings.
    Map(&'static Shape),
    /// A map whose keys have a type of their own, such as `nat.Port`: a string finds nothing there.
    NamedMap(&'static Shape),
    Pointer(&'static Shape),
    Struct(&'static [Field]),
}

/// A field of a struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    name: &'static str,
    key: &'static str,
    shape: Shape,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Own,
    /// Its fields stand in the outer object of the JSON, and are fields of the outer struct too.
    Embedded,
    /// It can be asked for, but does not show when the struct is printed.
    Older,
}

/// A field whose key in the JSON is its name.
pub const fn field(name: &'static str, shape: Shape) -> Field {
    keyed(name, name, shape)
}

/// A field with another key in the JSON.
pub const fn keyed(name: &'static str, key: &'static str, shape: Shape) -> Field {
    Field { name, key, shape, place: Place::Own }
}

/// A struct inside a struct whose fields stand in the outer object.
pub const fn embedded(name: &'static str, shape: Shape) -> Field {
    Field { name, key: name, shape, place: Place::Embedded }
}

/// A field of an older docker's struct.
pub const fn older(name: &'static str, shape: Shape) -> Field {
    Field { name, key: name, shape, place: Place::Older }
}

/// A value and its type.
pub(super) type Typed<'v> = (Cow<'v, Value>, Shape);

/// What Go prints for a pointer inside something else is another number each time; this stands for all of them.
const ADDRESS: &str = "0xc000000000";

impl Shape {
    /// Returns `value`, or what Go has where the JSON has nothing.
    pub(super) fn or_zero(self, value: Option<Cow<'_, Value>>) -> Cow<'_, Value> {
        match value {
            Some(value) if !value.is_null() => value,
            _ => Cow::Owned(match self {
                Shape::Text => Value::from(""),
                Shape::Bool => Value::from(false),
                Shape::Number | Shape::Duration => Value::from(0),
                Shape::Time => Value::from("0001-01-01T00:00:00Z"),
                Shape::Struct(_) => Value::Object(serde_json::Map::new()),
                Shape::List(_) | Shape::Map(_) | Shape::NamedMap(_) | Shape::Pointer(_) => Value::Null,
            }),
        }
    }

    /// Returns what `.name` is; `None` where a map has no such key.
    pub(super) fn field<'v>(self, value: Cow<'v, Value>, name: &str) -> Result<Option<Typed<'v>>, String> {
        match self {
            Shape::Pointer(_) if value.is_null() => Err(format!("nil pointer evaluating .{name}")),
            Shape::Pointer(inner) => inner.field(value, name),
            Shape::Map(inner) => Ok(entry(value, name).map(|value| (inner.or_zero(Some(value)), *inner))),
            Shape::Struct(fields) => {
                let field = find(fields, name).ok_or_else(|| format!("can't evaluate field {name}"))?;
                let value =
                    if field.place == Place::Embedded { Some(value) } else { entry(value, field.key) };
                Ok(Some((field.shape.or_zero(value), field.shape)))
            }
            _ => Err(format!("can't evaluate field {name}")),
        }
    }

    /// Returns what `index` finds under `key`.
    pub(super) fn element<'v>(self, value: Cow<'v, Value>, key: &Value) -> Result<Typed<'v>, String> {
        match (self, key) {
            (Shape::Pointer(inner), _) if !value.is_null() => inner.element(value, key),
            (Shape::Map(inner), Value::String(key)) => Ok((inner.or_zero(entry(value, key)), *inner)),
            (Shape::List(inner), _) => {
                let length = value.as_array().map_or(0, Vec::len);
                let at = position(key, length)?;
                let item = match value {
                    Cow::Borrowed(value) => value.get(at).map(Cow::Borrowed),
                    Cow::Owned(mut value) => value.get_mut(at).map(|item| Cow::Owned(item.take())),
                };
                let item = item.ok_or("reflect: slice index out of range")?;
                Ok((inner.or_zero(Some(item)), *inner))
            }
            _ => Err("can't index item".to_owned()),
        }
    }

    /// Returns the type of what a `range` goes over; `None` for a number, whose rounds have no type of their own.
    pub(super) fn ranged(self) -> Result<Option<Shape>, String> {
        match self {
            Shape::List(inner) | Shape::Map(inner) | Shape::NamedMap(inner) => Ok(Some(*inner)),
            Shape::Number => Ok(None),
            _ => Err("range can't iterate".to_owned()),
        }
    }

    /// Returns whether an `if` takes `value`.
    pub(super) fn is_true(self, value: &Value) -> bool {
        match self {
            Shape::Struct(_) | Shape::Time => true,
            Shape::Pointer(_) => !value.is_null(),
            _ => is_true(Some(value)),
        }
    }

    /// Returns `value` for `len` and `slice`, to which a nil list is an empty one.
    pub(super) fn counted(self, value: Cow<'_, Value>) -> Result<Cow<'_, Value>, String> {
        match self {
            Shape::List(_) if value.is_null() => Ok(Cow::Owned(Value::Array(Vec::new()))),
            Shape::Map(_) | Shape::NamedMap(_) if value.is_null() => {
                Ok(Cow::Owned(Value::Object(serde_json::Map::new())))
            }
            Shape::Pointer(inner) if !value.is_null() => inner.counted(value),
            Shape::Struct(_) | Shape::Time => Err("len of struct".to_owned()),
            _ => Ok(value),
        }
    }

    /// Returns `value` such that it prints as Go prints one of this type: structs, times and durations become text.
    pub(super) fn shown(self, value: &Value) -> Value {
        match self {
            Shape::Pointer(inner) if !value.is_null() => inner.shown(value),
            Shape::Text | Shape::Bool | Shape::Number | Shape::Pointer(_) => value.clone(),
            Shape::Time => Value::from(print_time(value.as_str().unwrap_or_default())),
            Shape::Duration => Value::from(print_duration(value.as_i64().unwrap_or_default())),
            Shape::List(inner) => {
                value.as_array().into_iter().flatten().map(|item| inner.shown_inside(item)).collect()
            }
            Shape::Map(inner) | Shape::NamedMap(inner) => value
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, item)| (key.clone(), inner.shown_inside(item)))
                .collect(),
            Shape::Struct(fields) => {
                let mut text = String::from("{");
                for (at, field) in fields.iter().filter(|field| field.place != Place::Older).enumerate() {
                    if at > 0 {
                        text.push(' ');
                    }
                    let inner =
                        if field.place == Place::Embedded { Some(value) } else { value.get(field.key) };
                    let inner = field.shape.or_zero(inner.map(Cow::Borrowed));
                    print_value(&field.shape.shown_inside(&inner), &mut text);
                }
                text.push('}');
                Value::from(text)
            }
        }
    }

    fn shown_inside(self, value: &Value) -> Value {
        match self {
            Shape::Pointer(_) if !value.is_null() => Value::from(ADDRESS),
            _ => self.shown(value),
        }
    }
}

/// Returns the field of this name, its own before those of structs inside it.
fn find(fields: &'static [Field], name: &str) -> Option<&'static Field> {
    let inside = |field: &Field| match (field.place, field.shape) {
        (Place::Embedded, Shape::Struct(fields)) => find(fields, name),
        (Place::Embedded, Shape::Pointer(Shape::Struct(fields))) => find(fields, name),
        _ => None,
    };
    fields.iter().find(|field| field.name == name).or_else(|| fields.iter().find_map(inside))
}

fn entry<'v>(value: Cow<'v, Value>, key: &str) -> Option<Cow<'v, Value>> {
    match value {
        Cow::Borrowed(value) => value.get(key).map(Cow::Borrowed),
        Cow::Owned(Value::Object(mut entries)) => entries.remove(key).map(Cow::Owned),
        Cow::Owned(_) => None,
    }
}
