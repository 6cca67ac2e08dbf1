//! Published documents give their published digests, through the paths that `pull` and `inspect` use.

use std::fs;

use serde_json::Value;
use shale_tests::peer::{Body, Shale, StaticRegistry};
use shale_tests::scratch::Scratch;
use shale_tests::{fixtures, sha256_hex};

/// File, media type, and the digest under which Docker Hub published it.
const DOCUMENTS: [(&str, &str, &str); 3] = [
    (
        "alpine-2020.manifest-list.json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "sha256:185518070891758909c9f839cf4ca393ee977ac378609f700f60a771a2dfe321",
    ),
    (
        "alpine-2020-amd64.manifest.json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "sha256:a15790640a6690aa1730c38cf0a440e2aa44aaca9b0e8931a9f2b0d7cc90fd65",
    ),
    (
        "busybox-2016.manifest.json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "sha256:a59906e33509d14c036c8678d687bd4eec81ed7c4b8ce907b888c607f6a1e0e6",
    ),
];

const NGINX: &str = "605c77e624ddb75e6110f997c58876baa13f8754486b461117934b24a9dc3a85";

fn vector(name: &str) -> Vec<u8> {
    fs::read(fixtures().join("vectors").join(name)).expect("the vectors are in the repository")
}

fn serve() -> StaticRegistry {
    let registry = StaticRegistry::start();
    for (name, media_type, _) in DOCUMENTS {
        let tag = name.split('.').next().expect("split gives a first part");
        registry.put_manifest("vectors/image", tag, media_type, &vector(name));
    }
    registry
}

#[test]
fn published_manifests_come_through_byte_for_byte_by_tag_and_by_digest() {
    let scratch = Scratch::new("vectors");
    let (shale, registry) = (Shale::new(scratch.path()), serve());
    for (name, _, digest) in DOCUMENTS {
        let tag = name.split('.').next().expect("split gives a first part");
        for reference in [format!(":{tag}"), format!("@{digest}")] {
            let reference = format!("{}/vectors/image{reference}", registry.host());
            let raw = shale.shale(&["manifest", "inspect", "--raw", &reference]);
            assert_eq!(format!("sha256:{}", sha256_hex(raw.as_bytes())), digest, "{reference}");
        }
    }
}

#[test]
fn a_pull_walks_from_the_list_to_the_config_by_the_published_digests() {
    let scratch = Scratch::new("vectors");
    let (shale, registry) = (Shale::new(scratch.path()), serve());
    let reference = format!("{}/vectors/image@{}", registry.host(), DOCUMENTS[0].2);
    // The layers of 2020 are not here: the pull ends at the first blob, and says which one that is.
    let message = shale.run(&["pull", "--platform", "linux/amd64", &reference]).refusal();
    let manifest: Value = serde_json::from_slice(&vector(DOCUMENTS[1].0)).expect("it is JSON");
    let asked = registry.requests().join("\n");
    assert!(asked.contains(&format!("GET /v2/vectors/image/manifests/{}", DOCUMENTS[0].2)), "{asked}");
    assert!(asked.contains(&format!("GET /v2/vectors/image/manifests/{}", DOCUMENTS[1].2)), "{asked}");
    let config = manifest["config"]["digest"].as_str().expect("it has a config");
    assert!(asked.contains(&format!("/v2/vectors/image/blobs/{config}")), "{asked}");
    assert!(!message.is_empty());
    assert_eq!(shale.shale(&["images", "--all", "--quiet"]), "");
}

#[test]
fn a_document_that_was_serialised_again_is_refused() {
    let scratch = Scratch::new("vectors");
    let shale = Shale::new(scratch.path());
    for (name, media_type, digest) in DOCUMENTS {
        let again = serde_json::from_slice::<Value>(&vector(name)).expect("it is JSON").to_string();
        assert_ne!(again.as_bytes(), vector(name), "{name} has a form of its own");
        let registry = StaticRegistry::start();
        registry.put_manifest("vectors/image", digest, media_type, again.as_bytes());
        let reference = format!("{}/vectors/image@{digest}", registry.host());
        for arguments in [vec!["pull", &reference], vec!["manifest", "inspect", "--raw", &reference]] {
            shale.run(&arguments).refusal();
        }
    }
    assert_eq!(shale.shale(&["images", "--all", "--quiet"]), "");
}

#[test]
fn layers_under_their_published_chain_ids_are_found_by_the_published_config() {
    let scratch = Scratch::new("vectors");
    let shale = Shale::new(scratch.path());
    let published: Value = serde_json::from_slice(&vector("nginx-1.21.5.inspect.json")).expect("it is JSON");
    let chains: Value = serde_json::from_slice(&vector("chain-ids.json")).expect("it is JSON");
    seed(&shale, &chains["nginx-1.21.5"]);
    assert_eq!(shale.shale(&["images", "--quiet", "--no-trunc"]).trim(), format!("sha256:{NGINX}"));
    let text = shale.shale(&["inspect", "nginx:latest"]);
    let inspected: Value = serde_json::from_str(&text).expect("inspect prints JSON");
    for field in ["Id", "RepoTags", "RepoDigests", "Created", "Architecture", "Os", "RootFS"] {
        assert_eq!(inspected[0][field], published[0][field], "{field}");
    }
    for field in ["Env", "Cmd", "Entrypoint", "ExposedPorts", "Labels", "StopSignal"] {
        assert_eq!(inspected[0]["Config"][field], published[0]["Config"][field], "{field}");
    }
}

