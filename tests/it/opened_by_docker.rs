//! A root that only Shale filled is, to a real dockerd, a root that dockerd filled itself.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use shale_testkit::bad_registry::BadRegistry;
use shale_testkit::image::{Flavour, ImageBuilder, LayerBuilder};
use shale_tests::data_root::{DataRoot, layer_differences};
use shale_tests::image::{IMAGES, ZSTD_OF, storage};
use shale_tests::peer::{Access, DockerRegistry, Dockerd, Options, Shale};
use shale_tests::program::{require, shell};
use shale_tests::scratch::Scratch;
use shale_tests::tree::{self, Compare};

const EVERYTHING: Compare = Compare { times: true };

#[test]
fn pulled_images_are_what_docker_pulls_on_the_disk_and_at_the_prompt() {
    let scratch = Scratch::new("opened");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let references: Vec<String> = IMAGES
        .iter()
        .filter(|image| image.old_docker_pulls)
        .map(|image| format!("{}/{}", registry.host(), image.reference()))
        .collect();

    let shale = Shale::new(&scratch.folder("shale"));
    for reference in &references {
        shale.shale(&["pull", "--quiet", reference]);
    }
    let control = Dockerd::start(&scratch.folder("c"), &scratch.folder("control"), &Options::default());
    for reference in &references {
        control.docker(&["pull", "--quiet", reference]);
    }
    let difference =
        DataRoot::read(shale.data_root()).differences(&DataRoot::read(control.data_root()), EVERYTHING);
    assert!(difference.is_empty(), "shale's root is left, docker's right:\n{}", difference.join("\n"));

    let opened = Dockerd::start(&scratch.folder("o"), shale.data_root(), &Options::default());
    assert_eq!(listed(&opened), listed(&control));
    let mut failures = Vec::new();
    for reference in &references {
        for (what, ask) in QUESTIONS {
            let (ours, theirs) = (ask(&opened, reference), ask(&control, reference));
            if ours != theirs {
                failures.push(format!(
                    "{reference}: {what}:\n--- shale's root\n{ours}\n--- docker's root\n{theirs}"
                ));
            }
        }
        failures.extend(saved_differences(&scratch, &opened, &control, reference));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));

    let target = DockerRegistry::start(&scratch.folder("t"), Access::Open);
    for reference in &references {
        let name = reference.rsplit('/').next().expect("it has a host");
        let copy = format!("{}/pushed/{name}", target.host());
        let pushed = [&opened, &control].map(|docker| {
            docker.docker(&["tag", reference, &copy]);
            let output = docker.docker(&["push", &copy]);
            output.lines().last().unwrap_or_default().to_owned()
        });
        assert!(pushed[0].contains("digest: sha256:"), "{}", pushed[0]);
        assert_eq!(pushed[0], pushed[1], "{reference}");
    }
}

