//! Where a copy reads from.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use shale_oci::{Descriptor, Digest, Reference, Repository, Target, Unverified, Verified};
use shale_registry_client::{BlobSource, ByteStream, Client, ManifestError};

use super::CopyError;
use super::checked::CheckedBlob;
use super::graph::Node;
use super::layout::Layout;
use super::place::EntryName;
use crate::progress::{Progress, retry_listener};

/// An image to be read.
#[derive(Clone)]
pub(super) enum Source {
    Registry { client: Client, reference: Reference },
    Layout { layout: Arc<Layout>, name: EntryName },
}

impl Source {
    /// Reads the document that the place names.
    pub async fn root(&self) -> Result<Node, CopyError> {
        match self {
            Source::Registry { client, reference } => {
                fetch_named(client, &reference.repository, &reference.target()).await
            }
            Source::Layout { layout, name } => {
                let entry = layout.entry(name)?;
                Ok(Node::read(layout.document(&entry)?, &entry.media_type)?)
            }
        }
    }

    /// Reads the document of a descriptor; nothing where there is none of that digest.
    pub async fn document(&self, descriptor: &Descriptor) -> Result<Option<Verified>, CopyError> {
        match self {
            Source::Registry { client, reference } => {
                let target = Target::Digest(descriptor.digest);
                match client.manifest(&reference.repository, &target).await {
                    Ok(response) => Ok(Some(Unverified::new(response.body).verify(descriptor)?)),
                    Err(ManifestError::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
            Source::Layout { layout, .. } => Ok(Some(layout.document(descriptor)?)),
        }
    }

    /// Returns what the source says is about a document.
    pub async fn referrers(&self, digest: Digest) -> Result<Vec<Descriptor>, CopyError> {
        match self {
            Source::Registry { client, reference } => client
                .referrers(&reference.repository, digest)
                .await
                .map_err(|source| CopyError::Referrers { digest, source: source.into() }),
            Source::Layout { layout, .. } => Ok(layout.referrers(digest)),
        }
    }

    /// Returns the repository to mount blobs from.
    pub fn repository(&self) -> Option<&Repository> {
        match self {
            Source::Registry { reference, .. } => Some(&reference.repository),
            Source::Layout { .. } => None,
        }
    }

    /// Returns a blob, which is checked while it is read.
    pub fn blob(
        &self,
        descriptor: &Descriptor,
        progress: &Arc<dyn Progress>,
    ) -> Result<CheckedBlob, CopyError> {
        let source: Box<dyn BlobSource> = match self {
            Source::Registry { client, reference } => Box::new(RegistryBlob {
                client: client.clone(),
                repository: reference.repository.clone(),
                descriptor: descriptor.clone(),
                progress: Arc::clone(progress),
            }),
            Source::Layout { layout, .. } => Box::new(layout.blob(descriptor.digest)?),
        };
        Ok(CheckedBlob::new(descriptor, source, progress))
    }
}

/// Reads the document that a tag or digest names.
pub(super) async fn fetch_named(
    client: &Client,
    repository: &Repository,
    target: &Target,
) -> Result<Node, CopyError> {
    let response = client.manifest(repository, target).await?;
    let bytes = Unverified::new(response.body);
    let bytes = match target {
        Target::Digest(digest) => bytes.verify_digest(*digest)?,
        Target::Tag(_) => bytes.accept_by_tag(),
    };
    Ok(Node::read(bytes, &response.content_type)?)
}

/// A blob in a registry.
struct RegistryBlob {
    client: Client,
    repository: Repository,
    descriptor: Descriptor,
    progress: Arc<dyn Progress>,
}

impl BlobSource for RegistryBlob {
    fn open(&self, offset: u64) -> Pin<Box<dyn Future<Output = io::Result<ByteStream>> + Send + '_>> {
        Box::pin(async move {
            let blob = self
                .client
                .blob_from(&self.repository, &self.descriptor, offset, None)
                .map_err(io::Error::other)?;
            let blob = blob.on_event(retry_listener(&self.progress, self.descriptor.digest.short()));
            let stream: ByteStream = Box::pin(blob.into_stream().map_err(io::Error::other));
            Ok(stream)
        })
    }
}
