//! The crate as its users see it, against Docker's own files and a corpus of hostile layers.

mod archive_tar;
mod behaviour;
mod dockerd;
mod golden;
mod hostile;
mod import_tars;
mod tree;

use std::path::{Path, PathBuf};

/// Returns the path of a shared fixture.
fn fixture(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(path)
}
