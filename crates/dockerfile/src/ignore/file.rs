//! A whole ignore file: its rules in order, and what they say of a path.

use super::pattern::Pattern;

/// Longest line, in bytes; Docker's reader stops there too.
const LINE_SIZE_MAX: usize = 65_535;

/// What is wrong with an ignore file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreFault {
    /// A `!` with nothing behind it.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneExclamationMark,
    /// Brackets that are not closed, or a backslash at the end.
    #[error("syntax error in pattern")]
    Malformed,
    /// A line longer than Docker reads.
    #[error("the line is longer than {LINE_SIZE_MAX} bytes")]
    LineTooLong,
}

/// An ignore file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault} (line {line}: {text:?})")]
pub struct IgnoreError {
    /// What is wrong.
    pub fault: IgnoreFault,
    /// The line, from 1.
    pub line: usize,
    /// The line as written, or its beginning.
    pub text: String,
}

/// One line of an ignore file.
#[derive(Debug, Clone)]
pub struct IgnoreRule {
    /// The pattern without `!`, cleaned.
    pub pattern: String,
    /// Whether it takes back what earlier rules ignore: `!pattern`.
    pub is_exception: bool,
    /// The line, from 1.
    pub line: usize,
    compiled: Pattern,
}

/// What an ignore file says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the path is left out.
    pub is_ignored: bool,
    /// The line of the rule that decides; `None` when no rule matches.
    pub line: Option<usize>,
}

/// The rules of a `.dockerignore`.
///
/// The last rule that matches a path, or a directory above it, decides. As in Docker a rule is only asked when it would
/// change the verdict.
///
/// Source: observed with Docker 20.10, BuildKit 0.32.2 and buildah; the behaviour of moby/patternmatcher v0.6.1, except
/// that `{`, `|`, `}` and `^` are ordinary characters, and that `\` before a letter is that letter.
#[derive(Debug, Clone, Default)]
pub struct IgnoreFile {
    rules: Vec<IgnoreRule>,
}

impl IgnoreFile {
    /// Reads an ignore file. Bytes that are not UTF-8 count as U+FFFD.
    ///
    /// # Errors
    /// [`IgnoreError`] with the first line that is malformed.
    pub fn parse(source: &[u8]) -> Result<IgnoreFile, IgnoreError> {
        let source = source.strip_prefix("\u{feff}".as_bytes()).unwrap_or(source);
        let mut rules = Vec::new();
        for (index, line) in source.split(|&byte| byte == b'\n').enumerate() {
            let text = String::from_utf8_lossy(line);
            let number = index + 1;
            let error = |fault| IgnoreError { fault, line: number, text: text.chars().take(200).collect() };
            if line.len() > LINE_SIZE_MAX {
                return Err(error(IgnoreFault::LineTooLong));
            }
            if text.starts_with('#') {
                continue;
            }
            if let Some(rule) = read_rule(&text, number).map_err(error)? {
                rules.push(rule);
            }
        }
        Ok(IgnoreFile { rules })
    }

    /// Reads patterns as they stand in `COPY --exclude`, one each.
    ///
    /// # Errors
    /// As [`IgnoreFile::parse`]; the line is the pattern's place in the list, from 1.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<IgnoreFile, IgnoreError> {
        let mut rules = Vec::new();
        for (index, pattern) in patterns.into_iter().enumerate() {
            let line = index + 1;
            let error = |fault| IgnoreError { fault, line, text: pattern.chars().take(200).collect() };
            rules.extend(read_rule(pattern, line).map_err(error)?);
        }
        Ok(IgnoreFile { rules })
    }

    /// Returns the rules in order.
    pub fn rules(&self) -> &[IgnoreRule] {
        &self.rules
    }

    /// Whether any rule takes back what others ignore. Without one nothing below an ignored directory can be wanted.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.is_exception)
    }

    /// Whether `path`, relative to the context and separated by `/`, is left out.
    pub fn matches(&self, path: &str) -> bool {
        self.verdict(path).is_ignored
    }

    /// Returns whether `path` is left out, and the line that decides.
    pub fn verdict(&self, path: &str) -> Verdict {
        let mut verdict = Verdict { is_ignored: false, line: None };
        for rule in &self.rules {
            if rule.is_exception == verdict.is_ignored && rule.matches(path) {
                verdict = Verdict { is_ignored: !rule.is_exception, line: Some(rule.line) };
            }
        }
        verdict
    }

    /// Whether docker's own program would walk into the ignored directory `directory`: when the text of an exception
    /// begins with it.
    ///
    /// Source: moby `pkg/archive` at v20.10.24; observed with `**/deep/**` and `!**/four`.
    pub fn has_exception_text_below(&self, directory: &str) -> bool {
        let prefix = format!("{directory}/");
        self.rules.iter().any(|rule| rule.is_exception && format!("{}/", rule.pattern).starts_with(&prefix))
    }

    /// Whether an exception could match something below the ignored directory `directory`: if not, a walker may skip it.
    ///
    /// An exception with a wildcard counts as one that could, unless what stands in front of the wildcard leads
    /// elsewhere.
    pub fn may_readmit_below(&self, directory: &str) -> bool {
        let may = |rule: &IgnoreRule| {
            let literal_end = rule.pattern.find(['*', '?', '[', '\\']).unwrap_or(rule.pattern.len());
            let literal = &rule.pattern[..literal_end];
            let leads_below = literal.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
            let is_above = literal_end < rule.pattern.len() && directory.starts_with(literal);
            let is_cut_inside =
                literal_end < rule.pattern.len() && format!("{directory}/").starts_with(literal);
            // A rule for the directory itself, or one above it, readmits everything below.
            let covers = rule.matches(directory);
            leads_below || is_above || is_cut_inside || covers
        };
        self.rules.iter().any(|rule| rule.is_exception && may(rule))
    }
}

impl IgnoreRule {
    /// Whether the rule matches `path` or a directory above it.
    fn matches(&self, path: &str) -> bool {
        if self.compiled.matches(path) {
            return true;
        }
        // Without wildcards only one prefix can be equal.
        if let Pattern::Exact(text) = &self.compiled {
            return path.strip_prefix(text.as_str()).is_some_and(|rest| rest.starts_with('/'));
        }
        path.match_indices('/').any(|(end, _)| end > 0 && self.compiled.matches(&path[..end]))
    }
}

fn read_rule(text: &str, line: usize) -> Result<Option<IgnoreRule>, IgnoreFault> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let (is_exception, pattern) = match text.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, text),
    };
    if pattern.is_empty() {
        return Err(IgnoreFault::LoneExclamationMark);
    }
    let cleaned = clean(pattern);
    if is_exception && cleaned == "/" {
        return Err(IgnoreFault::LoneExclamationMark);
    }
    let pattern = match cleaned.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => cleaned,
    };
    let compiled = Pattern::parse(&pattern).ok_or(IgnoreFault::Malformed)?;
    Ok(Some(IgnoreRule { pattern, is_exception, line, compiled }))
}

/// Takes out `.`, `name/..` and double slashes, as Go's `filepath.Clean` does.
fn clean(path: &str) -> String {
    let is_rooted = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => drop(names.pop()),
            ".." if is_rooted => {}
            name => names.push(name),
        }
    }
    let joined = names.join("/");
    match (is_rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
