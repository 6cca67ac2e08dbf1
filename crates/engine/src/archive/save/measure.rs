//! How long a layer's tar will be, from its tar-split record alone: a member's header needs it before its content.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};

use serde::Deserialize;

/// A segment is at most a few mebibytes long, so a longer line is damage.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Why a tar-split record cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The record cannot be read or inflated.
    #[error("could not read tar-split")]
    Read(#[from] io::Error),
    /// A line that is none.
    #[error("tar-split has a malformed line")]
    Line(#[from] serde_json::Error),
    /// A line without end, a payload that is no base64, or lengths beyond all bounds.
    #[error("tar-split has a line that cannot be")]
    Impossible,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(default)]
    size: u64,
    #[serde(borrow, default)]
    payload: Option<Cow<'a, str>>,
}

/// Returns the length of the tar that `tar_split` (uncompressed lines) makes.
pub(super) fn tar_bytes(tar_split: &mut dyn Read) -> Result<u64, MeasureError> {
    let mut reader = BufReader::with_capacity(64 << 10, tar_split);
    let mut line = Vec::new();
    let mut total = 0_u64;
    loop {
        line.clear();
        if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(total);
        }
        if line.len() as u64 == LINE_BYTES_MAX {
            return Err(MeasureError::Impossible);
        }
        let record: Line<'_> = serde_json::from_slice(&line)?;
        let bytes = match (record.kind, &record.payload) {
            (1, _) => record.size,
            (_, Some(payload)) => decoded_bytes(payload).ok_or(MeasureError::Impossible)?,
            (_, None) => 0,
        };
        total = total.checked_add(bytes).filter(|total| total >> 62 == 0).ok_or(MeasureError::Impossible)?;
    }
}

fn decoded_bytes(base64: &str) -> Option<u64> {
    let padding = base64.bytes().rev().take_while(|byte| *byte == b'=').take(3).count();
    (base64.len().is_multiple_of(4) && padding < 3).then(|| (base64.len() / 4 * 3 - padding) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shale_rootfs::tar_split::disassemble;
    use shale_testkit::image::LayerBuilder;

    #[test]
    fn the_length_is_that_of_the_tar() {
        let tar = LayerBuilder::new()
            .directory("d", 0o755)
            .file("d/f", 0o644, &[1; 12_345])
            .symlink("l", "d/f")
            .file("empty", 0o644, b"")
            .tar();
        let mut tar_split = Vec::new();
        disassemble(&mut tar.as_slice(), &mut tar_split).unwrap();
        assert_eq!(tar_bytes(&mut tar_split.as_slice()).unwrap(), tar.len() as u64);
    }

    #[test]
    fn damaged_records_are_refused() {
        for record in
            ["{", "{\"type\":2,\"payload\":\"abc\"}\n", "{\"type\":1,\"size\":9223372036854775807}\n"]
        {
            assert!(tar_bytes(&mut record.as_bytes()).is_err(), "{record}");
        }
    }
}
