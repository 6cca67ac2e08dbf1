//! Bytes that a layer brings and a later layer deletes or replaces: they are downloaded and stored, and never seen.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use shale_oci::{ChainId, ConfigError, HistoryEntry, ImageConfig, ImageId};
use shale_rootfs::tar_split::{EntriesError, EntryKind, EntryRecord, entries};
use shale_store::{DiskError, Image};

use crate::Engine;
use crate::compare::view::{Fate, Node, View, clean, is_directory};
use crate::images::find::FindError;

/// Files that are listed at most, for each layer and for the image.
const FILES_MAX: usize = 20;

/// Where an image wastes space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Waste {
    /// The image.
    pub image: ImageId,
    /// Bytes of all files in all layers; one inode counts once.
    pub total_bytes: u64,
    /// Bytes of those that a later layer deletes or replaces.
    pub wasted_bytes: u64,
    /// What is seen of all, in hundredths, rounded down.
    pub efficiency_percent: u64,
    /// The layers, top first.
    pub layers: Vec<WastefulLayer>,
    /// The files that cost most, the largest first.
    pub files: Vec<WastedFile>,
    /// Steps of the history that would waste nothing as one step, the most wasteful first.
    pub merges: Vec<Merge>,
}

/// What one layer brings in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the names say it")]
pub struct WastefulLayer {
    /// Counted from the bottom, which is 1.
    pub number: usize,
    pub chain_id: ChainId,
    pub total_bytes: u64,
    pub deleted_bytes: u64,
    pub replaced_bytes: u64,
    /// The number of the step in the history, from the oldest, which is 1.
    pub step: Option<usize>,
    pub created_by: String,
    pub files: Vec<WastedFile>,
}

/// A file that is never seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the names say it")]
pub struct WastedFile {
    pub path: String,
    pub size_bytes: u64,
    /// The layer that brought it.
    pub layer: usize,
    /// The layer that deleted or replaced it.
    pub lost_in_layer: usize,
    /// Replaced by another file, or deleted.
    pub replaced: bool,
}

/// Two steps of the history of which the later undoes what the earlier did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the names say it")]
pub struct Merge {
    pub saves_bytes: u64,
    pub layers: [usize; 2],
    pub steps: [Option<usize>; 2],
    pub created_by: [String; 2],
}

/// Why the waste of an image is not known.
#[derive(Debug, thiserror::Error)]
pub enum WasteError {
    /// The image is not there.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The config describes no image.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The record of a layer is missing.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The record of a layer is damaged.
    #[error("the tar-split record of layer {chain} is damaged: run shale fsck")]
    Record {
        /// The layer.
        chain: ChainId,
        /// What is wrong with it.
        source: EntriesError,
    },
}

/// An inode of a layer.
struct File {
    path: Vec<u8>,
    size_bytes: u64,
    layer: usize,
    /// Names that are still seen.
    names: u32,
    lost: Option<(usize, Fate)>,
}

impl Engine {
    /// Finds the files of the image `text` that one of its later layers deletes or replaces; no file is read.
    ///
    /// # Errors
    /// [`WasteError`].
    pub fn waste(&self, text: &str) -> Result<Waste, WasteError> {
        let image = self.load_image(text)?;
        let config = ImageConfig::parse(&image.config)?;
        let mut files: Vec<File> = Vec::new();
        let mut view: View<Option<usize>> = View::default();
        for (index, layer) in image.layers.iter().enumerate() {
            let mut tar_split = self.store.open_tar_split(layer)?;
            let mut of_layer: HashMap<Vec<u8>, usize> = HashMap::new();
            for entry in entries(&mut tar_split) {
                let entry = entry.map_err(|source| WasteError::Record { chain: layer.chain_id, source })?;
                apply(&mut view, &mut files, &mut of_layer, index, &entry);
            }
        }
        Ok(report(&image, &config, &files))
    }
}

