//! `shale run`, `create`, `start` and `attach`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use shale_engine::containers::create::{Create, CreateError, Created};
use shale_engine::containers::start::{Preparation, StartContainerError};
use shale_engine::images::find::FindError;
use shale_engine::{Engine, containers::Record};
use shale_oci::{Platform, Reference};
use shale_runtime::{
    AttachStreams, Container, DETACH_KEYS, FollowEnd, Followed, Signals, Stdio, Stream, Waiting, WindowSize,
};

use super::request;
use crate::cli::container::Run;
use crate::commands::Failure;
use crate::context::{Context, ShownProgress};
use crate::terminal::screen;

/// Exit code of `run` when there is nothing that ran.
const EXIT_REFUSED: u8 = 125;

/// Says why nothing ran, in docker's layout.
fn refuse(command: &str, exit_code: u8, error: impl Into<anyhow::Error>) -> Failure {
    let error = error.into();
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // The runtime's and the kernel's words are part of dockerd's already.
        let told = cause.split(" (os error").next().unwrap_or_default().to_lowercase();
        if !text.to_lowercase().contains(&told) {
            text.push_str(&format!(": {}", of_kernel(&cause)));
        }
    }
    // What a flag cannot be is said as every mistake with flags is.
    let is_of_flag = text.starts_with("invalid argument ") && text.contains("\" flag: ");
    let (program, usage) = match is_of_flag {
        true => ("", format!("Usage:  shale {command} [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n")),
        false => ("shale: ", String::new()),
    };
    let text = screen::escape_lines(&text);
    eprintln!("{program}{text}\n\n{usage}Run 'shale {command} --help' for more information");
    Failure::Reported { exit_code }
}

/// What the kernel said as Go writes it: in small letters and without its number.
fn of_kernel(cause: &str) -> String {
    match cause.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_lowercase(),
        None => cause.to_owned(),
    }
}

/// Makes and starts a container, and joins its streams unless it is to be left alone.
pub fn run(context: &Context, run: &Run) -> Result<(), Failure> {
    if run.interactive && run.tty && !run.detach && !screen::is_terminal(io::stdin()) {
        return Err(anyhow::anyhow!("the input device is not a TTY").into());
    }
    if run.detach && !run.attach.is_empty() {
        return Err(anyhow::anyhow!("conflicting options: cannot specify both --attach and --detach").into());
    }
    let create = request::read(run).map_err(|error| refuse("run", EXIT_REFUSED, error))?;
    let engine = context.engine()?;
    let created = create_or_pull(context, &engine, run, &create, "run")?;
    let size = if run.tty { WindowSize::of(io::stdin()) } else { None };
    let remove_failed = || {
        if run.remove {
            let how = shale_engine::containers::remove::RemoveContainer { force: true, volumes: true };
            let _ = engine.remove_container(&created.id, how);
        }
    };
    let refuse_start = |error: StartContainerError| {
        let exit_code = error.exit_code();
        remove_failed();
        refuse("run", exit_code, error)
    };
    let preparation = engine.prepare_container(&created.id, size).map_err(refuse_start)?;
    let Preparation::Prepared(prepared) = preparation else { return Ok(()) };
    if run.detach {
        engine.start_prepared(*prepared).map_err(refuse_start)?;
        println!("{}", created.id);
        return Ok(());
    }
    let names = |stream: &str| run.attach.iter().any(|name| name.eq_ignore_ascii_case(stream));
    let any = run.attach.is_empty();
    let streams = AttachStreams {
        stdin: run.interactive && (any || names("stdin")),
        stdout: any || names("stdout"),
        stderr: any || names("stderr"),
    };
    let stream = prepared.container.attach(streams)?;
    let waiting = prepared.container.begin_wait(true)?;
    let container = engine.start_prepared(*prepared).map_err(refuse_start)?;
    let keys = detach_keys(run.detach_keys.as_deref())?;
    let end = follow(&container, &stream, run.tty, &keys, streams.stdin, run.sig_proxy)?;
    finish(&engine, &created.id, waiting, end)
}

fn exit_with(code: i64) -> Result<(), Failure> {
    match code {
        0 => Ok(()),
        code => Err(Failure::Reported { exit_code: code as u8 }),
    }
}

