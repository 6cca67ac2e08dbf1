//! An image with all that connects to it.

use serde::Serialize;
use shale_oci::{ChainId, DiffId, Digest, HistoryEntry, ImageId};

use super::inventory::{Inventory, KnownImage};

/// An image, its names, and its layers.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the names say it")]
pub struct ImageReport {
    pub id: ImageId,
    /// Why Docker would not list it.
    pub damage: Option<String>,
    pub tags: Vec<String>,
    /// `repository@digest`, as registries know it.
    pub manifests: Vec<String>,
    pub platform: String,
    pub created: Option<String>,
    pub size_bytes: u64,
    /// The image that it was built upon here.
    pub parent: Option<ImageUse>,
    /// Images that were built upon it here.
    pub children: Vec<ImageUse>,
    pub containers: Vec<ContainerUse>,
    /// Top first.
    pub layers: Vec<ImageLayer>,
    /// Newest first.
    pub history: Vec<HistoryStep>,
    /// Steps for which `docker history` prints `<missing>`.
    pub missing_steps: usize,
}

/// Another image, in short.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the names say it")]
pub struct ImageUse {
    pub id: ImageId,
    pub names: Vec<String>,
}

/// A container, in short.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the names say it")]
pub struct ContainerUse {
    pub id: String,
    pub name: String,
    pub running: bool,
}

/// A layer in an image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the names say it")]
pub struct ImageLayer {
    /// Counted from the bottom, which is 1.
    pub number: usize,
    /// Where registries have it.
    pub seen: Vec<Seen>,
    pub diff_id: DiffId,
    pub chain_id: ChainId,
    /// Absent when the layer is missing or damaged, as is all that follows from it.
    pub cache_id: Option<String>,
    pub link: Option<String>,
    pub directory: Option<String>,
    pub size_bytes: Option<u64>,
    /// The number of the step in the history that made it, from the oldest, which is 1.
    pub step: Option<usize>,
    pub created_by: String,
    /// Other images that have it.
    pub shared_with: Vec<ImageUse>,
}

/// A layer as a blob of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the names say it")]
pub struct Seen {
    pub digest: Digest,
    pub repository: String,
    /// Pushed from here; otherwise pulled.
    pub pushed: bool,
}

/// One step in the making of an image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the names say it")]
pub struct HistoryStep {
    /// From the oldest, which is 1.
    pub step: usize,
    /// The image that ended with this step, as far as the store knows it.
    pub image: Option<ImageId>,
    /// The layer that it made; `None` for one that changed the config only.
    pub layer: Option<usize>,
    pub created: Option<String>,
    pub created_by: String,
    pub comment: String,
}

/// Returns all that connects to an image; `None` when it is not here.
pub fn report(inventory: &Inventory, id: ImageId) -> Option<ImageReport> {
    let image = inventory.images.iter().find(|image| image.id == id)?;
    let names = inventory.references.of_image(id);
    let keys = |digests: bool| {
        names.iter().filter(|name| name.is_digest() == digests).map(|name| name.key.to_owned()).collect()
    };
    let containers = inventory.containers.iter().filter(|container| container.image == Some(id));
    let history = history(inventory, image);
    let mut layers = layers(inventory, image);
    let size_bytes = layers.iter().filter_map(|layer| layer.size_bytes).sum();
    layers.reverse();
    Some(ImageReport {
        id,
        damage: image.damage.as_ref().map(ToString::to_string),
        tags: keys(false),
        manifests: keys(true),
        platform: image.config.as_ref().map(|config| config.platform().to_string()).unwrap_or_default(),
        created: image.config.as_ref().and_then(|config| config.created.clone()),
        size_bytes,
        parent: image.parent.map(|parent| image_use(inventory, parent)),
        children: inventory
            .images
            .iter()
            .filter(|other| other.parent == Some(id))
            .map(|other| image_use(inventory, other.id))
            .collect(),
        containers: containers
            .map(|container| ContainerUse {
                id: container.id.clone(),
                name: container.name.clone(),
                running: container.state.running,
            })
            .collect(),
        layers,
        missing_steps: history.iter().filter(|step| step.image.is_none()).count(),
        history,
    })
}

fn image_use(inventory: &Inventory, id: ImageId) -> ImageUse {
    let names = inventory.references.of_image(id).iter().map(|name| name.key.to_owned()).collect();
    ImageUse { id, names }
}

fn steps(image: &KnownImage) -> Vec<(&HistoryEntry, Option<usize>)> {
    image.config.as_ref().map(|config| config.history_with_layers().collect()).unwrap_or_default()
}

/// Lists the layers, bottom first.
fn layers(inventory: &Inventory, image: &KnownImage) -> Vec<ImageLayer> {
    let store = inventory.engine.store();
    let diff_ids = Inventory::diff_ids(image);
    let steps = steps(image);
    let chains = ChainId::stack(diff_ids);
    let layers = diff_ids.iter().zip(chains).enumerate().map(|(index, (diff_id, chain_id))| {
        let layer = inventory.layers.iter().find(|layer| layer.chain_id == chain_id);
        let step = steps.iter().position(|(_, layer)| *layer == Some(index));
        let others =
            inventory.images_where(|diff_ids| ChainId::stack(diff_ids).get(index) == Some(&chain_id));
        ImageLayer {
            number: index + 1,
            seen: seen(inventory, *diff_id),
            diff_id: *diff_id,
            chain_id,
            cache_id: layer.map(|layer| layer.cache_id.clone()),
            link: layer.and_then(|layer| store.layer_link(layer).ok().flatten()),
            directory: layer.map(|layer| store.layer_diff_path(layer).to_string_lossy().into_owned()),
            size_bytes: layer.map(|layer| layer.size_bytes),
            step: step.map(|step| step + 1),
            created_by: step.map(|step| super::waste::words(steps[step].0)).unwrap_or_default(),
            shared_with: others
                .into_iter()
                .filter(|other| *other != image.id)
                .map(|other| image_use(inventory, other))
                .collect(),
        }
    });
    layers.collect()
}

/// Lists where a layer was seen, the newest first, each place once.
fn seen(inventory: &Inventory, diff_id: DiffId) -> Vec<Seen> {
    let mut places: Vec<Seen> = Vec::new();
    for entry in inventory.seen.get(&diff_id).into_iter().flatten().rev() {
        let (digest, repository) = (entry.digest, entry.source_repository.clone());
        match places.iter_mut().find(|place| place.digest == digest && place.repository == repository) {
            Some(place) => place.pushed |= !entry.hmac.is_empty(),
            None => places.push(Seen { digest, repository, pushed: !entry.hmac.is_empty() }),
        }
    }
    places
}

/// Lists the steps, newest first, with the images that the store knows they ended with.
fn history(inventory: &Inventory, image: &KnownImage) -> Vec<HistoryStep> {
    let mut history: Vec<HistoryStep> = steps(image)
        .into_iter()
        .enumerate()
        .map(|(index, (entry, layer))| HistoryStep {
            step: index + 1,
            image: None,
            layer: layer.map(|layer| layer + 1),
            created: entry.created.clone(),
            created_by: entry.created_by.clone(),
            comment: entry.comment.clone(),
        })
        .collect();
    history.reverse();
    let mut next = Some(image);
    for step in &mut history {
        let Some(known) = next else { break };
        step.image = Some(known.id);
        next = known.parent.and_then(|parent| {
            inventory.images.iter().find(|image| image.id == parent && image.damage.is_none())
        });
    }
    history
}
