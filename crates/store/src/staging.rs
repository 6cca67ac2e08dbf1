//! A directory of files that wait for the lock to be renamed.

use std::path::{Path, PathBuf};

use crate::durable::{self, DiskError};
use crate::layout::Layout;
use crate::lease::{Lease, Purpose};
use crate::random;

/// Keeps staged files from the sweeps of other processes while nobody holds the lock; dropping it removes them.
#[must_use = "the files go when this is dropped"]
#[derive(Debug)]
pub(crate) struct StagingPlace {
    path: PathBuf,
    lease: Lease,
}

impl StagingPlace {
    pub(crate) fn make(layout: &Layout) -> Result<StagingPlace, DiskError> {
        let (lease, purpose) = Lease::take(&layout.leases(), || Purpose::Staging {
            directory: format!("staging-{}", random::hex(16)),
        })?;
        let name = purpose.staged_name().expect("a staging lease names a directory");
        let place = StagingPlace { path: layout.staging().join(name), lease };
        durable::create_dir(&place.path, 0o700)?;
        Ok(place)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for StagingPlace {
    fn drop(&mut self) {
        if durable::remove_tree(&self.path).is_err() {
            self.lease.abandon();
        }
    }
}
