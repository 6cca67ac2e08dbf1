//! Archives between Shale, docker, skopeo and podman, and copies that keep every digest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use shale_tests::data_root::DataRoot;
use shale_tests::image::{TAR, storage};
use shale_tests::peer::{Access, DockerRegistry, Dockerd, Options, Shale};
use shale_tests::program::{Finished, require, run, shell};
use shale_tests::scratch::Scratch;
use shale_tests::{fixtures, sha256_hex};

const NAMES: [&str; 4] = ["whiteouts", "names", "same-layer-twice", "empty-layer"];

fn text(path: &Path) -> &str {
    path.to_str().expect("scratch paths are text")
}

fn skopeo(arguments: &[&str]) -> Finished {
    run(Command::new(require("skopeo", "skopeo")).args(arguments))
}

/// Image IDs and chain IDs: what must survive every archive.
fn ids(root: &DataRoot) -> (Vec<String>, Vec<String>) {
    (root.configs.keys().cloned().collect(), root.layers.keys().cloned().collect())
}

/// Makes a directory appear at another place, where nothing can be written, until this is dropped.
struct ReadOnlyView(PathBuf);

impl ReadOnlyView {
    fn of(directory: &Path, place: &Path) -> ReadOnlyView {
        fs::create_dir_all(place).expect("the scratch directory is ours");
        let mount = require("mount", "mount");
        run(Command::new(&mount).args(["--bind", text(directory), text(place)])).success();
        let view = ReadOnlyView(place.to_owned());
        run(Command::new(mount).args(["-o", "remount,bind,ro", text(place)])).success();
        view
    }
}

impl Drop for ReadOnlyView {
    fn drop(&mut self) {
        let _ = Command::new(require("umount", "mount")).arg(&self.0).status();
    }
}

#[test]
fn images_leave_a_disk_that_cannot_be_written() {
    let scratch = Scratch::new("rescue");
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    let shale = Shale::new(&scratch.folder("shale"));
    let target = DockerRegistry::start(&scratch.folder("t"), Access::Open);
    let pulled = format!("{}/images/whiteouts:1", source.host());
    let pushed = format!("{}/rescued:1", target.host());
    shale.shale(&["pull", "--quiet", &pulled]);
    shale.shale(&["tag", &pulled, &pushed]);
    let [before, after] = ["before.tar", "after.tar"].map(|name| scratch.path().join(name));
    shale.shale(&["save", "-o", text(&before), &pulled]);

    let place = scratch.path().join("read-only");
    let _view = ReadOnlyView::of(shale.data_root(), &place);
    let shale = Shale::on_root(&scratch.folder("user"), &place);
    assert!(shale.run(&["tag", &pulled, "other:1"]).refusal().contains("Read-only file system"));
    shale.shale(&["save", "-o", text(&after), &pulled]);
    assert_eq!(fs::read(&after).expect("it was saved"), fs::read(&before).expect("it was saved"));
    shale.shale(&["push", &pushed]);
    let digest = format!("docker://{}/rescued@{}", target.host(), target.digest("rescued", "1"));
    skopeo(&["inspect", "--tls-verify=false", &digest]).success();
}

#[test]
fn docker_loads_what_shale_saves() {
    let scratch = Scratch::new("save");
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    let shale = Shale::new(&scratch.folder("shale"));
    let references: Vec<String> =
        NAMES.iter().map(|name| format!("{}/images/{name}:1", source.host())).collect();
    for reference in &references {
        shale.shale(&["pull", "--quiet", reference]);
    }
    let tar = scratch.path().join("saved.tar");
    let mut save = vec!["save", "-o", text(&tar)];
    save.extend(references.iter().map(String::as_str));
    shale.shale(&save);
    let docker = Dockerd::start(&scratch.folder("d"), &scratch.folder("root"), &Options::default());
    let loaded = docker.docker(&["load", "-i", text(&tar)]);
    for reference in &references {
        assert!(loaded.contains(&format!("Loaded image: {reference}")), "{loaded}");
    }
    assert_eq!(ids(&DataRoot::read(shale.data_root())), ids(&DataRoot::read(docker.data_root())));
    // skopeo reads the same archive as an OCI layout or as docker's, whichever it finds.
    skopeo(&["inspect", &format!("docker-archive:{}:{}", tar.display(), references[0])]).success();
}

