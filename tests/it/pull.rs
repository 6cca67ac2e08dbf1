//! A pull tells what docker's tells, whatever of the image is here already.

use std::path::Path;

use shale_tests::image::storage;
use shale_tests::peer::{Access, DockerRegistry, Dockerd, Options, Shale};
use shale_tests::program::shell;
use shale_tests::scratch::{Scratch, unmount_below};

/// States on the way, whose order is a matter of luck.
const PASSING: [&str; 5] =
    ["Pulling fs layer", "Waiting", "Verifying Checksum", "Download complete", "Extracting"];

#[test]
fn a_pull_tells_of_layers_as_docker_does() {
    let scratch = Scratch::new("words");
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    let registry = DockerRegistry::start(&scratch.folder("r"), Access::Open);
    push_family(&scratch.folder("d"), &source, &registry);

    let docker = Dockerd::start(&scratch.folder("peer"), &scratch.folder("peer-root"), &Options::default());
    let shale = Shale::new(scratch.path());
    let [first, again, renamed, other_config, one_more] =
        ["1", "1", "renamed", "label", "more"].map(|tag| format!("{}/family:{tag}", registry.host()));
    for (what, reference) in [
        ("nothing is here", &first),
        ("the image is up to date", &again),
        ("the image is here under another tag", &renamed),
        ("all layers are here and the image is not", &other_config),
        ("one layer is new", &one_more),
    ] {
        let (theirs, ours) = (docker.docker(&["pull", reference]), shale.shale(&["pull", reference]));
        assert_eq!(told(&ours), told(&theirs), "{what}");
    }
    let quiet = ["pull", "--quiet", &first];
    assert_eq!(shale.shale(&quiet), docker.docker(&quiet));
}

/// Pushes an image of two layers, the same under another tag, one with another config, and one with a layer more.
fn push_family(folder: &Path, source: &DockerRegistry, registry: &DockerRegistry) {
    let root = folder.join("root");
    let docker = Dockerd::start(folder, &root, &Options::default());
    let base = format!("{}/images/busybox:1", source.host());
    let name = |tag: &str| format!("{}/family:{tag}", registry.host());
    for (tag, dockerfile) in [
        ("1", format!("FROM {base}\nCOPY Dockerfile /first\n")),
        ("label", format!("FROM {}\nLABEL a=b\n", name("1"))),
        ("more", format!("FROM {}\nCOPY Dockerfile /second\n", name("1"))),
    ] {
        let context = folder.join(tag);
        std::fs::create_dir_all(&context).expect("the scratch directory is ours");
        std::fs::write(context.join("Dockerfile"), dockerfile).expect("the scratch directory is ours");
        docker.docker(&["build", "--quiet", "--tag", &name(tag), context.to_str().expect("it is text")]);
    }
    docker.docker(&["tag", &name("1"), &name("renamed")]);
    for tag in ["1", "renamed", "label", "more"] {
        docker.docker(&["push", "--quiet", &name(tag)]);
    }
    drop(docker);
    unmount_below(&root);
    shell(folder, "rm -rf root");
}

/// The lines without those of passing states.
fn told(output: &str) -> Vec<&str> {
    output.lines().filter(|line| !PASSING.iter().any(|state| line.contains(state))).collect()
}