fn apply(
    view: &mut View<Option<usize>>,
    files: &mut Vec<File>,
    of_layer: &mut HashMap<Vec<u8>, usize>,
    layer: usize,
    entry: &EntryRecord,
) {
    let path = clean(entry.name.as_bytes());
    if path.is_empty() {
        return;
    }
    let mut file = None;
    if entry.whiteout.is_none() {
        file = match entry.kind {
            EntryKind::File => Some((entry.size_bytes, None)),
            // Docker counts the target's length as the link's size.
            EntryKind::Symlink => Some((entry.link_name.as_bytes().len() as u64, None)),
            EntryKind::HardLink => {
                of_layer.get(&clean(entry.link_name.as_bytes())).map(|target| (0, Some(*target)))
            }
            _ => None,
        }
        .map(|(size_bytes, target)| {
            target.unwrap_or_else(|| {
                files.push(File { path: path.clone(), size_bytes, layer, names: 0, lost: None });
                files.len() - 1
            })
        });
    }
    if let Some(file) = file {
        files[file].names += 1;
        of_layer.insert(path.clone(), file);
    }
    let mut lost = |node: Node<Option<usize>>, fate: Fate| {
        if let Some(file) = node.value.map(|file| &mut files[file]) {
            file.names -= 1;
            if file.names == 0 {
                file.lost = Some((layer, fate));
            }
        }
    };
    match entry.whiteout {
        Some(kind) => view.hide(layer, &path, kind, &mut lost),
        None => {
            let node = Node { layer, is_directory: is_directory(entry), value: file };
            view.put(path, node, &mut lost);
        }
    }
}

/// Returns what a step says of itself: its command, or the note of an import.
pub(super) fn words(step: &HistoryEntry) -> String {
    if step.created_by.is_empty() { step.comment.clone() } else { step.created_by.clone() }
}

fn report(image: &Image, config: &ImageConfig, files: &[File]) -> Waste {
    let steps: Vec<_> = config.history_with_layers().collect();
    let step = |layer: usize| steps.iter().position(|(_, of)| *of == Some(layer));
    let number = |layer: usize| step(layer).map(|step| step + 1);
    let created_by = |layer: usize| step(layer).map(|step| words(steps[step].0)).unwrap_or_default();
    let mut wasted: Vec<(&File, usize, Fate)> =
        files.iter().filter_map(|file| file.lost.map(|(layer, fate)| (file, layer, fate))).collect();
    wasted.sort_by(|(a, ..), (b, ..)| (b.size_bytes, &a.path).cmp(&(a.size_bytes, &b.path)));
    let listed = |(file, layer, fate): &(&File, usize, Fate)| WastedFile {
        path: format!("/{}", String::from_utf8_lossy(&file.path)),
        size_bytes: file.size_bytes,
        layer: file.layer + 1,
        lost_in_layer: layer + 1,
        replaced: *fate == Fate::Replaced,
    };
    let layers = image.layers.iter().enumerate().map(|(index, layer)| {
        let of_layer: Vec<_> = wasted.iter().filter(|(file, ..)| file.layer == index).collect();
        let sum = |wanted: Fate| -> u64 {
            of_layer.iter().filter(|(.., fate)| *fate == wanted).map(|(file, ..)| file.size_bytes).sum()
        };
        WastefulLayer {
            number: index + 1,
            chain_id: layer.chain_id,
            total_bytes: files.iter().filter(|file| file.layer == index).map(|file| file.size_bytes).sum(),
            deleted_bytes: sum(Fate::Deleted),
            replaced_bytes: sum(Fate::Replaced),
            step: number(index),
            created_by: created_by(index),
            files: of_layer.iter().take(FILES_MAX).map(|file| listed(file)).collect(),
        }
    });
    let mut layers: Vec<WastefulLayer> = layers.collect();
    layers.reverse();
    let mut pairs: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for (file, layer, _) in &wasted {
        *pairs.entry((file.layer, *layer)).or_default() += file.size_bytes;
    }
    let mut merges: Vec<Merge> = pairs
        .into_iter()
        .filter(|(_, saves_bytes)| *saves_bytes > 0)
        .map(|((earlier, later), saves_bytes)| Merge {
            saves_bytes,
            layers: [earlier + 1, later + 1],
            steps: [number(earlier), number(later)],
            created_by: [created_by(earlier), created_by(later)],
        })
        .collect();
    merges.sort_by_key(|merge| std::cmp::Reverse(merge.saves_bytes));
    let total_bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
    let wasted_bytes: u64 = wasted.iter().map(|(file, ..)| file.size_bytes).sum();
    Waste {
        image: image.id,
        total_bytes,
        wasted_bytes,
        efficiency_percent: match total_bytes {
            0 => 100,
            total => ((u128::from(total - wasted_bytes) * 100) / u128::from(total)) as u64,
        },
        layers,
        files: wasted.iter().take(FILES_MAX).map(listed).collect(),
        merges,
    }
}
