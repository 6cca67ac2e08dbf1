//! Looking for damage, item by item.
//!
//! Promise: changes nothing, and finds every kind of damage that makes Docker hide or refuse something, short of
//! comparing the files of a layer with its tar-split record, which is the engine's part.

use std::io;
use std::path::PathBuf;

use shale_oci::{ChainId, ImageId};

use crate::durable::{self, DiskError};
use crate::gc::{Garbage, GcItem};
use crate::images::{ImageError, StoredImage};
use crate::layers::{self, Index, LayerDamage, LayerError};
use crate::references::{self, ReferencesError};
use crate::{Store, mounts};

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Only space is lost; gc frees it.
    Leftover,
    /// Docker goes on, but something is not as it should be.
    Warning,
    /// An image, or all of them, cannot be used as it should.
    Damage,
}

/// One thing that is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// Something else lies where a directory of the store should.
    #[error("{} is no directory", .path.display())]
    Directory {
        /// Where.
        path: PathBuf,
    },
    /// The names of all images are lost; dockerd does not start.
    #[error(transparent)]
    Names(ReferencesError),
    /// A name points at an image that is not there, or at nothing.
    #[error("{key} names an image that is not in the store")]
    NameWithoutImage {
        /// The repository.
        repository: String,
        /// The reference.
        key: String,
        /// The image that is not there; `None` when the name points at nothing.
        image: Option<ImageId>,
    },
    /// A name is not in familiar form; Docker lists it and then cannot find it.
    #[error("{key}, of the repository {repository}, is not in the form in which Docker looks names up")]
    NameNotFamiliar {
        /// The repository.
        repository: String,
        /// The reference.
        key: String,
    },
    /// An image cannot be used.
    #[error(transparent)]
    Image(ImageError),
    /// The image that this one was built upon is not there; Docker does not mind.
    #[error("image {id} was built upon image {parent}, which is not in the store")]
    ImageParent {
        /// The image.
        id: ImageId,
        /// The missing one.
        parent: ImageId,
    },
    /// A layer cannot be loaded.
    #[error(transparent)]
    Layer(LayerError),
    /// A layer can be loaded, but not mounted or packed.
    #[error(transparent)]
    LayerDamage(LayerDamage),
    /// The tar-split record is no gzip stream; the layer cannot be pushed or saved.
    #[error("the tar-split record of layer {chain} cannot be inflated")]
    TarSplit {
        /// The layer.
        chain: ChainId,
        /// What the inflater said.
        source: io::Error,
    },
    /// A container's files are damaged or its layer is not there.
    #[error("the layers of container {name} are damaged")]
    Container {
        /// The container's id.
        name: String,
    },
    /// Nothing needs it.
    #[error("{}", describe(.0))]
    Leftover(GcItem),
}

