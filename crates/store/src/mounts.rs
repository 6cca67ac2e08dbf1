//! Containers' layers, `layerdb/mounts` and the directories they name, and their records, `containers/<id>`.
//!
//! Promise: what a container stands on is known, so that nothing deletes it. A container is there when its record is,
//! and then all of it is; what a killed process made or removed in part is removed by the next.
//! Not here: mounting, and what a record says.

mod create;
mod durability;
mod record;
mod remove;

use shale_oci::ChainId;

use crate::durable::{self, DiskError};
use crate::layout::{self, Layout};
use crate::{Store, containers, layers, lease};

pub use create::{BeginMountError, NewMount, PublishContainerError};
pub use durability::Durability;
pub use record::{ContainerLock, RecordError, RecordFiles};
pub(crate) use remove::remove_unrecorded;

/// The layers of one container, or of a copy step of Docker's classic builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Name of the directory: the container's id.
    pub name: String,
    /// Name of the writable directory below `overlay2/`; `None` when the file is damaged.
    pub mount_id: Option<String>,
    /// Name of the init directory below `overlay2/`; builder mounts have none.
    pub init_id: Option<String>,
    /// The top layer of the container's image; `None` for an empty image.
    pub parent: Option<ChainId>,
    /// Whether a file of it cannot be read, so that the directories it needs are not known.
    pub is_damaged: bool,
}

impl Store {
    /// Returns what containers stand on, in the order of their names.
    ///
    /// # Errors
    /// [`DiskError`] when a directory or file cannot be read.
    pub fn mounts(&self) -> Result<Vec<Mount>, DiskError> {
        read(&self.layout)
    }
}

pub(crate) fn read(layout: &Layout) -> Result<Vec<Mount>, DiskError> {
    let directory = layout.mounts();
    let mut names = durable::names(&directory)?;
    names.sort_unstable();
    let mut mounts = Vec::with_capacity(names.len());
    for name in names {
        let file = |file: &str| durable::read(&directory.join(&name).join(file));
        let id = |content: Option<Vec<u8>>| {
            String::from_utf8(content?)
                .ok()
                .map(|id| id.trim().to_owned())
                .filter(|id| layout::is_cache_id(id))
        };
        let (mount_file, init_file, parent_file) = (file("mount-id")?, file("init-id")?, file("parent")?);
        if mount_file.is_none() && durable::metadata(&directory.join(&name))?.is_none() {
            // Removed since it was listed.
            continue;
        }
        let has_init = init_file.is_some();
        let mount_id = id(mount_file);
        let init_id = id(init_file);
        let parent = parent_file.as_deref().and_then(layers::parse_trimmed);
        let is_damaged =
            mount_id.is_none() || has_init != init_id.is_some() || parent_file.is_some() != parent.is_some();
        mounts.push(Mount { name, mount_id, init_id, parent, is_damaged });
    }
    Ok(mounts)
}

/// Lists the containers whose mount is missing, cannot be read, or names a directory that is not there.
///
/// Others make and remove containers meanwhile, under a lease: damage is what is found twice, with no lease in between.
pub(crate) fn damaged(layout: &Layout) -> Result<Vec<String>, DiskError> {
    let mut found = suspects(layout)?;
    if !found.is_empty() {
        let leased = lease::mounts(&layout.leases())?;
        let again = suspects(layout)?;
        found.retain(|name| !leased.contains(name) && again.contains(name));
    }
    Ok(found)
}

fn suspects(layout: &Layout) -> Result<Vec<String>, DiskError> {
    let mounts = read(layout)?;
    let mut found = containers::without_mount(layout, &mounts)?;
    for mount in mounts {
        if mount.is_damaged || has_lost_directory(layout, &mount)? {
            found.push(mount.name);
        }
    }
    Ok(found)
}

/// Whether a container that has a record names a directory that is not there.
fn has_lost_directory(layout: &Layout, mount: &Mount) -> Result<bool, DiskError> {
    if durable::metadata(&layout.container(&mount.name))?.is_none() {
        return Ok(false);
    }
    for id in mount.mount_id.iter().chain(&mount.init_id) {
        if durable::metadata(&layout.cache(id))?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}
