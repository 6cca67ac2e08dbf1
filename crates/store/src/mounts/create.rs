//! The directories of a new container.

use std::path::Path;

use shale_oci::ChainId;

use crate::durable::{self, DiskError};
use crate::layers::{self, HeldLayer, HoldError, OverlayPaths};
use crate::layout::{self, Layout};
use crate::lease::{Lease, Purpose};
use crate::lock::{self, AccessError};
use crate::mounts::durability::Durability;
use crate::mounts::record::{self, RecordFiles};
use crate::mounts::remove;
use crate::{Store, random};

/// Why [`Store::begin_mount`] made no directories.
#[derive(Debug, thiserror::Error)]
pub enum BeginMountError {
    /// The store may not be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The top layer of the image cannot be stood upon.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// The top layer of the image is not in the store.
    #[error("layer does not exist: {0}")]
    LayerMissing(ChainId),
    /// overlayfs takes no more layers than Docker allows; Docker's text.
    #[error("max depth exceeded")]
    MaxDepth,
    /// The disk failed; what was made is gone again.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why [`NewMount::publish`] made no container.
#[derive(Debug, thiserror::Error)]
pub enum PublishContainerError {
    /// The caller's condition did not hold any more.
    #[error("the container was refused")]
    Refused,
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The init and the writable directory of a container that has no record yet; dropping it removes them.
#[must_use = "a dropped mount removes its directories"]
#[derive(Debug)]
pub struct NewMount {
    layout: Layout,
    name: String,
    mount_id: String,
    links: [String; 2],
    lease: Option<Lease>,
    published: bool,
    _layer: Option<HeldLayer>,
}

/// Overlayfs takes this many lower directories from Docker.
const LOWERS_MAX: usize = 128;

impl Store {
    /// Makes the directories of the container `name` on the layer `parent`, as Docker does: an init directory over the
    /// image, the writable one over it, and the files that say so. The init directory is empty.
    ///
    /// A lease is written first, so that whatever happens to this process the directories are found again.
    ///
    /// # Errors
    /// [`BeginMountError`]; nothing was left.
    pub fn begin_mount(&self, name: &str, parent: Option<ChainId>) -> Result<NewMount, BeginMountError> {
        self.check_writable()?;
        let layout = &self.layout;
        let held = match parent {
            Some(chain) => Some(self.hold_layer(chain)?.ok_or(BeginMountError::LayerMissing(chain))?),
            None => None,
        };
        let lower = match &held {
            Some(layer) => Some(
                layers::expected_lower(layout, layer)?
                    .ok_or(BeginMountError::LayerMissing(layer.chain_id))?,
            ),
            None => None,
        };
        if lower.as_deref().map_or(0, |lower| lower.split(':').count()) + 1 > LOWERS_MAX {
            return Err(BeginMountError::MaxDepth);
        }
        let (lease, purpose) = Lease::take(&layout.leases(), || Purpose::Mount {
            name: name.to_owned(),
            mount_id: random::cache_id(),
            link: random::link(),
            init_link: random::link(),
        })?;
        let Purpose::Mount { mount_id, link, init_link, .. } = purpose else {
            unreachable!("the lease is for what was asked")
        };
        let mount = NewMount {
            layout: layout.clone(),
            name: name.to_owned(),
            mount_id,
            links: [link, init_link],
            lease: Some(lease),
            published: false,
            _layer: held,
        };
        if let Some(layer) = &mount._layer {
            mark_committed(&layout.cache(&layer.cache_id))?;
        }
        let [link, init_link] = &mount.links;
        make_directory(layout, &mount.init_id(), init_link, lower.as_deref())?;
        let below = match &lower {
            Some(lower) => format!("l/{init_link}:{lower}"),
            None => format!("l/{init_link}"),
        };
        make_directory(layout, &mount.mount_id, link, Some(&below))?;
        mark_committed(&layout.cache(&mount.init_id()))?;
        durable::ensure_dir(&layout.mounts(), 0o755)?;
        let directory = layout.mount(name);
        durable::create_dir(&directory, 0o755)?;
        durable::create_file(&directory.join("mount-id"), mount.mount_id.as_bytes(), 0o644)?;
        durable::create_file(&directory.join("init-id"), mount.init_id().as_bytes(), 0o644)?;
        if let Some(chain) = parent {
            durable::create_file(&directory.join("parent"), chain.to_string().as_bytes(), 0o644)?;
        }
        Ok(mount)
    }
}

impl NewMount {
    /// Returns the name of the writable directory below `overlay2`.
    pub fn mount_id(&self) -> &str {
        &self.mount_id
    }