impl Finding {
    /// Returns a word for the kind of finding, which never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Finding::Directory { .. } => "directory-damaged",
            Finding::Names(_) => "names-damaged",
            Finding::NameWithoutImage { .. } => "name-without-image",
            Finding::NameNotFamiliar { .. } => "name-not-familiar",
            Finding::Image(ImageError::Content { .. }) => "image-content",
            Finding::Image(ImageError::Config { .. }) => "image-config",
            Finding::Image(ImageError::OperatingSystem { .. }) => "image-operating-system",
            Finding::Image(ImageError::LayerMissing { .. }) => "image-layer-missing",
            Finding::Image(ImageError::Layer { .. }) => "image-layer-damaged",
            Finding::Image(ImageError::Disk(_)) => "image-unreadable",
            Finding::ImageParent { .. } => "image-parent-missing",
            Finding::Layer(LayerError::DiffId { .. }) => "layer-diff-id",
            Finding::Layer(LayerError::Size { .. }) => "layer-size",
            Finding::Layer(LayerError::CacheId { .. }) => "layer-cache-id",
            Finding::Layer(LayerError::Parent { .. }) => "layer-parent",
            Finding::Layer(LayerError::Descriptor { .. }) => "layer-descriptor",
            Finding::Layer(LayerError::BrokenParent { .. }) => "layer-parent-damaged",
            Finding::Layer(LayerError::Disk(_)) => "layer-unreadable",
            Finding::LayerDamage(LayerDamage::Diff { .. }) => "layer-directory-missing",
            Finding::LayerDamage(LayerDamage::LinkFile { .. }) => "layer-link-file",
            Finding::LayerDamage(LayerDamage::Link { .. }) => "layer-link",
            Finding::LayerDamage(LayerDamage::Lower { .. }) => "layer-lower",
            Finding::LayerDamage(LayerDamage::TarSplit { .. }) => "layer-tar-split-missing",
            Finding::LayerDamage(LayerDamage::ChainId { .. }) => "layer-chain-id",
            Finding::LayerDamage(LayerDamage::Parent { .. }) => "layer-parent-damaged",
            Finding::LayerDamage(LayerDamage::Disk(_)) => "layer-unreadable",
            Finding::TarSplit { .. } => "layer-tar-split-damaged",
            Finding::Container { .. } => "container-layers",
            Finding::Leftover(item) => match item.garbage {
                Garbage::Layer(_) => "leftover-layer",
                Garbage::UnfinishedRemoval(_) => "leftover-removal",
                Garbage::OverlayDirectory(_) => "leftover-directory",
                Garbage::Link(_) => "leftover-link",
                Garbage::Unpublished(_) => "leftover-unpublished",
                Garbage::UnfinishedLayer(_) => "leftover-unfinished-layer",
                Garbage::ImageMetadata(_) => "leftover-image-metadata",
                Garbage::Download(_) => "leftover-download",
            },
        }
    }

    /// Returns how bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Finding::Leftover(_) => Severity::Leftover,
            Finding::NameWithoutImage { .. }
            | Finding::ImageParent { .. }
            | Finding::Image(ImageError::OperatingSystem { .. }) => Severity::Warning,
            _ => Severity::Damage,
        }
    }

    /// Returns the layer that a new copy would heal, if that would help.
    pub fn layer(&self) -> Option<ChainId> {
        match self {
            Finding::Layer(
                LayerError::DiffId { chain }
                | LayerError::Size { chain }
                | LayerError::CacheId { chain }
                | LayerError::Parent { chain }
                | LayerError::Descriptor { chain }
                | LayerError::BrokenParent { chain, .. },
            )
            | Finding::LayerDamage(
                LayerDamage::Diff { chain, .. }
                | LayerDamage::LinkFile { chain }
                | LayerDamage::Link { chain, .. }
                | LayerDamage::Lower { chain }
                | LayerDamage::TarSplit { chain }
                | LayerDamage::ChainId { chain }
                | LayerDamage::Parent { chain, .. },
            )
            | Finding::TarSplit { chain, .. }
            | Finding::Image(ImageError::LayerMissing { chain, .. }) => Some(*chain),
            _ => None,
        }
    }
}

fn describe(item: &GcItem) -> String {
    match &item.garbage {
        Garbage::Layer(chain) => format!("no image needs layer {chain}"),
        Garbage::UnfinishedRemoval(name) => format!("the deletion of layer {name} was not finished"),
        Garbage::OverlayDirectory(name) => format!("no layer names the directory overlay2/{name}"),
        Garbage::Link(link) => format!("the link overlay2/l/{link} leads nowhere"),
        Garbage::Unpublished(path) => format!("{} was never published", path.display()),
        Garbage::UnfinishedLayer(cache_id) => format!("the layer in overlay2/{cache_id} was not finished"),
        Garbage::ImageMetadata(name) => format!("there is metadata of the image {name}, which is gone"),
        Garbage::Download(digest) => format!("a part of the blob {digest} is left of a download"),
    }
}

