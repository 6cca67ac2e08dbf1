//! Parser directives: `# key=value` lines at the very top.

use crate::parse::{ParseFault, Placed};
use crate::source::{Position, Span};

/// The directives of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// The escape character: `\` or a backtick.
    pub escape: char,
    /// The frontend image that `# syntax=` names; accepted, and ignored by the parser.
    pub syntax: Option<String>,
    /// The text of `# check=`.
    pub check: Option<String>,
    /// Where `# syntax=` stands.
    pub syntax_span: Option<Span>,
    /// Where `# check=` stands.
    pub check_span: Option<Span>,
}

impl Default for Directives {
    fn default() -> Directives {
        Directives { escape: '\\', syntax: None, check: None, syntax_span: None, check_span: None }
    }
}

/// Reads directives line by line until the first line that is none.
#[derive(Default)]
pub(crate) struct DirectiveReader {
    pub directives: Directives,
    has_escape: bool,
    is_done: bool,
}

impl DirectiveReader {
    /// Reads one line without blanks in front; returns whether it is a directive.
    pub fn read(&mut self, line: &str, number: usize) -> Result<bool, Placed<ParseFault>> {
        if self.is_done {
            return Ok(false);
        }
        let Some((key, value)) = line.strip_prefix('#').and_then(|rest| split_directive(rest.trim_start()))
        else {
            self.is_done = true;
            return Ok(false);
        };
        let end = Position { line: number, column: line.chars().count() + 1 };
        let span = Span { start: Position { line: number, column: 1 }, end };
        let duplicate = |name| Placed { fault: ParseFault::DuplicateDirective(name), span };
        match key.to_ascii_lowercase().as_str() {
            "escape" => {
                if std::mem::replace(&mut self.has_escape, true) {
                    return Err(duplicate("escape"));
                }
                self.directives.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => return Err(Placed { fault: ParseFault::InvalidEscape(value.to_owned()), span }),
                };
            }
            "syntax" => {
                if self.directives.syntax.is_some() {
                    return Err(duplicate("syntax"));
                }
                self.directives.syntax = Some(first_word(value).to_owned());
                self.directives.syntax_span = Some(span);
            }
            "check" => {
                if self.directives.check.is_some() {
                    return Err(duplicate("check"));
                }
                self.directives.check = Some(first_word(value).to_owned());
                self.directives.check_span = Some(span);
            }
            _ => {
                self.is_done = true;
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns the options of a comment `check=…` that stands above an instruction.
pub(crate) fn read_check_comment(comment: &str) -> Option<&str> {
    let (key, value) = split_directive(comment)?;
    key.eq_ignore_ascii_case("check").then(|| first_word(value))
}

fn split_directive(text: &str) -> Option<(&str, &str)> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}');
    let (key, value) = text.split_once('=')?;
    let (key, value) = (key.trim_end_matches(blank), value.trim_matches(blank));
    let starts_with_letter = key.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_word = key.chars().all(|c| c.is_ascii_alphanumeric());
    (starts_with_letter && is_word && !value.is_empty()).then_some((key, value))
}

fn first_word(value: &str) -> &str {
    value.split(' ').next().unwrap_or(value)
}
