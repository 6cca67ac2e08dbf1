//! From a node to a typed instruction.

use std::time::Duration;

use super::duration::parse_duration;
use super::flags::{FlagKind, Flags, KnownFlag};
use super::mount::{Device, MountText};
use super::{
    Add, Argument, Command, CommandLine, Copy, Healthcheck, InlineFile, Instruction, Network, Onbuild, Pair,
    Run, Security,
};
use crate::dialect::Dialect;
use crate::parse::{ParseFault, Placed};
use crate::source::Span;
use crate::suggest::nearest;
use crate::text::{Node, find_in_word, parse_trigger_node, strip_leading_tabs};

/// The instructions, in the order of their letters.
pub(crate) const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

type Parsed<T> = Result<T, Placed<ParseFault>>;

const fn classic(name: &'static str, kind: FlagKind) -> KnownFlag {
    KnownFlag::new(name, kind, true)
}

const fn buildkit(name: &'static str, kind: FlagKind) -> KnownFlag {
    KnownFlag::new(name, kind, false)
}

const COPY_FLAGS: [KnownFlag; 6] = [
    classic("chown", FlagKind::Text),
    classic("from", FlagKind::Text),
    buildkit("chmod", FlagKind::Text),
    buildkit("link", FlagKind::Switch),
    buildkit("exclude", FlagKind::List),
    buildkit("parents", FlagKind::Switch),
];

const ADD_FLAGS: [KnownFlag; 7] = [
    classic("chown", FlagKind::Text),
    buildkit("chmod", FlagKind::Text),
    buildkit("link", FlagKind::Switch),
    buildkit("keep-git-dir", FlagKind::Switch),
    buildkit("checksum", FlagKind::Text),
    buildkit("unpack", FlagKind::Switch),
    buildkit("exclude", FlagKind::List),
];

const RUN_FLAGS: [KnownFlag; 4] = [
    buildkit("mount", FlagKind::List),
    buildkit("network", FlagKind::Text),
    buildkit("security", FlagKind::Text),
    buildkit("device", FlagKind::List),
];

const HEALTHCHECK_FLAGS: [KnownFlag; 5] = [
    classic("interval", FlagKind::Text),
    classic("timeout", FlagKind::Text),
    classic("start-period", FlagKind::Text),
    buildkit("start-interval", FlagKind::Text),
    classic("retries", FlagKind::Text),
];

const FROM_FLAGS: [KnownFlag; 1] = [classic("platform", FlagKind::Text)];

/// What a `FROM` line says.
#[derive(Debug)]
pub(crate) struct From {
    pub base: String,
    pub name: Option<String>,
    pub platform: Option<String>,
}

/// Reads a `FROM` line.
pub(crate) fn parse_from(node: &Node, dialect: Dialect) -> Parsed<From> {
    let words: Vec<&str> = node.arguments.iter().map(|word| word.text.as_str()).collect();
    let (base, name) = match words[..] {
        [base] => (base, None),
        [base, keyword, name] if keyword.eq_ignore_ascii_case("as") => (base, Some(name)),
        _ => return Err(at(node, ParseFault::FromArguments)),
    };
    let name = match name {
        Some(name) if !is_stage_name(&name.to_lowercase()) => {
            return Err(Placed {
                fault: ParseFault::StageName(name.to_owned()),
                span: node.arguments[2].span,
            });
        }
        name => name.map(str::to_lowercase),
    };
    let platform = Flags::read(node, &FROM_FLAGS, dialect.has_buildkit_flags())?.text("platform");
    Ok(From { base: base.to_owned(), name, platform })
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
}

/// Reads any instruction but `FROM`.
pub(crate) fn parse_instruction(node: &Node, escape: char, dialect: Dialect) -> Parsed<Instruction> {
    let reader = Reader { node, escape, dialect };
    let command = reader.command()?;
    Ok(Instruction {
        command,
        keyword: node.keyword.clone(),
        text: node.original.trim().to_owned(),
        span: node.span,
        comments: node.comments.clone(),
    })
}

fn at(node: &Node, fault: ParseFault) -> Placed<ParseFault> {
    Placed { fault, span: node.span }
}

struct Reader<'a> {
    node: &'a Node,
    escape: char,
    dialect: Dialect,
}

