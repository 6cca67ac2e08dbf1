//! `explain`, held against what dockerd recorded of the same roots: manifests, inspect, names of directories.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use shale_engine::explain::{Explanation, Kind};

use crate::golden::{Golden, json};

/// Returns what a subject is.
fn kinds(explanation: &Explanation) -> Vec<Kind> {
    explanation.meanings.iter().map(|meaning| meaning.kind).collect()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn check_tag(version: &str, cli: &str) {
    let golden = Golden::of(version);
    let explanation = golden.engine.explain("fx/app:1").unwrap();
    assert_eq!(kinds(&explanation), [Kind::Tag]);
    let image = &explanation.images[0];
    let inspect = &json(&format!("{version}/{cli}/inspect-app.json"))[0];
    assert_eq!(inspect["Id"], image.id.to_string());
    assert_eq!(texts(&inspect["RepoTags"]), image.tags);
    assert_eq!(texts(&inspect["RepoDigests"]), image.manifests);
    assert_eq!(inspect["Size"], image.size_bytes);
    assert_eq!(inspect["Parent"], image.parent.as_ref().unwrap().id.to_string());
    assert_eq!(image.containers.iter().map(|container| container.name.as_str()).collect::<Vec<_>>(), ["fxc"]);

    let bottom_up: Vec<_> = image.layers.iter().rev().collect();
    let diff_ids: Vec<String> = bottom_up.iter().map(|layer| layer.diff_id.to_string()).collect();
    assert_eq!(texts(&inspect["RootFS"]["Layers"]), diff_ids);
    let manifest = json(&format!("{version}/registry/app-manifest.json"));
    for (layer, blob) in bottom_up.iter().zip(manifest["layers"].as_array().unwrap()) {
        assert_eq!(layer.seen.len(), 1);
        assert_eq!(blob["digest"], layer.seen[0].digest.to_string());
        assert_eq!(layer.seen[0].repository, "127.0.0.1:5918/fx/app");
        assert!(layer.seen[0].pushed, "this root pushed it");
    }
    // The directory of the top layer as docker inspect prints it, and the layers' chain IDs as the store names them.
    let upper = inspect["GraphDriver"]["Data"]["UpperDir"].as_str().unwrap();
    let top = image.layers[0].directory.as_ref().unwrap();
    assert_eq!(upper.split("/overlay2/").last(), top.split("/overlay2/").last());
    let named: BTreeSet<String> = fs::read_dir(golden.root.join("image/overlay2/layerdb/sha256"))
        .unwrap()
        .map(|entry| format!("sha256:{}", entry.unwrap().file_name().to_string_lossy()))
        .collect();
    assert!(image.layers.iter().all(|layer| named.contains(&layer.chain_id.to_string())));
    // inputs/Dockerfile.app on top of an import: import, LABEL, RUN, COPY, RUN, CMD.
    let steps: Vec<_> = image.history.iter().rev().map(|step| step.layer).collect();
    assert_eq!(steps, [Some(1), None, Some(2), Some(3), Some(4), None]);
    assert!(image.layers[0].created_by.contains("mknod /srv/fifo p"));
    assert_eq!(image.layers[3].created_by, "golden base");
    assert_eq!(image.missing_steps, 0, "the classic builder left an image for each step");
}

#[test]
fn a_tag_connects_to_everything_as_docker_20_10_recorded_it() {
    check_tag("20.10.24", "cli-20.10");
}

#[test]
fn a_tag_connects_to_everything_as_docker_28_recorded_it() {
    check_tag("28.5.2", "cli-20.10");
}

#[test]
fn every_identifier_of_an_image_is_known_for_what_it_is() {
    let golden = Golden::of("20.10.24");
    let image = golden.engine.explain("fx/app:1").unwrap().images.remove(0);
    let (top, bottom) = (&image.layers[0], &image.layers[3]);
    let check = |subject: &str, expected: &[Kind]| {
        let explanation = golden.engine.explain(subject).unwrap();
        assert_eq!(kinds(&explanation), expected, "{subject}");
        assert!(explanation.images.iter().any(|found| found.id == image.id), "{subject} leads to the image");
        explanation
    };
    check(&image.id.to_string(), &[Kind::ImageId]);
    check(&image.id.hex(), &[Kind::ImageId]);
    check("15844857f18f", &[Kind::ImageId]);
    check(&image.manifests[0], &[Kind::RepositoryDigest]);
    check("sha256:9fcef0bd90e5fa5a704df31b8537894091e346318c6b198cdecc655e89e4a746", &[Kind::ManifestDigest]);
    check(&top.seen[0].digest.to_string(), &[Kind::LayerDigest]);
    check(&top.diff_id.to_string(), &[Kind::DiffId]);
    check(&top.chain_id.to_string(), &[Kind::ChainId]);
    check(&top.cache_id.clone().unwrap()[..10], &[Kind::CacheId]);
    check(&top.link.clone().unwrap(), &[Kind::Link]);
    check("fxc", &[Kind::Container]);
    check("3eb6b54860cb", &[Kind::Container]);
    let both = check(&bottom.diff_id.to_string(), &[Kind::DiffId, Kind::ChainId]);
    assert_eq!(both.meanings[0].note, "a bottom layer's diff ID is also its chain ID");
    assert_eq!(both.images.len(), 6, "all but the pulled image stand on the imported base");

    let file = format!("{}/bin/capfile", bottom.directory.clone().unwrap());
    let path = check(&file, &[Kind::Path]);
    assert!(path.meanings[0].note.ends_with("it is /bin/capfile of this layer"), "{:?}", path.meanings);
    check(&format!("overlay2/l/{}", top.link.clone().unwrap()), &[Kind::Path]);
    check(&format!("image/overlay2/layerdb/sha256/{}/size", top.chain_id.hex()), &[Kind::Path]);
    check(&format!("image/overlay2/imagedb/content/sha256/{}", image.id.hex()), &[Kind::Path]);
}

#[test]
fn the_beginning_of_several_values_lists_them_and_nothing_is_said_to_be_nothing() {
    let golden = Golden::of("20.10.24");
    // Of the seven image IDs and all layers of the fixture's README and stages, several begin with an 8.
    let explanation = golden.engine.explain("8").unwrap();
    assert!(explanation.meanings.is_empty());
    let values: Vec<_> = explanation.candidates.iter().map(|meaning| &meaning.value[..9]).collect();
    for expected in ["sha256:82", "sha256:8c", "sha256:84"] {
        assert!(values.contains(&expected), "{expected} is among {values:?}");
    }
    let unknown = golden.engine.explain("fx/app:2").unwrap();
    assert!(unknown.meanings.is_empty() && unknown.candidates.is_empty());
    assert!(unknown.advice[0].contains("fx/app:1"), "{:?}", unknown.advice);
    assert_eq!(unknown.searched[0], "5 names");
}

#[test]
fn waste_is_what_the_dockerfile_deletes_and_replaces() {
    for version in ["20.10.24", "28.5.2"] {
        let golden = Golden::of(version);
        let waste = golden.engine.waste("fx/app:1").unwrap();
        // Every byte of every layer is accounted for, hard links once: the sums are Docker's own `size` files.
        let image = golden.engine.load_image("fx/app:1").unwrap();
        let mut sizes: Vec<u64> = image.layers.iter().map(|layer| layer.size_bytes).collect();
        sizes.reverse();
        assert_eq!(
            waste.layers.iter().map(|layer| layer.total_bytes).collect::<Vec<_>>(),
            sizes,
            "{version}"
        );
        let mut files: Vec<(&str, usize, usize, bool)> = waste
            .files
            .iter()
            .map(|file| (file.path.as_str(), file.layer, file.lost_in_layer, file.replaced))
            .collect();
        files.sort_unstable();
        // By hand from inputs/Dockerfile.app: chmod copies capfile up; rm deletes gone and doomed; rm -rf && mkdir makes
        // opq opaque, which held a and sub/b.
        let expected = [
            ("/bin/capfile", 1, 2, true),
            ("/data/gone", 1, 4, false),
            ("/opq/a", 1, 4, false),
            ("/opq/sub/b", 1, 4, false),
            ("/srv/doomed", 2, 4, false),
        ];
        assert_eq!(files, expected, "{version}");
        let doomed = waste.files.iter().find(|file| file.path == "/srv/doomed").unwrap();
        assert_eq!(doomed.size_bytes, "doomed\n".len() as u64);
        assert_eq!(waste.wasted_bytes, waste.files.iter().map(|file| file.size_bytes).sum::<u64>());
        assert_eq!(waste.efficiency_percent, 99);
        let pairs: BTreeSet<_> = waste.merges.iter().map(|merge| (merge.layers, merge.steps)).collect();
        let expected =
            [([1, 2], [Some(1), Some(3)]), ([1, 4], [Some(1), Some(5)]), ([2, 4], [Some(3), Some(5)])];
        assert_eq!(pairs, BTreeSet::from(expected), "{version}");
    }
}
