//! Heredocs: `[fd]<<[-]word` on a line, and the lines up to the word.

use crate::dialect::Dialect;
use crate::expansion::{Expander, Quoting};

/// A heredoc with its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, without quotes.
    pub name: String,
    /// The file descriptor in front of `<<`; 0 without one.
    pub file_descriptor: u64,
    /// Whether variables in the body are replaced: no part of the word is quoted.
    pub expands: bool,
    /// Whether leading tabs are taken off: `<<-`.
    pub strips_tabs: bool,
    /// The lines of the body with their line ends.
    pub content: String,
}

/// Docker reads the words of heredocs with this escape character, whatever the directive says.
const ESCAPE: char = '\\';

/// Returns the heredocs that `line` opens, in order, still without content.
pub(crate) fn find_in_line(line: &str) -> Vec<Heredoc> {
    let lexer = Expander { escape: ESCAPE, dialect: Dialect::BuildKit, quoting: Quoting::Keep };
    // A line that cannot be lexed opens no heredoc; the shell will say what is wrong with it.
    let Ok((words, _)) = lexer.expand_words(line, &()) else { return Vec::new() };
    words.iter().filter_map(|word| find_in_word(word)).collect()
}

/// Returns the heredoc that `word` opens, if it is exactly that.
pub(crate) fn find_in_word(word: &str) -> Option<Heredoc> {
    let (number, rest) = word.split_once("<<")?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (strips_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches(['\t', '\n', '\u{c}', '\r', ' ']);
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let lexer = Expander { escape: ESCAPE, dialect: Dialect::BuildKit, quoting: Quoting::RemoveAndKeepUnset };
    let (words, _) = lexer.expand_words(rest, &()).ok()?;
    let [name] = <[String; 1]>::try_from(words).ok()?;
    Some(Heredoc {
        name,
        file_descriptor: number.parse().unwrap_or(0),
        expands: !has_quotes(rest),
        strips_tabs,
        content: String::new(),
    })
}

/// Whether a part of `word` stands in quotes.
fn has_quotes(word: &str) -> bool {
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match c {
            ESCAPE => drop(chars.next()),
            '\'' | '"' => return true,
            _ => {}
        }
    }
    false
}

/// Returns `content` without the tabs in front of its lines.
pub(crate) fn strip_leading_tabs(content: &str) -> String {
    content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}
