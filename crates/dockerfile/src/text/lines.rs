//! Physical lines, and logical lines that remember where each part of them came from.

use crate::source::{Position, Span};

/// Longest physical line, in bytes, without its line feed.
///
/// Source: the limit that Docker's parser inherits from Go's `bufio.Scanner`.
pub(crate) const LINE_SIZE_MAX: usize = 65_535;

/// One physical line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PhysicalLine<'a> {
    /// From 1.
    pub number: usize,
    /// With its line end, as it stands in the text.
    pub raw: &'a str,
}

impl<'a> PhysicalLine<'a> {
    /// Returns the line without its line end.
    pub fn text(&self) -> &'a str {
        self.raw.trim_end_matches(['\r', '\n'])
    }

    pub fn is_comment(&self) -> bool {
        self.raw.trim_start().starts_with('#')
    }

    pub fn is_too_long(&self) -> bool {
        self.raw.strip_suffix('\n').unwrap_or(self.raw).len() > LINE_SIZE_MAX
    }
}

/// The physical lines of a text, without its byte order mark.
pub(crate) struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Lines<'a> {
        Lines { rest: text.strip_prefix('\u{feff}').unwrap_or(text), number: 0 }
    }

    /// Returns the number of the line that was returned last; 0 before the first.
    pub fn number(&self) -> usize {
        self.number
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = PhysicalLine<'a>;

    fn next(&mut self) -> Option<PhysicalLine<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.find('\n').map_or(self.rest.len(), |index| index + 1);
        let (raw, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.number += 1;
        Some(PhysicalLine { number: self.number, raw })
    }
}

/// The text of one instruction with its continuation lines joined.
#[derive(Debug, Default)]
pub(crate) struct LogicalLine {
    pub text: String,
    pieces: Vec<Piece>,
}

/// Where a physical line's part of the text starts.
#[derive(Debug)]
struct Piece {
    offset: usize,
    start: Position,
}

impl LogicalLine {
    /// Returns a logical line whose text stands for itself, at `line`.
    pub fn alone(text: &str, line: usize) -> LogicalLine {
        let mut logical = LogicalLine::default();
        logical.push(text, Position { line, column: 1 });
        logical
    }

    pub fn push(&mut self, part: &str, start: Position) {
        self.pieces.push(Piece { offset: self.text.len(), start });
        self.text.push_str(part);
    }

    /// Returns the place in the source of the byte at `offset` of the joined text.
    pub fn position(&self, offset: usize) -> Position {
        let index = self.pieces.partition_point(|piece| piece.offset <= offset).saturating_sub(1);
        let Some(piece) = self.pieces.get(index) else { return Position { line: 1, column: 1 } };
        let offset = offset.min(self.text.len());
        let between = self.text.get(piece.offset..offset).unwrap_or("");
        Position { line: piece.start.line, column: piece.start.column + between.chars().count() }
    }

    /// Returns the stretch of the source from `start` to `end` of the joined text.
    ///
    /// A word that ends where a physical line ends stays on that line.
    pub fn span(&self, start: usize, end: usize) -> Span {
        let begin = self.position(start);
        if end <= start {
            return Span { start: begin, end: begin };
        }
        let last = self.text[start..end].chars().next_back().map_or(1, char::len_utf8);
        let mut finish = self.position(end - last);
        finish.column += 1;
        Span { start: begin, end: finish }
    }
}
