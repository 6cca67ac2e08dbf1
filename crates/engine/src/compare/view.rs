//! The tree that layers on top of each other show, made of their tar-split records alone.

use std::collections::BTreeMap;

use shale_rootfs::tar_split::{EntryKind, EntryRecord, WhiteoutKind};

/// A path relative to the root, without `.`, `..` and outer slashes.
pub(crate) type TreePath = Vec<u8>;

/// What is at a path.
#[derive(Debug, Clone)]
pub(crate) struct Node<T> {
    /// The layer that put it there.
    pub layer: usize,
    pub is_directory: bool,
    pub value: T,
}

/// Why something is no longer seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Deleted,
    Replaced,
}

/// A merged tree. Layers are applied bottom first, each entry in any order.
#[derive(Debug, Clone)]
pub(crate) struct View<T> {
    nodes: BTreeMap<TreePath, Node<T>>,
    /// The parent that was last found to be no obstacle, so that neighbours do not look again.
    clear_parent: Option<(usize, TreePath)>,
}

impl<T> Default for View<T> {
    fn default() -> View<T> {
        View { nodes: BTreeMap::new(), clear_parent: None }
    }
}

impl<T> View<T> {
    pub(crate) fn nodes(&self) -> &BTreeMap<TreePath, Node<T>> {
        &self.nodes
    }

    /// Applies what a whiteout says to the layers below `layer`; `lost` receives what is hidden.
    pub(crate) fn hide(
        &mut self,
        layer: usize,
        path: &[u8],
        kind: WhiteoutKind,
        lost: &mut dyn FnMut(Node<T>, Fate),
    ) {
        let (parent, base) = split(path);
        match kind {
            WhiteoutKind::Opaque => self.remove_below(layer, parent, lost),
            WhiteoutKind::Removed => {
                let Some(name) = base.strip_prefix(b".wh.") else { return };
                let target = if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() };
                self.remove_below(layer, &target, lost);
                if self.nodes.get(&target).is_some_and(|node| node.layer < layer)
                    && let Some(node) = self.nodes.remove(&target)
                {
                    lost(node, Fate::Deleted);
                }
            }
        }
    }

    /// Puts something at a path; `lost` receives what was there and is hidden now.
    pub(crate) fn put(&mut self, path: TreePath, node: Node<T>, lost: &mut dyn FnMut(Node<T>, Fate)) {
        let layer = node.layer;
        self.clear_parents(layer, &path, lost);
        if !node.is_directory {
            self.remove_below(layer, &path, lost);
        }
        if let Some(before) = self.nodes.insert(path, node) {
            lost(before, Fate::Replaced);
        }
    }

    /// Takes away files and links of lower layers where `path` needs directories.
    fn clear_parents(&mut self, layer: usize, path: &[u8], lost: &mut dyn FnMut(Node<T>, Fate)) {
        let (parent, _) = split(path);
        if parent.is_empty()
            || self.clear_parent.as_ref().is_some_and(|(of, clear)| *of == layer && clear == parent)
        {
            return;
        }
        let mut above = parent;
        while !above.is_empty() {
            if self.nodes.get(above).is_some_and(|node| !node.is_directory && node.layer < layer)
                && let Some(node) = self.nodes.remove(above)
            {
                lost(node, Fate::Replaced);
            }
            above = split(above).0;
        }
        self.clear_parent = Some((layer, parent.to_vec()));
    }

    fn remove_below(&mut self, layer: usize, directory: &[u8], lost: &mut dyn FnMut(Node<T>, Fate)) {
        // All that is below a directory lies between "directory/" and "directory0", the byte after the slash.
        let range = match directory.is_empty() {
            true => (Vec::new(), None),
            false => ([directory, b"/"].concat(), Some([directory, b"0"].concat())),
        };
        let within = match &range.1 {
            Some(end) => self.nodes.range(range.0.clone()..end.clone()),
            None => self.nodes.range(range.0.clone()..),
        };
        let hidden: Vec<TreePath> =
            within.filter(|(_, node)| node.layer < layer).map(|(path, _)| path.clone()).collect();
        for path in hidden {
            if let Some(node) = self.nodes.remove(&path) {
                lost(node, Fate::Deleted);
            }
        }
    }
}

/// Whether an entry is a directory and no whiteout.
pub(crate) fn is_directory(entry: &EntryRecord) -> bool {
    entry.kind == EntryKind::Directory && entry.whiteout.is_none()
}

/// Returns a name from an archive as unpacking understands it; empty for the root.
pub(crate) fn clean(name: &[u8]) -> TreePath {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Splits a path into its directory, empty for the root, and its last part.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(view: &mut View<()>, layer: usize, path: &str, is_directory: bool) -> usize {
        let mut lost = 0;
        let node = Node { layer, is_directory, value: () };
        view.put(clean(path.as_bytes()), node, &mut |_, _| lost += 1);
        lost
    }

    fn hide(view: &mut View<()>, layer: usize, path: &str, kind: WhiteoutKind) -> usize {
        let mut lost = 0;
        view.hide(layer, path.as_bytes(), kind, &mut |_, _| lost += 1);
        lost
    }

    fn paths(view: &View<()>) -> Vec<String> {
        view.nodes().keys().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
    }

    #[test]
    fn whiteouts_hide_lower_layers_only() {
        let mut view = View::default();
        put(&mut view, 0, "./d/", true);
        put(&mut view, 0, "d/low", false);
        put(&mut view, 0, "d.z", false);
        put(&mut view, 1, "d/new", false);
        assert_eq!(hide(&mut view, 1, "d/.wh..wh..opq", WhiteoutKind::Opaque), 1);
        assert_eq!(paths(&view), ["d", "d.z", "d/new"]);
        assert_eq!(hide(&mut view, 2, ".wh.d", WhiteoutKind::Removed), 2);
        assert_eq!(paths(&view), ["d.z"]);
        assert_eq!(hide(&mut view, 0, ".wh.d.z", WhiteoutKind::Removed), 0);
        assert_eq!(hide(&mut view, 1, ".wh..wh..opq", WhiteoutKind::Opaque), 1);
    }

    #[test]
    fn a_file_replaces_a_directory_and_a_directory_a_file() {
        let mut view = View::default();
        put(&mut view, 0, "a", true);
        put(&mut view, 0, "a/b", false);
        assert_eq!(put(&mut view, 1, "a", false), 2);
        assert_eq!(paths(&view), ["a"]);
        // The archive needs a directory where a lower layer has a file, and does not name it.
        assert_eq!(put(&mut view, 2, "a/c", false), 1);
        assert_eq!(paths(&view), ["a/c"]);
        assert_eq!(put(&mut view, 3, "a", true), 0);
        assert_eq!(paths(&view), ["a", "a/c"]);
    }
}
