//! Copies: what arrives, what is not sent, what is refused.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use shale_engine::copy::{Copied, CopyError, CopyOptions, GraphError, Place, copy};
use shale_engine::progress::{Progress, Silent, Status};
use shale_oci::{Descriptor, Digest, Reference, Repository, Tag, Target};
use shale_registry_client::{Client, ClientOptions, Proxies, Retries, Timeouts};
use shale_testkit::bad_registry::BadRegistry;
use shale_testkit::docker_registry::{DockerRegistry, Setup};
use shale_testkit::image::{Blob, Flavour, Image, ImageBuilder, LayerBuilder, index, noise};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A client that gives up soon.
pub fn client() -> Client {
    let options = ClientOptions {
        certs_d: Vec::new(),
        proxies: Proxies::None,
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            response: Duration::from_millis(1500),
            upload_response: Duration::from_secs(10),
            stall: Duration::from_millis(1500),
            token: Duration::from_millis(1500),
            rate_window: Duration::from_millis(500),
            rate_bytes_min: 1 << 10,
        },
        retries: Retries {
            attempts_max: 5,
            delay_first: Duration::from_millis(1),
            delay_max: Duration::from_millis(10),
            retry_after_max: Duration::from_secs(5),
        },
        ..ClientOptions::default()
    };
    Client::new(options).unwrap()
}

async fn run(from: &str, to: &str) -> Result<Copied, CopyError> {
    let silent: Arc<dyn Progress> = Arc::new(Silent);
    run_with(from, to, &CopyOptions::default(), &silent).await
}

async fn run_with(
    from: &str,
    to: &str,
    options: &CopyOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Copied, CopyError> {
    let places: [Place; 2] = [from.parse().unwrap(), to.parse().unwrap()];
    copy(&client(), &places[0], &places[1], options, progress).await
}

/// Remembers the last word about each blob.
#[derive(Default)]
struct Remembered(Mutex<std::collections::BTreeMap<String, Status>>);

impl Progress for Remembered {
    fn layer(&self, id: &str, status: &Status) {
        self.0.lock().unwrap().insert(id.to_owned(), status.clone());
    }

    fn message(&self, _text: &str) {}
}

fn image(architecture: &str) -> Image {
    ImageBuilder::new(Flavour::Oci)
        .architecture(architecture)
        .layer(LayerBuilder::new().file("shared", 0o644, b"same everywhere"))
        .layer(LayerBuilder::new().file("own", 0o644, &noise(architecture.as_bytes()[1].into(), 50_000)))
        .build()
}

fn described(blob: &Blob) -> Descriptor {
    Descriptor::new(blob.media_type.as_str(), blob.digest.parse().unwrap(), blob.bytes.len() as u64)
}

/// Puts an image for two platforms, a list around its list, and a signature of the inner list into a registry.
/// The signature is listed under a tag, since docker-registry 2.8 has no list of referrers.
async fn fill(registry: &DockerRegistry) -> (Digest, Digest) {
    let client = client();
    let repository = Repository::parse(&format!("{}/source/app", registry.host())).unwrap();
    let images = [image("amd64"), image("arm64")];
    let by_digest = |blob: &Blob| Target::Digest(blob.digest.parse().unwrap());
    let put = async |target: Target, blob: &Blob| {
        client.put_manifest(&repository, &target, &blob.media_type, blob.bytes.clone().into()).await.unwrap();
    };
    let upload = async |blob: &Blob| {
        let bytes = bytes::Bytes::from(blob.bytes.clone());
        client.upload_blob(&repository, &described(blob), &bytes).await.unwrap();
    };
    for image in &images {
        for blob in image.blobs() {
            upload(blob).await;
        }
        put(by_digest(&image.manifest), &image.manifest).await;
    }
    let inner = index(Flavour::Oci, &[(&images[0], "amd64"), (&images[1], "arm64")]);
    put(by_digest(&inner), &inner).await;
    // White space that a second serialisation would lose.
    let outer = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner.descriptor()]});
    let outer = Blob::new(INDEX, format!("  {}\n\n", serde_json::to_string_pretty(&outer).unwrap()));
    put(Target::Tag(Tag::latest()), &outer).await;

    let (config, layer) =
        (Blob::new("application/vnd.oci.empty.v1+json", "{}"), Blob::new("application/x", "signed"));
    upload(&config).await;
    upload(&layer).await;
    let signature = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x.signature",
        "config": config.descriptor(), "layers": [layer.descriptor()], "subject": inner.descriptor(),
    });
    let signature = Blob::new(MANIFEST, signature.to_string());
    put(by_digest(&signature), &signature).await;
    let list = Blob::new(
        INDEX,
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [signature.descriptor()]}).to_string(),
    );
    put(Target::Tag(Tag::parse(&inner.digest.replace(':', "-")).unwrap()), &list).await;
    (outer.digest.parse().unwrap(), inner.digest.parse().unwrap())
}

