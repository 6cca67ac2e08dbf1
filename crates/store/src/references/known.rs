//! The names as they were read last, for as long as the file is the one that was read.
//!
//! A daemon is asked for one image after another, and to parse hundreds of names costs more than all else of an
//! answer. What other processes change is seen at once: each call looks at the file first.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{References, ReferencesError};
use crate::durable::{self, DiskError};
use crate::layout::Layout;

/// The names that were read last.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Option<AsRead>>);

/// What was read, and from which file.
#[derive(Debug)]
struct AsRead {
    references: Arc<References>,
    stamp: Stamp,
    // Docker and Shale replace the file by renaming another to its name. As long as this one is open its inode is not
    // free, so no later file can pass for it.
    _file: File,
}

/// What changes when a file is another one or was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Known {
    /// Returns the names that the file holds now; a missing file holds none.
    pub(super) fn read(&self, layout: &Layout) -> Result<Arc<References>, ReferencesError> {
        let path = layout.repositories();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = durable::metadata(&path)?.map(|metadata| Stamp::of(&metadata));
        if let Some(read) = known.as_ref().filter(|read| Some(read.stamp) == now) {
            return Ok(Arc::clone(&read.references));
        }
        *known = None;
        let Some(mut file) = durable::open(&path)? else { return Ok(Arc::default()) };
        let failed = |source| DiskError::new("read", &path, source);
        // Taken before the content: a write that comes between the two shows at the next call.
        let stamp = Stamp::of(&file.metadata().map_err(failed)?);
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed)?;
        let references = Arc::new(super::parse_file(&content, path)?);
        *known = Some(AsRead { references: Arc::clone(&references), stamp, _file: file });
        Ok(references)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn content(image: u32) -> String {
        format!("{{\"Repositories\":{{\"a\":{{\"a:1\":\"sha256:{image:064}\"}}}}}}")
    }

    fn image(names: &References) -> Option<String> {
        names.image("a", "a:1").map(|image| image.to_string())
    }

    #[test]
    fn what_another_process_writes_is_seen_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path());
        let path = layout.repositories();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let known = Known::default();
        assert_eq!(image(&known.read(&layout).unwrap()), None);
        let new = directory.path().join("new");
        for round in 0..500 {
            let before = known.0.lock().unwrap().as_ref().map(|read| read.stamp.inode);
            // As Docker replaces it: of the same length, often within one tick of the file system's clock. Twice, because
            // the inode that the first replacement frees is what the second one takes.
            for image in [1000, round] {
                fs::write(&new, content(image)).unwrap();
                fs::rename(&new, &path).unwrap();
            }
            assert_ne!(
                before,
                Some(fs::metadata(&path).unwrap().ino()),
                "the inode that was read is not free"
            );
            let names = known.read(&layout).unwrap();
            assert_eq!(image(&names), Some(format!("sha256:{round:064}")));
            assert!(
                Arc::ptr_eq(&names, &known.read(&layout).unwrap()),
                "an unchanged file is not read again"
            );
        }
        fs::write(&path, "{").unwrap();
        assert!(matches!(known.read(&layout), Err(ReferencesError::Damaged { .. })));
        fs::remove_file(&path).unwrap();
        assert_eq!(image(&known.read(&layout).unwrap()), None);
    }
}
