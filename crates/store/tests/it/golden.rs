//! Data roots that dockerd 20.10.24 and 28.5.2 wrote, and what their own API said about them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;
use shale_store::{GcOptions, References, Store, parse_v2_metadata};

use crate::fixture::open;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/docker");

fn extract(version: &str, into: &Path) -> PathBuf {
    let root = into.join("root");
    fs::create_dir(&root).unwrap();
    let tar = |archive: &Path, into: &Path| {
        let status = Command::new("tar")
            .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xf"])
            .arg(archive)
            .arg("-C")
            .arg(into)
            .status()
            .unwrap();
        assert!(status.success());
    };
    match version {
        "20.10.24" => tar(&Path::new(FIXTURES).join("20.10.24/data-root.tar.xz"), &root),
        _ => {
            tar(&Path::new(FIXTURES).join("28.5.2/data-root+save.tar.xz"), into);
            tar(&into.join("data-root.tar"), &root);
        }
    }
    root
}

fn api(version: &str, document: &str) -> Value {
    let path = Path::new(FIXTURES).join(version).join("api").join(document);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Everything that Docker can see: modes, owners, sizes, times and contents.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut entries = BTreeMap::new();
    let mut waiting = vec![root.join("image"), root.join("overlay2")];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = match metadata.is_file() && !path.components().any(|part| part.as_os_str() == "diff") {
            true => fs::read(&path).unwrap(),
            false => Vec::new(),
        };
        let times = if metadata.is_dir() { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) };
        let line =
            format!("{:o} {}:{} {times:?} {content:?}", metadata.mode(), metadata.uid(), metadata.gid());
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        entries.insert(path, line);
    }
    entries
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn check_images(version: &str, store: &Store) {
    let references = store.references().unwrap();
    let by_image = references.by_image();
    let expected = api(version, "images_json_all_1.json");
    let expected = expected.as_array().unwrap();
    let images = store.images().unwrap();
    assert_eq!(images.len(), expected.len());
    for expected in expected {
        let id = expected["Id"].as_str().unwrap().parse().unwrap();
        let image = store.image(id).unwrap().unwrap();
        assert_eq!(image.size_bytes(), expected["Size"].as_u64().unwrap());
        let parent = image.parent.map(|parent| parent.to_string()).unwrap_or_default();
        assert_eq!(parent, expected["ParentId"].as_str().unwrap());
        let none = Vec::new();
        let names = by_image.get(&id).unwrap_or(&none);
        let keys = |digests: bool| -> Vec<_> {
            names.iter().filter(|name| name.is_digest() == digests).map(|name| name.key.to_owned()).collect()
        };
        let listed = |field: &str| -> Vec<_> {
            texts(&expected[field]).into_iter().filter(|text| !text.starts_with("<none>")).collect()
        };
        assert_eq!(keys(false), listed("RepoTags"));
        assert_eq!(keys(true), listed("RepoDigests"));
        assert_eq!(store.resolve_prefix(&id.hex()[..12]).unwrap(), Some(id));
        assert_eq!(store.resolve_prefix(&id.to_string()).unwrap(), Some(id));
    }
    assert!(store.resolve_prefix("").unwrap().is_none());
    assert!(store.resolve_prefix("sha256:").unwrap().is_none());
}

