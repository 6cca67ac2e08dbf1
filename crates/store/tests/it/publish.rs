//! Layers from their first byte to their name, and back.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use shale_oci::{ChainId, Digest, ImageId};
use shale_store::{
    Access, Name, NewImage, NewLayer, OpenError, OpenOptions, Publication, PublishError, PublishImagesError,
    PutImage, PutImageError, ReferenceChange, RemoveImageError, Store, V2Metadata,
};

use crate::fixture::{Tar, chains, config, open, store_image};

/// Lists everything below the root with modes, without what Shale alone keeps there.
fn tree(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        if name == "shale" {
            continue;
        }
        lines.push(format!("{:o} {name}", metadata.permissions().mode() & 0o7777));
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines.sort();
    lines
}

#[test]
fn an_image_of_three_layers_has_docker_s_files() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let store = open(&root);
    let layers = ["a", "b", "c"].map(Tar::of);
    let id = store_image(&store, &layers, "app", "app:1");
    let image = store.image(id).unwrap().unwrap();
    assert_eq!(image.config, config(&layers).as_bytes());
    assert_eq!(image.size_bytes(), 18);
    assert_eq!(image.layers.iter().map(|layer| layer.chain_id).collect::<Vec<_>>(), chains(&layers));

    let mode = |path: &str| fs::symlink_metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    // The table of the data root's reference, section 0.
    assert_eq!(mode(""), 0o710);
    assert_eq!(mode("image/overlay2/repositories.json"), 0o600);
    assert_eq!(mode("image/overlay2/layerdb/sha256"), 0o755);
    assert_eq!(
        text("image/overlay2/repositories.json"),
        format!("{{\"Repositories\":{{\"app\":{{\"app:1\":\"{id}\"}}}}}}")
    );
    let links: Vec<_> = image.layers.iter().map(|layer| store.layer_link(layer).unwrap().unwrap()).collect();
    for (index, layer) in image.layers.iter().enumerate() {
        let layerdb = format!("image/overlay2/layerdb/sha256/{}", layer.chain_id.hex());
        let overlay = format!("overlay2/{}", layer.cache_id);
        assert_eq!(mode(&layerdb), 0o700);
        for file in ["diff", "size", "cache-id", "tar-split.json.gz"] {
            assert_eq!(mode(&format!("{layerdb}/{file}")), 0o644, "{file}");
        }
        assert_eq!(text(&format!("{layerdb}/size")), "6");
        assert_eq!(text(&format!("{layerdb}/diff")), layers[index].diff_id().to_string());
        assert_eq!(mode(&overlay), 0o710);
        assert_eq!(mode(&format!("{overlay}/diff")), 0o755);
        assert_eq!(mode(&format!("{overlay}/link")), 0o644);
        let lower: Vec<_> = links[..index].iter().rev().map(|link| format!("l/{link}")).collect();
        match index {
            0 => {
                assert!(!root.join(&overlay).join("lower").exists());
                assert!(!root.join(&overlay).join("work").exists());
                assert!(!root.join(&layerdb).join("parent").exists());
            }
            _ => {
                assert_eq!(text(&format!("{overlay}/lower")), lower.join(":"));
                assert_eq!(mode(&format!("{overlay}/lower")), 0o644);
                assert_eq!(mode(&format!("{overlay}/work")), 0o700);
                assert_eq!(text(&format!("{layerdb}/parent")), image.layers[index - 1].chain_id.to_string());
            }
        }
        assert_eq!(root.join(&overlay).join("committed").exists(), index < 2);
        let header = fs::read(root.join(&layerdb).join("tar-split.json.gz")).unwrap();
        assert_eq!(header[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        let mut tar_split = String::new();
        store.open_tar_split(layer).unwrap().read_to_string(&mut tar_split).unwrap();
        assert_eq!(tar_split.lines().count(), 3);
        store.check_layer(layer).unwrap();
    }
    let paths = store.overlay_paths(&image.layers[2]).unwrap();
    assert_eq!(paths.lower, [1, 0].map(|index| store.layer_diff_path(&image.layers[index])));
    assert_eq!(fs::read_dir(root.join("shale/leases")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(root.join("image/overlay2/layerdb/tmp")).unwrap().count(), 0);
}

#[test]
fn dropped_layers_and_removed_images_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let empty = tree(directory.path());
    drop(store.begin_layer().unwrap());
    drop(Tar::of("a").finish(&store));
    assert_eq!(tree(directory.path()), empty);

    let layers = ["a", "b"].map(Tar::of);
    let id = store_image(&store, &layers, "app", "app:1");
    assert!(matches!(store.remove_image(id), Err(RemoveImageError::Referenced(_))));
    assert_eq!(store.remove_reference("app", "app:1").unwrap(), Some(id));
    let removed = store.remove_image(id).unwrap();
    assert_eq!(removed.layers, chains(&layers).into_iter().rev().collect::<Vec<_>>());
    let mut left = tree(directory.path());
    left.retain(|line| line != "600 image/overlay2/repositories.json");
    assert_eq!(left, empty);
}

#[test]
fn layers_that_another_image_or_a_hold_needs_stay() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let below = ["a"].map(Tar::of);
    let both = ["a", "b"].map(Tar::of);
    let lower = store_image(&store, &below, "lower", "lower:1");
    let base = store.hold_layer(chains(&below)[0]).unwrap().unwrap();
    let published = store.publish_layers(Some(base.chain_id), vec![both[1].finish(&store)]).unwrap();
    let upper = store.put_image(config(&both).as_bytes(), Default::default()).unwrap();
    drop((published, base));

    store.remove_reference("lower", "lower:1").unwrap();
    assert_eq!(store.remove_image(lower).unwrap().layers, []);
    let held = store.hold_layer(chains(&both)[1]).unwrap().unwrap();
    assert_eq!(store.remove_image(upper).unwrap().layers, []);
    assert_eq!(store.layers().unwrap().len(), 2);
    drop(held);
}

