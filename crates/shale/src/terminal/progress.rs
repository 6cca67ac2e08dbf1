//! Progress of pull and push: on a terminal a line for each layer with a bar, elsewhere a line for each change of state.
//!
//! Promise: the bytes are those of docker's display, except that no line is longer than the terminal and none that has
//! scrolled away is drawn again, so nothing else on the screen is overwritten.

mod bar;

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

pub use self::bar::Transfer;
use super::output;
use super::screen::{self, Size};

/// Between two drawings of one line of which only the numbers change. Docker's daemon waits as long.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// Lines can be drawn again.
    Terminal,
    /// A file or a pipe: every line is written once.
    Plain {
        /// Write a line with the percentage of a running transfer this often; `None`, docker's way, never.
        percent_interval: Option<Duration>,
    },
    /// `--quiet`.
    Nothing,
}

/// A display that many threads report to.
pub struct Progress {
    display: Mutex<Display>,
}

struct Display {
    surface: Surface,
    output: Box<dyn Write + Send>,
    /// Asked at every drawing, so that a resized window is right at once.
    size: Box<dyn Fn() -> Size + Send>,
    lines: HashMap<String, Line>,
    /// Number of lines drawn since the last message; line 0 is the uppermost.
    drawn: usize,
}

struct Line {
    position: usize,
    status: String,
    written: Instant,
}

impl Progress {
    /// Shows progress on standard output as `surface` says.
    pub fn new(surface: Surface) -> Progress {
        let size = || screen::size(io::stdout()).unwrap_or(Size { columns: 200, rows: 50 });
        Progress::to(surface, Box::new(output::stdout()), Box::new(size))
    }

    /// Shows progress on standard output: lines with bars where that is a terminal, else plain lines without percentages.
    pub fn on_stdout() -> Progress {
        Progress::new(match screen::is_terminal(io::stdout()) {
            true => Surface::Terminal,
            false => Surface::Plain { percent_interval: None },
        })
    }

    /// Shows progress on `output`; `size` returns the size of the terminal at the moment.
    pub fn to(
        surface: Surface,
        output: Box<dyn Write + Send>,
        size: Box<dyn Fn() -> Size + Send>,
    ) -> Progress {
        Progress { display: Mutex::new(Display { surface, output, size, lines: HashMap::new(), drawn: 0 }) }
    }

    /// Shows the state of `id`, a layer: `Downloading` with a `transfer`, `Pull complete` without.
    ///
    /// Cheap to call for every block: what changes too fast to read is not drawn.
    pub fn update(&self, id: &str, status: &str, transfer: Option<Transfer>) {
        self.update_at(Instant::now(), id, status, transfer);
    }

    /// Writes a line of its own below what is drawn: `Digest: sha256:…`.
    pub fn message(&self, text: &str) {
        self.with(|display| display.message(text));
    }

    fn update_at(&self, now: Instant, id: &str, status: &str, transfer: Option<Transfer>) {
        self.with(|display| match display.surface {
            Surface::Terminal => display.draw(now, id, status, transfer),
            Surface::Plain { percent_interval } => {
                display.report(now, id, status, transfer, percent_interval)
            }
            Surface::Nothing => Ok(()),
        });
    }

    /// A reader that went away (`shale pull | head -1`) must not stop the pull: errors of the display are dropped.
    fn with(&self, act: impl FnOnce(&mut Display) -> io::Result<()>) {
        let mut display = self.display.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = act(&mut display);
        let _ = display.output.flush();
    }
}

impl Display {
    fn message(&mut self, text: &str) -> io::Result<()> {
        if self.surface == Surface::Nothing {
            return Ok(());
        }
        self.lines.clear();
        self.drawn = 0;
        writeln!(self.output, "{}", screen::escape_lines(text))
    }

    fn draw(&mut self, now: Instant, id: &str, status: &str, transfer: Option<Transfer>) -> io::Result<()> {
        let size = (self.size)();
        let mut frame = String::new();
        let position = match self.lines.get_mut(id) {
            Some(line) => {
                let is_running = transfer.is_some_and(|transfer| !transfer.is_complete());
                if line.status == status && is_running && now.duration_since(line.written) < REDRAW_INTERVAL {
                    return Ok(());
                }
                line.written = now;
                status.clone_into(&mut line.status);
                line.position
            }
            None => {
                // A new line at the bottom; it scrolls the screen where it must.
                frame.push('\n');
                let line = Line { position: self.drawn, status: status.to_owned(), written: now };
                self.lines.insert(id.to_owned(), line);
                self.drawn += 1;
                self.drawn - 1
            }
        };
        let up = self.drawn - position;
        if up >= size.rows.max(2) {
            // The line has scrolled away, and the cursor cannot follow it.
            return self.output.write_all(frame.as_bytes());
        }
        let text = bar::line(id, status, transfer, size.columns);
        frame.push_str(&format!("\x1b[{up}A\x1b[2K\r{text}\r\x1b[{up}B"));
        self.output.write_all(frame.as_bytes())
    }

    fn report(
        &mut self,
        now: Instant,
        id: &str,
        status: &str,
        transfer: Option<Transfer>,
        percent_interval: Option<Duration>,
    ) -> io::Result<()> {
        let known = self.lines.get_mut(id);
        if let Some(transfer) = transfer {
            let Some(interval) = percent_interval else { return Ok(()) };
            let is_new = known.as_ref().is_none_or(|line| line.status != status);
            if is_new {
                // The first line comes after an interval: short transfers stay silent.
                self.remember(now, id, status);
                return Ok(());
            }
            if known.is_some_and(|line| now.duration_since(line.written) >= interval) {
                self.remember(now, id, status);
                return writeln!(self.output, "{}", bar::percent_line(id, status, transfer));
            }
            return Ok(());
        }
        if known.is_some_and(|line| line.status == status) {
            return Ok(());
        }
        self.remember(now, id, status);
        writeln!(self.output, "{}: {}", screen::escape(id), screen::escape(status))
    }

    fn remember(&mut self, now: Instant, id: &str, status: &str) {
        self.lines.insert(id.to_owned(), Line { position: 0, status: status.to_owned(), written: now });
    }
}

#[cfg(test)]
mod tests;