/// The digest of what skopeo reads at a place.
#[track_caller]
fn skopeo_digest(place: &str) -> Digest {
    let output = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false", place])
        .output()
        .expect("skopeo is installed");
    assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
    Digest::sha256(&output.stdout)
}

fn tempdir() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_digest_survives_layout_archive_and_registry() {
    let (registry, other) =
        (DockerRegistry::start(&Setup::default()), DockerRegistry::start(&Setup::default()));
    let (root, inner) = fill(&registry).await;
    let (_folder, path) = tempdir();
    let layout = format!("oci:{}:v1", path.join("layout").display());
    let archive = format!("oci-archive:{}:v1", path.join("archive.tar").display());
    let docker_archive = format!("docker-archive:{}", path.join("docker.tar").display());
    let source = format!("{}/source/app", registry.host());
    let target = format!("{}/target/app", other.host());
    for (from, to) in [
        (source.as_str(), layout.as_str()),
        (&layout, &archive),
        (&archive, &docker_archive),
        (&docker_archive, &target),
    ] {
        let copied = run(from, to).await.unwrap();
        assert_eq!((copied.digest, copied.referrers), (root, 1), "{from} {to}");
    }
    for place in [&layout, &archive, &format!("docker://{source}"), &format!("docker://{target}")] {
        assert_eq!(skopeo_digest(place), root, "{place}");
    }
    let repository = Repository::parse(&target).unwrap();
    let client = client();
    assert_eq!(client.referrers(&repository, inner).await.unwrap().len(), 1);
    // Every blob is where it should be: skopeo reads all of them and checks each.
    let all = format!("oci:{}:all", path.join("by-skopeo").display());
    let output = Command::new("skopeo")
        .args(["copy", "--quiet", "--all", "--src-tls-verify=false"])
        .args([format!("docker://{}/target/app@{inner}", other.host()), all])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let without = CopyOptions { referrers: false, ..CopyOptions::default() };
    let silent: Arc<dyn Progress> = Arc::new(Silent);
    let bare = format!("{}/bare/app", other.host());
    assert_eq!(run_with(&source, &bare, &without, &silent).await.unwrap().referrers, 0);
    let bare = Repository::parse(&bare).unwrap();
    assert!(client.referrers(&bare, inner).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cosign_keeps_under_tags_comes_along_between_registries() {
    let (registry, other) =
        (DockerRegistry::start(&Setup::default()), DockerRegistry::start(&Setup::default()));
    let (root, inner) = fill(&registry).await;
    let client = client();
    let repository = Repository::parse(&format!("{}/source/app", registry.host())).unwrap();
    let kept = image("signature");
    for blob in kept.blobs() {
        let bytes = bytes::Bytes::from(blob.bytes.clone());
        client.upload_blob(&repository, &described(blob), &bytes).await.unwrap();
    }
    let beside =
        |digest: Digest, suffix: &str| Tag::parse(&format!("sha256-{}.{suffix}", digest.hex())).unwrap();
    let tags = [beside(root, "sig"), beside(inner, "att"), beside(inner, "sbom")];
    for tag in &tags {
        let body = kept.manifest.bytes.clone().into();
        let target = Target::Tag(tag.clone());
        client.put_manifest(&repository, &target, &kept.manifest.media_type, body).await.unwrap();
    }
    let source = repository.familiar();
    let copied = run(source, &format!("{}/target/app", other.host())).await.unwrap();
    assert_eq!((copied.digest, copied.referrers), (root, 4));
    for tag in &tags {
        let name = format!("docker://{}/target/app:{tag}", other.host());
        assert_eq!(skopeo_digest(&name).to_string(), kept.manifest.digest, "{name}");
    }
    let without = CopyOptions { referrers: false, ..CopyOptions::default() };
    let silent: Arc<dyn Progress> = Arc::new(Silent);
    let bare = format!("{}/bare/app", other.host());
    assert_eq!(run_with(source, &bare, &without, &silent).await.unwrap().referrers, 0);
    assert_eq!(client.tags(&Repository::parse(&bare).unwrap()).await.unwrap(), [Tag::latest()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_sent_and_neighbours_lend_their_blobs() {
    let registry = DockerRegistry::start(&Setup::default());
    fill(&registry).await;
    let source = format!("{}/source/app", registry.host());
    let target = format!("{}/target/app", registry.host());
    let sent = || registry.log().lines().filter(|line| line.contains("\"PATCH /v2/target")).count();
    let options = CopyOptions::default();
    let first = Arc::new(Remembered::default());
    run_with(&source, &target, &options, &(first.clone() as Arc<dyn Progress>)).await.unwrap();
    let mounted = Status::MountedFrom("source/app".to_owned());
    assert!(first.0.lock().unwrap().values().all(|status| *status == mounted), "{:?}", first.0);
    let second = Arc::new(Remembered::default());
    run_with(&source, &target, &options, &(second.clone() as Arc<dyn Progress>)).await.unwrap();
    assert!(
        second.0.lock().unwrap().values().all(|status| *status == Status::AlreadyExists),
        "{:?}",
        second.0
    );
    assert_eq!(
        second.0.lock().unwrap().len(),
        7,
        "two configs, three layers, a signature and its empty config"
    );
    assert_eq!(sent(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn platforms_are_chosen_and_nothing_else_comes() {
    let registry = DockerRegistry::start(&Setup::default());
    fill(&registry).await;
    let (_folder, path) = tempdir();
    let source = format!("{}/source/app", registry.host());
    let silent: Arc<dyn Progress> = Arc::new(Silent);
    let only = |platforms: &[&str]| {
        let platforms = platforms.iter().map(|platform| platform.parse().unwrap()).collect();
        CopyOptions { platforms, ..CopyOptions::default() }
    };
    let to = format!("oci:{}:1", path.join("one").display());
    let copied = run_with(&source, &to, &only(&["linux/arm64"]), &silent).await.unwrap();
    assert_eq!(copied.digest.to_string(), image("arm64").manifest.digest);
    assert_eq!(std::fs::read_dir(path.join("one/blobs/sha256")).unwrap().count(), 4);
    let error = run_with(&source, &to, &only(&["linux/s390x"]), &silent).await.unwrap_err();
    assert!(matches!(error, CopyError::NoMatchingPlatform { .. }), "{error}");
}

/// The files of a folder, without those that only say that there is a layout.
fn content(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let all = paths.flat_map(|path| if path.is_dir() { content(&path) } else { vec![path] });
    all.filter(|path| !path.ends_with("oci-layout")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_lies_leaves_nothing_under_a_digest_or_a_name() {
    let behaviours = [
        "blob-wrong-content",
        "blob-flip-last",
        "blob-short-cl",
        "blob-extra-chunked",
        "blob-infinite",
        "blob-503-always",
        "blob-redir-loop",
        "blob-html",
    ];
    let target = DockerRegistry::start(&Setup::default());
    for behaviour in behaviours {
        let registry = BadRegistry::start(behaviour);
        let source = format!("{}/b/img", registry.host());
        let (_folder, path) = tempdir();
        let layout = path.join("layout");
        run(&source, &format!("oci:{}:1", layout.display())).await.expect_err(behaviour);
        assert!(!layout.join("index.json").exists(), "{behaviour}");
        for file in content(&layout.join("blobs")) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(Digest::sha256(&std::fs::read(&file).unwrap()).hex(), name, "{behaviour}");
        }
        let archive = path.join("archive.tar");
        run(&source, &format!("oci-archive:{}", archive.display())).await.expect_err(behaviour);
        let left: Vec<_> =
            content(&path).into_iter().filter(|path| path.to_string_lossy().contains("archive")).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "{behaviour}");
        let name = format!("{}/lies/{behaviour}:latest", target.host());
        run(&source, &name).await.expect_err(behaviour);
        let reference = Reference::parse(&name).unwrap();
        client().manifest(&reference.repository, &reference.target()).await.expect_err(behaviour);
        let layer = registry.image().layers.last().unwrap().blob.digest.parse().unwrap();
        assert_eq!(client().blob_exists(&reference.repository, layer).await.unwrap(), None, "{behaviour}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_breaks_only_slows_a_copy_down() {
    let target = DockerRegistry::start(&Setup::default());
    for behaviour in ["blob-reset-every-50k", "blob-reset-once-range", "blob-500-twice", "blob-429-once"] {
        let registry = BadRegistry::start(behaviour);
        let source = format!("{}/b/img", registry.host());
        let (_folder, path) = tempdir();
        let layout = format!("oci:{}", path.join("layout").display());
        let digest = registry.image().manifest.digest.parse::<Digest>().unwrap();
        let name = format!("{}/good/{behaviour}", target.host());
        for to in [&layout, &name] {
            assert_eq!(run(&source, to).await.expect(behaviour).digest, digest, "{behaviour} {to}");
        }
    }
    for behaviour in ["p-patch-reset", "p-post-500-twice", "p-put-500-twice", "p-mput-500-twice"] {
        let registry = BadRegistry::start("good");
        // With an image of its own, or the target would have all blobs from the start.
        let target = BadRegistry::start_with(behaviour, image("s390x"));
        let source = format!("{}/b/img", registry.host());
        let copied = run(&source, &format!("{}/b/img", target.host())).await.expect(behaviour);
        for blob in registry.image().blobs() {
            assert_eq!(target.pushed(&blob.digest).as_ref(), Some(&blob.bytes), "{behaviour}");
        }
        assert_eq!(target.pushed(&copied.digest.to_string()), Some(registry.image().manifest.bytes.clone()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_interrupted_copy_left_is_not_fetched_again_unless_it_is_wrong() {
    for (left, is_right) in [(100_000, true), (100_000, false)] {
        let registry = BadRegistry::start("good");
        let layer = &registry.image().layers.last().unwrap().blob;
        let (_folder, path) = tempdir();
        let partial = path.join("layout/.partial");
        std::fs::create_dir_all(&partial).unwrap();
        std::fs::write(path.join("layout/oci-layout"), "").unwrap();
        let bytes = if is_right { layer.bytes[..left].to_vec() } else { vec![b'x'; left] };
        std::fs::write(partial.join(layer.digest.replace(':', "-")), bytes).unwrap();
        run(&format!("{}/b/img", registry.host()), &format!("oci:{}", path.join("layout").display()))
            .await
            .unwrap();
        let requests = registry.requests_for(&format!("/blobs/{}", layer.digest));
        let ranges: Vec<_> =
            requests.iter().map(|request| request.header("range").map(str::to_owned)).collect();
        let resumed = Some(format!("bytes={left}-"));
        let expected = if is_right { vec![resumed] } else { vec![resumed, None] };
        assert_eq!(ranges, expected);
        let hex = layer.digest.split_once(':').unwrap().1;
        let stored = std::fs::read(path.join("layout/blobs/sha256").join(hex)).unwrap();
        assert_eq!(stored, layer.bytes);
        assert!(!partial.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_in_lists_have_an_end() {
    let (_folder, path) = tempdir();
    let blobs = path.join("layout/blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let mut inner: Vec<serde_json::Value> = Vec::new();
    for _ in 0..10 {
        let list =
            Blob::new(INDEX, json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": inner}).to_string());
        std::fs::write(blobs.join(list.digest.split_once(':').unwrap().1), &list.bytes).unwrap();
        inner = vec![list.descriptor()];
    }
    let index = json!({"schemaVersion": 2, "manifests": inner});
    std::fs::write(path.join("layout/index.json"), index.to_string()).unwrap();
    let from = format!("oci:{}", path.join("layout").display());
    let error = run(&from, &format!("oci:{}", path.join("copy").display())).await.unwrap_err();
    assert!(matches!(error, CopyError::Graph(GraphError::TooDeep)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_skopeos_becomes_the_same_image_every_time() {
    let registry = DockerRegistry::start(&Setup::default());
    fill(&registry).await;
    let (_folder, path) = tempdir();
    let archive = path.join("by-skopeo.tar");
    let amd64 = image("amd64");
    let output = Command::new("skopeo")
        .args(["copy", "--quiet", "--src-tls-verify=false"])
        .arg(format!("docker://{}/source/app@{}", registry.host(), amd64.manifest.digest))
        .arg(format!("docker-archive:{}:made/by:skopeo", archive.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let from = format!("docker-archive:{}", archive.display());
    let to = format!("{}/from/skopeo", registry.host());
    let first = run(&from, &to).await.unwrap();
    let again = run(&format!("{from}:made/by:skopeo"), &format!("oci:{}", path.join("layout").display()))
        .await
        .unwrap();
    assert_eq!(first.digest, again.digest);
    let repository = Repository::parse(&to).unwrap();
    let manifest = client().manifest(&repository, &Target::Tag(Tag::latest())).await.unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest.body).unwrap();
    // skopeo keeps the config of the image, and its layers as plain tars, whose digests are the diff IDs.
    assert_eq!(manifest["config"]["digest"], amd64.config.digest);
    let layers: Vec<&str> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap())
        .collect();
    let diff_ids: Vec<&str> = amd64.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    assert_eq!(layers, diff_ids);
}
