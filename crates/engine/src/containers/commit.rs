//! From what a container wrote to an image.

use std::io;

use jiff::Zoned;
use serde::Serialize;
use shale_oci::{
    ConfigError, Digest, HistoryEntry, ImageConfig, ImageId, Platform, Reference, RootFs, RunConfig,
};
use shale_rootfs::{Pack, PackError, Rootfs, UnpackError, Whiteouts, pack, unpack};
use shale_store::{
    BeginLayerError, DiskError, FinishLayerError, FinishedLayer, Image, ImageMetadataError, Name,
    PublishError, PutImage, PutImageError, RecordError, ReferenceChange,
};

use super::find::FindContainerError;
use super::{Record, create};
use crate::archive::import::{ChangeError, MAKER, change};
use crate::images::find::FindError;
use crate::pipe::pipe;
use crate::{Engine, Privileges};

/// What the new image is to be.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Its name, with its tag.
    pub reference: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// What its history says.
    pub message: String,
    /// Dockerfile instructions that shape its config, in order.
    pub changes: Vec<String>,
    /// What it runs, instead of what the container does; what it leaves open is the container's.
    pub config: Option<RunConfig>,
    /// Whether a running container is let run on meanwhile.
    pub without_pause: bool,
}

/// Why there is no new image. The messages are Docker's where it has them.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The container is not there.
    #[error(transparent)]
    Find(#[from] FindContainerError),
    /// An instruction cannot be applied.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The container's image is not there any more.
    #[error(transparent)]
    Image(#[from] FindError),
    /// The config of the container's image cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The container could not be held still.
    #[error(transparent)]
    Pause(#[from] shale_runtime::ControlError),
    /// What it wrote cannot be opened.
    #[error("could not open the container's files")]
    Open(#[source] io::Error),
    /// What it wrote cannot be read.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// What it wrote cannot be written again.
    #[error("could not write the new layer")]
    Unpack(#[from] UnpackError),
    /// The store has no place for a new layer.
    #[error(transparent)]
    Begin(#[from] BeginLayerError),
    /// The store did not take the layer.
    #[error(transparent)]
    Finish(#[from] FinishLayerError),
    /// The layer could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The config or the name could not be written.
    #[error(transparent)]
    PutImage(#[from] PutImageError),
    /// The time of tagging could not be written.
    #[error(transparent)]
    Metadata(#[from] ImageMetadataError),
    /// The container could not be kept from being removed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The top-level keys in the order of their bytes, as Docker writes them.
///
/// Source: moby `image/image.go` `NewChildImage` at v20.10.24.
#[derive(Serialize)]
struct Document<'a> {
    architecture: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    author: &'a str,
    config: &'a RunConfig,
    container: &'a str,
    container_config: &'a RunConfig,
    created: &'a str,
    docker_version: &'a str,
    history: &'a [HistoryEntry],
    os: &'a str,
    #[serde(rename = "os.features", skip_serializing_if = "<[String]>::is_empty")]
    os_features: &'a [String],
    #[serde(rename = "os.version", skip_serializing_if = "str::is_empty")]
    os_version: &'a str,
    rootfs: &'a RootFs,
    #[serde(skip_serializing_if = "str::is_empty")]
    variant: &'a str,
}

impl Engine {
    /// Makes an image of what the container `text` wrote on top of its own, and names it. Blocks.
    ///
    /// A running container is paused meanwhile, unless asked otherwise.
    ///
    /// # Errors
    /// [`CommitError`]; there is no new image, unless only the time of tagging could not be written.
    ///
    /// Source: moby `daemon/commit.go` at v20.10.24.
    pub fn commit_container(&self, text: &str, commit: &Commit, now: &Zoned) -> Result<ImageId, CommitError> {
        let record = self.find_container(text)?;
        let own = record.config();
        // What a person typed is checked before anything is read.
        let base = commit.config.clone().unwrap_or_else(|| own.clone());
        let config = create::merge(change::apply(base, &commit.changes)?, &own);
        let parent = match record.image() {
            Some(id) => Some(self.load_image(&id.to_string())?),
            None => None,
        };
        let layer = self.commit_layer(&record, commit.without_pause)?;
        let top = parent.as_ref().and_then(Image::top);
        // Held until the image stands on it.
        let published = layer.map(|layer| self.store.publish_layers(top, vec![layer])).transpose()?;
        let mut image = match &parent {
            Some(parent) => ImageConfig::parse(&parent.config)?,
            None => ImageConfig::default(),
        };
        image.rootfs.kind = "layers".to_owned();
        image
            .rootfs
            .diff_ids
            .extend(published.iter().flat_map(|layers| layers.iter()).map(|layer| layer.diff_id));
        let created = now.timestamp().to_string();
        image.history.push(HistoryEntry {
            created: Some(created.clone()),
            author: commit.author.clone(),
            created_by: own.cmd.clone().unwrap_or_default().join(" "),
            comment: commit.message.clone(),
            empty_layer: published.is_none(),
        });
        let bytes = document(&record, &image, &commit.author, &config, &own, &created);
        let put = PutImage { parent: record.image(), built_locally: false };
        let Some(reference) = &commit.reference else {
            return Ok(self.store.put_image(&bytes, put)?);
        };
        let image = ImageId::new(Digest::sha256(&bytes));
        let key = reference.familiar();
        let name = Name { repository: reference.repository.familiar(), key: &key };
        self.store.put_named_image(&bytes, put, &[ReferenceChange::Tag { name, image }])?;
        self.store.set_last_updated(image, now)?;
        Ok(image)
    }

    /// Copies what the container wrote into a layer that is not published yet; `None` when it wrote nothing.
    fn commit_layer(
        &self,
        record: &Record,
        without_pause: bool,
    ) -> Result<Option<FinishedLayer>, CommitError> {
        let gone = || FindContainerError::NoSuchContainer(record.id.clone());
        let running = match self.supervised(&record.id) {
            Some((container, _)) if record.is_running() => Some(container),
            _ => None,
        };
        // Of a container that does not run, nobody changes or removes the files meanwhile.
        let _lock = match running {
            Some(_) => None,
            None => Some(self.store.lock_container(&record.id)?.ok_or_else(gone)?),
        };
        let paused = match &running {
            Some(container) if !without_pause && !container.is_paused().unwrap_or(true) => {
                container.pause()?;
                Some(container)
            }
            _ => None,
        };
        let copied = self.copy_upper(record);
        if let Some(container) = paused {
            container.resume()?;
        }
        copied
    }

    fn copy_upper(&self, record: &Record) -> Result<Option<FinishedLayer>, CommitError> {
        let paths = self
            .mount_paths(&record.id)?
            .ok_or_else(|| FindContainerError::NoSuchContainer(record.id.clone()))?;
        let upper = Rootfs::open(&paths.upper).map_err(CommitError::Open)?;
        let mut writer = self.store.begin_layer()?;
        let target = Rootfs::open(&writer.diff_path()).map_err(CommitError::Open)?;
        let whiteouts = match self.privileges {
            Privileges::Root => Whiteouts::OverlayTrusted,
            Privileges::UserNamespace => Whiteouts::OverlayUser,
        };
        let options = self.privileges.unpack();
        let (mut tar_writer, mut tar_reader) = pipe();
        let (packed, unpacked) = std::thread::scope(|scope| {
            let packing = scope.spawn(move || {
                let packed = pack(&upper, &mut tar_writer, &Pack { whiteouts, ..Pack::default() });
                // A reader that sees an end takes it for the whole layer.
                tar_writer.finish(match &packed {
                    Ok(_) => Ok(()),
                    Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
                });
                packed
            });
            let unpacked = unpack(&target, &mut tar_reader, writer.tar_split(), &options);
            drop(tar_reader);
            (packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), unpacked)
        });
        // Why the packing ended says more than that it did.
        let packed = match packed {
            Err(error @ PackError::Write(_)) => {
                unpacked?;
                return Err(error.into());
            }
            packed => packed?,
        };
        let unpacked = unpacked?;
        if packed.entries == 0 {
            return Ok(None);
        }
        Ok(Some(writer.finish(unpacked.diff_id, unpacked.size_bytes)?))
    }
}

fn document(
    record: &Record,
    image: &ImageConfig,
    author: &str,
    config: &RunConfig,
    container_config: &RunConfig,
    created: &str,
) -> Vec<u8> {
    let host = Platform::host();
    let document = Document {
        architecture: if image.architecture.is_empty() { &host.architecture } else { &image.architecture },
        author,
        config,
        container: &record.id,
        container_config,
        created,
        docker_version: MAKER,
        history: &image.history,
        os: image.os_or_linux(),
        os_features: &image.os_features,
        os_version: &image.os_version,
        rootfs: &image.rootfs,
        variant: &image.variant,
    };
    shale_oci::go_json::to_string(&document).expect("the keys are strings").into_bytes()
}
