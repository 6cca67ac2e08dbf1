//! From a path to a route: parsed from the right, because names may contain `blobs`, `tags` and `uploads`.
//!
//! Promise: a route holds parsed names only; whatever stands in a path, nothing else reaches a handler.

use std::borrow::Cow;

use shale_oci::Digest;

use super::problem::Problem;
use crate::name::{RepositoryName, Tag, UploadId};

/// The longest path that is looked at; names are 255 bytes, so nothing we serve is longer.
const PATH_BYTES_MAX: usize = 1024;

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// By its digest.
    Digest(Digest),
    /// By a tag.
    Tag(Tag),
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reference::Digest(digest) => digest.fmt(f),
            Reference::Tag(tag) => tag.fmt(f),
        }
    }
}

/// A place below `/v2/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`
    Ping,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryName, Reference),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryName, UploadId),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
}

/// Returns the route of `path`, which begins with `/v2/`.
///
/// # Errors
/// [`Problem::NotFound`] for a path of no shape that is served, and the problem of the first part that breaks its grammar.
pub fn parse(path: &str) -> Result<Route, Problem> {
    if path.len() > PATH_BYTES_MAX {
        return Err(Problem::NameInvalid);
    }
    let rest = path.strip_prefix("/v2/").ok_or(Problem::NotFound)?;
    match rest {
        "" => return Ok(Route::Ping),
        "_catalog" => return Ok(Route::Catalog),
        _ => {}
    }
    let (head, last) = rest.rsplit_once('/').ok_or(Problem::NotFound)?;
    let (name, kind) = head.rsplit_once('/').unwrap_or(("", head));
    match kind {
        "tags" if last == "list" => Ok(Route::Tags(repository(name)?)),
        "manifests" => Ok(Route::Manifest(repository(name)?, reference(last)?)),
        "blobs" if last == "uploads" => Ok(Route::Uploads(repository(name)?)),
        "blobs" => Ok(Route::Blob(repository(name)?, digest(last)?)),
        "referrers" => Ok(Route::Referrers(repository(name)?, digest(last)?)),
        "uploads" => {
            let name = match name.rsplit_once('/') {
                Some((name, "blobs")) => name,
                _ => return Err(Problem::NotFound),
            };
            let name = repository(name)?;
            match last {
                "" => Ok(Route::Uploads(name)),
                id => UploadId::parse(id).map(|id| Route::Upload(name, id)).ok_or(Problem::BlobUploadUnknown),
            }
        }
        _ => Err(Problem::NotFound),
    }
}

fn repository(text: &str) -> Result<RepositoryName, Problem> {
    RepositoryName::parse(text).map_err(|_| Problem::NameInvalid)
}

/// Some HTTP libraries write the colon of a digest as `%3A`.
fn unescape_colon(text: &str) -> Cow<'_, str> {
    if text.contains("%3") { text.replace("%3A", ":").replace("%3a", ":").into() } else { text.into() }
}

/// Parses a digest out of a path or a query.
///
/// # Errors
/// [`Problem::DigestInvalid`].
pub fn digest(text: &str) -> Result<Digest, Problem> {
    unescape_colon(text)
        .parse()
        .map_err(|_| Problem::DigestInvalid("provided digest is malformed or not supported"))
}

fn reference(text: &str) -> Result<Reference, Problem> {
    let text = unescape_colon(text);
    if text.contains(':') {
        return digest(&text).map(Reference::Digest);
    }
    Tag::parse(&text).map(Reference::Tag).map_err(|_| Problem::TagInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    #[test]
    fn names_may_contain_the_words_of_routes() {
        let digest: Digest = DIGEST.parse().unwrap();
        let tag = |text| Reference::Tag(Tag::parse(text).unwrap());
        for (path, route) in [
            ("/v2/", Route::Ping),
            ("/v2/_catalog", Route::Catalog),
            ("/v2/a/tags/list", Route::Tags(name("a"))),
            ("/v2/tags/list/tags/list", Route::Tags(name("tags/list"))),
            ("/v2/a/blobs/uploads/manifests/latest", Route::Manifest(name("a/blobs/uploads"), tag("latest"))),
            ("/v2/a/manifests/blobs/uploads/", Route::Uploads(name("a/manifests"))),
            ("/v2/a/blobs/uploads", Route::Uploads(name("a"))),
            ("/v2/blobs/uploads/blobs/uploads/", Route::Uploads(name("blobs/uploads"))),
            (&format!("/v2/a/b/blobs/{DIGEST}"), Route::Blob(name("a/b"), digest)),
            (&format!("/v2/a/blobs/{}", DIGEST.replace(':', "%3A")), Route::Blob(name("a"), digest)),
            (&format!("/v2/referrers/referrers/{DIGEST}"), Route::Referrers(name("referrers"), digest)),
            (&format!("/v2/a/manifests/{DIGEST}"), Route::Manifest(name("a"), Reference::Digest(digest))),
        ] {
            assert_eq!(parse(path).unwrap(), route, "{path}");
        }
    }

    #[test]
    fn other_paths_are_refused_with_the_code_of_their_part() {
        let long = format!("/v2/{}/tags/list", "a".repeat(10_000));
        for (path, code) in [
            ("/v2/a", "UNKNOWN"),
            ("/v2/a/tags/other", "UNKNOWN"),
            ("/v2/uploads/x", "UNKNOWN"),
            ("/v2//tags/list", "NAME_INVALID"),
            ("/v2/tags/list", "NAME_INVALID"),
            ("/v2/a/../b/tags/list", "NAME_INVALID"),
            ("/v2/%2e%2e/x/tags/list", "NAME_INVALID"),
            ("/v2/a%2fb/tags/list", "NAME_INVALID"),
            ("/v2/UPPER/manifests/latest", "NAME_INVALID"),
            (&long, "NAME_INVALID"),
            ("/v2/a/manifests/", "TAG_INVALID"),
            ("/v2/a/manifests/..", "TAG_INVALID"),
            ("/v2/a/manifests/a%0d%0aX:1", "DIGEST_INVALID"),
            ("/v2/a/manifests/sha256:baddigeststring", "DIGEST_INVALID"),
            ("/v2/a/blobs/sha256:zz", "DIGEST_INVALID"),
            ("/v2/a/blobs/sha256:../../../etc/passwd", "UNKNOWN"),
            ("/v2/a/blobs/uploads/../../x", "UNKNOWN"),
            ("/v2/a/blobs/uploads/nope", "BLOB_UPLOAD_UNKNOWN"),
        ] {
            assert_eq!(parse(path).unwrap_err().code(), code, "{path}");
        }
    }
}