    /// Returns the name of the init directory below `overlay2`.
    pub fn init_id(&self) -> String {
        format!("{}-init", self.mount_id)
    }

    /// Writes the container's record, which makes it a container.
    ///
    /// `is_wanted` is asked under the commit lock: no other process publishes a container between its look and the
    /// record's name.
    ///
    /// # Errors
    /// [`PublishContainerError`]; the directories are gone again.
    pub fn publish(
        mut self,
        files: &RecordFiles,
        durability: Durability,
        is_wanted: impl FnOnce() -> bool,
    ) -> Result<(), PublishContainerError> {
        let layout = self.layout.clone();
        if durability == Durability::Durable {
            self.sync()?;
        }
        let _commit = lock::commit(&layout)?;
        if !is_wanted() {
            return Err(PublishContainerError::Refused);
        }
        record::write(&layout, &self.name, files, durability)?;
        self.published = true;
        Ok(())
    }
}

impl NewMount {
    /// Syncs what was made, file by file: the rest of the file system may have gigabytes to write, and is others'.
    fn sync(&self) -> Result<(), DiskError> {
        let layout = &self.layout;
        let mount = layout.mount(&self.name);
        let directories = [layout.cache(&self.mount_id), layout.cache(&self.init_id())];
        let files = ["mount-id", "init-id", "parent"].map(|file| mount.join(file));
        let of_directories =
            directories.iter().flat_map(|path| ["link", "lower"].map(|file| path.join(file)));
        for path in files.into_iter().chain(of_directories) {
            durable::sync_file_if_there(&path)?;
        }
        let diff = directories.iter().map(|path| path.join("diff"));
        let made = directories.iter().cloned().chain(diff).chain([mount, layout.mounts(), layout.links()]);
        made.chain([layout.overlay().to_owned()]).try_for_each(|path| durable::sync_dir(&path))
    }
}

impl Drop for NewMount {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        let [link, init_link] = &self.links;
        if remove::remove_unrecorded(&self.layout, &self.name, &self.mount_id, [link, init_link]).is_err()
            && let Some(lease) = &mut self.lease
        {
            // The next open tries again.
            lease.abandon();
        }
    }
}

/// Makes one directory below `overlay2`.
///
/// Source: moby `daemon/graphdriver/overlay2/overlay.go` `create`, as seen from 20.10.24.
fn make_directory(layout: &Layout, id: &str, link: &str, lower: Option<&str>) -> Result<(), DiskError> {
    let directory = layout.cache(id);
    durable::create_dir(&directory, 0o710)?;
    durable::create_dir(&directory.join("diff"), 0o755)?;
    durable::symlink(&layout::link_target(id), &layout.link(link))?;
    durable::create_file(&directory.join("link"), link.as_bytes(), 0o644)?;
    if let Some(lower) = lower {
        durable::create_dir(&directory.join("work"), 0o700)?;
        durable::create_file(&directory.join("lower"), lower.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// Notes that something stands on a directory, which must not be written through a mount any more.
fn mark_committed(directory: &Path) -> Result<(), DiskError> {
    match durable::create_file(&directory.join("committed"), b"", 0o600) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map(drop),
    }
}

impl Store {
    /// Returns the paths with which a container's directory `id` (a mount id, or an init id) is mounted.
    ///
    /// The lower ones are relative to `overlay2/`, as short as Docker keeps them: all options fit into one page.
    ///
    /// # Errors
    /// [`DiskError`] when the directory's files cannot be read.
    pub fn mount_paths(&self, id: &str) -> Result<OverlayPaths, DiskError> {
        let directory = self.layout.cache(id);
        let lower = durable::read(&directory.join("lower"))?.unwrap_or_default();
        let lower = String::from_utf8_lossy(&lower);
        Ok(OverlayPaths {
            lower: lower.split(':').filter(|link| !link.is_empty()).map(Into::into).collect(),
            upper: directory.join("diff"),
            work: directory.join("work"),
            merged: directory.join("merged"),
        })
    }

    /// Returns the directory below which the lower paths of [`Store::mount_paths`] lie.
    pub fn overlay_path(&self) -> &Path {
        self.layout.overlay()
    }
}
