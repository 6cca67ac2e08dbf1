//! From an archive to images in the store.

mod docker;
mod layer;
mod oci;
mod plan;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use shale_oci::{
    ChainId, ConfigError, Digest, DocumentError, ImageId, Platform, Reference, ReferenceError, VerifyError,
};
use shale_store::{
    HeldLayer, HoldError, LAYERS_MAX, Layer, MendError, Name, NewImage, NewLayer, Publication,
    PublishImagesError, PutImage, ReferenceChange,
};

pub use super::members::Input;
use super::members::{Content, Links, Members, MembersError};
use crate::Engine;
use crate::progress::Progress;
pub use layer::LoadLayerError;
use plan::{CONFIGS_BYTES_MAX, Plan, PlannedEntry, PlannedImage, PlannedLayer, plan};

/// A manifest of an archive with thousands of images is still shorter.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub image: ImageId,
    /// The names that the archive gives it, in its order; they are set.
    pub names: Vec<LoadedName>,
}

/// A name that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedName {
    /// The name.
    pub reference: Reference,
    /// Another image that had the name before.
    pub replaced: Option<ImageId>,
}

/// Why nothing was loaded; nothing was stored, unless the disk failed at the very end.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The archive, or a member of it, cannot be read.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// Neither `manifest.json` nor an OCI layout.
    #[error("invalid archive: does not contain a manifest.json or an index.json")]
    NoManifest,
    /// The form that docker wrote before version 1.10.
    #[error(
        "invalid archive: does not contain a manifest.json; archives of docker 1.9 and older are not supported, save the image again with a current docker"
    )]
    Legacy,
    /// `manifest.json` is not what docker writes.
    #[error("invalid manifest.json")]
    Manifest(#[source] serde_json::Error),
    /// The archive names no image, or none for the platform that was asked for.
    #[error("the archive has no image")]
    NoImage,
    /// The archive has images, but none for the platform.
    #[error("the archive has no image for the platform {0}")]
    NoMatchingPlatform(Platform),
    /// Config and manifest disagree. The message is Docker's.
    #[error("invalid manifest, layers length mismatch: expected {config}, got {manifest}")]
    LayerCount {
        /// Diff IDs in the config.
        config: usize,
        /// Layers in the manifest.
        manifest: usize,
    },
    /// More layers than the store takes.
    #[error("max depth exceeded: the image has {0} layers, at most {LAYERS_MAX} are possible")]
    TooManyLayers(usize),
    /// Together the configs are longer than what is kept in memory.
    #[error(
        "the image configs of the archive are together longer than {CONFIGS_BYTES_MAX} bytes; load the images from several archives"
    )]
    ConfigsTooLarge,
    /// The config describes no image.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An image for another operating system. The message is Docker's.
    #[error("cannot load {0} image on linux")]
    OperatingSystem(String),
    /// A name that is none, or has no tag. The message is Docker's.
    #[error("invalid tag {text:?}")]
    Tag {
        /// What stands in the archive.
        text: String,
        /// Why, where the grammar was broken.
        source: Option<ReferenceError>,
    },
    /// An index or a manifest is not valid.
    #[error("invalid document {digest}")]
    Document {
        /// Its digest.
        digest: Digest,
        /// Why.
        source: DocumentError,
    },
    /// The bytes of a blob are not those of its name.
    #[error("blob {digest} is damaged")]
    Blob {
        /// Its name.
        digest: Digest,
        /// Why.
        source: VerifyError,
    },
    /// An index that leads to an index, and so on.
    #[error("the index leads through too many others")]
    TooDeep,
    /// A layer is wrong.
    #[error(transparent)]
    Layer(#[from] LoadLayerError),
    /// A layer that is here could not be looked at.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// A damaged layer could not be marked to be replaced.
    #[error(transparent)]
    Mend(#[from] MendError),
    /// Layers, configs or names could not be published.
    #[error(transparent)]
    Publish(#[from] PublishImagesError),
}

impl Engine {
    /// Loads all images of an archive: as docker saves them, or an OCI layout. Blocks.
    ///
    /// Layers that the store has are not read. All others are unpacked and checked before anything is published; then
    /// layers, configs and names of all images become visible in one commit, with one sync. With a `platform` only images for it count;
    /// without one an index is resolved for this machine.
    ///
    /// # Errors
    /// [`LoadError`].
    ///
    /// Source: moby `image/tarexport/load.go` at v28.5.2.
    pub fn load(
        &self,
        input: Input,
        platform: Option<&Platform>,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>, LoadError> {
        let members = Members::open(input, self.store.root())?;
        let plan = plan(&members, platform)?;
        // Kept against deletion by others until the images are written.
        let (held, _holds) = self.hold_sound_stacks(&plan.images)?;
        let missing = missing_layers(&plan.images, &held);
        let contents = missing
            .iter()
            .map(|layer| members.find(&layer.member, layer.links))
            .collect::<Result<Vec<Content>, _>>()?;
        let finished = self.unpack_members(&missing, contents, progress)?;
        let layers = missing
            .iter()
            .zip(finished)
            .map(|(planned, layer)| NewLayer { parent: planned.parent, layer })
            .collect();
        self.publish_loaded(&plan, layers)
    }

    /// Holds, for each image, the longest sound stack of its layers that the store has.
    fn hold_sound_stacks(
        &self,
        images: &[Arc<PlannedImage>],
    ) -> Result<(HashSet<ChainId>, Vec<HeldLayer>), LoadError> {
        let mut held = HashSet::new();
        let mut holds = Vec::new();
        for image in images {
            let mut top = None;
            for layer in &image.layers {
                match self.store.hold_layer(layer.chain_id) {
                    Ok(Some(found)) if self.has_readable_record(&found) => top = Some(found),
                    Ok(Some(_)) => {
                        tracing::warn!(layer = %layer.chain_id, "a layer with a damaged record is loaded again");
                        self.store.condemn_layer(layer.chain_id)?;
                        break;
                    }
                    Ok(None) => break,
                    Err(error) if error.is_damage() => {
                        tracing::warn!(layer = %layer.chain_id, %error, "a damaged layer is loaded again");
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
                held.insert(layer.chain_id);
            }
            // What holds a layer holds those below it.
            holds.extend(top);
        }
        Ok((held, holds))
    }

    /// Reads a layer's tar-split record to its end, where the checksum is: the archive has the bytes to replace the layer,
    /// so it must not be told that all is well.
    fn has_readable_record(&self, layer: &Layer) -> bool {
        let record = self.store.open_tar_split(layer);
        record.is_ok_and(|mut record| io::copy(&mut record, &mut io::sink()).is_ok())
    }

    /// Publishes all layers, configs and names in one commit.
    fn publish_loaded(&self, plan: &Plan, layers: Vec<NewLayer>) -> Result<Vec<Loaded>, LoadError> {
        let Plan { images, entries } = plan;
        let keys: Vec<Vec<String>> =
            entries.iter().map(|entry| entry.names.iter().map(Reference::familiar).collect()).collect();
        let parents = parents(plan);
        let mut new: Vec<NewImage<'_>> = images
            .iter()
            .map(|image| {
                let put = PutImage { parent: parents.get(&image.id).copied(), built_locally: false };
                NewImage { config: &image.config_bytes, put, names: Vec::new() }
            })
            .collect();
        // All with one image: a name that the archive gives to several goes to the last, in the archive's order.
        if let Some(last) = new.last_mut() {
            last.names.extend(entries.iter().zip(&keys).flat_map(|(entry, keys)| {
                entry.names.iter().zip(keys).map(|(name, key)| ReferenceChange::Tag {
                    name: Name { repository: name.repository.familiar(), key },
                    image: entry.image.id,
                })
            }));
        }
        let publication = Publication { layers, seen: Vec::new(), images: new };
        let before = self.store.publish(publication)?.before;
        let loaded = entries.iter().zip(&keys).map(|(entry, keys)| {
            let image = entry.image.id;
            let names = entry.names.iter().zip(keys).map(|(reference, key)| {
                let replaced = before.image(reference.repository.familiar(), key);
                LoadedName {
                    reference: reference.clone(),
                    replaced: replaced.filter(|replaced| *replaced != image),
                }
            });
            Loaded { image, names: names.collect() }
        });
        Ok(loaded.collect())
    }
}

/// Returns upon which images others were built, where both are in the archive and their histories say so too.
fn parents(plan: &Plan) -> HashMap<ImageId, ImageId> {
    let by_id: HashMap<ImageId, &PlannedImage> =
        plan.images.iter().map(|image| (image.id, &**image)).collect();
    let mut parents = HashMap::new();
    for PlannedEntry { image, parent, .. } in &plan.entries {
        let named = parent.filter(|parent| *parent != image.id);
        let Some(parent) = named.and_then(|parent| by_id.get(&parent)) else { continue };
        if image.is_one_step_upon(parent) {
            parents.insert(image.id, parent.id);
        } else {
            tracing::warn!(image = %image.id, parent = %parent.id, "the archive names a wrong parent");
        }
    }
    parents
}

/// Returns each layer that is not held once, those of the first image first.
fn missing_layers(images: &[Arc<PlannedImage>], held: &HashSet<ChainId>) -> Vec<PlannedLayer> {
    let mut seen = held.clone();
    let layers = images.iter().flat_map(|image| &image.layers);
    layers.filter(|layer| seen.insert(layer.chain_id)).cloned().collect()
}

/// Reads a name to give, which must have a tag and no digest.
fn parse_name(text: &str) -> Result<Reference, LoadError> {
    let invalid = |source| LoadError::Tag { text: text.to_owned(), source };
    let reference = Reference::parse(text).map_err(|error| invalid(Some(error)))?;
    let is_tagged = reference.tag.is_some() && reference.digest.is_none();
    // A repository of this name would be taken for a digest.
    if is_tagged && reference.repository.familiar() != "sha256" { Ok(reference) } else { Err(invalid(None)) }
}
