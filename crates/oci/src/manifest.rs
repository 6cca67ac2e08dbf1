//! The two documents of the distribution protocol that name blobs: an image manifest and an index of manifests.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Descriptor, Digest, Platform};

/// An image manifest, of OCI or of Docker's schema 2: one config and the layers, bottom first.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Media type of the document itself.
    pub media_type: String,
    /// The config; its digest is the image ID where the manifest is an image.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// What kind of artifact this is, where it is no image.
    pub artifact_type: Option<String>,
    /// The manifest that this one refers to, if it is a well-formed descriptor.
    pub subject: Option<Descriptor>,
    /// Notes.
    pub annotations: BTreeMap<String, String>,
}

/// An OCI index or a Docker manifest list.
#[derive(Debug, Clone)]
pub struct Index {
    /// Media type of the document itself.
    pub media_type: String,
    /// The manifests and indexes that it lists.
    pub manifests: Vec<Descriptor>,
    /// What kind of artifact this is, where it is no image.
    pub artifact_type: Option<String>,
    /// The manifest that this one refers to, if it is a well-formed descriptor.
    pub subject: Option<Descriptor>,
    /// Notes.
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Returns the digests of all blobs, the config first.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

impl Index {
    /// Returns the entry that a machine of `platform` should run.
    pub fn choose(&self, platform: &Platform) -> Option<&Descriptor> {
        let chosen = platform.choose(self.manifests.iter().map(|entry| entry.platform.as_ref()))?;
        Some(&self.manifests[chosen])
    }
}

/// The fields of both documents as they stand in JSON; [`crate::Document::parse`] decides which it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ManifestFields {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(default)]
    pub artifact_type: Option<String>,
    #[serde(default)]
    pub subject: Option<serde_json::Value>,
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IndexFields {
    pub manifests: Vec<Descriptor>,
    #[serde(default)]
    pub artifact_type: Option<String>,
    #[serde(default)]
    pub subject: Option<serde_json::Value>,
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Returns the first digest that stands twice with different sizes.
pub(crate) fn contradicting_size(descriptors: &[Descriptor]) -> Option<Digest> {
    let mut sizes = std::collections::HashMap::new();
    descriptors
        .iter()
        .find(|descriptor| {
            *sizes.entry(descriptor.digest).or_insert(descriptor.size_bytes) != descriptor.size_bytes
        })
        .map(|descriptor| descriptor.digest)
}
