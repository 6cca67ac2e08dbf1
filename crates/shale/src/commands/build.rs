//! `shale build`.

mod cache;
mod flags;
mod input;
mod live;
mod output;

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use anyhow::{Context as _, anyhow};
use jiff::Zoned;
use shale_build::{
    BuildError, BuildOptions, Built, Context as BuildContext, Failed, Images, Output, PortError, StepReport,
    Supervisor,
};
use shale_dockerfile::{Dialect, Dockerfile, LintContext, ParseFault};
use shale_engine::Engine;
use shale_oci::{ImageConfig, ImageId, Platform, Reference};

use super::{Failure, SUPERVISE};
use crate::cli::Build;
use crate::context::{Context, ShownProgress};
use crate::terminal::output::stdout;
use crate::terminal::screen;
use crate::terminal::units::human_size;
use flags::Shown;
use input::Input;
use live::Live;

/// Builds an image.
pub fn run(context: &Context, build: &Build) -> Result<(), Failure> {
    let dialect = flags::dialect(build.dialect.as_deref())?;
    let outputs = output::destinations(&build.outputs)?;
    let mut tags = flags::tags(&build.tags)?;
    tags.extend(outputs.iter().flat_map(|output| output.names().iter().cloned()));
    let (cache_sources, cache_targets) =
        (cache::sources(&build.cache_from)?, cache::targets(&build.cache_to)?);
    let shown = flags::shown(build)?;
    let mut options = flags::options(build)?;
    options.keep_failed_root = dialect != Dialect::Classic;
    options.supervisor = Some(Supervisor { program: "/proc/self/exe".into(), args: vec![SUPERVISE.into()] });
    // A container's root is nobody else's business; without the right to it the mounts are made where we are.
    if let Err(error) = shale_build::enter_mount_namespace() {
        tracing::debug!(%error, "no mount namespace of the build's own");
    }
    let engine = context.engine()?;
    let input = Input::read(context, &engine, build, dialect)?;
    let parsed = Dockerfile::parse(&input.dockerfile, &input.file_name, dialect);
    let dockerfile = parsed.map_err(|error| {
        // Docker finds these while it builds; the words are the same without its prefix.
        let is_late = matches!(error.fault, ParseFault::NeedsBuildKit(_) | ParseFault::DuplicateStageName(_));
        let prefix = if is_late && dialect == Dialect::Classic { "" } else { prefix(dialect) };
        eprintln!("{prefix}{}", error.docker_message(dialect));
        if dialect != Dialect::Classic {
            eprint!("{}", error.excerpt());
        }
        Failure::Reported { exit_code: 1 }
    })?;
    if build.check {
        return check(&dockerfile, &input.context, &options);
    }
    let is_piped = outputs.iter().any(output::Destination::is_stdout);
    let is_quiet = shown == Shown::Quiet;
    let live = (shown == Shown::Live && !is_piped).then(|| Mutex::new(Live::start()));
    let output = Text { is_quiet, is_piped, live, kept: Mutex::new(String::new()) };
    let bases = Bases { context, engine: &engine, is_quiet: is_quiet || is_piped || output.live.is_some() };
    options.cache_from = cache::fetch(&cache_sources, &engine, &bases, options.platform.as_ref());
    let built = shale_build::build(engine.store(), &dockerfile, &input.context, &options, &bases, &output);
    // Kept to the end: it holds the layers until the image has its names.
    let built = built.map_err(|failed| report(&failed, &dockerfile, dialect, &output))?;
    let Built { image, ref stages, ref steps, .. } = built;
    if build.verify {
        let again = BuildOptions { no_cache: true, ..options };
        let built = shale_build::build(engine.store(), &dockerfile, &input.context, &again, &bases, &output);
        let built = built.map_err(|failed| report(&failed, &dockerfile, dialect, &output))?;
        verify(&engine, (image, steps), (built.image, &built.steps))?;
        output.text(&format!("Verified: two builds made {}\n", image.short()));
    }
    if let Some(path) = &build.iid_file {
        std::fs::write(path, image.to_string())
            .with_context(|| format!("could not write {}", path.display()))?;
    }
    output.text(&format!("Successfully built {}\n", image.short()));
    for tag in &tags {
        engine.tag_image(image, tag, &Zoned::now())?;
        output.text(&format!("Successfully tagged {}\n", tag.familiar()));
    }
    for output in &outputs {
        output.deliver(context, &engine, image, &tags)?;
    }
    for target in &cache_targets {
        target.deliver(context, &engine, image, stages)?;
    }
    if is_piped {
        return Ok(());
    }
    if is_quiet {
        println!("{image}");
    } else if io::stdout().is_terminal() {
        drop(output);
        print_table(steps);
    }
    Ok(())
}

