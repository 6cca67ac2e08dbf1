//! Images from one place to another, byte for byte: registries, OCI layouts and archives of docker's.
//!
//! No store is involved. Documents and blobs keep their bytes and so their digests; each is checked on its way; nothing
//! is named before all that it names is there.

mod checked;
mod cosign;
mod graph;
mod layout;
mod place;
mod platforms;
mod source;
mod target;
mod write_archive;
mod write_layout;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use shale_oci::{
    CONFIG_SIZE_MAX, Descriptor, Digest, Platform, Reference, Unverified, Verified, VerifyError, media_type,
};
use shale_registry_client::{
    BlobSource as _, Client, ListError, ManifestError, PutManifestError, RequestError, UploadError,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use graph::GraphError;
pub use layout::LayoutError;
pub use place::{EntryName, Place, PlaceError};
pub use write_archive::WriteArchiveError;
pub use write_layout::WriteLayoutError;

use crate::progress::{Progress, Status};
use graph::{DEPTH_MAX, Graph, Node, is_document};
use layout::Layout;
use source::Source;
use target::{Arrival, Target};
use write_archive::{ArchiveWriter, DockerImage};

/// Blobs that are copied at the same time.
const BLOBS_MAX: usize = 5;
/// Documents that are fetched or put at the same time.
const DOCUMENTS_AT_ONCE: usize = 8;
/// Referrers of referrers that are followed; a signature of an SBOM is the second.
const REFERRERS_DEPTH_MAX: usize = 4;

/// What is copied of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// Platforms to copy; all if there are none here.
    pub platforms: Vec<Platform>,
    /// Whether signatures, SBOMs and whatever else refers to the image come along.
    pub referrers: bool,
}

impl Default for CopyOptions {
    fn default() -> CopyOptions {
        CopyOptions { platforms: Vec::new(), referrers: true }
    }
}

/// An image that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Digest of what the target's name means now.
    pub digest: Digest,
    /// Length of that document in bytes.
    pub size_bytes: u64,
    /// Documents that refer to the image and came along.
    pub referrers: usize,
}