impl Reader<'_> {
    fn command(&self) -> Parsed<Command> {
        Ok(match self.node.keyword.to_ascii_uppercase().as_str() {
            "ADD" => Command::Add(self.add()?),
            "ARG" => Command::Arg(self.arguments()?),
            "CMD" => self.without_flags().map(|()| Command::Cmd(self.command_line()))?,
            "COPY" => Command::Copy(self.copy()?),
            "ENTRYPOINT" => self.without_flags().map(|()| Command::Entrypoint(self.command_line()))?,
            "ENV" => Command::Env(self.pairs("ENV")?),
            "EXPOSE" => Command::Expose(self.ports()?),
            "HEALTHCHECK" => Command::Healthcheck(self.healthcheck()?),
            "LABEL" => Command::Label(self.pairs("LABEL")?),
            "MAINTAINER" => Command::Maintainer(self.single("MAINTAINER")?),
            "ONBUILD" => Command::Onbuild(self.onbuild()?),
            "RUN" => Command::Run(self.run()?),
            "SHELL" => Command::Shell(self.shell()?),
            "STOPSIGNAL" => Command::StopSignal(self.stop_signal()?),
            "USER" => Command::User(self.single("USER")?),
            "VOLUME" => Command::Volume(self.volumes()?),
            "WORKDIR" => Command::Workdir(self.single("WORKDIR")?),
            _ => return Err(self.unknown()),
        })
    }

    fn fault(&self, fault: ParseFault) -> Placed<ParseFault> {
        at(self.node, fault)
    }

    fn unknown(&self) -> Placed<ParseFault> {
        let keyword = self.node.keyword.clone();
        let suggestion = nearest(&keyword.to_uppercase(), INSTRUCTIONS).map(|name| {
            if keyword == keyword.to_uppercase() { name.to_owned() } else { name.to_lowercase() }
        });
        Placed { fault: ParseFault::UnknownInstruction { keyword, suggestion }, span: self.node.keyword_span }
    }

    fn texts(&self) -> Vec<String> {
        self.node.arguments.iter().map(|word| word.text.clone()).collect()
    }

    fn flags(&self, known: &[KnownFlag]) -> Parsed<Flags> {
        Flags::read(self.node, known, self.dialect.has_buildkit_flags())
    }

    fn without_flags(&self) -> Parsed<()> {
        self.flags(&[]).map(drop)
    }

    /// Docker reads the flags of some instructions and never looks at them.
    fn forgotten_flags(&self) -> Parsed<()> {
        if self.dialect.refuses_forgotten_flags() { self.without_flags() } else { Ok(()) }
    }

    fn single(&self, name: &'static str) -> Parsed<String> {
        match &self.node.arguments[..] {
            [argument] => self.without_flags().map(|()| argument.text.clone()),
            _ => Err(self.fault(ParseFault::NotOneArgument(name))),
        }
    }

    fn stop_signal(&self) -> Parsed<String> {
        match &self.node.arguments[..] {
            [argument] => self.forgotten_flags().map(|()| argument.text.clone()),
            _ => Err(self.fault(ParseFault::NotOneArgument("STOPSIGNAL"))),
        }
    }

    fn command_line(&self) -> CommandLine {
        if self.node.is_json {
            return CommandLine::Exec(self.texts());
        }
        CommandLine::Shell(self.node.arguments.first().map_or_else(String::new, |word| word.text.clone()))
    }

    fn inline_files(&self) -> Vec<InlineFile> {
        let files = self.node.heredocs.iter().map(|heredoc| InlineFile {
            name: heredoc.name.clone(),
            content: heredoc.content.clone(),
            expands: heredoc.expands,
            strips_tabs: heredoc.strips_tabs,
        });
        files.collect()
    }

    fn pairs(&self, name: &'static str) -> Parsed<Vec<Pair>> {
        self.without_flags()?;
        if self.node.arguments.is_empty() {
            return Err(self.fault(ParseFault::NoArguments(name)));
        }
        let pairs = self.node.arguments.chunks_exact(3).map(|words| {
            if words[0].text.is_empty() {
                return Err(Placed { fault: ParseFault::BlankName(name), span: words[0].span });
            }
            let is_legacy = words[2].text.is_empty();
            Ok(Pair { name: words[0].text.clone(), value: words[1].text.clone(), is_legacy })
        });
        pairs.collect()
    }

    fn arguments(&self) -> Parsed<Vec<Argument>> {
        if self.node.arguments.is_empty() {
            return Err(self.fault(ParseFault::NoArguments("ARG")));
        }
        self.forgotten_flags()?;
        let arguments = self.node.arguments.iter().map(|word| match word.text.split_once('=') {
            Some(("", _)) => Err(Placed { fault: ParseFault::BlankName("ARG"), span: word.span }),
            Some((name, value)) => Ok(Argument { name: name.to_owned(), value: Some(value.to_owned()) }),
            None => Ok(Argument { name: word.text.clone(), value: None }),
        });
        arguments.collect()
    }

    fn copy(&self) -> Parsed<Copy> {
        let (sources, inline_files, destination, flags) = self.transfer("COPY", &COPY_FLAGS)?;
        Ok(Copy {
            sources,
            inline_files,
            destination,
            from: flags.text("from"),
            chown: flags.text("chown"),
            chmod: flags.text("chmod"),
            link: flags.switch("link").unwrap_or(false),
            parents: flags.switch("parents").unwrap_or(false),
            excludes: owned(flags.list("exclude")),
        })
    }

    fn add(&self) -> Parsed<Add> {
        let (sources, inline_files, destination, flags) = self.transfer("ADD", &ADD_FLAGS)?;
        Ok(Add {
            sources,
            inline_files,
            destination,
            chown: flags.text("chown"),
            chmod: flags.text("chmod"),
            checksum: flags.text("checksum"),
            link: flags.switch("link").unwrap_or(false),
            keep_git_dir: flags.switch("keep-git-dir"),
            unpack: flags.switch("unpack"),
            excludes: owned(flags.list("exclude")),
        })
    }

    /// Reads what `COPY` and `ADD` have in common: sources, files from heredocs, destination, flags.
    #[allow(clippy::type_complexity, reason = "read once, right below, by its two callers")]
    fn transfer(
        &self,
        name: &'static str,
        known: &[KnownFlag],
    ) -> Parsed<(Vec<String>, Vec<InlineFile>, String, Flags)> {
        let [words @ .., destination] = &self.node.arguments[..] else {
            return Err(self.fault(ParseFault::NoDestination(name)));
        };
        if words.is_empty() {
            return Err(self.fault(ParseFault::NoDestination(name)));
        }
        let flags = self.flags(known)?;
        if self.dialect.has_heredocs() && find_in_word(&destination.text).is_some() {
            return Err(Placed { fault: ParseFault::HeredocDestination(name), span: destination.span });
        }
        let mut sources = Vec::new();
        let mut files = Vec::new();
        for word in words {
            match find_in_word(&word.text).filter(|_| self.dialect.has_heredocs()) {
                Some(heredoc) => {
                    files.push(self.inline_file(heredoc.name, heredoc.expands, heredoc.strips_tabs))
                }
                None => sources.push(word.text.clone()),
            }
        }
        Ok((sources, files, destination.text.clone(), flags))
    }

    /// Returns the file that the heredoc `name` holds; the last one, when several have that name.
    fn inline_file(&self, name: String, expands: bool, strips_tabs: bool) -> InlineFile {
        let heredoc = self.node.heredocs.iter().rev().find(|heredoc| heredoc.name == name);
        let content = heredoc.map_or("", |heredoc| heredoc.content.as_str());
        let content = if strips_tabs { strip_leading_tabs(content) } else { content.to_owned() };
        InlineFile { name, content, expands, strips_tabs }
    }

    fn run(&self) -> Parsed<Run> {
        let flags = self.flags(&RUN_FLAGS)?;
        let mut mount_texts = Vec::new();
        for (text, span) in flags.list("mount") {
            let mount = MountText::parse(text, span);
            mount_texts.push(mount.map_err(|fault| Placed { fault: ParseFault::Mount(fault), span })?);
        }
        let mut devices = Vec::new();
        for (text, span) in flags.list("device") {
            let device = Device::parse(text);
            devices.push(device.map_err(|fault| Placed { fault: ParseFault::Device(fault), span })?);
        }
        let network = match flags.find("network") {
            None | Some(("default", _)) => Network::Default,
            Some(("none", _)) => Network::None,
            Some(("host", _)) => Network::Host,
            Some((mode, span)) => {
                return Err(Placed { fault: ParseFault::NetworkMode(mode.to_owned()), span });
            }
        };
        let security = match flags.find("security") {
            None | Some(("sandbox", _)) => Security::Sandbox,
            Some(("insecure", _)) => Security::Insecure,
            Some((mode, span)) => {
                return Err(Placed { fault: ParseFault::SecurityMode(mode.to_owned()), span });
            }
        };
        let (command, inline_files) = (self.command_line(), self.inline_files());
        Ok(Run { command, inline_files, mount_texts, mounts: Vec::new(), network, security, devices })
    }

    fn ports(&self) -> Parsed<Vec<String>> {
        if self.node.arguments.is_empty() {
            return Err(self.fault(ParseFault::NoArguments("EXPOSE")));
        }
        self.without_flags()?;
        let mut ports = self.texts();
        ports.sort_unstable();
        Ok(ports)
    }

    fn volumes(&self) -> Parsed<Vec<String>> {
        if self.node.arguments.is_empty() {
            return Err(self.fault(ParseFault::NoArguments("VOLUME")));
        }
        self.without_flags()?;
        let volumes = self.node.arguments.iter().map(|word| match word.text.trim() {
            "" => Err(Placed { fault: ParseFault::EmptyVolume, span: word.span }),
            path => Ok(path.to_owned()),
        });
        volumes.collect()
    }

    fn shell(&self) -> Parsed<Vec<String>> {
        self.without_flags()?;
        if self.node.arguments.is_empty() {
            return Err(self.fault(ParseFault::NoArguments("SHELL")));
        }
        if !self.node.is_json {
            return Err(self.fault(ParseFault::ShellNotJson));
        }
        Ok(self.texts())
    }

    fn onbuild(&self) -> Parsed<Onbuild> {
        let Some(trigger) = self.node.trigger.as_deref() else {
            return Err(self.fault(ParseFault::NoArguments("ONBUILD")));
        };
        self.without_flags()?;
        match trigger.keyword.to_ascii_uppercase().as_str() {
            "ONBUILD" => return Err(self.fault(ParseFault::OnbuildChain)),
            keyword @ ("MAINTAINER" | "FROM") => {
                return Err(self.fault(ParseFault::ForbiddenTrigger(keyword.to_owned())));
            }
            _ => {}
        }
        let mut expression = trigger.original.clone();
        for heredoc in &self.node.heredocs {
            expression.push('\n');
            expression.push_str(&heredoc.content);
            expression.push_str(&heredoc.name);
        }
        if self.dialect.checks_triggers() {
            let node = parse_trigger_node(&expression, self.escape, self.dialect);
            let checked = node.and_then(|node| parse_instruction(&node, self.escape, self.dialect));
            checked.map_err(|placed| self.fault(placed.fault))?;
        }
        Ok(Onbuild { expression })
    }

    fn healthcheck(&self) -> Parsed<Healthcheck> {
        let Some((kind, words)) = self.node.arguments.split_first() else {
            return Err(self.fault(ParseFault::NoArguments("HEALTHCHECK")));
        };
        let kind = kind.text.to_uppercase();
        if kind == "NONE" {
            if !words.is_empty() {
                return Err(self.fault(ParseFault::HealthcheckNone));
            }
            self.forgotten_flags()?;
            return Ok(Healthcheck::none());
        }
        let flags = self.flags(&HEALTHCHECK_FLAGS)?;
        if kind != "CMD" {
            return Err(self.fault(ParseFault::HealthcheckType(kind)));
        }
        if words.is_empty() {
            return Err(self.fault(ParseFault::HealthcheckCommand));
        }
        let form = if self.node.is_json { "CMD" } else { "CMD-SHELL" };
        let test =
            std::iter::once(form.to_owned()).chain(words.iter().map(|word| word.text.clone())).collect();
        Ok(Healthcheck {
            test,
            interval: interval(&flags, "interval")?,
            timeout: interval(&flags, "timeout")?,
            start_period: interval(&flags, "start-period")?,
            start_interval: interval(&flags, "start-interval")?,
            retries: retries(&flags, self.dialect)?,
        })
    }
}