/// `ctrl-p,ctrl-q`, `ctrl-@`, `a`: the keys that leave a container.
///
/// Source: moby `term.ToBytes` at v20.10.24.
pub fn detach_keys(typed: Option<&str>) -> Result<Vec<u8>, Failure> {
    let Some(typed) = typed else { return Ok(DETACH_KEYS.to_vec()) };
    let key = |word: &str| match (word.as_bytes(), word.strip_prefix("ctrl-").map(str::as_bytes)) {
        ([key], _) => Some(*key),
        (_, Some([letter @ b'a'..=b'z'])) => Some(letter - b'a' + 1),
        (_, Some(b"@")) => Some(0),
        (_, Some([sign @ (b'[' | b'\\' | b']' | b'^' | b'_')])) => Some(sign - b'[' + 27),
        _ => None,
    };
    let keys = typed.split(',').map(key).collect::<Option<Vec<u8>>>();
    keys.ok_or_else(|| anyhow::anyhow!("invalid detach keys ({typed}) provided").into())
}

/// Waits for what was followed to its end, and turns its exit code into the program's.
///
/// `waiting` was begun while the container was certainly there: at its end another program may remove it at once.
fn finish(engine: &Engine, id: &str, waiting: Waiting, end: FollowEnd) -> Result<(), Failure> {
    if end == FollowEnd::Detached {
        return Ok(());
    }
    let code = waiting.finish()?.code;
    // Recorded, and with --rm removed, before this program ends.
    engine.settle_container(id)?;
    exit_with(code.into())
}

fn follow(
    container: &Container,
    stream: &std::os::unix::net::UnixStream,
    terminal: bool,
    detach_keys: &[u8],
    stdin: bool,
    sig_proxy: bool,
) -> io::Result<FollowEnd> {
    let stdio = Stdio {
        stdin: if stdin { Stream::Inherit } else { Stream::Null },
        stdout: Stream::Inherit,
        stderr: Stream::Inherit,
    };
    let mut signals = if sig_proxy || terminal { Signals::of_process()? } else { Signals::none() };
    container.follow(stream, Followed { exec: None, terminal, detach_keys }, stdio, &mut signals)
}

/// Makes a container and prints its ID.
pub fn create(context: &Context, run: &Run) -> Result<(), Failure> {
    let create = request::read(run).map_err(|error| refuse("create", EXIT_REFUSED, error))?;
    let engine = context.engine()?;
    let created = create_or_pull(context, &engine, run, &create, "create")?;
    println!("{}", created.id);
    Ok(())
}

/// The file of `--cidfile`, made before anything else; dropped without an ID it is removed again.
struct IdFile<'a> {
    path: &'a Path,
    file: File,
    is_written: bool,
}

impl<'a> IdFile<'a> {
    fn make(path: &'a Path, command: &str, exit_code: u8) -> Result<Self, Failure> {
        let made = OpenOptions::new().write(true).create_new(true).open(path);
        let file = made.map_err(|error| {
            let reason = of_kernel(&error.to_string());
            let text = format!("failed to create the container ID file: open {}: {reason}", path.display());
            // As docker's client, which goes by the words.
            let exit_code = if error.kind() == io::ErrorKind::NotFound { 127 } else { exit_code };
            refuse(command, exit_code, anyhow::anyhow!(text))
        })?;
        Ok(Self { path, file, is_written: false })
    }

