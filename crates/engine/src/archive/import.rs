//! From the tar of a file system to an image of one layer.

pub(crate) mod change;

use std::io::{self, Read};

use jiff::Zoned;
use serde::Serialize;
use shale_oci::{Digest, HistoryEntry, ImageId, Platform, Reference, RootFs, RunConfig};
use shale_rootfs::{Rootfs, Unpack, UnpackError, decompress, unpack};
use shale_store::{
    BeginLayerError, FinishLayerError, FinishedLayer, ImageMetadataError, Name, NewImage, NewLayer,
    Publication, PublishImagesError, PutImage, ReferenceChange,
};

use crate::Engine;
use crate::pipe::pipe;
pub use change::ChangeError;

/// What `docker_version` says in images that Shale makes: which program, and which version of it.
pub const MAKER: &str = concat!("shale-", env!("CARGO_PKG_VERSION"));

/// What an imported image is to be.
#[derive(Debug, Clone)]
pub struct Import {
    /// Dockerfile instructions that shape the config, in order.
    pub changes: Vec<String>,
    /// What the history says.
    pub message: String,
    /// What the file system runs on.
    pub platform: Platform,
    /// The name, with its tag.
    pub reference: Option<Reference>,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An instruction cannot be applied.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// Only Linux images can be kept. The message is Docker's.
    #[error("operating system is not supported: {0}")]
    OperatingSystem(String),
    /// The input cannot be read, or not be decompressed.
    #[error("could not read the archive")]
    Read(#[source] io::Error),
    /// The archive cannot be unpacked.
    #[error("could not unpack the archive")]
    Unpack(#[from] UnpackError),
    /// The directory of the new layer cannot be opened.
    #[error("could not open the directory of a new layer")]
    Open(#[source] io::Error),
    /// The store has no place for a new layer.
    #[error(transparent)]
    Begin(#[from] BeginLayerError),
    /// The store did not take the layer.
    #[error(transparent)]
    Finish(#[from] FinishLayerError),
    /// The layer, the config or the name could not be published.
    #[error(transparent)]
    Publish(#[from] PublishImagesError),
    /// The time of tagging could not be written.
    #[error(transparent)]
    Metadata(#[from] ImageMetadataError),
}

/// The config of an imported image, its fields in the order of their names, as dockerd writes it.
///
/// Source: moby `daemon/images/image_import.go` at v28.5.2, and the configs in `fixtures/docker`.
#[derive(Serialize)]
struct Config<'a> {
    architecture: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    comment: &'a str,
    config: &'a RunConfig,
    container_config: RunConfig,
    created: &'a str,
    docker_version: &'a str,
    history: [HistoryEntry; 1],
    os: &'a str,
    rootfs: RootFs,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
}

impl Engine {
    /// Makes an image of the tar that `archive` carries, compressed in any way that Docker reads, and names it. Blocks.
    ///
    /// # Errors
    /// [`ImportError`]; nothing was stored, unless only the time of tagging could not be written.
    pub fn import(
        &self,
        archive: Box<dyn Read + Send + '_>,
        import: &Import,
        now: &Zoned,
    ) -> Result<ImageId, ImportError> {
        // What a person typed is checked before a byte of the archive is read.
        let run_config = change::apply(RunConfig::default(), &import.changes)?;
        if import.platform.os != "linux" {
            return Err(ImportError::OperatingSystem(import.platform.os.clone()));
        }
        let layer = self.import_layer(archive)?;
        let rootfs = RootFs { kind: "layers".to_owned(), diff_ids: vec![layer.diff_id()] };
        let config = config_json(import, &run_config, MAKER, now, rootfs);
        let image = ImageId::new(Digest::sha256(&config));
        let name = import.reference.as_ref().map(|name| (name.repository.familiar(), name.familiar()));
        let names = name
            .iter()
            .map(|(repository, key)| ReferenceChange::Tag { name: Name { repository, key }, image });
        let images = vec![NewImage { config: &config, put: PutImage::default(), names: names.collect() }];
        let layers = vec![NewLayer { parent: None, layer }];
        let _published = self.store.publish(Publication { layers, seen: Vec::new(), images })?;
        if name.is_some() {
            self.store.set_last_updated(image, now)?;
        }
        Ok(image)
    }

    fn import_layer(&self, archive: Box<dyn Read + Send + '_>) -> Result<FinishedLayer, ImportError> {
        let mut writer = self.store.begin_layer()?;
        let root = Rootfs::open(&writer.diff_path()).map_err(ImportError::Open)?;
        let early_sync = self.early_sync();
        let options = Unpack { early_sync: Some(&early_sync), ..self.privileges.unpack() };
        let (pipe_writer, mut pipe_reader) = pipe();
        let unpacked = std::thread::scope(|scope| {
            scope.spawn(move || match decompress(archive) {
                Ok(tar) => pipe_writer.fill_from(tar),
                Err(error) => pipe_writer.finish(Err(error)),
            });
            let unpacked = unpack(&root, &mut pipe_reader, writer.tar_split(), &options);
            drop(pipe_reader);
            unpacked
        })?;
        Ok(writer.finish(unpacked.diff_id, unpacked.size_bytes)?)
    }
}

fn config_json(import: &Import, run_config: &RunConfig, maker: &str, now: &Zoned, rootfs: RootFs) -> Vec<u8> {
    let created = now.timestamp().to_string();
    let config = Config {
        architecture: &import.platform.architecture,
        comment: &import.message,
        config: run_config,
        container_config: RunConfig::default(),
        created: &created,
        docker_version: maker,
        history: [HistoryEntry {
            created: Some(created.clone()),
            comment: import.message.clone(),
            ..HistoryEntry::default()
        }],
        os: &import.platform.os,
        rootfs,
        variant: import.platform.variant.as_deref().filter(|variant| !variant.is_empty()),
    };
    shale_oci::go_json::to_string(&config).expect("the keys are strings").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_that_of_dockerd() {
        // Written by dockerd 28.5.2 for `import --change 'CMD ["/bin/sh"]' --change 'ENV PATH=/bin' -m 'golden base'`.
        let stage = include_str!("../../../../fixtures/docker/28.5.2/stages/1-import.txt");
        let expected = stage
            .lines()
            .find_map(|line| line.strip_suffix("<EOF>").filter(|line| line.starts_with("{\"arch")));
        let import = Import {
            changes: vec!["CMD [\"/bin/sh\"]".to_owned(), "ENV PATH=/bin".to_owned()],
            message: "golden base".to_owned(),
            platform: Platform::new("linux", "amd64", None),
            reference: None,
        };
        let diff_id =
            "sha256:2a618d007ab312722ac37b36490554e0c658a1fd597559ebce9a93b5eb2cda5f".parse().unwrap();
        let rootfs = RootFs { kind: "layers".to_owned(), diff_ids: vec![diff_id] };
        let now = "2026-11-21T23:22:47.914220579+01:00[+01:00]".parse().unwrap();
        let run_config = change::apply(RunConfig::default(), &import.changes).unwrap();
        let config = config_json(&import, &run_config, "28.5.2", &now, rootfs);
        assert_eq!(Some(std::str::from_utf8(&config).unwrap()), expected);
    }
}
