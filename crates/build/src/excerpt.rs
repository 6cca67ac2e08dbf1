//! The lines of the Dockerfile around a fault.

use std::fmt::Write as _;

use shale_dockerfile::{Dockerfile, Span};

const CONTEXT_LINES: usize = 3;
const RULE: &str = "--------------------";

/// Returns the lines around `span`, with `>>>` in front of those that are meant, as BuildKit shows them.
pub fn excerpt(dockerfile: &Dockerfile, span: Span) -> String {
    let first = span.start.line.saturating_sub(CONTEXT_LINES).max(1);
    let last = span.end.line.max(span.start.line);
    let mut text = format!("{}:{}\n{RULE}\n", dockerfile.file_name, span.start.line);
    let lines = dockerfile.source().lines().enumerate().map(|(index, line)| (index + 1, line));
    for (number, line) in lines.skip(first - 1).take_while(|(number, _)| *number <= last + CONTEXT_LINES) {
        let mark = if (span.start.line..=last).contains(&number) { ">>>" } else { "   " };
        let line: String = line.chars().take(400).collect();
        let _ = writeln!(text, "{number:4} | {mark} {line}");
    }
    text.push_str(RULE);
    text.push('\n');
    text
}