#[test]
fn shale_loads_what_docker_skopeo_and_podman_save() {
    let scratch = Scratch::new("load");
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    let reference = format!("{}/images/whiteouts:1", source.host());
    let pulled = Shale::new(&scratch.folder("pulled"));
    pulled.shale(&["pull", "--quiet", &reference]);
    let expected = ids(&DataRoot::read(pulled.data_root()));

    let by_docker = scratch.path().join("docker.tar");
    {
        let docker = Dockerd::start(&scratch.folder("d"), &scratch.folder("root"), &Options::default());
        docker.docker(&["pull", "--quiet", &reference]);
        docker.docker(&["save", "-o", text(&by_docker), &reference]);
    }
    let docker_archive = scratch.path().join("skopeo-docker.tar");
    let oci_archive = scratch.path().join("skopeo-oci.tar");
    let from = format!("docker://{reference}");
    let copy = ["copy", "--quiet", "--src-tls-verify=false", &from];
    skopeo(&[&copy[..], &[&format!("docker-archive:{}:loaded:1", docker_archive.display())]].concat())
        .success();
    skopeo(&[&copy[..], &[&format!("oci-archive:{}:loaded:1", oci_archive.display())]].concat()).success();
    let by_podman = scratch.path().join("podman.tar");
    podman(&scratch, &["pull", "--quiet", "--tls-verify=false", &reference]);
    podman(&scratch, &["save", "--quiet", "-o", text(&by_podman), &reference]);

    for archive in [&by_docker, &docker_archive, &oci_archive, &by_podman] {
        let name = archive.file_stem().expect("it has a name").to_string_lossy().into_owned();
        let shale = Shale::new(&scratch.folder(&format!("loaded-{name}")));
        shale.shale(&["load", "-i", text(archive)]);
        let root = DataRoot::read(shale.data_root());
        assert_eq!(root.leftovers, Vec::<String>::new(), "{name}");
        assert_eq!(ids(&root).1, expected.1, "{name}");
        // An OCI archive of a Docker image has the config rewritten by skopeo; the others keep it.
        if name != "skopeo-oci" {
            assert_eq!(ids(&root).0, expected.0, "{name}");
        }
    }
}

fn podman(scratch: &Scratch, arguments: &[&str]) -> String {
    let mut command = Command::new(require("podman", "podman"));
    command.arg("--root").arg(scratch.folder("podman")).arg("--runroot").arg(scratch.folder("podman-run"));
    run(command.args(["--storage-driver", "overlay"]).args(arguments)).success()
}

#[test]
fn shale_loads_the_golden_archives_of_docker_20_10_and_28() {
    let scratch = Scratch::new("golden");
    let golden = fixtures().join("docker");
    let (old, new) = (scratch.path().join("old.tar"), scratch.path().join("new.tar"));
    let script = format!(
        "xz -dc {}/20.10.24/save-app-base.tar.xz > {}; tar -xOf {}/28.5.2/data-root+save.tar.xz save-app-base.tar > {}",
        golden.display(),
        old.display(),
        golden.display(),
        new.display(),
    );
    shell(scratch.path(), &script);
    for (version, archive) in [("20.10.24", &old), ("28.5.2", &new)] {
        let shale = Shale::new(&scratch.folder(version));
        let loaded = shale.shale(&["load", "-i", text(archive)]);
        for name in ["fx/app:1", "fx/base:1", "127.0.0.1:5918/fx/app:1"] {
            assert!(loaded.contains(&format!("Loaded image: {name}")), "{version}: {loaded}");
            let recorded = golden.join(version).join("cli-28.2/images-digests-no-trunc.txt");
            let recorded = fs::read_to_string(recorded).expect("it is in the repository");
            let id = shale.shale(&["images", "--quiet", "--no-trunc", name]);
            assert!(recorded.contains(id.trim()), "{version}: {name} is {id}");
        }
    }
}

