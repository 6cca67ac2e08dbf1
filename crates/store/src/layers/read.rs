//! Loading layers with Docker's tolerance.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::str::FromStr;

use flate2::bufread::MultiGzDecoder;
use shale_oci::{ChainId, DiffId};

use super::{Layer, LayerError, OverlayPaths};
use crate::Store;
use crate::durable::{self, DiskError};
use crate::layout::{self, Layout};

impl Store {
    /// Returns the layer `chain`, or `None` when the store has none of that name.
    ///
    /// # Errors
    /// [`LayerError`] when there is a directory of that name but Docker would not load it, or not a layer below it.
    pub fn find_layer(&self, chain: ChainId) -> Result<Option<Layer>, LayerError> {
        Index::new(&self.layout).load(chain)
    }

    /// Returns the layers of `chain`, bottom first; `None` when the store has none of that name.
    ///
    /// # Errors
    /// As [`Store::find_layer`].
    pub fn chain(&self, chain: ChainId) -> Result<Option<Vec<Layer>>, LayerError> {
        Index::new(&self.layout).chain(chain)
    }

    /// Returns all layers that can be loaded, in the order of their chain IDs.
    ///
    /// # Errors
    /// [`LayerError::Disk`] when the directory cannot be listed; layers that cannot be loaded are left out.
    pub fn layers(&self) -> Result<Vec<Layer>, LayerError> {
        let mut index = Index::new(&self.layout);
        let mut layers = Vec::new();
        for chain in chains(&self.layout)? {
            layers.extend(index.load(chain).ok().flatten());
        }
        layers.sort_by_key(|layer| layer.chain_id);
        Ok(layers)
    }

    /// Returns the directory that holds the layer's own files.
    pub fn layer_diff_path(&self, layer: &Layer) -> PathBuf {
        self.layout.cache(&layer.cache_id).join("diff")
    }

    /// Returns the layer's short name below `overlay2/l`; `None` when its `link` file is missing or damaged.
    ///
    /// # Errors
    /// [`DiskError`] when the file is there and cannot be read.
    pub fn layer_link(&self, layer: &Layer) -> Result<Option<String>, DiskError> {
        read_link_id(&self.layout, &layer.cache_id)
    }

    /// Opens the layer's tar-split record, inflated.
    ///
    /// # Errors
    /// [`DiskError`] when the file is not there. A damaged one shows itself while it is read.
    pub fn open_tar_split(&self, layer: &Layer) -> Result<impl Read + Send + use<>, DiskError> {
        let path = self.layout.layer(layer.chain_id).join("tar-split.json.gz");
        let file = durable::open(&path)?
            .ok_or_else(|| DiskError::new("open", &path, std::io::ErrorKind::NotFound))?;
        Ok(MultiGzDecoder::new(BufReader::with_capacity(64 * 1024, file)))
    }

    /// Returns the paths with which the layer would be mounted, the lower ones as its `lower` file has them.
    ///
    /// # Errors
    /// [`DiskError`] when the layer's directory or one of its `l/` links is not there, as `docker inspect` fails then.
    pub fn overlay_paths(&self, layer: &Layer) -> Result<OverlayPaths, DiskError> {
        let directory = self.layout.cache(&layer.cache_id);
        if durable::metadata(&directory)?.is_none() {
            return Err(DiskError::new("find", &directory, std::io::ErrorKind::NotFound));
        }
        let lower = durable::read(&directory.join("lower"))?.unwrap_or_default();
        let lower = String::from_utf8_lossy(&lower);
        let mut paths = Vec::new();
        for link in lower.split(':').filter(|link| !link.is_empty()) {
            let path = self.layout.link(link.strip_prefix("l/").unwrap_or(link));
            let target = durable::read_link(&path)?
                .ok_or_else(|| DiskError::new("find", &path, std::io::ErrorKind::NotFound))?;
            // The target is `../<cache id>/diff`, seen from `l/`.
            paths.push(match target.strip_prefix("..") {
                Ok(below) => self.layout.overlay().join(below),
                Err(_) => self.layout.links().join(target),
            });
        }
        Ok(OverlayPaths {
            lower: paths,
            upper: directory.join("diff"),
            work: directory.join("work"),
            merged: directory.join("merged"),
        })
    }
}

/// Lists the chain IDs that have a directory, loadable or not, in no order.
pub(crate) fn chains(layout: &Layout) -> Result<Vec<ChainId>, DiskError> {
    let names = durable::names(&layout.layers())?;
    Ok(names.iter().filter_map(|name| ChainId::from_str(&format!("sha256:{name}")).ok()).collect())
}

