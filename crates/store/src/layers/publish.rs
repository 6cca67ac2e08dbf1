//! Where finished layers go, and giving them their names.
//!
//! Not here: syncing, the lock, and what is published with the layers; that is `images/publish`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Deref;
use std::path::PathBuf;

use shale_oci::{Algorithm, ChainId, DiffId};

use super::{FinishedLayer, Index, LAYERS_MAX, Layer, LayerError, check, mend, read, remove};
use crate::Store;
use crate::durable::{self, DiskError};
use crate::images::{Publication, PublishImagesError};
use crate::layout::{self, Layout};
use crate::lease::{Lease, Purpose};
use crate::lock::AccessError;

/// Why [`Store::publish_layers`] published nothing, or only the lower ones of the layers.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// More layers than Docker takes.
    #[error("max depth exceeded")]
    MaxDepth,
    /// The layer to build upon is gone or cannot be loaded; start over.
    #[error("layer {0}, on which the new layers stand, is not in the store")]
    BaseMissing(ChainId),
    /// A diff ID that is no SHA-256; the layout has no place for it.
    #[error("layer {0} is not named by a sha256 digest")]
    Algorithm(DiffId),
    /// The store may not be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The disk failed; whole layers may have been published below the one that failed, the others are gone.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A finished layer and the one that it stands on, which is in the store or stands before it in the same list.
#[derive(Debug)]
pub struct NewLayer {
    /// The layer below; `None` for a bottom layer.
    pub parent: Option<ChainId>,
    /// The layer.
    pub layer: FinishedLayer,
}

impl NewLayer {
    /// Returns the layers of a stack, bottom first, on top of `base`.
    pub fn stack(
        base: Option<ChainId>,
        layers: impl IntoIterator<Item = FinishedLayer>,
    ) -> impl Iterator<Item = NewLayer> {
        layers.into_iter().scan(base, |below, layer| {
            let parent = below.replace(ChainId::on(*below, layer.diff_id));
            Some(NewLayer { parent, layer })
        })
    }

    /// Returns the name that the layer gets.
    pub fn chain_id(&self) -> ChainId {
        ChainId::on(self.parent, self.layer.diff_id)
    }
}

/// Layers that were just published, in the order they were given, held against deletion until this is dropped.
///
/// Keep it until the image that uses the layers is written.
#[must_use = "layers that no image uses may be deleted as soon as this is dropped"]
#[derive(Debug, Default)]
pub struct PublishedLayers {
    layers: Vec<Layer>,
    _leases: Vec<Lease>,
}

impl Deref for PublishedLayers {
    type Target = [Layer];

    fn deref(&self) -> &[Layer] {
        &self.layers
    }
}

/// What the store holds under the name that a finished layer is to get.
#[derive(Debug, PartialEq, Eq)]
enum Occupant {
    Nobody,
    /// Somebody published a sound layer first; ours is dropped.
    Sound(Box<Layer>),
    /// A directory that Docker would stumble over for ever; ours replaces it and takes its link ID over, because the
    /// `lower` files of the layers above name it.
    Broken {
        link: Option<String>,
    },
}

/// Everything that was decided about layers from a look at the store; it has to be true still when they get their names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LayerPlan {
    /// The layers of the store on which new ones stand, and what the `lower` files above them say.
    bases: BTreeMap<ChainId, (Layer, String)>,
    /// For each new layer, who has its name.
    occupants: Vec<Occupant>,
}

impl Store {
    /// Gives `finished` (bottom first) their names on top of `base`, and returns the layers as they are in the store.
    ///
    /// As [`Store::publish`] without images.
    ///
    /// # Errors
    /// [`PublishError`]. What was not published is removed.
    pub fn publish_layers(
        &self,
        base: Option<ChainId>,
        finished: Vec<FinishedLayer>,
    ) -> Result<PublishedLayers, PublishError> {
        let layers = NewLayer::stack(base, finished).collect();
        match self.publish(Publication { layers, ..Publication::default() }) {
            Ok(published) => Ok(published.layers),
            Err(PublishImagesError::Layers(error)) => Err(error),
            Err(PublishImagesError::Image(error)) => unreachable!("there is no image: {error}"),
        }
    }
}

