//! The check of the store: every blob is hashed again, every name must lead to something.

use std::io::Read;
use std::sync::Arc;

use shale_oci::{Digest, Digester};

use crate::blob_store::{Blob, BlobError};
use crate::maintenance::collect::CollectError;
use crate::registry::Registry;

/// What the check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Checked {
    /// Blobs that were read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Manifests that were hashed.
    pub manifests: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Finding {
    /// A blob has other bytes than its digest says.
    Damaged {
        /// The blob.
        digest: Digest,
        /// Whether it was moved away.
        repaired: bool,
    },
    /// A blob that repositories hold is not in the store.
    Missing {
        /// The blob.
        digest: Digest,
        /// Whether it was forgotten, so that it can be pushed again.
        repaired: bool,
    },
    /// A manifest has other bytes than its digest says.
    ManifestDamaged {
        /// The manifest.
        digest: Digest,
    },
    /// A tag leads to no manifest.
    TagWithoutManifest {
        /// The repository.
        repository: String,
        /// The tag.
        tag: String,
    },
}

/// Reads every blob and every manifest and compares them with their digests.
///
/// With `repair`, damaged blobs are moved to the quarantine and forgotten, missing ones are forgotten: clients then find
/// them missing and push them again.
///
/// # Errors
/// When the check itself could not go on; damage is a finding and not an error.
pub async fn check(registry: &Arc<Registry>, repair: bool) -> Result<Checked, CollectError> {
    let mut checked = Checked::default();
    let mut after = None;
    loop {
        let page = registry.metadata.blobs(after, 100).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (digest, size_bytes) in page {
            check_blob(registry, digest, size_bytes, repair, &mut checked).await?;
        }
    }
    let (manifests, findings) = registry.metadata.check_manifests().await?;
    checked.manifests = manifests;
    checked.findings.extend(findings);
    Ok(checked)
}

async fn check_blob(
    registry: &Registry,
    digest: Digest,
    size_bytes: u64,
    repair: bool,
    checked: &mut Checked,
) -> Result<(), CollectError> {
    let blob = match registry.blobs.open(digest).await {
        Ok(blob) => blob,
        Err(BlobError::Missing(_)) => {
            // It may have been collected since the page was read.
            if registry.metadata.known_blobs(vec![digest]).await?.is_empty() {
                return Ok(());
            }
            if repair {
                let _lock = registry.locks.lock(digest).await;
                registry.metadata.drop_blob(digest).await?;
            }
            checked.findings.push(Finding::Missing { digest, repaired: repair });
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    checked.blobs += 1;
    checked.bytes += blob.size_bytes;
    let whole = blob.size_bytes == size_bytes && hash(blob, digest).await?;
    if !whole {
        if repair {
            let _lock = registry.locks.lock(digest).await;
            registry.metadata.drop_blob(digest).await?;
            registry.blobs.quarantine(digest).await?;
            registry.small.clear();
        }
        checked.findings.push(Finding::Damaged { digest, repaired: repair });
    }
    Ok(())
}

async fn hash(blob: Blob, digest: Digest) -> Result<bool, BlobError> {
    let hashed = tokio::task::spawn_blocking(move || {
        let mut digester = Digester::new(digest.algorithm());
        let mut buffer = vec![0; 1 << 20];
        let mut file = &*blob.file;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(digester.finish() == digest),
                read => digester.update(&buffer[..read]),
            }
        }
    });
    match hashed.await {
        Ok(hashed) => hashed.map_err(BlobError::io("read a blob")),
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}
