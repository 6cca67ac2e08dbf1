//! `--platform` of the image commands, on an image for two machines.
//!
//! What is expected is what docker's reference says of each flag for a store that keeps one platform of an image ("if the
//! image or the server is not multi-platform capable, the command will error out if the platform does not match"), and what
//! moby answers then.
//!
//! Source: docker/cli v28.2 `docs/reference/commandline/image_*.md`, moby `errdefs` of `daemon/containerd` and `daemon/images`.

use std::process::Command;

use serde_json::Value;
use shale_testkit::image::{Flavour, Image, ImageBuilder, LayerBuilder, index};
use shale_tests::peer::{Access, Body, DockerRegistry, Shale, StaticRegistry};
use shale_tests::program::{require, run};
use shale_tests::scratch::Scratch;

const REPOSITORY: &str = "two/machines";

/// Ours, another, and one for which there is no image. An image of the second never runs here.
const PLATFORMS: [(&str, &str); 2] = [("linux/amd64", "amd64"), ("linux/arm64", "arm64")];
const ABSENT: &str = "linux/riscv64";

fn image_for(architecture: &str) -> Image {
    let layer = LayerBuilder::new().file("machine", 0o644, architecture.as_bytes());
    ImageBuilder::new(Flavour::Oci).architecture(architecture).layer(layer).build()
}

/// A registry with the tag `1` for both machines.
fn serve() -> StaticRegistry {
    let registry = StaticRegistry::start();
    let images = PLATFORMS.map(|(_, architecture)| image_for(architecture));
    for image in &images {
        let manifest = &image.manifest;
        registry.put_manifest(REPOSITORY, &manifest.digest, &manifest.media_type, &manifest.bytes);
        for blob in image.blobs() {
            registry.put_blob(REPOSITORY, &blob.digest, Body::Bytes(blob.bytes.clone()));
        }
    }
    let both = index(Flavour::Oci, &[(&images[0], PLATFORMS[0].1), (&images[1], PLATFORMS[1].1)]);
    registry.put_manifest(REPOSITORY, "1", &both.media_type, &both.bytes);
    registry
}

/// Runs a command that must be refused because of the platform, and leave the store as it was.
#[track_caller]
fn refused(shale: &Shale, words: &[&str], reason: &str) {
    let before = shale.shale(&["images", "--all", "--no-trunc", "--digests"]);
    let finished = shale.run(words);
    assert_eq!(finished.code(), 1, "{words:?}: {}", finished.describe());
    assert!(finished.stderr.contains(reason), "{words:?}: {}", finished.describe());
    assert_eq!(shale.shale(&["images", "--all", "--no-trunc", "--digests"]), before, "{words:?}");
}

#[test]
fn a_pull_takes_the_machine_that_was_asked_for() {
    let scratch = Scratch::new("platforms");
    let registry = serve();
    let reference = format!("{}/{REPOSITORY}:1", registry.host());
    for (platform, architecture) in PLATFORMS {
        let shale = Shale::new(&scratch.folder(architecture));
        shale.shale(&["pull", "--quiet", "--platform", platform, &reference]);
        let inspected: Value =
            serde_json::from_str(&shale.shale(&["inspect", &reference])).expect("it is JSON");
        assert_eq!(inspected[0]["Architecture"], architecture);
        assert_eq!(inspected[0]["Os"], "linux");
        // The index is what the tag names, whichever machine was chosen.
        let digests = shale.shale(&["images", "--digests", "--format", "{{.Digest}}"]);
        let raw = shale.shale(&["manifest", "inspect", "--raw", &reference]);
        assert_eq!(digests.trim(), format!("sha256:{}", shale_tests::sha256_hex(raw.as_bytes())));
    }
    // One after another in one store is nothing to be warned of.
    let both = Shale::new(&scratch.folder("both"));
    for (platform, architecture) in PLATFORMS {
        let pulled = both.run(&["pull", "--quiet", "--platform", platform, &reference]);
        assert_eq!((pulled.code(), pulled.stderr.as_str()), (0, ""), "{architecture}: {}", pulled.describe());
    }
    let shale = Shale::new(&scratch.folder("absent"));
    refused(
        &shale,
        &["pull", "--platform", ABSENT, &reference],
        "no matching manifest for linux/riscv64 in the manifest list entries",
    );
    // Where there is no list, there is nothing to choose from: dockerd 20.10 keeps the image and warns, and a container of
    // it is refused.
    let lone = format!("{}/{REPOSITORY}@{}", registry.host(), image_for("arm64").manifest.digest);
    let pulled = shale.run(&["pull", "--quiet", "--platform", "linux/amd64", &lone]);
    let mismatch = format!(
        "image with reference {}/{REPOSITORY} was found but does not match the specified platform: wanted linux/amd64, \
         actual: linux/arm64",
        registry.host()
    );
    assert_eq!(pulled.stderr, format!("WARNING: {mismatch}\n"), "{}", pulled.describe());
    assert_eq!(pulled.success().trim(), lone);
    assert_eq!(shale.shale(&["inspect", "--format", "{{.Architecture}}", &lone]).trim(), "arm64");
    let fresh = Shale::new(&scratch.folder("fresh"));
    let started = fresh.run(&["run", "--platform", "linux/amd64", &lone, "/machine"]);
    assert_eq!(started.code(), 125, "{}", started.describe());
    assert!(started.stderr.contains(&mismatch), "{}", started.describe());
    // The variable stands for the flag, and the flag goes first.
    for (words, architecture) in [
        (&["pull", "--quiet", &reference][..], "arm64"),
        (&["pull", "--quiet", "--platform", "linux/amd64", &reference], "amd64"),
    ] {
        let shale = Shale::new(&scratch.folder(&format!("variable-{architecture}")));
        run(shale.command(words).env("DOCKER_DEFAULT_PLATFORM", "linux/arm64")).success();
        let found = shale.shale(&["inspect", "--format", "{{.Architecture}}", &reference]);
        assert_eq!(found.trim(), architecture);
    }
    shale.run(&["pull", "--platform", "linux/", &reference]).refusal();
}

