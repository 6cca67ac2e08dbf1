//! Bytes from outside, before and after they were checked.

use bytes::Bytes;

use crate::{Algorithm, Descriptor, Digest};

/// Bytes that came from outside and that nobody has checked.
#[derive(Debug, Clone)]
pub struct Unverified(Bytes);

/// Why bytes are not those that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The bytes hash to something else.
    #[error("content does not match digest: expected {expected}, got {actual}")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What arrived.
        actual: Digest,
    },
    /// The descriptor announced another length.
    #[error("content is {actual} bytes long, but the descriptor says {expected}")]
    Size {
        /// What the descriptor says.
        expected: u64,
        /// What arrived.
        actual: u64,
    },
}

impl Unverified {
    /// Takes bytes as they arrived.
    pub fn new(bytes: impl Into<Bytes>) -> Unverified {
        Unverified(bytes.into())
    }

    /// Returns the checked bytes if their length and digest are those of `descriptor`.
    pub fn verify(self, descriptor: &Descriptor) -> Result<Verified, VerifyError> {
        let actual = self.0.len() as u64;
        if actual != descriptor.size_bytes {
            return Err(VerifyError::Size { expected: descriptor.size_bytes, actual });
        }
        self.verify_digest(descriptor.digest)
    }

    /// Returns the checked bytes if they hash to `expected`.
    pub fn verify_digest(self, expected: Digest) -> Result<Verified, VerifyError> {
        let actual = Digest::of(expected.algorithm(), &self.0);
        if actual != expected {
            return Err(VerifyError::Digest { expected, actual });
        }
        Ok(Verified { bytes: self.0, digest: actual })
    }

    /// Accepts bytes that were asked for by tag: nothing binds them, so their digest is whatever it is.
    pub fn accept_by_tag(self) -> Verified {
        let digest = Digest::of(Algorithm::Sha256, &self.0);
        Verified { bytes: self.0, digest }
    }
}

/// Bytes and the digest that they were checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    bytes: Bytes,
    digest: Digest,
}

impl Verified {
    /// Returns the bytes exactly as they arrived.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the digest of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Describes the bytes as `media_type`.
    pub fn descriptor(&self, media_type: impl Into<String>) -> Descriptor {
        Descriptor::new(media_type, self.digest, self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_digest_are_both_checked() {
        let good = Descriptor::new("x", Digest::sha256(b"abc"), 3);
        let long = Descriptor::new("x", Digest::sha256(b"abc"), 4);
        let other = Descriptor::new("x", Digest::sha256(b"abd"), 3);
        let bytes = || Unverified::new(&b"abc"[..]);
        assert_eq!(bytes().verify(&good).unwrap().bytes().as_ref(), b"abc");
        assert_eq!(bytes().verify(&long).unwrap_err(), VerifyError::Size { expected: 4, actual: 3 });
        assert!(matches!(bytes().verify(&other), Err(VerifyError::Digest { .. })));
    }
}
