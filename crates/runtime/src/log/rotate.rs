//! Begins a new file when the present one is full.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use jiff::Timestamp;

use super::file::{LogFile, Rotation, with_suffix};

impl LogFile {
    /// Opens the present file for appending, mode 0640.
    pub(super) fn append(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)
    }

    /// Makes the present file the youngest of the older ones and takes the oldest away.
    ///
    /// As in dockerd 20.10, one older file stays even where `logs` reads none.
    pub(super) fn rotate(&self, rotation: Rotation) -> io::Result<()> {
        let last = rotation.files_max.saturating_sub(1).max(1);
        for number in (1..=self.oldest(last)).rev() {
            for compressed in [false, true] {
                let path = self.numbered(number, compressed);
                let moved = match number == last {
                    true => fs::remove_file(&path),
                    false => fs::rename(&path, self.numbered(number + 1, compressed)),
                };
                match moved {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        fs::rename(&self.path, self.numbered(1, false))
    }
}

/// Puts `NAME.gz` in the place of a file. Its head says, as Docker's does, how young the youngest entry is.
pub(super) fn compress(path: &Path, youngest: Timestamp) -> io::Result<()> {
    let beside = with_suffix(path, ".gz.new");
    let compressed = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&beside)?;
    let head = format!("{{\"lastTime\":\"{youngest}\"}}");
    let mut encoder = GzBuilder::new().extra(head).write(compressed, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?;
    fs::rename(&beside, with_suffix(path, ".gz"))?;
    fs::remove_file(path)
}
