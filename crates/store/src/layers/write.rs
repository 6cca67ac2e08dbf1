//! A layer that is being unpacked.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use shale_oci::{ChainId, DiffId};

use super::remove;
use crate::durable::{self, DiskError, SyncPoint};
use crate::layout::{self, Layout};
use crate::lease::{Lease, Purpose};
use crate::lock::AccessError;
use crate::{Store, random};

/// Why [`Store::begin_layer`] made no directory.
#[derive(Debug, thiserror::Error)]
pub enum BeginLayerError {
    /// The store may not be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The disk failed; what was made is gone again.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why [`LayerWriter::finish`] gave the layer up.
#[derive(Debug, thiserror::Error)]
pub enum FinishLayerError {
    /// The disk failed; the layer is gone.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// An unpublished layer: the caller fills its directory and its tar-split record.
#[must_use = "a dropped writer removes the layer"]
pub struct LayerWriter {
    tar_split: BufWriter<GzEncoder<File>>,
    pub(super) unpublished: Unpublished,
}

/// A whole layer that [`Store::publish`] can give its name.
#[must_use = "a dropped layer is removed"]
#[derive(Debug)]
pub struct FinishedLayer {
    pub(super) diff_id: DiffId,
    pub(super) size_bytes: u64,
    pub(super) unpublished: Unpublished,
}

impl Store {
    /// Makes the directories of a new layer and opens its tar-split record.
    ///
    /// The layers below need not be there yet. A lease is written first, so that whatever happens to this process the
    /// directories are found again.
    ///
    /// # Errors
    /// [`BeginLayerError`] when the store may not be written or the disk failed; nothing was left.
    pub fn begin_layer(&self) -> Result<LayerWriter, BeginLayerError> {
        self.check_writable()?;
        let layout = &self.layout;
        let (lease, purpose) = Lease::take(&layout.leases(), || Purpose::NewLayer {
            cache_id: random::cache_id(),
            link: random::link(),
            write_set: random::number(),
        })?;
        let Purpose::NewLayer { cache_id, link, write_set } = purpose else {
            unreachable!("the lease is for what was asked")
        };
        let unpublished = Unpublished {
            layout: layout.clone(),
            cache_id,
            link,
            write_set,
            lease: Some(lease),
            published: false,
            sync_point: SyncPoint::open(layout.overlay())?,
        };
        let directory = unpublished.directory();
        durable::create_dir(&directory, 0o710)?;
        durable::create_dir(&directory.join("diff"), 0o755)?;
        durable::symlink(&layout::link_target(&unpublished.cache_id), &layout.link(&unpublished.link))?;
        durable::create_file(&directory.join("link"), unpublished.link.as_bytes(), 0o644)?;
        let write_set = unpublished.write_set();
        durable::create_dir(&write_set, 0o700)?;
        let tar_split = durable::create_open(&write_set.join("tar-split.json.gz"), 0o644)?;
        // Level 2 is the fastest that leaves the header's XFL byte at 0, as Go writes it.
        let tar_split = GzBuilder::new().operating_system(255).write(tar_split, Compression::new(2));
        Ok(LayerWriter { tar_split: BufWriter::with_capacity(64 * 1024, tar_split), unpublished })
    }
}

impl LayerWriter {
    /// Returns the empty directory that takes the layer's files.
    pub fn diff_path(&self) -> PathBuf {
        self.unpublished.directory().join("diff")
    }

    /// Returns the name of the layer's directory below `overlay2/`.
    pub fn cache_id(&self) -> &str {
        &self.unpublished.cache_id
    }

    /// Returns where the lines of the tar-split record go; they are buffered and compressed.
    pub fn tar_split(&mut self) -> &mut (dyn Write + Send) {
        &mut self.tar_split
    }

    /// Closes the record and notes what the layer turned out to be; `size_bytes` counts its files, each inode once.
    ///
    /// Nothing is synced yet: [`Store::publish`] does it once for all layers.
    ///
    /// # Errors
    /// [`FinishLayerError`] when the disk failed; the layer is gone then.
    pub fn finish(self, diff_id: DiffId, size_bytes: u64) -> Result<FinishedLayer, FinishLayerError> {
        let LayerWriter { tar_split, unpublished } = self;
        let write_set = unpublished.write_set();
        let failed = |source| DiskError::new("write", &write_set.join("tar-split.json.gz"), source);
        tar_split.into_inner().map_err(|error| failed(error.into_error()))?.finish().map_err(failed)?;
        durable::create_file(&write_set.join("diff"), diff_id.to_string().as_bytes(), 0o644)?;
        durable::create_file(&write_set.join("size"), size_bytes.to_string().as_bytes(), 0o644)?;
        durable::create_file(&write_set.join("cache-id"), unpublished.cache_id.as_bytes(), 0o644)?;
        Ok(FinishedLayer { diff_id, size_bytes, unpublished })
    }
}

impl FinishedLayer {
    /// Returns the digest of the layer's tar.
    pub fn diff_id(&self) -> DiffId {
        self.diff_id
    }

    /// Returns through what the layer's file system is synced.
    pub(crate) fn sync_point(&self) -> &SyncPoint {
        &self.unpublished.sync_point
    }

    /// Returns the size of the layer's files.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns the directory of the layer's files.
    pub fn diff_path(&self) -> PathBuf {
        self.unpublished.directory().join("diff")
    }
}

/// The parts on the disk of a layer without a name yet; dropping it removes them.
#[derive(Debug)]
pub(super) struct Unpublished {
    pub(super) layout: Layout,
    pub(super) cache_id: String,
    pub(super) link: String,
    pub(super) write_set: u64,
    /// Handed on when the layer is published.
    lease: Option<Lease>,
    pub(super) published: bool,
    /// Opened before the first file is written, see [`SyncPoint`].
    pub(super) sync_point: SyncPoint,
}

impl Unpublished {
    pub(super) fn directory(&self) -> PathBuf {
        self.layout.cache(&self.cache_id)
    }

    pub(super) fn write_set(&self) -> PathBuf {
        self.layout.write_set(self.write_set)
    }

    /// Turns the lease on the parts into a hold on the layer that they became, and hands it to `leases`.
    pub(super) fn change_lease(&mut self, chain: ChainId, leases: &mut Vec<Lease>) -> Result<(), DiskError> {
        if let Some(mut lease) = self.lease.take() {
            lease.change(&Purpose::Hold { chain })?;
            leases.push(lease);
        }
        Ok(())
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        if remove_parts(&self.layout, &self.cache_id, &self.link, self.write_set).is_err() {
            // The next open tries again.
            if let Some(lease) = &mut self.lease {
                lease.abandon();
            }
        }
    }
}

/// Removes the three parts of an unpublished layer.
pub(crate) fn remove_parts(
    layout: &Layout,
    cache_id: &str,
    link: &str,
    write_set: u64,
) -> Result<(), DiskError> {
    durable::remove_tree(&layout.write_set(write_set))?;
    remove::remove_link(layout, link, cache_id)?;
    remove::remove_directory(layout, cache_id)
}
