//! Giving finished layers their names, all or as many as stand on each other.

use std::ops::Deref;

use shale_oci::{Algorithm, ChainId, DiffId};

use super::{FinishedLayer, Index, LAYERS_MAX, Layer, LayerError, check, read, remove};
use crate::Store;
use crate::distribution::{self, V2Metadata};
use crate::durable::{self, Batch, DiskError, SyncPoint};
use crate::layout;
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

/// Layers that were just published, bottom first, held against deletion until this is dropped.
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

/// Where a finished layer goes and what its files have to say for that.
#[derive(Debug)]
struct Place {
    chain: ChainId,
    occupant: Occupant,
}

/// Everything that was decided from a look at the store; it has to be true still when the names are given.
struct Plan {
    base: Option<Layer>,
    base_lower: Option<String>,
    places: Vec<Place>,
}

impl Store {
    /// Gives `finished` (bottom first) their names on top of `base`, and returns the layers as they are in the store.
    ///
    /// All files are synced at once, then the directories are renamed bottom up under the lock; so a power cut leaves
    /// each layer whole or absent, and none without those below it. A layer that somebody else published meanwhile is
    /// taken instead of ours; a broken directory of the name is replaced.
    ///
    /// # Errors
    /// [`PublishError`]. What was not published is removed.
    pub fn publish_layers(
        &self,
        base: Option<ChainId>,
        mut finished: Vec<FinishedLayer>,
    ) -> Result<PublishedLayers, PublishError> {
        self.check_writable()?;
        if let Some(layer) =
            finished.iter().find(|layer| layer.diff_id.digest().algorithm() != Algorithm::Sha256)
        {
            return Err(PublishError::Algorithm(layer.diff_id));
        }
        loop {
            let plan = self.plan_publication(base, &finished)?;
            let metadata = self.prepare(&plan, &mut finished)?;
            let commit = self.commit()?;
            // Somebody else may have published, deleted or repaired since we looked; then what we wrote is wrong.
            if !self.still_true(&plan, base, &finished)?
                || !distribution::still_true(&self.layout, &metadata)?
            {
                continue;
            }
            let mut removals = Vec::new();
            let published = self.name_layers(&plan, &mut finished, metadata.batch, &mut removals);
            drop(commit);
            // Layers that lost to somebody else's, and what was left of broken ones; both without the lock.
            drop(finished);
            if published.is_ok() {
                remove::finish_removals(&self.layout, removals)?;
            }
            return published;
        }
    }

    fn plan_publication(
        &self,
        base: Option<ChainId>,
        finished: &[FinishedLayer],
    ) -> Result<Plan, PublishError> {
        let mut index = Index::new(&self.layout);
        let below = match base {
            Some(chain) => index.chain(chain).ok().flatten().ok_or(PublishError::BaseMissing(chain))?,
            None => Vec::new(),
        };
        if below.len() + finished.len() > LAYERS_MAX {
            return Err(PublishError::MaxDepth);
        }
        let base = below.last().cloned();
        let base_lower = match &base {
            Some(layer) => Some(
                check::expected_lower(&self.layout, layer)?
                    .ok_or(PublishError::BaseMissing(layer.chain_id))?,
            ),
            None => None,
        };
        let mut places = Vec::with_capacity(finished.len());
        let mut parent = base.as_ref().map(|layer| layer.chain_id);
        for layer in finished {
            let chain = ChainId::on(parent, layer.diff_id);
            places.push(Place { chain, occupant: self.occupant(chain, parent)? });
            parent = Some(chain);
        }
        Ok(Plan { base, base_lower, places })
    }

    fn occupant(&self, chain: ChainId, parent: Option<ChainId>) -> Result<Occupant, DiskError> {
        let cache_id = match read::read(&self.layout, chain) {
            Ok(None) => return Ok(Occupant::Nobody),
            Ok(Some(layer)) => {
                let damages = check::damages(&self.layout, &layer);
                if layer.parent == parent && damages.is_empty() {
                    return Ok(Occupant::Sound(Box::new(layer)));
                }
                Some(layer.cache_id)
            }
            Err(LayerError::Disk(error)) => return Err(error),
            Err(_) => durable::read(&self.layout.layer(chain).join("cache-id"))?
                .and_then(|content| Some(std::str::from_utf8(&content).ok()?.trim().to_owned()))
                .filter(|cache_id| layout::is_cache_id(cache_id)),
        };
        let link = match cache_id {
            Some(cache_id) => read::read_link_id(&self.layout, &cache_id)?,
            None => None,
        };
        Ok(Occupant::Broken { link })
    }

