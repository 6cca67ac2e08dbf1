//! Removing a container's directories, top down: first the record, which makes it one.

use crate::Store;
use crate::durable::{self, DiskError};
use crate::layers;
use crate::layout::Layout;
use crate::lease::{Lease, Purpose};
use crate::mounts::durability::Durability;
use crate::mounts::record::{ContainerLock, RecordError};
use crate::random;

impl Store {
    /// Removes a container that the caller has locked and that does not run: its record, what it wrote, and the files
    /// that say what it stood on.
    ///
    /// # Errors
    /// [`RecordError`]; when the record is gone already, the next open removes the rest.
    pub fn remove_container(
        &self,
        lock: ContainerLock,
        id: &str,
        durability: Durability,
    ) -> Result<(), RecordError> {
        let layout = &self.layout;
        let mount_id = durable::read(&layout.mount(id).join("mount-id"))?
            .and_then(|content| Some(String::from_utf8(content).ok()?.trim().to_owned()))
            .filter(|mount_id| crate::layout::is_cache_id(mount_id));
        // Without the file the directories cannot be found from here; gc knows them as nobody's.
        let mount_id = mount_id.unwrap_or_else(random::cache_id);
        let link = |directory: &str| -> Result<String, DiskError> {
            Ok(layers::read_link_id(layout, directory)?.unwrap_or_else(random::link))
        };
        let (link, init_link) = (link(&mount_id)?, link(&format!("{mount_id}-init"))?);
        let (mut lease, _) = Lease::take(&layout.leases(), || Purpose::Mount {
            name: id.to_owned(),
            mount_id: mount_id.clone(),
            link: link.clone(),
            init_link: init_link.clone(),
        })?;
        durable::remove_file(&layout.container(id))?;
        if durability == Durability::Durable {
            durable::sync_dir(&self.container_directory(id))?;
        }
        let removed = remove_unrecorded(layout, id, &mount_id, [&link, &init_link]);
        if removed.is_err() {
            lease.abandon();
        }
        drop(lock);
        Ok(removed?)
    }
}

/// Removes what is left of a container without a record; one with a record is let be.
pub(crate) fn remove_unrecorded(
    layout: &Layout,
    name: &str,
    mount_id: &str,
    links: [&String; 2],
) -> Result<(), DiskError> {
    if durable::metadata(&layout.container(name))?.is_some() {
        return Ok(());
    }
    for (id, link) in [mount_id.to_owned(), format!("{mount_id}-init")].iter().zip(links) {
        layers::remove_link(layout, link, id)?;
        layers::remove_directory(layout, id)?;
    }
    durable::remove_tree(&layout.mount(name))?;
    durable::remove_tree(&layout.containers().join(name))
}
