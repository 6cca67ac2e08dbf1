//! The view of a build on a terminal: a line a step, and below the running one the last lines that it printed.
//!
//! The whole log goes to a file, which stays where the build fails.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::terminal::screen::{self, columns, ellipsis, escape};

/// Lines of the running step that are shown.
const TAIL_LINES: usize = 6;
/// Output of the running step that is kept, to be shown when it fails.
const KEPT_BYTES_MAX: usize = 1 << 20;
const REDRAW_EVERY: Duration = Duration::from_millis(200);
/// Where a terminal does not know its width.
const COLUMNS_DEFAULT: usize = 80;

/// A live view on standard output; it ends when it is finished or dropped.
pub struct Live {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    over: Condvar,
}

struct State {
    view: View,
    log: Option<(PathBuf, File)>,
    /// Lines on the screen that the next drawing replaces.
    drawn: usize,
    is_over: bool,
}

impl Live {
    /// Starts the view; the log goes to the temporary directory.
    pub fn start() -> Live {
        let path = std::env::temp_dir().join(format!("shale-build-{}.log", std::process::id()));
        let log = File::create_new(&path).ok().map(|file| (path, file));
        let state = State { view: View::default(), log, drawn: 0, is_over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), over: Condvar::new() });
        let ticking = Arc::clone(&shared);
        // Without the thread the seconds stand still between two lines, and nothing else.
        let ticker = std::thread::Builder::new().name("shale-live".into()).spawn(move || ticking.tick()).ok();
        Live { shared, ticker }
    }

    /// Takes a piece of the builder's text.
    pub fn text(&self, text: &str) {
        let mut state = self.shared.state();
        if let Some((_, log)) = &mut state.log {
            let _ = log.write_all(text.as_bytes());
        }
        let now = Instant::now();
        let lasting = state.view.take(text, now);
        state.draw(&lasting, now);
    }

    /// Shows a line that is not the builder's.
    pub fn note(&self, text: &str) {
        let lasting: Vec<String> = text.lines().map(|line| escape(line).into_owned()).collect();
        self.shared.state().draw(&lasting, Instant::now());
    }

    /// Ends the view of a build that failed; returns what its step printed since the last call.
    pub fn end(&mut self) -> String {
        self.stop();
        std::mem::take(&mut self.shared.state().view.printed)
    }

    /// Returns where the whole log is, which then stays.
    pub fn keep_log(&self) -> Option<PathBuf> {
        self.shared.state().log.take().map(|(path, _)| path)
    }

    fn stop(&mut self) {
        let mut state = self.shared.state();
        if !std::mem::replace(&mut state.is_over, true) {
            let now = Instant::now();
            let lasting: Vec<String> = state.view.end_step(now).into_iter().collect();
            state.draw(&lasting, now);
        }
        drop(state);
        self.shared.over.notify_all();
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop();
        if let Some((path, _)) = self.shared.state().log.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) {
        let mut state = self.state();
        while !state.is_over {
            state.draw(&[], Instant::now());
            let waited = self.over.wait_timeout(state, REDRAW_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    /// Replaces what is on the screen: `lasting` lines stay for good, those of the running step until the next drawing.
    fn draw(&mut self, lasting: &[String], now: Instant) {
        if self.is_over && self.drawn == 0 && lasting.is_empty() {
            // The screen is somebody else's.
            return;
        }
        let columns = screen::size(io::stdout()).map_or(COLUMNS_DEFAULT, |size| size.columns);
        let moving = if self.is_over { Vec::new() } else { self.view.running(now) };
        let mut out = String::new();
        if self.drawn > 0 {
            out.push_str(&format!("\x1b[{}A", self.drawn));
        }
        out.push_str("\r\x1b[J");
        for line in lasting.iter().chain(&moving) {
            // One column is left free: some terminals break the line at the last one.
            out.push_str(&ellipsis(line, columns.saturating_sub(1)));
            out.push('\n');
        }
        self.drawn = moving.len();
        let mut stdout = io::stdout().lock();
        // A terminal that went away does not stop the build.
        let _ = stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush());
    }
}

/// What the builder's text says about steps.
#[derive(Debug, Default)]
struct View {
    step: Option<RunningStep>,
    /// A line whose end has not come yet.
    unfinished: String,
    tail: VecDeque<String>,
    printed: String,
}

#[derive(Debug)]
struct RunningStep {
    name: String,
    is_cached: bool,
    started: Instant,
}

impl View {
    /// Takes text in, and returns the lines that stay on the screen for good.
    fn take(&mut self, text: &str, now: Instant) -> Vec<String> {
        let mut lasting = Vec::new();
        let text = std::mem::take(&mut self.unfinished) + text;
        let mut rest = text.as_str();
        while let Some((line, after)) = rest.split_once('\n') {
            lasting.extend(self.take_line(line.trim_end_matches('\r'), now));
            rest = after;
        }
        self.unfinished = rest.to_owned();
        lasting
    }

    fn take_line(&mut self, line: &str, now: Instant) -> Vec<String> {
        let line = line.replace("\x1b[91m", "").replace("\x1b[0m", "");
        if let Some((number, text)) = line.strip_prefix("Step ").and_then(|rest| rest.split_once(" : ")) {
            let ended = self.end_step(now);
            let name = format!("[{}] {}", escape(number), escape(text));
            self.step = Some(RunningStep { name, is_cached: false, started: now });
            self.printed.clear();
            return ended.into_iter().collect();
        }
        if line.starts_with("Successfully ") || line.starts_with("Verified: ") {
            return self.end_step(now).into_iter().chain([escape(&line).into_owned()]).collect();
        }
        match &mut self.step {
            Some(step) if line == " ---> Using cache" => step.is_cached = true,
            _ if line.starts_with(" ---> ") || line.starts_with("Removing intermediate container ") => {}
            Some(_) => {
                if self.printed.len() + line.len() < KEPT_BYTES_MAX {
                    self.printed.push_str(&line);
                    self.printed.push('\n');
                }
                self.tail.push_back(escape(&line.replace('\t', "    ")).into_owned());
                if self.tail.len() > TAIL_LINES {
                    self.tail.pop_front();
                }
            }
            None => return vec![escape(&line).into_owned()],
        }
        Vec::new()
    }

    /// Returns the last line of the running step, which is over.
    fn end_step(&mut self, now: Instant) -> Option<String> {
        let step = self.step.take()?;
        self.tail.clear();
        if !self.unfinished.is_empty() {
            let rest = std::mem::take(&mut self.unfinished);
            self.printed.push_str(&rest);
        }
        Some(step.line(now))
    }

    /// Returns the lines of the running step.
    fn running(&self, now: Instant) -> Vec<String> {
        let Some(step) = &self.step else { return Vec::new() };
        let tail = self.tail.iter().map(|line| format!("      | {line}"));
        [step.line(now)].into_iter().chain(tail).collect()
    }
}

impl RunningStep {
    fn line(&self, now: Instant) -> String {
        if self.is_cached {
            return format!(" => CACHED {}", self.name);
        }
        let seconds = now.duration_since(self.started).as_secs_f64();
        // The name is what may be too long, so the time stands in front of it.
        let time = format!("{seconds:.1}s");
        format!(" => {}{time} {}", " ".repeat(6_usize.saturating_sub(columns(&time))), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_one_line_and_its_output_only_while_it_runs() {
        let start = Instant::now();
        let later = start + Duration::from_millis(2340);
        let mut view = View::default();
        assert_eq!(view.take("Step 1/3 : FROM busy", start), Vec::<String>::new());
        // A line is a step when its end has come.
        assert_eq!(view.take("box\n", start), Vec::<String>::new());
        assert_eq!(view.take(" ---> 0123\nStep 2/3 : COPY a /\n", later), [" =>   2.3s [1/3] FROM busybox"]);
        assert_eq!(
            view.take(" ---> Using cache\n ---> 4567\nStep 3/3 : RUN make\n", later),
            [" => CACHED [2/3] COPY a /"]
        );
        let log: String = (1..=8).map(|number| format!("line {number}\n")).collect();
        assert!(view.take(&format!(" ---> Running in 89ab\n{log}\x1b[91mbad\x1b[0m"), later).is_empty());
        let shown = view.running(later + Duration::from_secs(10));
        assert_eq!(shown[0], " =>  10.0s [3/3] RUN make");
        assert_eq!(
            shown[1..],
            ["line 3", "line 4", "line 5", "line 6", "line 7", "line 8"]
                .map(|line| format!("      | {line}"))
        );
        let ended =
            view.take("\nRemoving intermediate container 89ab\n ---> cdef\nSuccessfully built cdef\n", later);
        assert_eq!(ended, [" =>   0.0s [3/3] RUN make", "Successfully built cdef"]);
        assert!(view.printed.ends_with("line 8\nbad\n"), "{}", view.printed);
        assert!(view.running(later).is_empty());
    }

    #[test]
    fn what_a_command_prints_moves_no_cursor() {
        let now = Instant::now();
        let mut view = View::default();
        view.take("Step 1/1 : RUN x\n\x1b[2J\x1b]0;title\x07\rtext\n", now);
        assert!(
            view.running(now).iter().all(|line| !line.contains(['\x1b', '\r', '\x07'])),
            "{:?}",
            view.running(now)
        );
    }
}
