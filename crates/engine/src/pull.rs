//! From a reference to an image in the store.

mod arriving;
pub mod layer;
pub mod plan;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shale_oci::{ChainId, Descriptor, DiffId, Digest, ImageConfig, ImageId, Platform, Reference, Repository};
use shale_registry_client::{BlobError, Client, Source};
use shale_rootfs::{EarlySync, Limits, Unpack};
use shale_store::{
    BlobClaim, ClaimError, DiskError, FinishedLayer, HeldLayers, HoldError, ImageError, Name, NewImage,
    NewLayer, Publication, PublishImagesError, PutImage, ReferenceChange, ReferencesError, V2Metadata,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Engine;
use crate::progress::{Progress, Status, retry_listener};
use crate::remote::{self, RemoteError, RemoteImage};
use arriving::ArrivingBlob;
use layer::{CHUNKS_MAX, LayerError, unpack_blob};
use plan::{PlanError, PlannedLayer, check_manifest, plan_layers};

/// Layers that are fetched at the same time, as Docker's `max-concurrent-downloads`.
const DOWNLOADS_MAX: usize = 3;
/// Between two questions whether somebody else still downloads a blob.
const CLAIM_PAUSE: Duration = Duration::from_millis(100);

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What was pulled, with its tag or digest.
    pub reference: Reference,
    /// Digest of the manifest or index that the reference names.
    pub digest: Digest,
    /// The image.
    pub image: ImageId,
    /// Whether the reference named another image before, or none.
    pub is_new: bool,
    /// The image is for another platform than the one that was asked for; the registry had nothing to choose from.
    pub other_platform: Option<OtherPlatform>,
}

/// What is to be said of an image for another platform than the one that was asked for. It is kept all the same.
///
/// Source: moby v20.10 daemon/images/image_pull.go, `PullImage`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "image with reference {repository} was found but does not match the specified platform: wanted {wanted}, actual: {actual}"
)]
pub struct OtherPlatform {
    /// The repository with its domain.
    pub repository: String,
    /// What was asked for.
    pub wanted: Platform,
    /// What the image is for.
    pub actual: Platform,
}

