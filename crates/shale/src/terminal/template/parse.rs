//! Tokens of a template → nodes.

use std::collections::HashMap;

use super::{
    functions::is_function,
    lex::{Kind, Token, lex},
    print::{quote, unquote},
};

/// How deep parentheses and control structures may nest.
const DEPTH_MAX: usize = 200;

#[derive(Debug)]
pub(super) struct Parsed {
    pub main: Vec<Node>,
    pub defined: HashMap<String, Vec<Node>>,
}

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Call { name: String, pipe: Option<Pipe>, offset: usize },
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct Branch {
    pub pipe: Pipe,
    pub then: Vec<Node>,
    pub otherwise: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub offset: usize,
    pub variables: Vec<String>,
    /// `$x = …` to a variable that is there, rather than `$x := …`.
    pub assigns: bool,
    pub commands: Vec<Vec<Operand>>,
}

#[derive(Debug)]
pub(super) struct Operand {
    pub offset: usize,
    pub term: Term,
}

#[derive(Debug)]
pub(super) enum Term {
    Dot,
    Nil,
    Bool(bool),
    Number {
        text: String,
        number: Number,
    },
    Text {
        quoted: String,
        text: String,
    },
    Field(Vec<String>),
    /// The name with its `$`, then fields.
    Variable(Vec<String>),
    Function(String),
    Chain(Box<Operand>, Vec<String>),
    Pipe(Box<Pipe>),
}

/// A constant; whether it may serve as an integer is decided by its text, as in Go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Integer(i64),
    Float(f64),
}

/// Parses a template.
///
/// # Errors
/// The text after `template: `.
pub(super) fn parse(source: &str) -> Result<Parsed, String> {
    let mut parser = Parser {
        tokens: lex(source),
        next: 0,
        variables: vec!["$".to_owned()],
        defined: HashMap::new(),
        ranges: 0,
        depth: 0,
        action_line: 0,
    };
    let (main, end) = parser.list(true)?;
    match end {
        Ending::Template => Ok(Parsed { main, defined: parser.defined }),
        other => Err(parser.error(&format!("unexpected {}", other.text()))),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    variables: Vec<String>,
    defined: HashMap<String, Vec<Node>>,
    /// How many `range`s stand around this place.
    ranges: usize,
    depth: usize,
    /// Line in which the action began that is being read; 0 outside of actions.
    action_line: usize,
}

/// What ended a list of nodes.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Template,
    End,
    Else,
}

impl Ending {
    fn text(self) -> &'static str {
        match self {
            Ending::Template => "EOF",
            Ending::End => "{{end}}",
            Ending::Else => "{{else}}",
        }
    }
}

enum Item {
    Node(Node),
    Nothing,
    Ending(Ending),
}

impl Parser {
    fn list(&mut self, is_top: bool) -> Result<(Vec<Node>, Ending), String> {
        let mut nodes = Vec::new();
        loop {
            let token = self.take();
            match token.kind {
                Kind::End if is_top => return Ok((nodes, Ending::Template)),
                Kind::End => return Err(self.error("unexpected EOF")),
                Kind::Text => nodes.push(Node::Text(token.text)),
                Kind::LeftDelimiter => match self.action_from(token.line, is_top)? {
                    Item::Node(node) => nodes.push(node),
                    Item::Nothing => {}
                    Item::Ending(ending) => return Ok((nodes, ending)),
                },
                _ => return Err(self.unexpected(&token, "input")),
            }
        }
    }

    fn action_from(&mut self, line: usize, is_top: bool) -> Result<Item, String> {
        self.action_line = line;
        let item = self.action(is_top)?;
        self.action_line = 0;
        Ok(item)
    }

