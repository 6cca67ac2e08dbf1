//! Everything that belongs to an image: its documents, down through all lists, and the blobs that they name.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use shale_oci::{Descriptor, Digest, Document, DocumentError, Verified, media_type};

/// Lists in lists that are followed at most; real ones have two levels.
pub(super) const DEPTH_MAX: usize = 8;
/// Entries of one list; the largest real ones have some hundred.
pub(super) const CHILDREN_MAX: usize = 1000;
/// Documents of one copy.
const DOCUMENTS_MAX: usize = 4 * CHILDREN_MAX;
/// Their bytes together, for they stay in memory until they are written.
const DOCUMENTS_BYTES_MAX: u64 = 64 << 20;

/// Why the documents of an image cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// The bytes are no manifest.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A document of an unknown kind names what is no descriptor.
    #[error("a document of type {media_type:?} names things in a way that is not understood")]
    Unknown {
        /// Its type.
        media_type: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Lists in lists without an end.
    #[error("the manifest list leads through more than {DEPTH_MAX} others")]
    TooDeep,
    /// One list with too many entries.
    #[error("the manifest list has {0} entries; at most {CHILDREN_MAX} are copied")]
    TooManyChildren(usize),
    /// Too many documents in all.
    #[error(
        "the image has more than {DOCUMENTS_MAX} manifests, or more than {DOCUMENTS_BYTES_MAX} bytes of them"
    )]
    TooLarge,
    /// One digest with two lengths.
    #[error("the image gives {0} two sizes")]
    ContradictingSize(Digest),
}

/// One document and what it names.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// How others name it.
    pub descriptor: Descriptor,
    pub bytes: Verified,
    /// Documents that must be there before it.
    pub children: Vec<Descriptor>,
    /// Blobs that must be there before it.
    pub blobs: Vec<Descriptor>,
    /// The document that this one is about.
    pub subject: Option<Descriptor>,
}

impl Node {
    /// Reads a document that is served or named as `media_type`.
    pub fn read(bytes: Verified, media_type: &str) -> Result<Node, GraphError> {
        let known = match Document::parse(&bytes, Some(media_type)) {
            Ok(document) => document,
            Err(DocumentError::UnknownKind(_)) => return Node::read_unknown(bytes, media_type),
            Err(error) => return Err(error.into()),
        };
        let descriptor = bytes.descriptor(known.media_type());
        let node = match known {
            Document::Manifest(manifest) => {
                let blobs = manifest.blobs().cloned().collect();
                let subject = manifest.subject;
                Node { descriptor, bytes, children: Vec::new(), blobs, subject }
            }
            Document::Index(index) => {
                let (subject, children) = (index.subject, index.manifests);
                Node { descriptor, bytes, children, blobs: Vec::new(), subject }
            }
        };
        node.checked()
    }

    /// Reads a document of a kind that came after this program: what it names is found where all kinds so far name it.
    fn read_unknown(bytes: Verified, media_type: &str) -> Result<Node, GraphError> {
        #[derive(Deserialize)]
        struct Named {
            config: Option<Descriptor>,
            layers: Option<Vec<Descriptor>>,
            blobs: Option<Vec<Descriptor>>,
            manifests: Option<Vec<Descriptor>>,
            subject: Option<Descriptor>,
        }
        let not_understood = |source| GraphError::Unknown { media_type: media_type.to_owned(), source };
        let named: Named = serde_json::from_slice(bytes.bytes()).map_err(not_understood)?;
        let blobs = named.config.into_iter().chain(named.layers.into_iter().flatten());
        let node = Node {
            descriptor: bytes.descriptor(media_type),
            blobs: blobs.chain(named.blobs.into_iter().flatten()).collect(),
            children: named.manifests.unwrap_or_default(),
            subject: named.subject,
            bytes,
        };
        node.checked()
    }

    fn checked(self) -> Result<Node, GraphError> {
        match self.children.len() {
            0..=CHILDREN_MAX => Ok(self),
            count => Err(GraphError::TooManyChildren(count)),
        }
    }

    pub fn digest(&self) -> Digest {
        self.descriptor.digest
    }
}

/// The documents of a copy, each once.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    known: HashMap<Digest, u64>,
    bytes: u64,
    /// What a list names that is no document, and what the documents name.
    blobs: Vec<Descriptor>,
}

impl Graph {
    /// Returns whether a document or blob is not known yet, and knows it from then on.
    pub fn visit(&mut self, descriptor: &Descriptor) -> Result<bool, GraphError> {
        let size = *self.known.entry(descriptor.digest).or_insert(u64::MAX);
        if size == u64::MAX {
            self.known.insert(descriptor.digest, descriptor.size_bytes);
            return Ok(true);
        }
        if size != descriptor.size_bytes {
            return Err(GraphError::ContradictingSize(descriptor.digest));
        }
        Ok(false)
    }

