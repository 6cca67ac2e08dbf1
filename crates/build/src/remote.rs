//! Sources of ADD that are not in the context: files of web servers and git repositories.
//!
//! Promise: everything is written below a directory of this build that is removed with it, also after a kill.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use sha2::{Digest as _, Sha256};
use shale_store::LayerWriter;

use crate::build::Builder;
use crate::container::disk;
use crate::copy::source::{Source, SourceContent};
use crate::error::{BuildError, CopyFault};
use crate::git::GitSource;
use crate::tree::Tree;

/// What ADD asks of a remote source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// `--checksum`
    pub checksum: Option<&'a str>,
    /// `--keep-git-dir`
    pub keeps_git: bool,
    /// Whether the file needs a name of its own: the destination is a directory.
    pub needs_name: bool,
}

/// Whether a source of ADD is fetched.
pub(crate) fn is_remote(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://") || GitSource::parse(source).is_some()
}

impl Builder<'_> {
    /// Fetches one source; what it is made of lies below the directory of the returned writer.
    pub(crate) fn fetch(&self, url: &str, request: Request<'_>) -> Result<(Source, LayerWriter), BuildError> {
        let place = self.store.begin_layer()?;
        let directory = place.diff_path();
        let source = match GitSource::parse(url) {
            Some(source) if self.dialect.has_buildkit_flags() => {
                self.check_out(&source, &directory, request)?
            }
            _ => self.download(url, &directory, request)?,
        };
        Ok((source, place))
    }

    fn check_out(
        &self,
        source: &GitSource,
        place: &Path,
        request: Request<'_>,
    ) -> Result<Source, BuildError> {
        if let Some(checksum) = request.checksum {
            return Err(BuildError::Unsupported(format!(
                "--checksum={checksum} is for files; name the commit of a repository behind #"
            )));
        }
        let top = source.check_out(place, request.keeps_git)?;
        let tree = Tree::fetched(&top).map_err(|source| disk("open", &top, source))?;
        let found = tree.find("").map_err(|source| disk("read", &top, source))?;
        let found = found.expect("the root of a tree is there");
        let entries = tree.list(b"").map_err(|source| disk("read", &top, source))?;
        let content = SourceContent::Directory { found, entries };
        Ok(Source { name: String::new(), kept_path: None, content, tree: Some(Arc::new(tree)) })
    }

    fn download(&self, url: &str, place: &Path, request: Request<'_>) -> Result<Source, BuildError> {
        let name = match file_name(url) {
            Some(name) => name,
            None if request.needs_name => return Err(failed(CopyFault::NoName(url.to_owned()))),
            None => "file".to_owned(),
        };
        let path = place.join(&name);
        let file = File::create(&path).map_err(|source| disk("write", &path, source))?;
        let mut out = Hashing { file, hasher: Sha256::new() };
        let changed =
            self.images.download(url, &mut out).map_err(|error| failed(CopyFault::Download(error)))?;
        let found = format!("sha256:{}", hex::encode(out.hasher.finalize()));
        if let Some(expected) = request.checksum.filter(|expected| **expected != found) {
            let expected = expected.to_owned();
            return Err(failed(CopyFault::Checksum { url: url.to_owned(), expected, found }));
        }
        let finish = || -> io::Result<()> {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            let time = Timespec { tv_sec: changed.unwrap_or(0), tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            Ok(utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
        };
        finish().map_err(|source| disk("change", &path, source))?;
        let tree = Tree::fetched(place).map_err(|source| disk("open", place, source))?;
        let found = tree.find(&name).map_err(|source| disk("read", &path, source))?;
        let found = found.expect("the file was just written");
        Ok(Source { name, kept_path: None, content: SourceContent::File(found), tree: Some(Arc::new(tree)) })
    }
}

fn failed(fault: CopyFault) -> BuildError {
    BuildError::Copy { keyword: "ADD", fault }
}

/// Returns the last name of a URL's path; `None` when the path has none.
fn file_name(url: &str) -> Option<String> {
    let path = url.split_once("://")?.1.split(['?', '#']).next()?;
    let (_, name) = path.split_once('/')?.1.rsplit_once('/').unwrap_or(("", path.split_once('/')?.1));
    let is_name = !name.is_empty() && name != "." && name != ".." && !name.contains('\0');
    is_name.then(|| name.to_owned())
}

struct Hashing {
    file: File,
    hasher: Sha256,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::file_name;

    // As Docker names what it downloads: the last part of the path, without query.
    #[test]
    fn a_download_is_named_after_its_path() {
        for (url, name) in [
            ("http://h/a/b.txt", Some("b.txt")),
            ("http://h/b.txt?x=/y#z", Some("b.txt")),
            ("http://h/a/", None),
            ("http://h/", None),
            ("http://h", None),
            ("http://h/a/..", None),
        ] {
            assert_eq!(file_name(url).as_deref(), name, "{url}");
        }
    }
}