    fn action(&mut self, is_top: bool) -> Result<Item, String> {
        let token = self.take_after_space();
        if token.kind != Kind::Keyword || token.text == "nil" {
            self.next -= 1;
            return Ok(Item::Node(Node::Action(self.pipe("command", Kind::RightDelimiter)?)));
        }
        Ok(match token.text.as_str() {
            "if" => Item::Node(Node::If(self.branch("if")?)),
            "with" => Item::Node(Node::With(self.branch("with")?)),
            "range" => Item::Node(Node::Range(self.branch("range")?)),
            "else" => {
                let upcoming = self.peek_after_space();
                if !(upcoming.kind == Kind::Keyword && matches!(upcoming.text.as_str(), "if" | "with")) {
                    self.expect(Kind::RightDelimiter, "else")?;
                }
                Item::Ending(Ending::Else)
            }
            "end" => {
                self.expect(Kind::RightDelimiter, "end")?;
                Item::Ending(Ending::End)
            }
            "template" => Item::Node(self.call()?),
            "block" => Item::Node(self.block()?),
            "define" if is_top => {
                self.define()?;
                Item::Nothing
            }
            word @ ("break" | "continue") => {
                let closing = self.take_after_space();
                if closing.kind != Kind::RightDelimiter {
                    return Err(self.unexpected(&closing, &format!("{{{{{word}}}}}")));
                }
                if self.ranges == 0 {
                    return Err(self.error(&format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                Item::Node(if word == "break" { Node::Break } else { Node::Continue })
            }
            _ => return Err(self.unexpected(&token, "command")),
        })
    }

    fn branch(&mut self, keyword: &'static str) -> Result<Branch, String> {
        self.enter()?;
        let visible = self.variables.len();
        let pipe = self.pipe(keyword, Kind::RightDelimiter)?;
        self.ranges += usize::from(keyword == "range");
        let (then, ending) = self.list(false)?;
        self.ranges -= usize::from(keyword == "range");
        let mut otherwise = Vec::new();
        if ending == Ending::Else {
            let upcoming = self.peek_after_space();
            if upcoming.kind == Kind::Keyword && upcoming.text == keyword && keyword != "range" {
                // "else if" and "else with" share the end of the inner one.
                self.take_after_space();
                let inner = self.branch(keyword)?;
                otherwise.push(if keyword == "if" { Node::If(inner) } else { Node::With(inner) });
            } else {
                let (nodes, ending) = self.list(false)?;
                if ending != Ending::End {
                    return Err(self.error(&format!("expected end; found {}", ending.text())));
                }
                otherwise = nodes;
            }
        }
        self.variables.truncate(visible);
        self.depth -= 1;
        Ok(Branch { pipe, then, otherwise })
    }

    fn call(&mut self) -> Result<Node, String> {
        let offset = self.peek_after_space().offset;
        let name = self.template_name("template clause")?;
        if self.peek_after_space().kind == Kind::RightDelimiter {
            self.take_after_space();
            return Ok(Node::Call { name, pipe: None, offset });
        }
        let pipe = self.pipe("template clause", Kind::RightDelimiter)?;
        Ok(Node::Call { name, pipe: Some(pipe), offset })
    }

    fn block(&mut self) -> Result<Node, String> {
        let offset = self.peek_after_space().offset;
        let name = self.template_name("block clause")?;
        let pipe = self.pipe("block clause", Kind::RightDelimiter)?;
        self.body_of(&name, "block clause")?;
        Ok(Node::Call { name, pipe: Some(pipe), offset })
    }

    fn define(&mut self) -> Result<(), String> {
        let name = self.template_name("define clause")?;
        self.expect(Kind::RightDelimiter, "define clause")?;
        self.body_of(&name, "define clause")
    }

    fn body_of(&mut self, name: &str, context: &str) -> Result<(), String> {
        self.enter()?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (nodes, ending) = self.list(false)?;
        if ending != Ending::End {
            return Err(self.error(&format!("unexpected {} in {context}", ending.text())));
        }
        self.variables = outer;
        self.ranges = ranges;
        self.depth -= 1;
        self.defined.insert(name.to_owned(), nodes);
        Ok(())
    }

    fn template_name(&mut self, context: &str) -> Result<String, String> {
        let token = self.take_after_space();
        match token.kind {
            Kind::String | Kind::RawString => unquote(&token.text).map_err(|reason| self.error(reason)),
            _ => Err(self.unexpected(&token, context)),
        }
    }

    fn pipe(&mut self, context: &'static str, end: Kind) -> Result<Pipe, String> {
        let offset = self.peek_after_space().offset;
        let mut pipe = Pipe { offset, variables: Vec::new(), assigns: false, commands: Vec::new() };
        self.declarations(context, &mut pipe)?;
        loop {
            let token = self.take_after_space();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharacterConstant
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParenthesis => {
                    self.next -= 1;
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                Kind::Keyword if token.text == "nil" => {
                    self.next -= 1;
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return Err(self.unexpected(&token, context)),
            }
        }
        if pipe.commands.is_empty() {
            return Err(self.error(&format!("missing value for {context}")));
        }
        for (stage, command) in pipe.commands.iter().enumerate().skip(1) {
            if matches!(
                command[0].term,
                Term::Bool(_) | Term::Dot | Term::Nil | Term::Number { .. } | Term::Text { .. }
            ) {
                return Err(self.error(&format!("non executable command in pipeline stage {}", stage + 1)));
            }
        }
        Ok(pipe)
    }

    fn declarations(&mut self, context: &str, pipe: &mut Pipe) -> Result<(), String> {
        loop {
            let start = self.next;
            let variable = self.take_after_space();
            if variable.kind != Kind::Variable {
                self.next = start;
                return Ok(());
            }
            let sign = self.take_after_space();
            match sign.kind {
                Kind::Assign | Kind::Declare => {
                    pipe.assigns = sign.kind == Kind::Assign;
                    pipe.variables.push(variable.text.clone());
                    self.variables.push(variable.text);
                    return Ok(());
                }
                Kind::Character if sign.text == "," => {
                    pipe.variables.push(variable.text.clone());
                    self.variables.push(variable.text);
                    if context != "range" || pipe.variables.len() > 1 {
                        return Err(self.error(&format!("too many declarations in {context}")));
                    }
                    let upcoming = self.peek_after_space().kind;
                    if !matches!(upcoming, Kind::Variable | Kind::RightDelimiter | Kind::RightParenthesis) {
                        return Err(self.error("range can only initialize variables"));
                    }
                }
                _ => {
                    self.next = start;
                    return Ok(());
                }
            }
        }
    }

    fn command(&mut self) -> Result<Vec<Operand>, String> {
        let mut operands = Vec::new();
        loop {
            self.skip_space();
            if let Some(operand) = self.operand()? {
                operands.push(operand);
            }
            let token = self.take();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelimiter | Kind::RightParenthesis => self.next -= 1,
                Kind::Pipe => {}
                _ => return Err(self.unexpected(&token, "operand")),
            }
            break;
        }
        if operands.is_empty() { Err(self.error("empty command")) } else { Ok(operands) }
    }

    fn operand(&mut self) -> Result<Option<Operand>, String> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        let mut fields = Vec::new();
        // Go places a chain of fields at the second of them.
        let offset = self.peek().offset;
        while self.peek().kind == Kind::Field {
            fields.push(self.take().text[1..].to_owned());
        }
        if fields.is_empty() {
            return Ok(Some(operand));
        }
        match &mut operand.term {
            Term::Field(names) | Term::Variable(names) => {
                names.append(&mut fields);
                operand.offset = offset;
            }
            Term::Bool(_) | Term::Text { .. } | Term::Number { .. } | Term::Nil | Term::Dot => {
                let term = quote(&operand.term.text());
                return Err(self.error(&format!("unexpected . after term {term}")));
            }
            _ => {
                operand = Operand { offset, term: Term::Chain(Box::new(operand), fields) };
            }
        }
        Ok(Some(operand))
    }

    fn term(&mut self) -> Result<Option<Operand>, String> {
        let Token { kind, text, offset, .. } = self.take_after_space();
        let term = match kind {
            Kind::Identifier if is_function(&text) => Term::Function(text),
            Kind::Identifier => return Err(self.error(&format!("function {} not defined", quote(&text)))),
            Kind::Dot => Term::Dot,
            Kind::Keyword if text == "nil" => Term::Nil,
            Kind::Variable if self.variables.contains(&text) => Term::Variable(vec![text]),
            Kind::Variable => return Err(self.error(&format!("undefined variable {}", quote(&text)))),
            Kind::Field => Term::Field(vec![text[1..].to_owned()]),
            Kind::Bool => Term::Bool(text == "true"),
            Kind::CharacterConstant | Kind::Number => {
                let number = number(&text).map_err(|reason| self.error(&reason))?;
                Term::Number { text, number }
            }
            Kind::LeftParenthesis => {
                self.enter()?;
                let pipe = self.pipe("parenthesized pipeline", Kind::RightParenthesis)?;
                self.depth -= 1;
                Term::Pipe(Box::new(pipe))
            }
            Kind::String | Kind::RawString => {
                let unquoted = unquote(&text).map_err(|reason| self.error(reason))?;
                Term::Text { quoted: text, text: unquoted }
            }
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand { offset, term }))
    }

    fn enter(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.error("max expression depth exceeded")) } else { Ok(()) }
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn peek(&self) -> &Token {
        // The last token ends the template or is an error; it is there for ever.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
    }

