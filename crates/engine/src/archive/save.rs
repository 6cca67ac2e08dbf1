//! From images in the store to an archive that docker, skopeo, podman and containerd load.

mod documents;
mod measure;

use std::collections::BTreeMap;
use std::io::{self, Write};

use shale_oci::{ConfigError, Digest, ImageConfig, ImageId, Platform, Reference, ReferenceError};
use shale_rootfs::{TarEntry, TarWriter};
use shale_store::{
    DiskError, HoldError, Image, ImageError, Layer, References, ReferencesError, ResolveError,
};

use crate::Engine;
use crate::images::hold::HeldImage;
use crate::layer_tar::{LayerTarError, write_layer_tar};
use documents::SavedImage;
pub use measure::MeasureError;

/// Why an archive was not begun; the messages are Docker's where it has one.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// No image of that name.
    #[error("reference does not exist")]
    NoSuchReference,
    /// Nothing of that name or ID.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// The text is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Several IDs begin with the text.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The image is for another platform than the one that was asked for. The message is Docker's, and what it is for.
    #[error(
        "no suitable export target found: image with reference {image} was found but does not provide the specified platform ({wanted}): it is for {found}"
    )]
    Platform {
        /// The image.
        image: ImageId,
        /// What was asked for.
        wanted: Platform,
        /// What it is for.
        found: Platform,
    },
    /// The image is damaged.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The config describes no image.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A layer is damaged, or cannot be kept from being deleted.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// The record of a layer's tar is damaged.
    #[error("layer {layer} is damaged; shale fsck tells more")]
    Measure {
        /// The layer's diff ID.
        layer: Digest,
        /// What is wrong.
        source: MeasureError,
    },
    /// The names could not be read.
    #[error(transparent)]
    References(#[from] ReferencesError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why an archive was not finished; what was written of it is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum WriteArchiveError {
    /// A layer could not be made again as it was.
    #[error(transparent)]
    Layer(#[from] LayerTarError),
    /// The receiver does not take more.
    #[error("could not write the archive")]
    Write(#[from] io::Error),
}

/// An image and the names under which it is saved.
type Named = (ImageId, Vec<Reference>);

/// An archive that is ready to be written; its layers are held against deletion until this is dropped, if the store was
/// opened for writing.
#[must_use = "nothing was written yet"]
pub struct Archive<'e> {
    engine: &'e Engine,
    /// By the hexadecimal digits of their digests, as Docker orders them.
    blobs: BTreeMap<String, Blob>,
    documents: [(&'static str, Vec<u8>); 4],
    mtime_seconds: i64,
    _held: Vec<HeldImage>,
}

enum Blob {
    Document { bytes: Vec<u8>, mtime_seconds: i64 },
    Layer { layer: Box<Layer>, tar_bytes: u64, mtime_seconds: i64 },
}

impl Engine {
    /// Plans one archive of all images that `names` name: references, IDs, or repositories for all of their tags.
    ///
    /// Everything is found out before the first byte is written: only damage of a layer's files can stop the writing, or,
    /// in a store that was opened for looking, somebody who deletes them.
    ///
    /// # Errors
    /// [`SaveError`].
    ///
    /// Source: moby `image/tarexport/save.go` at v28.5.2; where it uses the order of a Go map, the order of `names`
    /// stands here.
    pub fn save(&self, names: &[String], platform: Option<&Platform>) -> Result<Archive<'_>, SaveError> {
        let references = self.store.references()?;
        let mut images: Vec<Named> = Vec::new();
        for name in names {
            for (id, reference) in self.named_images(&references, name)? {
                add(&mut images, id, reference);
            }
        }
        let mut held = Vec::new();
        let mut saved = Vec::new();
        let mut blobs = BTreeMap::new();
        for (id, references) in images {
            let found = self.hold_image::<SaveError>(id)?;
            let found = found.ok_or_else(|| SaveError::NoSuchImage(id.to_string()))?;
            let config = ImageConfig::parse(&found.image.config)?;
            check_platform(id, &config, platform)?;
            saved.push(self.plan_image(found.image.clone(), &config, references, &mut blobs)?);
            held.push(found);
        }
        let mtime_seconds = saved.iter().map(|image| image.created_seconds).max().unwrap_or_default();
        Ok(Archive {
            engine: self,
            blobs,
            documents: [
                ("index.json", documents::index(&saved)),
                ("manifest.json", documents::manifest(&saved)),
                ("oci-layout", documents::OCI_LAYOUT.to_vec()),
                ("repositories", documents::repositories(&saved)),
            ],
            mtime_seconds,
            _held: held,
        })
    }

    /// Returns what one name of the command line means.
    fn named_images(
        &self,
        references: &References,
        name: &str,
    ) -> Result<Vec<(ImageId, Option<Reference>)>, SaveError> {
        let no_such_image = || SaveError::NoSuchImage(name.to_owned());
        let by_id = |id: Option<ImageId>| Ok(vec![(id.ok_or_else(no_such_image)?, None)]);
        if let Ok(digest) = name.parse::<Digest>() {
            return by_id(self.store.image(ImageId::new(digest))?.map(|image| image.id));
        }
        let is_id = name.len() == 64 || name.starts_with("sha256:");
        if is_id && let Some(id) = self.store.resolve_prefix(name)? {
            return by_id(Some(id));
        }
        let reference = Reference::parse(name)?;
        let repository = reference.repository.familiar();
        if !reference.is_name_only() {
            let key = crate::images::find::key(&reference);
            let id = references.image(repository, &key).ok_or(SaveError::NoSuchReference)?;
            // A digest is no name that an archive could give.
            return Ok(vec![(id, reference.digest.is_none().then_some(reference))]);
        }
        let all = references.of_repository(repository);
        if all.is_empty() {
            return by_id(self.store.resolve_prefix(name)?);
        }
        let tagged = |(name, id): (shale_store::Name<'_>, ImageId)| {
            (id, Reference::parse(name.key).ok().filter(|reference| reference.digest.is_none()))
        };
        Ok(all.into_iter().map(tagged).collect())
    }

    fn plan_image(
        &self,
        image: Image,
        config: &ImageConfig,
        references: Vec<Reference>,
        blobs: &mut BTreeMap<String, Blob>,
    ) -> Result<SavedImage, SaveError> {
        let created_seconds = config.created_at().map_or(0, |created| created.as_second());
        let mut layers = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            let digest = layer.diff_id.digest();
            if let Some(Blob::Layer { tar_bytes, .. }) = blobs.get(&digest.hex()) {
                layers.push((digest, *tar_bytes));
                continue;
            }
            let mut tar_split = self.store.open_tar_split(layer)?;
            let tar_bytes = measure::tar_bytes(&mut tar_split)
                .map_err(|source| SaveError::Measure { layer: digest, source })?;
            let blob =
                Blob::Layer { layer: Box::new(layer.clone()), tar_bytes, mtime_seconds: created_seconds };
            blobs.insert(digest.hex(), blob);
            layers.push((digest, tar_bytes));
        }
        let config_digest = image.id.digest();
        let config_bytes = image.config.len() as u64;
        let document = |bytes, mtime_seconds| Blob::Document { bytes, mtime_seconds };
        blobs.insert(config_digest.hex(), document(image.config, created_seconds));
        let manifest = documents::oci_manifest(config_digest, config_bytes, &layers);
        let manifest_digest = Digest::sha256(&manifest);
        let manifest_bytes = manifest.len() as u64;
        blobs.insert(manifest_digest.hex(), document(manifest, 0));
        let parent = image.parent;
        Ok(SavedImage {
            config_digest,
            manifest: (manifest_digest, manifest_bytes),
            layers,
            references,
            parent,
            created_seconds,
        })
    }
}

impl Archive<'_> {
    /// Writes the archive; every layer is checked against its diff ID on the way. Blocks.
    ///
    /// # Errors
    /// [`WriteArchiveError`]; the receiver throws away what it got.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), WriteArchiveError> {
        let mut tar = TarWriter::new(out);
        for directory in [&b"blobs/"[..], b"blobs/sha256/"] {
            tar.header(&TarEntry::directory(directory, self.mtime_seconds))?;
        }
        for (hex, blob) in &self.blobs {
            let name = format!("blobs/sha256/{hex}");
            match blob {
                Blob::Document { bytes, mtime_seconds } => {
                    tar.header(&TarEntry::file(name.as_bytes(), bytes.len() as u64, *mtime_seconds))?;
                    tar.content(bytes)?;
                }
                Blob::Layer { layer, tar_bytes, mtime_seconds } => {
                    tar.header(&TarEntry::file(name.as_bytes(), *tar_bytes, *mtime_seconds))?;
                    write_layer_tar(&self.engine.store, layer, &mut Content(&mut tar), &|_| {})?;
                }
            }
        }
        for (name, bytes) in &self.documents {
            // Without a single tag there are no repositories.
            if !bytes.is_empty() {
                tar.header(&TarEntry::file(name.as_bytes(), bytes.len() as u64, 0))?;
                tar.content(bytes)?;
            }
        }
        Ok(tar.finish()?)
    }
}

/// The content of one member of an archive.
struct Content<'t, 'w>(&'t mut TarWriter<'w>);

impl Write for Content<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.content(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Adds an image once, with each of its names once.
fn add(images: &mut Vec<Named>, id: ImageId, reference: Option<Reference>) {
    let at = images.iter().position(|(known, _)| *known == id).unwrap_or_else(|| {
        images.push((id, Vec::new()));
        images.len() - 1
    });
    let references = &mut images[at].1;
    references.extend(reference.filter(|reference| !references.contains(reference)));
}

fn check_platform(image: ImageId, config: &ImageConfig, wanted: Option<&Platform>) -> Result<(), SaveError> {
    let found = config.platform();
    match wanted {
        Some(wanted) if wanted.choose([Some(&found)].into_iter()).is_none() => {
            Err(SaveError::Platform { image, wanted: wanted.clone(), found })
        }
        _ => Ok(()),
    }
}
