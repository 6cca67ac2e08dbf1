//! Names from archives: bytes, shown to people without their control characters, cleaned before any use.

use std::fmt;

/// The name of an entry as the archive has it.
///
/// Its text form escapes control characters and bytes that are not UTF-8, so that it is safe on a terminal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(Box<[u8]>);

impl EntryName {
    pub(crate) fn new(name: &[u8]) -> EntryName {
        EntryName(name.into())
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                // Direction marks reorder what a terminal shows; they are no control characters to Unicode.
                let is_direction = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
                if character.is_control() || is_direction {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    f.write_char(character)?;
                }
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A name that leaves the root when its `..` are taken away.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Escapes;

/// Replaces `cleaned` by `name` relative to the root: no `.`, no `..`, no doubled or outer slash; empty for the root.
pub(crate) fn clean(name: &[u8], cleaned: &mut Vec<u8>) -> Result<(), Escapes> {
    cleaned.clear();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if cleaned.is_empty() => return Err(Escapes),
            b".." => cleaned.truncate(cleaned.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            _ => {
                if !cleaned.is_empty() {
                    cleaned.push(b'/');
                }
                cleaned.extend_from_slice(part);
            }
        }
    }
    Ok(())
}

/// Splits a cleaned name into its directory, empty for the root, and its last part.
pub(crate) fn split(cleaned: &[u8]) -> (&[u8], &[u8]) {
    match cleaned.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&cleaned[..slash], &cleaned[slash + 1..]),
        None => (b"", cleaned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Result<&str, Escapes>) {
        let mut cleaned = Vec::new();
        let result = clean(name.as_bytes(), &mut cleaned);
        assert_eq!(result.map(|()| std::str::from_utf8(&cleaned).unwrap()), expected);
    }

    #[test]
    fn names_become_relative_to_the_root() {
        check("./a//b/./c/", Ok("a/b/c"));
        check("/abs", Ok("abs"));
        check("a/../ok", Ok("ok"));
        check("a/b/../c", Ok("a/c"));
        check(".", Ok(""));
        check("", Ok(""));
        check("a/..", Ok(""));
    }

    #[test]
    fn names_that_leave_the_root_are_refused() {
        check("..", Err(Escapes));
        check("../x", Err(Escapes));
        check("/../x", Err(Escapes));
        check("a/../../x", Err(Escapes));
    }

    #[test]
    fn shown_names_have_no_control_characters() {
        assert_eq!(EntryName::new(b"a\x1b[2J\n\xff\xc3\xa9").to_string(), "a\\u{1b}[2J\\n\\xffé");
    }
}