/// Says where two builds of one Dockerfile differ.
fn verify(
    engine: &Engine,
    first: (ImageId, &[StepReport]),
    second: (ImageId, &[StepReport]),
) -> Result<(), Failure> {
    if first.0 == second.0 {
        return Ok(());
    }
    let layers = |image: ImageId| -> Result<Vec<shale_oci::DiffId>, anyhow::Error> {
        let stored = engine.load_image(&image.to_string())?;
        Ok(ImageConfig::parse(&stored.config)?.rootfs.diff_ids)
    };
    let (one, other) = (layers(first.0)?, layers(second.0)?);
    let made: Vec<&StepReport> = first.1.iter().filter(|step| step.size_bytes.is_some()).collect();
    let below = one.len().saturating_sub(made.len());
    let differs = one.iter().zip(&other).position(|(one, other)| one != other);
    let step = differs.and_then(|layer| made.get(layer.checked_sub(below)?));
    let place = step.map_or_else(
        || "in their configs".to_owned(),
        |step| format!("first in the layer of line {}: {}", step.line, step.text),
    );
    Err(anyhow!("two builds made {} and {}; they differ {place}", first.0.short(), second.0.short()).into())
}

/// Prints which line made which layer: for people, so not where a program reads.
fn print_table(steps: &[StepReport]) {
    println!("\n{:>4}  {:>10}  {:6}  INSTRUCTION", "LINE", "SIZE", "CACHE");
    for step in steps.iter().filter(|step| step.size_bytes.is_some()) {
        let size = human_size(step.size_bytes.unwrap_or_default());
        let text: String = step.text.chars().take(60).collect();
        let cached = if step.is_cached { "cached" } else { "" };
        println!("{:>4}  {size:>10}  {cached:6}  {}", step.line, screen::escape_lines(&text));
    }
}

/// What stands in front of a message that comes before the build: the words of docker's own program.
fn prefix(dialect: Dialect) -> &'static str {
    if dialect == Dialect::Classic { "Error response from daemon: " } else { "Error: " }
}

fn report(failed: &Failed, dockerfile: &Dockerfile, dialect: Dialect, output: &Text) -> Failure {
    output.show_kept();
    if let Some(log) = output.live.as_ref().and_then(|live| locked(live).keep_log()) {
        eprintln!("The whole log is in {}", log.display());
    }
    let message = failed.error.docker_message(dialect);
    if dialect == Dialect::Classic {
        // What docker's daemon finds before it builds reaches the user as the daemon's answer.
        let is_early = matches!(failed.error, BuildError::Plan(_)) && message.contains("build target");
        eprintln!("{}{message}", if is_early { prefix(dialect) } else { "" });
    } else {
        if let Some(span) = failed.span {
            eprint!("{}", shale_build::excerpt(dockerfile, span));
        }
        eprintln!("Error: {message}");
        let mut cause = std::error::Error::source(&failed.error);
        while let Some(next) = cause {
            let text = next.to_string();
            if !message.contains(&text) {
                eprintln!("  because: {text}");
            }
            cause = next.source();
        }
    }
    Failure::Reported { exit_code: failed.error.exit_code() }
}

/// Prints what the lint finds; fails where the Dockerfile asks for that, or cannot be built.
fn check(dockerfile: &Dockerfile, context: &BuildContext, options: &BuildOptions) -> Result<(), Failure> {
    let lint = LintContext {
        build_arguments: options.build_arguments.clone(),
        target: options.target.clone(),
        ignore_file: Some(context.ignore_file()),
        ..LintContext::default()
    };
    let report = shale_dockerfile::lint(dockerfile, &lint);
    if report.findings.is_empty() && report.build_error.is_none() {
        println!("Check complete, no warnings found.");
        return Ok(());
    }
    let count = report.findings.len();
    println!(
        "Check complete, {count} {} found!",
        if count == 1 { "warning has been" } else { "warnings have been" }
    );
    for finding in &report.findings {
        println!("\nWARNING: {}\n{}\n", finding.rule.name(), finding.message);
        print!("{}", shale_build::excerpt(dockerfile, finding.span));
    }
    if let Some(error) = &report.build_error {
        eprintln!("Error: {error}");
        return Err(Failure::Reported { exit_code: 1 });
    }
    if report.findings_are_errors {
        return Err(Failure::Reported { exit_code: 1 });
    }
    Ok(())
}

