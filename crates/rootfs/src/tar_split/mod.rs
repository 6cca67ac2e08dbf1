//! tar-split: what of a layer's tar is not file content, so that the tar can be made again byte for byte.
//!
//! One JSON object a line: `{"type":2,"payload":<base64>,"position":n}` holds bytes as they are,
//! `{"type":1,"name":…,"size":…,"payload":<CRC-64>,"position":n}` stands for the content of a file in the layer.
//! Source: vbatts/tar-split as dockerd 20.10 to 29 write and read it, observed 2026-11-21.

mod assemble;
mod disassemble;
mod entries;
mod read;
mod write;

pub use assemble::{AssembleError, Assembled, Fault, FaultKind, assemble, quick_check, verify};
pub use disassemble::{DisassembleError, disassemble};
pub use entries::{Entries, EntriesError, EntryKind, EntryRecord, WhiteoutKind, entries};
pub use read::LineError;
pub(crate) use write::SplitWriter;

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-64/ISO as tar-split means it: Go's `crc64.ISO`, written with the most significant byte first.
pub(crate) struct Checksum(Digest);

impl Checksum {
    pub fn new() -> Checksum {
        Checksum(Digest::new(CrcAlgorithm::Crc64GoIso))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(&self) -> [u8; 8] {
        self.0.finalize().to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn checksums_are_those_of_dockerd() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../../fixtures/docker/vectors.json")).unwrap();
        for (text, expected) in vectors["crc64_iso_big_endian_base64"].as_object().unwrap() {
            let content: &[u8] = match text.as_str() {
                "x" | "1" | "hello\n" => text.as_bytes(),
                _ => continue,
            };
            let mut checksum = Checksum::new();
            checksum.update(content);
            assert_eq!(STANDARD.encode(checksum.finish()), expected.as_str().unwrap(), "{text:?}");
        }
    }
}
