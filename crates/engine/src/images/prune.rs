//! Removing images that nobody needs.
//!
//! Source: moby daemon/images/image_prune.go at v20.10.24.

use std::collections::{HashMap, HashSet};

use shale_oci::ImageId;
use shale_store::{Name, RemoveImageError};

use super::filter::Filter;
use super::list::{Conditions, ListError};
use super::remove::{Remove, RemoveError, Removed};
use crate::Engine;

/// What a prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names, images and layers, in the order in which they went.
    pub removed: Vec<Removed>,
    /// Bytes of the layers that went.
    pub reclaimed_bytes: u64,
}

/// Why nothing was pruned.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// A condition cannot be used here.
    #[error("invalid filter: images are pruned by until, label and label!, not by {0}")]
    Filter(&'static str),
    /// The images could not be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// An image could not be removed.
    #[error(transparent)]
    Remove(#[from] RemoveError),
}

impl Engine {
    /// Removes images without a tag or, with `all`, all that no container uses; those that the filters hold for.
    ///
    /// What a living process holds is left alone: the steps of a build that is under way have no name yet.
    ///
    /// # Errors
    /// [`PruneError`]; what was removed before stays removed.
    pub fn prune_images(&self, all: bool, filters: &[Filter]) -> Result<Pruned, PruneError> {
        let mut all = all;
        for filter in filters {
            match filter {
                Filter::Until(_) | Filter::Label(_) | Filter::NotLabel(_) => {}
                Filter::Dangling(dangling) => all |= !dangling,
                Filter::Before(_) => return Err(PruneError::Filter("before")),
                Filter::Since(_) => return Err(PruneError::Filter("since")),
                Filter::Reference(_) => return Err(PruneError::Filter("reference")),
            }
        }
        let images = self.all_images().map_err(ListError::from)?;
        let references = self.store.references().map_err(ListError::from)?;
        // After the images: a build gives its layers back when its image has its name.
        let held = self.store.held_layers().map_err(ListError::from)?;
        let conditions = Conditions::of(self, &references, filters).map_err(ListError::from)?;
        let with_children: HashSet<ImageId> =
            images.iter().filter_map(|listed| listed.image.parent).collect();
        let sizes: HashMap<String, u64> = images
            .iter()
            .flat_map(|listed| &listed.image.layers)
            .map(|layer| (layer.chain_id.to_string(), layer.size_bytes))
            .collect();
        let mut pruned = Pruned::default();
        for listed in &images {
            let id = listed.image.id;
            let names = references.of_image(id);
            let has_children = with_children.contains(&id);
            let is_step = names.is_empty() && has_children;
            if is_step || (!all && has_children) || !conditions.hold(listed) {
                continue;
            }
            if !all && names.iter().any(|name| !name.is_digest()) {
                continue;
            }
            if names.is_empty() && listed.image.top().is_some_and(|top| held.contains(&top)) {
                continue;
            }
            let by_name = |name: &Name<'_>| self.remove(name.key, Remove { force: false, prune: true });
            let outcomes: Vec<_> = match names.as_slice() {
                [] => vec![self.remove_unnamed(id)],
                names => names.iter().map(by_name).collect(),
            };
            for outcome in outcomes {
                match outcome {
                    Ok(removed) => pruned.removed.extend(removed),
                    // Something needs it, or it went together with another or by the hand of another process.
                    Err(
                        RemoveError::Conflict { .. }
                        | RemoveError::ReferenceInUse { .. }
                        | RemoveError::Find(_)
                        | RemoveError::Remove(
                            RemoveImageError::NoSuchImage(_) | RemoveImageError::Referenced(_),
                        ),
                    ) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let layers = pruned.removed.iter().filter_map(|removed| match removed {
            Removed::Deleted(id) => sizes.get(id),
            Removed::Untagged(_) => None,
        });
        pruned.reclaimed_bytes = layers.sum();
        Ok(pruned)
    }
}
