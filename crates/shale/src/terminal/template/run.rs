//! Nodes and a value → text.

use std::{borrow::Cow, fmt::Write as _};

use serde_json::Value;

use super::{
    Subject, Template,
    compare::is_true,
    functions::{Parameter, call, signature},
    parse::{Branch, Node, Number, Operand, Pipe, Term, command_text},
    print::{print_value, quote, sorted_entries, type_name},
    shape::Shape,
};

/// How deep templates may call each other.
const CALLS_MAX: usize = 200;

/// Which set of functions a template is run with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Functions {
    OfRows,
    OfHeadings,
}

/// Runs `template` over `value` and appends to `output`; after an error, what came before it stays there.
///
/// # Errors
/// The text after `template: `.
pub(super) fn run(
    template: &Template,
    value: &Value,
    subject: Subject,
    functions: Functions,
    output: &mut String,
) -> Result<(), String> {
    let shape = match subject {
        Subject::Typed(shape) => Some(shape),
        _ => None,
    };
    let dot = Datum { value: Some(Cow::Borrowed(value)), shape, is_held: false, is_root: true };
    let mut run = Run {
        template,
        subject,
        functions,
        variables: vec![("$".to_owned(), dot.clone())],
        at: At::Nothing,
        name: String::new(),
        calls: 0,
        output,
    };
    run.nodes(&template.main, &dot).map(|_| ())
}

/// A value while a template runs.
#[derive(Debug, Clone)]
struct Datum<'v> {
    /// `None`: nothing was found under the name; it prints as `<no value>`.
    value: Option<Cow<'v, Value>>,
    /// Its Go type, where that is known.
    shape: Option<Shape>,
    /// Go holds it in an interface, which its error messages say.
    is_held: bool,
    /// It is the row or document that the template was given.
    is_root: bool,
}

impl<'v> Datum<'v> {
    fn made(value: Option<Value>) -> Datum<'v> {
        Datum { value: value.map(Cow::Owned), shape: None, is_held: false, is_root: false }
    }

    fn held(value: Cow<'v, Value>) -> Datum<'v> {
        Datum { value: Some(value), shape: None, is_held: true, is_root: false }
    }

    fn typed(value: Cow<'v, Value>, shape: Shape) -> Datum<'v> {
        Datum { value: Some(shape.or_zero(Some(value))), shape: Some(shape), is_held: false, is_root: false }
    }

    /// An element of a list or a map.
    fn element(value: Cow<'v, Value>, shape: Option<Shape>) -> Datum<'v> {
        match shape {
            Some(shape) => Datum::typed(value, shape),
            None => Datum::held(value),
        }
    }

    fn missing() -> Datum<'v> {
        Datum::made(None)
    }

    fn as_value(&self) -> Option<&Value> {
        self.value.as_deref()
    }

    fn is_true(&self) -> bool {
        match (self.shape, self.as_value()) {
            (Some(shape), Some(value)) => shape.is_true(value),
            (_, value) => is_true(value),
        }
    }

    /// Returns the value as the function `name` takes it.
    fn into_argument(self, name: &str) -> Result<Option<Cow<'v, Value>>, String> {
        let Some(shape) = self.shape else { return Ok(self.value) };
        let Some(value) = self.value else { return Ok(None) };
        Ok(Some(match name {
            "json" | "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "index" | "call" => value,
            "not" => Cow::Owned(Value::from(shape.is_true(&value))),
            "len" | "slice" => shape.counted(value)?,
            _ => Cow::Owned(shape.shown(&value)),
        }))
    }

    fn type_name(&self) -> &'static str {
        if self.is_held { "interface {}" } else { self.as_value().map_or("<nil>", type_name) }
    }
}

