//! Removing names and images: the same commands on two copies of one root, one by docker and one by shale.

use std::path::Path;

use shale_tests::peer::{Dockerd, Options, Shale};
use shale_tests::program::shell;
use shale_tests::scratch::Scratch;

/// Makes images with parents, several names and a stopped container, by docker.
fn make_root(scratch: &Scratch, root: &Path) {
    let docker = Dockerd::start(&scratch.folder("maker"), root, &Options::default());
    let files = scratch.folder("files");
    std::fs::write(files.join("hello"), "hello\n").expect("the folder is there");
    shell(scratch.path(), "tar -C files -cf base.tar .");
    let tar = scratch.path().join("base.tar");
    let tar = tar.to_str().expect("scratch paths are text");
    docker.docker(&["import", tar, "base:1"]);
    docker.docker(&["tag", "base:1", "base:2"]);
    docker.docker(&["tag", "base:1", "localhost:5000/other:1"]);
    let socket = docker.socket();
    for (name, from, label) in
        [("child", "base:1", "a"), ("grandchild", "child:1", "b"), ("used", "base:1", "c")]
    {
        std::fs::write(
            files.join("Dockerfile"),
            format!("FROM {from}\nLABEL step={label}\nLABEL again={label}\n"),
        )
        .expect("the folder is there");
        let build =
            format!("DOCKER_BUILDKIT=0 docker -H unix://{} build -q -t {name}:1 files", socket.display());
        shell(scratch.path(), &build);
    }
    docker.docker(&["create", "--name", "keeper", "used:1", "/hello"]);
    docker.docker(&["import", "-m", "alone", tar]);
}

/// What a command said, without the words that only a daemon's client has, and with docker's container names left in.
fn told(code: i32, output: &str, errors: &str) -> String {
    let errors = errors.replace("Error response from daemon: ", "Error: ");
    let mut lines: Vec<&str> = output.lines().chain(errors.lines()).filter(|line| !line.is_empty()).collect();
    // Docker removes the names of an image in the order of a Go map.
    lines.sort_unstable();
    format!("exit {code}\n{}", lines.join("\n"))
}

#[test]
fn names_and_images_go_as_with_docker() {
    let scratch = Scratch::new("removal");
    let root = scratch.folder("root");
    make_root(&scratch, &root);
    shell(scratch.path(), "cp -a root copy");
    let docker = Dockerd::start(&scratch.folder("d"), &root, &Options::default());
    let shale = Shale::on_root(&scratch.folder("s"), &scratch.path().join("copy"));
    let id = |name: &str| docker.docker(&["inspect", "-f", "{{.Id}}", name]).trim().to_owned();
    let (base, child, used) = (id("base:1"), id("child:1"), id("used:1"));
    let short = &base["sha256:".len()..][..12];
    let commands: Vec<Vec<&str>> = vec![
        vec!["rmi", "nosuch:1"],
        vec!["rmi", "-f", "nosuch:1"],
        vec!["rmi", "base:2"],
        vec!["rmi", short],
        vec!["rmi", "-f", short],
        vec!["rmi", "used:1"],
        vec!["rmi", &used],
        vec!["rmi", "child:1"],
        vec!["rmi", &child],
        vec!["rmi", "grandchild:1", "nosuch:2"],
        vec!["rmi", "localhost:5000/other:1"],
        vec!["image", "prune", "-f"],
        vec!["rmi", "-f", "used:1"],
        vec!["image", "prune", "-af"],
        vec!["images", "-aq"],
    ];
    for command in commands {
        let theirs = docker.run(&command);
        let ours = shale.run(&command);
        assert_eq!(
            told(ours.code(), &ours.stdout, &ours.stderr),
            told(theirs.code(), &theirs.stdout, &theirs.stderr),
            "{command:?}"
        );
    }
    drop(docker);
    // What is left is a root that docker still opens, with the container and nothing of the images.
    let docker = Dockerd::start(&scratch.folder("again"), &scratch.path().join("copy"), &Options::default());
    assert!(docker.docker(&["ps", "-a", "--format", "{{.Names}}"]).contains("keeper"));
}
