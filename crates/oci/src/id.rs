//! The three identifiers that are digests of different things, kept apart as types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Digest, DigestError};

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Digest);

        impl $name {
            /// Names `digest` as this kind of identifier; the caller knows what the digest was taken over.
            pub const fn new(digest: Digest) -> $name {
                $name(digest)
            }

            /// Returns the digest.
            pub const fn digest(self) -> Digest {
                self.0
            }

            /// Returns the hash as lower-case hexadecimal digits, which is also its file name in the store.
            pub fn hex(self) -> String {
                self.0.hex()
            }

            /// Returns the first twelve hexadecimal digits.
            pub fn short(self) -> String {
                self.0.short()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<$name, DigestError> {
                text.parse().map($name)
            }
        }
    };
}

identifier! {
    /// Digest of a layer's uncompressed tar; it never finds a blob in a registry.
    DiffId
}
identifier! {
    /// Digest that stands for a layer and all layers below it; it names a directory of the layer store.
    ChainId
}
identifier! {
    /// Digest of an image's config, byte for byte; it names the image.
    ImageId
}

impl ChainId {
    /// Returns the chain of a bottom layer, whose digest is its diff ID.
    ///
    /// Source: OCI image-spec v1.1, config.md, "Layer ChainID".
    pub const fn bottom(diff_id: DiffId) -> ChainId {
        ChainId(diff_id.0)
    }

    /// Returns the chain of the layer `diff_id` on top of this chain.
    pub fn child(self, diff_id: DiffId) -> ChainId {
        ChainId(Digest::sha256(format!("{self} {diff_id}").as_bytes()))
    }

    /// Returns the chain of `diff_id` on `parent`, or of a bottom layer without one.
    pub fn on(parent: Option<ChainId>, diff_id: DiffId) -> ChainId {
        match parent {
            Some(parent) => parent.child(diff_id),
            None => ChainId::bottom(diff_id),
        }
    }

    /// Returns the chain of each layer of a stack, bottom first.
    pub fn stack(diff_ids: &[DiffId]) -> Vec<ChainId> {
        let mut chain = None;
        diff_ids.iter().map(|diff_id| *chain.insert(ChainId::on(chain, *diff_id))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Stack {
        diff_ids: Vec<DiffId>,
        chain_ids: Vec<ChainId>,
    }

    #[test]
    fn chains_of_published_images_are_the_published_ones() {
        let vectors = include_str!("../../../fixtures/vectors/chain-ids.json");
        let stacks: std::collections::BTreeMap<String, Stack> = serde_json::from_str(vectors).unwrap();
        assert_eq!(stacks.len(), 2);
        for (name, stack) in stacks {
            assert_eq!(ChainId::stack(&stack.diff_ids), stack.chain_ids, "{name}");
        }
    }
}