#[track_caller]
fn check_inspect(version: &str, store: &Store) {
    for document in ["images_fx_app_1_json.json", "images_fx_base_1_json.json"] {
        let expected = api(version, document);
        let id = expected["Id"].as_str().unwrap().parse().unwrap();
        let image = store.image(id).unwrap().unwrap();
        let diff_ids: Vec<_> = image.diff_ids.iter().map(|diff_id| diff_id.to_string()).collect();
        assert_eq!(diff_ids, texts(&expected["RootFS"]["Layers"]));
        assert_eq!(image.last_updated.as_deref(), expected["Metadata"]["LastTagTime"].as_str());

        let paths = store.overlay_paths(image.layers.last().unwrap()).unwrap();
        let data = &expected["GraphDriver"]["Data"];
        // The daemon had the root elsewhere.
        let below = |path: &Path| path.strip_prefix(store.root()).unwrap().display().to_string();
        let ours = |text: &str| text[text.find("overlay2/").unwrap()..].to_owned();
        let lower: Vec<_> =
            data["LowerDir"].as_str().map_or(Vec::new(), |text| text.split(':').map(ours).collect());
        assert_eq!(paths.lower.iter().map(|path| below(path)).collect::<Vec<_>>(), lower);
        for (path, field) in
            [(&paths.upper, "UpperDir"), (&paths.work, "WorkDir"), (&paths.merged, "MergedDir")]
        {
            assert_eq!(below(path), ours(data[field].as_str().unwrap()));
        }
    }
}

#[track_caller]
fn check(version: &str) {
    let directory = tempfile::tempdir().unwrap();
    let root = extract(version, directory.path());
    let before = snapshot(&root);
    let store = open(&root);
    check_images(version, &store);
    check_inspect(version, &store);

    let names = fs::read(root.join("image/overlay2/repositories.json")).unwrap();
    assert_eq!(References::parse(&names).unwrap().encode().as_bytes(), names);
    let mounts = store.mounts().unwrap();
    assert_eq!(mounts.len(), 1);
    assert!(!mounts[0].is_damaged);
    assert!(store.find_layer(mounts[0].parent.unwrap()).unwrap().is_some());

    for layer in store.layers().unwrap() {
        store.check_layer(&layer).unwrap();
        let seen = store.metadata_for(layer.diff_id).unwrap();
        for entry in &seen {
            assert_eq!(store.diff_id_for(entry.digest).unwrap(), Some(layer.diff_id));
        }
        // The newest entry again changes nothing, byte for byte.
        if let Some(newest) = seen.last() {
            store.add_metadata(&[(layer.diff_id, newest.clone())]).unwrap();
        }
    }
    let findings: Vec<_> = store.fsck().unwrap().iter().map(|finding| finding.code()).collect();
    assert_eq!(findings, Vec::<&str>::new());
    let report = store.gc(GcOptions { dry_run: false, downloads_before: SystemTime::UNIX_EPOCH }).unwrap();
    assert_eq!(report.items, []);
    assert_eq!(snapshot(&root), before);
}

#[test]
fn a_root_of_docker_20_10_is_read_as_docker_reads_it_and_not_changed() {
    check("20.10.24");
}

#[test]
fn a_root_of_docker_28_is_read_as_docker_reads_it_and_not_changed() {
    check("28.5.2");
}

#[test]
fn distribution_metadata_is_written_byte_for_byte_as_docker_does() {
    let directory = tempfile::tempdir().unwrap();
    let root = extract("20.10.24", &directory.path().join(""));
    let (golden, ours) = (open(&root), open(&directory.path().join("ours")));
    let below = "image/overlay2/distribution";
    for layer in golden.layers().unwrap() {
        for entry in golden.metadata_for(layer.diff_id).unwrap() {
            ours.add_metadata(&[(layer.diff_id, entry)]).unwrap();
        }
    }
    let mut files = 0;
    for kind in ["v2metadata-by-diffid", "diffid-by-digest"] {
        for entry in fs::read_dir(root.join(below).join(kind).join("sha256")).unwrap() {
            let path = entry.unwrap().path();
            let content = fs::read(&path).unwrap();
            let copy = ours.root().join(path.strip_prefix(&root).unwrap());
            assert_eq!(fs::read(&copy).unwrap(), content);
            assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o7777, 0o644);
            assert_eq!(parse_v2_metadata(&content).is_some(), kind == "v2metadata-by-diffid");
            files += 1;
        }
    }
    assert_eq!(files, 10);
}
