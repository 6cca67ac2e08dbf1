//! Any bytes as a manifest that somebody pushes, sent as anything. Nothing may panic; what is accepted has one reading.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use shale_oci::{Digest, Document, Unverified};
use shale_registry::manifest::{self, Kind};

fuzz_target!(|bytes: &[u8]| {
    let sent = [
        None,
        Some(manifest::OCI_MANIFEST),
        Some(manifest::OCI_INDEX),
        Some(manifest::DOCKER_MANIFEST),
        Some(manifest::DOCKER_LIST),
        Some(manifest::OCI_ARTIFACT),
        Some("text/plain"),
    ];
    for content_type in sent {
        let Ok(parsed) = manifest::parse(bytes, content_type) else { continue };
        let document: Value = serde_json::from_slice(bytes).expect("it was read before");
        let count = |key: &str| document[key].as_array().map_or(0, Vec::len);
        let blobs = match parsed.kind {
            Kind::Image => 1 + count("layers"),
            Kind::Index => 0,
            Kind::Artifact => count("blobs"),
        };
        assert_eq!(parsed.blobs.len(), blobs);
        let manifests = if parsed.kind == Kind::Index { count("manifests") } else { 0 };
        assert_eq!(parsed.manifests.len(), manifests);
        let listed = parsed.referrer(Digest::sha256(bytes), bytes.len());
        assert_eq!(listed["mediaType"], *parsed.media_type);
        // The client's reader must not see another kind of document in the same bytes.
        let trusted = Unverified::new(bytes.to_vec()).accept_by_tag();
        match Document::parse(&trusted, Some(&parsed.media_type)) {
            Ok(Document::Index(_)) => assert_eq!(parsed.kind, Kind::Index),
            Ok(Document::Manifest(_)) => assert_eq!(parsed.kind, Kind::Image),
            Err(_) => {}
        }
    }
});
