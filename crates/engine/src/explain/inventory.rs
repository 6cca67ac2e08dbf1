//! Everything that has an identifier in a store, at one moment.

use std::collections::HashMap;
use std::sync::Arc;

use shale_oci::{DiffId, ImageConfig, ImageId};
use shale_store::{Container, ImageError, Layer, Mount, References, V2Metadata};

use super::ExplainError;
use crate::Engine;

/// Everything that has an identifier in a store.
pub struct Inventory {
    pub engine: Engine,
    pub references: Arc<References>,
    pub images: Vec<KnownImage>,
    /// Those that can be loaded, in the order of their chain IDs.
    pub layers: Vec<Layer>,
    /// Where each layer was seen as a blob, oldest first.
    pub seen: HashMap<DiffId, Vec<V2Metadata>>,
    pub containers: Vec<Container>,
    pub mounts: Vec<Mount>,
}

/// An image that is here, usable or not.
pub struct KnownImage {
    pub id: ImageId,
    /// What the config says; `None` when it cannot be read.
    pub config: Option<ImageConfig>,
    pub parent: Option<ImageId>,
    /// Why Docker would not list it.
    pub damage: Option<ImageError>,
}

impl Inventory {
    /// Looks at everything.
    pub fn take(engine: &Engine) -> Result<Inventory, ExplainError> {
        let store = engine.store();
        let mut images = Vec::new();
        for stored in store.images()? {
            let (bytes, parent, damage) = match stored.image {
                Ok(image) => (Some(image.config), image.parent, None),
                Err(error) => (store.image_config(stored.id).ok().flatten(), None, Some(error)),
            };
            let config = bytes.and_then(|bytes| ImageConfig::parse(&bytes).ok());
            images.push(KnownImage { id: stored.id, config, parent, damage });
        }
        let layers = store.layers()?;
        let diff_ids = layers.iter().map(|layer| layer.diff_id);
        let of_configs = images.iter().filter_map(|image| image.config.as_ref());
        let mut seen = HashMap::new();
        for diff_id in diff_ids.chain(of_configs.flat_map(|config| config.rootfs.diff_ids.iter().copied())) {
            if let std::collections::hash_map::Entry::Vacant(entry) = seen.entry(diff_id) {
                entry.insert(store.metadata_for(diff_id)?);
            }
        }
        Ok(Inventory {
            engine: engine.clone(),
            references: store.references()?,
            containers: store.containers()?,
            mounts: store.mounts()?,
            images,
            layers,
            seen,
        })
    }

    /// Returns the diff IDs of an image, bottom first.
    pub fn diff_ids(image: &KnownImage) -> &[DiffId] {
        image.config.as_ref().map_or(&[], |config| &config.rootfs.diff_ids)
    }

    /// Returns the images of which a condition on their diff IDs holds.
    pub fn images_where(&self, holds: impl Fn(&[DiffId]) -> bool) -> Vec<ImageId> {
        self.images.iter().filter(|image| holds(Inventory::diff_ids(image))).map(|image| image.id).collect()
    }
}