#[test]
fn the_sound_part_of_a_stack_is_held_together() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let layers = ["a", "b", "c"].map(Tar::of);
    let id = store_image(&store, &layers, "app", "app:1");
    let chains = chains(&layers);
    let all = store.hold_layers(&chains).unwrap();
    assert_eq!(all.iter().map(|layer| layer.chain_id).collect::<Vec<_>>(), chains);
    assert!(all.damage().is_none());
    let leases = || fs::read_dir(directory.path().join("shale/leases")).unwrap().count();
    assert_eq!(leases(), 1, "one lease covers the stack");
    drop(all);
    assert_eq!(leases(), 0);

    fs::remove_file(
        directory
            .path()
            .join("image/overlay2/layerdb/sha256")
            .join(chains[2].hex())
            .join("tar-split.json.gz"),
    )
    .unwrap();
    let sound = store.hold_layers(&chains).unwrap();
    assert_eq!(sound.len(), 2);
    assert!(sound.damage().unwrap().is_damage());
    store.remove_reference("app", "app:1").unwrap();
    store.remove_image(id).unwrap();
    assert_eq!(store.layers().unwrap().len(), 2, "what is held stays");
    drop(sound);

    let unknown = store.hold_layers(&[shale_oci::ChainId::on(None, Tar::of("unknown").diff_id())]).unwrap();
    assert!(unknown.is_empty() && unknown.damage().is_none());
}

#[test]
fn a_layer_that_somebody_else_published_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (open(directory.path()), open(directory.path()));
    let layers = ["a", "b"].map(Tar::of);
    let finished: Vec<_> = layers.iter().map(|tar| tar.finish(&ours)).collect();
    let first = theirs.publish_layers(None, vec![layers[0].finish(&theirs)]).unwrap();
    let second = ours.publish_layers(None, finished).unwrap();
    assert_eq!(first[0], second[0]);
    ours.check_layer(&second[1]).unwrap();
    assert_eq!(fs::read_dir(directory.path().join("overlay2")).unwrap().count(), 3);
}

#[test]
fn a_broken_directory_of_the_name_is_replaced_and_layers_above_stay_sound() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let layers = ["a", "b"].map(Tar::of);
    let id = store_image(&store, &layers, "app", "app:1");
    let chain = chains(&layers)[0];
    fs::remove_file(directory.path().join("image/overlay2/layerdb/sha256").join(chain.hex()).join("size"))
        .unwrap();
    assert!(store.find_layer(chain).is_err());
    assert!(store.hold_layer(chain).unwrap_err().is_damage());
    let repaired = store.publish_layers(None, vec![layers[0].finish(&store)]).unwrap();
    let image = store.image(id).unwrap().unwrap();
    assert_eq!(image.layers[0], repaired[0]);
    for layer in &image.layers {
        store.check_layer(layer).unwrap();
    }
    assert_eq!(fs::read_dir(directory.path().join("overlay2")).unwrap().count(), 3);
    assert_eq!(fs::read_dir(directory.path().join("overlay2/l")).unwrap().count(), 2);
    assert_eq!(store.layers().unwrap().len(), 2);
}

