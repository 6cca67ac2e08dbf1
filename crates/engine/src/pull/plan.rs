//! What a pull must do: pure, from the manifest and the config.

use shale_oci::{ChainId, Descriptor, DiffId, Digest, ImageConfig, Manifest, media_type};
use shale_store::LAYERS_MAX;

/// A layer of the image, with its names on the wire and on the disk.
#[derive(Debug, Clone)]
pub struct PlannedLayer {
    /// The blob in the registry.
    pub descriptor: Descriptor,
    /// Digest of the tar in the blob.
    pub diff_id: DiffId,
    /// This layer and all below it.
    pub chain_id: ChainId,
}

/// Why a manifest cannot become an image of this store.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// More layers than overlayfs and Docker take; known before a byte of them is fetched.
    #[error("max depth exceeded: the image has {0} layers, at most {LAYERS_MAX} are possible")]
    TooManyLayers(usize),
    /// The config describes other layers than the manifest.
    #[error("layers from manifest don't match image configuration: {manifest} layers, {config} diff IDs")]
    LayerCount {
        /// Layers in the manifest.
        manifest: usize,
        /// Diff IDs in the config.
        config: usize,
    },
    /// Not an image: a plugin, a chart, a signature.
    #[error("unsupported media type {0}: this is no container image; fetch it with shale copy")]
    NotAnImage(String),
    /// A layer in a form that nobody unpacks.
    #[error("layer {digest} has the unsupported media type {media_type}")]
    LayerType {
        /// The layer.
        digest: Digest,
        /// What the manifest says it is.
        media_type: String,
    },
    /// An image for another operating system.
    #[error(
        "image operating system {0:?} cannot be used on this platform: operating system is not supported"
    )]
    OperatingSystem(String),
}

/// Checks that a manifest is an image, before its config is fetched.
pub fn check_manifest(manifest: &Manifest) -> Result<(), PlanError> {
    let config_type = manifest.config.media_type.as_str();
    // Old registries and tools left the type empty or general; Docker reads those as images too.
    let is_image = matches!(
        config_type,
        media_type::DOCKER_CONFIG | media_type::OCI_CONFIG | "application/octet-stream" | ""
    );
    if !is_image {
        return Err(PlanError::NotAnImage(config_type.to_owned()));
    }
    if manifest.layers.len() > LAYERS_MAX {
        return Err(PlanError::TooManyLayers(manifest.layers.len()));
    }
    match manifest.layers.iter().find(|layer| !is_layer(&layer.media_type)) {
        Some(layer) => {
            Err(PlanError::LayerType { digest: layer.digest, media_type: layer.media_type.clone() })
        }
        None => Ok(()),
    }
}

/// Returns the layers, bottom first, if manifest and config belong together.
pub fn plan_layers(manifest: &Manifest, config: &ImageConfig) -> Result<Vec<PlannedLayer>, PlanError> {
    if config.os_or_linux() != "linux" {
        return Err(PlanError::OperatingSystem(config.os.clone()));
    }
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        return Err(PlanError::LayerCount { manifest: manifest.layers.len(), config: diff_ids.len() });
    }
    let chain_ids = ChainId::stack(diff_ids);
    let layers = manifest.layers.iter().zip(diff_ids).zip(chain_ids);
    Ok(layers
        .map(|((descriptor, diff_id), chain_id)| PlannedLayer {
            descriptor: descriptor.clone(),
            diff_id: *diff_id,
            chain_id,
        })
        .collect())
}

fn is_layer(media_type: &str) -> bool {
    matches!(
        media_type,
        media_type::OCI_LAYER
            | media_type::OCI_LAYER_GZIP
            | media_type::OCI_LAYER_ZSTD
            | media_type::DOCKER_LAYER
            | media_type::DOCKER_LAYER_GZIP
            | media_type::DOCKER_LAYER_ZSTD
            | "application/octet-stream"
    ) || media_type::is_foreign_layer(media_type)
}
