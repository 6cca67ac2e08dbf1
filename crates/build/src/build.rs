//! The story of a build: stages in order, each step looked up, or done and committed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use shale_dockerfile::{
    Command, Dialect, Dockerfile, Instruction, Origin, Plan, PlanOptions, Span, StageScope, Step,
};
use shale_oci::{ImageConfig, ImageId, Platform};
use shale_rootfs::Whiteouts;
use shale_runtime::Runtime;
use shale_store::{HeldLayer, PublishedLayers, Store, UnsyncedNames};

use crate::cache::{Cache, Claim, Claims};
use crate::cache_source::CacheSource;
use crate::commit::whiteouts_of_process;
use crate::context::Context;
use crate::copy::source::MountedRoot;
use crate::error::BuildError;
use crate::options::{BuildOptions, ImageFormat, NamedContext};
use crate::parallel::Cancel;
use crate::ports::{Images, Output};
use crate::stage::StageState;
use crate::tree::KnownFiles;

/// What a build made. Its layers are held until this is dropped: give the image its name before.
#[must_use = "who collects garbage may take the image away before it has a name"]
#[derive(Debug)]
pub struct Built {
    /// The image.
    pub image: ImageId,
    /// The images of the stages that were built, in order; the last image before it was squashed among them.
    pub stages: Vec<ImageId>,
    /// The steps of all stages that were built, in order.
    pub steps: Vec<StepReport>,
    _kept: Kept,
}

/// What one step of a build came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// The first line of the instruction in the Dockerfile.
    pub line: usize,
    /// The instruction as written.
    pub text: String,
    /// The size of the files of its layer; `None` when it made no layer.
    pub size_bytes: Option<u64>,
    /// Whether the cache had it.
    pub is_cached: bool,
}

/// A failed build: why, and which instruction it was.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// Why.
    pub error: BuildError,
    /// The instruction's place in the Dockerfile.
    pub span: Option<Span>,
}

impl From<BuildError> for Failed {
    fn from(error: BuildError) -> Failed {
        Failed { span: error.span(), error }
    }
}

/// What a build keeps until it is over.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Layers that it made.
    pub published: Vec<PublishedLayers>,
    /// Layers that it uses.
    pub held: Vec<HeldLayer>,
    /// Names that are made durable at the end.
    pub unsynced: UnsyncedNames,
}

impl Kept {
    pub(crate) fn extend(&mut self, other: Kept) {
        self.published.extend(other.published);
        self.held.extend(other.held);
        self.unsynced.extend(other.unsynced);
    }
}

/// All that the steps of one build share.
pub(crate) struct Builder<'a> {
    pub store: &'a Store,
    pub options: &'a BuildOptions,
    pub context: &'a Context,
    pub images: &'a dyn Images,
    pub output: &'a dyn Output,
    pub dialect: Dialect,
    pub plan: Plan,
    pub cache: Arc<Mutex<Cache>>,
    pub claims: Arc<Claims>,
    pub known: Arc<KnownFiles>,
    pub sources: Arc<Vec<CacheSource>>,
    /// The step that this stage does right now.
    pub claim: Option<Claim>,
    pub whiteouts: Whiteouts,
    pub(crate) kept: Kept,
    /// Finished stages, by index.
    pub(crate) stages: HashMap<usize, StageState>,
    /// Whether the triggers of a stage's base are in the plan.
    pub(crate) ready: Vec<bool>,
    resolved: Arc<Resolved>,
    pub(crate) roots: HashMap<ImageId, Arc<MountedRoot>>,
    runtime: Arc<OnceLock<Runtime>>,
    pub(crate) cancel: Arc<Cancel>,
    pub(crate) step: usize,
    steps: usize,
    pub(crate) reports: Vec<StepReport>,
    pub(crate) is_cached: bool,
}

/// Images that `FROM` and `--from` name, by name and platform.
type Resolved = Mutex<HashMap<(String, Option<String>), ImageId>>;

