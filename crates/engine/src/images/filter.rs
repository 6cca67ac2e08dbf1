//! Conditions that lists and prunes are narrowed by: `dangling=true`, `label=a=b`, `until=24h`.

use std::collections::BTreeMap;

use jiff::{Span, Timestamp};

/// One condition. Of the same kind any may hold; of different kinds all must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Images without a tag, or only those with one.
    Dangling(bool),
    /// Images with a label, and with its value where one is given.
    Label(Label),
    /// Images without a label.
    NotLabel(Label),
    /// Images made before another image.
    Before(String),
    /// Images made after another image.
    Since(String),
    /// Images whose name matches a pattern.
    Reference(String),
    /// Images made before a moment.
    Until(Timestamp),
}

/// A label and, if it matters, its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The key.
    pub key: String,
    /// The value, if it must be this one.
    pub value: Option<String>,
}

/// Why a condition is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No `=`.
    #[error("invalid argument {0:?}: bad format of filter (expected name=value)")]
    Format(String),
    /// Not a condition on images.
    #[error("invalid filter '{0}': known are before, dangling, label, label!, reference, since and until")]
    Unknown(String),
    /// Not a pattern of Go's `path.Match`. The message is Go's.
    #[error("syntax error in pattern")]
    Pattern,
    /// Not a value for this condition.
    #[error("invalid filter '{name}={value}': {expected}")]
    Value {
        /// The condition.
        name: String,
        /// What was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
}

impl Filter {
    /// Parses `name=value`; `now` is what durations of `until` count back from.
    pub fn parse(text: &str, now: Timestamp) -> Result<Filter, FilterError> {
        let (name, value) = text.split_once('=').ok_or_else(|| FilterError::Format(text.to_owned()))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        let bad = |expected| FilterError::Value { name: name.clone(), value: value.to_owned(), expected };
        match name.as_str() {
            "dangling" => match value.to_ascii_lowercase().as_str() {
                "1" | "t" | "true" => Ok(Filter::Dangling(true)),
                "0" | "f" | "false" => Ok(Filter::Dangling(false)),
                _ => Err(bad("write true or false")),
            },
            "label" => Ok(Filter::Label(Label::parse(value))),
            "label!" => Ok(Filter::NotLabel(Label::parse(value))),
            "before" => Ok(Filter::Before(value.to_owned())),
            "since" => Ok(Filter::Since(value.to_owned())),
            "reference" => Filter::reference(value),
            "until" => parse_moment(value, now)
                .map(Filter::Until)
                .ok_or_else(|| bad("write a duration such as 24h, or a time such as 2026-01-31T10:00:00Z")),
            _ => Err(FilterError::Unknown(name)),
        }
    }

    /// Returns the condition that a name matches `pattern`.
    ///
    /// # Errors
    /// [`FilterError::Pattern`].
    pub fn reference(pattern: &str) -> Result<Filter, FilterError> {
        if is_pattern(pattern) {
            Ok(Filter::Reference(pattern.to_owned()))
        } else {
            Err(FilterError::Pattern)
        }
    }
}

impl Label {
    fn parse(text: &str) -> Label {
        match text.split_once('=') {
            Some((key, value)) => Label { key: key.to_owned(), value: Some(value.to_owned()) },
            None => Label { key: text.to_owned(), value: None },
        }
    }

    /// Returns whether `labels` has this one.
    pub fn is_in(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let found = labels.and_then(|labels| labels.get(&self.key));
        found.is_some_and(|found| self.value.as_ref().is_none_or(|value| value == found))
    }
}

/// Reads what Docker reads: Unix seconds, a time with or without zone, a date, or a Go duration back from `now`.
///
/// Source: moby api/types/time/timestamp.go `GetTimestamp` at v20.10.24.
fn parse_moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(span) = parse_go_duration(text) {
        return now.checked_sub(span).ok();
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    if let Ok(date_time) = text.parse::<jiff::civil::DateTime>() {
        return date_time.to_zoned(jiff::tz::TimeZone::system()).ok().map(|zoned| zoned.timestamp());
    }
    let (seconds, nanoseconds) = text.split_once('.').unwrap_or((text, "0"));
    let nanoseconds = format!("{nanoseconds:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

/// Reads a Go duration: `1h30m`, `1.5h`, `300ms`.
fn parse_go_duration(text: &str) -> Result<Span, ()> {
    let mut rest = text;
    let mut nanoseconds = 0f64;
    while !rest.is_empty() {
        let number = rest.find(|character: char| !character.is_ascii_digit() && character != '.').ok_or(())?;
        let amount: f64 = rest[..number].parse().map_err(|_| ())?;
        rest = &rest[number..];
        let unit = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        nanoseconds += amount
            * match &rest[..unit] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(()),
            };
        rest = &rest[unit..];
    }
    if text.is_empty() { Err(()) } else { Span::new().try_nanoseconds(nanoseconds as i64).map_err(|_| ()) }
}

/// Returns whether `name` matches `pattern` as Go's `path.Match` has it: `*` and `?` stop at a slash.
///
/// A malformed pattern may match nothing; [`Filter::reference`] refuses it.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // The classic walk with one fallback: linear in the name for each star.
    let (mut at, mut position) = (0, 0);
    let mut fallback: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(at) {
            Some('*') => {
                fallback = Some((at, position));
                at += 1;
                continue;
            }
            None if position == name.len() => return true,
            None => None,
            Some(_) => name.get(position).and_then(|character| match_one(&pattern[at..], *character)),
        };
        match (step, fallback) {
            (Some(used), _) => {
                at += used;
                position += 1;
            }
            // The star takes one character more, but never a slash.
            (None, Some((star, start))) if name.get(start).is_some_and(|character| *character != '/') => {
                fallback = Some((star, start + 1));
                at = star + 1;
                position = start + 1;
            }
            (None, _) => return false,
        }
    }
}

