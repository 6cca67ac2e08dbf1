//! From the words of COPY to files of a tree, and the digest of them all.

use std::io;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use shale_dockerfile::{Dialect, IgnoreFile, InlineFile, Origin};
use shale_oci::ImageId;
use shale_store::{LayerWriter, MountedLayer};

use super::place::fault;
use crate::build::Builder;
use crate::context::Context;
use crate::error::{BuildError, CopyFault};
use crate::options::NamedContext;
use crate::tree::{Entry, Found, KnownFiles, Malformed, Tree, has_wildcards, hash_entry, hash_list, matches};

/// Files that one wildcard may match.
const MATCHES_MAX: usize = 1_000_000;

/// One thing to copy.
#[derive(Debug)]
pub(crate) struct Source {
    /// The last name of the path as the Dockerfile has it; a link keeps its own.
    pub name: String,
    /// With `--parents`, the path in front of the name that stays below the destination.
    pub kept_path: Option<String>,
    pub content: SourceContent,
    /// The tree that the content is in, where it is not that of the whole instruction.
    pub tree: Option<Arc<Tree>>,
}

#[derive(Debug)]
pub(crate) enum SourceContent {
    File(Found),
    Directory { found: Found, entries: Vec<Entry> },
    Inline(String),
}

impl Source {
    pub fn inline(file: &InlineFile) -> Source {
        let content = SourceContent::Inline(file.content.clone());
        Source { name: file.name.clone(), kept_path: None, content, tree: None }
    }
}

/// What `--from` leads to.
pub(crate) enum FromOrigin {
    Root(Arc<MountedRoot>),
    /// A directory of the user's.
    Directory(Box<Context>),
}

impl FromOrigin {
    pub fn tree(&self) -> Option<&Tree> {
        match self {
            FromOrigin::Root(root) => Some(&root.tree),
            FromOrigin::Directory(context) => context.tree.as_ref(),
        }
    }
}

/// The mounted root of a stage or image.
pub(crate) struct MountedRoot {
    pub tree: Tree,
    mounted: MountedLayer,
    // Behind the mount, so that its directory is removed after the mount is gone.
    _place: LayerWriter,
}

impl MountedRoot {
    pub fn path(&self) -> &std::path::Path {
        self.mounted.path()
    }
}

impl Builder<'_> {
    /// Returns the files of what `--from` names.
    pub(crate) fn source_of(&mut self, origin: &Origin) -> Result<FromOrigin, BuildError> {
        if let Origin::NamedContext(name) = origin
            && let Some(NamedContext::Directory(path)) = self.options.named_contexts.get(name)
        {
            let context = Context::open(path, None, self.dialect)?;
            return Ok(FromOrigin::Directory(Box::new(context)));
        }
        self.root_of(origin).map(FromOrigin::Root)
    }

    /// Returns the root of a stage or an image, mounted for reading.
    pub(crate) fn root_of(&mut self, origin: &Origin) -> Result<Arc<MountedRoot>, BuildError> {
        let image = self.image_of(origin)?;
        if let Some(root) = image.and_then(|image| self.roots.get(&image)) {
            return Ok(Arc::clone(root));
        }
        let top = match image {
            Some(image) => shale_oci::ChainId::stack(&self.config_of(image)?.rootfs.diff_ids).pop(),
            None => None,
        };
        let place = self.store.begin_layer()?;
        let mounted = match top {
            Some(top) => self.store.mount_chain(&place, top)?,
            None => self.store.mount_layer(&place, None, None)?,
        };
        let tree = Tree::root(mounted.path())
            .map_err(|source| crate::container::disk("open", mounted.path(), source))?;
        let root = Arc::new(MountedRoot { tree, mounted, _place: place });
        self.roots.insert(image.unwrap_or_else(nothing), Arc::clone(&root));
        Ok(root)
    }

    /// Returns the digest of a path of the context, for the key of a mount.
    pub(crate) fn hash_of_context(&self, path: &str) -> Result<String, BuildError> {
        self.hash_of_path(self.context.tree.as_ref(), path)
    }

    /// Returns the digest of a path of a tree.
    pub(crate) fn hash_of_path(&self, tree: Option<&Tree>, path: &str) -> Result<String, BuildError> {
        let Some(tree) = tree else { return Ok(String::new()) };
        let sources = find(Some(tree), &[path.to_owned()], &[], false, self.dialect);
        let sources = sources.map_err(|fault| BuildError::Copy { keyword: "RUN --mount", fault })?;
        hash(Some(tree), &sources, self.dialect, &self.known)
            .map_err(|fault| BuildError::Copy { keyword: "RUN --mount", fault })
    }
}

