//! Layers, configs and names that become visible in one commit.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use shale_oci::{ChainId, DiffId, Digest, ImageId};

use super::{PutImage, PutImageError, read};
use crate::Store;
use crate::distribution::{self, Noting, V2Metadata};
use crate::durable::{self, Batch, DiskError, SyncPoint};
use crate::layers::{self, Index, LayerPlan, NewLayer, PublishError, PublishedLayers};
use crate::lock::AccessError;
use crate::references::{self, ChangeReferencesError, ReferenceChange, References};
use crate::staging::StagingPlace;

/// So many small files are synced one by one where no layer comes with them; more are cheaper with all else on the disk.
const FILES_SYNCED_SINGLY_MAX: usize = 8;

/// What [`Store::publish`] makes visible.
#[derive(Debug, Default)]
pub struct Publication<'a> {
    /// The new layers, each after the one that it stands on.
    pub layers: Vec<NewLayer>,
    /// Where layers, new ones or others, were seen as blobs.
    pub seen: Vec<(DiffId, V2Metadata)>,
    /// The images, of which all layers are in the store or among the new ones.
    pub images: Vec<NewImage<'a>>,
}

/// When the names of a [`Publication`] are synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Now,
    Later,
}

/// Names that a power cut may still take away.
#[derive(Debug, Default)]
#[must_use = "a power cut may take these names away until they are synced"]
pub struct UnsyncedNames {
    directories: BTreeSet<PathBuf>,
}

impl UnsyncedNames {
    /// Takes others in, to be synced together.
    pub fn extend(&mut self, others: UnsyncedNames) {
        self.directories.extend(others.directories);
    }
}

/// An image of a [`Publication`].
#[derive(Debug)]
pub struct NewImage<'a> {
    /// The config, byte for byte.
    pub config: &'a [u8],
    /// What is noted beside it.
    pub put: PutImage,
    /// Names to change with it.
    pub names: Vec<ReferenceChange<'a>>,
}

/// What a [`Publication`] became.
#[must_use = "layers that no image uses may be deleted as soon as this is dropped"]
#[derive(Debug)]
pub struct Published {
    /// The new layers, in their order.
    pub layers: PublishedLayers,
    /// All names as they were before; none where none was to be changed.
    pub before: References,
}

