//! Mending a published layer: its short name and place in the stack from what is here, its files by a new copy.
//!
//! Promise: the layer keeps its name and its files; nothing that a container stands on is moved.
//! Not here: finding out whether files are damaged, fetching a new copy.

use shale_oci::ChainId;

use super::{Layer, check, read};
use crate::Store;
use crate::durable::{self, DiskError};
use crate::layout::{self, Layout};
use crate::lock::AccessError;
use crate::random;

const TAR_SPLIT: &str = "tar-split.json.gz";
const CONDEMNED: &str = "tar-split.condemned.gz";

/// Why a layer was not mended or marked.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    /// The store may not be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Store {
    /// Marks a layer whose files are not what its record says, so that [`Store::hold_layer`] refuses it and a pull
    /// replaces it. Containers on it go on.
    ///
    /// # Errors
    /// [`MendError`]; nothing was changed.
    pub fn condemn_layer(&self, chain: ChainId) -> Result<(), MendError> {
        self.rename_record(chain, TAR_SPLIT, CONDEMNED)
    }

    /// Takes the mark of [`Store::condemn_layer`] away again, unless the layer was replaced meanwhile.
    ///
    /// # Errors
    /// [`MendError`]; the mark is there still.
    pub fn acquit_layer(&self, chain: ChainId) -> Result<(), MendError> {
        self.rename_record(chain, CONDEMNED, TAR_SPLIT)
    }

    fn rename_record(&self, chain: ChainId, from: &str, to: &str) -> Result<(), MendError> {
        let _commit = self.commit()?;
        let directory = self.layout.layer(chain);
        let (from, to) = (directory.join(from), directory.join(to));
        if durable::metadata(&from)?.is_some() && durable::metadata(&to)?.is_none() {
            durable::rename(&from, &to)?;
            durable::sync_dir(&directory)?;
        }
        Ok(())
    }

    /// Writes `link`, the symlink below `l/` and `lower` anew where they are damaged, from the bottom of the stack up;
    /// returns the layers that were mended.
    ///
    /// # Errors
    /// [`MendError`]; the layers below the one that failed are mended.
    pub fn mend_links(&self) -> Result<Vec<ChainId>, MendError> {
        let _commit = self.commit()?;
        let mut layers = self.layers().map_err(|error| match error {
            super::LayerError::Disk(error) => error,
            // Listing leaves out what cannot be loaded, so nothing else is reported.
            _ => DiskError::new("list", &self.layout.layers(), std::io::ErrorKind::InvalidData),
        })?;
        let depths: std::collections::HashMap<ChainId, usize> =
            layers.iter().map(|layer| (layer.chain_id, self.depth(layer))).collect();
        layers.sort_by_key(|layer| depths[&layer.chain_id]);
        let mut mended = Vec::new();
        for layer in &layers {
            if mend(&self.layout, layer)? {
                mended.push(layer.chain_id);
            }
        }
        Ok(mended)
    }

    fn depth(&self, layer: &Layer) -> usize {
        self.chain(layer.chain_id).ok().flatten().map_or(0, |chain| chain.len())
    }
}

/// Mends one layer; those below it are sound. Returns whether something was written.
fn mend(layout: &Layout, layer: &Layer) -> Result<bool, DiskError> {
    let directory = layout.cache(&layer.cache_id);
    if durable::metadata(&directory.join("diff"))?.is_none() {
        return Ok(false);
    }
    let mut mended = false;
    let link = match read::read_link_id(layout, &layer.cache_id)? {
        Some(link) => link,
        None => {
            // The layers above name the old one, so it is looked for first.
            let link = link_to(layout, &layer.cache_id)?.unwrap_or_else(random::link);
            durable::replace(layout.staging(), directory.join("link"), link.as_bytes(), 0o644)?;
            mended = true;
            link
        }
    };
    let target = layout::link_target(&layer.cache_id);
    let symlink = layout.link(&link);
    if durable::read_link(&symlink)?.is_none_or(|found| found.as_os_str() != target.as_str()) {
        durable::remove_file(&symlink)?;
        durable::symlink(&target, &symlink)?;
        durable::sync_dir(&layout.links())?;
        mended = true;
    }
    let lower = directory.join("lower");
    let found = durable::read(&lower)?;
    let expected = match layer.parent {
        Some(parent) => match read::read(layout, parent) {
            Ok(Some(parent)) => check::expected_lower(layout, &parent)?,
            _ => return Ok(mended),
        },
        None => None,
    };
    if found.as_deref() != expected.as_deref().map(str::as_bytes) {
        if check::hides_all_below(&directory)? {
            return Ok(durable::remove_file(&lower)? || mended);
        }
        match expected {
            Some(expected) => durable::replace(layout.staging(), lower, expected.as_bytes(), 0o644)?,
            None if layer.parent.is_none() => durable::remove_file(&lower).map(drop)?,
            None => return Ok(mended),
        }
        mended = true;
    }
    Ok(mended)
}

/// Finds the symlink below `l/` that leads to a directory.
pub(super) fn link_to(layout: &Layout, cache_id: &str) -> Result<Option<String>, DiskError> {
    let target = layout::link_target(cache_id);
    for link in durable::names(&layout.links())?.into_iter().filter(|link| layout::is_link(link)) {
        if durable::read_link(&layout.link(&link))?.is_some_and(|found| found.as_os_str() == target.as_str())
        {
            return Ok(Some(link));
        }
    }
    Ok(None)
}
