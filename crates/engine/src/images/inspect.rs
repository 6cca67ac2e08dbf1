//! Everything about one image.

use std::collections::BTreeMap;

use shale_engine_api::{GraphDriver, ImageInspect};
use shale_oci::{ConfigError, ImageConfig};
use shale_store::{DiskError, Image, ReferencesError};

use super::find::FindError;
use crate::Engine;

/// Why an image cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The image is not there.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The config describes no image.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The names could not be read.
    #[error(transparent)]
    References(#[from] ReferencesError),
    /// The layer's directory is gone, or the disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Engine {
    /// Returns what `docker image inspect` tells about the image `text`.
    ///
    /// # Errors
    /// [`InspectError`].
    pub fn inspect(&self, text: &str) -> Result<ImageInspect, InspectError> {
        let references = self.store.references()?;
        let image = self.load_image_among(&references, text)?;
        let config = ImageConfig::parse(&image.config)?;
        let names = references.of_image(image.id);
        let keys = |digests: bool| {
            names.iter().filter(|name| name.is_digest() == digests).map(|name| name.key.to_owned()).collect()
        };
        let last_comment = config.history.last().map(|entry| entry.comment.clone()).unwrap_or_default();
        Ok(ImageInspect {
            id: image.id,
            repo_tags: keys(false),
            repo_digests: keys(true),
            parent: image.parent,
            comment: if config.comment.is_empty() { last_comment } else { config.comment.clone() },
            created: config.created.clone(),
            container: config.container.clone(),
            container_config: config.container_config.clone(),
            docker_version: config.docker_version.clone(),
            author: config.author.clone(),
            os: config.os_or_linux().to_owned(),
            os_version: config.os_version.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
            size_bytes: image.size_bytes(),
            graph_driver: self.graph_driver(&image)?,
            rootfs: config.rootfs.clone(),
            last_tag_time: image.last_updated.clone(),
            config: config.config,
        })
    }

    fn graph_driver(&self, image: &Image) -> Result<GraphDriver, DiskError> {
        let Some(top) = image.layers.last() else { return Ok(GraphDriver::default()) };
        let paths = self.store.overlay_paths(top)?;
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let mut directories = BTreeMap::from([
            ("MergedDir", text(&paths.merged)),
            ("UpperDir", text(&paths.upper)),
            ("WorkDir", text(&paths.work)),
        ]);
        if !paths.lower.is_empty() {
            let lower: Vec<String> = paths.lower.iter().map(|path| text(path)).collect();
            directories.insert("LowerDir", lower.join(":"));
        }
        Ok(GraphDriver { directories: Some(directories) })
    }
}
