//! Keeping published layers from being deleted while somebody builds upon them.

use std::collections::HashSet;
use std::ops::Deref;

use shale_oci::ChainId;

use super::read::Index;
use super::{Layer, LayerDamage, LayerError};
use crate::Store;
use crate::durable::DiskError;
use crate::layout::Layout;
use crate::lease::{self, Lease, Purpose};
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

/// Layers from the bottom of a stack upwards, none of which any process deletes before this is dropped.
#[must_use = "a dropped hold lets gc and rmi delete the layers"]
#[derive(Debug)]
pub struct HeldLayers {
    layers: Vec<Layer>,
    damage: Option<HoldError>,
    _lease: Option<Lease>,
}

impl HeldLayers {
    /// Returns what is wrong with the layer above those held; `None` when the store has none there.
    pub fn damage(&self) -> Option<&HoldError> {
        self.damage.as_ref()
    }
}

impl Deref for HeldLayers {
    type Target = [Layer];

    fn deref(&self) -> &[Layer] {
        &self.layers
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

    /// Holds those of `chains`, a stack from its bottom, that are here and sound, up to the first that is not.
    ///
    /// The same as [`Store::hold_layer`] for each, but every layer is read once and one lease covers all.
    ///
    /// # Errors
    /// [`HoldError`] when the store may not be written or the disk failed; damage is no error.
    pub fn hold_layers(&self, chains: &[ChainId]) -> Result<HeldLayers, HoldError> {
        self.check_writable()?;
        // As above; the checks stand inside it because the lease names the highest layer that passes them.
        let _still = lock::still(&self.layout)?;
        let mut index = Index::new(&self.layout);
        let (mut layers, mut damage) = (Vec::new(), None);
        for chain in chains {
            match self.load_sound(&mut index, *chain) {
                Ok(Some(layer)) => layers.push(layer),
                Ok(None) => break,
                Err(error) if error.is_damage() => {
                    damage = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let top = layers.last().map(|layer: &Layer| layer.chain_id);
        let lease = top.map(|top| hold(&self.layout, top)).transpose()?;
        Ok(HeldLayers { layers, damage, _lease: lease })
    }

    /// Returns the layers that living processes hold, or have published and not named yet; not those below them.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn held_layers(&self) -> Result<HashSet<ChainId>, DiskError> {
        let live = lease::survey(&self.layout.leases())?.live;
        Ok(live
            .into_iter()
            .filter_map(|purpose| match purpose {
                Purpose::Hold { chain } => Some(chain),
                _ => None,
            })
            .collect())
    }

    fn load_sound(&self, index: &mut Index<'_>, chain: ChainId) -> Result<Option<Layer>, HoldError> {
        let Some(layer) = index.load(chain)? else { return Ok(None) };
        self.check_layer(&layer)?;
        Ok(Some(layer))
    }
}

fn hold(layout: &Layout, chain: ChainId) -> Result<Lease, DiskError> {
    Lease::take(&layout.leases(), || Purpose::Hold { chain }).map(|(lease, _)| lease)
}