/// The node that an error names.
#[derive(Clone, Copy)]
enum At<'t> {
    Nothing,
    Operand(&'t Operand),
    Command(&'t [Operand]),
    Pipe(&'t Pipe),
    Call { offset: usize, name: &'t str, pipe: Option<&'t Pipe> },
}

/// Why a list of nodes ended.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Run<'t, 'v, 'o> {
    template: &'t Template,
    subject: Subject,
    functions: Functions,
    variables: Vec<(String, Datum<'v>)>,
    at: At<'t>,
    /// Name of the template that runs; the main one has none.
    name: String,
    calls: usize,
    output: &'o mut String,
}

impl<'t, 'v> Run<'t, 'v, '_> {
    fn nodes(&mut self, nodes: &'t [Node], dot: &Datum<'v>) -> Result<Flow, String> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &'t Node, dot: &Datum<'v>) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.output.push_str(text),
            Node::Action(pipe) => {
                let datum = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    self.print(&datum);
                }
            }
            Node::If(branch) | Node::With(branch) => return self.branch(node, branch, dot),
            Node::Range(branch) => return self.range(branch, dot),
            Node::Call { name, pipe, offset } => self.call_template(name, pipe.as_ref(), *offset, dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn print(&mut self, datum: &Datum<'v>) {
        match (datum.shape, datum.as_value()) {
            (Some(shape), Some(value)) => print_value(&shape.shown(value), self.output),
            (_, None | Some(Value::Null)) => self.output.push_str("<no value>"),
            (None, Some(value)) => print_value(value, self.output),
        }
    }

    fn branch(&mut self, node: &Node, branch: &'t Branch, dot: &Datum<'v>) -> Result<Flow, String> {
        let visible = self.variables.len();
        let datum = self.pipe(&branch.pipe, dot)?;
        let flow = match datum.is_true() {
            true if matches!(node, Node::With(_)) => self.nodes(&branch.then, &datum),
            true => self.nodes(&branch.then, dot),
            false => self.nodes(&branch.otherwise, dot),
        };
        self.variables.truncate(visible);
        flow
    }

    fn range(&mut self, branch: &'t Branch, dot: &Datum<'v>) -> Result<Flow, String> {
        let visible = self.variables.len();
        let datum = self.pipe(&branch.pipe, dot)?;
        let shape = match datum.shape {
            Some(shape) => shape.ranged().map_err(|reason| self.error(&reason))?,
            None => None,
        };
        let entries: Vec<(Value, Datum<'v>)> = match datum.value {
            None | Some(Cow::Borrowed(Value::Null)) | Some(Cow::Owned(Value::Null)) => Vec::new(),
            Some(Cow::Borrowed(value)) => borrowed_entries(value)
                .ok_or_else(|| self.cannot_iterate(value))?
                .into_iter()
                .map(|(key, item)| (key, Datum::element(item, shape)))
                .collect(),
            Some(Cow::Owned(value)) => borrowed_entries(&value)
                .ok_or_else(|| self.cannot_iterate(&value))?
                .into_iter()
                .map(|(key, item)| (key, Datum::element(Cow::Owned(item.into_owned()), shape)))
                .collect(),
        };
        if entries.is_empty() {
            let flow = self.nodes(&branch.otherwise, dot);
            self.variables.truncate(visible);
            return flow;
        }
        for (key, item) in entries {
            let names = &branch.pipe.variables;
            let bound = [(names.first(), names.len() > 1), (names.get(1), false)];
            for (name, is_key) in bound.into_iter().filter_map(|(name, is_key)| Some((name?, is_key))) {
                let datum = if is_key { Datum::made(Some(key.clone())) } else { item.clone() };
                self.bind(name, datum, branch.pipe.assigns)?;
            }
            let flow = self.nodes(&branch.then, &item)?;
            self.variables.truncate(visible + names.len() * usize::from(!branch.pipe.assigns));
            if flow == Flow::Break {
                break;
            }
        }
        self.variables.truncate(visible);
        Ok(Flow::On)
    }

    fn cannot_iterate(&self, value: &Value) -> String {
        let mut shown = String::new();
        print_value(value, &mut shown);
        self.error(&format!("range can't iterate over {shown}"))
    }

    fn call_template(
        &mut self,
        name: &'t str,
        pipe: Option<&'t Pipe>,
        offset: usize,
        dot: &Datum<'v>,
    ) -> Result<(), String> {
        self.at = At::Call { offset, name, pipe };
        let template = self.template;
        let Some(nodes) = template.defined.get(name) else {
            return Err(self.error(&format!("template {} not defined", quote(name))));
        };
        if self.calls == CALLS_MAX {
            return Err(self.error(&format!("exceeded maximum template depth ({CALLS_MAX})")));
        }
        let inner_dot = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Datum::missing(),
        };
        let outer_variables =
            std::mem::replace(&mut self.variables, vec![("$".to_owned(), inner_dot.clone())]);
        let outer_name = std::mem::replace(&mut self.name, name.to_owned());
        self.calls += 1;
        self.nodes(nodes, &inner_dot)?;
        self.calls -= 1;
        self.name = outer_name;
        self.variables = outer_variables;
        Ok(())
    }

    fn pipe(&mut self, pipe: &'t Pipe, dot: &Datum<'v>) -> Result<Datum<'v>, String> {
        self.at = At::Pipe(pipe);
        let mut datum = None;
        for command in &pipe.commands {
            let mut result = self.command(command, dot, datum)?;
            // Go takes the value out of its interface here.
            result.is_held = false;
            datum = Some(result);
        }
        let datum = datum.expect("the parser lets no empty pipe through");
        for variable in &pipe.variables {
            self.bind(variable, datum.clone(), pipe.assigns)?;
        }
        Ok(datum)
    }

    fn bind(&mut self, name: &str, datum: Datum<'v>, assigns: bool) -> Result<(), String> {
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, known)) if assigns => *known = datum,
            None if assigns => return Err(self.error(&format!("undefined variable: {name}"))),
            _ => self.variables.push((name.to_owned(), datum)),
        }
        Ok(())
    }

    /// Runs one command of a pipe; `piped` is the result of the one before.
    fn command(
        &mut self,
        operands: &'t [Operand],
        dot: &Datum<'v>,
        piped: Option<Datum<'v>>,
    ) -> Result<Datum<'v>, String> {
        let first = &operands[0];
        let has_arguments = operands.len() > 1 || piped.is_some();
        match &first.term {
            Term::Function(name) => {
                self.at = At::Operand(first);
                return self.function(name, operands, dot, piped);
            }
            Term::Field(names) => {
                self.at = At::Operand(first);
                return self.fields(dot.clone(), names, has_arguments);
            }
            Term::Chain(..) => return self.chain(first, dot, has_arguments),
            Term::Variable(names) => {
                self.at = At::Operand(first);
                return self.variable(first, names, has_arguments);
            }
            _ => {}
        }
        if !matches!(first.term, Term::Pipe(_)) {
            self.at = At::Operand(first);
        }
        if has_arguments {
            return Err(self.cannot_take_arguments(first));
        }
        match &first.term {
            Term::Nil => Err(self.error("nil is not a command")),
            Term::Pipe(pipe) => self.pipe(pipe, dot),
            Term::Dot => Ok(dot.clone()),
            _ => Ok(Datum::made(constant(&first.term))),
        }
    }

    fn cannot_take_arguments(&self, operand: &Operand) -> String {
        self.error(&format!("can't give argument to non-function {}", operand.term.text()))
    }

    fn variable(
        &mut self,
        operand: &'t Operand,
        names: &'t [String],
        has_arguments: bool,
    ) -> Result<Datum<'v>, String> {
        let known = self.variables.iter().rev().find(|(known, _)| *known == names[0]);
        let Some((_, datum)) = known else {
            return Err(self.error(&format!("undefined variable: {}", names[0])));
        };
        let datum = datum.clone();
        match names {
            [_] if has_arguments => Err(self.cannot_take_arguments(operand)),
            [_] => Ok(datum),
            [_, fields @ ..] => self.fields(datum, fields, has_arguments),
            [] => unreachable!("a variable has a name"),
        }
    }

    fn chain(
        &mut self,
        operand: &'t Operand,
        dot: &Datum<'v>,
        has_arguments: bool,
    ) -> Result<Datum<'v>, String> {
        self.at = At::Operand(operand);
        let Term::Chain(inner, names) = &operand.term else { unreachable!("only chains come here") };
        if matches!(inner.term, Term::Nil) {
            return Err(self.error(&format!("indirection through explicit nil in {}", operand.term.text())));
        }
        let datum = self.argument(inner, dot)?;
        self.fields(datum, names, has_arguments)
    }

    /// Follows `names` from `datum`.
    fn fields(
        &mut self,
        mut datum: Datum<'v>,
        names: &[String],
        has_arguments: bool,
    ) -> Result<Datum<'v>, String> {
        for (at, name) in names.iter().enumerate() {
            let is_last = at + 1 == names.len();
            datum = self.field(datum, name, has_arguments && is_last)?;
        }
        Ok(datum)
    }

    fn field(&self, datum: Datum<'v>, name: &str, has_arguments: bool) -> Result<Datum<'v>, String> {
        let is_document = self.subject == Subject::Document;
        if let (Some(shape), Some(value)) = (datum.shape, &datum.value) {
            if has_arguments {
                return Err(self.error(&format!("{name} is not a method but has arguments")));
            }
            let found = shape.field(value.clone(), name).map_err(|reason| self.error(&reason))?;
            return Ok(found.map_or(Datum::missing(), |(value, shape)| Datum::typed(value, shape)));
        }
        let type_name = match self.subject {
            Subject::Row(type_name) if datum.is_root => type_name,
            _ => datum.type_name(),
        };
        let is_row = datum.is_root && matches!(self.subject, Subject::Row(_));
        let found = match datum.value {
            None if is_document => {
                return Err(self.error(&format!("nil data; no entry for key {}", quote(name))));
            }
            None => return Ok(Datum::missing()),
            Some(Cow::Borrowed(Value::Object(entries))) => entries.get(name).map(Cow::Borrowed),
            Some(Cow::Owned(Value::Object(mut entries))) => entries.remove(name).map(Cow::Owned),
            Some(value) if value.is_null() && datum.is_held => {
                return Err(self.error(&format!("nil pointer evaluating interface {{}}.{name}")));
            }
            Some(value) if value.is_null() => return Ok(Datum::missing()),
            Some(_) => {
                return Err(self.error(&format!("can't evaluate field {name} in type {type_name}")));
            }
        };
        match found {
            Some(_) if has_arguments && is_row => {
                Err(self.error(&format!("wrong number of args for {name}: want 0 got 1")))
            }
            _ if has_arguments => Err(self.error(&format!("{name} is not a method but has arguments"))),
            Some(value) if is_row => {
                Ok(Datum { value: Some(value), shape: None, is_held: false, is_root: false })
            }
            Some(value) => Ok(Datum::held(value)),
            None if is_row => Err(self.error(&format!("can't evaluate field {name} in type {type_name}"))),
            None if is_document => Err(self.error(&format!("map has no entry for key {}", quote(name)))),
            None => Ok(Datum::missing()),
        }
    }

    fn function(
        &mut self,
        name: &'t str,
        command: &'t [Operand],
        dot: &Datum<'v>,
        piped: Option<Datum<'v>>,
    ) -> Result<Datum<'v>, String> {
        let operands = &command[1..];
        let in_header = self.functions == Functions::OfHeadings;
        let signature = signature(name, in_header).expect("the parser lets no other function through");
        let given = operands.len() + usize::from(piped.is_some());
        let wanted = signature.fixed.len();
        if signature.repeated.is_some() && given < wanted {
            let given = operands.len();
            return Err(
                self.error(&format!("wrong number of args for {name}: want at least {wanted} got {given}"))
            );
        }
        if signature.repeated.is_none() && given != wanted {
            return Err(self.error(&format!("wrong number of args for {name}: want {wanted} got {given}")));
        }
        if matches!(name, "and" | "or") {
            return self.and_or(name == "or", operands, dot, piped);
        }
        let parameter =
            |at: usize| signature.fixed.get(at).copied().or(signature.repeated).unwrap_or(Parameter::Any);
        let mut arguments = Vec::with_capacity(given);
        for (at, operand) in operands.iter().enumerate() {
            let argument = self.argument_for(parameter(at), operand, dot)?;
            arguments.push(argument);
        }
        if let Some(piped) = piped {
            let argument = self.accept(parameter(operands.len()), piped)?;
            arguments.push(argument);
        }
        let failed = |run: &mut Self, reason: &str| {
            run.at = At::Command(command);
            run.error(&format!("error calling {name}: {reason}"))
        };
        if name == "index" && arguments[0].shape.is_some() {
            return typed_index(arguments).map_err(|reason| failed(self, &reason));
        }
        let arguments: Result<Vec<_>, String> =
            arguments.into_iter().map(|argument| argument.into_argument(name)).collect();
        let arguments = arguments.map_err(|reason| failed(self, &reason))?;
        if name == "call" {
            let function = arguments[0].as_deref().filter(|value| !value.is_null());
            let reason = match (function, operands.first()) {
                (None, _) => "error calling call: call of nil".to_owned(),
                (Some(value), operand) => {
                    let shown = operand.map(|operand| operand.term.text()).unwrap_or_default();
                    format!("error calling call: non-function {shown} of type {}", type_name(value))
                }
            };
            self.at = At::Command(command);
            return Err(self.error(&reason));
        }
        call(name, &arguments, in_header).map(Datum::made).map_err(|reason| failed(self, &reason))
    }

    /// `and` and `or` stop at the operand that decides.
    fn and_or(
        &mut self,
        is_or: bool,
        operands: &'t [Operand],
        dot: &Datum<'v>,
        piped: Option<Datum<'v>>,
    ) -> Result<Datum<'v>, String> {
        let mut datum = Datum::missing();
        for operand in operands {
            datum = self.argument_for(Parameter::Any, operand, dot)?;
            if datum.is_true() == is_or {
                return Ok(datum);
            }
        }
        Ok(piped.unwrap_or(datum))
    }

    fn argument_for(
        &mut self,
        parameter: Parameter,
        operand: &'t Operand,
        dot: &Datum<'v>,
    ) -> Result<Datum<'v>, String> {
        let wanted = match (parameter, &operand.term) {
            (Parameter::Text, Term::Text { .. })
            | (Parameter::Integer, Term::Number { number: Number::Integer(_), .. }) => None,
            (Parameter::Text, Term::Bool(_) | Term::Number { .. }) => Some("string"),
            (Parameter::Text, Term::Nil) => Some("nil to string"),
            (Parameter::Integer, Term::Bool(_) | Term::Number { .. } | Term::Text { .. }) => Some("integer"),
            (Parameter::Integer, Term::Nil) => Some("nil to int"),
            _ => None,
        };
        if let Some(wanted) = wanted {
            self.at = At::Operand(operand);
            return Err(match wanted.strip_prefix("nil ") {
                Some(target) => self.error(&format!("cannot assign nil {target}")),
                None => self.error(&format!("expected {wanted}; found {}", operand.term.text())),
            });
        }
        let datum = self.argument(operand, dot)?;
        self.accept(parameter, datum)
    }

    /// Evaluates an operand that stands behind a function's name.
    fn argument(&mut self, operand: &'t Operand, dot: &Datum<'v>) -> Result<Datum<'v>, String> {
        self.at = At::Operand(operand);
        match &operand.term {
            Term::Dot => Ok(dot.clone()),
            Term::Field(names) => self.fields(dot.clone(), names, false),
            Term::Variable(names) => self.variable(operand, names, false),
            Term::Pipe(pipe) => self.pipe(pipe, dot),
            Term::Function(name) => self.function(name, std::slice::from_ref(operand), dot, None),
            Term::Chain(..) => self.chain(operand, dot, false),
            Term::Nil => Ok(Datum::missing()),
            Term::Bool(_) | Term::Number { .. } | Term::Text { .. } => {
                Ok(Datum::made(constant(&operand.term)))
            }
        }
    }

    /// Checks that `datum` may stand for `parameter`.
    fn accept(&self, parameter: Parameter, datum: Datum<'v>) -> Result<Datum<'v>, String> {
        let (fits, wanted) = match (parameter, datum.as_value()) {
            (Parameter::Any, _) => return Ok(datum),
            (Parameter::Text, value) => {
                (value.is_some_and(Value::is_string) && datum.shape != Some(Shape::Time), "string")
            }
            (Parameter::Integer, value) => {
                (value.is_some_and(|value| value.is_i64() || value.is_u64()), "int")
            }
            (Parameter::List, None | Some(Value::Null | Value::Array(_) | Value::Object(_))) => (true, ""),
            (Parameter::List, Some(_)) => (false, "[]string"),
        };
        match datum.as_value() {
            _ if fits => Ok(datum),
            Some(Value::Null) if datum.is_held => {
                Err(self.error(&format!("wrong type for value; expected {wanted}; got interface {{}}")))
            }
            None | Some(Value::Null) => Err(self.error(&format!("invalid value; expected {wanted}"))),
            Some(value) => {
                let got = if datum.is_held { type_name(value) } else { datum.type_name() };
                Err(self.error(&format!("wrong type for value; expected {wanted}; got {got}")))
            }
        }
    }

    /// Returns Go's message: where, in which template, at which node, why.
    fn error(&self, reason: &str) -> String {
        let (offset, context) = match self.at {
            At::Nothing => return reason.to_owned(),
            At::Operand(operand) => (operand.offset, operand.term.text()),
            At::Command(operands) => (operands[0].offset, command_text(operands)),
            At::Pipe(pipe) => (pipe.offset, pipe.text()),
            At::Call { offset, name, pipe } => {
                let argument = pipe.map(|pipe| format!(" {}", pipe.text())).unwrap_or_default();
                (offset, format!("{{{{template {}{argument}}}}}", quote(name)))
            }
        };
        let before = &self.template.source[..offset];
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let column = offset - before.rfind('\n').map_or(0, |at| at + 1);
        let mut message = String::new();
        write!(message, ":{line}:{column}: executing {} at <{context}>: {reason}", quote(&self.name))
            .expect("a String takes every write");
        message
    }
}

