//! Nodes: one for each instruction, with its words, its heredocs and its place.

use super::Directives;
use super::directives::DirectiveReader;
use super::heredoc::{Heredoc, find_in_line};
use super::json::{JsonArray, read_array};
use super::lines::{Lines, LogicalLine, PhysicalLine};
use super::words::{RawWord, SplitLine, is_blank, split_blanks, split_line, split_quoted};
use crate::dialect::Dialect;
use crate::parse::{ParseFault, Placed};
use crate::source::{Position, Span};

/// A word of an instruction as written, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text; quotes and escapes are still in it, except in flags.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// An instruction cut into words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The keyword as written.
    pub keyword: String,
    /// Where the keyword stands.
    pub keyword_span: Span,
    /// `--name=value` words behind the keyword, without quotes.
    pub flags: Vec<Word>,
    /// The arguments. For `ENV` and `LABEL` three words a variable: name, value, and `=` or nothing.
    pub arguments: Vec<Word>,
    /// Whether the arguments were a JSON array.
    pub is_json: bool,
    /// The heredocs of the line, in order.
    pub heredocs: Vec<Heredoc>,
    /// The instruction behind `ONBUILD`.
    pub trigger: Option<Box<Node>>,
    /// The line with its continuations joined.
    pub original: String,
    /// The comments above, without `#`.
    pub comments: Vec<String>,
    /// From the keyword to the end of the last line, heredocs included.
    pub span: Span,
    /// The first line inside the instruction that is empty and should not be.
    pub empty_continuation: Option<usize>,
}

/// What a text holds.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub directives: Directives,
    pub nodes: Vec<Node>,
}

/// Cuts `text` into nodes.
///
/// # Errors
/// The first fault of the text; keywords are not looked up here.
pub(crate) fn parse_nodes(text: &str, dialect: Dialect) -> Result<Nodes, Placed<ParseFault>> {
    let mut lines = Lines::new(text);
    let mut reader = DirectiveReader::default();
    let mut nodes = Vec::new();
    let mut comments = Vec::new();
    while let Some(line) = lines.next() {
        check_length(line)?;
        let content = line.text().trim_start();
        if reader.read(content, line.number)? {
            continue;
        }
        if let Some(comment) = content.strip_prefix('#') {
            match comment.trim() {
                "" => comments.clear(),
                comment => comments.push(comment.to_owned()),
            }
            continue;
        }
        let escape = reader.directives.escape;
        let (part, is_end) = strip_continuation(content, escape);
        if is_end && part.is_empty() {
            continue;
        }
        let mut logical = LogicalLine::default();
        let indent = line.text().chars().count() - content.chars().count();
        logical.push(part, Position { line: line.number, column: indent + 1 });
        let (end, empty_continuation) = if is_end {
            (end_of(line), None)
        } else {
            read_continuation(&mut lines, &mut logical, escape, line)?
        };
        let mut node = parse_node(&logical, escape)?;
        // An escape character alone on a line starts the instruction that follows.
        node.span = Span { start: Position { line: line.number, column: indent + 1 }, end };
        node.empty_continuation = empty_continuation;
        read_heredocs(&mut lines, &mut node, dialect)?;
        node.comments = std::mem::take(&mut comments);
        nodes.push(node);
    }
    if nodes.is_empty() {
        let last = lines.number().max(1);
        return Err(Placed { fault: ParseFault::NoInstructions, span: Span::lines(last, last) });
    }
    Ok(Nodes { directives: reader.directives, nodes })
}

/// Cuts the text of an `ONBUILD` trigger, which may hold heredocs, into its one node.
pub(crate) fn parse_trigger_node(
    text: &str,
    escape: char,
    dialect: Dialect,
) -> Result<Node, Placed<ParseFault>> {
    let mut lines = Lines::new(text);
    let Some(first) = lines.next() else {
        return Err(Placed { fault: ParseFault::NoInstructions, span: Span::lines(1, 1) });
    };
    let mut node = parse_node(&LogicalLine::alone(first.text(), 1), escape)?;
    read_heredocs(&mut lines, &mut node, dialect)?;
    match lines.next() {
        None => Ok(node),
        Some(line) => {
            Err(Placed { fault: ParseFault::TriggerNotSingle, span: Span::lines(line.number, line.number) })
        }
    }
}

fn check_length(line: PhysicalLine<'_>) -> Result<(), Placed<ParseFault>> {
    if line.is_too_long() {
        return Err(Placed { fault: ParseFault::LineTooLong, span: Span::lines(line.number, line.number) });
    }
    Ok(())
}

