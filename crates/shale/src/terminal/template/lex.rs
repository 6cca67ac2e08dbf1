//! Text of a template → tokens.

/// What a token is; its text is in [`Token::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    LeftDelimiter,
    RightDelimiter,
    Space,
    Bool,
    Character,
    CharacterConstant,
    Assign,
    Declare,
    Dot,
    Field,
    Identifier,
    Keyword,
    LeftParenthesis,
    RightParenthesis,
    Number,
    Pipe,
    RawString,
    String,
    Variable,
    End,
    /// The lexer gave up; the text is why.
    Error,
}

/// A piece of a template.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub kind: Kind,
    pub text: String,
    /// Byte offset in the template.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
}

const KEYWORDS: [&str; 11] =
    ["block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"];

/// Splits `source` into tokens; the last is [`Kind::End`] or [`Kind::Error`].
pub(super) fn lex(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { source, offset: 0, line: 1, tokens: Vec::new() };
    if let Err(reason) = lexer.run() {
        lexer.tokens.push(Token { kind: Kind::Error, text: reason, offset: lexer.offset, line: lexer.line });
    }
    lexer.tokens
}

struct Lexer<'s> {
    source: &'s str,
    offset: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn run(&mut self) -> Result<(), String> {
        let mut trim_start = false;
        loop {
            let rest = self.rest();
            let length = rest.find("{{").unwrap_or(rest.len());
            let trims_end = rest[length..].strip_prefix("{{").is_some_and(starts_with_trim_marker);
            let mut text = &rest[..length];
            if trim_start {
                let trimmed = text.trim_start_matches(is_space);
                self.advance(text.len() - trimmed.len());
                text = trimmed;
            }
            let kept = if trims_end { text.trim_end_matches(is_space) } else { text };
            if !kept.is_empty() {
                self.push(Kind::Text, kept.len());
                self.advance(text.len() - kept.len());
            } else {
                self.advance(text.len());
            }
            if self.rest().is_empty() {
                self.push(Kind::End, 0);
                return Ok(());
            }
            trim_start = self.action(trims_end)?;
        }
    }

    /// Reads one action or comment; returns whether it trims what follows.
    fn action(&mut self, has_trim_marker: bool) -> Result<bool, String> {
        let opening = if has_trim_marker { 3 } else { 2 };
        let after = self.rest()[opening..].trim_start_matches(|c| has_trim_marker && is_space(c));
        if after.starts_with("/*") {
            return self.comment();
        }
        self.push(Kind::LeftDelimiter, 2);
        if has_trim_marker {
            self.advance(1);
        }
        let mut depth = 0;
        loop {
            let rest = self.rest();
            let trims = is_trimming_right_delimiter(rest);
            if trims || rest.starts_with("}}") {
                if depth > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                if trims {
                    self.advance(2);
                }
                self.push(Kind::RightDelimiter, 2);
                return Ok(trims);
            }
            self.token(&mut depth)?;
        }
    }

    fn comment(&mut self) -> Result<bool, String> {
        let Some(end) = self.rest().find("*/") else { return Err("unclosed comment".to_owned()) };
        let after = &self.rest()[end + 2..];
        let (closing, trims) = match after {
            _ if after.starts_with("}}") => (2, false),
            _ if is_trimming_right_delimiter(after) => (4, true),
            _ => return Err("comment ends before closing delimiter".to_owned()),
        };
        self.advance(end + 2 + closing);
        Ok(trims)
    }

    fn token(&mut self, depth: &mut usize) -> Result<(), String> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Err("unclosed action".to_owned()) };
        match first {
            _ if is_space(first) => {
                // A space before a minus belongs to the right delimiter " -}}".
                let mut length = rest.len() - rest.trim_start_matches(is_space).len();
                if is_trimming_right_delimiter(&rest[length - 1..]) {
                    length -= 1;
                }
                self.push(Kind::Space, length);
            }
            '=' => self.push(Kind::Assign, 1),
            ':' if rest[1..].starts_with('=') => self.push(Kind::Declare, 2),
            ':' => return Err("expected :=".to_owned()),
            '|' => self.push(Kind::Pipe, 1),
            '"' => self.quoted('"', Kind::String, "unterminated quoted string")?,
            '\'' => self.quoted('\'', Kind::CharacterConstant, "unterminated character constant")?,
            '`' => {
                let Some(end) = rest[1..].find('`') else {
                    return Err("unterminated raw quoted string".to_owned());
                };
                self.push(Kind::RawString, end + 2);
            }
            '$' => self.name(Kind::Variable)?,
            // Go takes a dot at the very end for a number.
            '.' if rest.len() > 1 && !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.name(Kind::Field)?
            }
            '.' | '+' | '-' | '0'..='9' => self.number()?,
            _ if is_alphanumeric(first) => self.word()?,
            '(' => {
                *depth += 1;
                self.push(Kind::LeftParenthesis, 1);
            }
            ')' if *depth == 0 => return Err("unexpected right paren".to_owned()),
            ')' => {
                *depth -= 1;
                self.push(Kind::RightParenthesis, 1);
            }
            ' '..='~' => self.push(Kind::Character, 1),
            _ => return Err(format!("unrecognized character in action: {}", code_point(first))),
        }
        Ok(())
    }

    fn quoted(&mut self, quote: char, kind: Kind, unterminated: &str) -> Result<(), String> {
        let mut escaped = false;
        for (at, character) in self.rest().char_indices().skip(1) {
            match character {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if character == quote => {
                    self.push(kind, at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(unterminated.to_owned())
    }

    /// A `.Field`, a `$variable`, or the `.` or `$` alone.
    fn name(&mut self, kind: Kind) -> Result<(), String> {
        let rest = self.rest();
        let length = 1 + rest[1..].find(|c| !is_alphanumeric(c)).unwrap_or(rest.len() - 1);
        if kind == Kind::Field && length == 1 && ends_word(&rest[1..]) {
            self.push(Kind::Dot, 1);
            return Ok(());
        }
        self.check_end_of_word(length)?;
        self.push(kind, length);
        Ok(())
    }

    fn word(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let length = rest.find(|c| !is_alphanumeric(c)).unwrap_or(rest.len());
        self.check_end_of_word(length)?;
        let kind = match &rest[..length] {
            "true" | "false" => Kind::Bool,
            word if KEYWORDS.contains(&word) => Kind::Keyword,
            _ => Kind::Identifier,
        };
        self.push(kind, length);
        Ok(())
    }

    fn check_end_of_word(&self, length: usize) -> Result<(), String> {
        let after = &self.rest()[length..];
        match after.chars().next() {
            Some(character) if !ends_word(after) => Err(format!("bad character {}", code_point(character))),
            _ => Ok(()),
        }
    }

    fn number(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let mut length = number_length(rest);
        let bad = |length: usize| format!("bad number syntax: {:?}", &rest[..length]);
        if let Some(next) = rest[length..].chars().next().filter(|&next| is_alphanumeric(next)) {
            return Err(bad(length + next.len_utf8()));
        }
        if rest[length..].starts_with(['+', '-']) {
            // A complex number, which ends in "i".
            length += number_length(&rest[length..]);
            if !rest[..length].ends_with('i') {
                return Err(bad(length));
            }
        }
        self.push(Kind::Number, length);
        Ok(())
    }

    fn rest(&self) -> &'s str {
        &self.source[self.offset..]
    }

    fn push(&mut self, kind: Kind, length: usize) {
        let text = self.rest()[..length].to_owned();
        self.tokens.push(Token { kind, text, offset: self.offset, line: self.line });
        self.advance(length);
    }

    fn advance(&mut self, length: usize) {
        self.line += self.rest()[..length].bytes().filter(|&byte| byte == b'\n').count();
        self.offset += length;
    }
}

/// Returns how many bytes at the start of `text` read as a number.
fn number_length(text: &str) -> usize {
    let sign = usize::from(text.starts_with(['+', '-']));
    let digits = &text[sign..];
    let (prefix, allowed) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (2, "0123456789abcdefABCDEF_"),
        Some("0o") => (2, "01234567_"),
        Some("0b") => (2, "01_"),
        _ => (0, "0123456789_"),
    };
    let run =
        |from: usize| digits[from..].find(|c| !allowed.contains(c)).map_or(digits.len(), |at| from + at);
    let mut end = run(prefix);
    if digits[end..].starts_with('.') {
        end = run(end + 1);
    }
    let exponents = if prefix == 2 { ['p', 'P'] } else { ['e', 'E'] };
    if digits[end..].starts_with(exponents) {
        end += 1;
        if digits[end..].starts_with(['+', '-']) {
            end += 1;
        }
        end =
            digits[end..].find(|c: char| !c.is_ascii_digit() && c != '_').map_or(digits.len(), |at| end + at);
    }
    sign + end + usize::from(digits[end..].starts_with('i'))
}

fn starts_with_trim_marker(after_delimiter: &str) -> bool {
    after_delimiter.strip_prefix('-').is_some_and(|rest| rest.starts_with(is_space))
}

fn is_trimming_right_delimiter(text: &str) -> bool {
    text.starts_with(is_space) && text[1..].starts_with("-}}")
}

fn ends_word(text: &str) -> bool {
    text.is_empty()
        || text.starts_with(is_space)
        || text.starts_with(['.', ',', '|', ':', ')', '('])
        || text.starts_with("}}")
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// Writes a character as Go's `%#U`: `U+0040 '@'`.
fn code_point(character: char) -> String {
    if character.is_control() {
        format!("U+{:04X}", character as u32)
    } else {
        format!("U+{:04X} '{character}'", character as u32)
    }
}