/// Stands for the empty root in the table of roots.
fn nothing() -> ImageId {
    ImageId::new(shale_oci::Digest::sha256(b""))
}

/// Finds the sources that COPY or ADD names, wildcards replaced.
pub(crate) fn find(
    tree: Option<&Tree>,
    written: &[String],
    excludes: &[String],
    parents: bool,
    dialect: Dialect,
) -> Result<Vec<Source>, CopyFault> {
    let excludes =
        IgnoreFile::from_patterns(excludes.iter().map(String::as_str)).map_err(|_| CopyFault::Pattern)?;
    let mut sources = Vec::new();
    for word in written {
        let (path, kept_from) = context_path(word, dialect)?;
        let missing = || not_found(tree, &path);
        let tree = tree.ok_or_else(missing)?;
        let paths = if has_wildcards(&path) {
            let mut found = Vec::new();
            if !(word.ends_with('/') && dialect.wildcards_may_not_end_in_slash()) {
                expand(tree, &path, &mut found)?;
            }
            found
        } else {
            vec![path.clone()]
        };
        for path in paths {
            let found = tree.find(&path).map_err(|source| fault("stat", &path, source))?;
            let found = found.ok_or_else(|| not_found(Some(tree), &path))?;
            sources.extend(source_of(tree, &path, found, &excludes, parents.then_some(kept_from))?);
        }
    }
    Ok(sources)
}

/// Returns a source's path relative to the root, and where the part that `--parents` keeps begins.
fn context_path(word: &str, dialect: Dialect) -> Result<(String, usize), CopyFault> {
    let pivot = word.find("/./").map(|at| word[..at].trim_matches('/').len());
    let mut names: Vec<&str> = Vec::new();
    for name in word.split('/') {
        match name {
            "" | "." => {}
            ".." if names.pop().is_none() && !word.starts_with('/') && !dialect.clamps_sources_at_root() => {
                return Err(CopyFault::Outside(word.to_owned()));
            }
            ".." => {}
            name => names.push(name),
        }
    }
    let kept_from = pivot.map_or(0, |length| if length == 0 { 0 } else { length + 1 });
    Ok((names.join("/"), kept_from))
}

fn source_of(
    tree: &Tree,
    path: &str,
    found: Found,
    excludes: &IgnoreFile,
    kept_from: Option<usize>,
) -> Result<Option<Source>, CopyFault> {
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let kept_path = kept_from.map(|from| {
        let kept = path.get(from..).unwrap_or_default();
        // A directory's content goes below its own name, a file below its directory.
        if found.is_directory() {
            kept.to_owned()
        } else {
            kept.rsplit_once('/').map_or("", |(above, _)| above).to_owned()
        }
    });
    if !found.is_directory() {
        if excludes.matches(&name) {
            return Ok(None);
        }
        return Ok(Some(Source { name, kept_path, content: SourceContent::File(found), tree: None }));
    }
    let mut entries = tree.list(&found.path).map_err(|source| fault("read", path, source))?;
    if !excludes.rules().is_empty() {
        let prefix = if found.path.is_empty() { 0 } else { found.path.len() + 1 };
        entries.retain(|entry| !excludes.matches(&String::from_utf8_lossy(&entry.path[prefix..])));
    }
    Ok(Some(Source { name, kept_path, content: SourceContent::Directory { found, entries }, tree: None }))
}

/// Finds what a path with wildcards matches: name by name, links not followed, in the order of a walk.
fn expand(tree: &Tree, pattern: &str, found: &mut Vec<String>) -> Result<(), CopyFault> {
    let names: Vec<&str> = pattern.split('/').collect();
    expand_below(tree, b"", &names, found)
}

fn expand_below(tree: &Tree, path: &[u8], names: &[&str], found: &mut Vec<String>) -> Result<(), CopyFault> {
    let Some((pattern, rest)) = names.split_first() else { return Ok(()) };
    let shown = String::from_utf8_lossy(path);
    // A malformed pattern is an error also where there is nothing to match.
    matches(pattern, "").map_err(|Malformed| CopyFault::Pattern)?;
    for child in tree.names(path).map_err(|source| fault("read", &shown, source))? {
        let start = if path.is_empty() { 0 } else { path.len() + 1 };
        let Ok(name) = std::str::from_utf8(&child.path[start..]) else { continue };
        if !matches(pattern, name).map_err(|Malformed| CopyFault::Pattern)? {
            continue;
        }
        if rest.is_empty() {
            if found.len() >= MATCHES_MAX {
                return Err(fault("read", &shown, io::Error::other("the wildcard matches too many files")));
            }
            found.push(String::from_utf8_lossy(&child.path).into_owned());
        } else if child.kind() == rustix::fs::FileType::Directory {
            expand_below(tree, &child.path, rest, found)?;
        }
    }
    Ok(())
}

