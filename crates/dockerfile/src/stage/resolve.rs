//! One step with its variables replaced.

use super::plan::Step;
use super::scope::StageScope;
use crate::dialect::Dialect;
use crate::expansion::{ExpandError, Expanded, Expander, Quoting};
use crate::instruction::{
    Add, Argument, Command, Copy, ExposeFault, InlineFile, MountFault, Pair, Run, parse_ports,
};
use crate::source::Span;

/// Why a step's words make no sense once their variables are replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveFault {
    /// A word cannot be expanded.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// A mount is malformed.
    #[error(transparent)]
    Mount(#[from] MountFault),
    /// A port is malformed.
    #[error(transparent)]
    Expose(#[from] ExposeFault),
    /// A `VOLUME` without a path.
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    /// A name or number that no signal has.
    #[error("Invalid signal: {0}")]
    Signal(String),
    /// Several sources need a directory.
    #[error(
        "When using {0} with more than one source file, the destination must be a directory and end with a /"
    )]
    DestinationNotDirectory(&'static str),
    /// `COPY` of a URL.
    #[error("source can't be a URL for COPY")]
    CopyUrl,
    /// `--checksum` with several sources.
    #[error("checksum can't be specified for multiple sources")]
    ChecksumOfSeveral,
}

/// A step whose words make no sense, and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {}: {fault}", span.start.line)]
pub struct ResolveError {
    /// What is wrong.
    pub fault: ResolveFault,
    /// The instruction.
    pub span: Span,
}

impl ResolveError {
    /// Returns the message that Docker's own builder gives.
    pub fn docker_message(&self, dialect: Dialect) -> String {
        match &self.fault {
            ResolveFault::CopyUrl if dialect == Dialect::Classic => format!("COPY failed: {}", self.fault),
            ResolveFault::Expose(ExposeFault::Port(port)) if dialect == Dialect::Classic => {
                format!("Invalid containerPort: {port}")
            }
            fault => fault.to_string(),
        }
    }
}

type Resolved<T> = Result<T, ResolveFault>;

impl StageScope {
    /// Returns what `step` does, its variables replaced, and applies what it changes: call it once a step, in order.
    ///
    /// `ARG` comes back with the values that hold, `EXPOSE` with words that [`parse_ports`] accepts, `RUN` with its
    /// mounts, and the inline files of `COPY` and `ADD` with their final content. The text of `RUN`, `CMD`,
    /// `ENTRYPOINT`, `HEALTHCHECK`, `SHELL` and `ONBUILD` is never touched.
    ///
    /// # Errors
    /// [`ResolveError`]; nothing was changed, or only some of the variables of an `ENV` or `ARG`.
    pub fn resolve(&mut self, step: &Step) -> Result<Command, ResolveError> {
        let span = step.instruction.span;
        self.unmatched.clear();
        self.resolve_command(&step.instruction.command).map_err(|fault| ResolveError { fault, span })
    }

    fn resolve_command(&mut self, command: &Command) -> Resolved<Command> {
        Ok(match command {
            Command::Add(add) => Command::Add(self.add(add)?),
            Command::Copy(copy) => Command::Copy(self.copy(copy)?),
            Command::Env(pairs) => {
                let pairs = self.pairs(pairs)?;
                for pair in &pairs {
                    self.set_environment(&pair.name, &pair.value)
                        .map_err(|fault| too_large(&pair.name, fault))?;
                }
                Command::Env(pairs)
            }
            Command::Label(pairs) => Command::Label(self.pairs(pairs)?),
            Command::Arg(arguments) => Command::Arg(self.arguments_of(arguments)?),
            Command::Expose(words) => Command::Expose(self.ports(words)?),
            Command::Run(run) => Command::Run(self.run(run)?),
            Command::StopSignal(word) => Command::StopSignal(self.signal(word)?),
            Command::User(word) => Command::User(self.word(word)?),
            Command::Workdir(word) => Command::Workdir(self.word(word)?),
            Command::Volume(words) => {
                let volumes = self.words(words)?;
                if volumes.iter().any(String::is_empty) {
                    return Err(ResolveFault::EmptyVolume);
                }
                Command::Volume(volumes)
            }
            untouched @ (Command::Cmd(_)
            | Command::Entrypoint(_)
            | Command::Healthcheck(_)
            | Command::Maintainer(_)
            | Command::Onbuild(_)
            | Command::Shell(_)) => untouched.clone(),
        })
    }

    fn word(&mut self, word: &str) -> Resolved<String> {
        let expanded = self.expander().expand(word, self)?;
        Ok(self.note(expanded))
    }

    fn note(&mut self, expanded: Expanded) -> String {
        self.note_unmatched(expanded.unmatched);
        expanded.text
    }

    fn words(&mut self, words: &[String]) -> Resolved<Vec<String>> {
        words.iter().map(|word| self.word(word)).collect()
    }

    fn optional(&mut self, word: &Option<String>) -> Resolved<Option<String>> {
        let expanded = word.as_deref().map(|word| self.word(word)).transpose()?;
        Ok(expanded.filter(|word| !word.is_empty()))
    }

    fn pairs(&mut self, pairs: &[Pair]) -> Resolved<Vec<Pair>> {
        let mut resolved = Vec::with_capacity(pairs.len());
        let mut size_bytes = 0;
        for pair in pairs {
            let (name, value) = (self.word(&pair.name)?, self.word(&pair.value)?);
            // One line may name a large value many times.
            size_bytes += name.len() + value.len();
            if size_bytes > super::ENVIRONMENT_SIZE_MAX {
                return Err(too_large(&pair.name, crate::expansion::ExpandFault::TooLarge));
            }
            resolved.push(Pair { name, value, is_legacy: pair.is_legacy });
        }
        Ok(resolved)
    }