/// Builds what `options` ask for of `dockerfile`, and returns the image; it has no name yet.
///
/// Images of finished steps stay in the store when a later one fails: they are the cache of the next attempt.
///
/// # Errors
/// [`Failed`].
pub fn build(
    store: &Store,
    dockerfile: &Dockerfile,
    context: &Context,
    options: &BuildOptions,
    images: &dyn Images,
    output: &dyn Output,
) -> Result<Built, Failed> {
    let target_platform = options.platform.clone().unwrap_or_else(Platform::host);
    let plan_options = PlanOptions {
        target: options.target.clone(),
        build_arguments: options.build_arguments.clone(),
        target_platform,
        named_contexts: options.named_contexts.keys().cloned().collect(),
        ..PlanOptions::default()
    };
    let plan = dockerfile.plan(&plan_options).map_err(BuildError::from)?;
    let ready = vec![false; plan.stages.len()];
    let mut builder = Builder {
        store,
        options,
        context,
        images,
        output,
        dialect: dockerfile.dialect,
        plan,
        cache: Arc::default(),
        claims: Arc::default(),
        known: Arc::new(KnownFiles::below(store.root().join("shale/build-files"))),
        sources: Arc::default(),
        claim: None,
        whiteouts: whiteouts_of_process(),
        kept: Kept::default(),
        stages: HashMap::new(),
        ready,
        resolved: Arc::default(),
        roots: HashMap::new(),
        runtime: Arc::default(),
        cancel: Arc::clone(&options.cancel),
        step: 0,
        steps: 0,
        reports: Vec::new(),
        is_cached: false,
    };
    builder.sources = Arc::new(builder.read_sources()?);
    if dockerfile.dialect.runs_stages_at_once() {
        builder.resolve_bases()?;
    }
    builder.steps = dockerfile.arguments.len()
        + builder.plan.needed_stages().map(|stage| builder.own_steps(stage.index)).sum::<usize>();
    if dockerfile.dialect == Dialect::Classic {
        builder.warn_of_empty_lines(dockerfile);
    }
    for argument in &dockerfile.arguments {
        builder.announce(&argument.text);
    }
    let built = builder.run_stages();
    builder.known.save();
    built
}

