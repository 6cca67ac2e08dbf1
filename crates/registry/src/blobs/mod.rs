//! What stands between requests and the blob store: one change of a blob at a time, promises, small blobs in memory.

pub(crate) mod locks;
pub(crate) mod promises;
pub(crate) mod small;