/// Says that a file is not there, and why that may be.
fn not_found(tree: Option<&Tree>, path: &str) -> CopyFault {
    let hint = match tree {
        None => " (the build has no context: only a Dockerfile was given)".to_owned(),
        Some(tree) => match tree.hiding_rule(path) {
            Some(line) => format!(" (line {line} of the ignore file hides it)"),
            None => match nearest(tree, path) {
                Some(name) if name == path => format!(" ({name} is a link that leads nowhere)"),
                Some(name) => format!(" (did you mean {name}?)"),
                None => String::new(),
            },
        },
    };
    CopyFault::NotFound { name: path.to_owned(), hint }
}

/// Returns the file beside `path` whose name is nearest.
fn nearest(tree: &Tree, path: &str) -> Option<String> {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let above = tree.find(above).ok()??;
    let names = tree.names(&above.path).ok()?;
    let distance_max = name.chars().count().div_ceil(3);
    let shown = names.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned());
    let scored = shown.map(|path| (distance(name, path.rsplit('/').next().unwrap_or(&path)), path));
    scored.filter(|(distance, _)| *distance <= distance_max).min().map(|(_, path)| path)
}

/// The number of characters to put in, take out or change; letters differ from their capitals by nothing.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.to_lowercase().chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// Returns the digest of all sources together, in the words of Docker's history.
///
/// The classic builder hashes a link under the name that it leads to, so two links to one file have one key although
/// they make two names; in its dialect alone that is kept.
pub(crate) fn hash(
    tree: Option<&Tree>,
    sources: &[Source],
    dialect: Dialect,
    known: &KnownFiles,
) -> Result<String, CopyFault> {
    let mut hashes = Vec::with_capacity(sources.len());
    for source in sources {
        let failed = |error| fault("hash", &source.name, error);
        let tree = source.tree.as_deref().or(tree);
        hashes.push(match (&source.content, tree) {
            (SourceContent::Inline(content), _) => format!("file:{}", inline_hash(&source.name, content)),
            (SourceContent::File(found), Some(tree)) => {
                let entry = Entry::new(found.path.clone(), found.stat);
                let hash = hash_entry(tree, &entry, known).map_err(failed)?;
                let is_renamed =
                    found.path.rsplit(|byte| *byte == b'/').next() != Some(source.name.as_bytes());
                if is_renamed && dialect != Dialect::Classic {
                    format!("file:{}", joined_hash(&[hash, source.name.clone()]))
                } else {
                    format!("file:{hash}")
                }
            }
            (SourceContent::Directory { found, entries }, Some(tree)) => {
                let mut all = hash_list(tree, entries, known).map_err(failed)?;
                if dialect.makes_ignored_directories_anew() {
                    // Docker knows no digest of what was not sent, and takes the name.
                    for (hash, entry) in all.iter_mut().zip(entries).filter(|(_, entry)| entry.is_implied) {
                        *hash = String::from_utf8_lossy(&entry.path).into_owned();
                    }
                }
                if !found.path.is_empty() {
                    let own = Entry::new(found.path.clone(), found.stat);
                    all.push(hash_entry(tree, &own, known).map_err(failed)?);
                }
                all.sort_unstable();
                format!("dir:{}", joined_hash(&all))
            }
            (_, None) => unreachable!("without a tree there are only inline files"),
        });
    }
    Ok(match <[String; 1]>::try_from(hashes) {
        Ok([only]) => only,
        Err(hashes) => format!("multi:{}", joined_hash(&hashes)),
    })
}

fn joined_hash(hashes: &[String]) -> String {
    hex::encode(Sha256::digest(hashes.join(",")))
}

/// A file of the Dockerfile itself, hashed as if it lay in the context.
fn inline_hash(name: &str, content: &str) -> String {
    let header = format!(
        "name{name}mode33188uid0gid0size{}typeflag0linknameunamegnamedevmajor0devminor0",
        content.len()
    );
    hex::encode(Sha256::new().chain_update(header).chain_update(content).finalize())
}
