//! The pages: what each template is given.

use askama::Template;

use super::image::Shown;
use super::{Frame, format};
use crate::api::query;
use crate::api::route::Reference;
use crate::metadata::{RepositorySummary, TagSummary};
use crate::name::RepositoryName;
use crate::registry::now;

/// The list of repositories.
#[derive(Template)]
#[template(path = "repositories.html")]
pub(super) struct Repositories {
    frame: Frame,
    search: String,
    search_escaped: String,
    rows: Vec<RepositoryRow>,
    next: Option<String>,
}

struct RepositoryRow {
    name: String,
    tags: u64,
    manifests: u64,
    size: String,
    age: String,
}

impl Repositories {
    pub(super) fn new(
        frame: Frame,
        search: String,
        found: Vec<RepositorySummary>,
        next: Option<String>,
    ) -> Repositories {
        let now = now();
        let rows = found.into_iter().map(|summary| RepositoryRow {
            tags: summary.tags,
            manifests: summary.manifests,
            size: format::size(summary.size_bytes),
            age: format::age(summary.pushed_at, now),
            name: summary.name,
        });
        Repositories { frame, search_escaped: query::encode(&search), search, rows: rows.collect(), next }
    }
}

/// One repository and its tags.
#[derive(Template)]
#[template(path = "repository.html")]
pub(super) struct Repository {
    frame: Frame,
    name: RepositoryName,
    rows: Vec<TagRow>,
    previous: Option<usize>,
    next: Option<usize>,
    may_delete: bool,
}

struct TagRow {
    name: String,
    digest: String,
    short: String,
    kind: String,
    size: String,
    age: String,
}

impl Repository {
    pub(super) fn new(
        frame: Frame,
        name: RepositoryName,
        tags: Vec<TagSummary>,
        page: usize,
        more: bool,
        may_delete: bool,
    ) -> Repository {
        let now = now();
        let rows = tags.into_iter().map(|tag| TagRow {
            digest: tag.digest.to_string(),
            short: tag.digest.short(),
            kind: format::kind(&tag.media_type).to_owned(),
            size: format::size(tag.size_bytes),
            age: format::age(tag.pushed_at, now),
            name: tag.name,
        });
        Repository {
            frame,
            name,
            rows: rows.collect(),
            previous: page.checked_sub(1),
            next: more.then_some(page + 1),
            may_delete,
        }
    }
}

/// One manifest.
#[derive(Template)]
#[template(path = "manifest.html")]
pub(super) struct Manifest {
    pub(super) frame: Frame,
    pub(super) name: RepositoryName,
    pub(super) reference: Reference,
    pub(super) shown: Shown,
    pub(super) may_delete: bool,
}

impl Manifest {
    /// Returns what stands between name and reference in a command.
    fn separator(&self) -> char {
        match self.reference {
            Reference::Tag(_) => ':',
            Reference::Digest(_) => '@',
        }
    }
}

/// The question before something is deleted.
#[derive(Template)]
#[template(path = "confirm.html")]
pub(super) struct Confirm {
    pub(super) frame: Frame,
    pub(super) name: RepositoryName,
    pub(super) reference: Option<Reference>,
}

/// The form for name and password.
#[derive(Template)]
#[template(path = "login.html")]
pub(super) struct Login {
    pub(super) frame: Frame,
    pub(super) failed: bool,
}

/// What went wrong.
#[derive(Template)]
#[template(path = "problem.html")]
pub(super) struct ProblemPage {
    pub(super) frame: Frame,
    pub(super) status: u16,
    pub(super) message: String,
}
