//! Whether the files of layers are those of the layers' tars.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use shale_oci::{ChainId, DiffId};
use shale_rootfs::Rootfs;
use shale_rootfs::tar_split::{AssembleError, Fault, verify};
use shale_store::{DiskError, Layer, Store};

/// Files that are named in a report; the others are counted.
pub const FILES_NAMED_MAX: usize = 10;

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Layers that were read.
    pub layers: usize,
    /// Layers to read.
    pub layers_total: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes to read.
    pub bytes_total: u64,
}

/// What is wrong with the files of a layer.
#[derive(Debug, thiserror::Error)]
pub enum ContentDamage {
    /// Files are missing or changed.
    #[error("{}", describe_files(*count, first))]
    Files {
        /// The layer.
        chain: ChainId,
        /// How many.
        count: usize,
        /// The first of them.
        first: Vec<Fault>,
    },
    /// All files are as they were recorded, but they make another tar.
    #[error("its files make the layer {found} and not {expected}")]
    DiffId {
        /// The layer.
        chain: ChainId,
        /// What the layer's `diff` file says.
        expected: DiffId,
        /// What its files make.
        found: DiffId,
    },
    /// The tar-split record is no record, or does not belong to the layer.
    #[error("its tar-split record is damaged")]
    Record {
        /// The layer.
        chain: ChainId,
        /// Why.
        source: AssembleError,
    },
    /// The layer could not be read.
    #[error("it cannot be read")]
    Unreadable {
        /// The layer.
        chain: ChainId,
        /// Why.
        source: io::Error,
    },
}

impl ContentDamage {
    /// Returns the layer.
    pub fn chain(&self) -> ChainId {
        match self {
            ContentDamage::Files { chain, .. }
            | ContentDamage::DiffId { chain, .. }
            | ContentDamage::Record { chain, .. }
            | ContentDamage::Unreadable { chain, .. } => *chain,
        }
    }

    /// Returns a word for the kind of damage, which never changes.
    pub fn code(&self) -> &'static str {
        match self {
            ContentDamage::Files { .. } => "layer-content",
            ContentDamage::DiffId { .. } => "layer-content-digest",
            ContentDamage::Record { .. } => "layer-tar-split-damaged",
            ContentDamage::Unreadable { .. } => "layer-unreadable",
        }
    }
}

fn describe_files(count: usize, first: &[Fault]) -> String {
    let verb = if count == 1 { "is" } else { "are" };
    let mut text = format!("{count} of its files {verb} not as recorded: ");
    let named: Vec<String> = first.iter().map(|fault| format!("{} ({})", fault.name, fault.kind)).collect();
    text.push_str(&named.join(", "));
    if count > first.len() {
        text.push_str(&format!(" and {} more", count - first.len()));
    }
    text
}

/// Reads all files of `layers`, on all processors and the largest layers first; returns the damaged ones in order.
pub fn check_layers(
    store: &Store,
    layers: &[Layer],
    on_checked: &(dyn Fn(Checked) + Sync),
) -> Vec<ContentDamage> {
    let mut queue: Vec<&Layer> = layers.iter().collect();
    queue.sort_by_key(|layer| std::cmp::Reverse(layer.size_bytes));
    let bytes_total = layers.iter().map(|layer| layer.size_bytes).sum();
    let (next, checked, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
    let damages = Mutex::new(Vec::new());
    let work = || {
        while let Some(layer) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(damage) = check_layer(store, layer) {
                damages.lock().expect("no thread panics with the list").push(damage);
            }
            let bytes = bytes.fetch_add(layer.size_bytes, Ordering::Relaxed) + layer.size_bytes;
            let layers = checked.fetch_add(1, Ordering::Relaxed) + 1;
            on_checked(Checked { layers, layers_total: queue.len(), bytes, bytes_total });
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(queue.len());
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut damages = damages.into_inner().expect("no thread panicked with the list");
    damages.sort_by_key(ContentDamage::chain);
    damages
}

fn check_layer(store: &Store, layer: &Layer) -> Result<(), ContentDamage> {
    let chain = layer.chain_id;
    let disk = |error: DiskError| io::Error::new(error.kind(), error);
    let unreadable = |source| ContentDamage::Unreadable { chain, source };
    let root = Rootfs::open(&store.layer_diff_path(layer)).map_err(unreadable)?;
    let mut tar_split = store.open_tar_split(layer).map_err(|error| unreadable(disk(error)))?;
    match verify(&mut tar_split, &root) {
        Ok(Ok(assembled)) if assembled.diff_id == layer.diff_id => Ok(()),
        Ok(Ok(assembled)) => {
            Err(ContentDamage::DiffId { chain, expected: layer.diff_id, found: assembled.diff_id })
        }
        Ok(Err(mut first)) => {
            let count = first.len();
            first.truncate(FILES_NAMED_MAX);
            Err(ContentDamage::Files { chain, count, first })
        }
        Err(AssembleError::Root(source)) => Err(unreadable(source)),
        Err(source) => Err(ContentDamage::Record { chain, source }),
    }
}
