//! Git repositories as sources, fetched by the `git` program.
//!
//! Promise: the user's and the machine's git configuration is not read, no hook runs, no protocol that runs a program of
//! somebody's choice is spoken, and nobody is asked for a password.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Why a repository could not be had.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It is no URL of a repository.
    #[error("{0:?} names no git repository")]
    Url(String),
    /// The program is missing.
    #[error("the program git is missing; install it (Debian: apt-get install git)")]
    Missing,
    /// It did not start.
    #[error("could not run git")]
    Run(#[source] io::Error),
    /// It ended with an error.
    #[error("git {action} failed: {message}")]
    Failed {
        /// `fetch`, `checkout` …
        action: String,
        /// What it printed.
        message: String,
    },
    /// The sub-directory leads elsewhere, or is not there.
    #[error("the repository has no directory {0:?}")]
    Directory(String),
}

/// A repository, a revision and a directory in it: `https://host/repository.git#revision:directory`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// What `git fetch` is given.
    pub url: String,
    /// A branch, a tag or a commit; `None` for the default branch.
    pub revision: Option<String>,
    /// Relative to the repository; `None` for all of it.
    pub directory: Option<String>,
}

impl GitSource {
    /// Reads a source as docker writes it; `None` when the text is not that of a repository.
    ///
    /// Source: docker's documentation of `docker build`, "Git repositories".
    pub fn parse(text: &str) -> Option<GitSource> {
        let (place, fragment) = text.split_once('#').unwrap_or((text, ""));
        let is_web = place.starts_with("https://") || place.starts_with("http://");
        let is_git = ["git://", "ssh://", "git@"].iter().any(|prefix| place.starts_with(prefix));
        if !(is_git || (is_web && place.ends_with(".git")) || place.starts_with("github.com/")) {
            return None;
        }
        let url =
            if place.starts_with("github.com/") { format!("https://{place}") } else { place.to_owned() };
        let (revision, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Some(GitSource { url, revision: given(revision), directory: given(directory) })
    }

    /// Checks the repository out below `place`, an empty directory, and returns the directory that was asked for.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn check_out(&self, place: &Path, keeps_git: bool) -> Result<std::path::PathBuf, GitError> {
        let revision = self.revision.as_deref().unwrap_or("HEAD");
        if self.url.starts_with('-') || revision.starts_with('-') {
            return Err(GitError::Url(self.url.clone()));
        }
        git(place, &["init", "--quiet", "."])?;
        git(place, &["remote", "add", "origin", "--", &self.url])?;
        let shallow = ["fetch", "--quiet", "--depth", "1", "--no-tags", "origin", "--", revision];
        if git(place, &shallow).is_err() {
            // Not every server gives a commit that no branch points to, so everything is fetched then.
            git(place, &["fetch", "--quiet", "--tags", "origin"])?;
            let names = [revision.to_owned(), format!("origin/{revision}")];
            let found = names.iter().find_map(|name| {
                git(
                    place,
                    &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")],
                )
                .ok()
            });
            let commit = found.ok_or_else(|| GitError::Failed {
                action: "fetch".to_owned(),
                message: format!("the repository has no revision {revision:?}"),
            })?;
            git(place, &["checkout", "--quiet", "--detach", commit.trim()])?;
        } else {
            git(place, &["checkout", "--quiet", "--detach", "FETCH_HEAD"])?;
        }
        git(place, &["submodule", "--quiet", "update", "--init", "--recursive", "--depth", "1"])?;
        if !keeps_git {
            let removed = std::fs::remove_dir_all(place.join(".git"));
            removed.map_err(GitError::Run)?;
        }
        let Some(directory) = &self.directory else { return Ok(place.to_owned()) };
        let missing = || GitError::Directory(directory.clone());
        let inside = place.join(directory.trim_start_matches('/')).canonicalize().map_err(|_| missing())?;
        let root = place.canonicalize().map_err(GitError::Run)?;
        if !inside.starts_with(root) || !inside.is_dir() {
            return Err(missing());
        }
        Ok(inside)
    }
}

fn git(place: &Path, arguments: &[&str]) -> Result<String, GitError> {
    let mut command = Command::new("git");
    command
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
            "-c",
            "init.defaultBranch=main",
        ])
        .args([
            "-c",
            "protocol.ext.allow=never",
            "-c",
            "protocol.file.allow=never",
            "-c",
            "advice.detachedHead=false",
        ])
        .args(arguments)
        .current_dir(place)
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .env_remove("GIT_SSH_COMMAND")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CEILING_DIRECTORIES", place.parent().unwrap_or(place))
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ALLOW_PROTOCOL", "https:http:git:ssh")
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => GitError::Missing,
        _ => GitError::Run(error),
    })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(GitError::Failed { action: arguments[0].to_owned(), message });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    // The forms are those of docker's documentation.
    #[test]
    fn sources_are_read_as_docker_reads_them() {
        let source = |url: &str, revision: Option<&str>, directory: Option<&str>| {
            Some(GitSource {
                url: url.to_owned(),
                revision: revision.map(str::to_owned),
                directory: directory.map(str::to_owned),
            })
        };
        for (text, expected) in [
            ("https://h/r.git", source("https://h/r.git", None, None)),
            ("https://h/r.git#main:d", source("https://h/r.git", Some("main"), Some("d"))),
            ("https://h/r.git#:d/e", source("https://h/r.git", None, Some("d/e"))),
            ("git@h:r#v1", source("git@h:r", Some("v1"), None)),
            ("git://h/r", source("git://h/r", None, None)),
            ("github.com/a/b", source("https://github.com/a/b", None, None)),
            ("https://h/file.tar", None),
            ("./folder.git", None),
        ] {
            assert_eq!(GitSource::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn words_that_git_would_take_for_options_are_refused() {
        let place = tempfile::tempdir().unwrap();
        for (url, revision) in [("--upload-pack=touch x", None), ("git://h/r", Some("--exec=x"))] {
            let source =
                GitSource { url: url.to_owned(), revision: revision.map(str::to_owned), directory: None };
            assert!(matches!(source.check_out(place.path(), false), Err(GitError::Url(_))), "{url}");
        }
    }
}
