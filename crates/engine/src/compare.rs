//! Which files differ between two images, from the records of their layers; no file is read.

pub(crate) mod view;

use std::sync::Arc;

use serde::Serialize;
use shale_oci::{ChainId, ImageId};
use shale_rootfs::Timestamp;
use shale_rootfs::tar_split::{EntriesError, EntryKind, EntryRecord, entries};
use shale_store::{DiskError, Layer};

use crate::Engine;
use crate::images::find::FindError;
use view::{Node, TreePath, View, clean, is_directory};

/// The differences between two images.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Comparison {
    /// The first image.
    pub from: ImageId,
    /// The second image.
    pub to: ImageId,
    /// Layers at the bottom that both have; they are not looked at twice.
    pub shared_layers: usize,
    /// Paths that differ, in the order of their names.
    pub differences: Vec<Difference>,
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Difference {
    /// The path, from the root of the image.
    pub path: String,
    /// What happened to it.
    pub change: Change,
    /// What differs, in a fixed order; only of a changed path.
    pub aspects: Vec<Aspect>,
    /// What is there in the first image.
    pub from: Option<Entry>,
    /// What is there in the second image.
    pub to: Option<Entry>,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Change {
    Added,
    Removed,
    Changed,
}

/// What differs of a path that both images have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Aspect {
    Kind,
    Content,
    Size,
    Mode,
    Owner,
    Mtime,
    Target,
    Device,
    Xattrs,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the names say it")]
pub struct Entry {
    /// `file`, `directory`, `symlink`, `char-device`, `block-device` or `fifo`.
    pub kind: &'static str,
    /// Octal, with set-uid, set-gid and sticky.
    pub mode: String,
    pub uid: i64,
    pub gid: i64,
    pub size_bytes: u64,
    /// RFC 3339.
    pub mtime: String,
    /// CRC-64/ISO of the content, hexadecimal.
    pub checksum: Option<String>,
    /// Where a symbolic link leads.
    pub target: Option<String>,
    /// Major and minor number.
    pub device: Option<(i64, i64)>,
    pub xattrs: Vec<String>,
    #[serde(skip)]
    exact: Exact,
}

/// The values in which entries are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exact {
    mtime: Timestamp,
    target: Vec<u8>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why two images could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// An image is not there.
    #[error(transparent)]
    Find(#[from] FindError),
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

type Tree = View<Arc<Entry>>;

impl Engine {
    /// Compares what a container of the image `from` and one of the image `to` would see.
    ///
    /// # Errors
    /// [`CompareError`].
    pub fn compare(&self, from: &str, to: &str) -> Result<Comparison, CompareError> {
        let (from, to) = (self.load_image(from)?, self.load_image(to)?);
        let pairs = from.layers.iter().zip(&to.layers);
        let shared_layers = pairs.take_while(|(from, to)| from.chain_id == to.chain_id).count();
        let mut differences = Vec::new();
        if from.layers.len() > shared_layers || to.layers.len() > shared_layers {
            let mut below = Tree::default();
            self.apply(&mut below, 0, &from.layers[..shared_layers])?;
            let mut left = below.clone();
            self.apply(&mut left, shared_layers, &from.layers[shared_layers..])?;
            let mut right = below;
            self.apply(&mut right, shared_layers, &to.layers[shared_layers..])?;
            differences = differences_of(&left, &right);
        }
        Ok(Comparison { from: from.id, to: to.id, shared_layers, differences })
    }

    fn apply(&self, tree: &mut Tree, first: usize, layers: &[Layer]) -> Result<(), CompareError> {
        for (index, layer) in layers.iter().enumerate() {
            let mut tar_split = self.store.open_tar_split(layer)?;
            for entry in entries(&mut tar_split) {
                let entry = entry.map_err(|source| CompareError::Record { chain: layer.chain_id, source })?;
                place(tree, first + index, &entry);
            }
        }
        Ok(())
    }
}

fn place(tree: &mut Tree, layer: usize, entry: &EntryRecord) {
    let path = clean(entry.name.as_bytes());
    if path.is_empty() {
        return;
    }
    if let Some(kind) = entry.whiteout {
        return tree.hide(layer, &path, kind, &mut |_, _| {});
    }
    let mut seen = Entry::of(entry);
    if entry.kind == EntryKind::HardLink
        && let Some(target) = tree.nodes().get(&clean(entry.link_name.as_bytes()))
    {
        // Another name of the same inode, with the attributes that the link's own header has.
        let target = &target.value;
        (seen.kind, seen.size_bytes, seen.device) = (target.kind, target.size_bytes, target.device);
        (seen.checksum, seen.target) = (target.checksum.clone(), target.target.clone());
        seen.exact.target = target.exact.target.clone();
        if seen.xattrs.is_empty() {
            (seen.xattrs, seen.exact.xattrs) = (target.xattrs.clone(), target.exact.xattrs.clone());
        }
    }
    let node = Node { layer, is_directory: is_directory(entry), value: Arc::new(seen) };
    tree.put(path, node, &mut |_, _| {});
}

impl Entry {
    fn of(entry: &EntryRecord) -> Entry {
        let is_device = matches!(entry.kind, EntryKind::CharacterDevice | EntryKind::BlockDevice);
        let is_link = entry.kind == EntryKind::Symlink;
        let mut xattrs = entry.xattrs.clone();
        xattrs.sort();
        Entry {
            kind: match entry.kind {
                EntryKind::File | EntryKind::HardLink => "file",
                EntryKind::Symlink => "symlink",
                EntryKind::CharacterDevice => "char-device",
                EntryKind::BlockDevice => "block-device",
                EntryKind::Directory => "directory",
                EntryKind::Fifo => "fifo",
            },
            mode: format!("{:04o}", entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            size_bytes: entry.size_bytes,
            mtime: jiff::Timestamp::new(entry.mtime.seconds, entry.mtime.nanoseconds as i32)
                .map_or_else(|_| entry.mtime.seconds.to_string(), |time| time.to_string()),
            checksum: entry.checksum.map(hex::encode),
            target: is_link.then(|| entry.link_name.to_string()),
            device: is_device.then_some(entry.device),
            xattrs: xattrs.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect(),
            exact: Exact {
                mtime: entry.mtime,
                target: if is_link { entry.link_name.as_bytes().to_vec() } else { Vec::new() },
                xattrs,
            },
        }
    }

    /// Lists in what two entries differ.
    fn aspects(&self, other: &Entry) -> Vec<Aspect> {
        let is_link = self.kind == "symlink" && other.kind == "symlink";
        [
            (Aspect::Kind, self.kind != other.kind),
            // Sparse files have no checksum; where one is missing, only the sizes can tell.
            (
                Aspect::Content,
                match (&self.checksum, &other.checksum) {
                    (Some(one), Some(two)) => one != two,
                    _ => self.size_bytes != other.size_bytes,
                },
            ),
            (Aspect::Size, self.size_bytes != other.size_bytes),
            // Nobody uses the mode of a symbolic link.
            (Aspect::Mode, self.mode != other.mode && !is_link),
            (Aspect::Owner, (self.uid, self.gid) != (other.uid, other.gid)),
            (Aspect::Mtime, self.exact.mtime != other.exact.mtime),
            (Aspect::Target, self.exact.target != other.exact.target),
            (Aspect::Device, self.device != other.device),
            (Aspect::Xattrs, self.exact.xattrs != other.exact.xattrs),
        ]
        .into_iter()
        .filter_map(|(aspect, differs)| differs.then_some(aspect))
        .collect()
    }
}

fn differences_of(left: &Tree, right: &Tree) -> Vec<Difference> {
    let mut differences = Vec::new();
    let (mut left, mut right) = (left.nodes().iter().peekable(), right.nodes().iter().peekable());
    loop {
        let (from, to) = match (left.peek(), right.peek()) {
            (None, None) => return differences,
            (Some(_), None) => (left.next(), None),
            (None, Some(_)) => (None, right.next()),
            (Some((one, _)), Some((two, _))) => match one.cmp(two) {
                std::cmp::Ordering::Less => (left.next(), None),
                std::cmp::Ordering::Greater => (None, right.next()),
                std::cmp::Ordering::Equal => (left.next(), right.next()),
            },
        };
        differences.extend(difference(from, to));
    }
}

type Found<'t> = Option<(&'t TreePath, &'t Node<Arc<Entry>>)>;

fn difference(from: Found<'_>, to: Found<'_>) -> Option<Difference> {
    let path = from.or(to).map(|(path, _)| format!("/{}", String::from_utf8_lossy(path)))?;
    let (from, to) = (from.map(|(_, node)| &node.value), to.map(|(_, node)| &node.value));
    let (change, aspects) = match (from, to) {
        (Some(from), Some(to)) if Arc::ptr_eq(from, to) => return None,
        (Some(from), Some(to)) => (Change::Changed, from.aspects(to)),
        (None, _) => (Change::Added, Vec::new()),
        (_, None) => (Change::Removed, Vec::new()),
    };
    if change == Change::Changed && aspects.is_empty() {
        return None;
    }
    let entry = |entry: Option<&Arc<Entry>>| entry.map(|entry| Entry::clone(entry));
    Some(Difference { path, change, aspects, from: entry(from), to: entry(to) })
}