    /// Adds a document that was visited, with its blobs, and returns its children that were not known.
    pub fn add(&mut self, node: Node) -> Result<Vec<Descriptor>, GraphError> {
        self.bytes += node.descriptor.size_bytes;
        if self.nodes.len() == DOCUMENTS_MAX || self.bytes > DOCUMENTS_BYTES_MAX {
            return Err(GraphError::TooLarge);
        }
        for blob in &node.blobs {
            self.add_blob(blob)?;
        }
        let mut new = Vec::new();
        for child in &node.children {
            if self.visit(child)? {
                new.push(child.clone());
            }
        }
        self.nodes.push(node);
        Ok(new)
    }

    /// Adds a blob unless it is known.
    pub fn add_blob(&mut self, blob: &Descriptor) -> Result<(), GraphError> {
        if self.visit(blob)? {
            self.blobs.push(blob.clone());
        }
        Ok(())
    }

    /// Adds an entry of a list that turned out to be no document.
    pub fn add_visited_blob(&mut self, blob: Descriptor) {
        self.blobs.push(blob);
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn blobs(&self) -> &[Descriptor] {
        &self.blobs
    }

    /// Returns the documents in rounds, each of which needs only those before it.
    pub fn rounds(&self) -> Vec<Vec<&Node>> {
        let documents: HashSet<Digest> = self.nodes.iter().map(Node::digest).collect();
        let mut done = HashSet::new();
        let mut left: Vec<&Node> = self.nodes.iter().collect();
        let mut rounds = Vec::new();
        while !left.is_empty() {
            let is_ready = |node: &&Node| {
                let mut children = node.children.iter().map(|child| child.digest);
                children.all(|child| done.contains(&child) || !documents.contains(&child))
            };
            let (ready, waiting): (Vec<_>, Vec<_>) = left.into_iter().partition(is_ready);
            assert!(!ready.is_empty(), "a document cannot contain its own digest");
            done.extend(ready.iter().map(|node| node.digest()));
            rounds.push(ready);
            left = waiting;
        }
        rounds
    }
}

/// Returns whether an entry of a list is a document, as far as its type says so; nothing where it does not.
pub(super) fn is_document(media_type: &str) -> Option<bool> {
    if media_type::is_manifest(media_type) || media_type::is_index(media_type) {
        return Some(true);
    }
    if media_type.ends_with("+json") || media_type.ends_with("prettyjws") { None } else { Some(false) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shale_oci::Unverified;

    fn index(children: &[&Node]) -> Node {
        let entries: Vec<_> = children
            .iter()
            .map(|child| serde_json::to_value(&child.descriptor).expect("a descriptor is JSON"))
            .collect();
        let json =
            serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
        Node::read(Unverified::new(json.to_string().into_bytes()).accept_by_tag(), media_type::OCI_INDEX)
            .unwrap()
    }

    #[test]
    fn a_list_comes_after_all_that_it_names() {
        let leaf = index(&[]);
        let middle = index(&[&leaf]);
        let root = index(&[&leaf, &middle]);
        let mut graph = Graph::default();
        graph.visit(&root.descriptor).unwrap();
        let new = graph.add(root.clone()).unwrap();
        assert_eq!(new.len(), 2);
        assert!(graph.add(leaf.clone()).unwrap().is_empty());
        assert!(graph.add(middle.clone()).unwrap().is_empty());
        let rounds: Vec<Vec<Digest>> =
            graph.rounds().into_iter().map(|round| round.into_iter().map(Node::digest).collect()).collect();
        assert_eq!(rounds, [[leaf.digest()], [middle.digest()], [root.digest()]]);
    }

    #[test]
    fn a_digest_has_one_size_and_a_list_a_bounded_length() {
        let mut graph = Graph::default();
        let blob = Descriptor::new("x", Digest::sha256(b"x"), 1);
        assert!(graph.visit(&blob).unwrap());
        assert!(!graph.visit(&blob).unwrap());
        let liar = Descriptor { size_bytes: 2, ..blob };
        assert!(matches!(graph.visit(&liar), Err(GraphError::ContradictingSize(_))));
        let entry = serde_json::json!({"mediaType": media_type::OCI_MANIFEST, "digest": Digest::sha256(b"x"), "size": 1});
        let json = serde_json::json!({"schemaVersion": 2, "manifests": vec![entry; CHILDREN_MAX + 1]});
        let bytes = Unverified::new(json.to_string().into_bytes()).accept_by_tag();
        assert!(matches!(Node::read(bytes, media_type::OCI_INDEX), Err(GraphError::TooManyChildren(1001))));
    }
}
