//! From stages to a graph: what each stage is built from and copies from, and which the target needs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use shale_oci::{Platform, Reference, ReferenceError};

use super::environment::Environment;
use crate::dialect::Dialect;
use crate::document::{Dockerfile, Stage};
use crate::expansion::{ExpandError, Expander};
use crate::instruction::{Command, Instruction};
use crate::parse::ParseFault;
use crate::source::{Span, excerpt};
use crate::suggest::{hint, nearest};

/// Values from `--build-arg`, by name.
pub type BuildArguments = BTreeMap<String, String>;

/// What the user asks for.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// `--target`; the last stage without one.
    pub target: Option<String>,
    /// `--build-arg`
    pub build_arguments: BuildArguments,
    /// The names of `--build-context`.
    pub named_contexts: BTreeSet<String>,
    /// The platform of the result.
    pub target_platform: Platform,
    /// The platform that builds.
    pub build_platform: Platform,
}

impl Default for PlanOptions {
    fn default() -> PlanOptions {
        PlanOptions {
            target: None,
            build_arguments: BuildArguments::new(),
            named_contexts: BTreeSet::new(),
            target_platform: Platform::host(),
            build_platform: Platform::host(),
        }
    }
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The build context.
    Context,
    /// Nothing: `scratch`.
    Scratch,
    /// The result of another stage, by index.
    Stage(usize),
    /// An image, as written.
    Image(String),
    /// A named context of `--build-context`, by the name that the user gave it.
    NamedContext(String),
}

/// One instruction of a stage, and where its files come from.
#[derive(Debug, Clone)]
pub struct Step {
    /// The instruction, variables not replaced.
    pub instruction: Instruction,
    /// Whether it is an `ONBUILD` trigger of the base.
    pub is_trigger: bool,
    /// For `COPY` what `--from` names, or the context; for `ADD` the context.
    pub origin: Option<Origin>,
    /// For `RUN` what `from=` of each `--mount` names, in order; `None` without `from`.
    pub mount_origins: Vec<Option<Origin>>,
}

/// A stage with its steps.
#[derive(Debug, Clone)]
pub struct PlannedStage {
    /// Its index in the Dockerfile.
    pub index: usize,
    /// Its name, in small letters.
    pub name: Option<String>,
    /// What it starts from; a named context of the stage's own name replaces everything.
    pub base: Origin,
    /// `--platform` with its variables replaced.
    pub platform: Option<Platform>,
    /// Its instructions, with the triggers of a base stage in front.
    pub steps: Vec<Step>,
    /// The stages that it is built from or copies from.
    pub dependencies: BTreeSet<usize>,
    /// Whether the target needs it.
    pub is_needed: bool,
    /// The `FROM` line as written.
    pub text: String,
    /// Where the `FROM` stands.
    pub span: Span,
}

impl PlannedStage {
    /// Returns the stage's name, or `stage-<index>`.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("stage-{}", self.index))
    }
}

/// What has to be built for one target.
#[derive(Debug, Clone)]
pub struct Plan {
    /// All stages, in the order of the Dockerfile; a stage depends only on earlier ones.
    pub stages: Vec<PlannedStage>,
    /// The index of the stage that is asked for.
    pub target: usize,
    /// The arguments in front of the first `FROM`, and the platform arguments.
    pub globals: Environment,
    /// The values of `--build-arg`.
    pub build_arguments: BuildArguments,
    /// Which builder's language is spoken.
    pub dialect: Dialect,
    /// The escape character of the Dockerfile.
    pub escape: char,
    /// How many stages the Dockerfile has, also while the plan still grows.
    stage_total: usize,
    names: Names,
    named_contexts: BTreeSet<String>,
    declared: BTreeSet<String>,
    source: Arc<str>,
    file_name: String,
}

