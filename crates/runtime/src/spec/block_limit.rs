//! Limits of single block devices.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Map, Value, json};

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockLimitKind {
    /// Its share, 10 to 1000.
    Weight,
    /// Bytes read in a second.
    ReadBytes,
    /// Bytes written in a second.
    WriteBytes,
    /// Reads in a second.
    ReadOperations,
    /// Writes in a second.
    WriteOperations,
}

/// A limit of one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLimit {
    kind: BlockLimitKind,
    major: u32,
    minor: u32,
    value: u64,
}

impl BlockLimit {
    /// Limits the device that `path` leads to on the host.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn of_device(kind: BlockLimitKind, path: &Path, value: u64) -> io::Result<Self> {
        let number = std::fs::metadata(path)?.rdev();
        Ok(Self { kind, major: rustix::fs::major(number), minor: rustix::fs::minor(number), value })
    }
}

/// Adds limits to the runtime's `blockIO`.
pub(super) fn add(limits: &[BlockLimit], block: &mut Map<String, Value>) {
    for limit in limits {
        let (list, unit) = match limit.kind {
            BlockLimitKind::Weight => ("weightDevice", "weight"),
            BlockLimitKind::ReadBytes => ("throttleReadBpsDevice", "rate"),
            BlockLimitKind::WriteBytes => ("throttleWriteBpsDevice", "rate"),
            BlockLimitKind::ReadOperations => ("throttleReadIOPSDevice", "rate"),
            BlockLimitKind::WriteOperations => ("throttleWriteIOPSDevice", "rate"),
        };
        let entry = json!({ "major": limit.major, "minor": limit.minor, unit: limit.value });
        if let Value::Array(entries) = block.entry(list).or_insert_with(|| json!([])) {
            entries.push(entry);
        }
    }
}
