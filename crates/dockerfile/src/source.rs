//! Places in a Dockerfile, and how they are shown to a person.

use std::fmt::Write as _;

/// A place in a text: line and column, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
}

/// A stretch of a text, from its first character to just behind its last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
pub struct Span {
    /// The first character.
    pub start: Position,
    /// Just behind the last character; on the last line.
    pub end: Position,
}

impl Span {
    /// Returns the stretch that holds whole lines, from `first` to `last`.
    pub(crate) fn lines(first: usize, last: usize) -> Span {
        Span { start: Position { line: first, column: 1 }, end: Position { line: last, column: 1 } }
    }
}

/// Lines around a fault, as BuildKit shows them, with `>>>` in front of the lines that are meant.
///
/// ```text
/// Dockerfile:2
/// --------------------
///    1 |     FROM busybox
///    2 | >>> FOO bar
/// --------------------
/// ```
pub(crate) fn excerpt(file_name: &str, source: &str, span: Span) -> String {
    const CONTEXT_LINES: usize = 3;
    const RULE: &str = "--------------------";
    if source.is_empty() {
        return String::new();
    }
    let first = span.start.line.saturating_sub(CONTEXT_LINES).max(1);
    let last = span.end.line + CONTEXT_LINES;
    let mut shown = format!("{file_name}:{}\n{RULE}\n", span.start.line);
    for (number, line) in source.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        if number < first {
            continue;
        }
        if number > last {
            break;
        }
        let mark = if (span.start.line..=span.end.line).contains(&number) { ">>>" } else { "   " };
        let text: String = line.chars().take(EXCERPT_WIDTH_MAX).collect();
        let _ = writeln!(shown, "{number:4} | {mark} {text}");
    }
    shown.push_str(RULE);
    shown.push('\n');
    shown
}

/// Longest part of a line that an excerpt shows, in characters.
const EXCERPT_WIDTH_MAX: usize = 400;

/// Returns the line `number`, from 1, without its line end; empty when there is none.
pub(crate) fn line(source: &str, number: usize) -> &str {
    source.lines().nth(number.saturating_sub(1)).unwrap_or("")
}
