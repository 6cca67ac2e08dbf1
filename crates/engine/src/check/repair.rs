//! Making a store sound again: links from what is here, layers and configs from the registries that are known to have them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use shale_oci::{ChainId, ImageConfig, ImageId, Platform, Reference, Repository, Tag};
use shale_registry_client::Client;

use super::collect::Collected;
use super::{CheckReport, Problem};
use crate::Engine;
use crate::progress::Progress;
use crate::remote;

/// Tags of a repository that are looked through for an image of which only its layers' repository is known.
const TAGS_MAX: usize = 100;

/// What a repair did.
#[derive(Debug, Default)]
pub struct Repaired {
    /// Layers whose links were written again.
    pub relinked: Vec<ChainId>,
    /// Images that were fetched again, and from where.
    pub fetched: Vec<(ImageId, Reference)>,
    /// Images that could not be fetched, and why, in words.
    pub failed: Vec<(ImageId, String)>,
    /// What was removed.
    pub freed: Collected,
    /// What else went wrong, in words; the rest was done all the same.
    pub failures: Vec<String>,
}

impl Repaired {
    /// Takes a result, or notes why there is none.
    fn noted<T>(&mut self, result: Result<T, impl std::error::Error>) -> Option<T> {
        result.map_err(|error| self.failures.push(describe(&error))).ok()
    }
}

impl Engine {
    /// Repairs what `report` names; check again to see what is left.
    ///
    /// Images are fetched by digest only, so that no tag moves; where the store knows no digest of an image, the
    /// repositories in which its layers were seen are searched for it. What fails stops nothing else and is in the result.
    pub async fn repair(
        &self,
        client: &Client,
        report: &CheckReport,
        progress: &Arc<dyn Progress>,
        now: SystemTime,
    ) -> Repaired {
        let mut repaired = Repaired::default();
        repaired.relinked = repaired.noted(self.store.mend_links()).unwrap_or_default();
        let damaged: Vec<&Problem> =
            report.problems.iter().filter(|problem| needs_fetching(problem)).collect();
        let condemned: BTreeSet<ChainId> = damaged
            .iter()
            .filter(|problem| {
                problem.code.starts_with("layer-content") || problem.code == "layer-tar-split-damaged"
            })
            .filter_map(|problem| problem.layer)
            .collect();
        for chain in &condemned {
            repaired.noted(self.store.condemn_layer(*chain));
        }
        let images: BTreeSet<ImageId> = damaged.iter().flat_map(|problem| &problem.images).copied().collect();
        for image in images {
            match self.fetch_again(client, image, progress).await {
                Ok(reference) => repaired.fetched.push((image, reference)),
                Err(reason) => repaired.failed.push((image, reason)),
            }
        }
        for chain in condemned {
            repaired.noted(self.store.acquit_layer(chain));
        }
        // A layer that was fetched again has another directory, which those above it have to name.
        let relinked = repaired.noted(self.store.mend_links()).unwrap_or_default();
        repaired.relinked.extend(relinked);
        repaired.freed = repaired.noted(self.collect(false, now)).unwrap_or_default();
        repaired
    }

    /// Pulls an image from the first place that has it; the error is in words for people.
    async fn fetch_again(
        &self,
        client: &Client,
        image: ImageId,
        progress: &Arc<dyn Progress>,
    ) -> Result<Reference, String> {
        let platform = self.platform_of(image);
        let mut references = self.digests_of(image);
        let mut reasons = Vec::new();
        if references.is_empty() {
            references.extend(self.search_registries(client, image, platform.as_ref(), &mut reasons).await);
        }
        for reference in references {
            match self.pull(client, &reference, platform.as_ref(), progress).await {
                Ok(pulled) if pulled.image == image => return Ok(reference),
                Ok(pulled) => reasons.push(format!("{} is image {}", reference.familiar(), pulled.image)),
                Err(error) => reasons.push(describe(&error)),
            }
        }
        if reasons.is_empty() {
            reasons.push("no registry is known that has it".to_owned());
        }
        Err(reasons.join("; "))
    }

    /// Returns the platform to ask an index for; `None` where the config cannot be read.
    fn platform_of(&self, image: ImageId) -> Option<Platform> {
        let config = self.store.image_config(image).ok().flatten()?;
        Some(ImageConfig::parse(&config).ok()?.platform())
    }

    /// Returns the names of an image with a digest, those of a registry's own domain as good as others.
    fn digests_of(&self, image: ImageId) -> Vec<Reference> {
        let Ok(references) = self.store.references() else { return Vec::new() };
        let digests = references.of_image(image).into_iter().filter(|name| name.is_digest());
        digests.filter_map(|name| Reference::parse(name.key).ok()).collect()
    }

    /// Looks for an image in the repositories where its layers were seen, tag by tag.
    async fn search_registries(
        &self,
        client: &Client,
        image: ImageId,
        platform: Option<&Platform>,
        reasons: &mut Vec<String>,
    ) -> Option<Reference> {
        for repository in self.repositories_of(image) {
            let tags: Vec<Tag> = match client.tags(&repository).await {
                Ok(tags) => tags,
                Err(error) => {
                    reasons.push(describe(&error));
                    continue;
                }
            };
            for tag in tags.into_iter().take(TAGS_MAX) {
                let Ok(found) = remote::resolve(client, &repository.tagged(tag), platform).await else {
                    continue;
                };
                if remote::image_id(&found.manifest) == image {
                    return Some(repository.at(found.digest));
                }
            }
            reasons.push(format!("no tag of {} is this image", repository.familiar()));
        }
        None
    }

    fn repositories_of(&self, image: ImageId) -> Vec<Repository> {
        let config = self.store.image_config(image).ok().flatten();
        let Some(config) = config.and_then(|config| ImageConfig::parse(&config).ok()) else {
            return Vec::new();
        };
        let mut names = BTreeSet::new();
        for diff_id in config.rootfs.diff_ids {
            let seen = self.store.metadata_for(diff_id).unwrap_or_default();
            names.extend(seen.into_iter().map(|seen| seen.source_repository));
        }
        names.iter().filter_map(|name| Repository::parse(name).ok()).collect()
    }
}

/// Whether only a new copy heals it; links are mended from what is here, and a missing parent is nothing to heal.
fn needs_fetching(problem: &Problem) -> bool {
    let is_content = problem.code.starts_with("layer-")
        || problem.code.starts_with("image-")
        || problem.code == "name-without-image";
    is_content
        && !matches!(
            problem.code,
            "layer-link"
                | "layer-link-file"
                | "layer-lower"
                | "image-parent-missing"
                | "image-operating-system"
        )
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
