//! Images made by real Docker, kept as the storage of a real docker-registry.
//!
//! The first test that asks makes them all; later tests, and later runs, find them in the cache. Its key is the text
//! of the recipes, so a change there makes them again.

mod cache;
mod recipe;

pub use cache::{cache_directory, storage};
pub use recipe::{IMAGES, Image, TAR, ZSTD_OF, debian_tar, docker_archive};
