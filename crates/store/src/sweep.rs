//! Removing what killed processes left behind, each time a store is opened for writing.
//!
//! Promise: three directory listings when there is nothing to do; never touches what a living process works on; what
//! cannot be removed is told and stays for the next open.
//! Not here: things that were whole once and are needed no longer; that is gc.

use std::collections::HashSet;

use crate::durable::{self, DiskError};
use crate::layers;
use crate::layout::Layout;
use crate::lease::{self, Lease, Purpose};
use crate::{lock, mounts};

/// Removes the leftovers of dead processes, Shale's and dockerd's; returns what could not be removed.
pub(crate) fn sweep(layout: &Layout) -> Result<Vec<DiskError>, DiskError> {
    let mut failures = Vec::new();
    // Listed before the leases: whatever is named by no lease then, belongs to nobody alive.
    let staged = durable::names(&layout.staging())?;
    let leases = lease::survey(&layout.leases())?;
    if !leases.dead.is_empty() {
        failures.extend(remove_unfinished_layers(layout, leases.dead));
    }
    let leased: HashSet<_> = leases.live.iter().filter_map(Purpose::staged_name).collect();
    let is_leased = |name: &String| leased.contains(name);
    if staged.iter().any(|name| !is_leased(name)) {
        // Files are staged under the lock only, so while we have it those that are here are dead. A write set whose
        // lease we did not see may have got its name and given the lease back since; then it is gone from here.
        let _commit = lock::commit(layout)?;
        for name in staged.iter().filter(|name| !is_leased(name)) {
            failures.extend(durable::remove_tree(&layout.staging().join(name)).err());
        }
    }
    let removals = layers::unfinished(layout)?;
    failures.extend(layers::finish_removals(layout, removals));
    Ok(failures)
}

/// Removes the layers that dead processes were unpacking, and the containers that they were making or removing.
///
/// Returns what could not be removed; its lease stays, so that the next open tries again.
pub(crate) fn remove_unfinished_layers(
    layout: &Layout,
    dead: Vec<(Option<Purpose>, Lease)>,
) -> Vec<DiskError> {
    let mut published = None;
    let remove = |(purpose, lease)| remove_unfinished(layout, purpose, lease, &mut published).err();
    dead.into_iter().filter_map(remove).collect()
}

fn remove_unfinished(
    layout: &Layout,
    purpose: Option<Purpose>,
    lease: Lease,
    published: &mut Option<HashSet<String>>,
) -> Result<(), DiskError> {
    if let Some(Purpose::Mount { name, mount_id, link, init_link }) = &purpose {
        mounts::remove_unrecorded(layout, name, mount_id, [link, init_link])?;
    }
    if let Some(Purpose::NewLayer { cache_id, link, write_set }) = purpose {
        let published = match published {
            Some(published) => published,
            None => published.insert(layers::cache_ids(layout)?),
        };
        // Killed between the rename and the change of the lease: the layer is whole.
        if !published.contains(&cache_id) {
            layers::remove_parts(layout, &cache_id, &link, write_set)?;
        }
    }
    lease.bury()
}