/// Why a Dockerfile cannot be built as asked. The messages are BuildKit's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// A word cannot be expanded.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// `FROM` names nothing once its variables are replaced.
    #[error("base name ({0}) should not be blank")]
    BlankBase(String),
    /// `FROM` or `--from` names neither a stage nor anything that an image may be called.
    #[error("failed to parse stage name {name:?}: {fault}")]
    BaseName {
        /// The name, variables replaced.
        name: String,
        /// What is wrong with it.
        fault: ReferenceError,
    },
    /// `--platform` is empty once its variables are replaced.
    #[error("empty platform value from expression {0}")]
    EmptyPlatform(String),
    /// `--platform` is no platform.
    #[error("failed to parse platform {text}: {reason}")]
    Platform {
        /// As written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no stage of the name of `--target`.
    #[error("target stage {target:?} could not be found{}", hint(suggestion))]
    UnknownTarget {
        /// The name.
        target: String,
        /// The nearest stage.
        suggestion: Option<String>,
    },
    /// `--from` names a stage by an index that does not exist.
    #[error("invalid stage index {0}")]
    StageIndex(String),
    /// A stage needs itself, perhaps through others.
    #[error("circular dependency detected on stage: {0}")]
    Cycle(String),
    /// A stage needs one that comes later.
    #[error("cannot copy from stage {from:?}, it needs to be defined before current stage {stage:?}")]
    LaterStage {
        /// As `--from` names it.
        from: String,
        /// The stage that copies.
        stage: String,
    },
    /// A variable in `--from`.
    #[error(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as \
         a workaround"
    )]
    VariableInFrom,
    /// A trigger of the base is malformed.
    #[error("the base's ONBUILD trigger {trigger:?} is malformed: {fault}")]
    Trigger {
        /// The trigger.
        trigger: String,
        /// What is wrong with it.
        fault: Box<ParseFault>,
    },
}

/// A fault and the place of what asks for it; no place for what the user asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file_name}{}: {fault}", span.map_or_else(String::new, |span| format!(":{}:{}", span.start.line, span.start.column)))]
pub struct PlanError {
    /// What is wrong.
    pub fault: PlanFault,
    /// The Dockerfile.
    pub file_name: String,
    /// Where.
    pub span: Option<Span>,
    excerpt: String,
}

impl PlanError {
    /// Returns the lines around the fault as BuildKit prints them; empty without a place.
    pub fn excerpt(&self) -> &str {
        &self.excerpt
    }

    /// Returns the message that Docker's own builder gives.
    ///
    /// Source: builder reference 7, observed with Docker Engine 20.10.24 and BuildKit 0.32.2.
    pub fn docker_message(&self, dialect: Dialect) -> String {
        match &self.fault {
            fault if dialect != Dialect::Classic => fault.to_string(),
            PlanFault::UnknownTarget { target, .. } => {
                format!("failed to reach build target {target} in Dockerfile")
            }
            PlanFault::BaseName { fault, .. } => fault.to_string(),
            PlanFault::Cycle(stage) => {
                // Docker repeats what was written: the number of a stage that has no name.
                let written = stage.strip_prefix("stage-").unwrap_or(stage);
                format!("invalid from flag value {written}: refers to current build stage")
            }
            PlanFault::StageIndex(index) => format!("invalid from flag value {index}: index out of bounds"),
            fault => fault.to_string(),
        }
    }
}

/// Stages by name; several may share one.
#[derive(Debug, Clone, Default)]
struct Names(HashMap<String, Vec<usize>>);

impl Names {
    fn add(&mut self, name: &str, index: usize) {
        self.0.entry(name.to_owned()).or_default().push(index);
    }

    /// Returns the last stage of this name that stands before `stage`, or else the first one behind.
    fn find(&self, name: &str, stage: usize) -> Option<usize> {
        let indexes = self.0.get(&name.to_lowercase())?;
        let before = indexes.partition_point(|&index| index < stage);
        before.checked_sub(1).map_or_else(|| indexes.first().copied(), |last| indexes.get(last).copied())
    }

