//! `cargo xtask bench`: builds the program and the measuring program for speed, then measures.

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
    let measured = std::process::Command::new(release.join("shale-bench"))
        .args(arguments)
        .env("SHALE_BIN", release.join("shale"))
        .status()
        .context("could not start the measuring program")?;
    Ok(measured.success())
}
