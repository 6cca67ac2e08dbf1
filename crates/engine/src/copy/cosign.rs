//! What cosign keeps about a document under tags beside it: `sha256-<hex>.sig`, `.att` and `.sbom`.
//!
//! A registry does not list these among the referrers, for they name no subject.
//!
//! Source: sigstore/cosign pkg/oci/remote/remote.go, `SignatureTag`, `AttestationTag`, `SBOMTag`.

use futures_util::{StreamExt as _, TryStreamExt as _};
use shale_oci::{Digest, Reference, Tag, Target as ManifestTarget};
use shale_registry_client::{Client, ManifestError};

use super::graph::{Graph, Node};
use super::source::{Source, fetch_named};
use super::{CopyError, DOCUMENTS_AT_ONCE, walk};

/// What stands behind the digest in a tag.
const SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// Adds what cosign keeps about the documents of the graph, and returns its tags.
pub(super) async fn add(source: &Source, graph: &mut Graph) -> Result<Vec<(Tag, Node)>, CopyError> {
    let Source::Registry { client, reference } = source else { return Ok(Vec::new()) };
    let tags = graph.nodes().iter().flat_map(|node| SUFFIXES.map(|suffix| tag(node.digest(), suffix)));
    let tags: Vec<Tag> = tags.flatten().collect();
    let lookups = futures_util::stream::iter(tags).map(|tag| find(client, reference, tag));
    let found: Vec<_> = lookups.buffered(DOCUMENTS_AT_ONCE).try_collect().await?;
    let found: Vec<(Tag, Node)> = found.into_iter().flatten().collect();
    for (_, node) in &found {
        if graph.visit(&node.descriptor)? {
            walk(source, graph, node.clone()).await?;
        }
    }
    Ok(found)
}

/// Returns the tag; none for SHA-512, whose digits are too long for one.
fn tag(digest: Digest, suffix: &str) -> Option<Tag> {
    Tag::parse(&format!("{}-{}.{suffix}", digest.algorithm(), digest.hex())).ok()
}

/// Asks by HEAD first: most tags are not there, and registries count what is fetched.
async fn find(client: &Client, reference: &Reference, tag: Tag) -> Result<Option<(Tag, Node)>, CopyError> {
    let target = ManifestTarget::Tag(tag.clone());
    match client.head_manifest(&reference.repository, &target).await {
        Ok(_) => Ok(Some((tag, fetch_named(client, &reference.repository, &target).await?))),
        Err(ManifestError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
