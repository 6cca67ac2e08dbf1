//! How an image was made, step by step.

use shale_engine_api::HistoryItem;
use shale_oci::{ConfigError, ImageConfig, ImageId};
use shale_store::{ImageError, ReferencesError};

use super::find::FindError;
use crate::Engine;

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The image is not there.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The config describes no history.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An image below it is damaged.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The names could not be read.
    #[error(transparent)]
    References(#[from] ReferencesError),
}

impl Engine {
    /// Returns the steps that made the image `text`, newest first.
    ///
    /// The first step carries the image's ID; each older one that of the next parent, as long as the store knows them.
    ///
    /// # Errors
    /// [`HistoryError`].
    ///
    /// Source: moby daemon/images/image_history.go at v20.10.24.
    pub fn history(&self, text: &str) -> Result<Vec<HistoryItem>, HistoryError> {
        let references = self.store.references()?;
        let image = self.load_image_among(&references, text)?;
        let config = ImageConfig::parse(&image.config)?;
        let mut items: Vec<HistoryItem> = config
            .history_with_layers()
            .map(|(entry, layer)| HistoryItem {
                id: None,
                created: entry.created.as_deref().and_then(seconds).unwrap_or(GO_ZERO_SECONDS),
                created_by: entry.created_by.clone(),
                tags: None,
                size_bytes: layer
                    .and_then(|index| image.layers.get(index))
                    .map_or(0, |layer| layer.size_bytes),
                comment: entry.comment.clone(),
            })
            .collect();
        items.reverse();
        let mut id = Some(image.id);
        for item in &mut items {
            let Some(this) = id else { break };
            item.id = Some(this);
            let tags = references.of_image(this).into_iter().filter(|name| !name.is_digest());
            item.tags = Some(tags.map(|name| name.key.to_owned()).collect::<Vec<_>>())
                .filter(|tags| !tags.is_empty());
            id = self.parent_of(this)?;
        }
        Ok(items)
    }

    fn parent_of(&self, id: ImageId) -> Result<Option<ImageId>, ImageError> {
        let Some(parent) = self.store.image(id)?.and_then(|image| image.parent) else { return Ok(None) };
        // A parent that is gone or damaged ends the chain, as in Docker.
        Ok(matches!(self.store.image(parent), Ok(Some(_))).then_some(parent))
    }
}

/// Seconds of Go's zero time, 0001-01-01, which stands in for a missing one.
const GO_ZERO_SECONDS: i64 = -62_135_596_800;

fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}
