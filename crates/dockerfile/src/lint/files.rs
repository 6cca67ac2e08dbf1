//! Our own rules about files: what one layer adds and a later one deletes or stores again, and caches that stay.

use super::shell::Invocation;
use crate::instruction::{Mount, MountKind};
use crate::source::Span;

/// A path that an instruction put into a layer.
#[derive(Debug, Clone)]
struct Added {
    path: String,
    span: Span,
}

/// The paths that the layers of one stage added.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    added: Vec<Added>,
}

/// How many paths are kept for one stage.
const ADDED_MAX: usize = 1_000;

/// What a `RUN` does to a path of an earlier layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undoing {
    Deletes,
    Rewrites,
}

impl Layers {
    pub fn add(&mut self, path: String, span: Span) {
        if self.added.len() < ADDED_MAX {
            self.added.push(Added { path, span });
        }
    }

    /// Returns the earlier instruction that added `path`, or something below it.
    fn find(&self, path: &str) -> Option<&Added> {
        if path == "/" {
            return None;
        }
        let is_or_below = |added: &str| {
            added.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // A file inside a directory that was added whole.
        let lies_in = |added: &str| {
            let directory = added.strip_suffix('/').unwrap_or(added);
            added.len() > 1 && path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
        };
        self.added.iter().rev().find(|added| is_or_below(&added.path) || lies_in(&added.path))
    }

    /// Returns what the program undoes: how, the path, and where it was added.
    pub fn undone(&self, invocation: &Invocation, directory: &str) -> Vec<(Undoing, String, Span)> {
        let (undoing, skipped) = match invocation.program.as_str() {
            "rm" | "unlink" | "rmdir" => (Undoing::Deletes, 0),
            // The first operand is the owner or the mode.
            "chown" | "chmod" | "chgrp" => (Undoing::Rewrites, 1),
            _ => return Vec::new(),
        };
        let paths = invocation.operands().skip(skipped).filter(|path| !path.contains(['$', '`', '>']));
        let found = paths.filter_map(|path| {
            let path = join(directory, path.trim_end_matches("/*"));
            self.find(&path).map(|added| (undoing, path.clone(), added.span))
        });
        found.collect()
    }
}

/// Returns the path of a file that the program downloads.
pub(super) fn downloaded(invocation: &Invocation) -> Option<&str> {
    match invocation.program.as_str() {
        "curl" => invocation.value_of(&["-o", "--output"]),
        "wget" => invocation.value_of(&["-O", "--output-document"]),
        _ => None,
    }
    .filter(|path| *path != "-" && !path.contains('$') && !path.starts_with("/dev/"))
}

/// Returns the absolute path of `path`, seen from `directory`, without `.`, `..` and needless slashes.
pub(super) fn join(directory: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    let mut names: Vec<&str> = Vec::new();
    for name in whole.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

/// Returns what is wrong with the caches of one `RUN`'s package managers, one sentence each.
pub(super) fn caches_left(invocations: &[Invocation], mounts: &[Mount], pip_is_off: bool) -> Vec<String> {
    let mut sentences = Vec::new();
    let runs = |program: &[&str], word: &str| {
        invocations
            .iter()
            .any(|own| program.contains(&own.program.as_str()) && own.operands().any(|own| own == word))
    };
    let removes = |path: &str| {
        invocations.iter().any(|own| own.program == "rm" && own.operands().any(|own| own.starts_with(path)))
    };
    let mounted = |path: &str| {
        let outside =
            |mount: &&Mount| matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs | MountKind::Bind);
        let covers = |target: &str| {
            target == path || path.strip_prefix(target).is_some_and(|rest| rest.starts_with('/'))
        };
        mounts
            .iter()
            .filter(outside)
            .any(|mount| mount.target.as_deref().is_some_and(|target| covers(target.trim_end_matches('/'))))
    };
    let apt = ["apt-get", "apt"];
    if (runs(&apt, "update") || runs(&apt, "install"))
        && !removes("/var/lib/apt/lists")
        && !removes("/var/lib/apt")
        && !mounted("/var/lib/apt/lists")
    {
        sentences.push(
            "apt leaves its lists in the layer: end the RUN with rm -rf /var/lib/apt/lists/*".to_owned(),
        );
    }
    let apk_keeps = |own: &Invocation| {
        own.program == "apk" && own.operands().any(|word| word == "add") && !own.has("--no-cache")
    };
    if invocations.iter().any(apk_keeps) && !removes("/var/cache/apk") && !mounted("/var/cache/apk") {
        sentences.push("apk leaves its index in the layer: use apk add --no-cache".to_owned());
    }
    for program in ["yum", "dnf", "microdnf", "zypper"] {
        if runs(&[program], "install")
            && !runs(&[program], "clean")
            && !removes("/var/cache")
            && !mounted(&format!("/var/cache/{program}"))
        {
            sentences.push(format!(
                "{program} leaves its cache in the layer: end the RUN with {program} clean all"
            ));
        }
    }
    let is_pip = |own: &&Invocation| own.program == "pip" || own.program == "pip3";
    let keeps = |own: &Invocation| own.operands().next() == Some("install") && !own.has("--no-cache-dir");
    if !pip_is_off
        && invocations.iter().filter(is_pip).any(keeps)
        && !removes("/root/.cache")
        && !mounted("/root/.cache/pip")
    {
        sentences.push("pip leaves its cache in the layer: use pip install --no-cache-dir".to_owned());
    }
    sentences
}