impl Builder<'_> {
    fn run_stages(&mut self) -> Result<Built, Failed> {
        let target = self.plan.target;
        if self.dialect.runs_stages_at_once() && self.plan.needed_stages().count() > 1 {
            self.run_stages_at_once()?;
        } else {
            for index in 0..self.plan.stages.len() {
                if self.plan.stages[index].is_needed {
                    self.run_stage(index)?;
                }
            }
        }
        let unused = self.plan.unused_build_arguments();
        if !unused.is_empty() {
            let text = format!("[Warning] One or more build-args [{}] were not consumed\n", unused.join(" "));
            self.output.text(&text);
        }
        let last = self.stages.get(&target).cloned().ok_or(BuildError::NoImage)?;
        let (mut image, base) = (last.image.ok_or(BuildError::NoImage)?, last.base);
        let mut stages: Vec<_> = self.stages.iter().collect();
        stages.sort_unstable_by_key(|(index, _)| **index);
        let stages = stages.into_iter().filter_map(|(_, stage)| stage.image).collect();
        if self.options.squash {
            image = self.squash(image, base)?;
        }
        if self.options.format == ImageFormat::BuildKit {
            image = self.write_for_buildkit(&last)?;
        }
        self.sync()?;
        let (steps, kept) = (std::mem::take(&mut self.reports), std::mem::take(&mut self.kept));
        Ok(Built { image, stages, steps, _kept: kept })
    }

    /// Returns a builder for one stage that knows what this one knows, and the finished stages `dependencies`.
    pub(crate) fn of_stage<'s>(
        &'s self,
        output: &'s dyn Output,
        dependencies: HashMap<usize, StageState>,
        step: usize,
    ) -> Builder<'s> {
        Builder {
            store: self.store,
            options: self.options,
            context: self.context,
            images: self.images,
            output,
            dialect: self.dialect,
            plan: self.plan.clone(),
            cache: Arc::clone(&self.cache),
            claims: Arc::clone(&self.claims),
            known: Arc::clone(&self.known),
            sources: Arc::clone(&self.sources),
            claim: None,
            whiteouts: self.whiteouts,
            kept: Kept::default(),
            stages: dependencies,
            ready: self.ready.clone(),
            resolved: Arc::clone(&self.resolved),
            roots: HashMap::new(),
            runtime: Arc::clone(&self.runtime),
            cancel: Arc::clone(&self.cancel),
            step,
            steps: self.steps,
            reports: Vec::new(),
            is_cached: false,
        }
    }

    /// Returns what must be held until the whole build is over, and hands over the reports.
    pub(crate) fn into_kept(self, hand_over: impl FnOnce(Vec<StepReport>)) -> Kept {
        hand_over(self.reports);
        self.kept
    }

    /// Returns how many steps a stage counts for: its `FROM`, its own instructions, and the labels of the user.
    pub(crate) fn own_steps(&self, index: usize) -> usize {
        let stage = &self.plan.stages[index];
        let labels = if index == self.plan.target { self.options.labels.len() } else { 0 };
        1 + stage.steps.iter().filter(|step| !step.is_trigger).count() + labels
    }

    pub(crate) fn run_stage(&mut self, index: usize) -> Result<(), Failed> {
        let (span, text) = (self.plan.stages[index].span, self.plan.stages[index].text.clone());
        let at = |span: Span| move |error: BuildError| Failed { span: error.span().or(Some(span)), error };
        self.announce(&text);
        let mut stage = self.start_stage(index).map_err(at(span))?;
        stage.base = stage.image;
        let triggers = self.plan.stages[index].steps.iter().filter(|step| step.is_trigger).count();
        let id = |stage: &StageState| stage.image.map(ImageId::short).unwrap_or_default();
        if triggers > 0 {
            let plural = if triggers == 1 { "" } else { "s" };
            self.output.text(&format!("# Executing {triggers} build trigger{plural}\n"));
        }
        for place in 0..triggers {
            let step = self.plan.stages[index].steps[place].clone();
            self.run_step(&mut stage, &step).map_err(at(span))?;
        }
        self.output.text(&format!(" ---> {}\n", id(&stage)));
        for place in triggers..self.plan.stages[index].steps.len() {
            if self.cancel.is_over() {
                return Err(BuildError::Cancelled.into());
            }
            let step = self.plan.stages[index].steps[place].clone();
            self.announce(&step.instruction.text);
            self.run_step(&mut stage, &step).map_err(at(step.instruction.span))?;
            self.output.text(&format!(" ---> {}\n", id(&stage)));
        }
        if index == self.plan.target {
            for (name, value) in &self.options.labels.clone() {
                let pair =
                    shale_dockerfile::Pair { name: name.clone(), value: value.clone(), is_legacy: false };
                self.announce(&format!("LABEL {name}={value}"));
                self.label(&mut stage, &[pair]).map_err(at(span))?;
                self.output.text(&format!(" ---> {}\n", id(&stage)));
            }
        }
        if let Some(image) = stage.image {
            self.output.stage(image);
        }
        self.stages.insert(index, stage);
        Ok(())
    }

    /// Says which instructions have an empty line inside, in the words and the colour of the classic builder.
    fn warn_of_empty_lines(&self, dockerfile: &Dockerfile) {
        let nodes = dockerfile.nodes.iter().filter(|node| node.empty_continuation.is_some());
        let warnings: String = nodes
            .map(|node| format!("[WARNING]: Empty continuation line found in:\n    {}\n", node.original))
            .collect();
        if !warnings.is_empty() {
            let end = "[WARNING]: Empty continuation lines will become errors in a future release.";
            self.output.text(&format!("\u{1b}[91m{warnings}{end}\n\u{1b}[0m"));
        }
    }

    fn announce(&mut self, text: &str) {
        self.step += 1;
        self.output.text(&format!("Step {}/{} : {text}", self.step, self.steps));
        self.output.text("\n");
    }

    fn start_stage(&mut self, index: usize) -> Result<StageState, BuildError> {
        let is_stage = |name: &String| {
            let stage = &self.plan.stages[index];
            stage.name.as_deref() == Some(&name.to_lowercase()) || *name == index.to_string()
        };
        let probes = !self.options.no_cache && !self.options.no_cache_stages.iter().any(is_stage);
        let base = self.plan.stages[index].base.clone();
        let platform = self.plan.stages[index].platform.clone().or_else(|| self.options.platform.clone());
        let mut stage = match base {
            Origin::Scratch | Origin::Context => {
                let platform = platform.unwrap_or_else(Platform::host);
                let scope = StageScope::from_image(&self.plan, []);
                StageState::on_scratch(&platform, scope, self.dialect, probes)
            }
            Origin::Stage(base) => {
                let base = self.stages.get(&base).expect("a stage depends only on earlier ones");
                let scope = StageScope::from_stage(&base.scope);
                let mut stage = base.clone();
                stage.scope = scope;
                stage.cmd_set = false;
                stage.probes = probes;
                stage.shares = probes;
                stage.run.env = Some(stage.scope.environment().to_list());
                if !self.dialect.inherits_author() {
                    stage.author = String::new();
                }
                stage
            }
            Origin::Image(name) => self.start_on_image(index, &name, probes)?,
            Origin::NamedContext(name) => match self.options.named_contexts.get(&name) {
                Some(NamedContext::Image(image)) => self.start_on_image(index, &image.clone(), probes)?,
                _ => {
                    return Err(BuildError::Unsupported(format!(
                        "the named context {name} is a directory; a stage starts from an image, so give \
                         --build-context {name}=docker-image://…"
                    )));
                }
            },
        };
        if stage.run.on_build.as_ref().is_some_and(|triggers| !triggers.is_empty()) {
            stage.run.on_build = None;
        }
        Ok(stage)
    }

    fn start_on_image(&mut self, index: usize, name: &str, probes: bool) -> Result<StageState, BuildError> {
        let (image, config) = self.take_in_triggers(index, name)?;
        let own = config.config.as_ref();
        let environment = own.and_then(|config| config.env.clone()).unwrap_or_default();
        let scope = StageScope::from_image(&self.plan, environment.iter().map(String::as_str));
        Ok(StageState::on_image(image, config, scope, probes))
    }

    /// Returns the base image of a stage; its triggers are then in the plan.
    pub(crate) fn take_in_triggers(
        &mut self,
        index: usize,
        name: &str,
    ) -> Result<(ImageId, ImageConfig), BuildError> {
        let platform = self.plan.stages[index].platform.clone().or_else(|| self.options.platform.clone());
        let image = self.resolve_image(name, platform.as_ref())?;
        let config = self.config_of(image)?;
        if !std::mem::replace(&mut self.ready[index], true) {
            let own = config.config.as_ref();
            let triggers = own.and_then(|config| config.on_build.clone()).unwrap_or_default();
            self.plan.add_triggers(index, &triggers)?;
        }
        Ok((image, config))
    }

    /// Returns the image that a Dockerfile names, held against deletion until the build is over.
    pub(crate) fn resolve_image(
        &mut self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<ImageId, BuildError> {
        let key = (name.to_owned(), platform.map(ToString::to_string));
        // Held while the image is fetched: stages that name the same one wait for it.
        let resolved = Arc::clone(&self.resolved);
        let mut resolved = resolved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = resolved.get(&key) {
            return Ok(*image);
        }
        let found = self.images.resolve(name, platform, self.options.refresh_bases);
        let image = found.map_err(|error| BuildError::Base { error, hint: self.stage_hint(name) })?;
        let config = self.config_of(image)?;
        if let Some(top) = shale_oci::ChainId::stack(&config.rootfs.diff_ids).pop() {
            self.kept.held.extend(self.store.hold_layer(top)?);
        }
        resolved.insert(key, image);
        Ok(image)
    }

    /// Says which stage an image's name was meant to be; the classic builder's words are docker's.
    fn stage_hint(&self, name: &str) -> String {
        match self.plan.nearest_stage(name) {
            Some(stage) if self.dialect != Dialect::Classic => format!(" (did you mean the stage {stage}?)"),
            _ => String::new(),
        }
    }

    pub(crate) fn config_of(&self, image: ImageId) -> Result<ImageConfig, BuildError> {
        let stored = self.store.image(image)?.ok_or(BuildError::ImageGone(image))?;
        Ok(ImageConfig::parse(&stored.config)?)
    }

    /// Returns what `origin` stands for, as an image; `None` for nothing at all.
    pub(crate) fn image_of(&mut self, origin: &Origin) -> Result<Option<ImageId>, BuildError> {
        match origin {
            Origin::Stage(index) => {
                Ok(self.stages.get(index).expect("a stage depends only on earlier ones").image)
            }
            Origin::Image(name) => {
                let platform = self.options.platform.clone();
                self.resolve_image(name, platform.as_ref()).map(Some)
            }
            Origin::NamedContext(name) => match self.options.named_contexts.get(name) {
                Some(NamedContext::Image(image)) => {
                    let (image, platform) = (image.clone(), self.options.platform.clone());
                    self.resolve_image(&image, platform.as_ref()).map(Some)
                }
                _ => Err(BuildError::Unsupported(format!("the named context {name} is no image"))),
            },
            Origin::Scratch => Ok(None),
            Origin::Context => Err(BuildError::Unsupported("this is no stage and no image".to_owned())),
        }
    }

    /// Returns the OCI runtime; looked for once.
    pub(crate) fn runtime(&self) -> Result<&Runtime, BuildError> {
        if self.runtime.get().is_none() {
            let mut runtime = Runtime::find(None)?;
            if let Some(supervisor) = &self.options.supervisor {
                runtime = runtime.with_supervisor(supervisor.clone());
            }
            let _ = self.runtime.set(runtime);
        }
        Ok(self.runtime.get().expect("set above"))
    }

    fn run_step(&mut self, stage: &mut StageState, step: &Step) -> Result<(), BuildError> {
        let defaults = self.argument_defaults(stage, &step.instruction)?;
        let command = stage.scope.resolve(step)?;
        let layers = stage.parent.rootfs.diff_ids.len();
        self.is_cached = false;
        self.dispatch(stage, step, &command, &defaults)?;
        self.note_for_buildkit(stage, &command, layers);
        let top = stage.top().filter(|_| stage.parent.rootfs.diff_ids.len() > layers);
        let layer = top.and_then(|top| self.store.find_layer(top).ok().flatten());
        self.reports.push(StepReport {
            line: step.instruction.span.start.line,
            text: step.instruction.text.clone(),
            size_bytes: layer.map(|layer| layer.size_bytes),
            is_cached: self.is_cached,
        });
        Ok(())
    }

    /// Returns what the history says of an `ARG`: names, with their defaults and never with what the user gave.
    fn argument_defaults(
        &self,
        stage: &StageState,
        instruction: &Instruction,
    ) -> Result<Vec<String>, BuildError> {
        let Command::Arg(arguments) = &instruction.command else { return Ok(Vec::new()) };
        let expander = shale_dockerfile::Expander::new(self.plan.escape, self.dialect);
        let mut words = Vec::with_capacity(arguments.len());
        for argument in arguments {
            words.push(match &argument.value {
                None => argument.name.clone(),
                Some(default) => {
                    let expanded = expander.expand(default, &stage.scope).map_err(|fault| {
                        let fault = shale_dockerfile::ResolveFault::Expand(fault);
                        shale_dockerfile::ResolveError { fault, span: instruction.span }
                    })?;
                    format!("{}={}", argument.name, expanded.text)
                }
            });
        }
        Ok(words)
    }
}
