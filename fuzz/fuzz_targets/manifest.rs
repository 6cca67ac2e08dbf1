//! Any bytes as a manifest or an index, served as anything. Nothing may panic; what is accepted has one reading.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shale_oci::{Document, Platform, Unverified, media_type};

fuzz_target!(|bytes: &[u8]| {
    let bytes = Unverified::new(bytes.to_vec()).accept_by_tag();
    for served in [None, Some(media_type::OCI_INDEX), Some(media_type::DOCKER_MANIFEST)] {
        match Document::parse(&bytes, served) {
            Ok(Document::Index(index)) => drop(index.choose(&Platform::host()).cloned()),
            Ok(Document::Manifest(manifest)) => assert!(manifest.blobs().count() == manifest.layers.len() + 1),
            Err(_) => {}
        }
    }
});
