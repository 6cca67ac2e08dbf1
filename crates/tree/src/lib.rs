//! Whole directory trees, whoever made them: removing and measuring them.
//!
//! Promise: neither the depth of a tree nor its names choose how many descriptors are open; memory grows with the depth,
//! and for measuring with the files of several names; no link is followed, so nothing outside the tree is touched.
//! Not here: what the files mean, archives, paths.

mod remove;
mod size;
mod walk;

pub use remove::remove_tree;
pub use size::size_bytes;
