use std::sync::{Arc, Mutex};

use super::*;

/// What was written, for many hands.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

fn progress(surface: Surface, columns: usize, rows: usize) -> (Progress, Output) {
    let output = Output::default();
    let size = Box::new(move || Size { columns, rows });
    (Progress::to(surface, Box::new(output.clone()), size), output)
}

const PLAIN: Surface = Surface::Plain { percent_interval: None };

fn of(current: u64, total: u64) -> Option<Transfer> {
    Some(Transfer { current, total })
}

#[test]
fn a_terminal_gets_the_recorded_bytes() {
    // The beginning and the end of transcript pull-03-big-tty; the terminal driver had made \r\n of every \n.
    let (progress, output) = progress(Surface::Terminal, 132, 40);
    let start = Instant::now();
    let mut now = start;
    let mut update = |id: &str, status: &str, transfer| {
        now += REDRAW_INTERVAL;
        progress.update_at(now, id, status, transfer);
    };
    progress.message("1: Pulling from cli28.2_dockerd20.10/big");
    update("3baae709baa8", "Already exists", None);
    update("a55881f02d49", "Pulling fs layer", None);
    update("cb48aebc573e", "Pulling fs layer", None);
    update("a55881f02d49", "Downloading", of(513_024, 50_347_190));
    update("cb48aebc573e", "Downloading", of(269_312, 25_173_686));
    update("a55881f02d49", "Extracting", of(50_347_190, 50_347_190));
    update("cb48aebc573e", "Pull complete", None);
    progress.message("Status: Downloaded newer image");
    let expected = [
        "1: Pulling from cli28.2_dockerd20.10/big\n",
        "\n\x1b[1A\x1b[2K\r3baae709baa8: Already exists \r\x1b[1B",
        "\n\x1b[1A\x1b[2K\ra55881f02d49: Pulling fs layer \r\x1b[1B",
        "\n\x1b[1A\x1b[2K\rcb48aebc573e: Pulling fs layer \r\x1b[1B",
        "\x1b[2A\x1b[2K\ra55881f02d49: Downloading [>                                                  ]    513kB/50.35MB\r\x1b[2B",
        "\x1b[1A\x1b[2K\rcb48aebc573e: Downloading [>                                                  ]  269.3kB/25.17MB\r\x1b[1B",
        "\x1b[2A\x1b[2K\ra55881f02d49: Extracting [==================================================>]  50.35MB/50.35MB\r\x1b[2B",
        "\x1b[1A\x1b[2K\rcb48aebc573e: Pull complete \r\x1b[1B",
        "Status: Downloaded newer image\n",
    ];
    assert_eq!(output.take(), expected.concat());
}

#[test]
fn bars_fill_as_recorded() {
    for (current, total, expected) in [
        (1_567_744, 50_347_190, "[=>                                                 ]  1.568MB/50.35MB"),
        (1_956_864, 25_173_686, "[===>                                               ]  1.957MB/25.17MB"),
        (3_084_288, 25_173_686, "[======>                                            ]  3.084MB/25.17MB"),
        (1_040_384, 50_347_190, "[=>                                                 ]   1.04MB/50.35MB"),
    ] {
        assert_eq!(
            bar::line("x", "Downloading", of(current, total), 200),
            format!("x: Downloading {expected}")
        );
    }
}

#[test]
fn a_narrow_terminal_gets_numbers_only() {
    assert_eq!(
        bar::line("x", "Downloading", of(3_145_728, 50_347_190), 110),
        "x: Downloading  3.146MB/50.35MB"
    );
    assert!(bar::line("x", "Downloading", of(3_145_728, 50_347_190), 111).contains("[===>"));
}

#[test]
fn an_unknown_or_wrong_total_is_not_shown() {
    assert_eq!(bar::line("x", "Pushing", of(5_000, 0), 80), "x: Pushing      5kB");
    assert_eq!(bar::line("x", "Pushing", of(0, 0), 80), "x: Pushing ");
    assert_eq!(bar::line("x", "Pushing", of(5_000, 4_000), 80), "x: Pushing      5kB");
}

#[test]
fn no_line_is_as_long_as_the_terminal_is_wide() {
    for columns in 1..80 {
        let line = bar::line("a55881f02d49", "Downloading", of(3_145_728, 50_347_190), columns);
        assert!(screen::columns(&line) < columns.max(2), "{columns}: {line:?}");
    }
}

