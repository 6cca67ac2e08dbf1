//! save and load: what docker 20.10 and 28 wrote, what comes back, and what is refused.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use serde_json::json;
use shale_engine::Engine;
use shale_engine::archive::load::{Input, LoadError, Loaded};
use shale_engine::archive::save::SaveError;
use shale_engine::progress::Silent;
use shale_oci::{ImageId, Platform};
use shale_testkit::image::{Flavour, Image, ImageBuilder, LayerBuilder, index, sha256};
use tempfile::TempDir;

pub fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")).join(name)
}

pub fn engine() -> (TempDir, Engine) {
    let root = tempfile::Builder::new().prefix("shale-engine-").tempdir().unwrap();
    let engine = Engine::open(root.path()).unwrap();
    (root, engine)
}

fn load(engine: &Engine, archive: &[u8]) -> Result<Vec<Loaded>, LoadError> {
    engine.load(Input::Stream(Box::new(Cursor::new(archive.to_vec()))), None, &Silent)
}

fn save(engine: &Engine, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut archive = Vec::new();
    engine.save(&names, None).unwrap().write(&mut archive).unwrap();
    archive
}

/// Returns what `docker images --digests --no-trunc` listed for this name.
fn recorded_id(version: &str, name: &str) -> String {
    let (repository, tag) = name.rsplit_once(':').unwrap();
    let listed =
        fs::read_to_string(fixture(&format!("docker/{version}/cli-28.2/images-digests-no-trunc.txt")));
    let listed = listed.unwrap();
    let mut rows = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.find(|row| row[0] == repository && row[1] == tag).unwrap()[3].to_owned()
}

/// Returns the archive of docker 28.5.2, which stands in the one of its data root.
fn archive_of_28() -> Vec<u8> {
    let packed = File::open(fixture("docker/28.5.2/data-root+save.tar.xz")).unwrap();
    let mut outer = Vec::new();
    shale_rootfs::decompress(Box::new(packed)).unwrap().read_to_end(&mut outer).unwrap();
    members(&outer).remove("save-app-base.tar").unwrap()
}