fn end_of(line: PhysicalLine<'_>) -> Position {
    Position { line: line.number, column: line.text().chars().count() + 1 }
}

/// Returns `line` without the escape character at its end, and whether the instruction ends here.
///
/// An escape character that stands behind another one is text.
fn strip_continuation(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before, false),
        _ => (line, true),
    }
}

/// Joins the lines that follow; returns where the instruction ends and the first empty line inside it.
fn read_continuation(
    lines: &mut Lines<'_>,
    logical: &mut LogicalLine,
    escape: char,
    first: PhysicalLine<'_>,
) -> Result<(Position, Option<usize>), Placed<ParseFault>> {
    let mut end = end_of(first);
    let mut empty = None;
    for line in lines.by_ref() {
        check_length(line)?;
        end = end_of(line);
        if line.is_comment() {
            continue;
        }
        if line.text().trim_start().is_empty() {
            empty.get_or_insert(line.number);
            continue;
        }
        let (part, is_end) = strip_continuation(line.text(), escape);
        logical.push(part, Position { line: line.number, column: 1 });
        if is_end {
            break;
        }
    }
    Ok((end, empty))
}

/// Reads the bodies of the heredocs that the node's line opens.
fn read_heredocs(lines: &mut Lines<'_>, node: &mut Node, dialect: Dialect) -> Result<(), Placed<ParseFault>> {
    let holder = node.trigger.as_deref().unwrap_or(node);
    let takes_heredocs =
        ["ADD", "COPY", "RUN"].iter().any(|keyword| holder.keyword.eq_ignore_ascii_case(keyword));
    if !dialect.has_heredocs() || !takes_heredocs || holder.is_json || !node.original.contains("<<") {
        return Ok(());
    }
    for mut heredoc in find_in_line(&node.original) {
        loop {
            let Some(line) = lines.next() else {
                let span = Span { start: node.span.start, end: node.span.end };
                return Err(Placed { fault: ParseFault::UnterminatedHeredoc(heredoc.name), span });
            };
            check_length(line)?;
            node.span.end = end_of(line);
            let text = line.text();
            let candidate = if heredoc.strips_tabs { text.trim_start_matches('\t') } else { text };
            if candidate == heredoc.name {
                break;
            }
            heredoc.content.push_str(line.raw);
        }
        node.heredocs.push(heredoc);
    }
    Ok(())
}

/// Cuts one logical line into keyword, flags and arguments.
fn parse_node(logical: &LogicalLine, escape: char) -> Result<Node, Placed<ParseFault>> {
    parse_part(logical, 0, escape, true)
}

fn parse_part(
    logical: &LogicalLine,
    start: usize,
    escape: char,
    with_trigger: bool,
) -> Result<Node, Placed<ParseFault>> {
    let line = &logical.text[start..];
    let split = shifted(split_line(line, escape), start);
    let keyword = logical.text[split.keyword_start..split.keyword_end].to_owned();
    let mut node = Node {
        keyword_span: logical.span(split.keyword_start, split.keyword_end),
        flags: split.flags.iter().map(|word| placed(logical, word)).collect(),
        arguments: Vec::new(),
        is_json: false,
        heredocs: Vec::new(),
        trigger: None,
        original: line.to_owned(),
        comments: Vec::new(),
        span: logical.span(split.keyword_start, split.rest_end),
        empty_continuation: None,
        keyword,
    };
    let arguments = Arguments { logical, start: split.rest_start, end: split.rest_end, escape };
    match node.keyword.to_ascii_uppercase().as_str() {
        "ADD" | "COPY" | "VOLUME" => arguments.json_or_words(&mut node)?,
        "CMD" | "ENTRYPOINT" | "RUN" | "SHELL" => arguments.json_or_text(&mut node)?,
        "HEALTHCHECK" => arguments.healthcheck(&mut node)?,
        "ENV" => arguments.pairs(&mut node, "ENV")?,
        "LABEL" => arguments.pairs(&mut node, "LABEL")?,
        "ARG" => node.arguments = arguments.quoted_words(),
        "EXPOSE" | "FROM" => node.arguments = arguments.words(),
        "MAINTAINER" | "STOPSIGNAL" | "USER" | "WORKDIR" => node.arguments = arguments.text(),
        // A trigger inside a trigger is refused later; one level is all that is parsed.
        "ONBUILD" if with_trigger && split.rest_start < split.rest_end => {
            let trigger = parse_part(logical, split.rest_start, escape, false)?;
            node.trigger = Some(Box::new(trigger));
        }
        _ => {}
    }
    Ok(node)
}