/// Shows the builder's text, or keeps it for the case that the build fails.
struct Text {
    is_quiet: bool,
    /// Standard output is the image's.
    is_piped: bool,
    /// The view, where a person looks on.
    live: Option<Mutex<Live>>,
    kept: Mutex<String>,
}

impl Text {
    /// Shows what was held back of a build that failed.
    fn show_kept(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        eprint!("{kept}");
        if let Some(live) = &self.live {
            eprint!("{}", screen::escape_lines(&locked(live).end()));
        }
    }
}

fn locked(live: &Mutex<Live>) -> std::sync::MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Output for Text {
    fn kept_root(&self, image: ImageId) {
        let id = image.short();
        self.note(&format!("The root of the failed step is kept: shale run -it --rm {id}\n"));
    }

    fn yield_terminal(&self, why: &str) {
        self.show_kept();
        eprintln!("{}", screen::escape_lines(why));
        eprintln!("This is a shell in the root of the failed step; the build ends with it.");
    }

    fn note(&self, text: &str) {
        match &self.live {
            Some(live) => locked(live).note(text),
            None => eprint!("{text}"),
        }
    }

    fn text(&self, text: &str) {
        if self.is_quiet {
            self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push_str(text);
            return;
        }
        if self.is_piped {
            eprint!("{text}");
            return;
        }
        if let Some(live) = &self.live {
            return locked(live).text(text);
        }
        let mut stdout = stdout();
        // A reader that went away does not stop the build.
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }
}

/// Base images: those of the store, and of registries.
struct Bases<'a> {
    context: &'a Context,
    engine: &'a Engine,
    is_quiet: bool,
}

impl Images for Bases<'_> {
    fn resolve(&self, name: &str, platform: Option<&Platform>, refresh: bool) -> Result<ImageId, PortError> {
        let mut hint = String::new();
        if !refresh
            && let Ok(image) = self.engine.load_image(name)
            && let Ok(config) = ImageConfig::parse(&image.config)
        {
            let own = config.platform();
            match platform.filter(|wanted| wanted.choose([Some(&own)].into_iter()).is_none()) {
                None => return Ok(image.id),
                Some(wanted) => hint = format!("the {name} that is here is for {own}, not for {wanted}"),
            }
        }
        let pulled = self.pull(name, platform);
        pulled.map_err(|failure| match failure {
            Failure::Error(error) if !hint.is_empty() => error.context(hint).into(),
            other => port_error(other),
        })
    }

    fn download(&self, url: &str, out: &mut (dyn Write + Send)) -> Result<Option<i64>, PortError> {
        self.fetch(url, out).map_err(port_error)
    }
}

fn port_error(failure: Failure) -> PortError {
    match failure {
        Failure::Error(error) => error.into(),
        Failure::Reported { .. } | Failure::Interrupted => "interrupted".into(),
    }
}

impl Bases<'_> {
    fn fetch(&self, url: &str, out: &mut (dyn Write + Send)) -> Result<Option<i64>, Failure> {
        let last_modified = self.context.download(url, out)?;
        // A date that cannot be read is none, as in Docker.
        let parser = jiff::fmt::rfc2822::DateTimeParser::new();
        let changed = last_modified.and_then(|text| parser.parse_timestamp(&text).ok());
        Ok(changed.map(|time| time.as_second()))
    }

    fn pull(&self, name: &str, platform: Option<&Platform>) -> Result<ImageId, Failure> {
        let reference = Reference::parse(name)?.or_latest();
        let client = self.context.client()?;
        let progress = ShownProgress::shown(self.is_quiet);
        let pulling = self.engine.pull(&client, &reference, platform, &progress);
        let pulled = self.context.block_on(pulling)?;
        if let Some(other) = pulled.other_platform {
            progress.message(&format!("WARNING: {other}"));
        }
        Ok(pulled.image)
    }
}