#[test]
fn a_copy_keeps_every_digest_through_registry_layout_and_archive() {
    let scratch = Scratch::new("copy");
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    let target = DockerRegistry::start(&scratch.folder("t"), Access::Open);
    let shale = Shale::new(&scratch.folder("shale"));
    // One with Docker's manifest and one with OCI's.
    for name in ["whiteouts", "zstd"] {
        let layout = scratch.path().join(name);
        let from = format!("docker://{}/images/{name}:1", source.host());
        let inside = format!("oci:{}:1", layout.display());
        let to = format!("docker://{}/copied/{name}:1", target.host());
        shale.shale(&["copy", &from, &inside]);
        shale.shale(&["copy", &inside, &to]);
        assert_eq!(
            source.digest(&format!("images/{name}"), "1"),
            target.digest(&format!("copied/{name}"), "1")
        );
        let raw = |reference: &str| skopeo(&["inspect", "--raw", "--tls-verify=false", reference]).success();
        assert_eq!(raw(&from), raw(&to));
        // skopeo finds nothing but OCI's manifests in a layout.
        if name == "zstd" {
            assert_eq!(raw(&from), raw(&inside));
        }
    }
}

/// A docker archive of images that have a layer in common and one of their own.
fn archive_of(scratch: &Scratch, images: usize) -> PathBuf {
    let folder = scratch.folder(&format!("archive-{images}"));
    let tar = |name: &str, content: &str| {
        let script = format!("mkdir -p t; echo {content} > t/{name}; {TAR} -C t -cf {name}.tar {name}");
        shell(&folder, &script);
        let bytes = fs::read(folder.join(format!("{name}.tar"))).expect("it was just made");
        format!("sha256:{}", sha256_hex(&bytes))
    };
    let base = tar("base", "below");
    let mut manifest = Vec::new();
    for number in 0..images {
        let own = tar(&format!("own{number}"), &number.to_string());
        let config = json!({"architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [base, own]}});
        fs::write(folder.join(format!("{number}.json")), config.to_string()).expect("the directory is ours");
        manifest
            .push(json!({"Config": format!("{number}.json"), "RepoTags": [format!("many/image{number}:1")],
            "Layers": ["base.tar", format!("own{number}.tar")]}));
    }
    fs::write(folder.join("manifest.json"), Value::from(manifest).to_string())
        .expect("the directory is ours");
    shell(&folder, "rm -r t; tar -cf ../archive.tar *; mv ../archive.tar .");
    folder.join("archive.tar")
}

#[test]
fn loading_many_images_waits_for_the_disk_as_often_as_loading_one() {
    let scratch = Scratch::new("many");
    let syncs = |images: usize| {
        let archive = archive_of(&scratch, images);
        let shale = Shale::new(&scratch.folder(&format!("shale-{images}")));
        // The directories of a new root are not what is counted.
        shale.shale(&["images"]);
        let log = scratch.path().join("strace.log");
        let mut command = Command::new(require("strace", "strace"));
        command.args(["-f", "-qq", "-e", "trace=sync,syncfs,fsync,fdatasync", "-o"]).arg(&log);
        command.arg(shale.program()).arg("--data-root").arg(shale.data_root());
        let loaded = run(command.args(["load", "-i", text(&archive)])).success();
        assert_eq!(
            loaded.lines().filter(|line| line.starts_with("Loaded image: ")).count(),
            images,
            "{loaded}"
        );
        let (configs, chains) = ids(&DataRoot::read(shale.data_root()));
        assert_eq!((configs.len(), chains.len()), (images, images + 1));
        assert!(shale.run(&["fsck"]).is_success());
        let calls = fs::read_to_string(&log).expect("strace writes it");
        (calls.lines().filter(|line| line.contains("sync")).count(), archive, configs, chains)
    };
    let (for_one, ..) = syncs(1);
    let (for_many, archive, configs, chains) = syncs(40);
    assert_eq!(for_one, for_many);
    assert!(for_one > 0, "nothing was made durable");
    // Docker takes the archive for what we take it for.
    let docker = Dockerd::start(&scratch.folder("d"), &scratch.folder("root"), &Options::default());
    docker.docker(&["load", "-q", "-i", text(&archive)]);
    assert_eq!(ids(&DataRoot::read(docker.data_root())), (configs, chains));
}