/// Looks where each of `new` goes.
pub(crate) fn plan(layout: &Layout, new: &[NewLayer]) -> Result<LayerPlan, PublishError> {
    let mut index = Index::new(layout);
    let mut plan = LayerPlan { bases: BTreeMap::new(), occupants: Vec::with_capacity(new.len()) };
    let mut depths: HashMap<ChainId, usize> = HashMap::new();
    // Layers that get another link ID than they had, and all above them: their `lower` files cannot stay as they are.
    let mut moved: HashSet<ChainId> = HashSet::new();
    for NewLayer { parent, layer } in new {
        if layer.diff_id.digest().algorithm() != Algorithm::Sha256 {
            return Err(PublishError::Algorithm(layer.diff_id));
        }
        let below = match parent {
            None => 0,
            Some(parent) => match depths.get(parent) {
                Some(depth) => *depth,
                None => {
                    let missing = || PublishError::BaseMissing(*parent);
                    let stack = index.chain(*parent).ok().flatten().ok_or_else(missing)?;
                    let base = stack.last().ok_or_else(missing)?;
                    let lower = check::expected_lower(layout, base)?.ok_or_else(missing)?;
                    plan.bases.insert(*parent, (base.clone(), lower));
                    depths.insert(*parent, stack.len());
                    stack.len()
                }
            },
        };
        if below >= LAYERS_MAX {
            return Err(PublishError::MaxDepth);
        }
        let chain = ChainId::on(*parent, layer.diff_id);
        depths.insert(chain, below + 1);
        let mut occupant = occupant(layout, chain, *parent)?;
        let stands_on_moved = parent.is_some_and(|parent| moved.contains(&parent));
        if let (Occupant::Sound(layer), true) = (&occupant, stands_on_moved) {
            occupant = Occupant::Broken { link: read::read_link_id(layout, &layer.cache_id)? };
        }
        if stands_on_moved || occupant == (Occupant::Broken { link: None }) {
            moved.insert(chain);
        }
        plan.occupants.push(occupant);
    }
    Ok(plan)
}

fn occupant(layout: &Layout, chain: ChainId, parent: Option<ChainId>) -> Result<Occupant, DiskError> {
    let cache_id = match read::read(layout, chain) {
        Ok(None) => return Ok(Occupant::Nobody),
        Ok(Some(layer)) => {
            let damages = check::damages(layout, &layer);
            if layer.parent == parent && damages.is_empty() {
                return Ok(Occupant::Sound(Box::new(layer)));
            }
            Some(layer.cache_id)
        }
        Err(LayerError::Disk(error)) => return Err(error),
        Err(_) => durable::read(&layout.layer(chain).join("cache-id"))?
            .and_then(|content| Some(std::str::from_utf8(&content).ok()?.trim().to_owned()))
            .filter(|cache_id| layout::is_cache_id(cache_id)),
    };
    let link = match cache_id {
        Some(cache_id) => match read::read_link_id(layout, &cache_id)? {
            Some(link) => Some(link),
            None => mend::link_to(layout, &cache_id)?,
        },
        None => None,
    };
    Ok(Occupant::Broken { link })
}

