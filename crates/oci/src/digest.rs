//! Content digests: `sha256:<64 hex>` and `sha512:<128 hex>`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

/// The registered digest algorithms.
///
/// Source: OCI image-spec v1.1, "Digests", "Registered algorithms".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// Returns the name that stands before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// Returns the length of the hash in bytes.
    pub const fn length_bytes(self) -> usize {
        match self {
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A digest: the algorithm and the hash of some bytes.
///
/// There is no way to hold a malformed one, so its text is safe as a file name and in a URL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    // Bytes above the algorithm's length are zero, so that the derived comparisons are right.
    hash: [u8; 64],
}

/// Why a text is not a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No colon, or nothing that names an algorithm before it.
    #[error("invalid checksum digest format")]
    Format,
    /// An algorithm that is not registered.
    #[error("unsupported digest algorithm")]
    Algorithm,
    /// Not as many digits as the algorithm has.
    #[error("invalid checksum digest length")]
    Length,
}

impl Digest {
    /// Returns the SHA-256 of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Digest {
        Digest::from_sha256(Sha256::digest(bytes).into())
    }

    /// Returns the digest that has this SHA-256 hash.
    pub fn from_sha256(hash: [u8; 32]) -> Digest {
        let mut padded = [0; 64];
        padded[..32].copy_from_slice(&hash);
        Digest { algorithm: Algorithm::Sha256, hash: padded }
    }

    /// Returns the digest that has this SHA-512 hash.
    pub fn from_sha512(hash: [u8; 64]) -> Digest {
        Digest { algorithm: Algorithm::Sha512, hash }
    }

    /// Returns the digest of `bytes` under `algorithm`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
        let mut digester = Digester::new(algorithm);
        digester.update(bytes);
        digester.finish()
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the hash, as long as the algorithm makes it.
    pub fn hash(&self) -> &[u8] {
        &self.hash[..self.algorithm.length_bytes()]
    }

    /// Returns the hash as lower-case hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.hash())
    }

    /// Returns the first twelve hexadecimal digits, as Docker shows an identifier to people.
    pub fn short(&self) -> String {
        hex::encode(&self.hash[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    /// Parses `algorithm:hex`, with lower-case digits only and nothing around it.
    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let (name, digits) = text.split_once(':').ok_or(DigestError::Format)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            "" => return Err(DigestError::Format),
            _ => return Err(DigestError::Algorithm),
        };
        let length_bytes = algorithm.length_bytes();
        if digits.len() != 2 * length_bytes {
            return Err(DigestError::Length);
        }
        if digits.bytes().any(|digit| digit.is_ascii_uppercase()) {
            return Err(DigestError::Format);
        }
        let mut hash = [0; 64];
        hex::decode_to_slice(digits, &mut hash[..length_bytes]).map_err(|_| DigestError::Format)?;
        Ok(Digest { algorithm, hash })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|error| serde::de::Error::custom(format_args!("{error}: {text:?}")))
    }
}

/// Takes a digest over bytes that arrive in pieces.
#[derive(Clone)]
pub struct Digester(Hasher);

#[derive(Clone)]
enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Digester {
    /// Returns a digester that has seen no byte.
    pub fn new(algorithm: Algorithm) -> Digester {
        Digester(match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Box::default()),
        })
    }

    /// Returns a SHA-256 digester, the algorithm of nearly everything.
    pub fn sha256() -> Digester {
        Digester::new(Algorithm::Sha256)
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// Returns the digest of all bytes.
    pub fn finish(self) -> Digest {
        match self.0 {
            Hasher::Sha256(hasher) => Digest::from_sha256(hasher.finalize().into()),
            Hasher::Sha512(hasher) => Digest::from_sha512(hasher.finalize().into()),
        }
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digester")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4 example: SHA-256 of "abc".
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn sha256_of_abc_is_the_published_one() {
        assert_eq!(Digest::sha256(b"abc").to_string(), ABC);
        assert_eq!(Digest::sha256(b"abc").short(), "ba7816bf8f01");
    }

    #[test]
    fn pieces_and_whole_have_one_digest() {
        let mut digester = Digester::new(Algorithm::Sha512);
        digester.update(b"a");
        digester.update(b"bc");
        assert_eq!(digester.finish(), Digest::of(Algorithm::Sha512, b"abc"));
    }

    #[test]
    fn malformed_texts_are_refused() {
        let upper = ABC.replace("ba78", "BA78");
        let long = format!("{ABC}0");
        let newline = format!("{ABC}\n");
        for text in [
            "",
            ":",
            "sha256",
            "sha256:",
            "sha256:..",
            "sha256:%2e%2e",
            "md5:00",
            &upper,
            &long,
            &newline,
            &ABC[7..],
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
        }
        assert_eq!(ABC.parse::<Digest>().map(|digest| digest.to_string()).as_deref(), Ok(ABC));
    }
}
