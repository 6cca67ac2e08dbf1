//! The bytes of small blobs that were asked for lately. Blobs never change, so nothing here is ever wrong.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use shale_oci::Digest;

/// The largest blob that is kept in memory; configs are nearly always smaller.
pub(crate) const SMALL_BYTES_MAX: u64 = 32 << 10;
/// What all of them may weigh.
const WEIGHT_BYTES_MAX: usize = 8 << 20;
const SHARDS: usize = 16;

#[derive(Default)]
pub(crate) struct SmallBlobs {
    shards: [RwLock<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    weight_bytes: usize,
    blobs: HashMap<Digest, Bytes>,
}

impl SmallBlobs {
    fn shard(&self, digest: Digest) -> &RwLock<Shard> {
        &self.shards[usize::from(digest.hash()[1]) % SHARDS]
    }

    pub(crate) fn find(&self, digest: Digest) -> Option<Bytes> {
        self.shard(digest).read().unwrap_or_else(PoisonError::into_inner).blobs.get(&digest).cloned()
    }

    pub(crate) fn enter(&self, digest: Digest, bytes: Bytes) {
        let mut shard = self.shard(digest).write().unwrap_or_else(PoisonError::into_inner);
        let weight_bytes = bytes.len() + 256;
        if shard.weight_bytes + weight_bytes > WEIGHT_BYTES_MAX / SHARDS {
            *shard = Shard::default();
        }
        if shard.blobs.insert(digest, bytes).is_none() {
            shard.weight_bytes += weight_bytes;
        }
    }

    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            *shard.write().unwrap_or_else(PoisonError::into_inner) = Shard::default();
        }
    }
}
