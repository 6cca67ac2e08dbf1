//! The lexer: one walk over a word that takes off quotes and escapes and puts values in.

use super::pattern::{Pattern, Reach};
use crate::dialect::Dialect;

/// Largest text that one word may become, in bytes, beyond its own length.
///
/// `ENV A=$A$A` thirty times would otherwise need 2^30 times the memory.
pub const EXPANSION_SIZE_MAX: usize = 1 << 20;

/// Deepest nesting of `${a:-${b:-…}}`.
pub const EXPANSION_DEPTH_MAX: usize = 100;

/// Where the values of variables come from.
pub trait Lookup {
    /// Returns the value of `name`, if it is set.
    fn get(&self, name: &str) -> Option<&str>;
}

/// No variable is set.
impl Lookup for () {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Lookup for std::collections::BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        std::collections::BTreeMap::get(self, name).map(String::as_str)
    }
}

/// Why a word cannot be expanded. The messages are BuildKit's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandFault {
    /// A `'` is never closed.
    #[error("unexpected end of statement while looking for matching single-quote")]
    OpenSingleQuote,
    /// A `"` is never closed.
    #[error("unexpected end of statement while looking for matching double-quote")]
    OpenDoubleQuote,
    /// A `${` is never closed.
    #[error("syntax error: missing '}}'")]
    OpenBrace,
    /// `${v/p` goes on without a second `/`.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// `${}`, `${:…}` or `${{…}`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// What follows the name is no known operator.
    #[error("unsupported modifier ({0}) in substitution")]
    UnsupportedModifier(String),
    /// The classic builder knows no operator without a colon.
    #[error("missing ':' in substitution")]
    MissingColon,
    /// `${v:?message}` of a variable that is unset or empty.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message, or what is wrong with the variable.
        message: String,
    },
    /// A backslash in a pattern escapes something that needs no escape.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// The character behind the backslash.
        escaped: char,
    },
    /// The result is larger than [`EXPANSION_SIZE_MAX`].
    #[error("the expanded text is larger than {EXPANSION_SIZE_MAX} bytes")]
    TooLarge,
    /// Substitutions are nested deeper than [`EXPANSION_DEPTH_MAX`].
    #[error("substitutions are nested deeper than {EXPANSION_DEPTH_MAX} levels")]
    TooDeep,
    /// A pattern needs too many comparisons.
    #[error("the pattern needs too much work on a value of this size")]
    TooCostly,
}

/// A word that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {word:?}: {fault}")]
pub struct ExpandError {
    /// The word as written.
    pub word: String,
    /// What is wrong with it.
    pub fault: ExpandFault,
}

/// A word with its variables replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// The variables that were used and are set, in order of use.
    pub matched: Vec<String>,
    /// The variables that were used and are not set, in order of use.
    pub unmatched: Vec<String>,
}

/// What happens to quotes and escape characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    /// They work, and are taken off.
    Remove,
    /// Quotes are ordinary characters: the body of a heredoc.
    Ignore,
    /// They work, and stay; unset variables stay as written: a line as people see it.
    Keep,
    /// They work, and are taken off; unset variables stay as written: the word of a heredoc.
    RemoveAndKeepUnset,
}

/// Expands words in one dialect.
#[derive(Debug, Clone, Copy)]
pub struct Expander {
    /// The escape character, `\` or a backtick.
    pub escape: char,
    /// Which forms of `${…}` exist.
    pub dialect: Dialect,
    /// What happens to quotes.
    pub quoting: Quoting,
}

impl Expander {
    /// Returns an expander for the words of instructions.
    pub fn new(escape: char, dialect: Dialect) -> Expander {
        Expander { escape, dialect, quoting: Quoting::Remove }
    }

    /// Returns the text that `word` means.
    ///
    /// # Errors
    /// [`ExpandError`] when the word is malformed, or its result too large; `variables` are not changed.
    pub fn expand(&self, word: &str, variables: &dyn Lookup) -> Result<Expanded, ExpandError> {
        // Most words of most Dockerfiles have nothing to do in them.
        if !word.contains(['$', '\'', '"', self.escape]) {
            return Ok(Expanded { text: word.to_owned(), ..Expanded::default() });
        }
        let mut lexer = Lexer::new(self, word, variables);
        let text = lexer.run(None, self.quoting == Quoting::Keep, false, None);
        let text = text.map_err(|fault| ExpandError { word: word.to_owned(), fault })?;
        Ok(Expanded { text, matched: lexer.matched, unmatched: lexer.unmatched })
    }

