//! A whole Dockerfile: directives, arguments in front of the first stage, stages.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use crate::dialect::Dialect;
use crate::instruction::{Command, INSTRUCTIONS, Instruction, parse_from, parse_instruction};
use crate::parse::{ParseError, ParseFault, Placed};
use crate::source::Span;
use crate::text::{Directives, Node, Nodes, parse_nodes, parse_trigger_node};

/// Largest Dockerfile, in bytes, heredocs included.
pub const DOCKERFILE_SIZE_MAX: usize = 16 << 20;

/// A Dockerfile.
#[derive(Debug, Clone)]
pub struct Dockerfile {
    /// The file, as the caller named it.
    pub file_name: String,
    /// Which builder's language it was read in.
    pub dialect: Dialect,
    /// The directives at its top.
    pub directives: Directives,
    /// The `ARG`s in front of the first `FROM`.
    pub arguments: Vec<Instruction>,
    /// The stages, in order; at least one.
    pub stages: Vec<Stage>,
    /// The instructions as words, for tools.
    pub nodes: Vec<Node>,
    pub(crate) source: Arc<str>,
}

/// One stage: a `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What `FROM` names, as written, with variables.
    pub base: String,
    /// The name behind `AS`, in small letters.
    pub name: Option<String>,
    /// `--platform`, as written, with variables.
    pub platform: Option<String>,
    /// The instructions behind `FROM`.
    pub instructions: Vec<Instruction>,
    /// The keyword as written: `FROM`, `from`.
    pub keyword: String,
    /// The `FROM` line as written, continuations joined.
    pub text: String,
    /// Where the `FROM` stands.
    pub span: Span,
    /// The comments above the `FROM`, without `#`.
    pub comments: Vec<String>,
}

impl Dockerfile {
    /// Reads a Dockerfile; `file_name` is only used in messages.
    ///
    /// Bytes that are not UTF-8 are allowed in comments and in `MAINTAINER` and `LABEL`, where each becomes U+FFFD, as
    /// it does in the image that Docker makes of them.
    ///
    /// # Errors
    /// [`ParseError`] with the first fault of the text. Faults of the text as such (heredocs, quotes of JSON, length
    /// of lines) come before faults of instructions, as in Docker.
    pub fn parse(source: &[u8], file_name: &str, dialect: Dialect) -> Result<Dockerfile, ParseError> {
        let text = String::from_utf8_lossy(source);
        let is_utf8 = matches!(text, Cow::Borrowed(_));
        let result = parse_text(source, &text, is_utf8, dialect);
        match result {
            Ok(parsed) => Ok(Dockerfile {
                file_name: file_name.to_owned(),
                dialect,
                directives: parsed.nodes.directives,
                arguments: parsed.arguments,
                stages: parsed.stages,
                nodes: parsed.nodes.nodes,
                source: Arc::from(text),
            }),
            Err((placed, line)) => Err(ParseError::new(placed, file_name, &text).in_instruction_at(line)),
        }
    }

    /// Reads one trigger of an image's `OnBuild` list.
    ///
    /// # Errors
    /// [`ParseError`] when it is no instruction, or one that no trigger may be.
    pub fn parse_trigger(text: &str, escape: char, dialect: Dialect) -> Result<Instruction, ParseError> {
        let parsed = parse_trigger_node(text, escape, dialect).and_then(|node| {
            let keyword = node.keyword.to_ascii_uppercase();
            match keyword.as_str() {
                "ONBUILD" => Err(Placed { fault: ParseFault::OnbuildChain, span: node.span }),
                "FROM" | "MAINTAINER" => {
                    Err(Placed { fault: ParseFault::ForbiddenTrigger(keyword), span: node.span })
                }
                _ => parse_instruction(&node, escape, dialect),
            }
        });
        parsed.map_err(|placed| ParseError::new(placed, "ONBUILD", text))
    }