/// Reads an archive as a person would: with tar.
fn members(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    fn collect(below: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for child in fs::read_dir(below).unwrap() {
            let path = child.unwrap().path();
            if path.is_dir() {
                collect(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("archive.tar");
    let into = directory.path().join("members");
    fs::write(&file, archive).unwrap();
    fs::create_dir(&into).unwrap();
    let tar = std::process::Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(&into).status();
    assert!(tar.unwrap().success());
    let mut found = BTreeMap::new();
    collect(&into, &into, &mut found);
    found
}

#[track_caller]
fn check_nothing_is_left(root: &TempDir, engine: &Engine) {
    let names = |path: &str| -> Vec<_> {
        let listed = fs::read_dir(root.path().join(path)).map(Iterator::collect::<Vec<_>>);
        listed.unwrap_or_default().into_iter().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(engine.store().image_ids().unwrap(), []);
    assert_eq!(engine.store().references().unwrap().iter().count(), 0);
    assert_eq!(names("overlay2"), ["l"]);
    for empty in ["overlay2/l", "image/overlay2/layerdb/sha256", "image/overlay2/layerdb/tmp"] {
        assert_eq!(names(empty), [""; 0], "{empty}");
    }
    let loads = names("").into_iter().filter(|name| name.to_str().unwrap().starts_with(".load"));
    assert_eq!(loads.count(), 0);
}

#[track_caller]
fn check_golden(version: &str, loaded: &[Loaded]) {
    let names: Vec<(String, String)> = loaded
        .iter()
        .flat_map(|loaded| {
            loaded.names.iter().map(|name| (name.reference.familiar(), loaded.image.to_string()))
        })
        .collect();
    let expected = ["fx/app:1", "127.0.0.1:5918/fx/app:1", "fx/base:1"]
        .map(|name| (name.to_owned(), recorded_id(version, name)));
    assert_eq!(names, expected);
}

#[test]
fn an_archive_of_docker_28_comes_back_byte_for_byte() {
    let (_root, engine) = engine();
    let docker = archive_of_28();
    check_golden("28.5.2", &load(&engine, &docker).unwrap());
    let saved = save(&engine, &["fx/app:1", "127.0.0.1:5918/fx/app:1", "fx/base:1"]);
    let (mut docker, ours) = (members(&docker), members(&saved));
    for (name, content) in &ours {
        assert!(docker.remove(name).as_ref() == Some(content), "{name} is not docker's");
    }
    // What is left are configs of image format v1, to which nothing refers.
    for (name, content) in docker {
        let config: serde_json::Value = serde_json::from_slice(&content).unwrap();
        assert!(config["id"].is_string() && config.get("rootfs").is_none(), "{name}");
    }
}

#[test]
fn an_archive_of_docker_20_10_loads_compressed_with_its_linked_layer() {
    let (_root, engine) = engine();
    let packed = File::open(fixture("docker/20.10.24/save-app-base.tar.xz")).unwrap();
    check_golden("20.10.24", &engine.load(Input::File(packed), None, &Silent).unwrap());
}

#[test]
fn an_image_without_tags_is_named_by_its_id() {
    let (_root, engine) = engine();
    let file = File::open(fixture("docker/28.5.2/save-pulled-by-id.tar")).unwrap();
    let loaded = engine.load(Input::File(file), None, &Silent).unwrap();
    // The config's digest, as the fixture's registry has it.
    let id = "sha256:cfbdf3c1c9dd436770d7920beb34d16fae0ab3091a047ebad7f04fd458e5d2c3";
    assert_eq!(loaded, [Loaded { image: id.parse().unwrap(), names: vec![] }]);
    let docker = members(&fs::read(fixture("docker/28.5.2/save-pulled-by-id.tar")).unwrap());
    let ours = members(&save(&engine, &[&id[7..19]]));
    assert!(!ours.contains_key("repositories"));
    for (name, content) in &ours {
        assert_eq!(docker.get(name), Some(content), "{name}");
    }
}

#[test]
fn hostile_archives_have_their_verdicts() {
    let cases = fs::read(fixture("hostile/cases.json")).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_slice(&cases).unwrap();
    let mut seen = 0;
    for case in cases.iter().filter(|case| case["group"] == "archive") {
        let id = case["id"].as_str().unwrap();
        let path = fixture("hostile").join(case["files"][0].as_str().unwrap());
        for input in
            [Input::File(File::open(&path).unwrap()), Input::Stream(Box::new(File::open(&path).unwrap()))]
        {
            let (root, engine) = engine();
            let result = engine.load(input, None, &Silent);
            match case["rule"].as_str().unwrap() {
                "ok" => {
                    let loaded = result.as_ref().unwrap_or_else(|error| panic!("{id}: {error}"));
                    assert_eq!(loaded[0].names[0].reference.familiar(), "hostile/k:1");
                }
                "reject" => assert!(result.is_err(), "{id} was loaded"),
                _ => {}
            }
            if let Err(error) = result {
                let text =
                    format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
                assert!(!text.contains("SECRET"), "{id}: {text}");
                check_nothing_is_left(&root, &engine);
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 13);
    for written in ["k10", "layer.tar"] {
        assert!(!Path::new("/tmp/hostile-canary").join(written).exists(), "{written} was written");
    }
}

fn two_layers() -> Image {
    ImageBuilder::new(Flavour::Oci)
        .layer(LayerBuilder::new().file("lower", 0o644, b"lower"))
        .layer(LayerBuilder::new().directory("d", 0o755).file("d/upper", 0o600, &[7; 3000]))
        .build()
}

/// Returns a docker archive of an image; `layer` gives the member of each layer.
fn docker_archive(
    images: &[(&Image, &[&str])],
    layer: impl Fn(usize, &shale_testkit::image::Layer) -> Option<Vec<u8>>,
) -> Vec<u8> {
    let mut archive = LayerBuilder::new();
    let mut manifest = Vec::new();
    for (image_index, (image, tags)) in images.iter().enumerate() {
        let config = format!("{}.json", &image.config.digest[7..]);
        let mut paths = Vec::new();
        for (index, built) in image.layers.iter().enumerate() {
            let path = format!("{image_index}-{index}/layer.tar");
            if let Some(bytes) = layer(index, built) {
                archive = archive.file(&path, 0o644, &bytes);
            }
            paths.push(path);
        }
        archive = archive.file(&config, 0o644, &image.config.bytes);
        manifest.push(json!({"Config": config, "RepoTags": tags, "Layers": paths}));
    }
    archive.file("manifest.json", 0o644, serde_json::to_string(&manifest).unwrap().as_bytes()).tar()
}

#[test]
fn a_wrong_layer_leaves_nothing_behind() {
    let (good, bad) = (
        two_layers(),
        ImageBuilder::new(Flavour::Oci).layer(LayerBuilder::new().file("x", 0o644, b"x")).build(),
    );
    let other = LayerBuilder::new().file("x", 0o644, b"y").tar();
    let archive = docker_archive(&[(&good, &["a:1"]), (&bad, &["b:1"])], |_, layer| {
        Some(if layer.diff_id == bad.layers[0].diff_id { other.clone() } else { layer.tar.clone() })
    });
    let (root, engine) = engine();
    let error = load(&engine, &archive).unwrap_err();
    let (expected, actual) = (&bad.layers[0].diff_id, sha256(&other));
    assert_eq!(
        error.to_string(),
        format!("invalid diffID for layer \"1-0/layer.tar\": expected {expected}, got {actual}")
    );
    check_nothing_is_left(&root, &engine);
    let cut = docker_archive(&[(&good, &["a:1"])], |index, layer| {
        Some(if index == 1 { layer.blob.bytes[..100].to_vec() } else { layer.tar.clone() })
    });
    load(&engine, &cut).unwrap_err();
    check_nothing_is_left(&root, &engine);
}

#[test]
fn a_layer_that_is_no_file_is_refused_and_not_waited_for() {
    let image = two_layers();
    for type_byte in [b'2', b'3', b'5', b'6'] {
        let manifest = json!([{"Config": "c", "RepoTags": ["a:1"], "Layers": ["1", "2"]}]).to_string();
        // A link that leads to itself among them.
        let archive = LayerBuilder::new()
            .file("c", 0o644, &image.config.bytes)
            .file("1", 0o644, &image.layers[0].tar)
            .entry("2", type_byte, 0o644, "2", b"")
            .file("manifest.json", 0o644, manifest.as_bytes());
        let (root, engine) = engine();
        assert!(matches!(load(&engine, &archive.tar()), Err(LoadError::Members(_))));
        check_nothing_is_left(&root, &engine);
    }
}

#[test]
fn a_config_is_kept_once_however_many_items_name_it() {
    let image = ImageBuilder::new(Flavour::Docker).layer(LayerBuilder::new().file("x", 0o644, b"x")).build();
    let mut config: serde_json::Value = serde_json::from_slice(&image.config.bytes).unwrap();
    config["comment"] = json!(" ".repeat(1 << 20));
    let config = config.to_string();
    // Each 1 MiB and more; 100 of them would be above the bound.
    let items: Vec<_> = (0..100)
        .map(|tag| json!({"Config": "c", "RepoTags": [format!("a:{tag}")], "Layers": ["l"]}))
        .collect();
    let archive = LayerBuilder::new()
        .file("c", 0o644, config.as_bytes())
        .file("l", 0o644, &image.layers[0].tar)
        .file("manifest.json", 0o644, json!(items).to_string().as_bytes())
        .tar();
    let (_root, engine) = engine();
    let loaded = load(&engine, &archive).unwrap();
    assert_eq!(loaded.len(), 100);
    let id: ImageId = sha256(config.as_bytes()).parse().unwrap();
    assert!(loaded.iter().all(|loaded| loaded.image == id && loaded.names.len() == 1));
    assert_eq!(engine.store().references().unwrap().of_image(id).len(), 100);
}

#[test]
fn all_configs_of_a_load_have_one_bound() {
    // 64 MiB are kept: eight configs of 8 MiB pass, and a ninth does not.
    let config = |number: usize| {
        let mut config = json!({"comment": number.to_string(), "rootfs": {"type": "layers"}}).to_string();
        config.push_str(&" ".repeat((8 << 20) - config.len()));
        config.into_bytes()
    };
    let docker = |count: usize| {
        let mut archive = LayerBuilder::new();
        for number in 0..count {
            archive = archive.file(&number.to_string(), 0o644, &config(number));
        }
        let items: Vec<_> = (0..count).map(|number| json!({"Config": number.to_string()})).collect();
        archive.file("manifest.json", 0o644, json!(items).to_string().as_bytes()).tar()
    };
    let oci = |count: usize| {
        let mut layout = LayerBuilder::new();
        let mut entries = Vec::new();
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        for number in 0..count {
            let config = config(number);
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": manifest_type,
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": sha256(&config),
                    "size": config.len(),
                },
                "layers": [],
            });
            let manifest = manifest.to_string();
            let digest = sha256(manifest.as_bytes());
            layout = layout.file(&blob_path(&sha256(&config)), 0o644, &config).file(
                &blob_path(&digest),
                0o644,
                manifest.as_bytes(),
            );
            entries.push(json!({"mediaType": manifest_type, "digest": digest, "size": manifest.len()}));
        }
        layout.file("index.json", 0o644, oci_index(&entries).as_bytes()).tar()
    };
    for archive in [&docker as &dyn Fn(usize) -> Vec<u8>, &oci] {
        let (root, engine) = engine();
        assert!(matches!(load(&engine, &archive(9)), Err(LoadError::ConfigsTooLarge)));
        check_nothing_is_left(&root, &engine);
        assert_eq!(load(&engine, &archive(8)).unwrap().len(), 8);
    }
}

#[test]
fn layers_that_are_here_are_not_read() {
    let image = two_layers();
    let (_root, engine) = engine();
    let id: ImageId = image.config.digest.parse().unwrap();
    let whole = docker_archive(&[(&image, &["a:1"])], |_, layer| Some(layer.blob.bytes.clone()));
    assert_eq!(load(&engine, &whole).unwrap()[0].image, id);
    let without = docker_archive(&[(&image, &["a:2"])], |_, _| None);
    assert_eq!(load(&engine, &without).unwrap()[0].image, id);
    let garbage = docker_archive(&[(&image, &["a:3"])], |_, _| Some(b"garbage".to_vec()));
    assert_eq!(load(&engine, &garbage).unwrap()[0].image, id);
    assert_eq!(engine.store().references().unwrap().of_image(id).len(), 3);
}

#[test]
fn a_name_moves_and_the_old_image_is_told() {
    let (first, second) = (
        two_layers(),
        ImageBuilder::new(Flavour::Oci).layer(LayerBuilder::new().file("x", 0o644, b"x")).build(),
    );
    let (_root, engine) = engine();
    let archive =
        |image| docker_archive(&[(image, &["a:1", "a:1", "b:1"])], |_, layer| Some(layer.tar.clone()));
    let names = load(&engine, &archive(&first)).unwrap().remove(0).names;
    assert_eq!(names.iter().map(|name| name.replaced).collect::<Vec<_>>(), [None, None]);
    let names = load(&engine, &archive(&second)).unwrap().remove(0).names;
    let old = Some(first.config.digest.parse().unwrap());
    assert_eq!(names.iter().map(|name| name.replaced).collect::<Vec<_>>(), [old, old]);
    let names = load(&engine, &archive(&second)).unwrap().remove(0).names;
    assert_eq!(names.iter().map(|name| name.replaced).collect::<Vec<_>>(), [None, None]);
}

/// Adds the blobs of an image to an OCI layout.
fn with_blobs(mut layout: LayerBuilder, image: &Image) -> LayerBuilder {
    for blob in image.blobs().chain([&image.manifest]) {
        layout = layout.file(&blob_path(&blob.digest), 0o644, &blob.bytes);
    }
    layout
}

fn blob_path(digest: &str) -> String {
    format!("blobs/sha256/{}", &digest[7..])
}

fn oci_index(manifests: &[serde_json::Value]) -> String {
    json!({"schemaVersion": 2, "manifests": manifests}).to_string()
}

#[test]
fn an_oci_layout_gives_the_image_for_the_platform() {
    let layer = |text: &[u8]| LayerBuilder::new().file("arch", 0o644, text);
    let here = ImageBuilder::new(Flavour::Oci).layer(layer(b"amd64")).build();
    let there = ImageBuilder::new(Flavour::Oci).architecture("s390x").layer(layer(b"s390x")).build();
    let list = index(Flavour::Oci, &[(&there, "s390x"), (&here, "amd64")]);
    let mut entry = list.descriptor();
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "example.org/multi:1"});
    let layout = with_blobs(with_blobs(LayerBuilder::new(), &here), &there)
        .file(&blob_path(&list.digest), 0o644, &list.bytes)
        .file("oci-layout", 0o644, b"{\"imageLayoutVersion\":\"1.0.0\"}")
        .file("index.json", 0o644, oci_index(&[entry]).as_bytes())
        .tar();
    let load_for = |platform: &str| {
        let (_root, engine) = engine();
        let platform: Platform = platform.parse().unwrap();
        engine.load(Input::Stream(Box::new(Cursor::new(layout.clone()))), Some(&platform), &Silent)
    };
    for (platform, image) in [("linux/amd64", &here), ("linux/s390x", &there)] {
        let loaded = load_for(platform).unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].image.to_string(), image.config.digest);
        assert_eq!(loaded[0].names[0].reference.familiar(), "example.org/multi:1");
    }
    assert!(matches!(load_for("linux/riscv64"), Err(LoadError::NoMatchingPlatform(_))));
}

