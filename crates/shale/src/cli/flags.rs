//! Words → flags and arguments, by the rules of docker's flag library.
//!
//! These rules are not clap's: `--all=false`, `-f=x`, a value that looks like a flag, the last of two values wins, and every
//! mistake has docker's own words, which name the cluster of short flags or Go's parser. So the parser is our own.

use std::collections::HashMap;

use super::spec::{Flag, Kind};

/// What was typed: the values of flags, and the arguments.
#[derive(Debug, Default)]
pub struct Matches {
    /// Arguments that are no flags.
    pub arguments: Vec<String>,
    values: HashMap<&'static str, Vec<String>>,
}

impl Matches {
    /// Returns whether a switch is on.
    pub fn is_on(&self, flag: &str) -> bool {
        self.text(flag).is_some_and(|value| parse_bool(value) == Some(true))
    }

    /// Returns whether a switch is on; `None` when it was not given.
    pub fn given_switch(&self, flag: &str) -> Option<bool> {
        self.is_given(flag).then(|| self.is_on(flag))
    }

    /// Returns whether the flag was given at all.
    pub fn is_given(&self, flag: &str) -> bool {
        self.values.contains_key(flag)
    }

    /// Returns the last value of a flag.
    pub fn text(&self, flag: &str) -> Option<&str> {
        self.values.get(flag)?.last().map(String::as_str)
    }

    /// Returns the last value of a flag, `None` where it is empty.
    pub fn filled(&self, flag: &str) -> Option<String> {
        self.text(flag).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// Returns the platform that was asked for: by the flag, or by `DOCKER_DEFAULT_PLATFORM` where the flag was not given.
    ///
    /// For the commands of which docker takes the variable: those that may fetch or make an image.
    pub fn platform_or_default(&self) -> Option<String> {
        match self.is_given("platform") {
            true => self.filled("platform"),
            false => std::env::var("DOCKER_DEFAULT_PLATFORM").ok().filter(|platform| !platform.is_empty()),
        }
    }

    /// Returns all values of a flag.
    pub fn list(&self, flag: &str) -> Vec<String> {
        self.values.get(flag).cloned().unwrap_or_default()
    }

    /// Returns the last value of a number flag.
    pub fn number(&self, flag: &str) -> Option<i64> {
        self.text(flag).and_then(|value| parse_integer(value).ok())
    }

    /// Returns the last value of a duration flag in nanoseconds.
    pub fn duration(&self, flag: &str) -> Option<i64> {
        self.text(flag).and_then(|value| super::duration::nanoseconds(value).ok())
    }

    /// Returns the argument at `position`; the count was checked before.
    pub fn argument(&self, position: usize) -> String {
        self.arguments.get(position).cloned().unwrap_or_default()
    }

    /// Returns the argument at `position` where it was given.
    pub fn optional_argument(&self, position: usize) -> Option<String> {
        self.arguments.get(position).cloned()
    }
}

/// How far to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The first argument, which is a command.
    Command,
    /// The end; flags and arguments mix.
    End,
}

/// Reads flags of `known` from `words`.
///
/// Returns the matches, and the words after the last that was read.
///
/// # Errors
/// In docker's words: `unknown flag: --frob`.
pub fn read<'w>(
    words: &'w [String],
    known: &[&[Flag]],
    until: Until,
) -> Result<(Matches, &'w [String]), String> {
    let mut matches = Matches::default();
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        match word.strip_prefix('-') {
            None | Some("") if until == Until::Command => return Ok((matches, rest)),
            None | Some("") => {
                matches.arguments.push(word.clone());
                rest = after;
            }
            Some("-") => {
                if until == Until::Command {
                    return Ok((matches, after));
                }
                matches.arguments.extend_from_slice(after);
                return Ok((matches, &[]));
            }
            Some(name) => {
                rest = match name.strip_prefix('-') {
                    Some(name) => matches.read_long(word, name, after, known)?,
                    None => matches.read_cluster(name, after, known)?,
                }
            }
        }
    }
    Ok((matches, rest))
}

