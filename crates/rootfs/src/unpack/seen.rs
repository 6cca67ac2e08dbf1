//! The names that an archive has used, in 16 bytes each.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

/// A set of names, kept as 128 bits of SipHash under keys drawn for this set.
///
/// Two of a million names share a value with a probability of 10⁻²⁶, and nobody can search for such names without the
/// keys. A layer with such a pair would be refused; unpacking it once more draws other keys.
#[derive(Default)]
pub(crate) struct SeenNames {
    keys: (RandomState, RandomState),
    names: HashSet<u128, BuildHasherDefault<LowBits>>,
}

impl SeenNames {
    /// Adds `name`; tells whether it was new.
    pub fn insert(&mut self, name: &[u8]) -> bool {
        let high = u128::from(self.keys.0.hash_one(name));
        let low = u128::from(self.keys.1.hash_one(name));
        self.names.insert(high << 64 | low)
    }
}

/// The values are hashes already.
#[derive(Default)]
struct LowBits(u64);

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