#[test]
fn sparse_files_in_each_of_tar_s_forms_are_what_docker_makes_of_them() {
    let scratch = Scratch::new("sparse");
    let folder = scratch.folder("files");
    let script = "mkdir tree; cd tree; truncate -s 500K ends; printf data | dd of=ends conv=notrunc
        truncate -s 1M middle; printf middle | dd of=middle bs=1 seek=500000 conv=notrunc; printf x > plain
        i=0; while [ $i -lt 30 ]; do printf $i | dd of=many bs=8192 seek=$((i * 2)) conv=notrunc; i=$((i + 1)); done
        touch -d @1600000000 *; cd ..
        for version in 0.0 0.1 1.0; do
            tar --sparse --format=posix --sparse-version=$version -cf $version.tar -C tree .
        done
        tar --sparse --format=gnu -cf gnu.tar -C tree .";
    shell(&folder, &format!("exec 2>/dev/null\n{script}"));
    let mut trees = Vec::new();
    for form in ["0.0", "0.1", "1.0", "gnu"] {
        let tar = std::fs::read(folder.join(format!("{form}.tar"))).expect("tar made it");
        let image = ImageBuilder::new(Flavour::Docker).layer_tar(tar).build();
        let registry = BadRegistry::start_with("good", image);
        let reference = format!("{}/sparse/{form}:1", registry.host());
        let shale = Shale::new(&scratch.folder(form));
        shale.shale(&["pull", "--quiet", &reference]);
        let root = DataRoot::read(shale.data_root());
        let [layer] = root.layers.values().collect::<Vec<_>>()[..] else { panic!("{form}: not one layer") };
        trees.push(tree::list(&layer.diff, EVERYTHING).expect("the layer's directory can be read"));
        let saved = folder.join("saved.tar");
        let save = ["save", "-o", saved.to_str().expect("scratch paths are text"), &reference];
        shale.shale(&save);

        let control_root = scratch.folder(form).join("control");
        let control = Dockerd::start(&scratch.folder("c"), &control_root, &Options::default());
        let theirs = control.run(&["pull", "--quiet", &reference]);
        if form == "gnu" {
            // Docker knows no entries of type S; what they hold is what the other forms of the same files hold.
            assert!(theirs.refusal().contains("unhandled tar header type 83"));
            continue;
        }
        theirs.success();
        // Docker's tar-split fills the holes, Shale's keeps the tar's own bytes: the records differ, all else does not.
        let mut roots = [root, DataRoot::read(&control_root)];
        roots.iter_mut().flat_map(|root| root.layers.values_mut()).for_each(|layer| layer.tar_split.clear());
        assert_eq!(roots[0].differences(&roots[1], EVERYTHING), Vec::<String>::new(), "{form}");
        // With its own record dockerd cannot give the layer back, with Shale's it can.
        let message = control.run(&save).refusal();
        assert!(message.contains("could not verify layer data"), "{form}: {message}");
        drop(control);
        let opened = Dockerd::start(&scratch.folder("o"), shale.data_root(), &Options::default());
        opened.docker(&save);
    }
    for tree in &trees[1..] {
        assert_eq!(tree::differences(&trees[0], tree), Vec::<String>::new());
    }
    assert_eq!(trees[0].len(), 4);
}

#[test]
fn a_layer_that_hides_all_below_it_hides_it_from_docker_too() {
    // dockerd 20.10 itself shows `hidden` in a container of this image: overlayfs takes no notice of the mark there.
    let busybox = std::fs::read(require("busybox", "busybox-static")).expect("it can be read");
    let image = ImageBuilder::new(Flavour::Oci)
        .layer(LayerBuilder::new().file("hidden", 0o644, b"x"))
        .layer(
            LayerBuilder::new()
                .file(".wh..wh..opq", 0, b"")
                .directory("bin", 0o755)
                .file("bin/sh", 0o755, &busybox),
        )
        .layer(LayerBuilder::new().file("top", 0o644, b"x"))
        .build();
    let registry = BadRegistry::start_with("good", image);
    let scratch = Scratch::new("opaque");
    let shale = Shale::new(scratch.path());
    let reference = format!("{}/root/opaque:1", registry.host());
    shale.shale(&["pull", "--quiet", &reference]);
    shale.shale(&["fsck"]);
    let list = ["run", "--rm", "--network", "none", &reference, "/bin/sh", "-c", "echo /[!dsep]*"];
    assert_eq!(shale.shale(&list), "/bin /top\n");
    let docker = Dockerd::start(&scratch.folder("d"), shale.data_root(), &Options::default());
    assert_eq!(docker.docker(&list), "/bin /top\n");
    // All three layers are still the image's.
    let saved = scratch.folder("saved");
    let tar = saved.join("saved.tar");
    docker.docker(&["save", "-o", tar.to_str().expect("scratch paths are text"), &reference]);
    let digests = shell(&saved, "tar -xf saved.tar; sha256sum */layer.tar | cut -d' ' -f1 | sort");
    let mut diff_ids: Vec<String> =
        registry.image().layers.iter().map(|layer| layer.diff_id.replace("sha256:", "")).collect();
    diff_ids.sort();
    assert_eq!(digests.lines().collect::<Vec<_>>(), diff_ids);
}

