//! A Dockerfile as text, for tests and for people who wonder how it was understood.

use std::fmt::Write as _;

use crate::document::Dockerfile;
use crate::instruction::{
    Add, Command, CommandLine, Copy, InlineFile, Mount, MountKind, Network, Pair, Run, Security, Sharing,
};
use crate::text::Node;

impl Dockerfile {
    /// Returns the words of each instruction, a line each.
    pub fn dump_nodes(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            write_node(&mut text, node);
        }
        for _ in self.nodes.iter().filter(|node| node.empty_continuation.is_some()) {
            text.push_str("empty continuation\n");
        }
        text
    }

    /// Returns what each instruction means, a line each, variables not replaced.
    pub fn dump_instructions(&self) -> String {
        let mut text = String::new();
        for instruction in &self.arguments {
            text.push_str("meta ");
            write_command(&mut text, &instruction.command);
        }
        for stage in &self.stages {
            let name = option("as", stage.name.as_deref());
            let platform = option("platform", stage.platform.as_deref());
            let _ = writeln!(text, "FROM {}{name}{platform}", quote(&stage.base));
            for instruction in &stage.instructions {
                write_command(&mut text, &instruction.command);
            }
        }
        text
    }
}

fn write_node(text: &mut String, node: &Node) {
    let _ = write!(text, "node {}-{} {}", node.span.start.line, node.span.end.line, quote(&node.keyword));
    if !node.flags.is_empty() {
        let _ = write!(text, " flags={}", list(node.flags.iter().map(|word| &word.text)));
    }
    if node.is_json {
        text.push_str(" json");
    }
    let mut words = Vec::new();
    if let Some(trigger) = &node.trigger {
        words.push(&trigger.keyword);
        words.extend(trigger.arguments.iter().map(|word| &word.text));
    }
    words.extend(node.arguments.iter().map(|word| &word.text));
    let _ = writeln!(text, " args={} original={}", list(words), quote(&node.original));
    for heredoc in &node.heredocs {
        let (expands, strips) = (heredoc.expands, heredoc.strips_tabs);
        let (name, content) = (quote(&heredoc.name), quote(&heredoc.content));
        let _ = writeln!(text, "  heredoc {name} expand={expands} chomp={strips} {content}");
    }
}

fn write_command(text: &mut String, command: &Command) {
    let _ = write!(text, "{} ", command.keyword());
    let _ = match command {
        Command::Add(add) => writeln!(text, "{}", add_text(add)),
        Command::Copy(copy) => writeln!(text, "{}", copy_text(copy)),
        Command::Arg(arguments) => {
            let words = arguments.iter().map(|argument| match &argument.value {
                Some(value) => format!("{}={}", quote(&argument.name), quote(value)),
                None => quote(&argument.name),
            });
            writeln!(text, "{}", words.collect::<Vec<_>>().join(", "))
        }
        Command::Env(pairs) | Command::Label(pairs) => writeln!(text, "{}", pairs_text(pairs)),
        Command::Cmd(line) | Command::Entrypoint(line) => writeln!(text, "{}", command_line_text(line)),
        Command::Expose(words) | Command::Volume(words) | Command::Shell(words) => {
            writeln!(text, "{}", list(words))
        }
        Command::Healthcheck(check) => writeln!(
            text,
            "{} interval={} timeout={} start-period={} start-interval={} retries={}",
            list(&check.test),
            check.interval.as_nanos(),
            check.timeout.as_nanos(),
            check.start_period.as_nanos(),
            check.start_interval.as_nanos(),
            check.retries
        ),
        Command::Maintainer(word)
        | Command::StopSignal(word)
        | Command::User(word)
        | Command::Workdir(word) => {
            writeln!(text, "{}", quote(word))
        }
        Command::Onbuild(onbuild) => writeln!(text, "{}", quote(&onbuild.expression)),
        Command::Run(run) => {
            write_run(text, run);
            Ok(())
        }
    };
}

