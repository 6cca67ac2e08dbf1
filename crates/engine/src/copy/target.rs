//! Where a copy writes to.

use std::sync::Arc;

use serde_json::{Value, json};
use shale_oci::{Descriptor, Digest, Reference, Repository, Tag, Target as ManifestTarget, media_type};
use shale_registry_client::{Client, Mount};

use super::CopyError;
use super::checked::CheckedBlob;
use super::graph::Node;
use super::write_archive::{ArchiveWriter, DockerImage};
use super::write_layout::LayoutWriter;

/// An image to be written.
#[derive(Clone)]
pub(super) enum Target {
    Registry { client: Client, reference: Reference },
    Layout(Arc<LayoutWriter>),
    Archive { writer: Arc<ArchiveWriter>, name: Option<String> },
}

/// How a blob got to the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Arrival {
    WasThere,
    Mounted(String),
    Copied,
}

impl Target {
    /// Makes a blob be there; `from` is where the registry may have it already.
    pub async fn put_blob(&self, blob: CheckedBlob, from: Option<&Repository>) -> Result<Arrival, CopyError> {
        match self {
            Target::Registry { client, reference } => {
                put_registry_blob(client, &reference.repository, blob, from).await
            }
            Target::Layout(layout) => {
                let (known, descriptor) = (Arc::clone(layout), blob.descriptor.clone());
                let looking = tokio::task::spawn_blocking(move || known.has_blob(&descriptor));
                if looking.await.expect("looking does not panic") {
                    return Ok(Arrival::WasThere);
                }
                layout.put_blob(blob).await?;
                Ok(Arrival::Copied)
            }
            Target::Archive { writer, .. } => {
                writer.put_blob(blob).await?;
                Ok(Arrival::Copied)
            }
        }
    }

    /// Makes a document be there under its digest, after all that it names.
    pub async fn put_document(&self, node: &Node) -> Result<(), CopyError> {
        match self {
            Target::Registry { client, reference } => {
                let target = ManifestTarget::Digest(node.digest());
                let known = client.head_manifest(&reference.repository, &target).await;
                if known.is_ok_and(|head| head.digest == Some(node.digest())) {
                    return Ok(());
                }
                put_manifest(client, &reference.repository, &target, node).await
            }
            Target::Layout(layout) => Ok(layout.put_document(node.digest(), node.bytes.bytes())?),
            Target::Archive { writer, .. } => {
                let name = super::layout::blob_name(node.digest());
                Ok(writer.put(name, node.bytes.bytes().clone()).await?)
            }
        }
    }

    /// Makes a tag beside that of the image name a document; only registries have such tags.
    pub async fn put_beside(&self, tag: &Tag, node: &Node) -> Result<(), CopyError> {
        let Target::Registry { client, reference } = self else { return Ok(()) };
        put_manifest(client, &reference.repository, &ManifestTarget::Tag(tag.clone()), node).await
    }

    /// Gives the image its name, the last step.
    pub async fn finish(
        &self,
        root: &Node,
        referrers: &[Descriptor],
        docker: Option<&DockerImage>,
    ) -> Result<(), CopyError> {
        match self {
            Target::Registry { client, reference } => match reference.target() {
                ManifestTarget::Digest(digest) if digest == root.digest() => Ok(()),
                ManifestTarget::Digest(wanted) => {
                    Err(CopyError::OtherDigest { wanted, actual: root.digest() })
                }
                target => put_manifest(client, &reference.repository, &target, root).await,
            },
            Target::Layout(layout) => Ok(layout.finish(&root.descriptor, referrers)?),
            Target::Archive { writer, name } => {
                Ok(writer.finish(&root.descriptor, name.as_deref(), referrers, docker).await?)
            }
        }
    }

    /// Makes a registry that does not list referrers itself list them, under the tag that stands in for that.
    ///
    /// Source: distribution-spec v1.1, "Pushing Manifests with Subject" and "Referrers Tag Schema".
    pub async fn list_referrers(&self, subject: Digest, referrers: &[Descriptor]) -> Result<(), CopyError> {
        let Target::Registry { client, reference } = self else { return Ok(()) };
        let repository = &reference.repository;
        let failed = |source| CopyError::Referrers { digest: subject, source };
        let listed = client.referrers(repository, subject).await.map_err(|error| failed(error.into()))?;
        let is_listed = |referrer: &&Descriptor| listed.iter().any(|known| known.digest == referrer.digest);
        let missing: Vec<&Descriptor> = referrers.iter().filter(|referrer| !is_listed(referrer)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let tag = format!("{}-{}", subject.algorithm(), subject.hex());
        let tag =
            Tag::parse(&tag[..tag.len().min(128)]).expect("an algorithm, a dash and hexadecimal digits");
        let entries: Vec<Value> = listed
            .iter()
            .chain(missing)
            .map(|referrer| serde_json::to_value(referrer).expect("a descriptor is JSON"))
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
        let index = index.to_string().into();
        client.put_manifest(repository, &ManifestTarget::Tag(tag), media_type::OCI_INDEX, index).await?;
        Ok(())
    }
}

async fn put_manifest(
    client: &Client,
    repository: &Repository,
    target: &ManifestTarget,
    node: &Node,
) -> Result<(), CopyError> {
    let bytes = node.bytes.bytes().clone();
    client.put_manifest(repository, target, &node.descriptor.media_type, bytes).await?;
    Ok(())
}

async fn put_registry_blob(
    client: &Client,
    repository: &Repository,
    blob: CheckedBlob,
    from: Option<&Repository>,
) -> Result<Arrival, CopyError> {
    let descriptor = &blob.descriptor;
    if client.blob_exists(repository, descriptor.digest).await? == Some(descriptor.size_bytes) {
        return Ok(Arrival::WasThere);
    }
    let digest = descriptor.digest;
    let failed = |source| CopyError::Upload { digest, source };
    let upload = match from.filter(|from| from.domain() == repository.domain() && *from != repository) {
        Some(from) => match client.mount_blob(repository, digest, from).await.map_err(failed)? {
            Mount::Mounted => return Ok(Arrival::Mounted(from.path().to_owned())),
            Mount::UploadStarted(upload) => *upload,
        },
        None => client.start_upload(repository).await.map_err(failed)?,
    };
    upload.send(descriptor, &blob).await.map_err(failed)?;
    Ok(Arrival::Copied)
}
