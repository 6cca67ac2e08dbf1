//! Any text as a name. What parses prints, and parses again to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shale_oci::{Digest, Platform, Reference};

fuzz_target!(|text: &str| {
    let _ = text.parse::<Digest>();
    let _ = text.parse::<Platform>();
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference));
        // Docker cuts "docker.io/" off whatever follows, so a folder of Docker Hub with a dot reads as a registry afterwards.
        let path = reference.repository.path();
        let folder = path.split_once('/').map_or("", |(folder, _)| folder);
        let looks_like_registry = folder.contains('.') || folder == "localhost";
        if !looks_like_registry {
            assert_eq!(Reference::parse(&reference.familiar()).as_ref(), Ok(&reference));
        }
    }
});
