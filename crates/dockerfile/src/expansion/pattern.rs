//! The shell patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*` and `?`, no brackets.
//!
//! Every match is found in one walk along the value, part by part; no pattern makes the walk go back.

use super::lexer::ExpandFault;

/// One character of a pattern; runs of them lie between the `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Char(char),
    Any,
}

impl Unit {
    fn matches(self, c: char) -> bool {
        match self {
            Unit::Char(own) => own == c,
            Unit::Any => true,
        }
    }
}

/// A pattern: parts with a `*` between each two of them.
#[derive(Debug)]
pub(super) struct Pattern {
    parts: Vec<Vec<Unit>>,
    length: usize,
}

/// How many characters may be compared for one substitution.
const STEPS_MAX: usize = 64 << 20;

/// Whether a `*` takes as little or as much as it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Shortest,
    Longest,
}

impl Pattern {
    /// Parses a pattern; `\` escapes `*`, `?`, `\`, `/` and `}` and nothing else.
    pub fn parse(text: &str) -> Result<Pattern, ExpandFault> {
        let mut parts = vec![Vec::new()];
        let mut length = 0;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let unit = match c {
                '*' => {
                    parts.push(Vec::new());
                    continue;
                }
                '?' => Unit::Any,
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '/' | '}')) => Unit::Char(escaped),
                    other => {
                        let escaped = other.unwrap_or(char::REPLACEMENT_CHARACTER);
                        return Err(ExpandFault::BadPattern { pattern: text.to_owned(), escaped });
                    }
                },
                c => Unit::Char(c),
            };
            length += 1;
            parts.last_mut().expect("there is always one part").push(unit);
        }
        Ok(Pattern { parts, length })
    }

    fn reversed(&self) -> Pattern {
        let parts = self.parts.iter().rev().map(|part| part.iter().rev().copied().collect()).collect();
        Pattern { parts, length: self.length }
    }

    /// Returns `value` without the prefix that matches.
    pub fn trim_prefix(&self, value: &str, reach: Reach) -> Result<String, ExpandFault> {
        let value: Vec<char> = value.chars().collect();
        Ok(self.trim(&value, reach)?.iter().collect())
    }

    /// Returns `value` without the suffix that matches.
    pub fn trim_suffix(&self, value: &str, reach: Reach) -> Result<String, ExpandFault> {
        let value: Vec<char> = value.chars().rev().collect();
        Ok(self.reversed().trim(&value, reach)?.iter().rev().collect())
    }

    fn trim<'a>(&self, value: &'a [char], reach: Reach) -> Result<&'a [char], ExpandFault> {
        let mut steps = 0;
        let end = self.match_from(value, 0, reach, Anchor::Here, &mut steps)?;
        Ok(end.map_or(value, |(_, end)| &value[end..]))
    }

    /// Replaces the first match, or every match, by `replacement`; a `*` takes as much as it can.
    pub fn replace(&self, value: &str, replacement: &str, all: bool) -> Result<String, ExpandFault> {
        let value: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let mut steps = 0;
        let mut at = 0;
        let mut search = 0;
        let mut last_end = None;
        while search <= value.len() {
            let Some((start, end)) =
                self.match_from(&value, search, Reach::Longest, Anchor::Anywhere, &mut steps)?
            else {
                break;
            };
            // An empty match right behind a match does not count, as in Go.
            if start == end && last_end == Some(start) {
                search = start + 1;
                continue;
            }
            result.extend(&value[at..start]);
            result.push_str(replacement);
            if result.len() > super::EXPANSION_SIZE_MAX {
                return Err(ExpandFault::TooLarge);
            }
            at = end;
            last_end = Some(end);
            search = if end == start { end + 1 } else { end };
            if !all {
                break;
            }
        }
        result.extend(&value[at..]);
        Ok(result)
    }

    /// Returns where the first match from `from` on starts and ends.
    ///
    /// The parts are placed as far left as they go; for the longest match the last one is then moved as far right as
    /// it goes. Both are what a backtracking matcher finds, without the backtracking.
    fn match_from(
        &self,
        value: &[char],
        from: usize,
        reach: Reach,
        anchor: Anchor,
        steps: &mut usize,
    ) -> Result<Option<(usize, usize)>, ExpandFault> {
        let (first, rest) = self.parts.split_first().expect("there is always one part");
        let found = match anchor {
            Anchor::Here => matches_at(first, value, from, steps)?.then_some(from),
            Anchor::Anywhere => find_left(first, value, from, steps)?,
        };
        let Some(start) = found else { return Ok(None) };
        let mut end = start + first.len();
        let Some((last, middle)) = rest.split_last() else { return Ok(Some((start, end))) };
        for part in middle {
            let Some(place) = find_left(part, value, end, steps)? else { return Ok(None) };
            end = place + part.len();
        }
        let place = match reach {
            Reach::Shortest => find_left(last, value, end, steps)?,
            Reach::Longest => find_right(last, value, end, steps)?,
        };
        Ok(place.map(|place| (start, place + last.len())))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    Here,
    Anywhere,
}

fn matches_at(part: &[Unit], value: &[char], at: usize, steps: &mut usize) -> Result<bool, ExpandFault> {
    let Some(window) = value.get(at..at + part.len()) else { return Ok(false) };
    let equal = part.iter().zip(window).take_while(|(unit, c)| unit.matches(**c)).count();
    *steps += equal + 1;
    if *steps > STEPS_MAX {
        return Err(ExpandFault::TooCostly);
    }
    Ok(equal == part.len())
}

fn find_left(
    part: &[Unit],
    value: &[char],
    from: usize,
    steps: &mut usize,
) -> Result<Option<usize>, ExpandFault> {
    for at in from..=value.len().saturating_sub(part.len()) {
        if matches_at(part, value, at, steps)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn find_right(
    part: &[Unit],
    value: &[char],
    from: usize,
    steps: &mut usize,
) -> Result<Option<usize>, ExpandFault> {
    for at in (from..=value.len().saturating_sub(part.len())).rev() {
        if matches_at(part, value, at, steps)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}
