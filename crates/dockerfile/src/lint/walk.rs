//! One walk over all stages, with the variables that hold at each step.

use std::collections::HashMap;

use shale_oci::{Platform, Reference};

use super::files::{Layers, Undoing, caches_left, downloaded, join};
use super::options::Options;
use super::shell::invocations;
use super::{Finding, LintContext, LintReport, Rule};
use crate::document::{Dockerfile, Stage};
use crate::expansion::{Expanded, Expander};
use crate::ignore::IgnoreFile;
use crate::instruction::{Argument, Command, CommandLine, Instruction, Pair, Run, Script, written_ports};
use crate::source::{Position, Span};
use crate::stage::{Environment, Origin, Plan, PlanOptions, PlannedStage, StageScope};
use crate::suggest::{hint, nearest};

pub(super) struct Walk<'a> {
    dockerfile: &'a Dockerfile,
    context: &'a LintContext<'a>,
    options: Options,
    report: LintReport,
}

/// What is known at one point of a stage.
#[derive(Clone)]
struct State {
    scope: StageScope,
    /// Whether all variables of the base are known.
    knows_base: bool,
    has_shell: bool,
    has_workdir: bool,
    workdir: String,
    layers: Layers,
    /// The last `CMD`, `ENTRYPOINT` and `HEALTHCHECK` of this stage.
    once: HashMap<&'static str, Span>,
}

impl<'a> Walk<'a> {
    pub fn run(dockerfile: &'a Dockerfile, context: &'a LintContext<'a>) -> LintReport {
        let given = context.build_arguments.get("BUILDKIT_DOCKERFILE_CHECK").map(String::as_str);
        let text = given.or(dockerfile.directives.check.as_deref()).unwrap_or("");
        let (options, fault) = match Options::parse(text) {
            Ok(options) => (options, None),
            Err(part) => (
                Options::default(),
                Some(format!("failed to parse check options: invalid check option {part:?}")),
            ),
        };
        let findings_are_errors = options.findings_are_errors;
        let mut walk = Walk { dockerfile, context, options, report: LintReport::default() };
        walk.look_at_words();
        walk.look_at_stages();
        let mut report = walk.report;
        report.findings.sort_by_key(|finding| (finding.span, finding.rule));
        report.build_error = fault.or(report.build_error);
        // The line was written for BuildKit: what only we find must not end a build that passes there.
        let counts = |finding: &Finding| finding.rule.is_buildkits();
        report.findings_are_errors = findings_are_errors && report.findings.iter().any(counts);
        report
    }

    fn find(&mut self, options: &Options, rule: Rule, span: Span, message: String) {
        self.find_related(options, rule, span, None, message);
    }

    fn find_related(
        &mut self,
        options: &Options,
        rule: Rule,
        span: Span,
        related: Option<Span>,
        message: String,
    ) {
        if options.runs(rule) {
            self.report.findings.push(Finding { rule, message, span, related });
        }
    }

    // --- rules that need no variables ---

    fn look_at_words(&mut self) {
        let dockerfile = self.dockerfile;
        for node in &dockerfile.nodes {
            let options = self.options.below(&node.comments);
            if let Some(line) = node.empty_continuation {
                let span = Span { start: Position { line, column: 1 }, end: Position { line, column: 1 } };
                let own = self.options.clone();
                self.find(&own, Rule::NoEmptyContinuation, span, "Empty continuation line".to_owned());
            }
            match node.keyword.to_ascii_uppercase().as_str() {
                "MAINTAINER" => {
                    let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
                    self.find(&options, Rule::MaintainerDeprecated, node.span, message);
                }
                "FROM" => {
                    let [_, keyword, name] = &node.arguments[..] else { continue };
                    if name.text != name.text.to_lowercase() {
                        let message = format!("Stage name '{}' should be lowercase", name.text);
                        self.find(&options, Rule::StageNameCasing, node.span, message);
                    }
                    if !cases_agree(&node.keyword, &keyword.text) {
                        let message = format!(
                            "'{}' and '{}' keywords' casing do not match",
                            keyword.text, node.keyword
                        );
                        self.find(&options, Rule::FromAsCasing, node.span, message);
                    }
                    self.check_description(
                        &options,
                        "FROM",
                        &[name.text.to_lowercase()],
                        &node.comments,
                        node.span,
                    );
                }
                "ARG" => {
                    let names = node
                        .arguments
                        .iter()
                        .map(|word| word.text.split('=').next().unwrap_or("").to_owned());
                    let names: Vec<String> = names.collect();
                    self.check_description(&options, "ARG", &names, &node.comments, node.span);
                }
                _ => {}
            }
        }
        self.check_stage_names();
        self.check_casing();
    }

