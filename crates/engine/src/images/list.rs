//! The list of images.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use shale_engine_api::ImageSummary;
use shale_oci::{ChainId, ImageConfig, ImageId};
use shale_store::{DiskError, Image, Name, ReferencesError};

use super::filter::{Filter, matches};
use super::find::FindError;
use crate::Engine;

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// Also images that are only steps of others.
    pub all: bool,
    /// Conditions.
    pub filters: Vec<Filter>,
}

/// Why images could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// An image that a condition names is not there.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The names could not be read.
    #[error(transparent)]
    References(#[from] ReferencesError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// An image with the parts of its config that lists look at.
pub(crate) struct Listed {
    pub(crate) image: Image,
    pub(crate) config: ImageConfig,
}

impl Listed {
    /// Docker shows an image without a time as made in 1970.
    pub(crate) fn created(&self) -> Timestamp {
        self.config.created_at().unwrap_or(Timestamp::UNIX_EPOCH)
    }

    pub(crate) fn labels(&self) -> Option<&std::collections::BTreeMap<String, String>> {
        self.config.config.as_ref().and_then(|config| config.labels.as_ref())
    }
}

impl Engine {
    /// Lists images, newest first.
    ///
    /// Damaged images are left out, as Docker leaves them out; `fsck` tells of them.
    ///
    /// # Errors
    /// [`ListError`].
    ///
    /// Source: moby daemon/images/images.go `Images` at v20.10.24.
    pub fn list(&self, list: &List) -> Result<Vec<ImageSummary>, ListError> {
        let all = self.all_images()?;
        let references = self.store.references()?;
        let names = references.by_image();
        let with_children: HashSet<ImageId> = all.iter().filter_map(|listed| listed.image.parent).collect();
        let shared = shared_chains(&all);
        let conditions = Conditions::of(self, &references, &list.filters)?;
        let mut summaries = Vec::new();
        for listed in &all {
            let has_children = with_children.contains(&listed.image.id);
            if conditions.dangling == Some(true) && has_children || !conditions.hold(listed) {
                continue;
            }
            let none = Vec::new();
            let names = names.get(&listed.image.id).unwrap_or(&none);
            let names: Vec<&Name<'_>> = names.iter().filter(|name| conditions.hold_name(name)).collect();
            let is_shown = if names.is_empty() {
                (list.all || !has_children)
                    && conditions.dangling != Some(false)
                    && conditions.patterns.is_empty()
            } else {
                conditions.dangling != Some(true) || names.iter().all(|name| name.is_digest())
            };
            if is_shown {
                summaries.push(summary(listed, &names, &shared));
            }
        }
        summaries.sort_by_key(|summary| std::cmp::Reverse(summary.created));
        Ok(summaries)
    }

    /// Returns all images that can be used, with their configs.
    pub(crate) fn all_images(&self) -> Result<Vec<Listed>, DiskError> {
        let images = self.store.images()?.into_iter().filter_map(|stored| stored.image.ok());
        Ok(images
            .filter_map(|image| {
                let config = ImageConfig::parse(&image.config).ok()?;
                Some(Listed { image, config })
            })
            .collect())
    }
}

fn summary(listed: &Listed, names: &[&Name<'_>], shared: &HashSet<ChainId>) -> ImageSummary {
    let keys = |digests: bool| {
        names.iter().filter(|name| name.is_digest() == digests).map(|name| name.key.to_owned()).collect()
    };
    let is_shared = |chain: &ChainId| shared.contains(chain);
    let shared_bytes: u64 = listed
        .image
        .layers
        .iter()
        .filter(|layer| is_shared(&layer.chain_id))
        .map(|layer| layer.size_bytes)
        .sum();
    ImageSummary {
        id: listed.image.id,
        parent: listed.image.parent,
        repo_tags: keys(false),
        repo_digests: keys(true),
        created: listed.created().as_second(),
        size_bytes: listed.image.size_bytes(),
        shared_size_bytes: shared_bytes as i64,
        labels: listed.labels().cloned(),
        containers: -1,
    }
}

/// Returns the layers that more than one image has.
pub(crate) fn shared_chains(images: &[Listed]) -> HashSet<ChainId> {
    let mut users: HashMap<ChainId, u32> = HashMap::new();
    for layer in images.iter().flat_map(|listed| &listed.image.layers) {
        *users.entry(layer.chain_id).or_default() += 1;
    }
    users.into_iter().filter(|(_, users)| *users > 1).map(|(chain, _)| chain).collect()
}

/// The filters, sorted by kind and with the images that they name looked up.
#[derive(Default)]
pub(crate) struct Conditions<'a> {
    pub(crate) dangling: Option<bool>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    labels: Vec<&'a Filter>,
    patterns: Vec<&'a str>,
}

impl<'a> Conditions<'a> {
    pub(crate) fn of(
        engine: &Engine,
        references: &shale_store::References,
        filters: &'a [Filter],
    ) -> Result<Conditions<'a>, FindError> {
        let created = |text: &str| -> Result<Timestamp, FindError> {
            let id = engine.find_image_among(references, text)?.id;
            let image = engine.store.image(id)?.ok_or_else(|| FindError::NoSuchImage(text.to_owned()))?;
            let config = ImageConfig::parse(&image.config).unwrap_or_default();
            Ok(config.created_at().unwrap_or(Timestamp::UNIX_EPOCH))
        };
        let mut conditions = Conditions::default();
        for filter in filters {
            match filter {
                // Of both, Docker takes the one that is true.
                Filter::Dangling(dangling) => {
                    conditions.dangling = Some(*dangling || conditions.dangling == Some(true));
                }
                Filter::Before(image) => conditions.before = Some(created(image)?),
                Filter::Since(image) => conditions.since = Some(created(image)?),
                Filter::Until(moment) => conditions.until = Some(*moment),
                Filter::Label(_) | Filter::NotLabel(_) => conditions.labels.push(filter),
                Filter::Reference(pattern) => conditions.patterns.push(pattern),
            }
        }
        Ok(conditions)
    }

    pub(crate) fn hold(&self, listed: &Listed) -> bool {
        let created = listed.created();
        self.before.is_none_or(|before| created < before)
            && self.since.is_none_or(|since| created > since)
            && self.until.is_none_or(|until| created < until)
            && self.labels.iter().all(|filter| match filter {
                Filter::Label(label) => label.is_in(listed.labels()),
                Filter::NotLabel(label) => !label.is_in(listed.labels()),
                _ => true,
            })
    }

    fn hold_name(&self, name: &Name<'_>) -> bool {
        self.patterns.is_empty()
            || self
                .patterns
                .iter()
                .any(|pattern| matches(pattern, name.key) || matches(pattern, name.repository))
    }
}
