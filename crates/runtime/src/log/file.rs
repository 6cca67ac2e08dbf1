//! Where a log is, in which form, and the older files beside it.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How the entries of a log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogForm {
    /// Docker's default: one JSON object a line.
    JsonFile,
    /// Docker's `local`: protocol-buffer messages between their lengths.
    Local,
}

/// When a new file is begun, and how many older ones stay: `NAME.1` is the youngest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// A file that has reached this size gets no further entry.
    pub size_bytes_max: u64,
    /// How many files `logs` reads, the present one among them; at least 1.
    pub files_max: u32,
    /// Whether older files are compressed with gzip.
    pub compress: bool,
}

/// A container's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// The present file.
    pub path: PathBuf,
    /// What is in it.
    pub form: LogForm,
    /// `None` keeps everything in one file.
    pub rotation: Option<Rotation>,
}

/// One file of a log, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) inode: u64,
}

/// So many names in a row must be missing before the next are not looked for: a rotation leaves one out for a moment.
const GAP: u32 = 2;

impl LogFile {
    /// A log in the default form that grows for ever.
    pub fn whole(path: impl Into<PathBuf>) -> LogFile {
        LogFile { path: path.into(), form: LogForm::JsonFile, rotation: None }
    }

    /// Whether there is anything to read.
    pub fn exists(&self) -> bool {
        !self.read_order().is_empty()
    }

    /// The files that `logs` reads, youngest first.
    pub(super) fn read_order(&self) -> Vec<Found> {
        let mut all: Vec<Found> = find(self.path.clone()).into_iter().collect();
        let older_max = self.rotation.map_or(0, |rotation| rotation.files_max.saturating_sub(1));
        let mut missing = 0;
        for number in 1..=older_max {
            let older = find(self.numbered(number, false)).or_else(|| find(self.numbered(number, true)));
            missing = if older.is_some() { 0 } else { missing + 1 };
            all.extend(older);
            if missing == GAP {
                break;
            }
        }
        all
    }

    /// The highest number of an older file, at most `limit`.
    pub(super) fn oldest(&self, limit: u32) -> u32 {
        let exists = |number| self.numbered(number, false).exists() || self.numbered(number, true).exists();
        let (mut oldest, mut missing) = (0, 0);
        for number in 1..=limit {
            (oldest, missing) = if exists(number) { (number, 0) } else { (oldest, missing + 1) };
            if missing == GAP {
                break;
            }
        }
        oldest
    }

    /// `NAME.number`, or `NAME.number.gz`.
    pub(super) fn numbered(&self, number: u32, compressed: bool) -> PathBuf {
        with_suffix(&self.path, &format!(".{number}{}", if compressed { ".gz" } else { "" }))
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn find(path: PathBuf) -> Option<Found> {
    let inode = path.metadata().ok()?.ino();
    Some(Found { path, inode })
}
