//! Reading and finding images.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;
use shale_oci::{ChainId, DiffId, Digest, ImageId};

use super::{Image, ImageError, StoredImage, metadata};
use crate::Store;
use crate::durable::{self, DiskError};
use crate::layers::{Index, LayerError};
use crate::layout::Layout;

/// Fewer images are read sooner than a thread is started.
const IMAGES_A_THREAD: usize = 16;

/// Why a prefix names no single image.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Several images begin so.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Store {
    /// Returns the image `id`; `None` when the store has none of that name.
    ///
    /// # Errors
    /// [`ImageError`] when it is there but cannot be used; Docker then does not list it.
    pub fn image(&self, id: ImageId) -> Result<Option<Image>, ImageError> {
        match load(&self.layout, &mut Index::new(&self.layout), id, None) {
            // An image that is being deleted loses its config before its layers.
            Err(_) if durable::metadata(&self.layout.content(id)).is_ok_and(|there| there.is_none()) => {
                Ok(None)
            }
            loaded => loaded,
        }
    }

    /// Returns the config of the image `id`, byte for byte, also when its layers are not there; `None` when the store has
    /// none of that name.
    ///
    /// # Errors
    /// [`ImageError`] when the bytes are not those that the name says, or describe no image.
    pub fn image_config(&self, id: ImageId) -> Result<Option<Vec<u8>>, ImageError> {
        Ok(read_content(&self.layout, id)?.map(|content| content.config))
    }

    /// Returns every image that is there, with what is wrong with it if anything is, in the order of their IDs.
    ///
    /// # Errors
    /// [`DiskError`] when the directory cannot be listed.
    pub fn images(&self) -> Result<Vec<StoredImage>, DiskError> {
        let with_metadata: HashSet<String> =
            durable::names(&self.layout.metadata_of_images())?.into_iter().collect();
        let ids = ids(&self.layout)?;
        // Small files by the thousand: reading them is all system calls, which processors do side by side.
        let threads =
            std::thread::available_parallelism().map_or(1, usize::from).min(ids.len() / IMAGES_A_THREAD);
        let share = ids.len().div_ceil(threads.max(1)).max(1);
        let load = |ids: &[ImageId]| load_all(&self.layout, ids, &with_metadata);
        let mut images = std::thread::scope(|scope| {
            let mut shares = ids.chunks(share);
            let first = shares.next().unwrap_or_default();
            let others: Vec<_> = shares.map(|ids| scope.spawn(move || load(ids))).collect();
            let mut images = load(first)?;
            for thread in others {
                images.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok::<_, DiskError>(images)
        })?;
        images.sort_by_key(|stored| stored.id);
        Ok(images)
    }

    /// Returns the IDs of all images that are there, usable or not, in no order.
    ///
    /// # Errors
    /// [`DiskError`] when the directory cannot be listed.
    pub fn image_ids(&self) -> Result<Vec<ImageId>, DiskError> {
        ids(&self.layout)
    }

    /// Returns the only image whose ID begins with `prefix`, with or without `sha256:` before it.
    ///
    /// Images that Docker would not list count only when no other matches.
    ///
    /// # Errors
    /// [`ResolveError::Ambiguous`] when several usable images match.
    pub fn resolve_prefix(&self, prefix: &str) -> Result<Option<ImageId>, ResolveError> {
        let digits = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if digits.is_empty() || !digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(None);
        }
        let mut found: Vec<_> = Vec::new();
        for name in durable::names(&self.layout.contents())? {
            if name.starts_with(digits) {
                found.extend(format!("sha256:{name}").parse::<ImageId>());
            }
        }
        if found.len() > 1 {
            let mut index = Index::new(&self.layout);
            found.retain(|id| matches!(load(&self.layout, &mut index, *id, Some(false)), Ok(Some(_))));
        }
        match found[..] {
            [] => Ok(None),
            [id] => Ok(Some(id)),
            _ => Err(ResolveError::Ambiguous(prefix.to_owned())),
        }
    }
}

/// Lists the images that have a content file, in no order.
pub(crate) fn ids(layout: &Layout) -> Result<Vec<ImageId>, DiskError> {
    let names = durable::names(&layout.contents())?;
    Ok(names.iter().filter_map(|name| format!("sha256:{name}").parse().ok()).collect())
}

/// A config whose digest is its name, and the layers it asks for.
pub(crate) struct Content {
    pub(crate) config: Vec<u8>,
    pub(crate) diff_ids: Vec<DiffId>,
}

impl Content {
    /// Returns the chain ID of the top layer.
    pub(crate) fn top(&self) -> Option<ChainId> {
        ChainId::stack(&self.diff_ids).pop()
    }
}

