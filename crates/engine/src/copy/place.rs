//! Where an image is copied from or to, as a person types it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use shale_oci::{Digest, DigestError, Reference, ReferenceError};

/// Where an image is copied from or to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A name in a registry: `docker://NAME` or `NAME`.
    Registry(Reference),
    /// A folder with an OCI layout: `oci:DIR[:NAME]` or `oci:DIR@DIGEST`.
    Layout {
        /// The folder.
        directory: PathBuf,
        /// Which of its images.
        name: EntryName,
    },
    /// An OCI layout in a tar archive: `oci-archive:FILE[:NAME]`.
    OciArchive {
        /// The archive.
        file: PathBuf,
        /// Which of its images.
        name: EntryName,
    },
    /// An archive that `docker load` reads: `docker-archive:FILE[:NAME]`.
    DockerArchive {
        /// The archive.
        file: PathBuf,
        /// Which of its images; for writing, what Docker shall call the image.
        name: Option<Reference>,
    },
}

/// Which image of a layout is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryName {
    /// The only one.
    Only,
    /// The one with this `org.opencontainers.image.ref.name`.
    Named(String),
    /// The one with this digest.
    Digest(Digest),
}

/// Why a text is no place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// No file after the colon.
    #[error("{0:?} names no file; write {1}")]
    NoPath(String, &'static str),
    /// A kind of place that other programs know.
    #[error("{0:?} is not supported; use a name in a registry, oci:, oci-archive: or docker-archive:")]
    UnknownKind(String),
    /// What follows `@` is no digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The name is none.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl FromStr for Place {
    type Err = PlaceError;

    /// Reads `[docker://]NAME`, `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]` or `docker-archive:FILE[:NAME]`.
    ///
    /// Source: containers/image docs, containers-transports(5).
    fn from_str(text: &str) -> Result<Place, PlaceError> {
        if let Some(name) = text.strip_prefix("docker://") {
            return Ok(Place::Registry(Reference::parse(name)?.or_latest()));
        }
        let Some((kind, rest)) = text.split_once(':') else {
            return Ok(Place::Registry(Reference::parse(text)?.or_latest()));
        };
        match kind {
            "oci" => {
                let (path, name) = split_entry(text, rest, "oci:DIR[:NAME]")?;
                Ok(Place::Layout { directory: path, name })
            }
            "oci-archive" => {
                let (path, name) = split_entry(text, rest, "oci-archive:FILE[:NAME]")?;
                Ok(Place::OciArchive { file: path, name })
            }
            "docker-archive" => {
                let (path, name) = match rest.split_once(':') {
                    Some((path, name)) => (path, Some(Reference::parse(name)?.or_latest())),
                    None => (rest, None),
                };
                let file = some_path(text, path, "docker-archive:FILE[:NAME]")?;
                Ok(Place::DockerArchive { file, name })
            }
            // With an empty tag after them, these would be names of repositories; nobody means that.
            "dir" | "docker-daemon" | "containers-storage" | "sif" | "ostree" | "tarball" | "http"
            | "https" => Err(PlaceError::UnknownKind(format!("{kind}:"))),
            _ => Ok(Place::Registry(Reference::parse(text)?.or_latest())),
        }
    }
}

fn split_entry(text: &str, rest: &str, form: &'static str) -> Result<(PathBuf, EntryName), PlaceError> {
    if let Some((path, digest)) = rest.rsplit_once('@')
        && digest.contains(':')
        && !digest.contains('/')
    {
        return Ok((some_path(text, path, form)?, EntryName::Digest(digest.parse()?)));
    }
    let (path, name) = match rest.split_once(':') {
        Some((path, "")) => (path, EntryName::Only),
        Some((path, name)) => (path, EntryName::Named(name.to_owned())),
        None => (rest, EntryName::Only),
    };
    Ok((some_path(text, path, form)?, name))
}

fn some_path(text: &str, path: &str, form: &'static str) -> Result<PathBuf, PlaceError> {
    if path.is_empty() { Err(PlaceError::NoPath(text.to_owned(), form)) } else { Ok(path.into()) }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Registry(reference) => f.write_str(&reference.familiar()),
            Place::Layout { directory, name } => write!(f, "oci:{}{name}", directory.display()),
            Place::OciArchive { file, name } => write!(f, "oci-archive:{}{name}", file.display()),
            Place::DockerArchive { file, name: None } => write!(f, "docker-archive:{}", file.display()),
            Place::DockerArchive { file, name: Some(name) } => {
                write!(f, "docker-archive:{}:{}", file.display(), name.familiar())
            }
        }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryName::Only => Ok(()),
            EntryName::Named(name) => write!(f, ":{name}"),
            EntryName::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(text.parse::<Place>().unwrap().to_string(), expected);
    }

    #[test]
    fn places_are_spelled_as_skopeo_spells_them() {
        check("alpine", "alpine:latest");
        check("docker://127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1");
        check("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest");
        check("alpine:3", "alpine:3");
        check("oci:/tmp/layout", "oci:/tmp/layout");
        check("oci:layout:v1", "oci:layout:v1");
        check("oci:layout:registry.example.com/a:v1", "oci:layout:registry.example.com/a:v1");
        check("oci-archive:a.tar:", "oci-archive:a.tar");
        check("docker-archive:a.tar:app", "docker-archive:a.tar:app:latest");
        let digest = Digest::sha256(b"x");
        check(&format!("oci:layout@{digest}"), &format!("oci:layout@{digest}"));
        for text in ["oci:", "docker-archive::a", "dir:/tmp/x", "docker-daemon:alpine:3", "docker://A", ""] {
            assert!(text.parse::<Place>().is_err(), "{text:?}");
        }
    }
}