    fn take_after_space(&mut self) -> Token {
        self.skip_space();
        self.take()
    }

    fn peek_after_space(&mut self) -> &Token {
        self.skip_space();
        self.peek()
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<(), String> {
        let token = self.take_after_space();
        if token.kind == kind { Ok(()) } else { Err(self.unexpected(&token, context)) }
    }

    fn unexpected(&self, token: &Token, context: &str) -> String {
        let shown = match token.kind {
            Kind::Error if self.action_line == 0 || self.action_line == token.line => {
                return self.error(&token.text);
            }
            Kind::Error => {
                let place = if token.text.ends_with(" action") { "" } else { " in action" };
                return self.error(&format!("{}{place} started at :{}", token.text, self.action_line));
            }
            Kind::End => "EOF".to_owned(),
            Kind::Keyword | Kind::Dot => format!("<{}>", token.text),
            _ if token.text.len() > 10 => {
                format!("{}...", quote(&token.text.chars().take(10).collect::<String>()))
            }
            _ => quote(&token.text),
        };
        self.error(&format!("unexpected {shown} in {context}"))
    }

    fn error(&self, reason: &str) -> String {
        let last = &self.tokens[self.next.saturating_sub(1).min(self.tokens.len() - 1)];
        format!(":{}: {reason}", last.line)
    }
}

fn number(text: &str) -> Result<Number, String> {
    if text.starts_with('\'') {
        let inner = unquote(text)?;
        let mut characters = inner.chars();
        return match (characters.next(), characters.next()) {
            (Some(character), None) => Ok(Number::Integer(character as i64)),
            (None, _) => Err("invalid syntax".to_owned()),
            _ => Err(format!("malformed character constant: {text}")),
        };
    }
    let has_digits = text.contains(|c: char| c.is_ascii_digit());
    if !has_digits || text.contains("__") || text.ends_with(['_', 'i']) {
        return Err(format!("illegal number syntax: {}", quote(text)));
    }
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = digits.to_ascii_lowercase();
    let integer = match lower.get(..2) {
        Some("0x") => i64::from_str_radix(&format!("{sign}{}", &lower[2..]), 16),
        Some("0o") => i64::from_str_radix(&format!("{sign}{}", &lower[2..]), 8),
        Some("0b") => i64::from_str_radix(&format!("{sign}{}", &lower[2..]), 2),
        _ if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|byte| byte.is_ascii_digit()) => {
            i64::from_str_radix(&format!("{sign}{lower}"), 8)
        }
        _ => plain.parse(),
    };
    if let Ok(integer) = integer {
        return Ok(Number::Integer(integer));
    }
    if !text.contains(['.', 'e', 'E']) {
        return Err(format!("integer overflow: {}", quote(text)));
    }
    plain.parse().map(Number::Float).map_err(|_| format!("illegal number syntax: {}", quote(text)))
}

