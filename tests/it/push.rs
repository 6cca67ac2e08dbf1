//! Push: what docker prints, nothing that is there already, and others can pull it.

use std::process::Command;

use shale_tests::image::storage;
use shale_tests::peer::{Access, DockerRegistry, Dockerd, Options, Shale};
use shale_tests::program::{require, run};
use shale_tests::scratch::Scratch;

#[test]
fn output_is_docker_s_and_what_is_there_is_not_uploaded() {
    let scratch = Scratch::new("push");
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    let pulled = format!("{}/images/whiteouts:1", source.host());
    let shale = Shale::new(&scratch.folder("shale"));
    shale.shale(&["pull", "--quiet", &pulled]);
    let docker = Dockerd::start(&scratch.folder("d"), &scratch.folder("root"), &Options::default());
    docker.docker(&["pull", "--quiet", &pulled]);

    // Each program has a registry of its own, so that neither finds the other's blobs.
    let ours = DockerRegistry::start(&scratch.folder("ours"), Access::Open);
    let theirs = DockerRegistry::start(&scratch.folder("theirs"), Access::Open);
    for step in ["first", "again", "mounted/elsewhere"] {
        let repository = if step == "again" { "first" } else { step };
        let by_shale = format!("{}/{repository}:1", ours.host());
        let by_docker = format!("{}/{repository}:1", theirs.host());
        shale.shale(&["tag", &pulled, &by_shale]);
        docker.docker(&["tag", &pulled, &by_docker]);
        let uploads_before = ours.requests("POST", "/blobs/uploads/").len();
        let printed = shale.shale(&["push", &by_shale]);
        let recorded = docker.docker(&["push", &by_docker]);
        assert_eq!(told(&printed, &ours), told(&recorded, &theirs), "{step}:\n{printed}\n---\n{recorded}");
        let uploads = ours.requests("POST", "/blobs/uploads/").len() - uploads_before;
        let layers = shale.shale(&["inspect", "-f", "{{len .RootFS.Layers}}", &pulled]);
        let layers: usize = layers.trim().parse().expect("it is a number");
        match step {
            "first" => assert!(uploads >= layers, "{uploads} uploads of {layers} layers"),
            "again" => assert_eq!(uploads, 0, "everything was there"),
            _ => assert_eq!(
                ours.requests("POST", "mount=").len(),
                ours.requests("POST", "mount=").iter().filter(|line| line.contains("\" 201 ")).count(),
                "a mount was refused"
            ),
        }
    }
    for repository in ["first", "mounted/elsewhere"] {
        let reference = format!("{}/{repository}:1", ours.host());
        let digest = docker.docker(&["pull", "--quiet", &reference]);
        assert_eq!(digest.trim(), reference);
        let mut inspect = Command::new(require("skopeo", "skopeo"));
        inspect.args(["inspect", "--tls-verify=false", &format!("docker://{reference}")]);
        let inspected = run(&mut inspect).success();
        assert!(inspected.contains(&ours.digest(repository, "1")), "{inspected}");
    }
    let ids = docker.docker(&["images", "--quiet", "--no-trunc"]);
    let distinct: std::collections::BTreeSet<&str> = ids.lines().collect();
    assert_eq!(distinct.len(), 1, "docker sees one image under all names: {ids}");
}

/// What a push says, as a sorted list without host and digest: gzip gives other bytes than docker's.
fn told(output: &str, registry: &DockerRegistry) -> Vec<String> {
    let mut lines: Vec<String> = output
        .lines()
        .map(|line| line.replace(&registry.host(), "HOST"))
        .filter(|line| !line.ends_with(": Preparing") && !line.ends_with(": Waiting"))
        .map(|line| match line.split_once(": digest: sha256:") {
            Some((tag, rest)) => {
                format!("{tag}: digest: size {}", rest.rsplit(' ').next().unwrap_or_default())
            }
            None => line,
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_push_of_what_is_not_here_says_so_and_asks_nobody() {
    let scratch = Scratch::new("push");
    let registry = DockerRegistry::start(&scratch.folder("r"), Access::Open);
    let shale = Shale::new(scratch.path());
    let reference = format!("{}/nothing/here:1", registry.host());
    let message = shale.run(&["push", &reference]).refusal();
    // Source: docker 20.10 and 28 print "An image does not exist locally with the tag: NAME".
    assert!(message.contains("does not exist locally with the tag"), "{message}");
    let empty = scratch.path().join("empty.tar");
    std::fs::write(&empty, [0; 1024]).expect("the disk takes it");
    shale.shale(&["import", empty.to_str().expect("scratch paths are text"), &reference]);
    let other = format!("{}/nothing/here:2", registry.host());
    let message = shale.run(&["push", &other]).refusal();
    // Source: docker 20.10, which has asked for the registry's API by then.
    let expected = format!("tag does not exist: {other}\nDid you mean '{reference}'?");
    assert!(message.contains(&expected), "{message}");
    assert_eq!(registry.requests("POST", "/blobs/"), Vec::<String>::new());
}

/// A blob that came into the registry by another way is known by the digest under which it was pulled.
#[test]
fn what_was_pulled_elsewhere_and_is_there_is_not_uploaded() {
    let scratch = Scratch::new("push");
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    let pulled = format!("{}/images/whiteouts:1", source.host());
    let shale = Shale::new(&scratch.folder("shale"));
    shale.shale(&["pull", "--quiet", &pulled]);
    let docker = Dockerd::start(&scratch.folder("d"), &scratch.folder("root"), &Options::default());
    docker.docker(&["pull", "--quiet", &pulled]);
    let [ours, theirs] = ["ours", "theirs"].map(|name| {
        let registry = DockerRegistry::start(&scratch.folder(name), Access::Open);
        let mut copy = Command::new(require("skopeo", "skopeo"));
        copy.args(["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]);
        copy.args([&pulled, &format!("{}/copied:1", registry.host())].map(|name| format!("docker://{name}")));
        run(&mut copy).success();
        registry
    });
    let uploads_before = ours.requests("POST", "/blobs/uploads/").len();
    let [by_shale, by_docker] = [&ours, &theirs].map(|registry| format!("{}/copied:2", registry.host()));
    shale.shale(&["tag", &pulled, &by_shale]);
    docker.docker(&["tag", &pulled, &by_docker]);
    let printed = shale.shale(&["push", &by_shale]);
    let recorded = docker.docker(&["push", &by_docker]);
    assert_eq!(told(&printed, &ours), told(&recorded, &theirs), "{printed}\n---\n{recorded}");
    assert!(recorded.contains("Layer already exists") && !recorded.contains("Pushed"), "{recorded}");
    assert_eq!(ours.requests("POST", "/blobs/uploads/").len(), uploads_before, "all was there");
    assert_eq!(ours.digest("copied", "2"), theirs.digest("copied", "2"), "the manifest is docker's");
}