fn write_run(text: &mut String, run: &Run) {
    text.push_str(&command_line_text(&run.command));
    match run.network {
        Network::Default => {}
        Network::None => text.push_str(" network=none"),
        Network::Host => text.push_str(" network=host"),
    }
    if run.security == Security::Insecure {
        text.push_str(" security=insecure");
    }
    text.push('\n');
    for file in &run.inline_files {
        let _ = writeln!(
            text,
            "  file {} chomp={} {}",
            quote(&file.name),
            file.strips_tabs,
            quote(&file.content)
        );
    }
    for device in &run.devices {
        let _ = writeln!(text, "  device {} required={}", quote(&device.name), device.is_required);
    }
    let mounts: Result<Vec<Mount>, _> =
        run.mount_texts.iter().map(|mount| mount.resolve(|value| Ok(value.to_owned()))).collect();
    match mounts {
        Ok(mounts) => mounts.iter().for_each(|mount| write_mount(text, mount)),
        Err(fault) => {
            let _ = writeln!(text, "  mount error: {fault}");
        }
    }
}

fn write_mount(text: &mut String, mount: &Mount) {
    let _ = write!(text, "  mount {}", mount.kind.name());
    text.push_str(&option("from", mount.from.as_deref()));
    text.push_str(&option("source", mount.source.as_deref()));
    text.push_str(&option("target", mount.target.as_deref()));
    text.push_str(if mount.is_read_only { " readonly" } else { "" });
    text.push_str(&option("id", mount.id.as_deref()));
    text.push_str(&option("sharing", mount.sharing.map(Sharing::name)));
    text.push_str(if mount.is_required { " required" } else { "" });
    if let Some(size) = mount.size_bytes.filter(|_| mount.kind == MountKind::Tmpfs) {
        let _ = write!(text, " size={size}");
    }
    if let Some(variable) = &mount.variable {
        let _ = write!(text, " env={}", quote(variable));
    }
    for (name, value, is_octal) in
        [("mode", mount.mode, true), ("uid", mount.uid, false), ("gid", mount.gid, false)]
    {
        let _ = match value {
            Some(value) if is_octal => write!(text, " {name}={value:o}"),
            Some(value) => write!(text, " {name}={value}"),
            None => Ok(()),
        };
    }
    text.push('\n');
}

fn copy_text(copy: &Copy) -> String {
    let mut text = transfer_text(&copy.sources, &copy.destination, &copy.inline_files, &copy.excludes);
    text.push_str(&option("from", copy.from.as_deref()));
    text.push_str(&option("chown", copy.chown.as_deref()));
    text.push_str(&option("chmod", copy.chmod.as_deref()));
    text.push_str(if copy.link { " link" } else { "" });
    text.push_str(if copy.parents { " parents" } else { "" });
    text
}

fn add_text(add: &Add) -> String {
    let mut text = transfer_text(&add.sources, &add.destination, &add.inline_files, &add.excludes);
    text.push_str(&option("chown", add.chown.as_deref()));
    text.push_str(&option("chmod", add.chmod.as_deref()));
    text.push_str(&option("checksum", add.checksum.as_deref()));
    text.push_str(if add.link { " link" } else { "" });
    for (name, value) in [("keep-git-dir", add.keep_git_dir), ("unpack", add.unpack)] {
        if let Some(value) = value {
            let _ = write!(text, " {name}={value}");
        }
    }
    text
}

fn transfer_text(sources: &[String], destination: &str, files: &[InlineFile], excludes: &[String]) -> String {
    let mut text = format!("{} to {}", list(sources), quote(destination));
    for file in files {
        let _ =
            write!(text, " inline {} expand={} {}", quote(&file.name), file.expands, quote(&file.content));
    }
    if !excludes.is_empty() {
        let _ = write!(text, " exclude={}", list(excludes));
    }
    text
}

fn pairs_text(pairs: &[Pair]) -> String {
    let words = pairs.iter().map(|pair| {
        let between = if pair.is_legacy { ' ' } else { '=' };
        format!("{}{between}{}", quote(&pair.name), quote(&pair.value))
    });
    words.collect::<Vec<_>>().join(", ")
}

fn command_line_text(line: &CommandLine) -> String {
    match line {
        CommandLine::Exec(words) => format!("exec {}", list(words)),
        CommandLine::Shell(text) if text.is_empty() => "shell []".to_owned(),
        CommandLine::Shell(text) => format!("shell {}", list([text])),
    }
}

fn option(name: &str, value: Option<&str>) -> String {
    value.map_or_else(String::new, |value| format!(" {name}={}", quote(value)))
}

fn list<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| quote(word)).collect();
    format!("[{}]", quoted.join(", "))
}

fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