    fn check_description(
        &mut self,
        options: &Options,
        keyword: &str,
        names: &[String],
        comments: &[String],
        span: Span,
    ) {
        let (Some(comment), Some(first)) = (comments.last(), names.first()) else { return };
        if names.iter().any(|name| comment.split(' ').next() == Some(name)) {
            return;
        }
        let example = if names.len() > 1 { "<arg_key>" } else { first };
        let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
        self.find(options, Rule::InvalidDefinitionDescription, span, message);
    }

    fn check_stage_names(&mut self) {
        let mut seen = std::collections::HashSet::new();
        let (stages, options) = (&self.dockerfile.stages, self.options.clone());
        for (stage, name) in stages.iter().filter_map(|stage| Some((stage, stage.name.as_deref()?))) {
            if matches!(name, "context" | "scratch") {
                let message = format!("Stage name should not use the same name as reserved stage {name:?}");
                self.find(&options, Rule::ReservedStageName, stage.span, message);
            }
            if !seen.insert(name) {
                let message = format!("Duplicate stage name {name:?}, stage names should be unique");
                self.find(&options, Rule::DuplicateStageName, stage.span, message);
            }
        }
    }

    fn check_casing(&mut self) {
        let dockerfile = self.dockerfile;
        let keywords: Vec<(&str, Span)> = dockerfile
            .stages
            .iter()
            .flat_map(|stage| {
                let own = std::iter::once((stage.keyword.as_str(), stage.span));
                own.chain(stage.instructions.iter().map(|own| (own.keyword.as_str(), own.span)))
            })
            .collect();
        let lower = keywords.iter().filter(|(keyword, _)| *keyword == keyword.to_lowercase()).count();
        let upper = keywords.iter().filter(|(keyword, _)| *keyword == keyword.to_uppercase()).count();
        let wants_lower = lower > upper;
        let options = self.options.clone();
        for (keyword, span) in keywords {
            let (wanted, name) = if wants_lower {
                (keyword.to_lowercase(), "lowercase")
            } else {
                (keyword.to_uppercase(), "uppercase")
            };
            if wanted != keyword {
                let message =
                    format!("Command '{keyword}' should match the case of the command majority ({name})");
                self.find(&options, Rule::ConsistentInstructionCasing, span, message);
            }
        }
    }

    // --- rules about stages and steps ---

    fn look_at_stages(&mut self) {
        let options = self.context.plan_options();
        self.check_defaults(&options);
        self.check_bases(&options);
        let plan = match self.dockerfile.plan(&options) {
            Ok(plan) => plan,
            Err(error) => {
                self.report.build_error = Some(error.fault.to_string());
                return;
            }
        };
        let mut ends: Vec<Option<State>> = Vec::with_capacity(plan.stages.len());
        for stage in &plan.stages {
            let state = self.start(&plan, stage, &ends);
            let end = self.walk_stage(stage, state);
            ends.push(end);
        }
    }

