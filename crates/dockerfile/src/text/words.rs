//! Cutting one logical line into keyword, flags and words. Quotes and escapes stay; expansion takes them off.

/// A word and where it starts and ends in the logical line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawWord {
    pub text: String,
    pub start: usize,
    pub end: usize,
}

/// Whether `c` separates a keyword from its arguments and plain words from each other.
pub(crate) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// A logical line cut in three.
#[derive(Debug)]
pub(crate) struct SplitLine {
    pub keyword_start: usize,
    pub keyword_end: usize,
    pub flags: Vec<RawWord>,
    /// Where the arguments start and end.
    pub rest_start: usize,
    pub rest_end: usize,
}

/// Cuts `line` into keyword, flags and the rest, which has no blanks around it.
pub(crate) fn split_line(line: &str, escape: char) -> SplitLine {
    let keyword_start = line.len() - line.trim_start().len();
    let line_end = line.trim_end().len().max(keyword_start);
    let keyword_end =
        line[keyword_start..line_end].find(is_blank).map_or(line_end, |length| keyword_start + length);
    let after = &line[keyword_end..line_end];
    let arguments_start = line_end - after.trim_start_matches(is_blank).len();
    let (flags, flags_end) = read_flags(line, arguments_start, line_end, escape);
    let rest = &line[flags_end..line_end];
    let rest_start = line_end - rest.trim_start().len();
    SplitLine { keyword_start, keyword_end, flags, rest_start, rest_end: line_end.max(rest_start) }
}

/// Reads `--flag` words from `start`; returns them and where the arguments begin.
fn read_flags(line: &str, start: usize, end: usize, escape: char) -> (Vec<RawWord>, usize) {
    let mut flags = Vec::new();
    let mut at = start;
    loop {
        let rest = &line[at..end];
        let word_start = end - rest.trim_start().len();
        if !line[word_start..end].starts_with("--") {
            return (flags, word_start);
        }
        let (text, has_quotes, word_end) = read_flag(line, word_start, end, escape);
        at = word_end;
        if text == "--" && word_end < end {
            return (flags, word_end);
        }
        if text != "--" && (has_quotes || !text.is_empty()) {
            flags.push(RawWord { text, start: word_start, end: word_end });
        }
    }
}

/// Reads one word, takes quotes and escapes off, and returns where it ends.
fn read_flag(line: &str, start: usize, end: usize, escape: char) -> (String, bool, usize) {
    let mut text = String::new();
    let mut has_quotes = false;
    let mut quote = None;
    let mut chars = line[start..end].char_indices();
    while let Some((offset, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (text, has_quotes, start + offset),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                has_quotes = true;
            }
            Some(open) if c == open => quote = None,
            _ if c == escape => {
                if let Some((_, escaped)) = chars.next() {
                    text.push(escaped);
                }
            }
            _ => text.push(c),
        }
    }
    (text, has_quotes, end)
}

/// Cuts `line[start..end]` into words that keep their quotes and escapes: `name='a b' c=d\ e`.
pub(crate) fn split_quoted(line: &str, start: usize, end: usize, escape: char) -> Vec<RawWord> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut word_start = None;
    let mut quote = None;
    let mut chars = line[start..end].char_indices();
    while let Some((offset, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if let Some(begin) = word_start.take()
                && !word.is_empty()
            {
                words.push(RawWord { text: std::mem::take(&mut word), start: begin, end: start + offset });
            }
            continue;
        }
        word_start.get_or_insert(start + offset);
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        if c == escape && quote != Some('\'') {
            // An escape character at the very end is dropped.
            let Some((_, escaped)) = chars.next() else { break };
            word.push(c);
            word.push(escaped);
        } else {
            word.push(c);
        }
    }
    if let Some(begin) = word_start
        && !word.is_empty()
    {
        words.push(RawWord { text: word, start: begin, end });
    }
    words
}

/// Cuts `line[start..end]` at blanks; quotes mean nothing.
pub(crate) fn split_blanks(line: &str, start: usize, end: usize) -> Vec<RawWord> {
    let mut words = Vec::new();
    let mut at = start;
    while at < end {
        let length = line[at..end].find(is_blank).unwrap_or(end - at);
        words.push(RawWord { text: line[at..at + length].to_owned(), start: at, end: at + length });
        at += length;
        at = end - line[at..end].trim_start_matches(is_blank).len();
    }
    words
}
