//! Where made images stay between tests and runs.

use std::fs::{self, File};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use super::recipe;
use crate::sha256_hex;

/// `SHALE_TEST_CACHE`, else `shale-test-cache` in the temporary directory; made when it is missing.
pub fn cache_directory() -> PathBuf {
    let path = std::env::var_os("SHALE_TEST_CACHE")
        .map_or_else(|| std::env::temp_dir().join("shale-test-cache"), PathBuf::from);
    fs::create_dir_all(&path).unwrap_or_else(|error| panic!("could not make {}: {error}", path.display()));
    path
}

/// The storage directory of a docker-registry that holds every image of [`super::IMAGES`]; do not write to it.
#[track_caller]
pub fn storage() -> PathBuf {
    let cache = cache_directory();
    // Threads of this process and other processes wait here while one of them makes the images.
    let lock = File::create(cache.join("lock")).expect("the cache can be written");
    flock(&lock, FlockOperation::LockExclusive).expect("a file can be locked");
    let key = &sha256_hex(include_bytes!("recipe.rs"))[..16];
    let finished = cache.join(format!("images-{key}"));
    if !finished.exists() {
        let unfinished = cache.join(format!("images-{key}.unfinished"));
        let _ = fs::remove_dir_all(&unfinished);
        recipe::make_all(&unfinished);
        fs::rename(&unfinished, &finished).expect("a directory can be renamed");
    }
    finished
}
