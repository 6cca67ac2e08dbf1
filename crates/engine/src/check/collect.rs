//! Freeing what nothing needs.

use std::time::SystemTime;

use shale_store::{DiskError, Garbage, GcError, GcOptions};

use crate::Engine;

/// What was freed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// The things.
    pub items: Vec<CollectedItem>,
    /// Reasons why other things had to stay, as sentences.
    pub kept: Vec<String>,
    /// Things that could not be removed, and why, in words.
    pub failed: Vec<String>,
}

/// One thing that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectedItem {
    /// A word for its kind, which never changes: `layer`, `directory`, `link`, `download`, ….
    pub kind: &'static str,
    /// Its name: a chain ID, a directory, a digest, a path.
    pub name: String,
    /// The sizes of its files.
    pub size_bytes: u64,
}

impl Collected {
    /// Returns the size of everything together.
    pub fn size_bytes(&self) -> u64 {
        self.items.iter().map(|item| item.size_bytes).sum()
    }
}

impl Engine {
    /// Removes layers without an image, what killed processes left, and parts of downloads that nobody works on; with
    /// `dry_run` only says what they are.
    ///
    /// # Errors
    /// [`GcError`]; a second run goes on where this one stopped.
    pub fn collect(&self, dry_run: bool, now: SystemTime) -> Result<Collected, GcError> {
        let report = self.store.gc(GcOptions { dry_run, downloads_before: now })?;
        let items = report.items.into_iter().map(|item| {
            let (kind, name) = describe(&item.garbage);
            CollectedItem { kind, name, size_bytes: item.size_bytes }
        });
        let mut kept = Vec::new();
        if let [first, ..] = report.damaged_images[..] {
            kept.push(format!(
                "No layer was removed, because any of them could belong to a damaged image ({first}): run shale fsck."
            ));
        }
        if let [first, ..] = &report.damaged_mounts[..] {
            kept.push(format!(
                "No directory was removed on its own, because it could belong to a damaged container ({first}): run shale fsck."
            ));
        }
        if let [first, ..] = report.missing_layers[..] {
            kept.push(format!(
                "No directory was removed on its own, because it could be that of a layer which is missing or has lost its directory ({first}): run shale fsck."
            ));
        }
        let words = |failure: &DiskError| format!("{failure}: {}", failure.source);
        Ok(Collected { items: items.collect(), kept, failed: report.failures.iter().map(words).collect() })
    }
}

fn describe(garbage: &Garbage) -> (&'static str, String) {
    match garbage {
        Garbage::Layer(chain) => ("layer", chain.to_string()),
        Garbage::UnfinishedRemoval(name) => ("unfinished-removal", name.clone()),
        Garbage::OverlayDirectory(name) => ("directory", format!("overlay2/{name}")),
        Garbage::Link(link) => ("link", format!("overlay2/l/{link}")),
        Garbage::Unpublished(path) => ("unpublished", path.display().to_string()),
        Garbage::UnfinishedLayer(cache_id) => ("unfinished-layer", format!("overlay2/{cache_id}")),
        Garbage::ImageMetadata(name) => ("image-metadata", name.clone()),
        Garbage::Download(digest) => ("download", digest.to_string()),
    }
}