#[test]
fn published_chain_ids_are_explained() {
    let scratch = Scratch::new("vectors");
    let shale = Shale::new(scratch.path());
    let chains: Value = serde_json::from_slice(&vector("chain-ids.json")).expect("it is JSON");
    seed(&shale, &chains["nginx-1.21.5"]);
    let explained = shale.shale(&["explain", "nginx:latest"]);
    for chain in chains["nginx-1.21.5"]["chain_ids"].as_array().expect("it is a list") {
        let hex = chain.as_str().expect("a chain ID is text").trim_start_matches("sha256:");
        assert!(explained.contains(&hex[..12]), "{hex} is not in:\n{explained}");
        let of_chain = shale.shale(&["explain", &format!("sha256:{hex}")]);
        assert!(of_chain.to_lowercase().contains("chain"), "{of_chain}");
    }
}

/// Writes a data root by hand, with empty layers under the published chain IDs.
fn seed(shale: &Shale, vector_of: &Value) {
    let root = shale.data_root();
    let image = root.join("image/overlay2");
    let text = |value: &Value| value.as_str().expect("an ID is text").to_owned();
    let list =
        |name: &str| vector_of[name].as_array().expect("it is a list").iter().map(text).collect::<Vec<_>>();
    let (diff_ids, chain_ids) = (list("diff_ids"), list("chain_ids"));
    fs::create_dir_all(root.join("overlay2/l")).expect("the root is ours");
    for (number, (diff_id, chain_id)) in diff_ids.iter().zip(&chain_ids).enumerate() {
        let cache = format!("{number:064x}").replace('0', "c");
        let layer = image.join("layerdb/sha256").join(chain_id.trim_start_matches("sha256:"));
        fs::create_dir_all(&layer).expect("the root is ours");
        let write =
            |name: &str, content: &str| fs::write(layer.join(name), content).expect("the root is ours");
        write("diff", diff_id);
        write("size", "0");
        write("cache-id", &cache);
        if number > 0 {
            write("parent", &chain_ids[number - 1]);
        }
        let folder = root.join("overlay2").join(&cache);
        fs::create_dir_all(folder.join("diff")).expect("the root is ours");
        let link = |number: usize| {
            char::from(b'A' + u8::try_from(number).expect("few layers")).to_string().repeat(26)
        };
        fs::write(folder.join("link"), link(number)).expect("the root is ours");
        let target = format!("../{cache}/diff");
        std::os::unix::fs::symlink(target, root.join("overlay2/l").join(link(number)))
            .expect("the root is ours");
        if number > 0 {
            let lower: Vec<String> = (0..number).rev().map(|below| format!("l/{}", link(below))).collect();
            fs::write(folder.join("lower"), lower.join(":")).expect("the root is ours");
        }
    }
    let content = image.join("imagedb/content/sha256");
    fs::create_dir_all(&content).expect("the root is ours");
    fs::write(content.join(NGINX), vector("nginx-1.21.5.config.json")).expect("the root is ours");
    let published: Value = serde_json::from_slice(&vector("nginx-1.21.5.inspect.json")).expect("it is JSON");
    let id = format!("sha256:{NGINX}");
    let digest = text(&published[0]["RepoDigests"][0]);
    let repositories = serde_json::json!({"Repositories": {"nginx": {"nginx:latest": id, digest: id}}});
    fs::write(image.join("repositories.json"), repositories.to_string()).expect("the root is ours");
}

#[test]
fn the_config_of_nginx_is_asked_for_and_checked_by_its_published_digest() {
    let scratch = Scratch::new("vectors");
    let shale = Shale::new(scratch.path());
    let config = vector("nginx-1.21.5.config.json");
    let chains: Value = serde_json::from_slice(&vector("chain-ids.json")).expect("it is JSON");
    let registry = StaticRegistry::start();
    registry.put_blob("vectors/nginx", &format!("sha256:{NGINX}"), Body::Bytes(config.clone()));
    let layers: Vec<Value> = chains["nginx-1.21.5"]["diff_ids"]
        .as_array()
        .expect("it is a list")
        .iter()
        .map(|diff_id| {
            serde_json::json!({
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": 1,
                "digest": diff_id,
            })
        })
        .collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": config.len(),
            "digest": format!("sha256:{NGINX}"),
        },
        "layers": layers,
    });
    let manifest = manifest.to_string();
    let media_type = "application/vnd.docker.distribution.manifest.v2+json";
    registry.put_manifest("vectors/nginx", "1.21.5", media_type, manifest.as_bytes());
    // The layers of 2021 are not here: the config is accepted, then a layer is missing. Several are asked for at the same
    // time, and the first refusal ends the others, so it may be any.
    let reference = format!("{}/vectors/nginx:1.21.5", registry.host());
    shale.run(&["pull", &reference]).refusal();
    let asked = registry.requests().join("\n");
    assert!(asked.contains(&format!("GET /v2/vectors/nginx/blobs/sha256:{NGINX}")), "{asked}");
    let diff_ids = chains["nginx-1.21.5"]["diff_ids"].as_array().expect("it is a list");
    let layers = diff_ids.iter().map(|diff_id| diff_id.as_str().expect("an ID is text"));
    let asked_for = |layer: &str| asked.contains(&format!("GET /v2/vectors/nginx/blobs/{layer}"));
    assert!(layers.into_iter().any(asked_for), "{asked}");
    assert_eq!(shale.shale(&["images", "--all", "--quiet"]), "");
}