/// Reads a config and what it says about layers; `None` when it is not there.
pub(crate) fn read_content(layout: &Layout, id: ImageId) -> Result<Option<Content>, ImageError> {
    let Some(config) = durable::read(&layout.content(id))? else { return Ok(None) };
    if Digest::of(id.digest().algorithm(), &config) != id.digest() {
        return Err(ImageError::Content { id });
    }
    let diff_ids = parse_config(id, &config)?;
    Ok(Some(Content { config, diff_ids }))
}

/// Checks a config as Docker does when it restores an image, and returns its diff IDs.
pub(crate) fn parse_config(id: ImageId, config: &[u8]) -> Result<Vec<DiffId>, ImageError> {
    #[derive(Deserialize)]
    struct Config<'a> {
        #[serde(borrow)]
        rootfs: Option<&'a RawValue>,
        #[serde(default)]
        os: Option<String>,
    }
    #[derive(Deserialize)]
    struct Rootfs {
        #[serde(default)]
        diff_ids: Option<Vec<DiffId>>,
    }
    let invalid = |error: serde_json::Error| ImageError::Config { id, reason: error.to_string() };
    // serde takes a list for a struct, Go does not.
    let is_object = |json: &[u8]| json.trim_ascii().first() == Some(&b'{');
    if !is_object(config) {
        return Err(ImageError::Config { id, reason: "it is no JSON object".to_owned() });
    }
    let config: Config<'_> = serde_json::from_slice(config).map_err(invalid)?;
    let Some(rootfs) = config.rootfs else {
        return Err(ImageError::Config { id, reason: "it has no rootfs".to_owned() });
    };
    if !is_object(rootfs.get().as_bytes()) {
        return Err(ImageError::Config { id, reason: "its rootfs is no JSON object".to_owned() });
    }
    let rootfs: Rootfs = serde_json::from_str(rootfs.get()).map_err(invalid)?;
    match config.os {
        Some(os) if !os.is_empty() && !os.eq_ignore_ascii_case("linux") => {
            Err(ImageError::OperatingSystem { id, os })
        }
        _ => Ok(rootfs.diff_ids.unwrap_or_default()),
    }
}

/// Loads images, with what is wrong with them; those that were deleted since they were listed are left out.
fn load_all(
    layout: &Layout,
    ids: &[ImageId],
    with_metadata: &HashSet<String>,
) -> Result<Vec<StoredImage>, DiskError> {
    let mut index = Index::new(layout);
    let mut images = Vec::with_capacity(ids.len());
    for &id in ids {
        let has_metadata = with_metadata.contains(&id.hex());
        match load(layout, &mut index, id, Some(has_metadata)) {
            Ok(Some(image)) => images.push(StoredImage { id, image: Ok(image) }),
            Ok(None) => {}
            // An image that is being deleted loses its config before its layers.
            Err(_) if durable::metadata(&layout.content(id))?.is_none() => {}
            Err(error) => images.push(StoredImage { id, image: Err(error) }),
        }
    }
    Ok(images)
}

/// Loads an image; `has_metadata` saves looking for a directory that is known to be absent.
pub(super) fn load(
    layout: &Layout,
    index: &mut Index<'_>,
    id: ImageId,
    has_metadata: Option<bool>,
) -> Result<Option<Image>, ImageError> {
    let Some(Content { config, diff_ids }) = read_content(layout, id)? else { return Ok(None) };
    let mut layers = Vec::with_capacity(diff_ids.len());
    for chain in ChainId::stack(&diff_ids) {
        match index.load(chain) {
            Ok(Some(layer)) => layers.push(layer),
            Ok(None) => return Err(ImageError::LayerMissing { id, chain }),
            Err(LayerError::Disk(error)) => return Err(error.into()),
            Err(source) => return Err(ImageError::Layer { id, source }),
        }
    }
    let metadata = match has_metadata {
        Some(false) => metadata::Metadata::default(),
        _ => metadata::read(layout, id)?,
    };
    let metadata::Metadata { parent, last_updated, built_locally } = metadata;
    Ok(Some(Image { id, config, diff_ids, layers, parent, last_updated, built_locally }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configs_are_refused_as_docker_refuses_them() {
        let id = ImageId::new(Digest::sha256(b""));
        for config in [
            "",
            "{}",
            "null",
            "[{},\"linux\"]",
            "{\"rootfs\":[]}",
            "{\"rootfs\":null}",
            "{\"os\":\"windows\",\"rootfs\":{}}",
        ] {
            assert!(parse_config(id, config.as_bytes()).is_err(), "{config:?}");
        }
        for config in ["{\"rootfs\":{}}\n", "{\"rootfs\":{\"type\":\"layers\"},\"os\":\"linux\"}"] {
            assert_eq!(parse_config(id, config.as_bytes()).unwrap(), []);
        }
    }
}
