//! Names of images: `[domain/]path[:tag][@digest]`, as people write them and as stores keep them.
//!
//! Source: the grammar and the normalisation of the Go module `distribution/reference` v0.6, which Docker uses.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, DigestError};

/// Longest repository name, in bytes, domain included.
pub const NAME_LENGTH_MAX: usize = 255;
const TAG_LENGTH_MAX: usize = 128;
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_LEGACY: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";

/// Why a text names no image. The messages are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The text does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// The path contains an upper-case letter.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// The name would be taken for an image ID.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// The name is longer than [`NAME_LENGTH_MAX`].
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// The part behind `@` is not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

/// A repository, with the domain of its registry: `docker.io/library/alpine`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    full: Box<str>,
    domain_length: usize,
}

impl Repository {
    /// Parses a name without tag and digest, and makes the domain explicit: `alpine` is `docker.io/library/alpine`.
    pub fn parse(text: &str) -> Result<Repository, ReferenceError> {
        let reference = Reference::parse(text)?;
        match reference {
            Reference { repository, tag: None, digest: None } => Ok(repository),
            _ => Err(ReferenceError::Format),
        }
    }

    /// Returns the repository `path` of the registry `domain`; both must follow the grammar.
    pub fn new(domain: &str, path: &str) -> Result<Repository, ReferenceError> {
        if !is_domain(domain) || !is_path(path) {
            return Err(ReferenceError::Format);
        }
        if path.len() > NAME_LENGTH_MAX {
            return Err(ReferenceError::TooLong);
        }
        Ok(Repository { full: format!("{domain}/{path}").into(), domain_length: domain.len() })
    }

    /// Returns the registry's domain, with the port if there is one: `docker.io`, `127.0.0.1:5000`.
    pub fn domain(&self) -> &str {
        &self.full[..self.domain_length]
    }

    /// Returns the path below the domain, as the registry knows it: `library/alpine`.
    pub fn path(&self) -> &str {
        &self.full[self.domain_length + 1..]
    }

    /// Returns the whole name: `docker.io/library/alpine`.
    pub fn full(&self) -> &str {
        &self.full
    }

    /// Returns the name as Docker shows it and keeps it in `repositories.json`: `alpine`.
    pub fn familiar(&self) -> &str {
        if self.domain() != DOCKER_HUB {
            return &self.full;
        }
        match self.path().strip_prefix(OFFICIAL_PREFIX) {
            Some(name) if !name.contains('/') => name,
            _ => self.path(),
        }
    }

    /// Returns a reference to `tag` of this repository.
    pub fn tagged(&self, tag: Tag) -> Reference {
        Reference { repository: self.clone(), tag: Some(tag), digest: None }
    }

    /// Returns a reference to the manifest `digest` of this repository.
    pub fn at(&self, digest: Digest) -> Reference {
        Reference { repository: self.clone(), tag: None, digest: Some(digest) }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Repository, ReferenceError> {
        Repository::parse(text)
    }
}

/// A tag: up to 128 letters, digits, `_`, `.` and `-`, starting with none of the last two.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);

impl Tag {
    /// Parses a tag.
    pub fn parse(text: &str) -> Result<Tag, ReferenceError> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
        if first && rest && text.len() <= TAG_LENGTH_MAX {
            Ok(Tag(text.into()))
        } else {
            Err(ReferenceError::Format)
        }
    }

    /// Returns the tag that a reference without one means.
    pub fn latest() -> Tag {
        Tag("latest".into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Tag, ReferenceError> {
        Tag::parse(text)
    }
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A tag, which may move.
    Tag(Tag),
    /// A digest, which binds the bytes.
    Digest(Digest),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tag(tag) => tag.fmt(f),
            Target::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A repository and what is meant of it: a tag, a digest, both or nothing yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// The repository.
    pub repository: Repository,
    /// The tag, if the text had one.
    pub tag: Option<Tag>,
    /// The digest, if the text had one.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Parses what a person types and makes the domain explicit; a missing tag stays missing.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::LooksLikeId(text.to_owned()));
        }
        let (domain, remainder) = split_domain(text);
        // Docker looks for capitals before the grammar, up to the first colon, so that the common mistake gets its own message.
        let remote = remainder.split_once(':').map_or(remainder.as_str(), |(remote, _)| remote);
        if remote.chars().any(char::is_uppercase) {
            return Err(ReferenceError::Uppercase(remote.to_owned()));
        }
        let (named, digest) = match remainder.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (remainder.as_str(), None),
        };
        let (path, tag) = match named.rsplit_once(':') {
            Some((path, tag)) => (path, Some(Tag::parse(tag)?)),
            None => (named, None),
        };
        if !is_domain(domain) || !is_path(path) {
            return Err(ReferenceError::Format);
        }
        if domain.len() + 1 + path.len() > NAME_LENGTH_MAX {
            return Err(ReferenceError::TooLong);
        }
        let digest = digest.map(parse_digest).transpose()?;
        let repository = Repository { full: format!("{domain}/{path}").into(), domain_length: domain.len() };
        Ok(Reference { repository, tag, digest })
    }

    /// Returns the reference with `latest` where neither tag nor digest was given.
    pub fn or_latest(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(Tag::latest());
        }
        self
    }

    /// Returns whether neither tag nor digest was given.
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// Returns what to ask a registry for: the digest if there is one, else the tag, else `latest`.
    pub fn target(&self) -> Target {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Target::Digest(*digest),
            (None, Some(tag)) => Target::Tag(tag.clone()),
            (None, None) => Target::Tag(Tag::latest()),
        }
    }

    /// Returns the reference as Docker shows it: `alpine:3.10`, `127.0.0.1:5000/app@sha256:…`.
    pub fn familiar(&self) -> String {
        self.spelled(self.repository.familiar())
    }

    fn spelled(&self, name: &str) -> String {
        let mut text = name.to_owned();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag.as_str());
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelled(self.repository.full()))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text)
    }
}

