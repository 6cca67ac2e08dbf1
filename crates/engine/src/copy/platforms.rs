//! An image cut down to some platforms.
//!
//! One platform is the manifest itself, as it stands in the list. Several are a new list, since a list with entries that
//! are not there is refused by registries; its entries stay as they were.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use shale_oci::{Descriptor, Digest, Platform, Unverified, media_type};

use super::graph::{DEPTH_MAX, GraphError, Node};
use super::source::Source;
use super::{CopyError, small_blob};
use crate::progress::Progress;

/// The annotation by which BuildKit says which manifest an attestation is about.
///
/// Source: BuildKit docs/attestations/attestation-storage.md.
const ATTESTED: &str = "vnd.docker.reference.digest";

/// Returns what is left of an image when only these platforms are wanted.
pub(super) async fn narrow(
    source: &Source,
    root: Node,
    wanted: &[Platform],
    progress: &Arc<dyn Progress>,
) -> Result<Node, CopyError> {
    if root.children.is_empty() {
        return match wanted {
            [wanted] => alone(source, root, wanted, progress).await,
            _ => Err(CopyError::NoMatchingPlatform { wanted: wanted[0].clone() }),
        };
    }
    match wanted {
        [wanted] => one(source, root, wanted).await,
        wanted => several(&root, wanted),
    }
}

/// Returns the entry that a machine of `platform` should run.
pub(super) fn choose<'a>(entries: &'a [Descriptor], platform: &Platform) -> Option<&'a Descriptor> {
    let chosen = platform.choose(entries.iter().map(|entry| entry.platform.as_ref()))?;
    Some(&entries[chosen])
}

/// Takes a manifest that stands alone if its config says that it runs there.
async fn alone(
    source: &Source,
    root: Node,
    wanted: &Platform,
    progress: &Arc<dyn Progress>,
) -> Result<Node, CopyError> {
    if let Some(config) = root.blobs.first()
        && matches!(config.media_type.as_str(), media_type::DOCKER_CONFIG | media_type::OCI_CONFIG)
    {
        let bytes = small_blob(source, config, progress).await?;
        let platform: Option<Platform> = serde_json::from_slice(bytes.bytes()).ok();
        if wanted.choose([platform.as_ref()].into_iter()).is_some() {
            return Ok(root);
        }
    }
    Err(CopyError::NoMatchingPlatform { wanted: wanted.clone() })
}

/// Follows lists down to the manifest of a platform.
async fn one(source: &Source, root: Node, wanted: &Platform) -> Result<Node, CopyError> {
    let mut node = root;
    for _ in 0..DEPTH_MAX {
        if node.children.is_empty() {
            return Ok(node);
        }
        let entry = choose(&node.children, wanted).or(match node.children.as_slice() {
            // A list in a list often says nothing about platforms; a single entry leaves no choice anyway.
            [entry] if entry.platform.is_none() => Some(entry),
            _ => None,
        });
        let entry = entry.ok_or_else(|| CopyError::NoMatchingPlatform { wanted: wanted.clone() })?;
        let bytes = source.document(entry).await?.ok_or(CopyError::MissingDocument(entry.digest))?;
        node = Node::read(bytes, &entry.media_type)?;
    }
    Err(GraphError::TooDeep.into())
}

/// Returns a list of the wanted entries, with the attestations about them.
fn several(root: &Node, wanted: &[Platform]) -> Result<Node, CopyError> {
    let mut chosen: HashSet<Digest> = HashSet::new();
    for wanted in wanted {
        let entry = choose(&root.children, wanted);
        let entry = entry.ok_or_else(|| CopyError::NoMatchingPlatform { wanted: wanted.clone() })?;
        chosen.insert(entry.digest);
    }
    let malformed = |source| GraphError::Unknown { media_type: root.descriptor.media_type.clone(), source };
    let mut list: Value = serde_json::from_slice(root.bytes.bytes()).map_err(malformed)?;
    if let Some(entries) = list.get_mut("manifests").and_then(Value::as_array_mut) {
        let is_chosen = |text: Option<&Value>| {
            let digest = text.and_then(Value::as_str).and_then(|text| text.parse().ok());
            digest.is_some_and(|digest: Digest| chosen.contains(&digest))
        };
        entries.retain(|entry| {
            let attested = entry.get("annotations").and_then(|annotations| annotations.get(ATTESTED));
            is_chosen(entry.get("digest")) || is_chosen(attested)
        });
    }
    let bytes = Unverified::new(list.to_string().into_bytes()).accept_by_tag();
    Ok(Node::read(bytes, &root.descriptor.media_type)?)
}
