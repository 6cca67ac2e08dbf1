//! Volumes of the Docker registry. The layout is that of distribution 2.8 and 3, seen on their disks.

use std::fs;
use std::path::Path;

use shale_registry::takeover::DamageKind;

use crate::client::{Running, image, sha256, sha512};

fn blob(root: &Path, bytes: &[u8]) -> String {
    let digest = sha256(bytes);
    let digits = &digest[7..];
    let directory = root.join("docker/registry/v2/blobs/sha256").join(&digits[..2]).join(digits);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("data"), bytes).unwrap();
    digest
}

fn link(root: &Path, place: &str, content: &str) {
    let directory = root.join("docker/registry/v2/repositories").join(place);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("link"), content).unwrap();
}

fn path_of(digest: &str) -> String {
    digest.replace(':', "/")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_served_where_it_is_and_damage_is_named() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path();
    let (layer, strong) = (&b"a layer"[..], &b"pushed as sha512"[..]);
    for bytes in [&b"{}"[..], layer, strong] {
        let digest = blob(at, bytes);
        link(at, &format!("deep/er/name/_layers/{}", path_of(&digest)), &digest);
    }
    link(at, &format!("deep/er/name/_layers/{}", path_of(&sha512(strong))), &sha256(strong));
    let manifest = image(layer);
    let digest = blob(at, manifest.as_bytes());
    link(at, &format!("deep/er/name/_manifests/revisions/{}", path_of(&digest)), &digest);
    link(at, "deep/er/name/_manifests/tags/v1/current", &digest);
    link(at, &format!("deep/er/name/_manifests/tags/v1/index/{}", path_of(&digest)), &digest);
    // Damage of every kind that the field knows.
    let none = format!("sha256:{}", "0".repeat(64));
    link(at, &format!("deep/er/name/_layers/{}", path_of(&none)), &none);
    link(at, "deep/er/name/_manifests/tags/empty/current", "");
    link(at, "deep/er/name/_manifests/tags/garbage/current", "\0\0\0garbage");
    link(at, "deep/er/name/_manifests/tags/lost/current", &none);
    fs::create_dir_all(
        at.join("docker/registry/v2/repositories/deep/er/name/_manifests/revisions/sha256")
            .join("1".repeat(64)),
    )
    .unwrap();
    fs::create_dir_all(at.join("docker/registry/v2/repositories/deep/er/name/_uploads/some-uuid")).unwrap();
    let schema1 = blob(at, br#"{"schemaVersion":1,"name":"old"}"#);
    link(at, &format!("old/_manifests/revisions/{}", path_of(&schema1)), &schema1);
    let cut = blob(at, b"a manifest that was cut");
    fs::write(at.join("docker/registry/v2/blobs/sha256").join(&cut[7..9]).join(&cut[7..]).join("data"), "")
        .unwrap();
    link(at, &format!("old/_manifests/revisions/{}", path_of(&cut)), &cut);

    let server = Running::at(root, |_| {}).await;
    assert!(server.get("/v2/deep/er/name/manifests/v1").await.is(200).body == manifest.as_bytes());
    for (digest, bytes) in [(sha256(layer), layer), (sha256(strong), strong), (sha512(strong), strong)] {
        assert!(server.get(&format!("/v2/deep/er/name/blobs/{digest}")).await.is(200).body == bytes);
    }
    let tags = server.get("/v2/deep/er/name/tags/list").await.is(200).json();
    assert_eq!(tags["tags"], serde_json::json!(["v1"]));
    assert_eq!(server.get("/v2/_catalog").await.json()["repositories"], serde_json::json!(["deep/er/name"]));
    let root = server.stop().await;

    let config = shale_registry::Config { root: root.path().to_owned(), ..Default::default() };
    let imported = shale_registry::commands::import(&config, |_| {}).await.unwrap();
    assert_eq!((imported.repositories, imported.tags, imported.manifests, imported.blobs), (2, 1, 1, 4));
    assert_eq!(imported.uploads_left, 1);
    let mut kinds: Vec<_> = imported.findings.iter().map(|damage| format!("{:?}", damage.kind)).collect();
    kinds.sort();
    let expected = [
        DamageKind::DamagedManifest,
        DamageKind::EmptyLink,
        DamageKind::GarbageLink,
        DamageKind::LostTag,
        DamageKind::MissingBlob,
        DamageKind::SchemaOne,
    ];
    assert_eq!(kinds, expected.map(|kind| format!("{kind:?}")));
}
