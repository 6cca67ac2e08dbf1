//! What was read lately and is asked for often: manifests and which blobs a repository holds.
//!
//! Promise: an entry never outlives the change that makes it wrong. A reader takes a ticket before it reads the
//! database; a change, once committed and before it is acknowledged, empties the repository's entries and makes
//! all tickets of its shard void.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use shale_oci::Digest;

use super::StoredManifest;
use crate::api::route::Reference;

const SHARDS: usize = 16;
/// What all entries may weigh together.
const WEIGHT_BYTES_MAX: usize = 16 << 20;
/// Larger manifests are read from the database each time.
const MANIFEST_BYTES_MAX: usize = 128 << 10;
/// What an entry weighs besides the bytes of its manifest: keys, pointers, tables.
const ENTRY_BYTES: usize = 400;

pub(super) struct Cache {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
}

#[derive(Default)]
struct Shard {
    generation: u64,
    weight_bytes: usize,
    repositories: HashMap<Box<str>, Entries>,
}

#[derive(Default)]
struct Entries {
    manifests: HashMap<Reference, Arc<StoredManifest>>,
    blobs: HashMap<Digest, u64>,
    weight_bytes: usize,
}

/// Permission to enter what is read from now on.
#[derive(Clone, Copy)]
pub(super) struct Ticket(u64);

impl Cache {
    pub(super) fn new() -> Cache {
        Cache { shards: (0..SHARDS).map(|_| RwLock::default()).collect(), hasher: RandomState::new() }
    }

    fn shard(&self, repository: &str) -> &RwLock<Shard> {
        let hash = usize::try_from(self.hasher.hash_one(repository) >> 32).unwrap_or(0);
        &self.shards[hash % SHARDS]
    }

    pub(super) fn manifest(
        &self,
        repository: &str,
        reference: &Reference,
    ) -> Result<Arc<StoredManifest>, Ticket> {
        let shard = self.shard(repository).read().unwrap_or_else(PoisonError::into_inner);
        let entry = shard.repositories.get(repository).and_then(|entries| entries.manifests.get(reference));
        entry.cloned().ok_or(Ticket(shard.generation))
    }

    pub(super) fn blob(&self, repository: &str, digest: Digest) -> Result<u64, Ticket> {
        let shard = self.shard(repository).read().unwrap_or_else(PoisonError::into_inner);
        let entry = shard.repositories.get(repository).and_then(|entries| entries.blobs.get(&digest));
        entry.copied().ok_or(Ticket(shard.generation))
    }

    pub(super) fn enter_manifest(
        &self,
        ticket: Ticket,
        repository: &str,
        reference: Reference,
        manifest: &Arc<StoredManifest>,
    ) {
        if manifest.bytes.len() <= MANIFEST_BYTES_MAX {
            let weight_bytes = manifest.bytes.len() + ENTRY_BYTES;
            self.enter(ticket, repository, weight_bytes, |entries| {
                entries.manifests.insert(reference, Arc::clone(manifest)).is_none()
            });
        }
    }

    pub(super) fn enter_blob(&self, ticket: Ticket, repository: &str, digest: Digest, size_bytes: u64) {
        self.enter(ticket, repository, ENTRY_BYTES, |entries| {
            entries.blobs.insert(digest, size_bytes).is_none()
        });
    }

    fn enter(
        &self,
        ticket: Ticket,
        repository: &str,
        weight_bytes: usize,
        insert: impl FnOnce(&mut Entries) -> bool,
    ) {
        let mut shard = self.shard(repository).write().unwrap_or_else(PoisonError::into_inner);
        if shard.generation != ticket.0 {
            return;
        }
        if shard.weight_bytes + weight_bytes > WEIGHT_BYTES_MAX / SHARDS {
            // Starting over costs one read for each entry that is still wanted; keeping an order would cost on every hit.
            shard.repositories.clear();
            shard.weight_bytes = 0;
        }
        if !shard.repositories.contains_key(repository) {
            shard.repositories.insert(repository.into(), Entries::default());
        }
        let entries = shard.repositories.get_mut(repository).expect("entered above");
        if insert(entries) {
            entries.weight_bytes += weight_bytes;
            shard.weight_bytes += weight_bytes;
        }
    }

    /// Drops what is known of `repository`.
    pub(super) fn forget(&self, repository: &str) {
        let mut shard = self.shard(repository).write().unwrap_or_else(PoisonError::into_inner);
        shard.generation += 1;
        if let Some(entries) = shard.repositories.remove(repository) {
            shard.weight_bytes -= entries.weight_bytes;
        }
    }

    /// Drops everything.
    pub(super) fn forget_all(&self) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            *shard = Shard { generation: shard.generation + 1, ..Shard::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_a_change_overtook_is_not_entered() {
        let cache = Cache::new();
        let digest = Digest::sha256(b"");
        let Err(ticket) = cache.blob("a", digest) else { panic!("empty") };
        cache.forget("a");
        cache.enter_blob(ticket, "a", digest, 1);
        assert!(cache.blob("a", digest).is_err());
        let Err(ticket) = cache.blob("a", digest) else { panic!("still empty") };
        cache.enter_blob(ticket, "a", digest, 1);
        assert_eq!(cache.blob("a", digest).ok(), Some(1));
    }

    #[test]
    fn the_weight_is_bounded() {
        let cache = Cache::new();
        for number in 0..200_000_u32 {
            let digest = Digest::sha256(&number.to_be_bytes());
            let Err(ticket) = cache.blob("a", digest) else { panic!("entered once") };
            cache.enter_blob(ticket, "a", digest, 1);
        }
        let entries: usize = cache.shards.iter().map(|shard| shard.read().unwrap().weight_bytes).sum();
        assert!(entries <= WEIGHT_BYTES_MAX, "{entries}");
    }
}