/// Splits what a person typed into the domain and the rest; only a first component that looks like a host is a domain.
fn split_domain(text: &str) -> (&str, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((DOCKER_HUB_LEGACY, rest)) => (DOCKER_HUB, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DOCKER_HUB, text),
    };
    if domain == DOCKER_HUB && !remainder.contains('/') {
        return (domain, format!("{OFFICIAL_PREFIX}{remainder}"));
    }
    (domain, remainder.to_owned())
}

fn parse_digest(text: &str) -> Result<Digest, ReferenceError> {
    // The grammar of references wants at least 32 hexadecimal digits before it looks at the algorithm.
    let (algorithm, digits) = text.split_once(':').ok_or(ReferenceError::Format)?;
    let is_hex = digits.len() >= 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || !algorithm.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return Err(ReferenceError::Format);
    }
    Ok(text.parse()?)
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => return is_ipv6(address),
            Some((address, port)) => match port.strip_prefix(':') {
                Some(port) => return is_ipv6(address) && is_port(port),
                None => return false,
            },
            None => return false,
        },
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    port.is_none_or(is_port) && host.split('.').all(is_domain_component)
}

fn is_ipv6(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_domain_component(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

fn is_path(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

/// Lower-case letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_path_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut rest = text.as_bytes();
    loop {
        let word = rest.iter().take_while(|byte| is_word(**byte)).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let separator = rest.iter().take_while(|byte| !is_word(**byte)).count();
        match &rest[..separator] {
            b"." | b"_" | b"__" => {}
            dashes if dashes.iter().all(|byte| *byte == b'-') => {}
            _ => return false,
        }
        rest = &rest[separator..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[track_caller]
    fn check(text: &str, full: &str, familiar: &str) {
        let reference = Reference::parse(text).unwrap();
        assert_eq!(reference.to_string(), full);
        assert_eq!(reference.familiar(), familiar);
        // Both forms name the same thing.
        assert_eq!(Reference::parse(full).unwrap(), reference);
        assert_eq!(Reference::parse(familiar).unwrap(), reference);
    }

    #[test]
    fn names_are_normalised_as_docker_does() {
        check("alpine", "docker.io/library/alpine", "alpine");
        check("u/x:1", "docker.io/u/x:1", "u/x:1");
        check("index.docker.io/u/x", "docker.io/u/x", "u/x");
        check("docker.io/alpine", "docker.io/library/alpine", "alpine");
        check("localhost/x", "localhost/x", "localhost/x");
        check("UPPER/x", "UPPER/x", "UPPER/x");
        check(
            "127.0.0.1:5000/fx/app:1.0_a-b",
            "127.0.0.1:5000/fx/app:1.0_a-b",
            "127.0.0.1:5000/fx/app:1.0_a-b",
        );
        check("[2001:db8::1]:5000/r", "[2001:db8::1]:5000/r", "[2001:db8::1]:5000/r");
        check("a__b/c--d.e", "docker.io/a__b/c--d.e", "a__b/c--d.e");
        check(&format!("x:1@{DIGEST}"), &format!("docker.io/library/x:1@{DIGEST}"), &format!("x:1@{DIGEST}"));
        check("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b");
    }

    #[test]
    fn bad_names_get_dockers_message() {
        let hex64 = "a".repeat(64);
        let long = "a/".repeat(130) + "b";
        for (text, message) in [
            ("", "invalid reference format"),
            ("a b", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("a..b", "invalid reference format"),
            ("a___b", "invalid reference format"),
            ("a/../b", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("a:-x", "invalid reference format"),
            ("a@", "invalid reference format"),
            ("a@sha256:ab", "invalid reference format"),
            ("a@md5:0123456789abcdef0123456789abcdef", "unsupported digest algorithm"),
            ("a@sha256:0123456789abcdef0123456789abcdef", "invalid checksum digest length"),
            ("Alpine", "invalid reference format: repository name (library/Alpine) must be lowercase"),
            ("u/Alpine:1", "invalid reference format: repository name (u/Alpine) must be lowercase"),
            (
                &hex64,
                &format!("invalid repository name ({hex64}), cannot specify 64-byte hexadecimal strings"),
            ),
            (&long, "repository name must not be more than 255 characters"),
        ] {
            assert_eq!(Reference::parse(text).unwrap_err().to_string(), message, "{text:?}");
        }
    }

    #[test]
    fn a_missing_tag_is_latest_only_when_asked() {
        let reference = Reference::parse("alpine").unwrap();
        assert!(reference.is_name_only());
        assert_eq!(reference.or_latest().familiar(), "alpine:latest");
        assert_eq!(Reference::parse(&format!("a@{DIGEST}")).unwrap().or_latest().tag, None);
    }

    proptest::proptest! {
        #[test]
        fn what_parses_prints_and_parses_again(text in "[a-zA-Z0-9./:@_-]{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                proptest::prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
                proptest::prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
            }
        }
    }
}