    /// Returns the words that `word` falls into after expansion, and the variables that it used.
    ///
    /// # Errors
    /// As [`Expander::expand`].
    pub fn expand_words(
        &self,
        word: &str,
        variables: &dyn Lookup,
    ) -> Result<(Vec<String>, Expanded), ExpandError> {
        let mut lexer = Lexer::new(self, word, variables);
        let mut splitter = Splitter::default();
        let text = lexer.run(None, self.quoting == Quoting::Keep, false, Some(&mut splitter));
        let text = text.map_err(|fault| ExpandError { word: word.to_owned(), fault })?;
        Ok((splitter.finish(), Expanded { text, matched: lexer.matched, unmatched: lexer.unmatched }))
    }
}

/// Collects words that unquoted blanks separate.
#[derive(Default)]
struct Splitter {
    words: Vec<String>,
    word: String,
}

impl Splitter {
    fn push_char(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    fn push_quoted(&mut self, text: &str) {
        self.word.push_str(text);
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

struct Lexer<'a> {
    rest: &'a str,
    escape: char,
    quoting: Quoting,
    dialect: Dialect,
    raw_escapes: bool,
    variables: &'a dyn Lookup,
    matched: Vec<String>,
    unmatched: Vec<String>,
    budget: usize,
    depth: usize,
}

impl<'a> Lexer<'a> {
    fn new(expander: &Expander, word: &'a str, variables: &'a dyn Lookup) -> Lexer<'a> {
        Lexer {
            rest: word,
            escape: expander.escape,
            quoting: expander.quoting,
            dialect: expander.dialect,
            raw_escapes: false,
            variables,
            matched: Vec::new(),
            unmatched: Vec::new(),
            budget: EXPANSION_SIZE_MAX + word.len(),
            depth: 0,
        }
    }

    fn keeps_unset(&self) -> bool {
        matches!(self.quoting, Quoting::Keep | Quoting::RemoveAndKeepUnset)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Takes `bytes` from what the result may still grow.
    fn spend(&mut self, bytes: usize) -> Result<(), ExpandFault> {
        self.budget = self.budget.checked_sub(bytes).ok_or(ExpandFault::TooLarge)?;
        Ok(())
    }

    /// Reads until `stop`, which is consumed, or to the end when there is none.
    ///
    /// `raw_escapes` keeps escape characters in the result; `in_pattern` doubles the literal ones inside quotes, since
    /// the pattern parser reads them a second time.
    fn run(
        &mut self,
        stop: Option<char>,
        raw_escapes: bool,
        in_pattern: bool,
        splitter: Option<&mut Splitter>,
    ) -> Result<String, ExpandFault> {
        if self.depth >= EXPANSION_DEPTH_MAX {
            return Err(ExpandFault::TooDeep);
        }
        self.depth += 1;
        let outer = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let result = self.run_until(stop, in_pattern, splitter);
        self.raw_escapes = outer;
        self.depth -= 1;
        result
    }

    fn run_until(
        &mut self,
        stop: Option<char>,
        in_pattern: bool,
        mut splitter: Option<&mut Splitter>,
    ) -> Result<String, ExpandFault> {
        let mut result = String::new();
        let quotes = self.quoting != Quoting::Ignore;
        loop {
            let Some(c) = self.next() else {
                return if stop.is_some() { Err(ExpandFault::OpenBrace) } else { Ok(result) };
            };
            if Some(c) == stop {
                return Ok(result);
            }
            let before = result.len();
            match c {
                '\'' | '"' if quotes => {
                    if c == '\'' {
                        self.single_quoted(in_pattern, &mut result)?;
                    } else {
                        self.double_quoted(in_pattern, &mut result)?;
                    }
                    if let Some(splitter) = splitter.as_deref_mut() {
                        splitter.push_quoted(&result[before..]);
                    }
                }
                '$' => {
                    self.dollar(&mut result)?;
                    if let Some(splitter) = splitter.as_deref_mut() {
                        result[before..].chars().for_each(|c| splitter.push_char(c));
                    }
                }
                '<' => {
                    // Blanks behind `<<` belong to the word of a heredoc.
                    result.push('<');
                    if self.peek() == Some('<') {
                        self.next();
                        result.push('<');
                        while let Some(blank @ ('\t' | '\r' | ' ')) = self.peek() {
                            self.next();
                            result.push(blank);
                        }
                    }
                    if let Some(splitter) = splitter.as_deref_mut() {
                        splitter.push_quoted(&result[before..]);
                    }
                }
                c if c == self.escape => {
                    if self.raw_escapes {
                        result.push(c);
                    }
                    // An escape character at the very end is dropped.
                    result.extend(self.next());
                    if let Some(splitter) = splitter.as_deref_mut() {
                        splitter.push_quoted(&result[before..]);
                    }
                }
                c => {
                    result.push(c);
                    if let Some(splitter) = splitter.as_deref_mut() {
                        splitter.push_char(c);
                    }
                }
            }
            self.spend(result.len() - before)?;
        }
    }

    fn single_quoted(&mut self, in_pattern: bool, result: &mut String) -> Result<(), ExpandFault> {
        let keep = self.quoting == Quoting::Keep;
        if keep {
            result.push('\'');
        }
        loop {
            let c = self.next().ok_or(ExpandFault::OpenSingleQuote)?;
            if c == '\'' {
                break;
            }
            if in_pattern && c == self.escape {
                result.push(c);
            }
            result.push(c);
        }
        if keep {
            result.push('\'');
        }
        Ok(())
    }

    fn double_quoted(&mut self, in_pattern: bool, result: &mut String) -> Result<(), ExpandFault> {
        let keep = self.quoting == Quoting::Keep;
        if keep {
            result.push('"');
        }
        loop {
            let c = self.next().ok_or(ExpandFault::OpenDoubleQuote)?;
            match c {
                '"' => break,
                '$' => self.dollar(result)?,
                c if c == self.escape => match self.peek() {
                    None => {}
                    Some(escaped) if escaped == '"' || escaped == '$' || escaped == self.escape => {
                        self.next();
                        if self.raw_escapes {
                            result.push(c);
                        }
                        result.push(escaped);
                    }
                    Some(_) => {
                        if self.raw_escapes && (!keep || in_pattern) {
                            result.push(c);
                        }
                        result.push(c);
                    }
                },
                c => result.push(c),
            }
        }
        if keep {
            result.push('"');
        }
        Ok(())
    }

    /// Appends what a `$`, already read, and what follows it stand for.
    fn dollar(&mut self, result: &mut String) -> Result<(), ExpandFault> {
        if self.peek() == Some('{') {
            self.next();
            return self.braced(result);
        }
        let name = self.name();
        if name.is_empty() {
            result.push('$');
            return Ok(());
        }
        match self.value(name) {
            Some(value) => self.push_value(result, value),
            None => {
                if self.keeps_unset() {
                    result.push('$');
                    result.push_str(name);
                }
                Ok(())
            }
        }
    }

    fn push_value(&mut self, result: &mut String, value: &str) -> Result<(), ExpandFault> {
        // The caller spends what the result has grown by; this guards the copy itself.
        if value.len() > self.budget {
            return Err(ExpandFault::TooLarge);
        }
        result.push_str(value);
        Ok(())
    }

    fn braced(&mut self, result: &mut String) -> Result<(), ExpandFault> {
        match self.peek() {
            None => return Err(ExpandFault::OpenBrace),
            Some('{' | '}' | ':') => return Err(ExpandFault::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let is_full = self.dialect.has_pattern_expansion();
        let Some(operator) = self.next() else {
            return Err(match self.dialect {
                Dialect::Classic => ExpandFault::MissingColon,
                // To the letter: Go's sign for the end, written as a character.
                Dialect::BuildKit => self.unsupported("", None),
                Dialect::Shale => ExpandFault::OpenBrace,
            });
        };
        match operator {
            '}' => match self.value(name) {
                Some(value) => self.push_value(result, value),
                None => {
                    if self.keeps_unset() {
                        result.push_str(&format!("${{{name}}}"));
                    }
                    Ok(())
                }
            },
            ':' => {
                let operator = self.next();
                match operator {
                    Some(operator @ ('-' | '+' | '?')) => self.conditional(name, true, operator, result),
                    Some('#' | '%') => Err(self.unsupported(":", operator)),
                    // As in BuildKit a missing brace is found before an unknown operator.
                    _ if is_full => {
                        self.word()?;
                        Err(self.unsupported(":", operator))
                    }
                    _ => Err(self.unsupported("", operator)),
                }
            }
            _ if !is_full => Err(ExpandFault::MissingColon),
            '-' | '+' | '?' => self.conditional(name, false, operator, result),
            '#' | '%' => self.trim(name, operator, result),
            '/' => self.replace(name, result),
            _ => Err(self.unsupported("", Some(operator))),
        }
    }

    fn unsupported(&self, colon: &str, operator: Option<char>) -> ExpandFault {
        let operator = operator.unwrap_or(char::REPLACEMENT_CHARACTER);
        ExpandFault::UnsupportedModifier(format!("{colon}{operator}"))
    }

    /// Reads the word of `${v:-word}` up to its brace.
    fn word(&mut self) -> Result<String, ExpandFault> {
        self.run(Some('}'), false, false, None).map_err(|fault| self.or_open_brace(fault))
    }

    fn or_open_brace(&self, fault: ExpandFault) -> ExpandFault {
        let is_limit = matches!(fault, ExpandFault::TooDeep | ExpandFault::TooLarge | ExpandFault::TooCostly);
        if self.rest.is_empty() && !is_limit { ExpandFault::OpenBrace } else { fault }
    }

    fn conditional(
        &mut self,
        name: &str,
        empty_is_unset: bool,
        operator: char,
        result: &mut String,
    ) -> Result<(), ExpandFault> {
        let word = self.word()?;
        let value = self.value(name);
        let colon = if empty_is_unset { ":" } else { "" };
        if self.keeps_unset() && value.is_none() {
            result.push_str(&format!("${{{name}{colon}{operator}{word}}}"));
            return Ok(());
        }
        let usable = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (operator, usable) {
            ('-', None) => result.push_str(&word),
            ('+', None) => {}
            ('+', Some(_)) => result.push_str(&word),
            ('?', None) => {
                let wrong = if value.is_none() { "unset" } else { "empty" };
                let message = if word.is_empty() { format!("is not allowed to be {wrong}") } else { word };
                return Err(ExpandFault::Required { name: name.to_owned(), message });
            }
            (_, Some(value)) => return self.push_value(result, value),
            (_, None) => {}
        }
        Ok(())
    }

    fn trim(&mut self, name: &str, operator: char, result: &mut String) -> Result<(), ExpandFault> {
        let word = self.run(Some('}'), true, true, None).map_err(|fault| self.or_open_brace(fault))?;
        let Some(value) = self.value(name) else {
            if self.keeps_unset() {
                result.push_str(&format!("${{{name}{operator}{word}}}"));
                return Ok(());
            }
            // The pattern must be sound, whether there is a value or not.
            Pattern::parse(word.strip_prefix(operator).unwrap_or(&word))?;
            return Ok(());
        };
        let (pattern, reach) = match word.strip_prefix(operator) {
            Some(pattern) => (pattern, Reach::Longest),
            None => (word.as_str(), Reach::Shortest),
        };
        let pattern = Pattern::parse(pattern)?;
        let trimmed = match operator {
            '#' => pattern.trim_prefix(value, reach)?,
            _ => pattern.trim_suffix(value, reach)?,
        };
        self.push_value(result, &trimmed)
    }

    fn replace(&mut self, name: &str, result: &mut String) -> Result<(), ExpandFault> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern =
            self.run(Some('/'), true, true, None).map_err(|fault| match self.or_open_brace(fault) {
                ExpandFault::OpenBrace => ExpandFault::MissingSlash,
                fault => fault,
            })?;
        let replacement =
            self.run(Some('}'), true, false, None).map_err(|fault| self.or_open_brace(fault))?;
        let value = self.value(name);
        if self.keeps_unset() && value.is_none() {
            result.push_str(&format!("${{{name}/{pattern}/{replacement}}}"));
            return Ok(());
        }
        let replaced = Pattern::parse(&pattern)?.replace(value.unwrap_or(""), &replacement, all)?;
        self.push_value(result, &replaced)
    }

    /// Reads a name: letters, digits and `_`; a run of digits; or one of the shell's special parameters.
    fn name(&mut self) -> &'a str {
        let rest = self.rest;
        let length = match rest.chars().next() {
            Some(c) if c.is_ascii_digit() => rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()),
        };
        self.rest = &rest[length..];
        &rest[..length]
    }

    fn value(&mut self, name: &str) -> Option<&'a str> {
        let value = self.variables.get(name);
        let list = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
        if !list.iter().any(|known| known == name) {
            list.push(name.to_owned());
        }
        value
    }
}