impl Term {
    /// Returns the term as Go prints it in errors.
    pub(super) fn text(&self) -> String {
        match self {
            Term::Dot => ".".to_owned(),
            Term::Nil => "nil".to_owned(),
            Term::Bool(value) => value.to_string(),
            Term::Number { text, .. } => text.clone(),
            Term::Text { quoted, .. } => quoted.clone(),
            Term::Field(names) => names.iter().map(|name| format!(".{name}")).collect(),
            Term::Variable(names) => names.join("."),
            Term::Function(name) => name.clone(),
            Term::Chain(operand, names) => {
                let inner = operand.term.text();
                let names: String = names.iter().map(|name| format!(".{name}")).collect();
                match operand.term {
                    Term::Pipe(_) => format!("({inner}){names}"),
                    _ => inner + &names,
                }
            }
            Term::Pipe(pipe) => pipe.text(),
        }
    }
}

impl Pipe {
    /// Returns the pipe as Go prints it in errors.
    pub(super) fn text(&self) -> String {
        let commands: Vec<String> = self.commands.iter().map(|command| command_text(command)).collect();
        let declared = match self.variables.is_empty() {
            true => String::new(),
            false => self.variables.join(", ") + if self.assigns { " = " } else { " := " },
        };
        declared + &commands.join(" | ")
    }
}

/// Returns a command as Go prints it in errors.
pub(super) fn command_text(operands: &[Operand]) -> String {
    let operands: Vec<String> = operands
        .iter()
        .map(|operand| match &operand.term {
            Term::Pipe(pipe) => format!("({})", pipe.text()),
            term => term.text(),
        })
        .collect();
    operands.join(" ")
}
