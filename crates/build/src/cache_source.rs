//! `--cache-from`: images whose history says which steps made their layers.
//!
//! Promise: as Docker's: a source serves a step when everything below it, history and layers, is what the stage has so far
//! and its next line was written by the same step; the image of that step is then made of the source's layer.
//!
//! Source: moby `image/cache/cache.go` at v20.10.24, and what dockerd 20.10.24 does with the same images.

use shale_oci::{ImageConfig, ImageId, RunConfig};
use shale_store::PutImage;

use crate::build::Builder;
use crate::commit::document;
use crate::error::BuildError;
use crate::stage::StageState;

/// An image that the user trusts as a cache.
#[derive(Debug)]
pub(crate) struct CacheSource {
    image: ImageId,
    config: ImageConfig,
}

impl Builder<'_> {
    /// Reads the configs of the images of `--cache-from`.
    pub(crate) fn read_sources(&self) -> Result<Vec<CacheSource>, BuildError> {
        let read = |image: &ImageId| Ok(CacheSource { image: *image, config: self.config_of(*image)? });
        self.options.cache_from.iter().map(read).collect()
    }

    /// Whether a step's image that is in the store may be used: with sources, Docker's builder takes only what one of
    /// them was built upon.
    pub(crate) fn may_use(&self, image: ImageId) -> Result<bool, BuildError> {
        if self.sources.is_empty() || !self.dialect.cache_sources_replace_the_store() {
            return Ok(true);
        }
        for source in self.sources.iter() {
            let mut next = Some(source.image);
            while let Some(current) = next {
                if current == image {
                    return Ok(true);
                }
                next = self.store.image(current)?.and_then(|stored| stored.parent);
            }
        }
        Ok(false)
    }

    /// Returns the image of the step `config` from the first source that has it.
    pub(crate) fn restore_step(
        &self,
        stage: &StageState,
        config: &RunConfig,
        made: Option<jiff::Timestamp>,
    ) -> Result<Option<ImageId>, BuildError> {
        let words = config.cmd.clone().unwrap_or_default().join(" ");
        for source in self.sources.iter() {
            let Some(position) = next_step(&stage.parent, stage.image.is_none(), &source.config) else {
                continue;
            };
            let entry = &source.config.history[position];
            let created = entry.created.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            if entry.created_by != words || (made.is_some() && created != made) {
                continue;
            }
            return self.adopt(stage, config, source, position).map(Some);
        }
        Ok(None)
    }

    /// Stores the image of the step at `position` of a source, with the stage's image as its parent.
    fn adopt(
        &self,
        stage: &StageState,
        step: &RunConfig,
        source: &CacheSource,
        position: usize,
    ) -> Result<ImageId, BuildError> {
        let put = PutImage { parent: stage.image, built_locally: stage.image.is_none() };
        if position + 1 == source.config.history.len() {
            let stored = self.store.image(source.image)?.ok_or(BuildError::ImageGone(source.image))?;
            // The bytes are there; what is written is whose child the image is.
            return Ok(self.store.put_image(&stored.config, put)?);
        }
        let entry = source.config.history[position].clone();
        let mut config = source.config.clone();
        let layers = layers_of(&source.config, position + 1);
        config.rootfs.diff_ids.truncate(layers);
        config.history.truncate(position + 1);
        config.author = stage.author.clone();
        config.config = Some(stage.run.clone());
        config.container = String::new();
        config.container_config = Some(step.clone());
        config.created = entry.created;
        config.docker_version = self.options.version.clone();
        Ok(self.store.put_image(document(&config).as_bytes(), put)?)
    }
}

/// Returns the place of the step of `source` that comes after all of `below`; `None` when it was built upon something else.
fn next_step(below: &ImageConfig, is_nothing: bool, source: &ImageConfig) -> Option<usize> {
    let (history, layers) = if is_nothing {
        (&[][..], &[][..])
    } else {
        (below.history.as_slice(), below.rootfs.diff_ids.as_slice())
    };
    let is_upon = source.history.len() > history.len()
        && source.history.starts_with(history)
        && source.rootfs.diff_ids.starts_with(layers)
        // A history that does not tell its layers apart tells nothing.
        && layers_of(source, source.history.len()) == source.rootfs.diff_ids.len()
        && layers_of(source, history.len()) == layers.len();
    is_upon.then_some(history.len())
}

/// Returns how many layers the first `steps` lines of a history made.
fn layers_of(config: &ImageConfig, steps: usize) -> usize {
    config.history.iter().take(steps).filter(|entry| !entry.empty_layer).count()
}