#[test]
fn numbers_that_change_too_fast_are_not_drawn_but_the_last_is() {
    let (progress, output) = progress(Surface::Terminal, 132, 40);
    let start = Instant::now();
    progress.update_at(start, "a", "Downloading", of(1, 1000));
    output.take();
    progress.update_at(start + REDRAW_INTERVAL / 2, "a", "Downloading", of(500, 1000));
    assert_eq!(output.take(), "");
    progress.update_at(start + REDRAW_INTERVAL / 2, "a", "Downloading", of(1000, 1000));
    assert!(output.take().contains("1kB/1kB"));
    progress.update_at(start + REDRAW_INTERVAL / 2, "a", "Pull complete", None);
    assert!(output.take().contains("Pull complete"));
}

#[test]
fn a_line_that_scrolled_away_is_left_alone() {
    let (progress, output) = progress(Surface::Terminal, 132, 5);
    for id in 0..10 {
        progress.update(&format!("layer{id}"), "Waiting", None);
    }
    output.take();
    progress.update("layer5", "Pull complete", None);
    assert_eq!(output.take(), "", "layer5 is five lines up on a screen of five");
    progress.update("layer6", "Pull complete", None);
    assert!(output.take().starts_with("\x1b[4A"));
}

#[test]
fn elsewhere_only_states_are_written_once_each() {
    // Transcript pull-04-big-plain.
    let (progress, output) = progress(PLAIN, 0, 0);
    progress.message("1: Pulling from cli28.2_dockerd20.10/big");
    progress.update("3baae709baa8", "Already exists", None);
    progress.update("a55881f02d49", "Pulling fs layer", None);
    for current in 0..100 {
        progress.update("a55881f02d49", "Downloading", of(current, 100));
    }
    progress.update("a55881f02d49", "Verifying Checksum", None);
    progress.update("a55881f02d49", "Verifying Checksum", None);
    progress.update("a55881f02d49", "Download complete", None);
    progress.update("a55881f02d49", "Extracting", of(100, 100));
    progress.update("a55881f02d49", "Pull complete", None);
    assert_eq!(
        output.take(),
        "1: Pulling from cli28.2_dockerd20.10/big\n3baae709baa8: Already exists\na55881f02d49: Pulling fs layer\n\
         a55881f02d49: Verifying Checksum\na55881f02d49: Download complete\na55881f02d49: Pull complete\n"
    );
}

#[test]
fn percentages_come_at_the_interval_that_was_asked_for() {
    let interval = Duration::from_secs(10);
    let (progress, output) = progress(Surface::Plain { percent_interval: Some(interval) }, 0, 0);
    let start = Instant::now();
    for second in 0..=25 {
        progress.update_at(
            start + Duration::from_secs(second),
            "a",
            "Downloading",
            of(second * 4_000_000, 100_000_000),
        );
    }
    progress.update_at(start, "a", "Pull complete", None);
    assert_eq!(
        output.take(),
        "a: Downloading 40% 40MB/100MB\na: Downloading 80% 80MB/100MB\na: Pull complete\n"
    );
}

#[test]
fn what_a_registry_sends_cannot_move_the_cursor() {
    let (progress, output) = progress(Surface::Terminal, 132, 40);
    progress.update("a\x1b[5A", "Retrying: \x1b]0;evil\x07\n", None);
    progress.message("evil\x1b[2J");
    let shown = output.take();
    assert!(shown.contains(r"a\x1b[5A: Retrying: \x1b]0;evil\x07\n "));
    assert!(shown.ends_with("evil\\x1b[2J\n"));
}

#[test]
fn threads_never_mix_their_lines() {
    let (progress, output) = progress(PLAIN, 0, 0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let progress = &progress;
            scope.spawn(move || {
                for step in 0..100 {
                    progress.update(&format!("layer{thread}"), &format!("step {step}"), None);
                }
            });
        }
    });
    let shown = output.take();
    assert_eq!(shown.lines().count(), 800);
    assert!(shown.lines().all(|line| line.starts_with("layer") && line.contains(": step ")));
}

#[test]
fn quiet_writes_nothing() {
    let (progress, output) = progress(Surface::Nothing, 132, 40);
    progress.update("a", "Pull complete", None);
    progress.message("Digest: x");
    assert_eq!(output.take(), "");
}
