//! The names that an archive has used, in 16 bytes each.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

/// A set of names, kept as 128 bits of SipHash under keys drawn for this set.
///
/// Two of a million names share a value with a probability of 10⁻²⁶, and nobody can search for such names without the
/// keys. A layer with such a pair would be refused; unpacking it once more draws other keys.
#[derive(Default)]
pub(crate) struct SeenNames {
    keys: NameKeys,
    names: HashSet<u128, BuildHasherDefault<LowBits>>,
}

/// What a name takes at most, with the room that growing leaves.
const NAME_BYTES: u64 = 40;

impl SeenNames {
    /// Adds `name`; tells whether it was new.
    pub fn insert(&mut self, name: &[u8]) -> bool {
        self.names.insert(self.keys.of(name))
    }

    /// Tells whether `name` was added.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.names.contains(&self.keys.of(name))
    }

    /// Returns the memory that the names take.
    pub fn bytes(&self) -> u64 {
        self.names.len() as u64 * NAME_BYTES
    }
}

/// Keys drawn for one set of names.
#[derive(Default)]
pub(crate) struct NameKeys(RandomState, RandomState);

impl NameKeys {
    /// Returns the value that stands for `name`.
    pub fn of(&self, name: &[u8]) -> u128 {
        let (high, low) = (self.0.hash_one(name), self.1.hash_one(name));
        u128::from(high) << 64 | u128::from(low)
    }
}

/// The values are hashes already.
#[derive(Default)]
pub(crate) struct LowBits(u64);

impl Hasher for LowBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}
