//! Paths of directories as a tree: each is a last name and what it lies in, so that no name is kept twice.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::seen::{LowBits, NameKeys};
use crate::name::split;

/// What a path takes beside the bytes of its last name: its node, its place in the map, its times with the placer, and
/// the room that growing leaves.
const PATH_BYTES: u64 = 160;

/// A path in [`Paths`].
#[derive(Clone, Copy)]
pub(super) struct PathIndex(u32);

impl PathIndex {
    pub const ROOT: PathIndex = PathIndex(0);
}

pub(super) struct Paths {
    nodes: Vec<Node>,
    keys: NameKeys,
    known: HashMap<u128, PathIndex, BuildHasherDefault<LowBits>>,
    bytes: u64,
}

struct Node {
    above: PathIndex,
    name: Box<[u8]>,
}

impl Default for Paths {
    fn default() -> Paths {
        let root = Node { above: PathIndex::ROOT, name: Box::default() };
        Paths { nodes: vec![root], keys: NameKeys::default(), known: HashMap::default(), bytes: 0 }
    }
}

impl Paths {
    /// Adds the cleaned path `path` and those that it lies in.
    pub fn insert(&mut self, path: &[u8]) -> PathIndex {
        let mut unknown = Vec::new();
        let mut rest = path;
        let mut above = loop {
            if rest.is_empty() {
                break PathIndex::ROOT;
            }
            let key = self.keys.of(rest);
            if let Some(index) = self.known.get(&key) {
                break *index;
            }
            let (directory, name) = split(rest);
            unknown.push((key, name));
            rest = directory;
        };
        for (key, name) in unknown.into_iter().rev() {
            self.bytes += PATH_BYTES + name.len() as u64;
            let index = u32::try_from(self.nodes.len()).expect("the limit of bytes comes long before");
            self.nodes.push(Node { above, name: name.into() });
            above = PathIndex(index);
            self.known.insert(key, above);
        }
        above
    }

    /// Returns the path of `index`, empty for the root.
    pub fn path(&self, index: PathIndex) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = index;
        while at.0 != PathIndex::ROOT.0 {
            let node = &self.nodes[at.0 as usize];
            names.push(&node.name);
            at = node.above;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Returns the memory that the paths take, and the times of as many directories.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_out_as_they_went_in() {
        let mut paths = Paths::default();
        let inserted: Vec<_> = [&b""[..], b"a", b"a/b/c/d", b"a/b", b"b/a", b"a/b/x\xff y"]
            .map(|path| (path, paths.insert(path)))
            .into();
        for (path, index) in inserted {
            assert_eq!(paths.path(index), path);
        }
        // The last names: a, b, c, d, b, a, and one of four bytes.
        assert_eq!(paths.bytes(), 7 * PATH_BYTES + 6 + 4);
    }

    #[test]
    fn a_long_path_is_kept_once_for_all_that_lie_in_it() {
        let mut paths = Paths::default();
        let long = [&[b'n'; 255][..]; 15].join(&b'/');
        for number in 0..10_000 {
            paths.insert(&[&long, format!("/{number:05}").as_bytes()].concat());
        }
        assert_eq!(paths.bytes(), 10_000 * (PATH_BYTES + 5) + 15 * (PATH_BYTES + 255));
    }
}
