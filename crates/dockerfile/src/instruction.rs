//! Typed instructions: what each node means, before its variables are replaced.

mod duration;
mod expose;
mod flags;
mod mount;
mod parse;
mod size;

pub use duration::DurationFault;
pub(crate) use expose::written_ports;
pub use expose::{ExposeFault, parse_ports};
pub(crate) use mount::parse_bool;
pub use mount::{Device, Mount, MountFault, MountKind, MountText, Sharing};
pub(crate) use parse::{INSTRUCTIONS, parse_from, parse_instruction};

use std::time::Duration;

use crate::source::Span;

/// One instruction of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub command: Command,
    /// The keyword as written: `RUN`, `run`.
    pub keyword: String,
    /// The whole line as written, continuations joined, without blanks around it: what `Step 1/6 : …` shows.
    pub text: String,
    /// From the keyword to the end of the last line.
    pub span: Span,
    /// The comments above, without `#`.
    pub comments: Vec<String>,
}

/// What an instruction does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `ADD`
    Add(Add),
    /// `ARG`
    Arg(Vec<Argument>),
    /// `CMD`
    Cmd(CommandLine),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `ENV`
    Env(Vec<Pair>),
    /// `EXPOSE`: words, in the order of their bytes; [`parse_ports`] says which ports they mean.
    Expose(Vec<String>),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Vec<Pair>),
    /// `MAINTAINER`
    Maintainer(String),
    /// `ONBUILD`
    Onbuild(Onbuild),
    /// `RUN`
    Run(Run),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`, as written: a relative path joins the one before.
    Workdir(String),
}

impl Command {
    /// Returns the keyword in capitals.
    pub fn keyword(&self) -> &'static str {
        match self {
            Command::Add(_) => "ADD",
            Command::Arg(_) => "ARG",
            Command::Cmd(_) => "CMD",
            Command::Copy(_) => "COPY",
            Command::Entrypoint(_) => "ENTRYPOINT",
            Command::Env(_) => "ENV",
            Command::Expose(_) => "EXPOSE",
            Command::Healthcheck(_) => "HEALTHCHECK",
            Command::Label(_) => "LABEL",
            Command::Maintainer(_) => "MAINTAINER",
            Command::Onbuild(_) => "ONBUILD",
            Command::Run(_) => "RUN",
            Command::Shell(_) => "SHELL",
            Command::StopSignal(_) => "STOPSIGNAL",
            Command::User(_) => "USER",
            Command::Volume(_) => "VOLUME",
            Command::Workdir(_) => "WORKDIR",
        }
    }
}

/// A name and a value of `ENV` or `LABEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
    /// Whether it was written in the old form, `name value`.
    pub is_legacy: bool,
}

/// One variable of `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The name.
    pub name: String,
    /// As parsed: the default. As resolved: the value that holds, if there is one.
    pub value: Option<String>,
}

/// What `CMD`, `ENTRYPOINT` and `RUN` run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// Text for the shell; empty when nothing was written.
    Shell(String),
    /// A program and its arguments: a JSON array.
    Exec(Vec<String>),
}

/// A file that stands in the Dockerfile as a heredoc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineFile {
    /// Its name: the heredoc's word.
    pub name: String,
    /// Its content; in `COPY` and `ADD` without the tabs that `<<-` takes off.
    pub content: String,
    /// Whether variables in it are replaced, in `COPY` and `ADD`.
    pub expands: bool,
    /// Whether it was opened by `<<-`.
    pub strips_tabs: bool,
}

/// `COPY`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copy {
    /// Paths in the context, or in what `from` names.
    pub sources: Vec<String>,
    /// Files from heredocs; copied after `sources`.
    pub inline_files: Vec<InlineFile>,
    /// Where to.
    pub destination: String,
    /// `--from`: a stage's name or index, an image, or a named context.
    pub from: Option<String>,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<String>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`, each one; variables are not replaced.
    pub excludes: Vec<String>,
}

/// `ADD`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Add {
    /// Paths in the context, URLs, and git repositories.
    pub sources: Vec<String>,
    /// Files from heredocs; copied after `sources`.
    pub inline_files: Vec<InlineFile>,
    /// Where to.
    pub destination: String,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<String>,
    /// `--checksum`
    pub checksum: Option<String>,
    /// `--link`
    pub link: bool,
    /// `--keep-git-dir`, if it was given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, if it was given.
    pub unpack: Option<bool>,
    /// `--exclude`, each one; variables are not replaced.
    pub excludes: Vec<String>,
}

/// `RUN`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command as written on the line; [`Run::script`] puts heredocs in.
    pub command: CommandLine,
    /// The heredocs of the line.
    pub inline_files: Vec<InlineFile>,
    /// `--mount`, each one, still with variables; [`crate::StageScope::resolve`] fills `mounts`.
    pub mount_texts: Vec<MountText>,
    /// The mounts: empty until the instruction is resolved.
    pub mounts: Vec<Mount>,
    /// `--network`
    pub network: Network,
    /// `--security`
    pub security: Security,
    /// `--device`, each one.
    pub devices: Vec<Device>,
}

/// What `RUN` hands over to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// Text for the shell.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
    /// A heredoc that starts with `#!`: a file of this name and content, mode 0755, below `/dev/pipes`, which is run.
    File {
        /// The file's name.
        name: String,
        /// The file's content.
        content: String,
    },
}

impl Run {
    /// Returns what is to be executed, heredocs put in.
    ///
    /// A line that is only one heredoc is replaced by the body; any other line goes to the shell with the bodies behind
    /// it, and the shell reads them.
    ///
    /// Source: observed with BuildKit 0.32.2.
    pub fn script(&self) -> Script {
        let text = match &self.command {
            CommandLine::Exec(arguments) => return Script::Exec(arguments.clone()),
            CommandLine::Shell(text) => text,
        };
        let Some(first) = self.inline_files.first() else { return Script::Shell(text.clone()) };
        if crate::text::find_in_word(text).is_some() {
            let content = if first.strips_tabs {
                crate::text::strip_leading_tabs(&first.content)
            } else {
                first.content.clone()
            };
            return if content.starts_with("#!") {
                Script::File { name: first.name.clone(), content }
            } else {
                Script::Shell(content)
            };
        }
        let mut script = text.clone();
        for file in &self.inline_files {
            script.push('\n');
            script.push_str(&file.content);
            script.push_str(&file.name);
        }
        Script::Shell(script)
    }
}

/// `RUN --network`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The build's network.
    #[default]
    Default,
    /// Only a loopback device.
    None,
    /// The host's network.
    Host,
}

/// `RUN --security`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// The usual confinement.
    #[default]
    Sandbox,
    /// Without confinement.
    Insecure,
}

/// `HEALTHCHECK`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// As the image's config keeps it: `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    pub test: Vec<String>,
    /// `--interval`; zero when it was not given, as for the others.
    pub interval: Duration,
    /// `--timeout`
    pub timeout: Duration,
    /// `--start-period`
    pub start_period: Duration,
    /// `--start-interval`
    pub start_interval: Duration,
    /// `--retries`
    pub retries: u32,
}

/// `ONBUILD`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The instruction behind `ONBUILD` with its heredocs, as the image's config keeps it.
    pub expression: String,
}
