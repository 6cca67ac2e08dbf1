//! A peer that no Debian package brings: the conformance suite of the distribution specification, built by Go.
//!
//! It is fixed to one version, so that the number of its checks is known. Where there is no Go, or its module proxy does not give the
//! module, the suite is left out, and the last lines of the test command say so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace;

const MODULE: &str = "github.com/opencontainers/distribution-spec/conformance";
/// The newest that the module proxy has. It needs Go 1.24.
const VERSION: &str = "v0.0.0-20260831232431-97274622c111";
/// Seconds that fetching and building may take: it takes 40 without any cache.
const LIMIT_S: &str = "300";

/// Returns the program of the conformance suite, which is built where it is missing.
///
/// # Errors
/// Why it cannot be had; the tests can go on without it.
pub fn conformance() -> Result<PathBuf> {
    let directory = workspace::target_directory()?.join("peers").join(VERSION);
    let program = directory.join("conformance");
    if program.is_file() {
        return Ok(program);
    }
    println!("building the conformance suite {VERSION}");
    let output = Command::new("timeout")
        .args(["--kill-after=10", LIMIT_S])
        .arg(go().context("there is no Go here, and the conformance suite needs Go 1.24")?)
        .args(["install", &format!("{MODULE}@{VERSION}")])
        .env("GOBIN", &directory)
        .stdin(Stdio::null())
        .output()
        .context("could not start timeout")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("go install: {}", said.lines().last().unwrap_or("no words").trim());
    }
    Ok(program)
}

/// Where Go is: in the PATH, or where its own archive is unpacked to.
fn go() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/local/go/bin")]);
    directories.map(|directory| directory.join("go")).find(|program| Path::is_file(program))
}