/// Follows the keys behind the first of `arguments`, as `index` does.
fn typed_index(arguments: Vec<Datum<'_>>) -> Result<Datum<'_>, String> {
    let mut arguments = arguments.into_iter();
    let mut found = arguments.next().expect("the signature asks for one");
    for key in arguments {
        let (Some(value), Some(shape)) = (found.value, found.shape) else {
            return Err("index of untyped nil".to_owned());
        };
        let (value, shape) = shape.element(value, key.as_value().unwrap_or(&Value::Null))?;
        found = Datum::typed(value, shape);
    }
    Ok(found)
}

fn constant(term: &Term) -> Option<Value> {
    match term {
        Term::Bool(value) => Some(Value::from(*value)),
        Term::Text { text, .. } => Some(Value::from(text.as_str())),
        Term::Number { number: Number::Integer(integer), .. } => Some(Value::from(*integer)),
        Term::Number { number: Number::Float(float), .. } => Some(Value::from(*float)),
        _ => None,
    }
}

/// Returns what a `range` goes over, with its keys; `None` where there is nothing to go over.
fn borrowed_entries(value: &Value) -> Option<Vec<(Value, Cow<'_, Value>)>> {
    match value {
        Value::Array(items) => {
            Some(items.iter().enumerate().map(|(at, item)| (Value::from(at), Cow::Borrowed(item))).collect())
        }
        Value::Object(_) => Some(
            sorted_entries(value)
                .into_iter()
                .map(|(key, item)| (Value::from(key.as_str()), Cow::Borrowed(item)))
                .collect(),
        ),
        Value::Number(number) => {
            let count = number.as_i64()?.min(RANGE_MAX);
            Some((0..count).map(|at| (Value::from(at), Cow::Owned(Value::from(at)))).collect())
        }
        _ => None,
    }
}

/// The most rounds of `range 1000000000`.
const RANGE_MAX: i64 = 1 << 20;
