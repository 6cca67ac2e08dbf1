//! What an identifier is and how it connects: name, manifest digest, image ID, and for each layer the blob's digest, diff ID,
//! chain ID, cache ID and directory.
//!
//! Promise: only looks, and answers from the store alone.

mod image;
mod inventory;
mod subject;
pub mod waste;

use serde::Serialize;
use shale_oci::Reference;
use shale_store::{DiskError, LayerError, ReferencesError};

use crate::Engine;
use crate::images::find::named_image;
pub use image::{ContainerUse, HistoryStep, ImageLayer, ImageReport, ImageUse, Seen};
use inventory::Inventory;
pub use subject::{Kind, Meaning};

/// What a text is, and what belongs to it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Explanation {
    /// What was asked.
    pub subject: String,
    /// What it is; one value can be several things at once. Empty when it is nothing that the store knows.
    pub meanings: Vec<Meaning>,
    /// Other values that the text could be the begin of; then nothing else is explained.
    pub candidates: Vec<Meaning>,
    /// The images that it belongs to, each with all of its layers.
    pub images: Vec<ImageReport>,
    /// What was searched, and what to try; only when it is nothing that the store knows.
    pub searched: Vec<String>,
    /// Advice for that case.
    pub advice: Vec<String>,
}

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The names could not be read.
    #[error(transparent)]
    References(#[from] ReferencesError),
    /// The layers could not be listed.
    #[error(transparent)]
    Layers(#[from] LayerError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Engine {
    /// Explains `subject`: a name, an ID or digest of any kind or its begin, or a path of the store.
    ///
    /// # Errors
    /// [`ExplainError`]; that nothing is known of the subject is no error but in the result.
    pub fn explain(&self, subject: &str) -> Result<Explanation, ExplainError> {
        let inventory = Inventory::take(self)?;
        let mut explanation = Explanation {
            subject: subject.to_owned(),
            meanings: Vec::new(),
            candidates: Vec::new(),
            images: Vec::new(),
            searched: Vec::new(),
            advice: Vec::new(),
        };
        if let Some(meaning) = subject::path(&inventory, subject) {
            explanation.meanings.push(meaning);
        } else {
            explanation.meanings.extend(names(&inventory, subject));
            let found = subject::identifiers(&inventory, subject);
            let mut values: Vec<&str> = found.iter().map(|meaning| meaning.value.as_str()).collect();
            values.sort_unstable();
            values.dedup();
            if values.len() > 1 && explanation.meanings.is_empty() {
                explanation.candidates = found;
                return Ok(explanation);
            }
            explanation.meanings.extend(found);
        }
        if explanation.meanings.is_empty() {
            (explanation.searched, explanation.advice) = nothing_found(&inventory, subject);
            return Ok(explanation);
        }
        let mut ids: Vec<_> =
            explanation.meanings.iter().flat_map(|meaning| meaning.images.clone()).collect();
        let mut known = std::collections::HashSet::new();
        ids.retain(|id| known.insert(*id));
        explanation.images = ids.iter().filter_map(|id| image::report(&inventory, *id)).collect();
        Ok(explanation)
    }
}

/// Finds the image that a name means, and says whether the name is a tag or a digest.
fn names(inventory: &Inventory, subject: &str) -> Option<Meaning> {
    let reference = Reference::parse(subject).ok()?;
    let id = named_image(&inventory.references, &reference)?;
    let (kind, value) = match reference.digest {
        Some(digest) => (Kind::RepositoryDigest, reference.repository.at(digest).familiar()),
        None => (Kind::Tag, reference.clone().or_latest().familiar()),
    };
    let mut meaning = Meaning::new(kind, value);
    meaning.images.push(id);
    Some(meaning)
}

fn nothing_found(inventory: &Inventory, subject: &str) -> (Vec<String>, Vec<String>) {
    let searched = vec![
        format!("{} names", inventory.references.iter().count()),
        format!("{} images, by ID and by name", inventory.images.len()),
        format!(
            "{} layers, by diff ID, chain ID, cache ID, link, and digest in a registry",
            inventory.layers.len()
        ),
        format!("{} containers, by ID and by name", inventory.containers.len()),
    ];
    let mut advice = Vec::new();
    if let Ok(reference) = Reference::parse(subject) {
        let repository = reference.repository.familiar();
        let others: Vec<String> = inventory
            .references
            .of_repository(repository)
            .iter()
            .map(|(name, _)| name.key.to_owned())
            .collect();
        match others.is_empty() {
            false => advice.push(format!("the store has of this repository: {}", others.join(", "))),
            true if reference.digest.is_none() && !subject::is_digits(subject) => {
                advice.push(format!("fetch it: shale pull {}", reference.clone().or_latest().familiar()));
            }
            true => {}
        }
    }
    if subject::is_digits(subject) {
        advice.push(
            "a digest of an image that is only in a registry is known there: shale manifest inspect NAME@sha256:…"
                .to_owned(),
        );
        advice.push(
            "config digests are image IDs; diff IDs are in \"rootfs\" of shale inspect; layer digests are in manifests"
                .to_owned(),
        );
    }
    advice.push("list what is here: shale images --all --digests --no-trunc".to_owned());
    (searched, advice)
}