/// Why an image was not pulled; the store is as it was, except for layers that other images need as well.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The reference leads to no image.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The image cannot be kept in this store.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A layer did not come.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A layer came and is wrong.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A layer that is here could not be looked at.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// A download could not be reserved.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// Layers, config or names could not be published.
    #[error(transparent)]
    Publish(#[from] PublishImagesError),
    /// An image that is here could not be looked at.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The names could not be read.
    #[error(transparent)]
    References(#[from] ReferencesError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Engine {
    /// Pulls the image that `reference` names, for `platform` or for this machine.
    ///
    /// What is here and sound is not fetched again; what is damaged is replaced. The names are set last.
    ///
    /// # Errors
    /// [`PullError`]; partial downloads are kept for the next attempt.
    pub async fn pull(
        &self,
        client: &Client,
        reference: &Reference,
        platform: Option<&Platform>,
        progress: &Arc<dyn Progress>,
    ) -> Result<Pulled, PullError> {
        let reference = reference.clone().or_latest();
        let repository = reference.repository.clone();
        let image = remote::resolve(client, &reference, platform).await?;
        let heading = match (&reference.digest, &reference.tag) {
            (None, Some(tag)) => tag.to_string(),
            _ => reference.familiar(),
        };
        progress.layer(&heading, &Status::Note(format!("Pulling from {}", repository.path())));
        check_manifest(&image.manifest)?;
        let Config { bytes: config_bytes, parsed: config, is_here } =
            self.config_of(client, &repository, &image).await?;
        let layers = plan_layers(&image.manifest, &config)?;
        let actual = config.platform();
        let is_other = |wanted: &&Platform| wanted.choose([Some(&actual)].into_iter()).is_none();
        let other_platform = platform.filter(is_other).map(|wanted| OtherPlatform {
            repository: repository.full().to_owned(),
            wanted: wanted.clone(),
            actual: actual.clone(),
        });
        let image_id = remote::image_id(&image.manifest);
        let provided = self.provide_layers(client, &repository, &image, &layers, is_here, progress).await?;
        let new: Vec<String> = provided.new.iter().map(|layer| layer.descriptor.digest.short()).collect();
        let is_new = {
            let reference = reference.clone();
            let put = move |engine: &Engine| {
                engine.put_pulled(&reference, image.digest, &config_bytes, &layers, provided)
            };
            self.blocking(put).await?
        };
        for id in new {
            progress.layer(&id, &Status::PullComplete);
        }
        progress.message(&format!("Digest: {}", image.digest));
        Ok(Pulled { reference, digest: image.digest, image: image_id, is_new, other_platform })
    }

    /// Returns the config from the store, or from the registry where the store does not have it whole.
    async fn config_of(
        &self,
        client: &Client,
        repository: &Repository,
        image: &RemoteImage,
    ) -> Result<Config, PullError> {
        let id = remote::image_id(&image.manifest);
        if let Ok(Some(known)) = self.blocking(move |engine| engine.store.image(id)).await
            && let Ok(parsed) = ImageConfig::parse(&known.config)
            && known.config.len() as u64 == image.manifest.config.size_bytes
        {
            return Ok(Config { bytes: known.config, parsed, is_here: true });
        }
        let (bytes, parsed) = remote::fetch_config(client, repository, image).await?;
        Ok(Config { bytes: bytes.bytes().to_vec(), parsed, is_here: false })
    }

    /// Makes all layers be there, held or ready for publishing. `is_here`: the store has the image already.
    async fn provide_layers(
        &self,
        client: &Client,
        repository: &Repository,
        image: &RemoteImage,
        layers: &[PlannedLayer],
        is_here: bool,
        progress: &Arc<dyn Progress>,
    ) -> Result<Provided, PullError> {
        let mut held = self.hold_sound_layers(layers).await?;
        // Docker looks at no layer of an image that it has, and so tells of none.
        let is_silent = is_here && held.len() == layers.len();
        for (index, layer) in layers.iter().enumerate().filter(|_| !is_silent) {
            let status = if index < held.len() { Status::AlreadyExists } else { Status::PullingFsLayer };
            progress.layer(&layer.descriptor.digest.short(), &status);
        }
        let mut fetched = Fetched::default();
        if held.len() < layers.len() {
            // All claims are taken in one order, so that two pulls of overlapping images cannot wait for each other.
            let claims = self.claim_blobs(&layers[held.len()..], progress).await?;
            let known = held.len();
            // Whoever had a claim before may have published the layer.
            held = self.hold_sound_layers(layers).await?;
            for layer in &layers[known..held.len()] {
                progress.layer(&layer.descriptor.digest.short(), &Status::PullComplete);
            }
            let missing = &layers[held.len()..];
            if !missing.is_empty() {
                let fetch = Fetch::new(self, client, repository, &image.source, progress);
                fetched = fetch.layers(missing, claims).await?;
            }
        }
        let new = layers[held.len()..].to_vec();
        Ok(Provided { held, new, fetched })
    }

    /// Holds the longest sound stack of layers from the bottom, and returns its members.
    async fn hold_sound_layers(&self, layers: &[PlannedLayer]) -> Result<HeldLayers, HoldError> {
        let chains: Vec<ChainId> = layers.iter().map(|layer| layer.chain_id).collect();
        let hold = move |engine: &Engine| {
            let held = engine.store.hold_layers(&chains)?;
            if let Some(error) = held.damage() {
                tracing::warn!(layer = %chains[held.len()], %error, "a damaged layer is fetched again");
            }
            Ok(held)
        };
        self.blocking(hold).await
    }

    async fn claim_blobs(
        &self,
        layers: &[PlannedLayer],
        progress: &Arc<dyn Progress>,
    ) -> Result<BTreeMap<Digest, BlobClaim>, ClaimError> {
        let digests: BTreeSet<Digest> = layers.iter().map(|layer| layer.descriptor.digest).collect();
        let mut claims = BTreeMap::new();
        for digest in digests {
            claims.insert(digest, self.claim_blob(digest, progress).await?);
        }
        Ok(claims)
    }

    /// Waits until nobody else downloads a blob. It asks again and again, so that the wait can be given up: a thread that
    /// waits in the kernel would keep the program from ending.
    async fn claim_blob(
        &self,
        digest: Digest,
        progress: &Arc<dyn Progress>,
    ) -> Result<BlobClaim, ClaimError> {
        let mut is_told = false;
        loop {
            if let Some(claim) = self.blocking(move |engine| engine.store.try_claim_blob(digest)).await? {
                return Ok(claim);
            }
            if !is_told {
                progress.layer(&digest.short(), &Status::Waiting);
                is_told = true;
            }
            tokio::time::sleep(CLAIM_PAUSE).await;
        }
    }

    /// Publishes the layers, stores the config, sets the digest and the tag, and notes in which repository the layers are;
    /// returns whether one of the names is news.
    fn put_pulled(
        &self,
        reference: &Reference,
        digest: Digest,
        config: &[u8],
        layers: &[PlannedLayer],
        provided: Provided,
    ) -> Result<bool, PullError> {
        let Provided { held, fetched, .. } = provided;
        let repository = reference.repository.familiar();
        let image = ImageId::new(Digest::sha256(config));
        let digest_key = reference.repository.at(digest).familiar();
        let tag_key = reference.familiar();
        let add_digest = ReferenceChange::Digest { name: Name { repository, key: &digest_key }, image };
        let add_tag = ReferenceChange::Tag { name: Name { repository, key: &tag_key }, image };
        let names = if reference.digest.is_some() {
            vec![add_digest]
        } else if self.store.references()?.image(repository, &digest_key).is_some_and(|known| known != image)
        {
            // A digest keeps naming the image that it named first; the tag moves all the same, as in Docker.
            // It happens where a list is pulled for one platform after another.
            tracing::debug!(%digest, "the digest names another image already");
            vec![add_tag]
        } else {
            vec![add_digest, add_tag]
        };
        let full = reference.repository.full();
        let seen =
            layers.iter().map(|layer| (layer.diff_id, V2Metadata::pulled(layer.descriptor.digest, full)));
        let base = held.last().map(|layer| layer.chain_id);
        let published = self.store.publish(Publication {
            layers: NewLayer::stack(base, fetched.layers).collect(),
            // What was here already is noted for the new repository too, as Docker does.
            seen: seen.collect(),
            images: vec![NewImage { config, put: PutImage::default(), names }],
        })?;
        let key = if reference.digest.is_some() { &digest_key } else { &tag_key };
        Ok(published.before.image(repository, key) != Some(image))
    }
}

/// The config of the image that is pulled.
struct Config {
    bytes: Vec<u8>,
    parsed: ImageConfig,
    /// It came from the store, where the image is.
    is_here: bool,
}

/// All layers of an image, from the bottom: those of the store, kept from being deleted, and those that were fetched.
struct Provided {
    held: HeldLayers,
    new: Vec<PlannedLayer>,
    fetched: Fetched,
}

/// Layers that wait for being published, bottom first. Nobody else fetches their blobs before that.
#[derive(Default)]
struct Fetched {
    layers: Vec<FinishedLayer>,
    _claims: Vec<BlobClaim>,
}

/// What all downloads of a pull share.
#[derive(Clone)]
struct Fetch {
    engine: Engine,
    client: Client,
    repository: Repository,
    source: Source,
    progress: Arc<dyn Progress>,
    /// Set by the first layer that finds no room: no partial download stays.
    is_disk_full: Arc<AtomicBool>,
    early_sync: Arc<EarlySync>,
}

/// A blob to fetch and the layers that it becomes; more than one where an image has it twice.
struct Blob {
    descriptor: Descriptor,
    claim: BlobClaim,
    places: Vec<(usize, DiffId)>,
}

/// A blob that became layers; the claim is kept until they are published.
struct FetchedBlob {
    claim: BlobClaim,
    layers: Vec<(usize, FinishedLayer)>,
}

impl Fetch {
    fn new(
        engine: &Engine,
        client: &Client,
        repository: &Repository,
        source: &Source,
        progress: &Arc<dyn Progress>,
    ) -> Fetch {
        Fetch {
            engine: engine.clone(),
            client: client.clone(),
            repository: repository.clone(),
            source: source.clone(),
            progress: Arc::clone(progress),
            is_disk_full: Arc::new(AtomicBool::new(false)),
            early_sync: Arc::new(engine.early_sync()),
        }
    }

    /// Fetches `missing`, all at once.
    async fn layers(
        &self,
        missing: &[PlannedLayer],
        claims: BTreeMap<Digest, BlobClaim>,
    ) -> Result<Fetched, PullError> {
        // The lowest layer comes first: it is the largest most of the time, and each part of the image stands on it.
        let waiting = Arc::new(Mutex::new(VecDeque::from(blobs(missing, claims))));
        let mut downloads = JoinSet::new();
        for _ in 0..DOWNLOADS_MAX.min(missing.len()) {
            let (fetch, waiting) = (self.clone(), Arc::clone(&waiting));
            downloads.spawn(async move {
                let next = || waiting.lock().expect("nobody panics with the lock").pop_front();
                let mut fetched = Vec::new();
                while let Some(blob) = next() {
                    fetched.push(fetch.blob(blob).await?);
                }
                Ok::<_, PullError>(fetched)
            });
        }
        let mut finished: Vec<Option<FinishedLayer>> = missing.iter().map(|_| None).collect();
        let mut claims = Vec::new();
        while let Some(joined) = downloads.join_next().await {
            // The first failure drops the set: the other downloads stop, their layers go, their blobs stay for resuming.
            for blob in joined.expect("a download does not panic")? {
                for (index, layer) in blob.layers {
                    finished[index] = Some(layer);
                }
                claims.push(blob.claim);
            }
        }
        let layers =
            finished.into_iter().map(|layer| layer.expect("each layer is the place of one blob")).collect();
        // The blobs are not needed any more; emptied now, the sync of the layers does not write them out.
        for claim in &mut claims {
            claim.restart()?;
        }
        Ok(Fetched { layers, _claims: claims })
    }

    async fn blob(&self, blob: Blob) -> Result<FetchedBlob, PullError> {
        let Blob { descriptor, mut claim, places } = blob;
        let mut layers = Vec::with_capacity(places.len());
        for (index, diff_id) in places {
            let layer;
            (claim, layer) = self.layer(&descriptor, claim, diff_id).await?;
            layers.push((index, layer));
        }
        Ok(FetchedBlob { claim, layers })
    }

    /// Makes one layer of a blob, of which `claim` may have kept a part, or all.
    async fn layer(
        &self,
        descriptor: &Descriptor,
        mut claim: BlobClaim,
        diff_id: DiffId,
    ) -> Result<(BlobClaim, FinishedLayer), PullError> {
        if claim.length_bytes() > descriptor.size_bytes {
            claim.restart()?;
        }
        loop {
            let kept_bytes = claim.length_bytes();
            let arrived = Arc::new(AtomicBool::new(false));
            let (chunks, receiver) = mpsc::channel(CHUNKS_MAX);
            let unpacking = {
                let fetch = self.clone();
                let descriptor = descriptor.clone();
                let arrived = Arc::clone(&arrived);
                tokio::task::spawn_blocking(move || {
                    let layer = fetch.unpack(&descriptor, &mut claim, receiver, diff_id, &arrived);
                    if layer.as_ref().is_err_and(LayerError::is_disk_full) {
                        fetch.is_disk_full.store(true, Ordering::Relaxed);
                    }
                    // Here, because nobody may be waiting any more for what another layer's failure ended.
                    if layer.is_err() && fetch.is_disk_full.load(Ordering::Relaxed) {
                        let _ = claim.restart();
                    }
                    (claim, layer)
                })
            };
            let received = self.receive(descriptor, kept_bytes, chunks, &arrived).await;
            let layer;
            (claim, layer) = unpacking.await.expect("unpacking does not panic");
            match (received, layer) {
                (Ok(()), Ok(layer)) => return Ok((claim, layer)),
                (Err(error), _) => {
                    // Whatever the layer is: what is too much may come after it was done. Nor are the bytes before it
                    // anything to go on with.
                    if matches!(error, BlobError::TooLong { .. }) {
                        claim.restart()?;
                    }
                    return Err(error.into());
                }
                // What an earlier pull kept may be what is wrong.
                (Ok(()), Err(error)) if error.blames_content() && !error.is_disk_full() => {
                    claim.restart()?;
                    if kept_bytes == 0 {
                        return Err(error.into());
                    }
                }
                (Ok(()), Err(error)) => return Err(error.into()),
            }
        }
    }

    fn unpack(
        &self,
        descriptor: &Descriptor,
        claim: &mut BlobClaim,
        chunks: mpsc::Receiver<bytes::Bytes>,
        diff_id: DiffId,
        arrived: &AtomicBool,
    ) -> Result<FinishedLayer, LayerError> {
        let id = descriptor.digest.short();
        let total = descriptor.size_bytes;
        let on_read = |bytes| {
            if arrived.load(Ordering::Relaxed) {
                self.progress.layer(&id, &Status::Extracting { bytes, total });
            }
        };
        let blob = ArrivingBlob::new(descriptor, claim, chunks, &on_read)?;
        let (limits, early_sync) = (Limits::for_blob(total), Some(&*self.early_sync));
        let options = Unpack { limits, early_sync, ..self.engine.privileges.unpack() };
        unpack_blob(&self.engine.store, blob, diff_id, &options)
    }

    /// Receives the rest of a blob and passes it on.
    async fn receive(
        &self,
        descriptor: &Descriptor,
        kept_bytes: u64,
        chunks: mpsc::Sender<bytes::Bytes>,
        arrived: &AtomicBool,
    ) -> Result<(), BlobError> {
        let id = descriptor.digest.short();
        let total = descriptor.size_bytes;
        if kept_bytes < total {
            let mut bytes = kept_bytes;
            let stream =
                self.client.blob_from(&self.repository, descriptor, kept_bytes, Some(&self.source))?;
            let mut stream = stream.on_event(retry_listener(&self.progress, id.clone()));
            while let Some(chunk) = stream.chunk().await? {
                bytes += chunk.len() as u64;
                // The unpacker went away; it says why.
                if chunks.send(chunk).await.is_err() {
                    return Ok(());
                }
                self.progress.layer(&id, &Status::Downloading { bytes, total });
            }
            self.progress.layer(&id, &Status::VerifyingChecksum);
        }
        self.progress.layer(&id, &Status::DownloadComplete);
        arrived.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Groups layers by their blob, in the order in which the blobs first appear.
fn blobs(layers: &[PlannedLayer], mut claims: BTreeMap<Digest, BlobClaim>) -> Vec<Blob> {
    let mut blobs: Vec<Blob> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let digest = layer.descriptor.digest;
        if let Some(claim) = claims.remove(&digest) {
            let descriptor = layer.descriptor.clone();
            blobs.push(Blob { descriptor, claim, places: vec![(index, layer.diff_id)] });
        } else if let Some(blob) = blobs.iter_mut().find(|blob| blob.descriptor.digest == digest) {
            blob.places.push((index, layer.diff_id));
        }
    }
    blobs
}
