//! Why a text is no Dockerfile, and where.

use crate::dialect::Dialect;
use crate::instruction::{DurationFault, MountFault};
use crate::source::{Span, excerpt, line};
use crate::suggest::hint;

/// A fault and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed<F> {
    pub fault: F,
    pub span: Span,
}

/// What is wrong with a Dockerfile. The messages are those of BuildKit where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseFault {
    /// There is no text at all.
    #[error("the Dockerfile cannot be empty")]
    Empty,
    /// There are only comments and empty lines.
    #[error("file with no instructions")]
    NoInstructions,
    /// There are `ARG`s, but no `FROM`.
    #[error("dockerfile contains no stages to build")]
    NoStages,
    /// The file is larger than [`crate::DOCKERFILE_SIZE_MAX`].
    #[error("dockerfile is larger than {} bytes", crate::DOCKERFILE_SIZE_MAX)]
    TooLarge,
    /// A line is longer than Docker reads.
    #[error("dockerfile line greater than max allowed size of {}", crate::text::LINE_SIZE_MAX)]
    LineTooLong,
    /// An instruction holds bytes that are no UTF-8.
    #[error("the line holds bytes that are not UTF-8; save the file as UTF-8")]
    NotUtf8,
    /// A directive stands twice.
    #[error("only one {0} parser directive can be used")]
    DuplicateDirective(&'static str),
    /// `# escape=` with another character than the two.
    #[error("invalid escape token '{0}' does not match ` or \\")]
    InvalidEscape(String),
    /// The text of `# check=` is malformed.
    #[error("failed to parse check options: invalid check option {0:?}")]
    InvalidCheck(String),
    /// The file ends before the word of a heredoc comes.
    #[error("unterminated heredoc")]
    UnterminatedHeredoc(String),
    /// A JSON array holds something else than strings.
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    JsonNotStrings,
    /// `ENV name` without a value.
    #[error("{0} must have two arguments")]
    MissingSecondArgument(&'static str),
    /// A word of `ENV` or `LABEL` without `=`.
    #[error("Syntax error - can't find = in {0:?}. Must be of the form: name=value")]
    MissingEquals(String),
    /// The keyword is no instruction.
    #[error("unknown instruction: {keyword}{}", hint(suggestion))]
    UnknownInstruction {
        /// As written.
        keyword: String,
        /// The nearest instruction.
        suggestion: Option<String>,
    },
    /// An instruction other than `ARG` before the first `FROM`.
    #[error("no build stage in current context")]
    NoStage,
    /// The instruction has no such flag.
    #[error("unknown flag: --{flag}{}", hint(suggestion))]
    UnknownFlag {
        /// Without `--`.
        flag: String,
        /// The nearest flag of the instruction.
        suggestion: Option<String>,
    },
    /// The classic builder does not have the flag.
    #[error(
        "the --{0} option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build \
         images with BuildKit enabled"
    )]
    NeedsBuildKit(String),
    /// A flag that may stand once stands twice.
    #[error("duplicate flag specified: --{0}")]
    DuplicateFlag(String),
    /// A flag without `=value`.
    #[error("missing a value on flag: --{0}")]
    FlagWithoutValue(String),
    /// A flag that is on or off has another value.
    #[error("expecting boolean value for flag --{flag}, not: {value}")]
    FlagNotBoolean {
        /// Without `--`.
        flag: String,
        /// As written.
        value: String,
    },
    /// The instruction has no arguments.
    #[error("{0} requires at least one argument")]
    NoArguments(&'static str),
    /// The instruction takes one argument.
    #[error("{0} requires exactly one argument")]
    NotOneArgument(&'static str),
    /// `COPY` or `ADD` without a destination.
    #[error(
        "{0} requires at least two arguments, but only one was provided. Destination could not be determined"
    )]
    NoDestination(&'static str),
    /// A variable or label without a name.
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    /// `FROM` with two, or more than three words.
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    /// The name behind `AS` is malformed.
    #[error("invalid name for build stage: {0:?}, name can't start with a number or contain symbols")]
    StageName(String),
    /// Two stages have one name, in the classic dialect.
    #[error("{0} stage name already used")]
    DuplicateStageName(String),
    /// The destination of `COPY` or `ADD` is a heredoc.
    #[error("{0} cannot accept a heredoc as a destination")]
    HeredocDestination(&'static str),
    /// `ONBUILD ONBUILD`.
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    OnbuildChain,
    /// `ONBUILD FROM` or `ONBUILD MAINTAINER`.
    #[error("{0} isn't allowed as an ONBUILD trigger")]
    ForbiddenTrigger(String),
    /// The text of a trigger holds more than one instruction.
    #[error("onbuild trigger should be a single expression")]
    TriggerNotSingle,
    /// `HEALTHCHECK NONE` with arguments.
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthcheckNone,
    /// `HEALTHCHECK CMD` without a command.
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthcheckCommand,
    /// `HEALTHCHECK` with another word than `CMD` and `NONE`.
    #[error("Unknown type {0:?} in HEALTHCHECK (try CMD)")]
    HealthcheckType(String),
    /// A duration is malformed.
    #[error(transparent)]
    Duration(#[from] DurationFault),
    /// A duration is shorter than Docker takes.
    #[error("Interval {0:?} cannot be less than 1ms")]
    IntervalTooShort(&'static str),
    /// `--retries` is no number.
    #[error("strconv.ParseInt: parsing {0:?}: invalid syntax")]
    RetriesNotNumber(String),
    /// `--retries` is below zero.
    #[error("--retries cannot be negative ({0})")]
    RetriesNegative(i64),
    /// A `VOLUME` without a path.
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    /// `SHELL` without a JSON array.
    #[error("SHELL requires the arguments to be in JSON form")]
    ShellNotJson,
    /// `RUN --network` with an unknown mode.
    #[error("invalid network mode {0:?}")]
    NetworkMode(String),
    /// `RUN --security` with an unknown mode.
    #[error("security {0:?} is not valid")]
    SecurityMode(String),
    /// A `RUN --mount` is malformed.
    #[error(transparent)]
    Mount(MountFault),
    /// A `RUN --device` is malformed.
    #[error(transparent)]
    Device(MountFault),
}

impl ParseFault {
    /// Whether Docker finds the fault before it looks at instructions, and so reports it without a line.
    fn is_syntax(&self) -> bool {
        matches!(
            self,
            ParseFault::Empty
                | ParseFault::NoInstructions
                | ParseFault::NoStages
                | ParseFault::TooLarge
                | ParseFault::LineTooLong
                | ParseFault::NotUtf8
                | ParseFault::DuplicateDirective(_)
                | ParseFault::InvalidEscape(_)
                | ParseFault::InvalidCheck(_)
                | ParseFault::UnterminatedHeredoc(_)
                | ParseFault::JsonNotStrings
                | ParseFault::MissingSecondArgument(_)
                | ParseFault::MissingEquals(_)
        )
    }

    /// Whether Docker reports the fault as it is, in every dialect.
    fn stands_alone(&self) -> bool {
        match self {
            ParseFault::NoStage | ParseFault::DuplicateStageName(_) => true,
            // BuildKit looks at the rest of a mount only when it comes to the step.
            ParseFault::Mount(fault) => !matches!(fault, MountFault::Quotes(_) | MountFault::VariableInFrom),
            _ => false,
        }
    }
}

/// A text that is no Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file_name}:{}:{}: {fault}", span.start.line, span.start.column)]
pub struct ParseError {
    /// What is wrong.
    pub fault: ParseFault,
    /// The file, as the caller named it.
    pub file_name: String,
    /// Where.
    pub span: Span,
    /// The line where it starts, as it stands in the file.
    pub line: String,
    /// The line where the instruction starts; Docker's messages name this one.
    instruction_line: usize,
    excerpt: String,
}

impl ParseError {
    pub(crate) fn new(placed: Placed<ParseFault>, file_name: &str, source: &str) -> ParseError {
        let shown: String = line(source, placed.span.start.line).chars().take(400).collect();
        ParseError {
            excerpt: excerpt(file_name, source, placed.span),
            fault: placed.fault,
            file_name: file_name.to_owned(),
            span: placed.span,
            line: shown,
            instruction_line: placed.span.start.line,
        }
    }

    pub(crate) fn in_instruction_at(mut self, line: usize) -> ParseError {
        self.instruction_line = line;
        self
    }

    /// Returns the lines around the fault as BuildKit prints them above its message.
    pub fn excerpt(&self) -> &str {
        &self.excerpt
    }

    /// Returns the message that Docker's own builder gives, without "Error response from daemon".
    ///
    /// Source: builder reference 7, observed with Docker Engine 20.10.24 and BuildKit 0.32.2.
    pub fn docker_message(&self, dialect: Dialect) -> String {
        let line = self.instruction_line;
        if dialect != Dialect::Classic {
            return if self.fault.is_syntax() || self.fault.stands_alone() {
                self.fault.to_string()
            } else {
                format!("dockerfile parse error on line {line}: {}", self.fault)
            };
        }
        match &self.fault {
            ParseFault::Empty => format!("the Dockerfile ({}) cannot be empty", self.file_name),
            ParseFault::NeedsBuildKit(_) => self.fault.to_string(),
            ParseFault::UnknownInstruction { keyword, .. } => {
                format!("dockerfile parse error line {line}: unknown instruction: {}", keyword.to_uppercase())
            }
            ParseFault::UnknownFlag { flag, .. } => {
                format!("dockerfile parse error line {line}: Unknown flag: {flag}")
            }
            ParseFault::RetriesNegative(retries) => {
                format!("dockerfile parse error line {line}: --retries must be at least 1 (not {retries})")
            }
            fault if fault.is_syntax() => format!("failed to parse {}: {fault}", self.file_name),
            fault if fault.stands_alone() => fault.to_string(),
            fault => format!("dockerfile parse error line {line}: {fault}"),
        }
    }
}
