//! `--format buildkit`: config and history of the finished image as BuildKit writes them.
//!
//! The steps stay images in the classic form, which is the cache; only the last one is written once more.
//!
//! Source: builder reference 8 (BuildKit 0.32.2); the order of keys and the times of entries without a layer: BuildKit's published source.

use std::collections::BTreeMap;

use serde::Serialize;
use shale_dockerfile::{Command, Healthcheck, InlineFile, Script, parse_ports};
use shale_oci::{Digest, Empty, HistoryEntry, ImageConfig, ImageId, Platform, RootFs, RunConfig, go_json};
use shale_store::{NewImage, Publication, PutImage};

use crate::build::Builder;
use crate::error::BuildError;
use crate::go_text;
use crate::options::ImageFormat;
use crate::stage::StageState;
use crate::step::written;

/// What each entry says of its maker.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// The top-level keys in the order of their bytes.
#[derive(Serialize)]
struct Document<'a> {
    architecture: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    author: &'a str,
    config: Config<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<&'a str>,
    history: &'a [HistoryEntry],
    os: &'a str,
    #[serde(rename = "os.features", skip_serializing_if = "<[String]>::is_empty")]
    os_features: &'a [String],
    #[serde(rename = "os.version", skip_serializing_if = "str::is_empty")]
    os_version: &'a str,
    rootfs: &'a RootFs,
    #[serde(skip_serializing_if = "str::is_empty")]
    variant: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Config<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "is_empty_map")]
    exposed_ports: &'a Option<BTreeMap<String, Empty>>,
    #[serde(skip_serializing_if = "is_empty_list")]
    env: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_empty_list")]
    entrypoint: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_empty_list")]
    cmd: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_empty_map")]
    volumes: &'a Option<BTreeMap<String, Empty>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    working_dir: &'a str,
    #[serde(skip_serializing_if = "is_empty_map")]
    labels: &'a Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    stop_signal: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: &'a Option<shale_oci::Healthcheck>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    args_escaped: bool,
    #[serde(skip_serializing_if = "is_empty_list")]
    on_build: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_timeout: Option<i64>,
    #[serde(skip_serializing_if = "is_empty_list")]
    shell: &'a Option<Vec<String>>,
}

fn is_empty_map<V>(map: &Option<BTreeMap<String, V>>) -> bool {
    map.as_ref().is_none_or(BTreeMap::is_empty)
}

fn is_empty_list(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

/// What BuildKit's image says of a stage, beside what the classic form says too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    /// The history, the base's in front.
    history: Vec<HistoryEntry>,
    /// Whether `CMD` was used.
    args_escaped: bool,
}

impl Written {
    pub(crate) fn upon(base: &ImageConfig) -> Written {
        Written { history: base.history.clone(), args_escaped: false }
    }
}

impl Builder<'_> {
    /// Whether a `RUN`, `COPY`, `ADD` or `WORKDIR` that changed nothing makes an empty layer, as in BuildKit.
    pub(crate) fn keeps_empty_layers(&self) -> bool {
        self.options.format == ImageFormat::BuildKit
    }

    /// Notes a step that is done; `layers` is how many there were before it.
    pub(crate) fn note_for_buildkit(&self, stage: &mut StageState, command: &Command, layers: usize) {
        if self.options.format != ImageFormat::BuildKit {
            return;
        }
        stage.written.args_escaped |= matches!(command, Command::Cmd(_));
        let Some(created_by) = created_by(stage, command) else { return };
        let has_layer = stage.parent.rootfs.diff_ids.len() > layers;
        stage.written.history.push(HistoryEntry {
            created: stage.parent.created.clone().filter(|_| has_layer),
            author: String::new(),
            created_by,
            comment: COMMENT.to_owned(),
            empty_layer: !has_layer,
        });
    }

    /// Stores the image of a finished stage in BuildKit's form, with the classic one as its parent.
    pub(crate) fn write_for_buildkit(&mut self, stage: &StageState) -> Result<ImageId, BuildError> {
        let mut history = stage.written.history.clone();
        date(&mut history);
        let bytes = document(&stage.parent, &history, &stage.run, &stage.author, stage.written.args_escaped);
        let put = PutImage { parent: stage.image, built_locally: true };
        let image = NewImage { config: bytes.as_bytes(), put, names: Vec::new() };
        let publication = Publication { images: vec![image], ..Publication::default() };
        let (published, unsynced) = self.store.publish_unsynced(publication)?;
        self.kept.published.push(published.layers);
        self.kept.unsynced.extend(unsynced);
        Ok(ImageId::new(Digest::sha256(bytes.as_bytes())))
    }
}

fn document(
    image: &ImageConfig,
    history: &[HistoryEntry],
    run: &RunConfig,
    author: &str,
    args_escaped: bool,
) -> String {
    let host = Platform::host().architecture;
    go_json::to_string(&Document {
        architecture: if image.architecture.is_empty() { &host } else { &image.architecture },
        author: if author.is_empty() { &image.author } else { author },
        config: Config {
            user: &run.user,
            exposed_ports: &run.exposed_ports,
            env: &run.env,
            entrypoint: &run.entrypoint,
            cmd: &run.cmd,
            volumes: &run.volumes,
            working_dir: &run.working_dir,
            labels: &run.labels,
            stop_signal: &run.stop_signal,
            healthcheck: &run.healthcheck,
            args_escaped: run.args_escaped || args_escaped,
            on_build: &run.on_build,
            stop_timeout: run.stop_timeout,
            shell: &run.shell,
        },
        created: history.last().and_then(|entry| entry.created.as_deref()),
        history,
        os: image.os_or_linux(),
        os_features: &image.os_features,
        os_version: &image.os_version,
        rootfs: &image.rootfs,
        variant: &image.variant,
    })
    .expect("keys of a config are strings")
}

