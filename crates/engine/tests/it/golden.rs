//! The data roots that dockerd 20.10 and 28 wrote, each extracted anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use shale_engine::Engine;

pub const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/docker");

/// Extracts the root of a version below `into`; only root can, because of owners, devices and attributes.
pub fn extract(version: &str, into: &Path) -> PathBuf {
    let root = into.join("root");
    fs::create_dir(&root).unwrap();
    let tar = |archive: &Path, into: &Path| {
        let status = Command::new("tar")
            .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xf"])
            .arg(archive)
            .arg("-C")
            .arg(into)
            .status();
        assert!(status.unwrap().success(), "tar extracts {}", archive.display());
    };
    let fixture = |file: &str| Path::new(FIXTURES).join(version).join(file);
    match version {
        "20.10.24" => tar(&fixture("data-root.tar.xz"), &root),
        _ => {
            tar(&fixture("data-root+save.tar.xz"), into);
            tar(&into.join("data-root.tar"), &root);
        }
    }
    root
}

/// An extracted root, open for looking.
pub struct Golden {
    pub engine: Engine,
    pub root: PathBuf,
    _directory: tempfile::TempDir,
}

impl Golden {
    pub fn of(version: &str) -> Golden {
        let directory = tempfile::tempdir().unwrap();
        let root = extract(version, directory.path());
        Golden { engine: Engine::open_to_look(&root).unwrap(), root, _directory: directory }
    }
}

pub fn json(path: &str) -> Value {
    let path = Path::new(FIXTURES).join(path);
    serde_json::from_slice(&fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .unwrap()
}
