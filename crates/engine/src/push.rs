//! From an image in the store to a tag of a registry.

mod layer;
pub mod manifest;

use std::sync::Arc;

use bytes::Bytes;
use shale_oci::{
    ConfigError, Descriptor, Digest, ImageConfig, ImageId, Reference, Repository, Target, media_type,
};
use shale_registry_client::credentials::{Credential, registry_key};
use shale_registry_client::{Client, Mount, PutManifestError, RequestError, UploadError};
use shale_rootfs::GzipPool;
use shale_store::{
    ChangeReferencesError, DiskError, DistributionError, HoldError, Image, ImageError, Layer,
    PushCredentials, ReferencesError, V2Metadata,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Engine;
use crate::images::find::named_image;
use crate::progress::{Progress, Status};
use layer::SendLayerError;

/// Layers that are sent at the same time, as Docker's `max-concurrent-uploads`.
const UPLOADS_MAX: usize = 5;
/// Blobs of a layer that are asked for, and places that one is mounted from, before it is sent.
const CANDIDATES_MAX: usize = 4;

/// A tag that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The tag.
    pub reference: Reference,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Length of the manifest in bytes.
    pub size_bytes: u64,
}

/// Why an image was not pushed. Blobs that arrived stay in the registry and are not sent again.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The store has no image of that repository. The message is Docker's.
    #[error("An image does not exist locally with the tag: {}", .0.familiar())]
    NoSuchImage(Repository),
    /// The repository has other tags. The message is Docker's.
    #[error("tag does not exist: {}", .0.familiar())]
    NoSuchTag(Reference),
    /// A digest cannot be pushed to.
    #[error("cannot push a digest reference")]
    Digest,
    /// The image is damaged.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Its layers could not be held against deletion, or are damaged.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// The config describes no image.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A layer could not be made or sent.
    #[error("could not push layer {layer}")]
    Layer {
        /// The layer's diff ID.
        layer: String,
        /// Why.
        source: SendLayerError,
    },
    /// The config was not taken.
    #[error("could not push the image config")]
    ConfigBlob(#[source] UploadError),
    /// The registry did not answer a question.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The manifest was not taken.
    #[error(transparent)]
    Manifest(#[from] PutManifestError),
    /// The names could not be read.
    #[error(transparent)]
    References(#[from] ReferencesError),
    /// The digest could not be noted.
    #[error(transparent)]
    ChangeReferences(#[from] ChangeReferencesError),
    /// What is known about the blobs could not be written.
    #[error(transparent)]
    Distribution(#[from] DistributionError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Engine {
    /// Returns the tags of a repository that the store has, in Docker's order.
    ///
    /// # Errors
    /// [`PushError::NoSuchImage`] when there are none.
    pub fn local_tags(&self, repository: &Repository) -> Result<Vec<Reference>, PushError> {
        let references = self.store.references()?;
        let tags: Vec<Reference> = references
            .of_repository(repository.familiar())
            .into_iter()
            .filter(|(name, _)| !name.is_digest())
            .filter_map(|(name, _)| Reference::parse(name.key).ok())
            .collect();
        if tags.is_empty() { Err(PushError::NoSuchImage(repository.clone())) } else { Ok(tags) }
    }

    /// Pushes the image that `reference` names in the store.
    ///
    /// What the repository has is not sent; what another repository of the registry has is mounted from there.
    ///
    /// # Errors
    /// [`PushError`].
    pub async fn push(
        &self,
        client: &Client,
        reference: &Reference,
        progress: &Arc<dyn Progress>,
    ) -> Result<Pushed, PushError> {
        let reference = reference.clone().or_latest();
        let (Some(tag), None) = (&reference.tag, &reference.digest) else { return Err(PushError::Digest) };
        let repository = &reference.repository;
        let references = self.store.references()?;
        let is_known = !references.of_repository(repository.familiar()).is_empty();
        let absent = || match is_known {
            true => PushError::NoSuchTag(reference.clone()),
            false => PushError::NoSuchImage(repository.clone()),
        };
        let id = named_image(references.as_ref(), &reference).ok_or_else(absent)?;
        // Whoever removes the image meanwhile takes its layers away only when they are sent.
        let held =
            self.blocking(move |engine| engine.hold_image::<PushError>(id)).await?.ok_or_else(absent)?;
        let image = &held.image;
        ImageConfig::parse(&image.config)?;
        let mut denied = Vec::new();
        let (digest, size_bytes) = loop {
            let layers = self.push_layers(client, repository, image, &denied, progress);
            let config = push_config(client, repository, image, &denied);
            // A refusal is told of a layer, as Docker does, although the config may meet it first.
            let (layers, config) = tokio::join!(layers, config);
            let (layers, config) = (layers?, config?);
            let manifest = Bytes::from(manifest::docker_manifest(&config, &layers));
            let size_bytes = manifest.len() as u64;
            let target = Target::Tag(tag.clone());
            match client.put_manifest(repository, &target, media_type::DOCKER_MANIFEST, manifest).await {
                Ok(digest) => break (digest, size_bytes),
                // It said that it had them, or a garbage collection came between: sent again, once.
                Err(PutManifestError::MissingContent { digests })
                    if denied.is_empty() && !digests.is_empty() =>
                {
                    tracing::warn!(?digests, "the registry lacks what it said it had; it is sent again");
                    denied = digests;
                }
                Err(error) => return Err(error.into()),
            }
        };
        if self.store.is_writable() {
            self.note_digest(repository, digest, id).await?;
        }
        progress.message(&format!("{tag}: digest: {digest} size: {size_bytes}"));
        Ok(Pushed { reference, digest, size_bytes })
    }

    /// Gives the image the name under which the registry has it.
    async fn note_digest(
        &self,
        repository: &Repository,
        digest: Digest,
        id: ImageId,
    ) -> Result<(), ChangeReferencesError> {
        let repository = repository.clone();
        // Others may hold the store's lock for long.
        let noting = self.blocking(move |engine| {
            engine.store.add_digest(repository.familiar(), &repository.at(digest).familiar(), id)
        });
        match noting.await {
            // The digest names what it named first, or the image was removed; the registry has it all the same.
            Err(ChangeReferencesError::DigestTaken(_) | ChangeReferencesError::NoSuchImage(_)) => Ok(()),
            noted => noted,
        }
    }

    /// Makes all layers be in the repository, and returns their descriptors, bottom first.
    ///
    /// `denied` are blobs that the registry claims to have and has not.
    async fn push_layers(
        &self,
        client: &Client,
        repository: &Repository,
        image: &Image,
        denied: &[Digest],
        progress: &Arc<dyn Progress>,
    ) -> Result<Vec<Descriptor>, PushError> {
        // Docker lists the top layer first.
        for layer in image.layers.iter().rev() {
            progress.layer(&layer.diff_id.short(), &Status::Preparing);
        }
        let push = Push {
            engine: self.clone(),
            client: client.clone(),
            repository: repository.clone(),
            key: push_key(client, repository),
            denied: denied.into(),
            progress: Arc::clone(progress),
            turns: Arc::new(Semaphore::new(UPLOADS_MAX)),
            gzip: Arc::default(),
        };
        let mut uploads = JoinSet::new();
        for (index, layer) in image.layers.iter().enumerate().rev() {
            // A layer that the image has twice is one blob.
            if image.layers[index + 1..].iter().any(|above| above.diff_id == layer.diff_id) {
                continue;
            }
            let (push, layer) = (push.clone(), layer.clone());
            uploads.spawn(async move { Ok::<_, PushError>((layer.diff_id, push.layer(&layer).await?)) });
        }
        let mut pushed = std::collections::HashMap::new();
        while let Some(joined) = uploads.join_next().await {
            let (diff_id, descriptor) = joined.expect("an upload does not panic")?;
            pushed.insert(diff_id, descriptor);
        }
        let seen: Vec<_> = pushed
            .iter()
            .map(|(diff_id, blob)| (*diff_id, V2Metadata::pushed(blob.digest, repository.full(), &push.key)))
            .collect();
        if !seen.is_empty() && self.store.is_writable() {
            let store = Arc::clone(&self.store);
            let noting = tokio::task::spawn_blocking(move || store.add_metadata(&seen));
            noting.await.expect("noting does not panic")?;
        }
        Ok(image.layers.iter().map(|layer| pushed[&layer.diff_id].clone()).collect())
    }
}

/// What all uploads of a push share.
#[derive(Clone)]
struct Push {
    engine: Engine,
    client: Client,
    repository: Repository,
    /// Keys the proof that the layers were pushed with these credentials.
    key: String,
    /// Blobs that the registry claims to have and has not.
    denied: Arc<[Digest]>,
    progress: Arc<dyn Progress>,
    turns: Arc<Semaphore>,
    /// Compresses the layers, the one first that was begun first.
    gzip: Arc<GzipPool>,
}

impl Push {
    /// Makes one layer be in the repository: found there, mounted, or sent.
    async fn layer(&self, layer: &Layer) -> Result<Descriptor, PushError> {
        let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
        let id = layer.diff_id.short();
        let known = self.known(layer)?;
        let mut asked = Vec::new();
        for entry in &known {
            if asked.len() == CANDIDATES_MAX || asked.contains(&entry.digest) {
                continue;
            }
            if let Some(size_bytes) = self.client.blob_exists(&self.repository, entry.digest).await? {
                self.progress.layer(&id, &Status::LayerAlreadyExists);
                return Ok(layer_descriptor(entry.digest, size_bytes));
            }
            asked.push(entry.digest);
        }
        for candidate in known.iter().filter(|entry| self.is_near(entry)).take(CANDIDATES_MAX) {
            if let Some((from, size_bytes)) = self.mount(candidate).await? {
                self.progress.layer(&id, &Status::MountedFrom(from.path().to_owned()));
                return Ok(layer_descriptor(candidate.digest, size_bytes));
            }
        }
        let sent = self.send(layer).await.map_err(|source| {
            let layer = layer.diff_id.to_string();
            PushError::Layer { layer, source }
        })?;
        self.progress.layer(&id, &Status::Pushed);
        Ok(sent)
    }

    /// Returns what is known of the layer's blobs, the best guess first.
    ///
    /// The same repository goes first, then this registry, then what was pushed with the same credentials, then the
    /// newest. What was pulled from another registry may be here too, under the same digest: dockerd asks as well.
    fn known(&self, layer: &Layer) -> Result<Vec<V2Metadata>, DiskError> {
        let mut known = self.engine.store.metadata_for(layer.diff_id)?;
        known.reverse();
        known.retain(|entry| !self.denied.contains(&entry.digest));
        known.sort_by_key(|entry| {
            let is_same = entry.source_repository == self.repository.full();
            (!is_same, !self.is_near(entry), !entry.is_pushed_with(&self.key))
        });
        Ok(known)
    }

    /// Whether an entry tells of this registry.
    fn is_near(&self, entry: &V2Metadata) -> bool {
        Repository::parse(&entry.source_repository)
            .is_ok_and(|source| source.domain() == self.repository.domain())
    }

    /// Tries to mount a blob from another repository.
    async fn mount(&self, candidate: &V2Metadata) -> Result<Option<(Repository, u64)>, PushError> {
        let from = Repository::parse(&candidate.source_repository).ok();
        let Some(from) = from.filter(|from| *from != self.repository) else { return Ok(None) };
        match self.client.mount_blob(&self.repository, candidate.digest, &from).await {
            Ok(Mount::Mounted) => {}
            // The registry wants the bytes; a session without them is given back.
            Ok(Mount::UploadStarted(upload)) => {
                let _ = upload.cancel().await;
                return Ok(None);
            }
            Err(error) => {
                tracing::debug!(%error, "mounting did not work");
                return Ok(None);
            }
        }
        Ok(self
            .client
            .blob_exists(&self.repository, candidate.digest)
            .await?
            .map(|size_bytes| (from, size_bytes)))
    }
}

fn layer_descriptor(digest: Digest, size_bytes: u64) -> Descriptor {
    Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest, size_bytes)
}

async fn push_config(
    client: &Client,
    repository: &Repository,
    image: &Image,
    denied: &[Digest],
) -> Result<Descriptor, PushError> {
    let bytes = Bytes::from(image.config.clone());
    let descriptor = Descriptor::new(media_type::DOCKER_CONFIG, image.id.digest(), bytes.len() as u64);
    let is_denied = denied.contains(&descriptor.digest);
    if is_denied || client.blob_exists(repository, descriptor.digest).await?.is_none() {
        client.upload_blob(repository, &descriptor, &bytes).await.map_err(PushError::ConfigBlob)?;
    }
    Ok(descriptor)
}

/// Returns what keys the proof of a push, from the credentials that the client sends to the registry.
fn push_key(client: &Client, repository: &Repository) -> String {
    let key = registry_key(repository.domain());
    let found = client.options().credentials.find(&key).ok().flatten();
    match &found {
        None => PushCredentials::default().key(),
        Some(Credential::Basic { username, password }) => {
            PushCredentials { username, password: password.reveal(), ..PushCredentials::default() }.key()
        }
        Some(Credential::IdentityToken { username, token }) => {
            let username = username.as_deref().unwrap_or_default();
            PushCredentials { username, identity_token: token.reveal(), ..PushCredentials::default() }.key()
        }
        Some(Credential::RegistryToken(token)) => {
            PushCredentials { registry_token: token.reveal(), ..PushCredentials::default() }.key()
        }
    }
}