/// Why an image was not copied. Its name at the target means what it meant before; blobs that arrived stay.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The registry did not give a document.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A document is not the one that was asked for.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A document cannot be copied.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A list names a document that the source does not have.
    #[error("the source lacks {0}, which its manifest list names")]
    MissingDocument(Digest),
    /// No document for a platform.
    #[error("no matching manifest for {wanted} in the manifest list entries")]
    NoMatchingPlatform {
        /// What was looked for.
        wanted: Platform,
    },
    /// What refers to a document could not be listed.
    #[error("could not list what refers to {digest}; --no-referrers leaves it out")]
    Referrers {
        /// The document.
        digest: Digest,
        /// Why.
        source: Box<ListError>,
    },
    /// A layout or archive could not be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A layout could not be written.
    #[error(transparent)]
    WriteLayout(#[from] WriteLayoutError),
    /// An archive could not be written.
    #[error(transparent)]
    WriteArchive(#[from] WriteArchiveError),
    /// A blob could not be copied.
    #[error("could not copy blob {digest}")]
    Upload {
        /// Which one.
        digest: Digest,
        /// Why.
        source: UploadError,
    },
    /// The target did not take a document.
    #[error(transparent)]
    PutManifest(#[from] PutManifestError),
    /// The registry did not answer a question.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The name of the target is a digest, and the image has another.
    #[error("the target names {wanted}, but the image is {actual}")]
    OtherDigest {
        /// What the name says.
        wanted: Digest,
        /// What is copied.
        actual: Digest,
    },
    /// Docker reads archives of images only.
    #[error("docker-archive: holds images, and this is none; use oci-archive:")]
    NotAnImage,
}

impl CopyError {
    /// Returns the one of the two places whose registry refused for want of credentials or rights.
    pub fn refusing<'p>(&self, from: &'p Place, to: &'p Place) -> Option<&'p Reference> {
        let (error, place) = match self {
            CopyError::Manifest(ManifestError::Request(error)) => (error, from),
            CopyError::Referrers { source, .. } => match &**source {
                ListError::Request(error) => (error, from),
                _ => return None,
            },
            CopyError::Upload { source: UploadError::Request(error), .. }
            | CopyError::PutManifest(PutManifestError::Request(error))
            | CopyError::Request(error) => (error, to),
            _ => return None,
        };
        match place {
            Place::Registry(reference) if error.is_refusal() => Some(reference),
            _ => None,
        }
    }
}

/// Copies the image `from` one place `to` another.
///
/// What the target has is not sent again; within a registry blobs are mounted across repositories. A layout that an
/// interrupted copy left goes on where it stopped.
///
/// # Errors
/// [`CopyError`].
pub async fn copy(
    client: &Client,
    from: &Place,
    to: &Place,
    options: &CopyOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Copied, CopyError> {
    let source = open_source(client, from).await?;
    let mut root = source.root().await?;
    if !options.platforms.is_empty() {
        root = platforms::narrow(&source, root, &options.platforms, progress).await?;
    }
    if let Place::Registry(reference) = to
        && let Some(wanted) = reference.digest
        && wanted != root.digest()
    {
        return Err(CopyError::OtherDigest { wanted, actual: root.digest() });
    }
    let mut graph = Graph::default();
    graph.visit(&root.descriptor)?;
    walk(&source, &mut graph, root.clone()).await?;
    let referrers = if options.referrers { add_referrers(&source, &mut graph).await? } else { Vec::new() };
    // A layout has no place for tags of its own beside that of the image.
    let beside = match to {
        Place::Registry(_) if options.referrers => cosign::add(&source, &mut graph).await?,
        _ => Vec::new(),
    };
    let docker = match to {
        Place::DockerArchive { name, .. } => {
            Some(docker_image(&graph, &root, name.clone().or(name_of(from)))?)
        }
        _ => None,
    };
    let target = open_target(client, to).await?;
    copy_blobs(&source, &target, &graph, progress).await?;
    for round in graph.rounds() {
        let puts = futures_util::stream::iter(round).map(|node| target.put_document(node));
        puts.buffer_unordered(DOCUMENTS_AT_ONCE).try_collect::<()>().await?;
    }
    let mut by_subject: HashMap<Digest, Vec<Descriptor>> = HashMap::new();
    for (subject, referrer) in &referrers {
        by_subject.entry(*subject).or_default().push(referrer.clone());
    }
    for (subject, listed) in &by_subject {
        target.list_referrers(*subject, listed).await?;
    }
    for (tag, node) in &beside {
        target.put_beside(tag, node).await?;
    }
    let listed: Vec<Descriptor> = referrers.iter().map(|(_, referrer)| referrer.clone()).collect();
    target.finish(&root, &listed, docker.as_ref()).await?;
    let referrers = listed.len() + beside.len();
    Ok(Copied { digest: root.digest(), size_bytes: root.descriptor.size_bytes, referrers })
}

async fn open_source(client: &Client, place: &Place) -> Result<Source, CopyError> {
    let (opened, name) = match place.clone() {
        Place::Registry(reference) => return Ok(Source::Registry { client: client.clone(), reference }),
        Place::Layout { directory, name } => {
            (tokio::task::spawn_blocking(move || Layout::open_directory(&directory)), name)
        }
        Place::OciArchive { file, name } => {
            (tokio::task::spawn_blocking(move || Layout::open_archive(&file)), name)
        }
        Place::DockerArchive { file, name } => {
            let name = name.map_or(EntryName::Only, |name| EntryName::Named(name.to_string()));
            (tokio::task::spawn_blocking(move || Layout::open_docker_archive(&file)), name)
        }
    };
    let layout = Arc::new(opened.await.expect("opening does not panic")?);
    Ok(Source::Layout { layout, name })
}

async fn open_target(client: &Client, place: &Place) -> Result<Target, CopyError> {
    Ok(match place.clone() {
        Place::Registry(reference) => Target::Registry { client: client.clone(), reference },
        Place::Layout { directory, name } => Target::Layout(write_layout::open(directory, name).await?),
        Place::OciArchive { file, name } => {
            let name = if let EntryName::Named(name) = name { Some(name) } else { None };
            Target::Archive { writer: Arc::new(ArchiveWriter::create(&file)?), name }
        }
        Place::DockerArchive { file, .. } => {
            Target::Archive { writer: Arc::new(ArchiveWriter::create(&file)?), name: None }
        }
    })
}

/// Returns what the image is called where it comes from.
fn name_of(place: &Place) -> Option<Reference> {
    match place {
        Place::Registry(reference) => reference.tag.is_some().then(|| reference.clone()),
        Place::DockerArchive { name, .. } => name.clone(),
        Place::Layout { .. } | Place::OciArchive { .. } => None,
    }
}

/// Adds a visited document and everything below it to the graph, level by level.
async fn walk(source: &Source, graph: &mut Graph, top: Node) -> Result<(), CopyError> {
    let mut level = graph.add(top)?;
    for _ in 0..DEPTH_MAX {
        if level.is_empty() {
            return Ok(());
        }
        let fetches = futures_util::stream::iter(level.drain(..)).map(|entry| fetch(source, entry));
        let fetched: Vec<Fetched> = fetches.buffered(DOCUMENTS_AT_ONCE).try_collect().await?;
        let mut next = Vec::new();
        for document in fetched {
            match document {
                Fetched::Document(node) => next.extend(graph.add(*node)?),
                Fetched::Blob(blob) => graph.add_visited_blob(blob),
            }
        }
        level = next;
    }
    if level.is_empty() { Ok(()) } else { Err(GraphError::TooDeep.into()) }
}

/// An entry of a list, once it was looked at.
#[expect(clippy::large_enum_variant, reason = "one is made for each blob, and is taken apart at once")]
enum Fetched {
    Document(Box<Node>),
    Blob(Descriptor),
}

async fn fetch(source: &Source, entry: Descriptor) -> Result<Fetched, CopyError> {
    let kind = is_document(&entry.media_type);
    if kind == Some(false) {
        return Ok(Fetched::Blob(entry));
    }
    match source.document(&entry).await? {
        Some(bytes) => Ok(Fetched::Document(Box::new(Node::read(bytes, &entry.media_type)?))),
        None if kind.is_none() => Ok(Fetched::Blob(entry)),
        None => Err(CopyError::MissingDocument(entry.digest)),
    }
}

/// Adds what refers to the documents of the graph, and returns it with what it is about.
async fn add_referrers(source: &Source, graph: &mut Graph) -> Result<Vec<(Digest, Descriptor)>, CopyError> {
    let mut found = Vec::new();
    let mut asked = 0;
    for _ in 0..REFERRERS_DEPTH_MAX {
        let subjects: Vec<Digest> = graph.nodes()[asked..].iter().map(Node::digest).collect();
        asked += subjects.len();
        let lists = futures_util::stream::iter(subjects)
            .map(|subject| async move { Ok::<_, CopyError>((subject, source.referrers(subject).await?)) });
        let lists: Vec<_> = lists.buffered(DOCUMENTS_AT_ONCE).try_collect().await?;
        for (subject, referrers) in lists {
            for referrer in referrers {
                let Some(bytes) = source.document(&referrer).await? else {
                    // Lists under a tag are kept by clients, and nobody removes from them what is deleted.
                    tracing::warn!(%subject, referrer = %referrer.digest, "a referrer is listed and not there");
                    continue;
                };
                let node = Node::read(bytes, &referrer.media_type)?;
                if node.subject.as_ref().is_none_or(|about| about.digest != subject) {
                    tracing::warn!(%subject, referrer = %referrer.digest, "a referrer is about something else");
                    continue;
                }
                found.push((subject, referrer.clone()));
                if graph.visit(&referrer)? {
                    walk(source, graph, node).await?;
                }
            }
        }
        if asked == graph.nodes().len() {
            break;
        }
    }
    Ok(found)
}

/// Copies all blobs, several at once; the first failure stops the others.
async fn copy_blobs(
    source: &Source,
    target: &Target,
    graph: &Graph,
    progress: &Arc<dyn Progress>,
) -> Result<(), CopyError> {
    let turns = Arc::new(Semaphore::new(BLOBS_MAX));
    let mut copies = JoinSet::new();
    for blob in graph.blobs() {
        progress.layer(&blob.digest.short(), &Status::Waiting);
        let (source, target, blob) = (source.clone(), target.clone(), blob.clone());
        let (turns, progress) = (Arc::clone(&turns), Arc::clone(progress));
        copies.spawn(async move {
            let _turn = turns.acquire().await.expect("the semaphore is never closed");
            copy_blob(&source, &target, &blob, &progress).await
        });
    }
    while let Some(copied) = copies.join_next().await {
        if let Err(error) = copied.expect("a copy does not panic") {
            // Waited for, so that nothing is written and no draft is left when the caller hears of it.
            copies.shutdown().await;
            return Err(error);
        }
    }
    Ok(())
}

async fn copy_blob(
    source: &Source,
    target: &Target,
    blob: &Descriptor,
    progress: &Arc<dyn Progress>,
) -> Result<(), CopyError> {
    let arrived = match source.blob(blob, progress) {
        Ok(checked) => target.put_blob(checked, source.repository()).await,
        Err(error) => Err(error),
    };
    let status = match arrived {
        Ok(Arrival::WasThere) => Status::AlreadyExists,
        Ok(Arrival::Mounted(repository)) => Status::MountedFrom(repository),
        Ok(Arrival::Copied) => Status::Note("Copied".to_owned()),
        Err(error) => return Err(error),
    };
    progress.layer(&blob.digest.short(), &status);
    Ok(())
}

/// Returns what `docker load` is told: the image for this machine, or the only one.
fn docker_image(graph: &Graph, root: &Node, name: Option<Reference>) -> Result<DockerImage, CopyError> {
    let find = |digest: Digest| graph.nodes().iter().find(|node| node.digest() == digest);
    let mut node = root;
    for _ in 0..=DEPTH_MAX {
        if let [config, layers @ ..] = node.blobs.as_slice()
            && matches!(config.media_type.as_str(), media_type::DOCKER_CONFIG | media_type::OCI_CONFIG)
        {
            let layers = layers.iter().map(|layer| layer.digest).collect();
            return Ok(DockerImage { name, config: config.digest, layers });
        }
        let chosen = platforms::choose(&node.children, &Platform::host())
            .or_else(|| node.children.iter().find(|child| find(child.digest).is_some()));
        node = chosen.and_then(|child| find(child.digest)).ok_or(CopyError::NotAnImage)?;
    }
    Err(CopyError::NotAnImage)
}

/// Reads a small blob whole.
async fn small_blob(
    source: &Source,
    blob: &Descriptor,
    progress: &Arc<dyn Progress>,
) -> Result<Verified, CopyError> {
    if blob.size_bytes > CONFIG_SIZE_MAX {
        return Err(VerifyError::Size { expected: CONFIG_SIZE_MAX, actual: blob.size_bytes }.into());
    }
    let failed = |source| CopyError::Upload { digest: blob.digest, source: UploadError::Source { source } };
    let mut chunks = source.blob(blob, progress)?.open(0).await.map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk.map_err(failed)?);
    }
    Ok(Unverified::new(bytes).verify(blob)?)
}