/// Why [`Store::publish`] published nothing, or not all.
#[derive(Debug, thiserror::Error)]
pub enum PublishImagesError {
    /// The layers could not be published, or the disk failed; what came before the failure may be there.
    #[error(transparent)]
    Layers(#[from] PublishError),
    /// A config or a name is wrong; nothing was published, unless the disk failed.
    #[error(transparent)]
    Image(#[from] PutImageError),
}

impl From<DiskError> for PublishImagesError {
    fn from(error: DiskError) -> PublishImagesError {
        PublishError::Disk(error).into()
    }
}

impl From<AccessError> for PublishImagesError {
    fn from(error: AccessError) -> PublishImagesError {
        PublishError::Access(error).into()
    }
}

impl From<ChangeReferencesError> for PublishImagesError {
    fn from(error: ChangeReferencesError) -> PublishImagesError {
        PutImageError::from(error).into()
    }
}

/// A config that was read as far as its layers.
struct ReadImage<'p, 'a> {
    id: ImageId,
    diff_ids: Vec<DiffId>,
    new: &'p NewImage<'a>,
}

/// Everything that was worked out from a look at the store, and written where nobody sees it.
struct Stage {
    layers: LayerPlan,
    noting: Noting,
    /// Images whose configs were there already, whole.
    present: Vec<ImageId>,
    /// Directories that the batch needs.
    directories: Vec<PathBuf>,
    batch: Batch,
    before: References,
    /// `repositories.json`, if it changes.
    names: Batch,
    // Last: the files in it go before it.
    _place: Option<StagingPlace>,
}

impl Store {
    /// Makes layers, configs and names visible, in this order and in one commit.
    ///
    /// All files are synced at once, then renamed under the lock, and the names are synced before anybody else has the
    /// lock; so a power cut leaves each layer and each config whole or absent, and none without what it stands on. What
    /// somebody else published meanwhile is taken instead of ours; a broken directory of a layer's name is replaced.
    /// What is there already, byte for byte, is not written again.
    ///
    /// # Errors
    /// [`PublishImagesError`]. New layers that were not published are removed.
    pub fn publish(&self, publication: Publication<'_>) -> Result<Published, PublishImagesError> {
        Ok(self.publish_names(publication, Names::Now)?.0)
    }

    /// As [`Store::publish`], but the names are on the disk only after [`Store::sync_names`].
    ///
    /// What they name is there before they appear. A power cut takes the last ones first, because file systems keep the
    /// order of renames: none is left without what it stands on.
    ///
    /// # Errors
    /// As [`Store::publish`].
    pub fn publish_unsynced(
        &self,
        publication: Publication<'_>,
    ) -> Result<(Published, UnsyncedNames), PublishImagesError> {
        self.publish_names(publication, Names::Later)
    }

    fn publish_names(
        &self,
        publication: Publication<'_>,
        names: Names,
    ) -> Result<(Published, UnsyncedNames), PublishImagesError> {
        self.check_writable()?;
        let Publication { mut layers, seen, images } = publication;
        let images = images.iter().map(read_image).collect::<Result<Vec<_>, _>>()?;
        loop {
            let stage = self.stage(&layers, &seen, &images)?;
            let commit = self.commit()?;
            // Somebody else may have published, deleted or repaired since we looked; then what we wrote is wrong.
            if !self.is_still_true(&stage, &layers)? {
                continue;
            }
            self.check_complete(&images, &layers)?;
            let mut removals = Vec::new();
            let published = self.make_visible(stage, &mut layers, &images, names, &mut removals);
            drop(commit);
            // Layers that lost to somebody else's, and what was left of broken ones; both without the lock.
            drop(layers);
            if published.is_ok() {
                // What stays is found and told by the next open; the images are stored all the same.
                let _ = layers::finish_removals(&self.layout, removals);
            }
            return published;
        }
    }

    /// Makes names durable that [`Store::publish_unsynced`] left to be synced.
    ///
    /// # Errors
    /// [`DiskError`]; the names are there, and may go with the power.
    pub fn sync_names(&self, names: UnsyncedNames) -> Result<(), DiskError> {
        let directories: Vec<PathBuf> = names.directories.into_iter().collect();
        if directories.len() > FILES_SYNCED_SINGLY_MAX {
            return durable::sync_filesystems(&[&SyncPoint::open(&self.layout.staging())?]);
        }
        // An image may have been removed meanwhile, with the directory of its metadata.
        directories.iter().try_for_each(|directory| durable::sync_file_if_there(directory))
    }

    /// Writes all files and waits until they are on the disk.
    fn stage(
        &self,
        layers: &[NewLayer],
        seen: &[(DiffId, V2Metadata)],
        images: &[ReadImage<'_, '_>],
    ) -> Result<Stage, PublishImagesError> {
        let layout = &self.layout;
        let staging = SyncPoint::open(&layout.staging())?;
        let plan = layers::plan(layout, layers)?;
        layers::write_positions(layout, &plan, layers)?;
        let noting = distribution::note(layout, seen)?;
        let mut files: Vec<(PathBuf, &[u8], u32)> = Vec::new();
        for (path, content) in &noting.files {
            files.push((path.clone(), content.as_bytes(), distribution::FILE_MODE));
        }
        let mut present = Vec::new();
        for image in images {
            let path = layout.content(image.id);
            if durable::read(&path)?.as_deref() == Some(image.new.config) {
                present.push(image.id);
            } else if !files.iter().any(|(known, ..)| *known == path) {
                files.push((path, image.new.config, 0o600));
            }
        }
        let mut directories = Vec::new();
        let notes: Vec<_> = images
            .iter()
            .flat_map(|image| {
                image.new.put.files().map(|(key, value)| (layout.metadata(image.id), key, value))
            })
            .collect();
        for (directory, key, value) in &notes {
            let path = directory.join(key);
            if durable::read(&path)?.as_deref() != Some(value.as_slice()) {
                directories.push(directory.clone());
                files.push((path, value, 0o600));
            }
        }
        let before = self.names_before(images)?;
        let after = before.changed(changes(images))?;
        let place = match files.is_empty() && after == before {
            true => None,
            false => Some(StagingPlace::make(layout)?),
        };
        let directory = place.as_ref().map_or_else(|| layout.staging(), |place| place.path().to_owned());
        let (mut batch, mut names) = (Batch::new(directory.clone()), Batch::new(directory));
        for (path, content, mode) in files {
            batch.stage_unsynced(path, content, mode)?;
        }
        if after != before {
            names.stage_unsynced(layout.repositories(), after.encode().as_bytes(), 0o600)?;
        }
        if layers.is_empty() && batch.len() <= FILES_SYNCED_SINGLY_MAX {
            batch.sync_each()?;
            names.sync_each()?;
        } else {
            let points = layers.iter().map(|new| new.layer.sync_point());
            durable::sync_filesystems(&points.chain([&staging]).collect::<Vec<_>>())?;
        }
        Ok(Stage { layers: plan, noting, present, directories, batch, before, names, _place: place })
    }

    /// Reads the names, if any is to be changed.
    fn names_before(&self, images: &[ReadImage<'_, '_>]) -> Result<References, PublishImagesError> {
        match changes(images).next() {
            Some(_) => Ok(references::read(&self.layout).map_err(ChangeReferencesError::from)?),
            None => Ok(References::default()),
        }
    }

    fn is_still_true(&self, stage: &Stage, layers: &[NewLayer]) -> Result<bool, PublishImagesError> {
        for image in &stage.present {
            if durable::metadata(&self.layout.content(*image))?.is_none() {
                return Ok(false);
            }
        }
        Ok(layers::plan(&self.layout, layers)? == stage.layers
            && distribution::still_true(&self.layout, &stage.noting)?)
    }

    /// Finds all layers of all images, and the images of all names; the caller holds the lock, so nobody takes them away.
    fn check_complete(&self, images: &[ReadImage<'_, '_>], layers: &[NewLayer]) -> Result<(), PutImageError> {
        let mut found: HashSet<ChainId> = layers.iter().map(NewLayer::chain_id).collect();
        let mut index = Index::new(&self.layout);
        for chain in images.iter().flat_map(|image| ChainId::stack(&image.diff_ids)) {
            if found.insert(chain) {
                match index.load(chain) {
                    Ok(Some(_)) => {}
                    Ok(None) => return Err(PutImageError::LayerMissing(chain)),
                    Err(error) => return Err(PutImageError::Layer(error)),
                }
            }
        }
        let new: HashSet<ImageId> = images.iter().map(|image| image.id).collect();
        let others =
            changes(images).filter(|change| change.image().is_none_or(|image| !new.contains(&image)));
        Ok(references::check_images(&self.layout, others)?)
    }

    /// Renames everything into place, what others stand on first, and syncs the names; the caller holds the lock.
    fn make_visible(
        &self,
        mut stage: Stage,
        new: &mut [NewLayer],
        images: &[ReadImage<'_, '_>],
        names: Names,
        removals: &mut Vec<layers::Removal>,
    ) -> Result<(Published, UnsyncedNames), PublishImagesError> {
        let layout = &self.layout;
        let before = self.names_before(images)?;
        if before != stage.before {
            // Somebody else changed names meanwhile; ours are added to theirs.
            stage.names = Batch::new(layout.staging());
            let after = before.changed(changes(images))?;
            if after != before {
                stage.names.stage_synced(layout.repositories(), after.encode().as_bytes(), 0o600)?;
            }
        }
        let mut directories = Vec::new();
        let layers = layers::name(layout, &stage.layers, new, &mut directories, removals)?;
        for directory in &stage.directories {
            durable::ensure_dir(directory, 0o700)?;
        }
        if !stage.directories.is_empty() {
            directories.push(layout.metadata_of_images());
        }
        stage.batch.rename(&mut directories)?;
        stage.names.rename(&mut directories)?;
        let mut unsynced = UnsyncedNames::default();
        match names {
            Names::Now => durable::sync_dirs(&directories)?,
            Names::Later => unsynced.directories.extend(directories),
        }
        Ok((Published { layers, before }, unsynced))
    }
}

fn read_image<'p, 'a>(new: &'p NewImage<'a>) -> Result<ReadImage<'p, 'a>, PublishImagesError> {
    references::check_names(&new.names)?;
    let id = ImageId::new(Digest::sha256(new.config));
    let diff_ids = read::parse_config(id, new.config).map_err(PutImageError::Image)?;
    Ok(ReadImage { id, diff_ids, new })
}

fn changes<'i>(images: &'i [ReadImage<'_, '_>]) -> impl Iterator<Item = &'i ReferenceChange<'i>> {
    images.iter().flat_map(|image| &image.new.names)
}