/// Reads the name below `l/` of an `overlay2` directory.
pub(crate) fn read_link_id(layout: &Layout, cache_id: &str) -> Result<Option<String>, DiskError> {
    let content = durable::read(&layout.cache(cache_id).join("link"))?;
    Ok(content.and_then(|content| String::from_utf8(content).ok()).filter(|link| layout::is_link(link)))
}

/// Layers loaded during one operation; each is read once.
pub(crate) struct Index<'a> {
    layout: &'a Layout,
    loaded: HashMap<ChainId, Result<Option<Layer>, LayerError>>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(layout: &'a Layout) -> Index<'a> {
        Index { layout, loaded: HashMap::new() }
    }

    /// Loads a layer and all layers below it.
    pub(crate) fn load(&mut self, chain: ChainId) -> Result<Option<Layer>, LayerError> {
        if let Some(loaded) = self.loaded.get(&chain) {
            return loaded.clone();
        }
        // Downwards until something is known, then upwards: a loop, because a damaged store may be thousands deep.
        let mut pending: Vec<(ChainId, Result<Option<Layer>, LayerError>)> = Vec::new();
        let mut next = Some(chain);
        while let Some(chain) = next {
            if self.loaded.contains_key(&chain) {
                break;
            }
            // Stands for "cannot be loaded" if the layer turns out to stand on itself.
            self.loaded.insert(chain, Err(LayerError::Parent { chain }));
            let layer = read(self.layout, chain);
            next = layer.as_ref().ok().and_then(|layer| layer.as_ref()?.parent);
            pending.push((chain, layer));
        }
        for (chain, layer) in pending.into_iter().rev() {
            let loaded = match layer {
                Ok(Some(Layer { parent: Some(parent), .. }))
                    if !matches!(self.loaded.get(&parent), Some(Ok(Some(_)))) =>
                {
                    Err(LayerError::BrokenParent { chain, parent })
                }
                layer => layer,
            };
            self.loaded.insert(chain, loaded);
        }
        self.loaded[&chain].clone()
    }

    /// Returns the layers from the bottom to `chain`.
    pub(crate) fn chain(&mut self, chain: ChainId) -> Result<Option<Vec<Layer>>, LayerError> {
        let Some(top) = self.load(chain)? else { return Ok(None) };
        let mut layers = vec![top];
        while let Some(parent) = layers.last().and_then(|layer| layer.parent) {
            match self.load(parent)? {
                Some(layer) => layers.push(layer),
                None => return Err(LayerError::BrokenParent { chain, parent }),
            }
        }
        layers.reverse();
        Ok(Some(layers))
    }
}

/// Reads the files of one layer; says nothing about its parent.
pub(crate) fn read(layout: &Layout, chain: ChainId) -> Result<Option<Layer>, LayerError> {
    let directory = layout.layer(chain);
    let Some(diff) = durable::read(&directory.join("diff"))? else {
        return match durable::metadata(&directory)? {
            Some(_) => Err(LayerError::DiffId { chain }),
            None => Ok(None),
        };
    };
    let diff_id: DiffId = parse_trimmed(&diff).ok_or(LayerError::DiffId { chain })?;
    let size_bytes = durable::read(&directory.join("size"))?
        .and_then(|size| parse_size(&size))
        .ok_or(LayerError::Size { chain })?;
    let cache_id = durable::read(&directory.join("cache-id"))?
        .and_then(|content| Some(std::str::from_utf8(&content).ok()?.trim().to_owned()))
        .filter(|cache_id| layout::is_cache_id(cache_id))
        .ok_or(LayerError::CacheId { chain })?;
    let parent = match durable::read(&directory.join("parent"))? {
        Some(content) => Some(parse_trimmed(&content).ok_or(LayerError::Parent { chain })?),
        None => None,
    };
    if let Some(descriptor) = durable::read(&directory.join("descriptor.json"))?
        && serde_json::from_slice::<ForeignDescriptor>(&descriptor).is_err()
    {
        return Err(LayerError::Descriptor { chain });
    }
    Ok(Some(Layer { chain_id: chain, diff_id, parent, cache_id, size_bytes }))
}

/// Parses what Go's `strconv.ParseInt(text, 10, 64)` takes, as far as it can be a size.
pub(crate) fn parse_size(content: &[u8]) -> Option<u64> {
    let size: i64 = std::str::from_utf8(content).ok()?.parse().ok()?;
    u64::try_from(size).ok()
}

/// Parses a digest with white space around it.
pub(crate) fn parse_trimmed<T: FromStr>(content: &[u8]) -> Option<T> {
    std::str::from_utf8(content).ok()?.trim().parse().ok()
}

/// The fields of which Docker checks the types before it ignores them.
#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "only whether it parses counts")]
struct ForeignDescriptor {
    #[serde(rename = "mediaType", default)]
    media_type: Option<String>,
    #[serde(default)]
    size: Option<i64>,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    urls: Option<Vec<String>>,
}