    fn write(mut self, id: &str) -> io::Result<()> {
        self.file.write_all(id.as_bytes())?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for IdFile<'_> {
    fn drop(&mut self) {
        if !self.is_written {
            let _ = std::fs::remove_file(self.path);
        }
    }
}

fn create_or_pull(
    context: &Context,
    engine: &Engine,
    run: &Run,
    create: &Create,
    command: &str,
) -> Result<Created, Failure> {
    let exit_code = if command == "run" { EXIT_REFUSED } else { 1 };
    let refused = |error: anyhow::Error| match command {
        "run" => refuse(command, exit_code, error),
        _ => Failure::Error(error),
    };
    if let Some(path) = run.cid_file.as_ref().filter(|path| path.exists()) {
        let text = "container ID file found, make sure the other container isn't running or delete";
        return Err(refused(anyhow::anyhow!("{text} {}", path.display())));
    }
    let id_file = run.cid_file.as_deref().map(|path| IdFile::make(path, command, exit_code)).transpose()?;
    let pull = run.pull.as_deref().unwrap_or("missing");
    if !["always", "missing", "never"].contains(&pull) {
        return Err(refused(anyhow::anyhow!(
            "invalid pull option: '{pull}': must be one of \"always\", \"missing\" or \"never\""
        )));
    }
    if pull == "always" {
        fetch(context, engine, run, create, &refused)?;
    }
    let made = match engine.create_container(create) {
        Err(CreateError::Image(FindError::NoSuchImage(name))) if pull == "missing" => {
            if !run.quiet {
                eprintln!("Unable to find image '{name}' locally");
            }
            fetch(context, engine, run, create, &refused)?;
            engine.create_container(create)
        }
        made => made,
    };
    let created = made.map_err(|error| refused(error.into()))?;
    for warning in &created.warnings {
        eprintln!("WARNING: {warning}");
    }
    if let Some(file) = id_file {
        file.write(&created.id)?;
    }
    Ok(created)
}

fn fetch(
    context: &Context,
    engine: &Engine,
    run: &Run,
    create: &Create,
    refused: &dyn Fn(anyhow::Error) -> Failure,
) -> Result<(), Failure> {
    let reference = Reference::parse(&create.image).map_err(|error| refused(error.into()))?.or_latest();
    let platform = run.platform.as_deref().map(str::parse::<Platform>).transpose();
    let platform = platform.map_err(|error| refused(error.into()))?;
    let client = context.client()?;
    // Standard output is the container's alone.
    let progress = ShownProgress::shown(true);
    let pulled = context.block_on(async {
        Ok::<_, Failure>(engine.pull(&client, &reference, platform.as_ref(), &progress).await)
    })?;
    let pulled = pulled.map_err(|error| refused(error.into()))?;
    if !run.quiet {
        let outcome = if pulled.is_new { "Downloaded newer image for" } else { "Image is up to date for" };
        eprintln!("Status: {outcome} {}", reference.familiar());
    }
    pulled.other_platform.map_or(Ok(()), |other| Err(refused(other.into())))
}

/// Starts containers; with `attach` one, and joins its streams.
pub fn start(
    context: &Context,
    containers: &[String],
    attach: bool,
    interactive: bool,
    detach: Option<&str>,
) -> Result<(), Failure> {
    let engine = context.engine()?;
    if !attach && !interactive {
        let mut failed = Vec::new();
        for container in containers {
            match engine.start_container(container) {
                Ok(()) => println!("{container}"),
                Err(error) => {
                    super::complain(&format!("{:#}", anyhow::Error::from(error)));
                    failed.push(container.as_str());
                }
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        return Err(anyhow::anyhow!("failed to start containers: {}", failed.join(", ")).into());
    }
    let [container] = containers else {
        return Err(anyhow::anyhow!("you cannot start and attach multiple containers at once").into());
    };
    let record = engine.find_container(container)?;
    let config = record.config();
    let size = if config.tty { WindowSize::of(io::stdin()) } else { None };
    let streams = AttachStreams { stdin: interactive && config.open_stdin, stdout: true, stderr: true };
    let keys = detach_keys(detach)?;
    let joined =
        |container: &Container| Ok::<_, Failure>((container.attach(streams)?, container.begin_wait(true)?));
    let (container, (stream, waiting)) = match engine.prepare_container(&record.id, size)? {
        Preparation::Running(container) => {
            let joined = joined(&container)?;
            (container, joined)
        }
        Preparation::Prepared(prepared) => {
            let joined = joined(&prepared.container)?;
            (engine.start_prepared(*prepared)?, joined)
        }
    };
    let end = follow(&container, &stream, config.tty, &keys, streams.stdin, true)?;
    finish(&engine, &record.id, waiting, end)
}

/// Joins the streams of a running container.
pub fn attach(
    context: &Context,
    container: &str,
    stdin: bool,
    sig_proxy: bool,
    detach: Option<&str>,
) -> Result<(), Failure> {
    let keys = detach_keys(detach)?;
    let engine = context.engine()?;
    let record = engine.find_container(container)?;
    refuse_unless_running(&record)?;
    let config = record.config();
    if stdin && config.tty && config.open_stdin && !screen::is_terminal(io::stdin()) {
        return Err(anyhow::anyhow!("the input device is not a TTY").into());
    }
    let (record, container) = engine.running_container(container)?;
    let streams = AttachStreams { stdin: stdin && config.open_stdin, stdout: true, stderr: true };
    let (stream, waiting) = (container.attach(streams)?, container.begin_wait(false)?);
    let end = follow(&container, &stream, config.tty, &keys, streams.stdin, sig_proxy)?;
    finish(&engine, &record.id, waiting, end)
}

fn refuse_unless_running(record: &Record) -> Result<(), Failure> {
    use shale_engine::containers::Status;
    match record.status() {
        Status::Running => Ok(()),
        Status::Paused => {
            Err(anyhow::anyhow!("You cannot attach to a paused container, unpause it first").into())
        }
        _ => Err(anyhow::anyhow!("You cannot attach to a stopped container, start it first").into()),
    }
}