impl Store {
    /// Checks names, images, layers and containers, and lists what nothing needs.
    ///
    /// Reads every config and inflates every tar-split record; the files of layers are not read. Open the store with
    /// [`Store::open_damaged`] to get a verdict also when its names are damaged.
    ///
    /// # Errors
    /// [`DiskError`] when a directory cannot be listed.
    pub fn fsck(&self) -> Result<Vec<Finding>, DiskError> {
        let mut findings = self.check_directories();
        if !findings.is_empty() {
            // All else would only say that what should be in them is not there.
            return Ok(findings);
        }
        self.check_names(&mut findings)?;
        self.check_images(&mut findings)?;
        self.check_layers(&mut findings)?;
        self.check_containers(&mut findings)?;
        findings.extend(self.garbage()?.items.into_iter().map(Finding::Leftover));
        Ok(findings)
    }

    fn check_directories(&self) -> Vec<Finding> {
        let found = |path: &PathBuf| durable::metadata(path).is_ok_and(|there| there.is_some());
        // A link to a directory is one, as for Docker.
        let damaged = self.layout.directories().filter(|path| found(path) && !path.is_dir());
        damaged.map(|path| Finding::Directory { path }).collect()
    }

    fn check_names(&self, findings: &mut Vec<Finding>) -> Result<(), DiskError> {
        let references = match references::read(&self.layout) {
            Ok(references) => references,
            Err(error) => {
                findings.push(Finding::Names(error));
                return Ok(());
            }
        };
        for (name, image) in references.texts() {
            let (repository, key) = (name.repository.to_owned(), name.key.to_owned());
            let image = image.parse::<ImageId>().ok();
            let exists = match image {
                Some(image) => durable::metadata(&self.layout.content(image))?.is_some(),
                None => false,
            };
            if !name.is_familiar() {
                findings.push(Finding::NameNotFamiliar { repository, key });
            } else if !exists {
                findings.push(Finding::NameWithoutImage { repository, key, image });
            }
        }
        Ok(())
    }

    fn check_images(&self, findings: &mut Vec<Finding>) -> Result<(), DiskError> {
        for StoredImage { id, image } in self.images()? {
            match image {
                Ok(image) => {
                    if let Some(parent) = image.parent
                        && durable::metadata(&self.layout.content(parent))?.is_none()
                    {
                        findings.push(Finding::ImageParent { id, parent });
                    }
                }
                Err(error) => findings.push(Finding::Image(error)),
            }
        }
        Ok(())
    }

    fn check_layers(&self, findings: &mut Vec<Finding>) -> Result<(), DiskError> {
        let mut index = Index::new(&self.layout);
        let mut chains = layers::chains(&self.layout)?;
        chains.sort_unstable();
        for chain in chains {
            let layer = match index.load(chain) {
                Ok(Some(layer)) => layer,
                // Deleted since the directory was listed.
                Ok(None) => continue,
                Err(error) => {
                    findings.push(Finding::Layer(error));
                    continue;
                }
            };
            let damages = layers::damages(&self.layout, &layer);
            let has_tar_split = !damages.iter().any(|damage| matches!(damage, LayerDamage::TarSplit { .. }));
            findings.extend(damages.into_iter().map(Finding::LayerDamage));
            if has_tar_split {
                let inflated = self
                    .open_tar_split(&layer)
                    .map_err(|error| io::Error::new(error.kind(), error))
                    .and_then(|mut lines| io::copy(&mut lines, &mut io::sink()));
                findings.extend(inflated.err().map(|source| Finding::TarSplit { chain, source }));
            }
        }
        Ok(())
    }

    fn check_containers(&self, findings: &mut Vec<Finding>) -> Result<(), DiskError> {
        let damaged = mounts::damaged(&self.layout)?;
        findings.extend(damaged.iter().cloned().map(|name| Finding::Container { name }));
        for mount in self.mounts()? {
            let Some(parent) = mount.parent else { continue };
            if !damaged.contains(&mount.name) && !matches!(self.find_layer(parent), Ok(Some(_))) {
                findings.push(Finding::Container { name: mount.name });
            }
        }
        Ok(())
    }
}
