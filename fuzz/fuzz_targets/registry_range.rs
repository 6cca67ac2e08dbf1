//! Any text as `Range` and `Content-Range`, for blobs of any size. Nothing may panic, and no byte is outside of the blob.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shale_registry::api::range::{Requested, parse_content_range, parse_range, received_header};

fuzz_target!(|input: (u64, String)| {
    let (size_bytes, text) = input;
    for header in [text.clone(), format!("bytes={text}")] {
        if let Requested::Part { first, last } = parse_range(&header, size_bytes) {
            assert!(first <= last && last < size_bytes, "{header:?} of {size_bytes}");
        }
        if let Some(range) = parse_content_range(&header) {
            assert!(range.first <= range.last && range.length_bytes() >= 1);
            let again = parse_content_range(&format!("{}-{}", range.first, range.last));
            assert_eq!(again, Some(range));
        }
    }
    assert!(received_header(size_bytes).to_str().is_ok());
});
