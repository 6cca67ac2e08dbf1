//! The three forms of ranges: `Range` of a download, `Content-Range` of a chunk, `Range` of an upload's state.

use http::HeaderValue;

/// What a `Range` header asks of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requested {
    /// No range that we serve: the whole blob.
    Whole,
    /// The bytes from `first` to `last`, both included.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// A range that lies outside of the blob.
    Unsatisfiable,
}

/// Returns what `header` asks of a blob of `size_bytes`.
///
/// Several ranges, other units and malformed headers mean the whole blob, which RFC 9110 section 14.2 lets a server do;
/// a first byte after the last one is answered as unsatisfiable, as the conformance suite expects.
pub fn parse_range(header: &str, size_bytes: u64) -> Requested {
    let Some(set) = header.trim().strip_prefix("bytes=") else { return Requested::Whole };
    if set.contains(',') {
        return Requested::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Requested::Whole };
    match (parse_number(first), parse_number(last)) {
        (Some(first), Some(last)) if first > last => Requested::Unsatisfiable,
        (Some(first), _) if first >= size_bytes && (last.is_empty() || parse_number(last).is_some()) => {
            Requested::Unsatisfiable
        }
        (Some(first), Some(last)) => Requested::Part { first, last: last.min(size_bytes - 1) },
        (Some(first), None) if last.is_empty() => Requested::Part { first, last: size_bytes - 1 },
        (None, Some(suffix)) if first.is_empty() => {
            if suffix == 0 || size_bytes == 0 {
                return Requested::Unsatisfiable;
            }
            Requested::Part { first: size_bytes.saturating_sub(suffix), last: size_bytes - 1 }
        }
        _ => Requested::Whole,
    }
}

/// A parsed `Content-Range` of a chunk: offsets of its first and last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte.
    pub last: u64,
}

impl ChunkRange {
    /// Returns the number of bytes in the chunk.
    pub fn length_bytes(self) -> u64 {
        self.last - self.first + 1
    }
}

/// Parses `first-last`, with or without `bytes ` before and a total after, as clients write it.
///
/// Returns nothing for anything else, and for a last byte before the first one.
pub fn parse_content_range(header: &str) -> Option<ChunkRange> {
    let span = header.trim();
    let span = span.strip_prefix("bytes").map_or(span, |rest| rest.trim_start_matches(['=', ' ']));
    let span = match span.split_once('/') {
        Some((span, total)) if total == "*" || parse_number(total).is_some() => span,
        Some(_) => return None,
        None => span,
    };
    let (first, last) = span.split_once('-')?;
    let (first, last) = (parse_number(first)?, parse_number(last)?);
    // The length must be countable: 0-u64::MAX has one byte too many.
    (first <= last && last < u64::MAX).then_some(ChunkRange { first, last })
}

/// Returns the `Range` header of an upload that has `received` bytes; `0-0` stands for none and for one.
pub fn received_header(received: u64) -> HeaderValue {
    HeaderValue::try_from(format!("0-{}", received.saturating_sub(1))).expect("digits only")
}

/// Digits only: `u64::from_str` would take a plus sign.
fn parse_number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, size_bytes: u64, expected: Requested) {
        assert_eq!(parse_range(header, size_bytes), expected, "{header} of {size_bytes}");
    }

    #[test]
    fn ranges_are_those_of_rfc_9110() {
        let part = |first, last| Requested::Part { first, last };
        check("bytes=500-1499", 2048, part(500, 1499));
        check("bytes=500-", 2048, part(500, 2047));
        check("bytes=-500", 2048, part(1548, 2047));
        check("bytes=-5000", 2048, part(0, 2047));
        check("bytes=2000-5000", 2048, part(2000, 2047));
        check("bytes=500-0", 2048, Requested::Unsatisfiable);
        check("bytes=5000-10000", 2048, Requested::Unsatisfiable);
        check("bytes=2048-", 2048, Requested::Unsatisfiable);
        check("bytes=-0", 2048, Requested::Unsatisfiable);
        check("bytes=0-0", 0, Requested::Unsatisfiable);
        check("bytes=-1", 0, Requested::Unsatisfiable);
        check("bytes=0-0,10-19", 2048, Requested::Whole);
        check("lines=1-2", 2048, Requested::Whole);
        check("bytes=", 2048, Requested::Whole);
        check("bytes=-", 2048, Requested::Whole);
        check("bytes=a-b", 2048, Requested::Whole);
        check("bytes=+1-2", 2048, Requested::Whole);
        check("bytes=0-99999999999999999999", 2048, Requested::Whole);
    }

    #[test]
    fn content_ranges_take_the_forms_that_clients_write() {
        let range = |first, last| Some(ChunkRange { first, last });
        assert_eq!(parse_content_range("0-99"), range(0, 99));
        assert_eq!(parse_content_range("bytes 0-99/200"), range(0, 99));
        assert_eq!(parse_content_range("bytes=5-5"), range(5, 5));
        assert_eq!(parse_content_range("0-99/*"), range(0, 99));
        for bad in ["", "-", "1-", "-1", "9-1", "a-b", "0-1-2", "0-99/x", "0-18446744073709551615", "0--1"] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
