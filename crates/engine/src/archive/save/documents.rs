//! The documents of an archive, byte for byte as dockerd 25 and later write them.
//!
//! Source: `docker save` of dockerd 28.5.2, observed 2026-11-21 (`fixtures/docker`). Of that, the configs of image
//! format v1 are left out: nothing refers to them, and no program reads them.

use std::collections::BTreeMap;

use serde::Serialize;
use shale_oci::{Descriptor, Digest, ImageId, Reference, media_type};

pub(super) const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion": "1.0.0"}"#;

/// What the documents say about one image.
pub(super) struct SavedImage {
    pub config_digest: Digest,
    /// Digest and length of the OCI manifest.
    pub manifest: (Digest, u64),
    /// Digests and lengths of the tars, bottom first.
    pub layers: Vec<(Digest, u64)>,
    pub references: Vec<Reference>,
    pub parent: Option<ImageId>,
    pub created_seconds: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OciManifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OciIndex {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    layer_sources: BTreeMap<String, LayerSource>,
}

/// A descriptor with the order of fields that containerd's Go module had when Docker took it up.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LayerSource {
    media_type: &'static str,
    size: u64,
    digest: Digest,
}

pub(super) fn oci_manifest(config: Digest, config_bytes: u64, layers: &[(Digest, u64)]) -> Vec<u8> {
    let layer = |&(digest, bytes): &(Digest, u64)| Descriptor::new(media_type::OCI_LAYER, digest, bytes);
    json(&OciManifest {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST,
        config: Descriptor::new(media_type::OCI_CONFIG, config, config_bytes),
        layers: layers.iter().map(layer).collect(),
    })
}

/// One entry for each tag; an image without one has an entry too, where Docker lists only the first such image.
pub(super) fn index(images: &[SavedImage]) -> Vec<u8> {
    let mut manifests = Vec::new();
    for SavedImage { manifest: (digest, bytes), references, .. } in images {
        let plain = Descriptor::new(media_type::OCI_MANIFEST, *digest, *bytes);
        if references.is_empty() {
            manifests.push(plain.clone());
        }
        manifests.extend(references.iter().map(|reference| Descriptor {
            annotations: Some(BTreeMap::from([
                ("io.containerd.image.name".to_owned(), reference.to_string()),
                ("org.opencontainers.image.ref.name".to_owned(), tag(reference).to_owned()),
            ])),
            ..plain.clone()
        }));
    }
    json(&OciIndex { schema_version: 2, media_type: media_type::OCI_INDEX, manifests })
}

pub(super) fn manifest(images: &[SavedImage]) -> Vec<u8> {
    let items: Vec<Item> = images.iter().map(|image| item(image, images)).collect();
    line(&items)
}

fn item(image: &SavedImage, all: &[SavedImage]) -> Item {
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let source = |&(digest, size): &(Digest, u64)| {
        (digest.to_string(), LayerSource { media_type: media_type::OCI_LAYER, size, digest })
    };
    // A parent that is not in the archive says nothing to who loads it.
    let parent = image.parent.filter(|parent| all.iter().any(|other| other.config_digest == parent.digest()));
    Item {
        config: path(&image.config_digest),
        repo_tags: (!image.references.is_empty())
            .then(|| image.references.iter().map(Reference::familiar).collect()),
        layers: image.layers.iter().map(|(digest, _)| path(digest)).collect(),
        parent: parent.map(|parent| parent.to_string()),
        layer_sources: image.layers.iter().map(source).collect(),
    }
}

/// Repository, tag, top layer; empty where no image has a tag.
pub(super) fn repositories(images: &[SavedImage]) -> Vec<u8> {
    let mut repositories: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for image in images {
        let Some((top, _)) = image.layers.last() else { continue };
        for reference in &image.references {
            let tags = repositories.entry(reference.repository.familiar()).or_default();
            tags.insert(tag(reference), top.hex());
        }
    }
    if repositories.is_empty() { Vec::new() } else { line(&repositories) }
}

fn tag(reference: &Reference) -> &str {
    reference.tag.as_ref().map_or("", |tag| tag.as_str())
}

fn json<T: Serialize>(document: &T) -> Vec<u8> {
    shale_oci::go_json::to_string(document).expect("the keys are strings").into_bytes()
}

fn line<T: Serialize>(document: &T) -> Vec<u8> {
    let mut bytes = json(document);
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        format!("sha256:{text}").parse().unwrap()
    }

    // The lengths and digests are those of `fixtures/docker/28.5.2/data-root+save.tar.xz`, `save-app-base.tar`.
    fn base() -> SavedImage {
        SavedImage {
            config_digest: digest("f51070640a6a514fe832f96e02bfcdda56183eb7799b175c12314e3c0fe088bd"),
            manifest: (digest("57357795ee523aebf3d0ed2221433d341814173ce89e2906d0d7d1998ff6cfa5"), 400),
            layers: vec![(
                digest("2a618d007ab312722ac37b36490554e0c658a1fd597559ebce9a93b5eb2cda5f"),
                2_017_280,
            )],
            references: vec![Reference::parse("fx/base:1").unwrap()],
            parent: None,
            created_seconds: 0,
        }
    }

    #[test]
    fn an_oci_manifest_has_the_digest_of_dockers() {
        let base = base();
        let manifest = oci_manifest(base.config_digest, 895, &base.layers);
        assert_eq!((Digest::sha256(&manifest), manifest.len() as u64), base.manifest);
    }

    #[test]
    fn documents_are_those_of_docker() {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert_eq!(
            text(index(&[base()])),
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:57357795ee523aebf3d0ed2221433d341814173ce89e2906d0d7d1998ff6cfa5","size":400,"annotations":{"io.containerd.image.name":"docker.io/fx/base:1","org.opencontainers.image.ref.name":"1"}}]}"#
        );
        assert_eq!(
            text(manifest(&[base()])),
            "[{\"Config\":\"blobs/sha256/f51070640a6a514fe832f96e02bfcdda56183eb7799b175c12314e3c0fe088bd\",\"RepoTags\":[\"fx/base:1\"],\"Layers\":[\"blobs/sha256/2a618d007ab312722ac37b36490554e0c658a1fd597559ebce9a93b5eb2cda5f\"],\"LayerSources\":{\"sha256:2a618d007ab312722ac37b36490554e0c658a1fd597559ebce9a93b5eb2cda5f\":{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"size\":2017280,\"digest\":\"sha256:2a618d007ab312722ac37b36490554e0c658a1fd597559ebce9a93b5eb2cda5f\"}}}]\n"
        );
        assert_eq!(
            text(repositories(&[base()])),
            "{\"fx/base\":{\"1\":\"2a618d007ab312722ac37b36490554e0c658a1fd597559ebce9a93b5eb2cda5f\"}}\n"
        );
    }

    #[test]
    fn an_image_without_tags_has_no_repositories() {
        let untagged = SavedImage { references: Vec::new(), ..base() };
        assert!(repositories(std::slice::from_ref(&untagged)).is_empty());
        assert!(
            manifest(std::slice::from_ref(&untagged)).windows(15).any(|part| part == b"\"RepoTags\":null")
        );
        assert!(index(&[untagged]).ends_with(b"\"size\":400}]}"));
    }
}