impl Healthcheck {
    fn none() -> Healthcheck {
        Healthcheck {
            test: vec!["NONE".to_owned()],
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            start_period: Duration::ZERO,
            start_interval: Duration::ZERO,
            retries: 0,
        }
    }
}

fn owned(values: Vec<(&str, Span)>) -> Vec<String> {
    values.into_iter().map(|(value, _)| value.to_owned()).collect()
}

fn interval(flags: &Flags, name: &'static str) -> Parsed<Duration> {
    const SHORTEST: Duration = Duration::from_millis(1);
    let Some((text, span)) = flags.find(name).filter(|(text, _)| !text.is_empty()) else {
        return Ok(Duration::ZERO);
    };
    let duration =
        parse_duration(text).map_err(|fault| Placed { fault: ParseFault::Duration(fault), span })?;
    let is_too_short = duration.is_negative || duration.length < SHORTEST;
    if is_too_short && !duration.length.is_zero() {
        return Err(Placed { fault: ParseFault::IntervalTooShort(name), span });
    }
    Ok(duration.length)
}

fn retries(flags: &Flags, dialect: Dialect) -> Parsed<u32> {
    let Some((text, span)) = flags.find("retries").filter(|(text, _)| !text.is_empty()) else { return Ok(0) };
    let retries: i32 =
        text.parse().map_err(|_| Placed { fault: ParseFault::RetriesNotNumber(text.to_owned()), span })?;
    let smallest = if dialect.refuses_zero_retries() { 1 } else { 0 };
    u32::try_from(retries)
        .ok()
        .filter(|retries| *retries >= smallest)
        .ok_or_else(|| Placed { fault: ParseFault::RetriesNegative(retries.into()), span })
}