    fn sorted(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

impl Dockerfile {
    /// Returns what has to be built.
    ///
    /// # Errors
    /// [`PlanError`] when a name leads nowhere, in any stage, needed or not.
    pub fn plan(&self, options: &PlanOptions) -> Result<Plan, PlanError> {
        let mut plan = Plan {
            stages: Vec::with_capacity(self.stages.len()),
            target: 0,
            globals: Environment::default(),
            build_arguments: options.build_arguments.clone(),
            dialect: self.dialect,
            escape: self.directives.escape,
            stage_total: self.stages.len(),
            names: Names::default(),
            named_contexts: options.named_contexts.clone(),
            declared: self.declared_arguments(),
            source: Arc::clone(&self.source),
            file_name: self.file_name.clone(),
        };
        for (index, name) in self.stages.iter().enumerate().filter_map(|(i, s)| Some((i, s.name.as_ref()?))) {
            plan.names.add(name, index);
        }
        plan.target = plan.find_target(options.target.as_deref(), self.stages.len())?;
        plan.globals = self
            .globals(options, &self.stages[plan.target])
            .map_err(|(fault, span)| plan.error(fault, span))?;
        for (index, stage) in self.stages.iter().enumerate() {
            let planned = plan.plan_stage(index, stage).map_err(|fault| plan.error(fault, stage.span))?;
            plan.stages.push(planned);
            plan.plan_steps(index, stage)?;
        }
        plan.check_order()?;
        plan.mark_needed();
        Ok(plan)
    }

    fn declared_arguments(&self) -> BTreeSet<String> {
        let instructions =
            self.arguments.iter().chain(self.stages.iter().flat_map(|stage| &stage.instructions));
        let declared = instructions.filter_map(|instruction| match &instruction.command {
            Command::Arg(arguments) => Some(arguments.iter().map(|argument| argument.name.clone())),
            _ => None,
        });
        declared.flatten().collect()
    }

    /// Returns the variables that `FROM` lines see, and that a stage gets by declaring them.
    pub(crate) fn globals(
        &self,
        options: &PlanOptions,
        target: &Stage,
    ) -> Result<Environment, (PlanFault, Span)> {
        let mut globals = Environment::default();
        let start = Span::default();
        if self.dialect.has_platform_arguments() {
            // "default" when no target is asked for and the last stage has no name.
            let target = options.target.as_deref().or(target.name.as_deref()).unwrap_or("default");
            for (name, value) in platform_arguments(options, target) {
                let value = options.build_arguments.get(&name).map_or(value.as_str(), String::as_str);
                set(&mut globals, &name, value, start)?;
            }
        }
        let expander = Expander::new(self.directives.escape, self.dialect);
        for instruction in &self.arguments {
            let Command::Arg(arguments) = &instruction.command else { continue };
            for argument in arguments {
                let value = match (options.build_arguments.get(&argument.name), &argument.value) {
                    (Some(value), _) => value.clone(),
                    (None, Some(default)) => {
                        let expanded = expander.expand(default, &globals);
                        expanded.map_err(|error| (PlanFault::Expand(error), instruction.span))?.text
                    }
                    (None, None) => continue,
                };
                set(&mut globals, &argument.name, &value, instruction.span)?;
            }
        }
        Ok(globals)
    }
}

fn set(globals: &mut Environment, name: &str, value: &str, span: Span) -> Result<(), (PlanFault, Span)> {
    globals.set(name, value).map_err(|fault| {
        let word = name.to_owned();
        (PlanFault::Expand(ExpandError { word, fault }), span)
    })
}

fn platform_arguments(options: &PlanOptions, target: &str) -> Vec<(String, String)> {
    let mut arguments = Vec::new();
    for (prefix, platform) in [("BUILD", &options.build_platform), ("TARGET", &options.target_platform)] {
        let variant = platform.variant.as_deref().unwrap_or("");
        let mut whole = format!("{}/{}", platform.os, platform.architecture);
        if !variant.is_empty() {
            whole.push('/');
            whole.push_str(variant);
        }
        let version = platform.os_version.as_deref().unwrap_or("");
        for (name, value) in [
            ("PLATFORM", whole.as_str()),
            ("OS", &platform.os),
            ("OSVERSION", version),
            ("ARCH", &platform.architecture),
            ("VARIANT", variant),
        ] {
            arguments.push((format!("{prefix}{name}"), value.to_owned()));
        }
    }
    arguments.push(("TARGETSTAGE".to_owned(), target.to_owned()));
    arguments
}

impl Plan {
    fn error(&self, fault: PlanFault, span: Span) -> PlanError {
        let span = Some(span).filter(|span| span.start.line > 0);
        let excerpt = span.map_or_else(String::new, |span| excerpt(&self.file_name, &self.source, span));
        PlanError { fault, file_name: self.file_name.clone(), span, excerpt }
    }

    fn find_target(&self, target: Option<&str>, stages: usize) -> Result<usize, PlanError> {
        let Some(target) = target else { return Ok(stages - 1) };
        if let Some(indexes) = self.names.0.get(&target.to_lowercase()) {
            return Ok(*indexes.last().expect("a name is kept with a stage"));
        }
        if self.dialect == Dialect::Shale
            && let Some(index) = target.parse().ok().filter(|index| *index < stages)
        {
            return Ok(index);
        }
        let suggestion = nearest(target, self.names.sorted()).map(str::to_owned);
        Err(self.error(PlanFault::UnknownTarget { target: target.to_owned(), suggestion }, Span::default()))
    }

    fn plan_stage(&self, index: usize, stage: &Stage) -> Result<PlannedStage, PlanFault> {
        let expander = Expander::new(self.escape, self.dialect);
        let base = expander.expand(&stage.base, &self.globals)?.text;
        if base.is_empty() {
            return Err(PlanFault::BlankBase(stage.base.clone()));
        }
        let platform = match &stage.platform {
            Some(text) => Some(parse_platform(text, &expander.expand(text, &self.globals)?.text)?),
            None => None,
        };
        let own_context = stage.name.as_deref().and_then(|name| self.find_named_context(name));
        let base = match own_context {
            Some(context) => Origin::NamedContext(context),
            None if base == "scratch" => Origin::Scratch,
            None => match self.names.find(&base, index).filter(|&found| found < index) {
                Some(found) => Origin::Stage(found),
                None => self.image_or_context(&base)?,
            },
        };
        let dependencies = match base {
            Origin::Stage(base) => BTreeSet::from([base]),
            _ => BTreeSet::new(),
        };
        Ok(PlannedStage {
            index,
            name: stage.name.clone(),
            base,
            platform,
            steps: Vec::new(),
            dependencies,
            is_needed: false,
            text: stage.text.clone(),
            span: stage.span,
        })
    }

    /// Adds the steps of stage `index`, which is the last one so far.
    fn plan_steps(&mut self, index: usize, stage: &Stage) -> Result<(), PlanError> {
        // A named context of the stage's name stands for the whole stage.
        if matches!(self.stages[index].base, Origin::NamedContext(_))
            && stage.name.as_deref().is_some_and(|name| self.find_named_context(name).is_some())
        {
            return Ok(());
        }
        if let Origin::Stage(base) = self.stages[index].base {
            let triggers =
                self.stages[base].steps.iter().filter_map(|step| match &step.instruction.command {
                    Command::Onbuild(onbuild) if !step.is_trigger => Some(onbuild.expression.clone()),
                    _ => None,
                });
            let triggers: Vec<String> = triggers.collect();
            self.push_triggers(index, &triggers)?;
        }
        for instruction in &stage.instructions {
            let step = self.plan_step(index, instruction.clone(), false)?;
            self.push_step(index, step);
        }
        Ok(())
    }

    fn push_step(&mut self, index: usize, step: Step) {
        let origins = step.origin.iter().chain(step.mount_origins.iter().flatten());
        let needed: Vec<usize> = origins
            .filter_map(|origin| match origin {
                Origin::Stage(stage) => Some(*stage),
                _ => None,
            })
            .collect();
        self.stages[index].dependencies.extend(needed);
        self.stages[index].steps.push(step);
    }

    fn push_triggers(&mut self, index: usize, triggers: &[String]) -> Result<(), PlanError> {
        let span = self.stages[index].span;
        for trigger in triggers {
            let parsed = Dockerfile::parse_trigger(trigger, self.escape, self.dialect);
            let mut instruction = parsed.map_err(|error| {
                let fault = PlanFault::Trigger { trigger: trigger.clone(), fault: Box::new(error.fault) };
                self.error(fault, span)
            })?;
            instruction.span = span;
            let step = self.plan_step(index, instruction, true)?;
            self.push_step(index, step);
        }
        Ok(())
    }

    /// Puts the `OnBuild` triggers of stage `index`'s base image in front of its steps, and finds anew what the target
    /// needs.
    ///
    /// # Errors
    /// [`PlanError`] when a trigger is malformed or names a stage that it may not; the plan may then hold some of the
    /// triggers and must not be used.
    pub fn add_triggers(&mut self, index: usize, triggers: &[String]) -> Result<(), PlanError> {
        let steps = std::mem::take(&mut self.stages[index].steps);
        self.push_triggers(index, triggers)?;
        self.stages[index].steps.extend(steps);
        self.check_order()?;
        self.mark_needed();
        Ok(())
    }

    fn plan_step(&self, index: usize, instruction: Instruction, is_trigger: bool) -> Result<Step, PlanError> {
        let span = instruction.span;
        let mut step = Step { instruction, is_trigger, origin: None, mount_origins: Vec::new() };
        match &step.instruction.command {
            Command::Add(_) => step.origin = Some(Origin::Context),
            Command::Copy(copy) => {
                let origin = match &copy.from {
                    Some(from) => self.copy_origin(index, from).map_err(|fault| self.error(fault, span))?,
                    None => Origin::Context,
                };
                step.origin = Some(origin);
            }
            Command::Run(run) => {
                for mount in &run.mount_texts {
                    let origin = mount.from.as_deref().map(|from| self.mount_origin(index, from)).transpose();
                    step.mount_origins.push(origin.map_err(|fault| self.error(fault, mount.span))?);
                }
            }
            _ => {}
        }
        Ok(step)
    }

    fn copy_origin(&self, index: usize, from: &str) -> Result<Origin, PlanFault> {
        let expanded = Expander::new(self.escape, self.dialect).expand(from, &())?;
        if expanded.text != from {
            return Err(PlanFault::VariableInFrom);
        }
        match from.parse::<i64>() {
            Ok(number) => self.stage_by_index(number),
            Err(_) => self.named_origin(index, from),
        }
    }

    /// BuildKit takes a number in `from=` for the name of an image; nobody means that.
    fn mount_origin(&self, index: usize, from: &str) -> Result<Origin, PlanFault> {
        match from.parse::<i64>() {
            Ok(number) if self.dialect == Dialect::Shale => self.stage_by_index(number),
            _ => self.named_origin(index, from),
        }
    }

    fn stage_by_index(&self, number: i64) -> Result<Origin, PlanFault> {
        let index = usize::try_from(number).ok().filter(|index| *index < self.stage_total);
        index.map(Origin::Stage).ok_or_else(|| PlanFault::StageIndex(number.to_string()))
    }

    fn named_origin(&self, index: usize, name: &str) -> Result<Origin, PlanFault> {
        match self.names.find(name, index) {
            Some(found) => Ok(Origin::Stage(found)),
            None if name == "scratch" => Ok(Origin::Scratch),
            None => self.image_or_context(name),
        }
    }

    fn image_or_context(&self, name: &str) -> Result<Origin, PlanFault> {
        if let Some(context) = self.find_named_context(name) {
            return Ok(Origin::NamedContext(context));
        }
        let parsed = Reference::parse(name);
        parsed.map_err(|fault| PlanFault::BaseName { name: name.to_owned(), fault })?;
        Ok(Origin::Image(name.to_owned()))
    }

    /// Returns the user's name of the context that replaces the stage or image `name`.
    fn find_named_context(&self, name: &str) -> Option<String> {
        if self.named_contexts.is_empty()
            || ["scratch", "context"].iter().any(|own| name.eq_ignore_ascii_case(own))
        {
            return None;
        }
        let normal =
            |text: &str| Reference::parse(text).ok().map(|reference| reference.or_latest().to_string());
        let wanted = normal(name);
        let is_same = |context: &&String| {
            context.eq_ignore_ascii_case(name) || (wanted.is_some() && normal(context) == wanted)
        };
        self.named_contexts.iter().find(is_same).cloned()
    }

    /// Refuses a stage that needs itself or a later one; only a reference forward can close a circle.
    fn check_order(&self) -> Result<(), PlanError> {
        for stage in &self.stages {
            let Some(&later) = stage.dependencies.range(stage.index..).next() else { continue };
            let culprit = stage.steps.iter().find(|step| {
                let mut origins = step.origin.iter().chain(step.mount_origins.iter().flatten());
                origins.any(|origin| *origin == Origin::Stage(later))
            });
            let span = culprit.map_or(stage.span, |step| step.instruction.span);
            if later == stage.index || self.reachable(later).contains(&stage.index) {
                return Err(self.error(PlanFault::Cycle(stage.label()), span));
            }
            let from = self.stages[later].label();
            return Err(self.error(PlanFault::LaterStage { from, stage: stage.label() }, span));
        }
        Ok(())
    }

    /// Returns `start` and all stages that it needs, directly or through others.
    fn reachable(&self, start: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::from([start]);
        let mut waiting = vec![start];
        while let Some(index) = waiting.pop() {
            for &next in &self.stages[index].dependencies {
                if reached.insert(next) {
                    waiting.push(next);
                }
            }
        }
        reached
    }

    fn mark_needed(&mut self) {
        let needed = if self.dialect.builds_unneeded_stages() {
            (0..=self.target).collect()
        } else {
            self.reachable(self.target)
        };
        for stage in &mut self.stages {
            stage.is_needed = needed.contains(&stage.index);
        }
    }

    /// Returns the stages to build, each one behind those that it needs.
    pub fn needed_stages(&self) -> impl Iterator<Item = &PlannedStage> {
        self.stages.iter().filter(|stage| stage.is_needed)
    }

    /// Returns the names of build arguments that no `ARG` declares and that mean nothing on their own.
    pub fn unused_build_arguments(&self) -> Vec<&str> {
        let names = self.build_arguments.keys().map(String::as_str);
        let is_special = |name: &str| {
            let is_platform = ["BUILD", "TARGET"].iter().any(|prefix| name.starts_with(prefix));
            super::scope::is_predefined(name, self.dialect)
                || self.dialect.has_platform_arguments()
                    && (name.starts_with("BUILDKIT_")
                        || name == "SOURCE_DATE_EPOCH"
                        || is_platform && self.globals.get(name).is_some())
        };
        names.filter(|name| !self.declared.contains(*name) && !is_special(name)).collect()
    }
}

fn parse_platform(written: &str, text: &str) -> Result<Platform, PlanFault> {
    if text.is_empty() {
        return Err(PlanFault::EmptyPlatform(written.to_owned()));
    }
    text.parse().map_err(|error: shale_oci::PlatformError| PlanFault::Platform {
        text: written.to_owned(),
        reason: error.to_string(),
    })
}
