//! What stands between text from outside and a terminal: escaping, and what the terminal is.

use std::{borrow::Cow, os::fd::AsFd};

/// Returns `text` with every control character made visible, so that a name, a description or an error of a registry
/// cannot move the cursor, set the title, or reorder what a person reads.
///
/// C0 and C1 controls, DEL and the Unicode characters that change direction or are invisible become `\x1b`, `\u{202e}`
/// and so on. Line breaks and tabs become escapes too; [`escape_lines`] keeps them.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_except(text, |_| false)
}

/// Returns `text` as [`escape`] does, but keeps line breaks and tabs: for messages of several lines.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_except(text, |character| matches!(character, '\n' | '\t'))
}

fn escape_except(text: &str, keep: fn(char) -> bool) -> Cow<'_, str> {
    let harmful = |character| is_harmful(character) && !keep(character);
    let Some(first) = text.find(harmful) else { return Cow::Borrowed(text) };
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str(&text[..first]);
    for character in text[first..].chars() {
        match character {
            '\n' if harmful(character) => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' if harmful(character) => escaped.push_str("\\t"),
            _ if !harmful(character) => escaped.push(character),
            _ if (character as u32) < 0x100 => escaped.push_str(&format!("\\x{:02x}", character as u32)),
            _ => escaped.push_str(&format!("\\u{{{:x}}}", character as u32)),
        }
    }
    Cow::Owned(escaped)
}

fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Returns whether `stream` is a terminal.
pub fn is_terminal(stream: impl AsFd) -> bool {
    rustix::termios::isatty(stream)
}

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// Returns the size of the terminal behind `stream` as it is now; `None` where `stream` is no terminal or does not know.
pub fn size(stream: impl AsFd) -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(Size { columns: size.ws_col.into(), rows: size.ws_row.into() })
}

/// Returns the number of columns that `text` takes on a terminal: wide East Asian characters and emoji take two.
pub fn columns(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(character_columns).sum() }
}

/// Returns 2 for characters that Unicode calls wide or full-width, else 1 (as Docker counts: combining marks are 1).
fn character_columns(character: char) -> usize {
    // The wide and full-width ranges of EastAsianWidth.txt, merged where only unassigned characters lie between.
    match character as u32 {
        0x1100..=0x115f
        | 0x231a..=0x231b
        | 0x2329..=0x232a
        | 0x23e9..=0x23ec
        | 0x23f0
        | 0x23f3
        | 0x25fd..=0x25fe
        | 0x2614..=0x2615
        | 0x2648..=0x2653
        | 0x267f
        | 0x2693
        | 0x26a1
        | 0x26aa..=0x26ab
        | 0x26bd..=0x26be
        | 0x26c4..=0x26c5
        | 0x26ce
        | 0x26d4
        | 0x26ea
        | 0x26f2..=0x26f3
        | 0x26f5
        | 0x26fa
        | 0x26fd
        | 0x2705
        | 0x270a..=0x270b
        | 0x2728
        | 0x274c
        | 0x274e
        | 0x2753..=0x2755
        | 0x2757
        | 0x2795..=0x2797
        | 0x27b0
        | 0x27bf
        | 0x2b1b..=0x2b1c
        | 0x2b50
        | 0x2b55
        | 0x2e80..=0x303e
        | 0x3041..=0x4dbf
        | 0x4e00..=0xa4cf
        | 0xa960..=0xa97c
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe10..=0xfe19
        | 0xfe30..=0xfe6b
        | 0xff01..=0xff60
        | 0xffe0..=0xffe6
        | 0x16fe0..=0x18cff
        | 0x1aff0..=0x1b2fb
        | 0x1f004
        | 0x1f0cf
        | 0x1f18e
        | 0x1f191..=0x1f19a
        | 0x1f200..=0x1f320
        | 0x1f32d..=0x1f335
        | 0x1f337..=0x1f37c
        | 0x1f37e..=0x1f393
        | 0x1f3a0..=0x1f3ca
        | 0x1f3cf..=0x1f3d3
        | 0x1f3e0..=0x1f3f0
        | 0x1f3f4
        | 0x1f3f8..=0x1f43e
        | 0x1f440
        | 0x1f442..=0x1f4fc
        | 0x1f4ff..=0x1f53d
        | 0x1f54b..=0x1f54e
        | 0x1f550..=0x1f567
        | 0x1f57a
        | 0x1f595..=0x1f596
        | 0x1f5a4
        | 0x1f5fb..=0x1f64f
        | 0x1f680..=0x1f6c5
        | 0x1f6cc
        | 0x1f6d0..=0x1f6d2
        | 0x1f6d5..=0x1f6df
        | 0x1f6eb..=0x1f6ec
        | 0x1f6f4..=0x1f6fc
        | 0x1f7e0..=0x1f7f0
        | 0x1f90c..=0x1f93a
        | 0x1f93c..=0x1f945
        | 0x1f947..=0x1f9ff
        | 0x1fa70..=0x1faff
        | 0x20000..=0x2fffd
        | 0x30000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Returns `text`, cut to `columns_max` columns with `…` as the last where it is longer.
///
/// Source: docker CLI `formatter.Ellipsis`.
pub fn ellipsis(text: &str, columns_max: usize) -> Cow<'_, str> {
    if columns(text) <= columns_max {
        return Cow::Borrowed(text);
    }
    let mut used = 0;
    let fits = |&(_, character): &(usize, char)| {
        used += character_columns(character);
        used < columns_max
    };
    let end = text.char_indices().take_while(fits).last().map_or(0, |(start, last)| start + last.len_utf8());
    Cow::Owned(format!("{}…", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_become_text() {
        assert_eq!(escape("\u{1b}[2J\u{7}evil\u{9b}31m"), r"\x1b[2J\x07evil\x9b31m");
        assert_eq!(escape("a\r\nb\tc"), r"a\r\nb\tc");
        assert_eq!(escape("user\u{202e}gpj"), r"user\u{202e}gpj");
    }

    #[test]
    fn harmless_text_is_not_copied() {
        assert!(matches!(escape("Grüße, 世界 🐳"), Cow::Borrowed("Grüße, 世界 🐳")));
    }

    #[test]
    fn messages_of_several_lines_keep_their_breaks() {
        assert_eq!(escape_lines("one\n\ttwo\r\u{1b}"), "one\n\ttwo\\r\\x1b");
    }

    #[test]
    fn ellipsis_counts_columns_as_docker_does() {
        // The rule of docker's Ellipsis, by hand: 世 and 🐳 take two columns.
        assert_eq!(ellipsis("t🐳ststring", 4), "t🐳…");
        assert_eq!(ellipsis("hello", 5), "hello");
        assert_eq!(ellipsis("hello!", 5), "hell…");
        assert_eq!(ellipsis("世界世界", 5), "世界…");
        assert_eq!(ellipsis("世界世界", 4), "世…");
    }

    #[test]
    fn history_lines_are_cut_as_recorded() {
        // images/history golden: fixtures/docker/20.10.24/cli-28.2/history-app-trunc.txt.
        let created_by =
            "/bin/sh -c chmod 0711 /bin/capfile && mkdir -p /srv/a /srv/b && echo one > /srv/a/one";
        assert_eq!(ellipsis(created_by, 45), "/bin/sh -c chmod 0711 /bin/capfile && mkdir …");
    }
}