#[test]
fn more_than_125_layers_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let layers: Vec<_> = (0..126).map(|number| Tar::of(&format!("f{number}"))).collect();
    let finished = layers.iter().map(|tar| tar.finish(&store)).collect();
    assert!(matches!(store.publish_layers(None, finished), Err(PublishError::MaxDepth)));
    assert_eq!(fs::read_dir(directory.path().join("overlay2")).unwrap().count(), 1);
    let finished = layers[..125].iter().map(|tar| tar.finish(&store)).collect();
    assert_eq!(store.publish_layers(None, finished).unwrap().len(), 125);
    assert_eq!(store.chain(chains(&layers[..125])[124]).unwrap().unwrap().len(), 125);
}

#[test]
fn an_image_without_its_layers_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let layers = ["a"].map(Tar::of);
    let error = store.put_image(config(&layers).as_bytes(), Default::default()).unwrap_err();
    assert!(error.to_string().contains("layer does not exist"), "{error}");
    assert_eq!(store.image_ids().unwrap(), []);
    let missing = shale_oci::ImageId::new(shale_oci::Digest::sha256(b""));
    assert!(store.tag("a", "a:1", missing).is_err());
    assert!(store.find_layer(ChainId::bottom(layers[0].diff_id())).unwrap().is_none());
}

#[test]
fn roots_that_are_not_ours_are_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let open = |root: &Path| {
        Store::open(root, OpenOptions { create: true, access: Access::Write }).map(drop).unwrap_err()
    };
    let with = |name: &str, path: &str| {
        let root = directory.path().join(name);
        fs::create_dir_all(root.join(path)).unwrap();
        root
    };
    assert!(matches!(open(&with("btrfs", "btrfs/subvolumes")), OpenError::OtherDrivers { .. }));
    let containerd = "containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots/1";
    assert!(matches!(open(&with("containerd", containerd)), OpenError::ContainerdImageStore(_)));
    for content in ["", "null", "{\"Repositories\":{"] {
        let root = with("names", "image/overlay2");
        fs::write(root.join("image/overlay2/repositories.json"), content).unwrap();
        let error = open(&root);
        assert!(matches!(error, OpenError::References(_)), "{error}");
        assert!(error.to_string().contains("repositories.json is damaged"), "{error}");
    }
    let missing =
        Store::open(&directory.path().join("missing"), OpenOptions { create: false, access: Access::Write });
    assert!(matches!(missing, Err(OpenError::Missing(_))));
}

#[test]
fn a_layer_that_is_opaque_at_its_root_names_no_layer_below_it() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let store = open(&root);
    let layers = ["hidden", "opaque", "above"].map(Tar::of);
    let mut finished: Vec<_> = layers.iter().map(|tar| tar.finish(&store)).collect();
    // What the unpacker leaves of `.wh..wh..opq` at the root of a layer.
    let mut diffs =
        fs::read_dir(root.join("overlay2")).unwrap().map(|entry| entry.unwrap().path().join("diff"));
    let diff = diffs.find(|diff| diff.join("opaque").exists()).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&diff, "trusted.overlay.opaque", b"y", flags).unwrap();
    let last = finished.pop().unwrap();
    drop(store.publish_layers(None, finished).unwrap());
    // Another process may publish the layer above it later.
    drop(store.publish_layers(Some(chains(&layers)[1]), vec![last]).unwrap());
    let id = store.put_image(config(&layers).as_bytes(), PutImage::default()).unwrap();

    let image = store.image(id).unwrap().unwrap();
    let link = |index: usize| store.layer_link(&image.layers[index]).unwrap().unwrap();
    let lower = |index: usize| {
        let layer: &shale_store::Layer = &image.layers[index];
        fs::read_to_string(root.join("overlay2").join(&layer.cache_id).join("lower")).ok()
    };
    assert_eq!([lower(0), lower(1), lower(2)], [None, None, Some(format!("l/{}", link(1)))]);
    // The stack itself is whole: the layers below are still its members.
    assert_eq!(image.layers[1].parent, Some(chains(&layers)[0]));
    for layer in &image.layers {
        store.check_layer(layer).unwrap();
    }

    // A root of docker's has the whole stack there, and is no less sound.
    let whole = format!("l/{}", link(0));
    let opaque = root.join("overlay2").join(&image.layers[1].cache_id).join("lower");
    fs::write(&opaque, &whole).unwrap();
    store.check_layer(&image.layers[1]).unwrap();
    fs::write(&opaque, "l/ANOTHER").unwrap();
    store.check_layer(&image.layers[1]).unwrap_err();
    assert_eq!(store.mend_links().unwrap(), [image.layers[1].chain_id]);
    assert_eq!(lower(1), None);
}

