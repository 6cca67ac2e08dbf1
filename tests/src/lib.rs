//! The bench that the black-box suites stand on: peers, images made by peers, comparisons of trees and data roots.
//!
//! Promise: whatever is started here is ended by its own pid, whatever is mounted is unmounted, whatever is written
//! stands below one scratch directory; nothing listens anywhere but on loopback.
//! Not here: any crate of the product. What is compared comes from the program's output and from the disk.

pub mod build;
pub mod data_root;
pub mod disk;
pub mod http;
pub mod image;
pub mod peer;
pub mod program;
pub mod random;
pub mod scratch;
pub mod terminal;
pub mod tree;

use sha2::{Digest, Sha256};

/// Lower-case hex of the SHA-256 of `bytes`.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The repository's `fixtures` folder.
pub fn fixtures() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").join("fixtures")
}
