//! From a step's result to an image in the store: its config, byte for byte as the classic builder writes it.
//!
//! Source: builder reference 5; configs of dockerd 20.10.24 for the same Dockerfiles.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use serde::Serialize;
use shale_oci::{Digest, HistoryEntry, ImageConfig, ImageId, Platform, RootFs, RunConfig, go_json};
use shale_rootfs::{Pack, Rootfs, Whiteouts, pack_with_tar_split};
use shale_store::{FinishedLayer, LayerWriter, NewImage, NewLayer, Publication, PutImage};

use crate::build::Builder;
use crate::error::BuildError;
use crate::stage::StageState;

/// The top-level keys in the order of their bytes, as Docker writes them.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    architecture: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    author: &'a str,
    config: &'a RunConfig,
    #[serde(skip_serializing_if = "str::is_empty")]
    container: &'a str,
    container_config: &'a RunConfig,
    created: &'a str,
    docker_version: &'a str,
    history: &'a [HistoryEntry],
    #[serde(skip_serializing_if = "str::is_empty")]
    os: &'a str,
    #[serde(rename = "os.features", skip_serializing_if = "<[String]>::is_empty")]
    os_features: &'a [String],
    #[serde(rename = "os.version", skip_serializing_if = "str::is_empty")]
    os_version: &'a str,
    rootfs: &'a RootFs,
    #[serde(skip_serializing_if = "str::is_empty")]
    variant: &'a str,
}

/// Returns a config as the classic builder writes it.
pub(crate) fn document(config: &ImageConfig) -> String {
    let nothing = RunConfig::default();
    go_json::to_string(&Document {
        architecture: &config.architecture,
        author: &config.author,
        config: config.config.as_ref().unwrap_or(&nothing),
        container: &config.container,
        container_config: config.container_config.as_ref().unwrap_or(&nothing),
        created: config.created.as_deref().unwrap_or_default(),
        docker_version: &config.docker_version,
        history: &config.history,
        os: config.os_or_linux(),
        os_features: &config.os_features,
        os_version: &config.os_version,
        rootfs: &config.rootfs,
        variant: &config.variant,
    })
    .expect("keys of a config are strings")
}

/// What a step leaves.
pub(crate) struct StepResult {
    /// The id of its container, in the words of the config; empty for steps without one.
    pub container: String,
    /// What the cache is asked with.
    pub container_config: RunConfig,
    /// The new layer; `None` when nothing changed.
    pub layer: Option<FinishedLayer>,
}

/// What the store notes of where an image comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lineage {
    /// Built here upon the stage's last image: a later build finds it.
    Step,
    /// Nothing: no build ever takes it for the result of a step.
    None,
}

