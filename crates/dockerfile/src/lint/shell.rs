//! A rough look at shell text: which programs run with which words. Good enough to warn, not to run anything.

/// One program with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invocation {
    /// The program, without its directory.
    pub program: String,
    /// Its words, without quotes.
    pub words: Vec<String>,
}

impl Invocation {
    /// Returns the words that are no options.
    pub fn operands(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str).filter(|word| !word.starts_with('-'))
    }

    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|own| own == word)
    }

    /// Returns the word behind the first of `options`.
    pub fn value_of(&self, options: &[&str]) -> Option<&str> {
        let at = self.words.iter().position(|word| options.contains(&word.as_str()))?;
        self.words.get(at + 1).map(String::as_str)
    }
}

/// Returns the programs that `text` runs, in order.
pub(super) fn invocations(text: &str) -> Vec<Invocation> {
    let mut found = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, '\\') => match chars.next() {
                Some('\n') | None => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
            },
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            (None, ';' | '&' | '|' | '\n' | '(' | ')') => {
                words.extend(word.take());
                found.extend(invocation(std::mem::take(&mut words)));
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    found.extend(invocation(words));
    found
}

/// Words in front of a program that are not the program.
const PREFIXES: [&str; 12] =
    ["sudo", "exec", "time", "then", "do", "else", "if", "while", "!", "{", "env", "nice"];

fn invocation(words: Vec<String>) -> Option<Invocation> {
    let is_assignment = |word: &str| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    let mut words =
        words.into_iter().skip_while(|word| PREFIXES.contains(&word.as_str()) || is_assignment(word));
    let program = words.next()?;
    let program = program.rsplit('/').next().unwrap_or(&program).to_owned();
    Some(Invocation { program, words: words.collect() })
}
