//! One pattern, matched in time linear in the path, whatever the pattern.

/// Matches one character, or a run of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Char(char),
    /// `?`
    NotSlash,
    /// `[a-z]`
    Class {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `*`
    Star,
    /// `**` in front of something: nothing, or anything that ends in a slash.
    Levels,
    /// `**` at the end: anything.
    Everything,
}

/// A pattern without blanks, `!`, and needless dots and slashes.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    /// No wildcards.
    Exact(String),
    /// A trailing `**` and no other wildcard.
    Prefix(String),
    /// A leading `**` and no other wildcard; `**/x` matches `x` too.
    Suffix(String),
    /// Anything else.
    Tokens(Vec<Token>),
}

impl Pattern {
    /// Reads a pattern; `None` when it is malformed.
    pub fn parse(text: &str) -> Option<Pattern> {
        is_well_formed(text).then_some(())?;
        if !text.contains(['*', '?', '[', ']', '\\']) {
            return Some(Pattern::Exact(text.to_owned()));
        }
        let has_others = |rest: &str| rest.contains(['*', '?', '[', ']', '\\']);
        if let Some(suffix) = text.strip_prefix("**")
            && !has_others(suffix)
        {
            return Some(Pattern::Suffix(suffix.to_owned()));
        }
        if let Some(prefix) = text.strip_suffix("**")
            && !has_others(prefix)
        {
            return Some(Pattern::Prefix(prefix.to_owned()));
        }
        Some(Pattern::Tokens(tokens(text)?))
    }

    pub fn matches(&self, path: &str) -> bool {
        match self {
            Pattern::Exact(text) => path == text,
            Pattern::Prefix(text) => path.starts_with(text),
            Pattern::Suffix(text) => path.ends_with(text) || text.strip_prefix('/') == Some(path),
            Pattern::Tokens(tokens) => run(tokens, path),
        }
    }
}

/// Whether Go's `filepath.Match` takes the pattern: brackets are closed and hold something, escapes escape something.
fn is_well_formed(text: &str) -> bool {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.next().is_none() => return false,
            '[' => {
                if chars.peek() == Some(&'^') {
                    chars.next();
                }
                let mut count = 0;
                loop {
                    match chars.peek() {
                        Some(']') if count > 0 => break,
                        _ => {}
                    }
                    if class_char(&mut chars).is_none() {
                        return false;
                    }
                    if chars.peek() == Some(&'-') {
                        chars.next();
                        if class_char(&mut chars).is_none() {
                            return false;
                        }
                    }
                    count += 1;
                }
                chars.next();
            }
            _ => {}
        }
    }
    true
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Reads one bound of a range.
fn class_char(chars: &mut Chars<'_>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
    // A bound must be followed by something: at least the closing bracket.
    .filter(|_| chars.peek().is_some())
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                }
                if chars.peek().is_some() { Token::Levels } else { Token::Everything }
            }
            '*' => Token::Star,
            '?' => Token::NotSlash,
            '\\' => Token::Char(chars.next()?),
            '[' => class(&mut chars)?,
            c => Token::Char(c),
        });
    }
    Some(tokens)
}

fn class(chars: &mut Chars<'_>) -> Option<Token> {
    let is_negated = chars.peek() == Some(&'^');
    if is_negated {
        chars.next();
    }
    let mut ranges = Vec::new();
    while ranges.is_empty() || chars.peek() != Some(&']') {
        let first = class_char(chars)?;
        let mut last = first;
        if chars.peek() == Some(&'-') {
            chars.next();
            last = class_char(chars)?;
        }
        // A range that runs backwards is an error when it is used, in Docker too.
        if last < first {
            return None;
        }
        ranges.push((first, last));
    }
    chars.next();
    Some(Token::Class { is_negated, ranges })
}

/// Walks the path once with the set of all places in the pattern that may come next.
fn run(tokens: &[Token], path: &str) -> bool {
    // Most patterns start with a letter that most paths do not start with.
    if let Some(Token::Char(first)) = tokens.first()
        && !path.starts_with(*first)
    {
        return false;
    }
    let mut current = States::new(tokens.len());
    let mut next = States::new(tokens.len());
    enter(tokens, 0, &mut current);
    for c in path.chars() {
        next.clear();
        for &state in &current.list {
            let state = state as usize;
            match tokens.get(state) {
                Some(Token::Char(own)) if *own == c => enter(tokens, state + 1, &mut next),
                Some(Token::NotSlash) if c != '/' => enter(tokens, state + 1, &mut next),
                Some(Token::Class { is_negated, ranges })
                    if ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *is_negated =>
                {
                    enter(tokens, state + 1, &mut next);
                }
                Some(Token::Star) if c != '/' => enter(tokens, state, &mut next),
                Some(Token::Levels) => {
                    next.add(state);
                    if c == '/' {
                        enter(tokens, state + 1, &mut next);
                    }
                }
                Some(Token::Everything) => enter(tokens, state, &mut next),
                _ => {}
            }
        }
        std::mem::swap(&mut current, &mut next);
        if current.list.is_empty() {
            return false;
        }
    }
    current.has(tokens.len())
}

/// Adds `state`, and those behind it that need no character.
///
/// Inside `**` the state stays alone: what follows may only start behind a slash.
fn enter(tokens: &[Token], state: usize, states: &mut States) {
    let mut state = state;
    loop {
        if !states.add(state) {
            return;
        }
        match tokens.get(state) {
            Some(Token::Star | Token::Levels | Token::Everything) => state += 1,
            _ => return,
        }
    }
}

/// A set of places in a pattern.
struct States {
    list: Vec<u32>,
    seen: Vec<bool>,
}

impl States {
    fn new(tokens: usize) -> States {
        States { list: Vec::new(), seen: vec![false; tokens + 1] }
    }

    fn add(&mut self, state: usize) -> bool {
        let is_new = !std::mem::replace(&mut self.seen[state], true);
        if is_new {
            self.list.push(state as u32);
        }
        is_new
    }

    fn has(&self, state: usize) -> bool {
        self.seen[state]
    }

    fn clear(&mut self) {
        for &state in &self.list {
            self.seen[state as usize] = false;
        }
        self.list.clear();
    }
}
