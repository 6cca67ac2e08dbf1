//! Names that arrive in paths, queries and links, parsed before anything uses them.
//!
//! Promise: a value of these types is safe as a path component, as an SQL value and in a header.

use std::fmt;

/// The longest repository name in bytes; clients refuse longer ones, and so do we.
pub const REPOSITORY_NAME_BYTES_MAX: usize = 255;
/// The longest tag in bytes.
pub const TAG_BYTES_MAX: usize = 128;

/// A repository name: lower-case components, separated by slashes.
///
/// Source: distribution-spec, "Pulling manifests", `<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Box<str>);

/// A tag.
///
/// Source: distribution-spec, "Pulling manifests", `<reference>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all, or an empty component.
    #[error("a name or one of its parts is empty")]
    Empty,
    /// Longer than the limit.
    #[error("a name is longer than the limit")]
    TooLong,
    /// A character, or an order of characters, that the grammar does not have.
    #[error("a name has characters that are not allowed")]
    Grammar,
}

impl RepositoryName {
    /// Parses `text` by the grammar of the distribution specification.
    ///
    /// # Errors
    /// [`NameError`] names the first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<RepositoryName, NameError> {
        check_repository_name(text)?;
        Ok(RepositoryName(text.into()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks `text` against the grammar of repository names without keeping it.
///
/// # Errors
/// As [`RepositoryName::parse`].
pub fn check_repository_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > REPOSITORY_NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    text.split('/').try_for_each(check_component)
}

/// One component: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn check_component(component: &str) -> Result<(), NameError> {
    let bytes = component.as_bytes();
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) if alphanumeric(*first) && alphanumeric(*last) => {}
        (None, _) | (_, None) => return Err(NameError::Empty),
        _ => return Err(NameError::Grammar),
    }
    let mut at = 0;
    while at < bytes.len() {
        if alphanumeric(bytes[at]) {
            at += 1;
            continue;
        }
        let separator_start = at;
        while at < bytes.len() && !alphanumeric(bytes[at]) {
            at += 1;
        }
        let separator = &bytes[separator_start..at];
        let allowed = matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-');
        if !allowed {
            return Err(NameError::Grammar);
        }
    }
    Ok(())
}

impl Tag {
    /// Parses `text` by the grammar of tags, `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
    ///
    /// # Errors
    /// [`NameError`] names the first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Tag, NameError> {
        let bytes = text.as_bytes();
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match bytes.first() {
            None => return Err(NameError::Empty),
            Some(first) if !word(*first) => return Err(NameError::Grammar),
            Some(_) => {}
        }
        if bytes.len() > TAG_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        if !bytes.iter().all(|byte| word(*byte) || matches!(byte, b'.' | b'-')) {
            return Err(NameError::Grammar);
        }
        Ok(Tag(text.into()))
    }

    /// Returns the tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of one upload: 128 random bits, written as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId([u8; 16]);

impl UploadId {
    /// Returns a fresh random id.
    ///
    /// # Panics
    /// When the kernel has no randomness to give, which it always has after boot.
    pub fn random() -> UploadId {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("getrandom(2) works on every kernel that runs this");
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        UploadId(bytes)
    }

    /// Returns the bits.
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// Parses the 36-character form with dashes, in lower case; anything else is no upload of ours.
    pub fn parse(text: &str) -> Option<UploadId> {
        let dashes = [8, 13, 18, 23];
        if text.len() != 36 || !text.is_ascii() || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        if !dashes.iter().all(|at| text.as_bytes()[*at] == b'-') {
            return None;
        }
        let digits: String = text.chars().filter(|character| *character != '-').collect();
        let mut bytes = [0; 16];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(UploadId(bytes))
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = hex::encode(self.0);
        let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
        write!(f, "{a}-{b}-{c}-{d}-{e}")
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_follow_the_grammar() {
        for good in ["a", "library/alpine", "a/blobs/uploads", "a__b/c.d/e---f", "0", "a_b", &"a".repeat(255)]
        {
            assert!(RepositoryName::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/a", "a/", "a//b", "A", "a/../b", "..", "a..b", "a___b", "a._b", "-a", "a-", ".git",
            "_uploads", "a b", "ä", "a\0b", &long,
        ] {
            assert!(RepositoryName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_follow_the_grammar() {
        for good in ["latest", "_x", "1.0-rc.1", "A", &"t".repeat(128)] {
            assert!(Tag::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".x", "-x", "a b", "a:b", "a/b", "..", "a\r\nX: 1", "😀", &"t".repeat(129)] {
            assert!(Tag::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn upload_ids_survive_their_text() {
        let id = UploadId::random();
        assert_eq!(UploadId::parse(&id.to_string()), Some(id));
        for bad in [
            "",
            "../../etc/passwd",
            "00000000-0000-0000-0000-00000000000",
            "00000000000000000000000000000000-000",
        ] {
            assert_eq!(UploadId::parse(bad), None, "{bad}");
        }
    }
}