    /// Writes all files of all layers and waits until they are on the disk.
    fn prepare(
        &self,
        plan: &Plan,
        finished: &mut [FinishedLayer],
    ) -> Result<distribution::Staged, PublishError> {
        let mut lower = plan.base_lower.clone();
        let mut below = plan.base.clone().map(|layer| (layer.chain_id, layer.cache_id));
        for (layer, place) in finished.iter().zip(&plan.places) {
            let cache_id = match &place.occupant {
                Occupant::Sound(layer) => {
                    // Gone since the plan was made; the check under the lock finds that and plans again.
                    lower = Some(check::expected_lower(&self.layout, layer)?.unwrap_or_default());
                    layer.cache_id.clone()
                }
                occupant => {
                    let link = match occupant {
                        Occupant::Broken { link: Some(link) } => link.clone(),
                        _ => layer.unpublished.link.clone(),
                    };
                    if check::hides_all_below(&layer.unpublished.directory())? {
                        lower = None;
                    }
                    self.write_position(layer, &link, below.as_ref(), lower.as_deref())?;
                    lower = Some(match lower {
                        Some(lower) => format!("l/{link}:{lower}"),
                        None => format!("l/{link}"),
                    });
                    layer.unpublished.cache_id.clone()
                }
            };
            below = Some((place.chain, cache_id));
        }
        let sources: Vec<_> = finished
            .iter()
            .filter_map(|layer| {
                let source = layer.source.clone()?;
                Some((layer.diff_id, V2Metadata::pulled(source.digest, source.repository)))
            })
            .collect();
        let metadata = distribution::stage(&self.layout, &sources, distribution::Sync::Later)?;
        let mut points: Vec<&SyncPoint> =
            finished.iter().map(|layer| &layer.unpublished.sync_point).collect();
        if !points.is_empty() {
            let staging = SyncPoint::open(&self.layout.staging())?;
            points.push(&staging);
            durable::sync_filesystems(&points)?;
        }
        Ok(metadata)
    }

    /// Writes the files that say where in the stack a layer stands.
    fn write_position(
        &self,
        layer: &FinishedLayer,
        link: &str,
        below: Option<&(ChainId, String)>,
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
        let committed = self.layout.cache(parent_cache_id).join("committed");
        match durable::create_file(&committed, b"", 0o600) {
            // The parent has a child already, or was deleted since; the check under the lock finds the latter.
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotFound
                ) =>
            {
                Ok(())
            }
            result => result.map(drop),
        }
    }

    fn still_true(
        &self,
        plan: &Plan,
        base: Option<ChainId>,
        finished: &[FinishedLayer],
    ) -> Result<bool, PublishError> {
        let now = self.plan_publication(base, finished)?;
        let places = now.places.iter().zip(&plan.places);
        Ok(now.base == plan.base
            && now.base_lower == plan.base_lower
            && places.clone().all(|(now, then)| now.occupant == then.occupant))
    }

    /// Renames everything into place; the caller holds the lock.
    fn name_layers(
        &self,
        plan: &Plan,
        finished: &mut [FinishedLayer],
        metadata: Batch,
        removals: &mut Vec<remove::Removal>,
    ) -> Result<PublishedLayers, PublishError> {
        let layout = &self.layout;
        let mut published = PublishedLayers::default();
        let mut parent = plan.base.as_ref().map(|layer| layer.chain_id);
        for (layer, place) in finished.iter_mut().zip(&plan.places) {
            if let Occupant::Sound(existing) = &place.occupant {
                let (lease, _) = Lease::take(&layout.leases(), || Purpose::Hold { chain: place.chain })?;
                published._leases.push(lease);
                published.layers.push(Layer::clone(existing));
                parent = Some(place.chain);
                continue;
            }
            if let Occupant::Broken { link } = &place.occupant {
                removals.push(remove::begin_removal(layout, place.chain)?);
                if let Some(link) = link {
                    durable::rename(&layout.link(&layer.unpublished.link), &layout.link(link))?;
                    layer.unpublished.link = link.clone();
                }
            }
            durable::rename(&layer.unpublished.write_set(), &layout.layer(place.chain))?;
            layer.unpublished.published = true;
            layer.unpublished.change_lease(place.chain, &mut published._leases)?;
            published.layers.push(Layer {
                chain_id: place.chain,
                diff_id: layer.diff_id,
                parent,
                cache_id: layer.unpublished.cache_id.clone(),
                size_bytes: layer.size_bytes,
            });
            parent = Some(place.chain);
        }
        durable::sync_dir(&layout.layers())?;
        if !removals.is_empty() {
            durable::sync_dir(&layout.links())?;
        }
        if !metadata.is_empty() {
            metadata.publish()?;
        }
        Ok(published)
    }
}