    /// Checks that `FROM` names something when no build argument is given.
    fn check_defaults(&mut self, options: &PlanOptions) {
        let bare = PlanOptions { build_arguments: Default::default(), ..options.clone() };
        let Some(last) = self.dockerfile.stages.last() else { return };
        let Ok(globals) = self.dockerfile.globals(&bare, last) else { return };
        let (dockerfile, own) = (self.dockerfile, self.options.clone());
        for stage in &dockerfile.stages {
            let Ok(base) = self.expander().expand(&stage.base, &globals) else { return };
            if Reference::parse(&base.text).is_err() {
                let message = format!(
                    "Default value for ARG {} results in empty or invalid base image name",
                    stage.base
                );
                self.find(&own, Rule::InvalidDefaultArgInFrom, stage.span, message);
            }
        }
    }

    fn expander(&self) -> Expander {
        Expander::new(self.dockerfile.directives.escape, self.dockerfile.dialect)
    }

    /// Checks the words of the `FROM` lines with the build arguments that are given.
    fn check_bases(&mut self, options: &PlanOptions) {
        let dockerfile = self.dockerfile;
        let Some(last) = dockerfile.stages.last() else { return };
        let Ok(globals) = dockerfile.globals(options, last) else { return };
        let names = self.known_in_from(&globals);
        for stage in &dockerfile.stages {
            self.check_from(stage, &globals, &names);
        }
    }

    fn known_in_from(&self, globals: &Environment) -> Vec<String> {
        let declared =
            self.dockerfile.arguments.iter().filter_map(|instruction| match &instruction.command {
                Command::Arg(arguments) => Some(arguments.iter().map(|argument| argument.name.clone())),
                _ => None,
            });
        declared.flatten().chain(globals.iter().map(|(name, _)| name.to_owned())).collect()
    }

    fn check_from(&mut self, stage: &Stage, globals: &Environment, names: &[String]) {
        let options = self.options.below(&stage.comments);
        if let Ok(base) = self.expander().expand(&stage.base, globals) {
            self.check_from_words(&options, stage, &base, names);
        }
        let Some(platform) = &stage.platform else { return };
        let Ok(expanded) = self.expander().expand(platform, globals) else { return };
        self.check_from_words(&options, stage, &expanded, names);
        let uses_variables = !expanded.matched.is_empty() || !expanded.unmatched.is_empty();
        if expanded.matched == ["TARGETPLATFORM"]
            && expanded.unmatched.is_empty()
            && globals.get("TARGETPLATFORM") == Some(&expanded.text)
        {
            let message = format!(
                "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
            );
            self.find(&options, Rule::RedundantTargetPlatform, stage.span, message);
        }
        let Ok(parsed) = expanded.text.parse::<Platform>() else { return };
        let name = stage.name.as_deref().unwrap_or("");
        if !uses_variables && !name.contains(&parsed.os) && !name.contains(&parsed.architecture) {
            let message = format!("FROM --platform flag should not use constant value {:?}", expanded.text);
            self.find(&options, Rule::FromPlatformFlagConstDisallowed, stage.span, message);
        }
    }

    fn check_from_words(&mut self, options: &Options, stage: &Stage, expanded: &Expanded, names: &[String]) {
        for name in expanded.unmatched.iter().filter(|name| !names.contains(name)) {
            let suggestion = nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
            let message = format!("FROM argument '{name}' is not declared{}", hint(&suggestion));
            self.find(options, Rule::UndefinedArgInFrom, stage.span, message);
        }
    }

