//! Any text as a header of a registry's answer. Nothing may panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shale_registry_client::header::{challenge, content_range, link, retry_after};

fuzz_target!(|bytes: &[u8]| {
    let _ = challenge::parse([bytes]);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = content_range::parse(text);
        let _ = content_range::received(text, 1 << 20);
        let _ = link::next(text);
        let _ = retry_after::parse(text, std::time::UNIX_EPOCH);
    }
});
