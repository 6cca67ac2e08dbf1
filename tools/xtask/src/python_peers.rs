//! A peer that no Debian package brings: docker-py with its own integration tests, from the Python package index.
//!
//! Every version is fixed, so that it is known which tests pass. Where there is no Python, or the index does not give the packages, the suite
//! is left out, and the last lines of the test command say so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The last source package that has the tests.
const TESTS: &str = "7.0.0";
/// What they are run with: the library that is current, and what it and the tests need.
const PACKAGES: [&str; 8] = [
    "docker==7.1.0",
    "paramiko==3.5.1",
    "pytest==7.4.4",
    "pytest-timeout==2.4.0",
    "requests==2.34.2",
    "setuptools==65.5.0",
    "urllib3==2.8.0",
    "websocket-client==1.8.0",
];
/// Seconds that fetching may take: it takes 20 without any cache.
const LIMIT_S: &str = "180";

/// Returns a folder with `tests/integration` of docker-py and `venv/bin/python` to run it with; it is made where it is missing.
///
/// # Errors
/// Why it cannot be had; the tests can go on without it.
pub fn docker_py() -> Result<PathBuf> {
    let peers = workspace::target_directory()?.join("peers");
    let directory = peers.join(format!("docker-py-{TESTS}"));
    // A virtual environment knows its own path, so it cannot be made elsewhere and renamed.
    let finished = directory.join("finished");
    if finished.exists() {
        return Ok(directory);
    }
    println!("fetching docker-py with its tests");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory)?;
    fetch(&directory)?;
    environment(&directory)?;
    fs::write(finished, "")?;
    Ok(directory)
}

fn fetch(directory: &Path) -> Result<()> {
    let source = format!("docker=={TESTS}");
    let pip =
        ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", ".", &source];
    run(Command::new("python3").args(pip), directory)?;
    let folder = format!("docker-{TESTS}");
    let members = [format!("{folder}/tests"), format!("{folder}/pytest.ini"), format!("{folder}/Makefile")];
    let archive = format!("{folder}.tar.gz");
    run(Command::new("tar").args(["-xzf", &archive, "--strip-components=1"]).args(members), directory)
}

fn environment(directory: &Path) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv", "venv"]), directory)?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new("venv/bin/python").args(install).args(PACKAGES), directory)
}

fn run(command: &mut Command, directory: &Path) -> Result<()> {
    let mut bounded = Command::new("timeout");
    bounded.args(["--kill-after=10", LIMIT_S]).arg(command.get_program()).args(command.get_args());
    let output =
        bounded.current_dir(directory).stdin(Stdio::null()).output().context("could not start timeout")?;
    if !output.status.success() {
        let program = command.get_program().to_string_lossy();
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}", said.lines().last().unwrap_or("no words").trim());
    }
    Ok(())
}
