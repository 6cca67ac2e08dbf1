//! `shale build`.

mod flags;

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, anyhow};
use jiff::Zoned;
use shale_build::{
    BuildOptions, Built, Context as BuildContext, Failed, Images, Output, StepReport, Supervisor,
    UnpackedContext,
};
use shale_dockerfile::{Dialect, Dockerfile, LintContext, ParseFault};
use shale_engine::Engine;
use shale_oci::{ImageConfig, ImageId, Platform, Reference};

use super::{Failure, SUPERVISE};
use crate::cli::Build;
use crate::context::{Context, ShownProgress};
use crate::terminal::screen;
use crate::terminal::units::human_size;

/// Builds an image.
pub fn run(context: &Context, build: &Build) -> Result<(), Failure> {
    let dialect = flags::dialect(build.dialect.as_deref())?;
    let tags = flags::tags(&build.tags)?;
    let mut options = flags::options(build)?;
    options.keep_failed_root = dialect != Dialect::Classic;
    options.supervisor = Some(Supervisor { program: "/proc/self/exe".into(), args: vec![SUPERVISE.into()] });
    // A container's root is nobody else's business; without the right to it the mounts are made where we are.
    if let Err(error) = shale_build::enter_mount_namespace() {
        tracing::debug!(%error, "no mount namespace of the build's own");
    }
    let engine = context.engine()?;
    let input = Input::read(&engine, build, dialect)?;
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
    let is_quiet = build.quiet || build.progress.as_deref() == Some("quiet");
    let output = Text { is_quiet, kept: Mutex::new(String::new()) };
    let bases = Bases { context, engine: &engine, is_quiet };
    let built = shale_build::build(engine.store(), &dockerfile, &input.context, &options, &bases, &output);
    let Built { image, steps } = built.map_err(|failed| report(&failed, &dockerfile, dialect, &output))?;
    if let Some(path) = &build.iid_file {
        std::fs::write(path, image.to_string())
            .with_context(|| format!("could not write {}", path.display()))?;
    }
    output.text(&format!("Successfully built {}\n", image.short()));
    for tag in &tags {
        engine.tag_image(image, tag, &Zoned::now())?;
        output.text(&format!("Successfully tagged {}\n", tag.familiar()));
    }
    if is_quiet {
        println!("{image}");
    } else if io::stdout().is_terminal() {
        print_table(&steps);
    }
    Ok(())
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
    let kept = std::mem::take(&mut *output.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    eprint!("{kept}");
    let message = failed.error.docker_message(dialect);
    if dialect == Dialect::Classic {
        eprintln!("{message}");
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
    if report.findings_are_errors && count > 0 {
        return Err(Failure::Reported { exit_code: 1 });
    }
    Ok(())
}

/// What is built, and from which files.
struct Input {
    dockerfile: Vec<u8>,
    file_name: String,
    context: BuildContext,
    // Behind the context that reads from it.
    _unpacked: Option<UnpackedContext>,
}

impl Input {
    fn read(engine: &Engine, build: &Build, dialect: Dialect) -> Result<Input, Failure> {
        let file = build.file.as_deref();
        if ["http://", "https://", "git://", "git@", "github.com/"]
            .iter()
            .any(|url| build.context.starts_with(url))
        {
            return Err(anyhow!("a remote context is not supported; fetch {} first", build.context).into());
        }
        if build.context == "-" {
            if file == Some("-") {
                return Err(anyhow!(
                    "invalid argument: can't use stdin for both build context and dockerfile"
                )
                .into());
            }
            return Input::from_stdin(engine, file, dialect);
        }
        let directory = PathBuf::from(&build.context);
        if file == Some("-") {
            let mut dockerfile = Vec::new();
            limited(io::stdin()).read_to_end(&mut dockerfile)?;
            let context = BuildContext::open(&directory, None, dialect)?;
            return Ok(Input { dockerfile, file_name: "Dockerfile".to_owned(), context, _unpacked: None });
        }
        Input::from_directory(&directory, file.map(Path::new), dialect, None)
    }

    fn from_directory(
        directory: &Path,
        file: Option<&Path>,
        dialect: Dialect,
        unpacked: Option<UnpackedContext>,
    ) -> Result<Input, Failure> {
        let (path, dockerfile) = BuildContext::read_dockerfile(directory, file)?;
        let context = BuildContext::open(directory, Some(&path), dialect)?;
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Input { dockerfile, file_name, context, _unpacked: unpacked })
    }

    /// Standard input is an archive, or a Dockerfile alone.
    fn from_stdin(engine: &Engine, file: Option<&str>, dialect: Dialect) -> Result<Input, Failure> {
        let mut start = Vec::new();
        io::stdin().take(512).read_to_end(&mut start)?;
        if !looks_like_archive(&start) {
            limited(io::stdin()).read_to_end(&mut start)?;
            let file_name = "Dockerfile".to_owned();
            return Ok(Input {
                dockerfile: start,
                file_name,
                context: BuildContext::empty(),
                _unpacked: None,
            });
        }
        let archive = Box::new(io::Cursor::new(start).chain(File::from(rustix::io::dup(io::stdin())?)));
        let unpacked = UnpackedContext::unpack(engine.store(), archive)?;
        let directory = unpacked.path();
        let inside = file.map(|file| directory.join(file.trim_start_matches('/')));
        if inside.as_deref().is_some_and(|path| path.components().any(|part| part.as_os_str() == "..")) {
            return Err(
                anyhow!("forbidden path outside the build context: {}", file.unwrap_or_default()).into()
            );
        }
        Input::from_directory(&directory, inside.as_deref(), dialect, Some(unpacked))
    }
}

/// A Dockerfile may come without an end.
fn limited(input: impl Read) -> impl Read {
    input.take(shale_dockerfile::DOCKERFILE_SIZE_MAX as u64 + 1)
}

fn looks_like_archive(start: &[u8]) -> bool {
    const MAGIC: [&[u8]; 4] =
        [&[0x1f, 0x8b, 0x08], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z', 0], &[0x28, 0xb5, 0x2f, 0xfd]];
    let is_compressed = MAGIC.iter().any(|magic| start.starts_with(magic));
    // A Dockerfile has no NUL in its first block; a tar header cannot be without.
    is_compressed || (start.len() == 512 && start.get(257..262) == Some(&b"ustar"[..])) || start.contains(&0)
}

/// Shows the builder's text, or keeps it for the case that the build fails.
struct Text {
    is_quiet: bool,
    kept: Mutex<String>,
}

impl Output for Text {
    fn note(&self, text: &str) {
        eprint!("{text}");
    }

    fn text(&self, text: &str) {
        if self.is_quiet {
            self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push_str(text);
            return;
        }
        let mut stdout = io::stdout().lock();
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
    fn resolve(
        &self,
        name: &str,
        platform: Option<&Platform>,
        refresh: bool,
    ) -> Result<ImageId, Box<dyn std::error::Error + Send + Sync>> {
        if !refresh
            && let Ok(image) = self.engine.load_image(name)
            && ImageConfig::parse(&image.config).is_ok_and(|config| {
                platform.is_none_or(|wanted| wanted.choose([Some(&config.platform())].into_iter()).is_some())
            })
        {
            return Ok(image.id);
        }
        self.pull(name, platform).map_err(|failure| match failure {
            Failure::Error(error) => error.into(),
            Failure::Reported { .. } | Failure::Interrupted => "interrupted".into(),
        })
    }
}

impl Bases<'_> {
    fn pull(&self, name: &str, platform: Option<&Platform>) -> Result<ImageId, Failure> {
        let reference = Reference::parse(name)?.or_latest();
        let client = self.context.client()?;
        let progress = ShownProgress::shown(self.is_quiet);
        let pulling = self.engine.pull(&client, &reference, platform, &progress);
        Ok(self.context.block_on(pulling)?.image)
    }
}