/// Gives each entry without a time that of the last layer before it; those before the first new layer get that one's.
fn date(history: &mut [HistoryEntry]) {
    let first_new = history.iter().position(|entry| entry.created.is_none());
    let Some(first_new) = first_new else { return };
    let later = history[first_new..].iter().find_map(|entry| entry.created.clone());
    let earlier = history[..first_new].iter().rev().find_map(|entry| entry.created.clone());
    let mut time = later.or(earlier);
    for entry in &mut history[first_new..] {
        match &entry.created {
            Some(own) => time = Some(own.clone()),
            None => entry.created.clone_from(&time),
        }
    }
}

/// The instruction in BuildKit's canonical form; `None` for `ONBUILD`, of which it writes nothing.
fn created_by(stage: &StageState, command: &Command) -> Option<String> {
    let run = &stage.run;
    let quoted = |words: &Option<Vec<String>>| go_text::quote_list(words.as_deref().unwrap_or_default());
    Some(match command {
        Command::Copy(copy) => {
            let keyword = if copy.parents { "COPY --parents" } else { "COPY" };
            let owned = owned(keyword, copy.chown.as_deref(), copy.chmod.as_deref());
            copied(owned, &copy.sources, &copy.inline_files, &copy.destination)
        }
        Command::Add(add) => {
            let owned = owned("ADD", add.chown.as_deref(), add.chmod.as_deref());
            copied(owned, &add.sources, &add.inline_files, &add.destination)
        }
        Command::Run(command) => {
            let arguments = stage.scope.arguments();
            let mut words = Vec::new();
            if !arguments.is_empty() {
                words.push(format!("|{}", arguments.len()));
            }
            let written = |variable: &shale_dockerfile::Variable| {
                format!("{}={}", variable.name, variable.value.as_deref().unwrap_or_default())
            };
            words.extend(arguments.iter().map(written));
            match command.script() {
                Script::Exec(exec) => words.extend(exec),
                Script::Shell(text) => words.extend(stage.shell().into_iter().chain([text])),
                Script::File { name, .. } => words.push(format!("/dev/pipes/{name}")),
            }
            format!("RUN {} # buildkit", words.join(" "))
        }
        Command::Arg(arguments) => {
            let known = stage.scope.arguments();
            let word = |name: &str| {
                let value = known.iter().find(|variable| variable.name == name)?.value.clone()?;
                Some(format!("{name}={value}"))
            };
            let words =
                arguments.iter().map(|argument| word(&argument.name).unwrap_or(argument.name.clone()));
            format!("ARG {}", words.collect::<Vec<_>>().join(" "))
        }
        Command::Env(pairs) => format!("ENV{}", written(pairs)),
        Command::Label(pairs) => format!("LABEL{}", written(pairs)),
        Command::Maintainer(author) => format!("MAINTAINER {author}"),
        Command::Workdir(_) => format!("WORKDIR {}", run.working_dir),
        Command::Cmd(_) => format!("CMD {}", quoted(&run.cmd)),
        Command::Entrypoint(_) => format!("ENTRYPOINT {}", quoted(&run.entrypoint)),
        Command::Expose(words) => {
            let mut ports: Vec<String> =
                words.iter().flat_map(|word| parse_ports(word).unwrap_or_default()).collect();
            ports.sort();
            format!("EXPOSE {}", go_text::list(&ports))
        }
        Command::Healthcheck(given) => format!("HEALTHCHECK {}", checked(given)),
        Command::Onbuild(_) => return None,
        Command::Shell(words) => format!("SHELL {}", go_text::list(words)),
        Command::StopSignal(signal) => format!("STOPSIGNAL {signal}"),
        Command::User(user) => format!("USER {user}"),
        Command::Volume(paths) => format!("VOLUME {}", go_text::list(paths)),
    })
}

/// The keyword with its flags of owner and mode.
fn owned(keyword: &str, chown: Option<&str>, chmod: Option<&str>) -> String {
    let mut text = keyword.to_owned();
    text.extend(chown.map(|chown| format!(" --chown={chown}")));
    text.extend(chmod.map(|chmod| format!(" --chmod={chmod}")));
    text
}

/// `begin` with what is copied, and where to.
fn copied(mut begin: String, sources: &[String], inline_files: &[InlineFile], destination: &str) -> String {
    begin.extend(sources.iter().map(|source| format!(" {source}")));
    begin.extend(inline_files.iter().map(|file| format!(" <<{}", file.name)));
    format!("{begin} {destination} # buildkit")
}

/// `%+v` of Go's structure.
fn checked(given: &Healthcheck) -> String {
    format!(
        "{{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        go_text::list(&given.test),
        go_text::duration(given.interval),
        go_text::duration(given.timeout),
        go_text::duration(given.start_period),
        go_text::duration(given.start_interval),
        given.retries
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_without_a_layer_are_dated_by_their_neighbours() {
        let entry = |created: Option<&str>| HistoryEntry {
            created: created.map(str::to_owned),
            ..HistoryEntry::default()
        };
        let mut history = [Some("base"), None, Some("one"), None, Some("two"), None].map(entry);
        date(&mut history);
        let times = history.map(|entry| entry.created.unwrap());
        assert_eq!(times, ["base", "one", "one", "one", "two", "two"]);
        let mut history = [Some("base"), None].map(entry);
        date(&mut history);
        assert_eq!(history[1].created.as_deref(), Some("base"));
    }
}
