//! The text of one line of progress.

use std::borrow::Cow;

use crate::terminal::{screen, units::human_size};

/// At this width and below docker draws no bar.
const NARROW_COLUMNS: usize = 110;

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes done.
    pub current: u64,
    /// Bytes in all; 0 where nobody knows.
    pub total: u64,
}

impl Transfer {
    /// Returns whether every byte is there.
    pub fn is_complete(self) -> bool {
        self.total > 0 && self.current >= self.total
    }
}

/// Returns the line of `id` for a terminal of `columns`, without the line break.
///
/// Source: moby `pkg/jsonmessage`, observed in the transcripts pull-03 and pull-20.
pub(super) fn line(id: &str, status: &str, transfer: Option<Transfer>, columns: usize) -> String {
    let progress = transfer.map(|transfer| progress(transfer, columns)).unwrap_or_default();
    let line = format!("{}: {} {progress}", screen::escape(id), screen::escape(status));
    match cut(&line, columns) {
        Cow::Borrowed(_) => line,
        Cow::Owned(cut) => cut,
    }
}

/// Returns a line with the percentage, for places without a terminal.
pub(super) fn percent_line(id: &str, status: &str, transfer: Transfer) -> String {
    let (id, status) = (screen::escape(id), screen::escape(status));
    let current = human_size(transfer.current);
    if transfer.total == 0 {
        return format!("{id}: {status} {current}");
    }
    let percent = u128::from(transfer.current.min(transfer.total)) * 100 / u128::from(transfer.total);
    format!("{id}: {status} {percent}% {current}/{}", human_size(transfer.total))
}

fn progress(transfer: Transfer, columns: usize) -> String {
    let Transfer { current, total } = transfer;
    if current == 0 && total == 0 {
        return String::new();
    }
    let current_size = human_size(current);
    if total == 0 {
        return format!("{current_size:>8}");
    }
    let numbers = match current > total {
        // The announced size was wrong, so it is not shown.
        true => format!("{current_size:>8}"),
        false => format!("{current_size:>8}/{}", human_size(total)),
    };
    if columns <= NARROW_COLUMNS {
        return numbers;
    }
    let filled = (u128::from(current) * 100 / u128::from(total) / 2).min(50) as usize;
    format!("[{}>{}] {numbers}", "=".repeat(filled), " ".repeat(50 - filled))
}

/// Cuts a line that would wrap: a wrapped line moves everything below it.
fn cut(line: &str, columns: usize) -> Cow<'_, str> {
    if columns == 0 || screen::columns(line) < columns {
        Cow::Borrowed(line)
    } else {
        screen::ellipsis(line, columns - 1)
    }
}
