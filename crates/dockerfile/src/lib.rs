//! The Dockerfile language: text in, stages, steps and findings out; and `.dockerignore`.
//!
//! Promise: no input makes it panic, run for ever or take memory without bound, and every fault says where it stands.
//! Not here: reading files, networks, running anything, the images that `FROM` names.
//!
//! [`Dockerfile::parse`] reads a text. [`Dockerfile::plan`] decides, for one target, which stages are needed and what
//! each step copies from. A [`StageScope`] then walks the steps of a stage, in order, and replaces the variables of
//! each: only the builder knows the variables of the base image, so this cannot happen before it runs.

mod dialect;
mod document;
mod dump;
mod expansion;
mod ignore;
mod instruction;
mod lint;
mod parse;
mod source;
mod stage;
mod suggest;
mod text;

pub use dialect::{Dialect, Precedence};
pub use document::{DOCKERFILE_SIZE_MAX, Dockerfile, Stage};
pub use expansion::{
    EXPANSION_DEPTH_MAX, EXPANSION_SIZE_MAX, ExpandError, ExpandFault, Expanded, Expander, Lookup, Quoting,
};
pub use ignore::{IgnoreError, IgnoreFault, IgnoreFile, IgnoreRule, Verdict};
pub use instruction::{
    Add, Argument, Command, CommandLine, Copy, Device, DurationFault, ExposeFault, Healthcheck, InlineFile,
    Instruction, Mount, MountFault, MountKind, MountText, Network, Onbuild, Pair, Run, Script, Security,
    Sharing, parse_ports,
};
pub use lint::{BaseImage, Finding, LintContext, LintReport, Rule, lint};
pub use parse::{ParseError, ParseFault};
pub use source::{Position, Span};
pub use stage::{
    BuildArguments, ENVIRONMENT_SIZE_MAX, Environment, Origin, Plan, PlanError, PlanFault, PlanOptions,
    PlannedStage, ResolveError, ResolveFault, StageScope, Step, Variable,
};
pub use text::{Directives, Heredoc, Node, Word};