#[test]
fn zstd_layers_unpack_to_the_trees_of_their_gzip_twins() {
    let scratch = Scratch::new("zstd");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let [zstd, gzip] = ["zstd", ZSTD_OF].map(|name| {
        let shale = Shale::new(&scratch.folder(name));
        shale.shale(&["pull", "--quiet", &format!("{}/images/{name}:1", registry.host())]);
        DataRoot::read(shale.data_root())
    });
    assert!(zstd.leftovers.is_empty(), "{:?}", zstd.leftovers);
    // skopeo writes the config anew, in OCI's words; the layers that it names are the same.
    let diff_ids = |root: &DataRoot| {
        let config = root.configs.values().next().expect("an image was pulled");
        let config: Value = serde_json::from_slice(config).expect("a config is JSON");
        config["rootfs"]["diff_ids"].clone()
    };
    assert_eq!(diff_ids(&zstd), diff_ids(&gzip));
    assert!(!zstd.layers.is_empty());
    assert_eq!(zstd.layers.keys().collect::<Vec<_>>(), gzip.layers.keys().collect::<Vec<_>>());
    for (chain, layer) in &zstd.layers {
        assert_eq!(layer_differences(chain, layer, &gzip.layers[chain], EVERYTHING), Vec::<String>::new());
    }
    let common: BTreeSet<_> =
        zstd.diff_ids.keys().filter(|digest| gzip.diff_ids.contains_key(*digest)).collect();
    assert_eq!(common, BTreeSet::new(), "every layer was compressed anew");
}

#[test]
fn loaded_imported_and_tagged_images_are_docker_s() {
    let scratch = Scratch::new("loaded");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let control = Dockerd::start(&scratch.folder("c"), &scratch.folder("control"), &Options::default());
    let source = format!("{}/images/whiteouts:1", registry.host());
    let tar = scratch.path().join("saved.tar");
    let tar = tar.to_str().expect("scratch paths are text");
    {
        let maker = Dockerd::start(&scratch.folder("m"), &scratch.folder("maker"), &Options::default());
        maker.docker(&["pull", "--quiet", &source]);
        maker.docker(&["tag", &source, "saved/name:tag"]);
        maker.docker(&["save", "-o", tar, "saved/name:tag"]);
    }
    let tree = scratch.folder("tree");
    shell(
        &tree,
        "mkdir d; echo imported > d/f; chmod 4711 d/f; ln d/f d/g; ln -s f d/l; tar -cf ../import.tar .",
    );
    let imported = scratch.path().join("import.tar");
    let imported = imported.to_str().expect("scratch paths are text");

    let shale = Shale::new(&scratch.folder("shale"));
    assert_eq!(shale.shale(&["load", "-i", tar]), control.docker(&["load", "-i", tar]));
    shale.shale(&["tag", "saved/name:tag", "other:one"]);
    control.docker(&["tag", "saved/name:tag", "other:one"]);
    let import =
        ["import", "-c", "ENV A=b", "-c", "CMD [\"/bin/sh\"]", "-m", "by hand", imported, "imported:1"];
    shale.shale(&import);
    control.docker(&import);

    let opened = Dockerd::start(&scratch.folder("o"), shale.data_root(), &Options::default());
    // An imported image's ID holds the moment of its making.
    let stable = |docker: &Dockerd| {
        listed(docker).into_iter().filter(|row| !row.contains("\"imported\"")).collect::<Vec<_>>()
    };
    assert_eq!(stable(&opened), stable(&control));
    for reference in ["saved/name:tag", "other:one"] {
        assert_eq!(inspected(&opened, reference), inspected(&control, reference));
        assert_eq!(saved_differences(&scratch, &opened, &control, reference), Vec::<String>::new());
    }
    let without_moment = |docker: &Dockerd| {
        let mut image: Value = serde_json::from_str(&inspected(docker, "imported:1")).expect("it is JSON");
        for field in ["Id", "Created", "DockerVersion", "Metadata"] {
            image.as_object_mut().expect("an image is an object").remove(field);
        }
        image
    };
    assert_eq!(without_moment(&opened), without_moment(&control));
    let run = ["run", "--rm", "--network", "none", "saved/name:tag", "/bin/sh", "-c", TREE_SUM];
    assert_eq!(opened.docker(&run), control.docker(&run));
}