    /// Returns the text of the file, without bytes that are not UTF-8.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the names of the instructions, in capitals.
    pub fn instruction_names() -> &'static [&'static str] {
        &INSTRUCTIONS
    }
}

struct Parsed {
    nodes: Nodes,
    arguments: Vec<Instruction>,
    stages: Vec<Stage>,
}

/// A fault, and the line where its instruction starts.
type Failed = (Placed<ParseFault>, usize);

fn parse_text(source: &[u8], text: &str, is_utf8: bool, dialect: Dialect) -> Result<Parsed, Failed> {
    let alone = |placed: Placed<ParseFault>| {
        let line = placed.span.start.line;
        (placed, line)
    };
    if source.is_empty() {
        return Err(alone(Placed { fault: ParseFault::Empty, span: Span::lines(1, 1) }));
    }
    if source.len() > DOCKERFILE_SIZE_MAX {
        return Err(alone(Placed { fault: ParseFault::TooLarge, span: Span::lines(1, 1) }));
    }
    let nodes = parse_nodes(text, dialect).map_err(alone)?;
    if !is_utf8 {
        check_utf8(source, &nodes.nodes).map_err(alone)?;
    }
    let mut arguments = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    let mut names = HashSet::new();
    for node in &nodes.nodes {
        let here = |placed| (placed, node.span.start.line);
        if node.keyword.eq_ignore_ascii_case("FROM") {
            let stage = parse_stage(node, &names, dialect).map_err(here)?;
            names.extend(stage.name.clone());
            stages.push(stage);
            continue;
        }
        let instruction = parse_instruction(node, nodes.directives.escape, dialect).map_err(here)?;
        match (stages.last_mut(), &instruction.command) {
            (Some(stage), _) => stage.instructions.push(instruction),
            (None, Command::Arg(_)) => arguments.push(instruction),
            (None, _) => return Err(here(Placed { fault: ParseFault::NoStage, span: node.span })),
        }
    }
    if stages.is_empty() {
        let span = nodes.nodes.last().map_or(Span::lines(1, 1), |node| node.span);
        return Err(alone(Placed { fault: ParseFault::NoStages, span }));
    }
    Ok(Parsed { nodes, arguments, stages })
}

fn parse_stage(
    node: &Node,
    earlier: &HashSet<String>,
    dialect: Dialect,
) -> Result<Stage, Placed<ParseFault>> {
    let from = parse_from(node, dialect)?;
    if let Some(name) = &from.name
        && dialect.refuses_duplicate_stage_names()
        && earlier.contains(name)
    {
        return Err(Placed { fault: ParseFault::DuplicateStageName(name.clone()), span: node.span });
    }
    Ok(Stage {
        base: from.base,
        name: from.name,
        platform: from.platform,
        instructions: Vec::new(),
        keyword: node.keyword.clone(),
        text: node.original.trim().to_owned(),
        span: node.span,
        comments: node.comments.clone(),
    })
}

/// Finds the first line with bytes that are not UTF-8 inside an instruction that keeps its text.
fn check_utf8(source: &[u8], nodes: &[Node]) -> Result<(), Placed<ParseFault>> {
    let mut nodes = nodes.iter().peekable();
    for (index, line) in source.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        while nodes.peek().is_some_and(|node| node.span.end.line < number) {
            nodes.next();
        }
        let Some(node) = nodes.peek().filter(|node| node.span.start.line <= number) else { continue };
        let is_metadata =
            ["LABEL", "MAINTAINER"].iter().any(|keyword| node.keyword.eq_ignore_ascii_case(keyword));
        let is_comment = line.trim_ascii_start().starts_with(b"#") && node.heredocs.is_empty();
        if !is_metadata && !is_comment && std::str::from_utf8(line).is_err() {
            return Err(Placed { fault: ParseFault::NotUtf8, span: Span::lines(number, number) });
        }
    }
    Ok(())
}
