//! The manifest that a push makes, byte for byte as Docker writes it.

use shale_oci::{Descriptor, go_json, media_type};

/// Returns a Docker schema 2 manifest, indented by three spaces as Docker's.
///
/// Source: distribution manifest/schema2 `FromStruct`, observed in the manifests of dockerd 20.10 and 28.
pub fn docker_manifest(config: &Descriptor, layers: &[Descriptor]) -> String {
    let mut text = format!(
        "{{\n   \"schemaVersion\": 2,\n   \"mediaType\": {},\n   \"config\": {},\n   \"layers\": [",
        quoted(media_type::DOCKER_MANIFEST),
        descriptor(config, 1)
    );
    for (index, layer) in layers.iter().enumerate() {
        text.push_str(if index == 0 { "\n      " } else { ",\n      " });
        text.push_str(&descriptor(layer, 2));
    }
    text.push_str(if layers.is_empty() { "]\n}" } else { "\n   ]\n}" });
    text
}

fn descriptor(descriptor: &Descriptor, depth: usize) -> String {
    let (inner, outer) = (" ".repeat(3 * (depth + 1)), " ".repeat(3 * depth));
    format!(
        "{{\n{inner}\"mediaType\": {},\n{inner}\"size\": {},\n{inner}\"digest\": \"{}\"\n{outer}}}",
        quoted(&descriptor.media_type),
        descriptor.size_bytes,
        descriptor.digest
    )
}

fn quoted(text: &str) -> String {
    go_json::to_string(text).expect("a string is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use shale_oci::{Digest, Document, Unverified};

    /// Manifests that dockerd pushed, with their digests as file names.
    const PUSHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/docker/20.10.24/registry");

    #[test]
    fn manifests_are_those_that_docker_pushed() {
        let mut compared = 0;
        for entry in walk(PUSHED.as_ref()) {
            let bytes = std::fs::read(&entry).unwrap();
            if !bytes.starts_with(b"{\n   \"schemaVersion\"") {
                continue;
            }
            let verified = Unverified::new(bytes.clone()).accept_by_tag();
            let Ok(Document::Manifest(manifest)) = Document::parse(&verified, None) else { continue };
            let ours = docker_manifest(&manifest.config, &manifest.layers);
            assert_eq!(Digest::sha256(ours.as_bytes()), Digest::sha256(&bytes), "{}", entry.display());
            compared += 1;
        }
        assert!(compared >= 1, "no manifest of docker in {PUSHED}");
    }

    fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
    }
}
