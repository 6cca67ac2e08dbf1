//! What one layer may cost.

/// What one layer may cost; the defaults stop bombs and no image that anyone built on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of uncompressed tar.
    pub tar_bytes_max: u64,
    /// Entries, and directories that are made because an entry lies in them.
    pub entries_max: u64,
    /// Bytes of memory for the names of directories, and in a flat tree for those of all entries.
    pub names_bytes_max: u64,
    /// Directories in one path.
    pub depth_max: usize,
    /// Bytes of sparse files that any layer may have, stored or not.
    pub expanded_bytes_base: u64,
    /// Bytes of sparse files for each byte of tar, beyond the base.
    pub expanded_ratio_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            tar_bytes_max: 4 << 40,
            entries_max: 4 << 20,
            names_bytes_max: 256 << 20,
            depth_max: 1024,
            expanded_bytes_base: 64 << 30,
            expanded_ratio_max: 1000,
        }
    }
}

impl Limits {
    /// Returns the default limits with a tar length in proportion to a blob of `blob_bytes`.
    ///
    /// gzip cannot shrink below 1/1032, so only what other formats hide in a few bytes is refused: 4 GiB are always
    /// allowed, and 2,000 times the blob beyond that.
    pub fn for_blob(blob_bytes: u64) -> Limits {
        let defaults = Limits::default();
        let in_proportion = blob_bytes.saturating_mul(2000).saturating_add(4 << 30);
        Limits { tar_bytes_max: defaults.tar_bytes_max.min(in_proportion), ..defaults }
    }

    pub(crate) fn expanded_bytes_max(&self, tar_bytes: u64) -> u64 {
        tar_bytes.saturating_mul(self.expanded_ratio_max).saturating_add(self.expanded_bytes_base)
    }
}