impl Matches {
    fn read_long<'w>(
        &mut self,
        word: &str,
        name: &str,
        after: &'w [String],
        known: &[&[Flag]],
    ) -> Result<&'w [String], String> {
        if name.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {word}"));
        }
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        let flag = known.iter().copied().flatten().find(|flag| flag.long == name);
        let flag = flag.ok_or_else(|| format!("unknown flag: --{name}"))?;
        match (value, flag.kind) {
            (Some(value), _) => self.set(flag, value).map(|()| after),
            (None, Kind::Bool) => self.set(flag, "true").map(|()| after),
            (None, _) => {
                let (value, after) =
                    after.split_first().ok_or_else(|| format!("flag needs an argument: --{name}"))?;
                self.set(flag, value).map(|()| after)
            }
        }
    }

    fn read_cluster<'w>(
        &mut self,
        cluster: &str,
        after: &'w [String],
        known: &[&[Flag]],
    ) -> Result<&'w [String], String> {
        let mut rest = cluster;
        while let Some(letter) = rest.chars().next() {
            let tail = &rest[letter.len_utf8()..];
            let flag = known.iter().copied().flatten().find(|flag| flag.short == Some(letter));
            let flag = flag.ok_or_else(|| format!("unknown shorthand flag: '{letter}' in -{rest}"))?;
            match tail.strip_prefix('=') {
                // As in docker, "-f=" alone gives the value "=".
                Some(value) if !value.is_empty() => return self.set(flag, value).map(|()| after),
                _ if flag.kind == Kind::Bool => self.set(flag, "true")?,
                _ if !tail.is_empty() => return self.set(flag, tail).map(|()| after),
                _ => {
                    let missing = || format!("flag needs an argument: '{letter}' in -{rest}");
                    let (value, after) = after.split_first().ok_or_else(missing)?;
                    return self.set(flag, value).map(|()| after);
                }
            }
            rest = tail;
        }
        Ok(after)
    }

    fn set(&mut self, flag: &Flag, value: &str) -> Result<(), String> {
        let refuse = |reason: String| {
            let names = match flag.short {
                Some(short) => format!("-{short}, --{}", flag.long),
                None => format!("--{}", flag.long),
            };
            format!("invalid argument {value:?} for {names:?} flag: {reason}")
        };
        let values = self.values.entry(flag.long).or_default();
        match flag.kind {
            Kind::Bool if parse_bool(value).is_none() => {
                return Err(refuse(format!("strconv.ParseBool: parsing {value:?}: invalid syntax")));
            }
            Kind::Int => {
                parse_integer(value)
                    .map_err(|reason| refuse(format!("strconv.ParseInt: parsing {value:?}: {reason}")))?;
                values.push(value.to_owned());
            }
            Kind::Unsigned(size) => {
                let refused = |reason| refuse(format!("strconv.ParseUint: parsing {value:?}: {reason}"));
                let number = parse_integer(value).map_err(refused)?;
                if value.starts_with(['+', '-']) {
                    return Err(refused("invalid syntax"));
                }
                if size == "uint16" && u16::try_from(number).is_err() {
                    return Err(refused("value out of range"));
                }
                values.push(value.to_owned());
            }
            Kind::Duration => {
                super::duration::nanoseconds(value).map_err(refuse)?;
                values.push(value.to_owned());
            }
            Kind::Filter if value.is_empty() => {}
            Kind::Filter => {
                let (name, of) = value.split_once('=').ok_or_else(|| refuse(INVALID_FILTER.to_owned()))?;
                values.push(format!("{}={}", name.trim().to_lowercase(), of.trim()));
            }
            Kind::Strings => {
                values.extend(value.split(',').filter(|part| !part.is_empty()).map(str::to_owned))
            }
            Kind::Bool | Kind::Text | Kind::Word(_) | Kind::List(_) => values.push(value.to_owned()),
        }
        Ok(())
    }
}

const INVALID_FILTER: &str = "bad format of filter (expected name=value)";

/// Reads a truth value as Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a number as Go's `strconv.ParseInt(text, 0, 64)`.
fn parse_integer(text: &str) -> Result<i64, &'static str> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (&text[..1], digits),
        None => ("", text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if body.starts_with(['+', '-']) {
        return Err("invalid syntax");
    }
    i64::from_str_radix(&format!("{sign}{body}"), radix).map_err(|error| match error.kind() {
        PosOverflow | NegOverflow => "value out of range",
        _ => "invalid syntax",
    })
}