    fn start(&mut self, plan: &Plan, stage: &PlannedStage, ends: &[Option<State>]) -> State {
        if let Origin::Stage(base) = stage.base
            && let Some(Some(end)) = ends.get(base)
        {
            return State { scope: StageScope::from_stage(&end.scope), once: HashMap::new(), ..end.clone() };
        }
        let image = match &stage.base {
            Origin::Image(name) => self.context.base_images.get(name),
            _ => None,
        };
        if let (Some(actual), Origin::Image(name)) =
            (image.and_then(|image| image.platform.as_ref()), &stage.base)
        {
            let expected =
                stage.platform.clone().unwrap_or_else(|| self.context.plan_options().target_platform);
            if actual.os != expected.os || actual.architecture != expected.architecture {
                let (actual, expected) = (actual.to_string(), expected.to_string());
                let message = format!(
                    "Base image {name} was pulled with platform {actual:?}, expected {expected:?} for current build"
                );
                let options = self.options.clone();
                self.find(&options, Rule::InvalidBaseImagePlatform, stage.span, message);
            }
        }
        let environment = image.map_or(&[][..], |image| &image.environment[..]);
        State {
            scope: StageScope::from_image(plan, environment.iter().map(String::as_str)),
            knows_base: image.is_some() || stage.base == Origin::Scratch,
            has_shell: image.is_some_and(|image| image.has_shell),
            has_workdir: false,
            workdir: "/".to_owned(),
            layers: Layers::default(),
            once: HashMap::new(),
        }
    }

    /// Returns what is known at the end of the stage; nothing when a step makes no sense.
    fn walk_stage(&mut self, stage: &PlannedStage, mut state: State) -> Option<State> {
        for step in &stage.steps {
            let instruction = &step.instruction;
            let options = self.options.below(&instruction.comments);
            let resolved = state.scope.resolve(step);
            self.check_variables(&options, instruction, &state);
            match resolved {
                Ok(command) => {
                    let from_context = step.origin == Some(Origin::Context);
                    self.check_command(&options, instruction, &command, from_context, &mut state);
                }
                Err(error) => {
                    self.report.build_error.get_or_insert(error.fault.to_string());
                    return None;
                }
            }
        }
        Some(state)
    }

    fn check_variables(&mut self, options: &Options, instruction: &Instruction, state: &State) {
        /// Among more names than this none is looked for.
        const NAMES_MAX: usize = 1_000;
        let own: Vec<&str> = match &instruction.command {
            Command::Arg(arguments) => arguments.iter().map(|argument| argument.name.as_str()).collect(),
            _ => Vec::new(),
        };
        if state.scope.unmatched.is_empty() {
            return;
        }
        let names = state.scope.names().into_iter().take(NAMES_MAX).filter(|name| !own.contains(name));
        let names: Vec<&str> = names.collect();
        for name in &state.scope.unmatched {
            let suggestion = nearest(name, names.iter().copied()).map(str::to_owned);
            // Where the base's variables are unknown, only a near miss is worth a word.
            if !state.knows_base && suggestion.is_none() {
                continue;
            }
            let suggestion = suggestion.map(|name| format!("${name}"));
            let message = format!("Usage of undefined variable '${name}'{}", hint(&suggestion));
            self.find(options, Rule::UndefinedVar, instruction.span, message);
        }
    }

    fn check_command(
        &mut self,
        options: &Options,
        instruction: &Instruction,
        command: &Command,
        from_context: bool,
        state: &mut State,
    ) {
        let span = instruction.span;
        match command {
            Command::Cmd(line) | Command::Entrypoint(line) => {
                self.check_once(options, instruction, state);
                if matches!(line, CommandLine::Shell(_)) && !state.has_shell {
                    let message = format!(
                        "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                        instruction.keyword
                    );
                    self.find(options, Rule::JSONArgsRecommended, span, message);
                }
            }
            Command::Healthcheck(_) => self.check_once(options, instruction, state),
            Command::Shell(_) => state.has_shell = true,
            Command::Env(pairs) => {
                self.check_pairs(options, instruction, pairs);
                for pair in pairs {
                    self.check_secret(options, "ENV", &pair.name, Some(&pair.value), span);
                }
            }
            Command::Label(pairs) => self.check_pairs(options, instruction, pairs),
            Command::Arg(arguments) => self.check_arguments(options, instruction, arguments),
            Command::Expose(words) => self.check_ports(options, words, span),
            Command::Workdir(path) => {
                if !state.has_workdir && !path.starts_with('/') {
                    let message = format!(
                        "Relative workdir {path:?} can have unexpected results if the base image changes"
                    );
                    self.find(options, Rule::WorkdirRelativePath, span, message);
                }
                state.has_workdir = true;
                state.workdir = join(&state.workdir, path);
            }
            Command::Copy(copy) => {
                if from_context {
                    self.check_ignored(options, "Copy", &copy.sources, span);
                }
                add_to_layers(state, &copy.sources, &copy.destination, span);
            }
            Command::Add(add) => {
                self.check_ignored(options, "Add", &add.sources, span);
                add_to_layers(state, &add.sources, &add.destination, span);
            }
            Command::Run(run) => self.check_run(options, run, span, state),
            Command::Maintainer(_)
            | Command::Onbuild(_)
            | Command::StopSignal(_)
            | Command::User(_)
            | Command::Volume(_) => {}
        }
    }