    /// BuildKit lets each argument of a line see the ones in front of it; classic replaces the whole line first.
    fn arguments_of(&mut self, arguments: &[Argument]) -> Resolved<Vec<Argument>> {
        let is_classic = self.dialect == Dialect::Classic;
        let mut resolved = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let name = if is_classic { self.word(&argument.name)? } else { argument.name.clone() };
            let default = match &argument.value {
                Some(default) if !self.is_given(&name) => Some(self.word(default)?),
                _ => None,
            };
            let value = self.argument_value(&name, default);
            let argument = Argument { name, value };
            if !is_classic {
                self.declare_argument(&argument)?;
            }
            resolved.push(argument);
        }
        if is_classic {
            resolved.iter().try_for_each(|argument| self.declare_argument(argument))?;
        }
        Ok(resolved)
    }

    fn declare_argument(&mut self, argument: &Argument) -> Resolved<()> {
        self.declare(argument).map_err(|fault| too_large(&argument.name, fault))
    }

    fn ports(&mut self, words: &[String]) -> Resolved<Vec<String>> {
        let mut ports = Vec::new();
        for word in words {
            let (words, expanded) = self.expander().expand_words(word, self)?;
            self.note(expanded);
            for word in words {
                parse_ports(&word)?;
                ports.push(word);
            }
        }
        Ok(ports)
    }

    fn run(&mut self, run: &Run) -> Resolved<Run> {
        let mut resolved = run.clone();
        let mut unmatched = Vec::new();
        for mount in &run.mount_texts {
            let expander = self.expander();
            let mount = mount.resolve(|value| {
                let expanded = expander.expand(value, self)?;
                unmatched.extend(expanded.unmatched);
                Ok(expanded.text)
            })?;
            resolved.mounts.push(mount);
        }
        self.note_unmatched(unmatched);
        Ok(resolved)
    }

    fn signal(&mut self, word: &str) -> Resolved<String> {
        let signal = self.word(word)?;
        if is_signal(&signal) { Ok(signal) } else { Err(ResolveFault::Signal(signal)) }
    }

    fn copy(&mut self, copy: &Copy) -> Resolved<Copy> {
        let resolved = Copy {
            chown: self.optional(&copy.chown)?,
            chmod: self.optional(&copy.chmod)?,
            sources: self.words(&copy.sources)?,
            destination: self.word(&copy.destination)?,
            inline_files: self.inline_files(&copy.inline_files)?,
            ..copy.clone()
        };
        if resolved.sources.iter().any(|source| is_url(source)) {
            return Err(ResolveFault::CopyUrl);
        }
        let sources = resolved.sources.len() + resolved.inline_files.len();
        self.check_destination("COPY", sources, &resolved.destination)?;
        Ok(resolved)
    }

    fn add(&mut self, add: &Add) -> Resolved<Add> {
        let resolved = Add {
            chown: self.optional(&add.chown)?,
            chmod: self.optional(&add.chmod)?,
            checksum: self.optional(&add.checksum)?,
            sources: self.words(&add.sources)?,
            destination: self.word(&add.destination)?,
            inline_files: self.inline_files(&add.inline_files)?,
            ..add.clone()
        };
        let sources = resolved.sources.len() + resolved.inline_files.len();
        if resolved.checksum.is_some() && sources != 1 {
            return Err(ResolveFault::ChecksumOfSeveral);
        }
        self.check_destination("ADD", sources, &resolved.destination)?;
        Ok(resolved)
    }

    fn check_destination(&self, keyword: &'static str, sources: usize, destination: &str) -> Resolved<()> {
        let is_directory =
            destination.ends_with('/') || matches!(destination, "." | "..") || destination.ends_with("/.");
        if self.dialect.requires_directory_for_several_sources() && sources > 1 && !is_directory {
            return Err(ResolveFault::DestinationNotDirectory(keyword));
        }
        Ok(())
    }

    /// In the body of a heredoc quotes are ordinary characters and `\` escapes, whatever the directive says.
    fn inline_files(&mut self, files: &[InlineFile]) -> Resolved<Vec<InlineFile>> {
        let expander = Expander { escape: '\\', dialect: self.dialect, quoting: Quoting::Ignore };
        let mut resolved = Vec::with_capacity(files.len());
        for file in files {
            let mut file = file.clone();
            if file.expands {
                let expanded = expander.expand(&file.content, self)?;
                file.content = self.note(expanded);
            }
            resolved.push(file);
        }
        Ok(resolved)
    }
}

fn too_large(name: &str, fault: crate::expansion::ExpandFault) -> ResolveFault {
    ResolveFault::Expand(ExpandError { word: name.to_owned(), fault })
}

fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// The signals of Linux that have names, without `SIG`.
const SIGNALS: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

const SIGNAL_MAX: u32 = 64;

/// Whether a signal has this name or number; names with or without `SIG`, in any case.
fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u32>() {
        return (1..=SIGNAL_MAX).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    // RTMIN is 34 and RTMAX 64.
    let real_time = |first: &str, sign: char, most: u32| {
        let offset = name.strip_prefix(first).and_then(|rest| rest.strip_prefix(sign));
        offset
            .and_then(|offset| offset.parse::<u32>().ok())
            .is_some_and(|offset| (1..=most).contains(&offset))
    };
    let is_named = SIGNALS.contains(&name);
    is_named || real_time("RTMIN", '+', 15) || real_time("RTMAX", '-', 14)
}
