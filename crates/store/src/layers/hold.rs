//! Keeping published layers from being deleted while somebody builds upon them.

use std::ops::Deref;

use shale_oci::ChainId;

use super::{Layer, LayerDamage, LayerError};
use crate::Store;
use crate::durable::DiskError;
use crate::layout::Layout;
use crate::lease::{Lease, Purpose};
use crate::lock::{self, AccessError};

/// A published layer that no process deletes before this is dropped.
#[must_use = "a dropped hold lets gc and rmi delete the layer"]
#[derive(Debug)]
pub struct HeldLayer {
    layer: Layer,
    _lease: Lease,
}

impl Deref for HeldLayer {
    type Target = Layer;

    fn deref(&self) -> &Layer {
        &self.layer
    }
}

/// Why [`Store::hold_layer`] holds nothing.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The store may not be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The layer is there but cannot be loaded; a pull replaces it.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The layer loads but is damaged; a pull replaces it.
    #[error(transparent)]
    Damaged(#[from] LayerDamage),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl HoldError {
    /// Whether a new copy of the layer would help.
    pub fn is_damage(&self) -> bool {
        match self {
            HoldError::Layer(error) => !matches!(error, LayerError::Disk(_)),
            HoldError::Damaged(damage) => !matches!(damage, LayerDamage::Disk(_)),
            HoldError::Access(_) | HoldError::Disk(_) => false,
        }
    }
}

impl Store {
    /// Returns the layer `chain`, checked as by [`Store::check_layer`] and held, with all layers below it, against
    /// deletion by other processes; `None` when the store has none of that name.
    ///
    /// A pull holds every layer that it finds before it says "Already exists", until the image is written.
    ///
    /// # Errors
    /// [`HoldError`]; ask [`HoldError::is_damage`] whether to fetch the layer again.
    pub fn hold_layer(&self, chain: ChainId) -> Result<Option<HeldLayer>, HoldError> {
        self.check_writable()?;
        let (lease, layer) = {
            // No delete is between its look at the leases and its first rename while we look and write ours.
            let _still = lock::still(&self.layout)?;
            let Some(layer) = self.find_layer(chain)? else { return Ok(None) };
            (hold(&self.layout, chain)?, layer)
        };
        self.check_layer(&layer)?;
        Ok(Some(HeldLayer { layer, _lease: lease }))
    }
}

fn hold(layout: &Layout, chain: ChainId) -> Result<Lease, DiskError> {
    Lease::take(&layout.leases(), || Purpose::Hold { chain }).map(|(lease, _)| lease)
}
