//! `cargo xtask bench`: builds the program and the measuring programs for speed, then measures.

use anyhow::{Context, Result};

use crate::workspace;

/// Builds both in the release profile and hands `arguments` to the measuring program.
pub fn run(arguments: &[String]) -> Result<bool> {
    let built = workspace::cargo()
        .args(["build", "--release", "--package", "shale", "--package", "shale-benches"])
        .status()
        .context("could not start cargo build")?;
    if !built.success() {
        return Ok(false);
    }
    let release = workspace::target_directory()?.join("release");
    let (program, arguments) = match arguments.split_first() {
        Some((first, rest)) if first == "registry" => ("shale-bench-registry", rest),
        _ => ("shale-bench", arguments),
    };
    let measured = std::process::Command::new(release.join(program))
        .args(arguments)
        .env("SHALE_BIN", release.join("shale"))
        .status()
        .context("could not start the measuring program")?;
    Ok(measured.success())
}