#[test]
fn a_directory_with_an_oci_layout_loads_and_its_links_lead_nowhere() {
    let image = two_layers();
    let mut entry = image.manifest.descriptor();
    // A tag alone names no repository.
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    let layout = with_blobs(LayerBuilder::new(), &image)
        .file("index.json", 0o644, oci_index(&[entry.clone(), entry]).as_bytes())
        .tar();
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in members(&layout) {
        let path = directory.path().join("layout").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let from =
        |engine: &Engine| engine.load(Input::Directory(directory.path().join("layout")), None, &Silent);
    let (_root, first) = engine();
    let id = image.config.digest.parse().unwrap();
    assert_eq!(from(&first).unwrap(), [Loaded { image: id, names: vec![] }]);

    // The same bytes, but outside.
    let blob = directory.path().join("layout").join(blob_path(&image.layers[1].blob.digest));
    fs::rename(&blob, directory.path().join("outside")).unwrap();
    std::os::unix::fs::symlink("../../../outside", &blob).unwrap();
    let (root, second) = engine();
    assert!(matches!(from(&second), Err(LoadError::Members(_))));
    check_nothing_is_left(&root, &second);
}

#[test]
fn loading_again_heals_a_damaged_layer() {
    fn cut(path: &Path) {
        let content = fs::read(path).unwrap();
        fs::write(path, &content[..content.len() / 2]).unwrap();
    }
    fn remove(path: &Path) {
        fs::remove_file(path).or_else(|_| fs::remove_dir_all(path)).unwrap();
    }
    fn garble(path: &Path) {
        fs::write(path, "garbled").unwrap();
    }
    fn replace_by_directory(path: &Path) {
        remove(path);
        fs::create_dir(path).unwrap();
    }
    let archive = archive_of_28();
    let check = |is_record: bool, file: &str, damage: fn(&Path)| {
        let (root, engine) = engine();
        let image = load(&engine, &archive).unwrap()[0].image;
        let sound = save(&engine, &[&image.to_string()]);
        let layers = || engine.store().image(image).unwrap().unwrap().layers;
        for index in 0..layers().len() {
            // Asked each time: a healed layer and those above it are in new directories.
            let layer = &layers()[index];
            let directory = match is_record {
                true => root.path().join("image/overlay2/layerdb/sha256").join(layer.chain_id.hex()),
                false => root.path().join("overlay2").join(&layer.cache_id),
            };
            damage(&directory.join(file));
            load(&engine, &archive).unwrap();
            assert!(save(&engine, &[&image.to_string()]) == sound, "{file} of layer {index}");
        }
    };
    check(false, "diff", remove);
    for damage in [remove, cut, garble, replace_by_directory] {
        check(false, "link", damage);
        for file in ["tar-split.json.gz", "size", "cache-id", "diff"] {
            check(true, file, damage);
        }
    }
}

#[test]
fn blobs_of_an_oci_layout_must_be_what_their_names_say() {
    let image = two_layers();
    let index = oci_index(&[image.manifest.descriptor()]);
    for damaged in image.blobs().chain([&image.manifest]) {
        let mut layout = LayerBuilder::new().file("index.json", 0o644, index.as_bytes());
        for blob in image.blobs().chain([&image.manifest]) {
            let mut bytes = blob.bytes.clone();
            if blob.digest == damaged.digest {
                // Also where a gzip header has room for anything.
                bytes[4] ^= 1;
            }
            layout = layout.file(&blob_path(&blob.digest), 0o644, &bytes);
        }
        let (root, engine) = engine();
        assert!(load(&engine, &layout.tar()).is_err(), "{}", damaged.media_type);
        check_nothing_is_left(&root, &engine);
    }
}

#[test]
fn parents_are_noted_and_saved() {
    let layer = LayerBuilder::new().file("a", 0o644, b"a");
    let base = ImageBuilder::new(Flavour::Docker).layer(layer.clone()).build();
    let child = ImageBuilder::new(Flavour::Docker)
        .layer(layer)
        .layer(LayerBuilder::new().file("b", 0o644, b"b"))
        .build();
    let archive =
        docker_archive(&[(&base, &["base:1"]), (&child, &["child:1"])], |_, layer| Some(layer.tar.clone()));
    let manifest = members(&archive).remove("manifest.json").unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let (child_id, base_id): (ImageId, ImageId) =
        (child.config.digest.parse().unwrap(), base.config.digest.parse().unwrap());
    // Not base: an image is not built upon its own child.
    manifest[0]["Parent"] = json!(child.config.digest);
    manifest[1]["Parent"] = json!(base.config.digest);
    let archive = members(&archive).into_iter().fold(LayerBuilder::new(), |archive, (name, content)| {
        let content = if name == "manifest.json" { manifest.to_string().into_bytes() } else { content };
        archive.file(&name, 0o644, &content)
    });
    let (_root, first) = engine();
    load(&first, &archive.tar()).unwrap();
    let parent = |engine: &Engine, id| engine.store().image(id).unwrap().unwrap().parent;
    assert_eq!((parent(&first, child_id), parent(&first, base_id)), (Some(base_id), None));
    let (_root, second) = engine();
    load(&second, &save(&first, &["child:1", "base:1"])).unwrap();
    assert_eq!(parent(&second, child_id), Some(base_id));
    // Without the parent in the archive there is nothing to link.
    let (_root, third) = engine();
    load(&third, &save(&first, &["child:1"])).unwrap();
    assert_eq!(parent(&third, child_id), None);
}

#[test]
fn names_of_save_mean_what_they_mean_to_docker() {
    let image = two_layers();
    let id = &image.config.digest;
    let (_root, engine) = engine();
    let archive =
        docker_archive(&[(&image, &["a:1", "a:2", "b:latest"])], |_, layer| Some(layer.tar.clone()));
    load(&engine, &archive).unwrap();
    let tags = |names: &[&str]| -> serde_json::Value {
        let manifest = members(&save(&engine, names)).remove("manifest.json").unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(manifest.as_array().unwrap().len(), 1, "one image is saved once");
        manifest[0]["RepoTags"].clone()
    };
    assert_eq!(tags(&["a"]), json!(["a:1", "a:2"]), "a repository is all of its tags");
    assert_eq!(tags(&["b", "a:2", "a:2"]), json!(["b:latest", "a:2"]));
    for by_id in [id.as_str(), &id[7..], &id[7..19]] {
        assert_eq!(tags(&[by_id]), json!(null), "{by_id}");
    }
    assert_eq!(tags(&[&id[7..19], "a:1"]), json!(["a:1"]));
    let error = |name: &str| engine.save(&[name.to_owned()], None).map(drop).unwrap_err();
    // Docker's words, from its command line.
    assert_eq!(error("nosuch:1").to_string(), "reference does not exist");
    assert_eq!(error("nosuch").to_string(), "No such image: nosuch");
    assert!(matches!(error("UPPER:1"), SaveError::Reference(_)));
}

#[test]
fn a_changed_file_stops_the_saving() {
    let image = two_layers();
    let (_root, engine) = engine();
    load(&engine, &docker_archive(&[(&image, &["a:1"])], |_, layer| Some(layer.tar.clone()))).unwrap();
    let loaded = engine.store().image(image.config.digest.parse().unwrap()).unwrap().unwrap();
    let file = engine.store().layer_diff_path(&loaded.layers[1]).join("d/upper");
    fs::write(&file, [8; 3000]).unwrap();
    let archive = engine.save(&["a:1".to_owned()], None).unwrap();
    assert!(archive.write(&mut std::io::sink()).is_err());
}
