//! `cargo xtask test`: every check in order, one summary, one exit code.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{go_peers, peers, python_peers, suite, tidy, workspace};

/// One thing that must be green.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Packages,
    Fmt,
    Tidy,
    Clippy,
    Unit,
    Build,
    BlackBox,
}

/// The order is that of cost: a misplaced blank is reported before anything is compiled.
const STEPS: [(&str, Step); 7] = [
    ("packages", Step::Packages),
    ("fmt", Step::Fmt),
    ("tidy", Step::Tidy),
    ("clippy", Step::Clippy),
    ("unit", Step::Unit),
    ("build", Step::Build),
    ("black-box", Step::BlackBox),
];

/// The black-box suites run peers in parallel with the program; more than this many at a time only wait for the disk.
const BLACK_BOX_THREADS: &str = "2";

/// How long the tests of a step may take, several times what they need: a test that hangs must not hold everything up.
const UNIT_LIMIT: Duration = Duration::from_secs(35 * 60);
const BLACK_BOX_LIMIT: Duration = Duration::from_secs(40 * 60);

/// What the summary says beside the outcome of each step.
#[derive(Debug, Default)]
struct Remarks {
    /// Tests that passed only when they ran again.
    unsteady: Vec<String>,
    /// Suites whose peer cannot be had, each with the reason.
    left_out: Vec<String>,
}

/// Runs all steps, or those named, and prints a summary; false when one of them failed.
pub fn run(names: &[String]) -> Result<bool> {
    let steps = chosen(names)?;
    let mut results: Vec<(&str, Duration, Result<()>)> = Vec::new();
    let mut remarks = Remarks::default();
    for (name, step) in steps {
        println!("\n=== {name}");
        let start = Instant::now();
        let result = run_step(step, &results, &mut remarks);
        if let Err(error) = &result {
            eprintln!("{name}: {error:#}");
        }
        results.push((name, start.elapsed(), result));
    }
    println!("\n=== summary");
    for (name, elapsed, result) in &results {
        let verdict = match result {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("FAILED: {error:#}"),
        };
        println!("{name:<10} {:>7.1} s  {verdict}", elapsed.as_secs_f64());
    }
    for name in remarks.unsteady {
        println!("failed at first and passed when it ran again, so it is to be mended: {name}");
    }
    for what in remarks.left_out {
        println!("left out: {what}");
    }
    Ok(results.iter().all(|(_, _, result)| result.is_ok()))
}

fn chosen(names: &[String]) -> Result<Vec<(&'static str, Step)>> {
    if names.is_empty() {
        return Ok(STEPS.to_vec());
    }
    names
        .iter()
        .map(|name| {
            let step = STEPS.iter().find(|(known, _)| known == name).copied();
            step.with_context(|| {
                let known: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
                format!("no step is called {name}; there are {}", known.join(", "))
            })
        })
        .collect()
}

fn run_step(step: Step, before: &[(&str, Duration, Result<()>)], remarks: &mut Remarks) -> Result<()> {
    match step {
        Step::Packages => peers::install_missing(),
        Step::Fmt => succeed(workspace::cargo().args(["fmt", "--all", "--check"])),
        Step::Tidy => {
            if tidy::run()? {
                Ok(())
            } else {
                bail!("the tree is not tidy")
            }
        }
        Step::Clippy => succeed(workspace::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])),
        Step::Unit => {
            let command = || {
                let mut command = workspace::cargo();
                command.args(["test", "--workspace", "--exclude", "shale-tests", "--no-fail-fast", "--"]);
                command
            };
            pass(command, UNIT_LIMIT, &mut remarks.unsteady)
        }
        // With the packages of the step before, so that features are the same and nothing is compiled twice.
        Step::Build => succeed(workspace::cargo().args([
            "build",
            "--workspace",
            "--exclude",
            "shale-tests",
            "--bin",
            "shale",
        ])),
        Step::BlackBox => {
            if before.iter().any(|(name, _, result)| *name == "build" && result.is_err()) {
                bail!("not run, the program does not build");
            }
            let program = program()?;
            let conformance = go_peers::conformance();
            if let Err(error) = &conformance {
                let what = format!("the conformance suite of the distribution specification: {error:#}");
                eprintln!("left out: {what}");
                remarks.left_out.push(what);
            }
            let docker_py = python_peers::docker_py();
            if let Err(error) = &docker_py {
                let what = format!("docker-py's integration tests: {error:#}");
                eprintln!("left out: {what}");
                remarks.left_out.push(what);
            }
            let command = || {
                let mut command = workspace::cargo();
                command
                    .args(["test", "--package", "shale-tests", "--no-fail-fast", "--", "--test-threads"])
                    .arg(BLACK_BOX_THREADS)
                    .env("SHALE_BIN", &program);
                if let Ok(conformance) = &conformance {
                    command.env("SHALE_TEST_CONFORMANCE", conformance);
                }
                if let Ok(docker_py) = &docker_py {
                    command.env("SHALE_TEST_DOCKER_PY", docker_py);
                }
                command
            };
            pass(command, BLACK_BOX_LIMIT, &mut remarks.unsteady)
        }
    }
}

/// Runs tests, and those that failed a second time.
///
/// Suites with peers depend on a busy machine's timing. A second try that passes counts, but the test enters `unsteady`:
/// it is a defect to be mended.
fn pass(command: impl Fn() -> Command, limit: Duration, unsteady: &mut Vec<String>) -> Result<()> {
    let (tests, result) = suite::run(command(), limit);
    if result.is_ok() || !tests.can_be_repeated() {
        return result;
    }
    println!("\n=== second try of {} failed tests", tests.failed.len());
    let mut again = command();
    again.arg("--exact").args(&tests.failed);
    let (_, result) = suite::run(again, limit);
    if result.is_ok() {
        unsteady.extend(tests.failed);
    }
    result
}

/// Path of the `shale` that the step `build` makes.
fn program() -> Result<PathBuf> {
    Ok(workspace::target_directory()?.join("debug").join("shale"))
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("could not start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("ended with {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_step_is_an_error_that_lists_the_steps() {
        let error = chosen(&["clipy".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("clipy") && error.contains("black-box"), "{error}");
    }

    #[test]
    fn no_names_mean_all_steps_cheapest_first() {
        let names: Vec<&str> = chosen(&[]).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["packages", "fmt", "tidy", "clippy", "unit", "build", "black-box"]);
    }
}