/// Writes the files that say where in the stack each of `new` stands; nothing is synced.
pub(crate) fn write_positions(layout: &Layout, plan: &LayerPlan, new: &[NewLayer]) -> Result<(), DiskError> {
    // What the layer on top of each has below it: its directory, and its `lower` file.
    let mut below: HashMap<ChainId, (String, String)> = HashMap::new();
    for (chain, (base, lower)) in &plan.bases {
        below.insert(*chain, (base.cache_id.clone(), lower.clone()));
    }
    for (new, occupant) in new.iter().zip(&plan.occupants) {
        let layer = &new.layer;
        let (cache_id, lower) = match occupant {
            Occupant::Sound(layer) => {
                // Gone since the plan was made; the check under the lock finds that and plans again.
                let lower = check::expected_lower(layout, layer)?.unwrap_or_default();
                (layer.cache_id.clone(), lower)
            }
            occupant => {
                let link = match occupant {
                    Occupant::Broken { link: Some(link) } => link.clone(),
                    _ => layer.unpublished.link.clone(),
                };
                let parent = new.parent.and_then(|parent| Some((parent, below.get(&parent)?)));
                let hides = check::hides_all_below(&layer.unpublished.directory())?;
                let lower = parent.filter(|_| !hides).map(|(_, (_, lower))| lower.as_str());
                let position = parent.map(|(parent, (cache_id, _))| (parent, cache_id.as_str()));
                write_position(layout, layer, &link, position, lower)?;
                let above = match lower {
                    Some(lower) => format!("l/{link}:{lower}"),
                    None => format!("l/{link}"),
                };
                (layer.unpublished.cache_id.clone(), above)
            }
        };
        below.insert(new.chain_id(), (cache_id, lower));
    }
    Ok(())
}

fn write_position(
    layout: &Layout,
    layer: &FinishedLayer,
    link: &str,
    below: Option<(ChainId, &str)>,
    lower: Option<&str>,
) -> Result<(), DiskError> {
    let directory = layer.unpublished.directory();
    // A second round may find other neighbours than the first, so each file is written anew.
    durable::overwrite_unpublished(&directory.join("link"), link.as_bytes(), 0o644)?;
    let parent_file = layer.unpublished.write_set().join("parent");
    let Some((parent, parent_cache_id)) = below else { return Ok(()) };
    // None for a layer that hides those below it.
    if let Some(lower) = lower {
        durable::ensure_dir(&directory.join("work"), 0o700)?;
        durable::overwrite_unpublished(&directory.join("lower"), lower.as_bytes(), 0o644)?;
    }
    durable::overwrite_unpublished(&parent_file, parent.to_string().as_bytes(), 0o644)?;
    let committed = layout.cache(parent_cache_id).join("committed");
    match durable::create_file(&committed, b"", 0o600) {
        // The parent has a child already, or was deleted since; the check under the lock finds the latter.
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotFound) =>
        {
            Ok(())
        }
        result => result.map(drop),
    }
}

/// Renames `new` into place, in their order, and adds them to `published`; the caller holds the lock and syncs
/// `directories`. `removals` are left of broken layers.
pub(crate) fn name(
    layout: &Layout,
    plan: &LayerPlan,
    new: &mut [NewLayer],
    directories: &mut Vec<PathBuf>,
    removals: &mut Vec<remove::Removal>,
) -> Result<PublishedLayers, DiskError> {
    let mut published = PublishedLayers::default();
    for (NewLayer { parent, layer }, occupant) in new.iter_mut().zip(&plan.occupants) {
        let chain = ChainId::on(*parent, layer.diff_id);
        if let Occupant::Sound(existing) = occupant {
            let (lease, _) = Lease::take(&layout.leases(), || Purpose::Hold { chain })?;
            published._leases.push(lease);
            published.layers.push(Layer::clone(existing));
            continue;
        }
        if let Occupant::Broken { link } = occupant {
            removals.push(remove::begin_removal(layout, chain)?);
            if let Some(link) = link {
                durable::rename(&layout.link(&layer.unpublished.link), &layout.link(link))?;
                layer.unpublished.link = link.clone();
            }
        }
        durable::rename(&layer.unpublished.write_set(), &layout.layer(chain))?;
        layer.unpublished.published = true;
        layer.unpublished.change_lease(chain, &mut published._leases)?;
        published.layers.push(Layer {
            chain_id: chain,
            diff_id: layer.diff_id,
            parent: *parent,
            cache_id: layer.unpublished.cache_id.clone(),
            size_bytes: layer.size_bytes,
        });
    }
    if !published.layers.is_empty() {
        directories.push(layout.layers());
    }
    if !removals.is_empty() {
        directories.push(layout.links());
    }
    Ok(published)
}
