//! `cargo xtask`: the chores of the workspace.
//!
//! Promise: `cargo xtask test` is the whole of what must be green; nothing else has to be known.
//! Not here: tests themselves (they stand in the crates and in `tests/`), product code.

mod bench;
mod go_peers;
mod peers;
mod python_peers;
mod suite;
mod tidy;
mod verify;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
Usage:  cargo xtask COMMAND

Commands:
  test [STEP...]   Run everything that must be green, or only the steps named
                   (packages, fmt, tidy, clippy, unit, build, black-box)
  tidy             Check crate edges, versions, file sizes, module names
  bench [ARG...]   Measure shale beside docker, podman and skopeo (--help for its options);
                   bench registry: shale registry serve beside other registries and nginx
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("test") => verify::run(&arguments[1..]),
        Some("tidy") => tidy::run(),
        Some("bench") => bench::run(&arguments[1..]),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => {
            if let Some(name) = other {
                eprintln!("unknown command: {name}\n");
            }
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