impl Builder<'_> {
    /// Packs what was changed below `layer`; `None` when nothing was.
    pub(crate) fn pack(&self, mut layer: LayerWriter) -> Result<Option<FinishedLayer>, BuildError> {
        let diff = layer.diff_path();
        let disk = |action, path: &Path, source: io::Error| BuildError::Disk {
            action,
            path: path.to_owned(),
            source,
        };
        if let Some(epoch) = self.options.source_date_epoch {
            clamp_times(&diff, epoch).map_err(|source| disk("set the times below", &diff, source))?;
        }
        let root = Rootfs::open(&diff).map_err(|source| disk("open", &diff, source))?;
        let options = Pack { whiteouts: self.whiteouts, ..Pack::default() };
        let packed = pack_with_tar_split(&root, &mut io::sink(), layer.tar_split(), &options)?;
        if packed.entries == 0 && !self.keeps_empty_layers() {
            return Ok(None);
        }
        Ok(Some(layer.finish(packed.diff_id, packed.size_bytes)?))
    }

    /// Stores an image together with its last layer, where that is new; the names are synced when the build is over.
    ///
    /// Only a finished build is a promise. After a power cut a step is whole or not there.
    pub(crate) fn store(
        &mut self,
        config: &ImageConfig,
        put: PutImage,
        layer: Option<NewLayer>,
    ) -> Result<ImageId, BuildError> {
        let bytes = document(config);
        let image = NewImage { config: bytes.as_bytes(), put, names: Vec::new() };
        let publication = Publication {
            layers: layer.into_iter().collect(),
            images: vec![image],
            ..Publication::default()
        };
        let (published, unsynced) = self.store.publish_unsynced(publication)?;
        // Held until the build is over: other processes may collect garbage meanwhile.
        self.kept.published.push(published.layers);
        self.kept.unsynced.extend(unsynced);
        Ok(ImageId::new(Digest::sha256(bytes.as_bytes())))
    }

    /// Makes durable what was built so far.
    pub(crate) fn sync(&mut self) -> Result<(), BuildError> {
        Ok(self.store.sync_names(std::mem::take(&mut self.kept.unsynced))?)
    }

    /// Stores the image of a step and makes it the stage's own.
    pub(crate) fn commit(&mut self, stage: &mut StageState, step: StepResult) -> Result<(), BuildError> {
        self.store_image(stage, step, Lineage::Step)
    }

    /// Stores the image of a step, with what `lineage` says of where it comes from.
    pub(crate) fn store_image(
        &mut self,
        stage: &mut StageState,
        step: StepResult,
        lineage: Lineage,
    ) -> Result<(), BuildError> {
        let created = self.now();
        let below = stage.top();
        let mut config = std::mem::take(&mut stage.parent);
        config.rootfs.kind = "layers".to_owned();
        config.rootfs.diff_ids.extend(step.layer.as_ref().map(FinishedLayer::diff_id));
        config.history.push(HistoryEntry {
            created: Some(created.clone()),
            author: stage.author.clone(),
            created_by: step.container_config.cmd.clone().unwrap_or_default().join(" "),
            comment: String::new(),
            empty_layer: step.layer.is_none(),
        });
        if config.architecture.is_empty() {
            config.architecture = Platform::host().architecture;
        }
        let is_reproducible = self.options.source_date_epoch.is_some();
        let mut container_config = step.container_config;
        if is_reproducible {
            // The only random words of a config.
            container_config.hostname.clear();
        }
        config.author = stage.author.clone();
        config.config = Some(stage.run.clone());
        config.container = if is_reproducible { String::new() } else { step.container };
        config.container_config = Some(container_config.clone());
        config.created = Some(created.clone());
        config.docker_version = self.options.version.clone();
        let put = match lineage {
            Lineage::Step => PutImage { parent: stage.image, built_locally: true },
            Lineage::None => PutImage::default(),
        };
        let layer = step.layer.map(|layer| NewLayer { parent: below, layer });
        let image = self.store(&config, put, layer)?;
        if lineage == Lineage::Step {
            self.cache().add(stage.image, image, &created, container_config);
            self.claim = None;
        }
        self.enter(stage, image, config);
        Ok(())
    }

    /// Makes `image` the stage's last one.
    pub(crate) fn enter(&self, stage: &mut StageState, image: ImageId, config: ImageConfig) {
        stage.image = Some(image);
        stage.parent = config;
        stage.run.image = image.to_string();
    }

    /// Returns the time for configs, as Go writes it.
    pub(crate) fn now(&self) -> String {
        let now = match self.options.source_date_epoch {
            Some(epoch) => jiff::Timestamp::from_second(epoch).unwrap_or_default(),
            None => jiff::Timestamp::now(),
        };
        now.to_string()
    }
}

/// Returns how deletions look in an upper directory that this process makes.
pub(crate) fn whiteouts_of_process() -> Whiteouts {
    let maps_everyone = std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    if maps_everyone { Whiteouts::OverlayTrusted } else { Whiteouts::OverlayUser }
}

/// Takes every time below `directory` that is later than `epoch` back to it, so that two builds make one layer.
fn clamp_times(directory: &Path, epoch: i64) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            clamp_times(&entry.path(), epoch)?;
        }
        if metadata.mtime() > epoch {
            let time = Timespec { tv_sec: epoch, tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(CWD, entry.path(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}