/// A question about an image, and how docker answers it.
type Question = (&'static str, fn(&Dockerd, &str) -> String);

const QUESTIONS: [Question; 3] = [("inspect", inspected), ("history", history), ("run", run_in_container)];

/// Names, modes, owners, sizes, times and contents as a process in the container sees them, without what docker puts
/// into every container.
const TREE_SUM: &str =
    "look() { find / -xdev -not -path / -not -path '/dev*' -not -path '/proc*' -not -path '/sys*' \
    -not -path /.dockerenv -not -path /etc -not -path /etc/hosts -not -path /etc/hostname \
    -not -path /etc/resolv.conf -not -path /etc/mtab \"$@\" | sort; }
    look -exec stat -c '%n %f %u %g %s %Y %t %T' {} +
    look -type f -exec sha256sum {} +";

fn run_in_container(docker: &Dockerd, reference: &str) -> String {
    let found = docker.run(&["run", "--rm", "--network", "none", reference, "/bin/sh", "-c", TREE_SUM]);
    format!("{}\n{}\n{}", found.code(), found.stdout, found.stderr)
}

fn inspected(docker: &Dockerd, reference: &str) -> String {
    let text = docker.docker(&["inspect", "--type", "image", reference]);
    let mut image: Value = serde_json::from_str(&text).expect("inspect prints JSON");
    let image = image[0].as_object_mut().expect("inspect prints a list of objects");
    // Directory names are random; how many layers are below is not.
    let driver = image.remove("GraphDriver").unwrap_or_default();
    let below = driver["Data"]["LowerDir"].as_str().map_or(0, |lower| lower.split(':').count());
    image.insert("layers below".to_owned(), below.into());
    if let Some(time) = image.get_mut("Metadata").and_then(|metadata| metadata.get_mut("LastTagTime")) {
        let is_never = time.as_str().is_some_and(|time| time.starts_with("0001"));
        *time = Value::Bool(!is_never);
    }
    serde_json::to_string_pretty(image).expect("JSON is text")
}

fn history(docker: &Dockerd, reference: &str) -> String {
    let rows = docker.docker(&["history", "--no-trunc", "--format", "{{json .}}", reference]);
    without_age(&rows).join("\n")
}

fn listed(docker: &Dockerd) -> Vec<String> {
    let rows = docker.docker(&["images", "--all", "--digests", "--no-trunc", "--format", "{{json .}}"]);
    let mut rows = without_age(&rows);
    rows.sort();
    rows
}

/// Rows of JSON without the field that changes while one looks at it.
fn without_age(rows: &str) -> Vec<String> {
    rows.lines()
        .map(|row| {
            let mut row: Value = serde_json::from_str(row).expect("a row is JSON");
            row.as_object_mut().expect("a row is an object").remove("CreatedSince");
            row.to_string()
        })
        .collect()
}

/// How the archives of `docker save` from both daemons differ, file by file.
fn saved_differences(scratch: &Scratch, left: &Dockerd, right: &Dockerd, reference: &str) -> Vec<String> {
    let trees = [("saved-left", left), ("saved-right", right)].map(|(name, docker)| {
        let folder = scratch.folder(name);
        shell(&folder, "find . -mindepth 1 -delete");
        let tar = folder.join("saved.tar");
        docker.docker(&["save", "-o", tar.to_str().expect("scratch paths are text"), reference]);
        shell(&folder, "tar -xf saved.tar; rm saved.tar");
        tree::list(Path::new(&folder), Compare { times: false }).expect("it was just unpacked")
    });
    let lines = tree::differences(&trees[0], &trees[1]);
    lines.into_iter().map(|line| format!("{reference}: docker save: {line}")).collect()
}