    fn check_once(&mut self, options: &Options, instruction: &Instruction, state: &mut State) {
        let earlier = state.once.insert(instruction.command.keyword(), instruction.span);
        if let Some(earlier) = earlier {
            let message = format!(
                "Multiple {} instructions should not be used in the same stage because only the last one will be used",
                instruction.keyword
            );
            self.find_related(
                options,
                Rule::MultipleInstructionsDisallowed,
                earlier,
                Some(instruction.span),
                message,
            );
        }
    }

    fn check_pairs(&mut self, options: &Options, instruction: &Instruction, pairs: &[Pair]) {
        if pairs.iter().any(|pair| pair.is_legacy) {
            let keyword = &instruction.keyword;
            let message = format!(
                "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
            );
            self.find(options, Rule::LegacyKeyValueFormat, instruction.span, message);
        }
    }

    fn check_arguments(&mut self, options: &Options, instruction: &Instruction, resolved: &[Argument]) {
        let Command::Arg(written) = &instruction.command else { return };
        for (argument, written) in resolved.iter().zip(written) {
            // Only what stands in the file is a leak of the file; a value from outside is not.
            self.check_secret(options, "ARG", &argument.name, written.value.as_deref(), instruction.span);
        }
    }

    fn check_secret(
        &mut self,
        options: &Options,
        keyword: &str,
        name: &str,
        value: Option<&str>,
        span: Span,
    ) {
        const SECRET: [&str; 10] = [
            "apikey",
            "auth",
            "credential",
            "credentials",
            "key",
            "password",
            "pword",
            "passwd",
            "secret",
            "token",
        ];
        const HARMLESS: [&str; 3] = ["public", "file", "version"];
        let lower = name.to_lowercase();
        let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
        if has(&SECRET) && !has(&HARMLESS) {
            let message =
                format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
            self.find(options, Rule::SecretsUsedInArgOrEnv, span, message);
        } else if value.is_some_and(looks_like_credential) {
            let message = format!(
                "The value of {keyword} {name:?} looks like a credential; use RUN --mount=type=secret"
            );
            self.find(options, Rule::SecretValueInArgOrEnv, span, message);
        }
    }

    fn check_ports(&mut self, options: &Options, words: &[String], span: Span) {
        for word in words {
            let (protocol, has_host) = written_ports(word);
            if protocol != protocol.to_lowercase() {
                let message = format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
                self.find(options, Rule::ExposeProtoCasing, span, message);
            }
            if has_host {
                let message = format!(
                    "EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
                );
                self.find(options, Rule::ExposeInvalidFormat, span, message);
            }
        }
    }

    fn check_ignored(&mut self, options: &Options, verb: &str, sources: &[String], span: Span) {
        let Some(ignore) = self.context.ignore_file.filter(|ignore| !ignore.has_exceptions()) else { return };
        for source in sources {
            let path = join("/", source);
            let path = path.trim_start_matches('/');
            let is_root = path.is_empty();
            if is_root && ignores_everything(ignore) || !is_root && ignore.matches(path) {
                let shown = if is_root { source.as_str() } else { path };
                let message =
                    format!("Attempting to {verb} file {shown:?} that is excluded by .dockerignore");
                self.find(options, Rule::CopyIgnoredFile, span, message);
            }
        }
    }