fn tag(repository: &'static str, key: &'static str, layers: &[Tar]) -> ReferenceChange<'static> {
    let image = ImageId::new(Digest::sha256(config(layers).as_bytes()));
    ReferenceChange::Tag { name: Name { repository, key }, image }
}

fn new_image<'a>(config: &'a str, names: Vec<ReferenceChange<'a>>) -> NewImage<'a> {
    NewImage { config: config.as_bytes(), put: PutImage::default(), names }
}

#[test]
fn images_that_share_new_layers_become_visible_together() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (lower, upper) = (["a", "b"].map(Tar::of), ["a", "b", "c"].map(Tar::of));
    let (lower_config, upper_config) = (config(&lower), config(&upper));
    let new = |at: usize| NewLayer {
        parent: at.checked_sub(1).map(|below| chains(&upper)[below]),
        layer: upper[at].finish(&store),
    };
    let seen =
        vec![(upper[0].diff_id(), V2Metadata::pulled(Digest::sha256(b"blob"), "docker.io/library/app"))];
    let published = store
        .publish(Publication {
            layers: (0..3).map(new).collect(),
            seen: seen.clone(),
            images: vec![
                new_image(&upper_config, vec![tag("app", "app:2", &upper)]),
                new_image(&lower_config, vec![tag("app", "app:1", &lower)]),
            ],
        })
        .unwrap();
    assert_eq!(published.layers.iter().map(|layer| layer.chain_id).collect::<Vec<_>>(), chains(&upper));
    assert_eq!(published.before, Default::default());
    drop(published);
    assert_eq!(store.metadata_for(upper[0].diff_id()).unwrap(), [seen[0].1.clone()]);
    for (key, layers) in [("app:1", &lower[..]), ("app:2", &upper[..])] {
        let id = store.references().unwrap().image("app", key).unwrap();
        let image = store.image(id).unwrap().unwrap();
        assert_eq!(image.layers.iter().map(|layer| layer.chain_id).collect::<Vec<_>>(), chains(layers));
    }
    assert!(store.fsck().unwrap().is_empty());
}

#[test]
fn what_is_here_already_is_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let layers = ["a", "b"].map(Tar::of);
    store_image(&store, &layers, "app", "app:1");
    let times = || {
        let names = ["image/overlay2/repositories.json", "image/overlay2/imagedb/content/sha256"];
        names.map(|name| fs::metadata(directory.path().join(name)).unwrap().modified().unwrap())
    };
    let before = times();
    let text = config(&layers);
    let images = vec![new_image(&text, vec![tag("app", "app:1", &layers)])];
    let published = store.publish(Publication { images, ..Publication::default() }).unwrap();
    assert_eq!(published.before, *store.references().unwrap());
    assert_eq!(times(), before);
}

#[test]
fn a_publication_with_an_image_that_lacks_a_layer_publishes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let before = tree(directory.path());
    let (whole, broken) = (["a"].map(Tar::of), ["a", "gone"].map(Tar::of));
    let texts = [config(&whole), config(&broken)];
    let refused = store.publish(Publication {
        layers: vec![NewLayer { parent: None, layer: whole[0].finish(&store) }],
        images: texts.iter().map(|text| new_image(text, Vec::new())).collect(),
        ..Publication::default()
    });
    let missing = chains(&broken)[1];
    match refused {
        Err(PublishImagesError::Image(PutImageError::LayerMissing(chain))) => assert_eq!(chain, missing),
        other => panic!("{other:?}"),
    }
    assert_eq!(tree(directory.path()), before);
}
