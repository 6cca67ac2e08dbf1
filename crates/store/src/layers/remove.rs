//! Deleting layers: first the name, in one step, then what it named.

use std::collections::HashSet;
use std::path::PathBuf;

use rustix::mount::UnmountFlags;
use shale_oci::ChainId;

use super::read;
use crate::durable::{self, DiskError};
use crate::layout::{self, Layout, REMOVING_SUFFIX};
use crate::random;

/// A layer that has lost its name; [`finish_removals`] deletes its files, without any lock.
#[must_use = "the layer's files are still there"]
#[derive(Debug)]
pub(crate) struct Removal {
    renamed: PathBuf,
}

/// Takes the name off a layer. The caller holds the commit lock and syncs the directory.
pub(crate) fn begin_removal(layout: &Layout, chain: ChainId) -> Result<Removal, DiskError> {
    let renamed = layout.layer_removing(chain, &random::hex(32));
    durable::rename(&layout.layer(chain), &renamed)?;
    Ok(Removal { renamed })
}

/// Lists the layers that a process, ours or a dockerd, began to delete and did not finish.
pub(crate) fn unfinished(layout: &Layout) -> Result<Vec<Removal>, DiskError> {
    let directory = layout.layers();
    let names = durable::names(&directory)?;
    let unfinished = names.iter().filter(|name| name.ends_with(REMOVING_SUFFIX));
    Ok(unfinished.map(|name| Removal { renamed: directory.join(name) }).collect())
}

impl Removal {
    pub(crate) fn name(&self) -> String {
        self.renamed.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn finish(&self, layout: &Layout, in_use: &HashSet<String>) -> Result<(), DiskError> {
        if let Some(cache_id) = self.cache_id()?
            && !in_use.contains(&cache_id)
        {
            remove_directory(layout, &cache_id)?;
        }
        durable::remove_tree(&self.renamed)
    }

    /// Returns everything that the layer has on the disk.
    pub(crate) fn paths(&self, layout: &Layout) -> Vec<PathBuf> {
        paths_of(layout, self.renamed.clone())
    }

    /// Returns the `overlay2` directory that goes with the layer, if its name can be read.
    pub(crate) fn cache_id(&self) -> Result<Option<String>, DiskError> {
        let content = durable::read(&self.renamed.join("cache-id"))?;
        let text = content.and_then(|content| Some(std::str::from_utf8(&content).ok()?.trim().to_owned()));
        Ok(text.filter(|text| layout::is_cache_id(text)))
    }
}

/// Returns everything that the layer `chain` has on the disk.
pub(crate) fn paths(layout: &Layout, chain: ChainId) -> Vec<PathBuf> {
    paths_of(layout, layout.layer(chain))
}

fn paths_of(layout: &Layout, directory: PathBuf) -> Vec<PathBuf> {
    let removal = Removal { renamed: directory };
    let cache = removal.cache_id().ok().flatten().map(|cache_id| layout.cache(&cache_id));
    cache.into_iter().chain([removal.renamed]).collect()
}

/// Deletes the files of layers without a name. Other processes may be at the same ones.
///
/// Returns what could not be deleted, which the next open tries again.
pub(crate) fn finish_removals(layout: &Layout, removals: Vec<Removal>) -> Vec<DiskError> {
    if removals.is_empty() {
        return Vec::new();
    }
    match cache_ids(layout) {
        Ok(in_use) => removals.iter().filter_map(|removal| removal.finish(layout, &in_use).err()).collect(),
        Err(error) => vec![error],
    }
}

/// Lists the `overlay2` directories that layers with a name use, loadable layers or not.
pub(crate) fn cache_ids(layout: &Layout) -> Result<HashSet<String>, DiskError> {
    let mut cache_ids = HashSet::new();
    for chain in read::chains(layout)? {
        if let Some(content) = durable::read(&layout.layer(chain).join("cache-id"))?
            && let Ok(text) = std::str::from_utf8(&content)
        {
            cache_ids.insert(text.trim().to_owned());
        }
    }
    Ok(cache_ids)
}

/// Lists the layers whose note of their directory cannot be read or names none that is there.
pub(crate) fn without_directory(layout: &Layout) -> Result<Vec<ChainId>, DiskError> {
    let mut lost = Vec::new();
    for chain in read::chains(layout)? {
        let content = durable::read(&layout.layer(chain).join("cache-id"))?.unwrap_or_default();
        let cache_id = std::str::from_utf8(&content).map(str::trim).unwrap_or_default();
        let is_there =
            crate::layout::is_cache_id(cache_id) && durable::metadata(&layout.cache(cache_id))?.is_some();
        // It may have been removed since the layers were listed.
        if !is_there && durable::metadata(&layout.layer(chain))?.is_some() {
            lost.push(chain);
        }
    }
    Ok(lost)
}

/// Deletes an `overlay2` directory and its short name.
pub(crate) fn remove_directory(layout: &Layout, cache_id: &str) -> Result<(), DiskError> {
    let directory = layout.cache(cache_id);
    if let Some(link) = read::read_link_id(layout, cache_id)? {
        remove_link(layout, &link, cache_id)?;
    }
    // A daemon that was killed while it saved an image leaves a mount behind, and a mount point cannot be removed.
    let _ = rustix::mount::unmount(directory.join("merged"), UnmountFlags::DETACH);
    durable::remove_tree(&directory)
}

/// Deletes the short name `link`, unless it belongs to another directory by now.
pub(crate) fn remove_link(layout: &Layout, link: &str, cache_id: &str) -> Result<(), DiskError> {
    let path = layout.link(link);
    match durable::read_link(&path)? {
        Some(target) if target.as_os_str() == layout::link_target(cache_id).as_str() => {
            durable::remove_file(&path).map(drop)
        }
        _ => Ok(()),
    }
}
