//! The flags of `shale build`, as the values that they mean; docker's words for those that mean nothing.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use anyhow::{Context as _, anyhow};
use shale_build::{BuildOptions, ImageFormat, NamedContext, Resources, Rlimit, RunNetwork};
use shale_dockerfile::Dialect;
use shale_engine::images::tag::parse_tag_target;
use shale_oci::Reference;

use crate::cli::Build;
use crate::commands::Failure;

/// Exit code for a value that a flag does not take, as docker's.
const EXIT_USAGE: u8 = 125;

pub fn dialect(text: Option<&str>) -> Result<Dialect, Failure> {
    match text {
        None | Some("shale") => Ok(Dialect::Shale),
        Some("buildkit") => Ok(Dialect::BuildKit),
        Some("classic") => Ok(Dialect::Classic),
        Some(other) => {
            Err(refused("--dialect", other, "it is one of \"shale\", \"buildkit\" and \"classic\""))
        }
    }
}

/// Reads `--format`; BuildKit squashes nothing.
fn format(build: &Build) -> Result<ImageFormat, Failure> {
    match build.format.as_deref() {
        None | Some("classic") => Ok(ImageFormat::Classic),
        Some("buildkit") if build.squash => {
            Err(anyhow!("--squash and --format buildkit cannot be used together: BuildKit has no such image")
                .into())
        }
        Some("buildkit") => Ok(ImageFormat::BuildKit),
        Some(other) => Err(refused("--format", other, "it is one of \"classic\" and \"buildkit\"")),
    }
}

/// How a build is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Nothing but the image's ID.
    Quiet,
    /// The builder's text.
    Plain,
    /// A line a step, on a terminal.
    Live,
}

/// Reads `--progress`; a terminal decides where it says nothing.
pub fn shown(build: &Build) -> Result<Shown, Failure> {
    let is_terminal = std::io::stdout().is_terminal();
    match build.progress.as_deref() {
        _ if build.quiet => Ok(Shown::Quiet),
        Some("quiet") => Ok(Shown::Quiet),
        None | Some("auto") if is_terminal => Ok(Shown::Live),
        None | Some("auto" | "plain") => Ok(Shown::Plain),
        Some("tty") if is_terminal => Ok(Shown::Live),
        Some("tty") => {
            Err(anyhow!("standard output is no terminal, so --progress tty cannot be shown").into())
        }
        Some(other) => {
            Err(refused("--progress", other, "it is one of \"auto\", \"plain\", \"tty\" and \"quiet\""))
        }
    }
}

pub fn tags(texts: &[String]) -> Result<Vec<Reference>, Failure> {
    let parse = |text: &String| {
        parse_tag_target(text).map_err(|error| {
            let reason =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            refused("-t, --tag", text, &reason)
        })
    };
    texts.iter().map(parse).collect()
}

pub fn options(build: &Build) -> Result<BuildOptions, Failure> {
    let is_terminal = || std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if build.shell_on_failure && !is_terminal() {
        return Err(anyhow!("--shell-on-failure needs a terminal on standard input and output").into());
    }
    let build_arguments = build_arguments(&build.build_arguments);
    let epoch =
        build_arguments.get("SOURCE_DATE_EPOCH").cloned().or_else(|| std::env::var("SOURCE_DATE_EPOCH").ok());
    let source_date_epoch = epoch
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().with_context(|| format!("SOURCE_DATE_EPOCH is no number: {text}")))
        .transpose()?
        // The beginning of Unix time is as good as any, and the same everywhere.
        .or((build.reproducible || build.verify).then_some(0));
    let secrets = build.secrets.iter().map(|text| secret(text)).collect::<Result<_, Failure>>()?;
    Ok(BuildOptions {
        target: build.target.clone(),
        build_arguments,
        labels: build.labels.iter().map(|label| pair(label)).collect(),
        no_cache: build.no_cache,
        no_cache_stages: build
            .no_cache_filter
            .iter()
            .flat_map(|text| text.split(','))
            .map(str::to_owned)
            .collect(),
        squash: build.squash,
        format: format(build)?,
        shell_on_failure: build.shell_on_failure,
        named_contexts: build
            .build_contexts
            .iter()
            .map(|text| build_context(text))
            .collect::<Result<_, Failure>>()?,
        agents: build.agents.iter().map(|text| agent(text)).collect::<Result<_, Failure>>()?,
        refresh_bases: build.pull,
        platform: build.platform.as_deref().map(str::parse).transpose()?,
        network: match build.network.as_deref() {
            None | Some("default" | "host" | "bridge") => RunNetwork::Host,
            Some("none") => RunNetwork::None,
            Some(other) => return Err(anyhow!("network {other} not found").into()),
        },
        hosts: build.hosts.iter().map(|host| added_host(host)).collect::<Result<_, Failure>>()?,
        shm_size_bytes: size("--shm-size", &build.shm_size)?.and_then(|size| u64::try_from(size).ok()),
        resources: Resources {
            memory_bytes: size("-m, --memory", &build.memory)?,
            memory_swap_bytes: size("--memory-swap", &build.memory_swap)?,
            cpu_period_us: build.cpu_period.and_then(|period| u64::try_from(period).ok()),
            cpu_quota_us: build.cpu_quota,
            cpu_shares: build.cpu_shares.and_then(|shares| u64::try_from(shares).ok()),
            cpuset_cpus: build.cpuset_cpus.clone().unwrap_or_default(),
            cpuset_mems: build.cpuset_mems.clone().unwrap_or_default(),
            ..Resources::default()
        },
        rlimits: build.ulimits.iter().map(|text| ulimit(text)).collect::<Result<_, Failure>>()?,
        secrets,
        source_date_epoch,
        explain: build.explain,
        ..BuildOptions::default()
    })
}