/// Returns how many characters of the pattern match `character`, if they do.
fn match_one(pattern: &[char], character: char) -> Option<usize> {
    match pattern {
        ['?', ..] => (character != '/').then_some(1),
        ['\\', literal, ..] => (*literal == character).then_some(2),
        ['[', class @ ..] => {
            let class = Class::read(class)?;
            (class.has(character) != class.is_negated).then_some(1 + class.length)
        }
        [literal, ..] => (*literal == character).then_some(1),
        [] => None,
    }
}

/// Whether `pattern` follows the grammar of Go's `path.Match`.
fn is_pattern(pattern: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut rest = pattern.as_slice();
    loop {
        rest = match rest {
            [] => return true,
            ['\\'] => return false,
            ['\\', _, rest @ ..] => rest,
            ['[', class @ ..] => match Class::read(class) {
                Some(read) => &class[read.length..],
                None => return false,
            },
            [_, rest @ ..] => rest,
        };
    }
}

/// A class of characters, `[^a-z\]]`.
struct Class {
    is_negated: bool,
    ranges: Vec<(char, char)>,
    /// Characters of the pattern behind the opening bracket, with the closing one.
    length: usize,
}

impl Class {
    /// Reads what follows an opening bracket; `None` where the grammar allows no such class.
    fn read(pattern: &[char]) -> Option<Class> {
        let is_negated = pattern.first() == Some(&'^');
        let mut rest = &pattern[usize::from(is_negated)..];
        let mut ranges = Vec::new();
        loop {
            if let [']', ..] = rest
                && !ranges.is_empty()
            {
                return Some(Class { is_negated, ranges, length: pattern.len() - rest.len() + 1 });
            }
            let low = class_character(&mut rest)?;
            let mut high = low;
            if let ['-', behind @ ..] = rest {
                rest = behind;
                high = class_character(&mut rest)?;
            }
            ranges.push((low, high));
        }
    }

    fn has(&self, character: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&character))
    }
}

/// Takes a character of a class, which a backslash makes any; something has to follow it.
fn class_character(rest: &mut &[char]) -> Option<char> {
    let (character, behind) = match *rest {
        ['-' | ']', ..] => return None,
        ['\\', character, behind @ ..] => (*character, behind),
        ['\\'] | [] => return None,
        [character, behind @ ..] => (*character, behind),
    };
    *rest = behind;
    (!behind.is_empty()).then_some(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        // From Go's path.Match.
        for (pattern, name, expected) in [
            ("alpine", "alpine", true),
            ("alp*", "alpine", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("*:1", "a:1", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a\\*", "a*", true),
            ("a?c", "a/c", false),
            ("", "", true),
            ("*", "", true),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[x\\-]", "x", true),
            ("[^\\-x]", "-", false),
            ("a[^]]", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_are_those_of_go() {
        // path.Match of Go 1.24 with each against "zzz" and "a".
        for pattern in [
            "[", "[a", "[]a]", "[-]", "[x-]", "[-x]", "[a-]", "[^", "[^]", "\\", "a[", "[\\", "[a-b-c]", "*[",
        ] {
            assert_eq!(Filter::reference(pattern), Err(FilterError::Pattern), "{pattern}");
        }
        for pattern in ["", "a", "[a]", "[^a-c]", "\\[", "[\\]]", "a]", "*:?", "[a-bc-d]"] {
            assert!(Filter::reference(pattern).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn moments_are_read_as_docker_reads_them() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("until=24h", "2026-01-01T00:00:00Z"),
            ("until=1h30m", "2026-01-01T22:30:00Z"),
            ("until=1767225600", "2026-01-01T00:00:00Z"),
            ("until=2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(Filter::parse(text, now), Ok(Filter::Until(expected.parse().unwrap())), "{text}");
        }
        assert!(Filter::parse("until=soon", now).is_err());
        assert!(Filter::parse("colour=red", now).is_err());
        assert!(Filter::parse("dangling", now).is_err());
    }
}
