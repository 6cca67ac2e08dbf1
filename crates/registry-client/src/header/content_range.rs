//! `Content-Range` of a 206 and `Range` of an upload.

/// The bytes that a 206 carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte.
    pub first: u64,
    /// Last byte, included.
    pub last: u64,
    /// Length of the whole, when the server says it.
    pub total: Option<u64>,
}

/// Returns the range of `bytes 500-1499/2048` or `bytes 500-1499/*`; none for anything else.
///
/// Source: RFC 9110, section 14.4.
pub fn parse(value: &str) -> Option<ContentRange> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let first = number(first)?;
    let last = number(last)?;
    let total = match total {
        "*" => None,
        total => Some(number(total)?),
    };
    if last < first || total.is_some_and(|total| last >= total) {
        return None;
    }
    Some(ContentRange { first, last, total })
}

/// Returns the number of bytes that an upload holds, from the `Range: 0-<last>` of its answer.
///
/// `0-0` means one byte by the specification and none in the dialect of docker-registry, so the caller says what it
/// sent: with nothing sent the answer is 0.
///
/// Source: distribution-spec v1.1, "Pushing a blob in chunks"; docker-registry 2.8.2, observed 2026-11.
pub fn received(value: &str, sent: u64) -> Option<u64> {
    let value = value.trim();
    let value = value.strip_prefix("bytes=").unwrap_or(value);
    let (first, last) = value.split_once('-')?;
    if number(first)? != 0 {
        return None;
    }
    match number(last)? {
        0 => Some(sent.min(1)),
        last => last.checked_add(1),
    }
}

fn number(text: &str) -> Option<u64> {
    // `parse` alone would take a leading plus.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_of_the_specification_are_read() {
        let range = |first, last, total| Some(ContentRange { first, last, total });
        assert_eq!(parse("bytes 500-1499/2048"), range(500, 1499, Some(2048)));
        assert_eq!(parse("bytes 0-0/*"), range(0, 0, None));
        for text in [
            "",
            "bytes */2048",
            "bytes 5-4/9",
            "bytes 0-9/9",
            "bytes +1-2/9",
            "bytes 1-2",
            "lines 1-2/9",
            "bytes 0-99999999999999999999/*",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn received_bytes_are_read_in_both_dialects() {
        assert_eq!(received("0-41", 50), Some(42));
        assert_eq!(received("bytes=0-41", 50), Some(42));
        assert_eq!(received("0-0", 0), Some(0));
        assert_eq!(received("0-0", 1), Some(1));
        for text in ["", "1-5", "0-", "0-18446744073709551615", "0--1"] {
            assert_eq!(received(text, 9), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,80}") {
            let _ = (parse(&text), received(&text, 7));
        }

        #[test]
        fn what_was_written_is_read_back(first: u32, length in 1u32.., more: u32) {
            let (first, last) = (u64::from(first), u64::from(first) + u64::from(length) - 1);
            let total = last + 1 + u64::from(more);
            let range = parse(&format!("bytes {first}-{last}/{total}"));
            prop_assert_eq!(range, Some(ContentRange { first, last, total: Some(total) }));
        }
    }
}