/// Prints docker's complaint about a flag's value.
pub fn refused(flag: &str, value: &str, reason: &str) -> Failure {
    eprintln!("invalid argument {value:?} for {flag:?} flag: {reason}\nSee 'shale build --help'.");
    Failure::Reported { exit_code: EXIT_USAGE }
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// An argument without a value takes that of the environment, and is left out where there is none.
fn build_arguments(texts: &[String]) -> BTreeMap<String, String> {
    let read = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((text.clone(), std::env::var(text).ok()?)),
    };
    texts.iter().filter_map(read).collect()
}

fn added_host(text: &str) -> Result<(String, String), Failure> {
    let (name, address) = text.split_once(['=', ':']).unwrap_or((text, ""));
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() || address.parse::<std::net::IpAddr>().is_err() {
        return Err(refused("--add-host", text, &format!("invalid IP address in add-host: {address:?}")));
    }
    Ok((name.to_owned(), address.to_owned()))
}

/// Reads `name=directory` and `name=docker-image://reference`.
fn build_context(text: &str) -> Result<(String, NamedContext), Failure> {
    let bad = |reason: &str| refused("--build-context", text, reason);
    let (name, value) = text
        .split_once('=')
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .ok_or_else(|| bad("it is no name=value"))?;
    if let Some(image) = value.strip_prefix("docker-image://") {
        return Ok((name.to_owned(), NamedContext::Image(image.to_owned())));
    }
    if value.contains("://") || value.starts_with("git@") {
        return Err(bad(
            "it is neither a directory nor docker-image://; fetch it first and name the directory",
        ));
    }
    let path = std::path::PathBuf::from(value);
    if !path.is_dir() {
        return Err(bad(&format!("{value} is no directory")));
    }
    Ok((name.to_owned(), NamedContext::Directory(path)))
}

/// Reads `default` and `id=socket`; without a socket it is that of the environment.
fn agent(text: &str) -> Result<(String, std::path::PathBuf), Failure> {
    use std::os::unix::fs::FileTypeExt;
    let bad = |reason: &str| refused("--ssh", text, reason);
    let (id, socket) = match text.split_once('=') {
        Some((id, socket)) => (id, std::path::PathBuf::from(socket)),
        None => {
            let socket = std::env::var_os("SSH_AUTH_SOCK").ok_or_else(|| bad("SSH_AUTH_SOCK is not set"))?;
            (text, std::path::PathBuf::from(socket))
        }
    };
    let socket = socket.canonicalize().map_err(|error| bad(&error.to_string()))?;
    let is_socket = socket.metadata().is_ok_and(|there| there.file_type().is_socket());
    if !is_socket {
        return Err(bad("it is no socket of an agent; keys are not read from files: load them with ssh-add"));
    }
    Ok((id.to_owned(), socket))
}

fn secret(text: &str) -> Result<(String, std::path::PathBuf), Failure> {
    let mut id = None;
    let mut source = None;
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => source = Some(std::path::PathBuf::from(value)),
            Some(("type", "file")) => {}
            _ => {
                return Err(refused(
                    "--secret",
                    text,
                    &format!("unexpected key in {part:?}; use id= and src="),
                ));
            }
        }
    }
    let id = id.ok_or_else(|| refused("--secret", text, "it has no id="))?;
    let source = source.unwrap_or_else(|| id.clone().into());
    Ok((id, source))
}

/// Reads `64m`, `1.5GiB`, `-1`: units are powers of 1024.
fn size(flag: &str, text: &Option<String>) -> Result<Option<i64>, Failure> {
    let Some(text) = text else { return Ok(None) };
    if text == "-1" {
        return Ok(Some(-1));
    }
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = lower[number.len()..].trim_end_matches('b').trim_end_matches('i');
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit);
    match (number.trim().parse::<f64>(), power) {
        (Ok(number), Some(power)) if number >= 0.0 => Ok(Some((number * 1024f64.powi(power as i32)) as i64)),
        _ => Err(refused(flag, text, &format!("invalid size: '{text}'"))),
    }
}

/// Reads `nofile=1024:2048`.
fn ulimit(text: &str) -> Result<Rlimit, Failure> {
    let bad = || refused("--ulimit", text, &format!("invalid ulimit argument: {text}"));
    let (name, limits) = text.split_once('=').ok_or_else(bad)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let limit = |text: &str| if text == "-1" { Ok(u64::MAX) } else { text.parse().map_err(|_| bad()) };
    Ok(Rlimit { name: name.to_owned(), soft: limit(soft)?, hard: limit(hard)? })
}