fn shifted(mut split: SplitLine, start: usize) -> SplitLine {
    split.keyword_start += start;
    split.keyword_end += start;
    split.rest_start += start;
    split.rest_end += start;
    for word in &mut split.flags {
        word.start += start;
        word.end += start;
    }
    split
}

fn placed(logical: &LogicalLine, word: &RawWord) -> Word {
    Word { text: word.text.clone(), span: logical.span(word.start, word.end) }
}

/// What stands behind keyword and flags.
struct Arguments<'a> {
    logical: &'a LogicalLine,
    start: usize,
    end: usize,
    escape: char,
}

impl Arguments<'_> {
    fn as_str(&self) -> &str {
        &self.logical.text[self.start..self.end]
    }

    fn span(&self) -> Span {
        self.logical.span(self.start, self.end)
    }

    fn text(&self) -> Vec<Word> {
        if self.as_str().is_empty() {
            return Vec::new();
        }
        vec![Word { text: self.as_str().to_owned(), span: self.span() }]
    }

    fn words(&self) -> Vec<Word> {
        let words = split_blanks(&self.logical.text, self.start, self.end);
        words.iter().map(|word| placed(self.logical, word)).collect()
    }

    fn quoted_words(&self) -> Vec<Word> {
        let words = split_quoted(&self.logical.text, self.start, self.end, self.escape);
        words.iter().map(|word| placed(self.logical, word)).collect()
    }

    /// Reads a JSON array of strings into `node`; returns whether there is one.
    fn json(&self, node: &mut Node) -> Result<bool, Placed<ParseFault>> {
        match read_array(self.as_str()) {
            JsonArray::Strings(strings) => {
                let span = self.span();
                node.arguments.extend(strings.into_iter().map(|text| Word { text, span }));
                node.is_json = true;
                Ok(true)
            }
            JsonArray::OtherValues => Err(Placed { fault: ParseFault::JsonNotStrings, span: self.span() }),
            JsonArray::NotJson => Ok(false),
        }
    }

    fn json_or_text(&self, node: &mut Node) -> Result<(), Placed<ParseFault>> {
        if !self.json(node)? {
            node.arguments.extend(self.text());
        }
        Ok(())
    }

    fn json_or_words(&self, node: &mut Node) -> Result<(), Placed<ParseFault>> {
        if !self.json(node)? {
            node.arguments = self.words();
        }
        Ok(())
    }

    /// `HEALTHCHECK` takes its kind as the first word, and then a command.
    fn healthcheck(&self, node: &mut Node) -> Result<(), Placed<ParseFault>> {
        let text = self.as_str();
        let kind_end = text.find(char::is_whitespace).unwrap_or(text.len());
        if kind_end == 0 {
            return Ok(());
        }
        let kind =
            RawWord { text: text[..kind_end].to_owned(), start: self.start, end: self.start + kind_end };
        node.arguments.push(placed(self.logical, &kind));
        let command_start = self.end - text[kind_end..].trim_start().len();
        Arguments { start: command_start, ..*self }.json_or_text(node)
    }

    /// `name=value …`, or the old form `name rest of the line`.
    fn pairs(&self, node: &mut Node, keyword: &'static str) -> Result<(), Placed<ParseFault>> {
        let words = split_quoted(&self.logical.text, self.start, self.end, self.escape);
        let Some(first) = words.first() else { return Ok(()) };
        if !first.text.contains('=') {
            let text = self.as_str();
            let fault = ParseFault::MissingSecondArgument(keyword);
            let Some(name_end) = text.find(is_blank) else { return Err(Placed { fault, span: self.span() }) };
            let value = text[name_end..].trim_start_matches(is_blank);
            let value_start = self.end - value.len();
            let name_end = self.start + name_end;
            let name = self.logical.text[self.start..name_end].to_owned();
            node.arguments.push(Word { text: name, span: self.logical.span(self.start, name_end) });
            node.arguments
                .push(Word { text: value.to_owned(), span: self.logical.span(value_start, self.end) });
            node.arguments.push(Word { text: String::new(), span: self.span() });
            return Ok(());
        }
        for word in &words {
            let span = self.logical.span(word.start, word.end);
            let Some((name, value)) = word.text.split_once('=') else {
                return Err(Placed { fault: ParseFault::MissingEquals(word.text.clone()), span });
            };
            node.arguments.extend([name, value, "="].map(|text| Word { text: text.to_owned(), span }));
        }
        Ok(())
    }
}