    fn check_run(&mut self, options: &Options, run: &Run, span: Span, state: &mut State) {
        let text = match run.script() {
            Script::Shell(text) | Script::File { content: text, .. } => text,
            Script::Exec(_) => return,
        };
        let invocations = invocations(&text);
        for (undoing, path, added) in
            invocations.iter().flat_map(|invocation| state.layers.undone(invocation, &state.workdir))
        {
            let line = added.start.line;
            let (rule, message) = match undoing {
                Undoing::Deletes => (
                    Rule::LayerDeletesEarlier,
                    format!(
                        "{path} is deleted here, but the layer of line {line} keeps it; delete it in the same step"
                    ),
                ),
                Undoing::Rewrites => (
                    Rule::LayerRewritesEarlier,
                    format!(
                        "{path} is stored a second time, after line {line}; use --chown or --chmod there"
                    ),
                ),
            };
            self.find_related(options, rule, span, Some(added), message);
        }
        let pip_is_off = state.scope.value("PIP_NO_CACHE_DIR").is_some();
        for message in caches_left(&invocations, &run.mounts, pip_is_off) {
            self.find(options, Rule::PackageCacheLeft, span, message);
        }
        let deleted_here: Vec<String> = invocations
            .iter()
            .filter(|invocation| invocation.program == "rm")
            .flat_map(|invocation| invocation.operands().map(|path| join(&state.workdir, path)))
            .collect();
        for path in invocations.iter().filter_map(downloaded) {
            let path = join(&state.workdir, path);
            if !deleted_here.contains(&path) {
                state.layers.add(path, span);
            }
        }
    }
}

/// Whether the case of `AS` follows that of `FROM`; a `FROM` of mixed case is another rule's business.
fn cases_agree(from: &str, keyword: &str) -> bool {
    if from == from.to_lowercase() {
        keyword == keyword.to_lowercase()
    } else {
        from != from.to_uppercase() || keyword == keyword.to_uppercase()
    }
}

fn ignores_everything(ignore: &IgnoreFile) -> bool {
    ignore.rules().iter().any(|rule| matches!(rule.pattern.as_str(), "*" | "**" | "**/*"))
}

/// Notes where the sources of a copy end up. A whole directory copied to `/` says nothing about single paths.
fn add_to_layers(state: &mut State, sources: &[String], destination: &str, span: Span) {
    let target = join(&state.workdir, destination);
    let is_directory = destination.ends_with('/') || matches!(destination, "." | "./") || target == "/";
    for source in sources {
        let name = source.trim_end_matches('/').rsplit('/').next().unwrap_or("");
        if is_directory && !name.is_empty() && name != "." && !name.contains(['*', '?', '[']) {
            state.layers.add(join(&target, name), span);
        }
        if target != "/" {
            state.layers.add(target.clone(), span);
        }
    }
}

/// Whether a value has the shape of a well-known kind of credential.
fn looks_like_credential(value: &str) -> bool {
    const PREFIXES: [(&str, usize); 9] = [
        ("AKIA", 20),
        ("ASIA", 20),
        ("ghp_", 30),
        ("gho_", 30),
        ("ghs_", 30),
        ("github_pat_", 30),
        ("glpat-", 20),
        ("xoxb-", 20),
        ("sk_live_", 20),
    ];
    if PREFIXES.iter().any(|(prefix, length)| value.starts_with(prefix) && value.len() >= *length) {
        return true;
    }
    if value.contains("-----BEGIN ") && value.contains("PRIVATE KEY-----") {
        return true;
    }
    // A password inside a URL: scheme://user:password@host.
    let Some((_, rest)) = value.split_once("://") else { return false };
    let authority = rest.split('/').next().unwrap_or("");
    let Some((user, _)) = authority.rsplit_once('@') else { return false };
    user.split_once(':').is_some_and(|(_, password)| !password.is_empty() && !password.starts_with('$'))
}
