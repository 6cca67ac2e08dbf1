//! Any bytes as `repositories.json` and as distribution metadata. What is accepted is written and read to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shale_store::{References, parse_v2_metadata};

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_v2_metadata(bytes);
    if let Ok(references) = References::parse(bytes) {
        assert_eq!(References::parse(references.encode().as_bytes()).as_ref(), Ok(&references));
    }
});