#[test]
fn the_other_commands_take_the_platform_of_the_image_and_refuse_another() {
    let scratch = Scratch::new("platforms");
    let registry = serve();
    let target = DockerRegistry::start(&scratch.folder("target"), Access::Open);
    let reference = format!("{}/{REPOSITORY}:1", registry.host());
    let shale = Shale::new(&scratch.folder("shale"));
    shale.shale(&["pull", "--quiet", "--platform", "linux/arm64", &reference]);
    let pushed = format!("{}/one:1", target.host());
    shale.shale(&["tag", &reference, &pushed]);
    let saved = scratch.path().join("saved.tar");
    let saved = saved.to_str().expect("scratch paths are text");
    let mismatch = "was found but does not provide the specified platform";
    for wrong in ["linux/amd64", ABSENT] {
        refused(&shale, &["image", "inspect", "--platform", wrong, &reference], mismatch);
        refused(&shale, &["history", "--platform", wrong, &reference], mismatch);
        refused(&shale, &["push", "--platform", wrong, &pushed], mismatch);
        refused(&shale, &["rmi", "--platform", wrong, &reference], mismatch);
        refused(&shale, &["save", "--platform", wrong, "-o", saved, &reference], mismatch);
        assert!(!std::path::Path::new(saved).exists(), "a refused save leaves a file");
    }
    // Version 8 is what arm64 means where no variant is named.
    for right in ["linux/arm64", "linux/arm64/v8"] {
        let inspected =
            ["image", "inspect", "--platform", right, "--format", "{{.Architecture}}", &reference];
        assert_eq!(shale.shale(&inspected).trim(), "arm64");
        let history = ["history", "--platform", right, "--format", "{{.CreatedBy}}", &reference];
        assert_eq!(shale.shale(&history).trim(), "layer 0");
        shale.shale(&["push", "--quiet", "--platform", right, &pushed]);
        shale.shale(&["save", "--platform", right, "-o", saved, &reference]);
    }
    // What was pushed is an image of one machine, not an index.
    let mut skopeo = Command::new(require("skopeo", "skopeo"));
    skopeo.args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{pushed}")]);
    let manifest: Value = serde_json::from_str(&run(&mut skopeo).success()).expect("it is JSON");
    assert!(manifest["manifests"].is_null() && manifest["layers"].is_array(), "{manifest}");

    let other = Shale::new(&scratch.folder("loaded"));
    refused(&other, &["load", "--platform", "linux/amd64", "-i", saved], "linux/amd64");
    other.shale(&["load", "--platform", "linux/arm64", "-i", saved]);
    assert_eq!(other.shale(&["inspect", "--format", "{{.Architecture}}", &reference]).trim(), "arm64");
    shale.shale(&["rmi", "--platform", "linux/arm64", &reference, &pushed]);
    assert_eq!(shale.shale(&["images", "--all", "--quiet"]), "");
}
