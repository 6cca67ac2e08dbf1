//! A root that docker wrote is, at Shale's prompt, what docker's own prompt shows of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use shale_tests::data_root::DataRoot;
use shale_tests::fixtures;
use shale_tests::image::storage;
use shale_tests::peer::{Access, DockerRegistry, Dockerd, Options, Shale};
use shale_tests::program::{run, shell};
use shale_tests::scratch::{Scratch, unmount_below};

/// Versions of dockerd whose roots are in the repository.
const GOLDEN: [&str; 2] = ["20.10.24", "28.5.2"];

/// The docker CLI whose output Shale prints; both were recorded against each daemon.
const CLI: &str = "cli-28.2";

/// A recorded output and the command that printed it.
const TEXTS: [(&str, &[&str]); 11] = [
    ("images.txt", &["images"]),
    ("images-a.txt", &["images", "-a"]),
    ("images-q.txt", &["images", "-q"]),
    ("images-dangling.txt", &["images", "-f", "dangling=true"]),
    ("images-digests-no-trunc.txt", &["images", "--digests", "--no-trunc"]),
    ("images-json.txt", &["images", "--format", "json"]),
    ("history-app.txt", &["history", "--no-trunc", "fx/app:1"]),
    ("history-app-trunc.txt", &["history", "fx/app:1"]),
    ("history-app-nohuman.txt", &["history", "--no-trunc", "--human=false", "fx/app:1"]),
    ("history-pulled.txt", &["history", "--no-trunc", PULLED]),
    ("system-df-v.txt", &["system", "df", "-v"]),
];

const PULLED: &str = "cfbdf3c1c9dd";

#[test]
fn golden_roots_print_what_docker_printed() {
    let mut failures = Vec::new();
    for version in GOLDEN {
        let scratch = Scratch::new("golden");
        let shale = Shale::on_root(scratch.path(), &unpack(version, &scratch));
        for (file, arguments) in TEXTS {
            let recorded = golden(version, file);
            let arguments: Vec<String> = arguments.iter().map(|word| pulled_of(word, version)).collect();
            let printed = shale.shale(&arguments);
            // Tables of unrelated images have no order in docker, rows of a history do.
            let is_ordered = file.starts_with("history");
            let (mut ours, mut theirs) = (rows(&printed, is_ordered), rows(&recorded, is_ordered));
            if file.starts_with("system-df") {
                // 28 counts the hidden steps of a build among those who share a layer, 20.10 does not.
                for row in ours.iter_mut().chain(&mut theirs) {
                    *row = without_shared_sizes(row);
                }
            }
            if ours != theirs {
                failures.push(format!(
                    "{version}: {}\n--- shale\n{}\n--- docker\n{}",
                    arguments.join(" "),
                    ours.join("\n"),
                    theirs.join("\n")
                ));
            }
        }
        for (file, reference) in [("inspect-app.json", "fx/app:1"), ("inspect-base.json", "fx/base:1")] {
            let recorded: Value = serde_json::from_str(&golden(version, file)).expect("it is JSON");
            let printed: Value =
                serde_json::from_str(&shale.shale(&["inspect", reference])).expect("it is JSON");
            let shape: Value = serde_json::from_str(&golden("28.5.2", file)).expect("it is JSON");
            let what = format!("{version}: {reference}");
            failures.extend(inspect_differences(&what, &printed[0], &recorded[0], &shape[0]));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_fresh_root_prints_the_same_and_pushes_the_same_config_and_layers() {
    let scratch = Scratch::new("fresh");
    let source = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let target = DockerRegistry::start(&scratch.folder("t"), Access::Open);
    let root = scratch.folder("root");
    let names = ["whiteouts", "hard-links", "special-files", "names", "same-layer-twice", "empty-layer"];
    let mut by_docker = Vec::new();
    let mut inspects = Vec::new();
    let listed;
    {
        let docker = Dockerd::start(&scratch.folder("d"), &root, &Options::default());
        for name in names {
            docker.docker(&["pull", "--quiet", &format!("{}/images/{name}:1", source.host())]);
            let copy = format!("{}/docker/{name}:1", target.host());
            docker.docker(&["tag", &format!("{}/images/{name}:1", source.host()), &copy]);
            docker.docker(&["push", &copy]);
            by_docker.push(manifest(&target, &format!("docker/{name}")));
        }
        let format = "{{.Repository}} {{.Tag}} {{.ID}} {{.CreatedAt}} {{.Size}}";
        listed = docker.docker(&["images", "-a", "--no-trunc", "--format", format]);
        for name in names {
            inspects.push(docker.docker(&["inspect", &format!("{}/images/{name}:1", source.host())]));
        }
    }
    unmount_below(&root);
    let shale = Shale::on_root(scratch.path(), &root);
    let format = "{{.Repository}} {{.Tag}} {{.ID}} {{.CreatedAt}} {{.Size}}";
    let printed = shale.shale(&["images", "-a", "--no-trunc", "--format", format]);
    assert_eq!(rows(&printed, false), rows(&listed, false));
    for ((name, by_docker), inspect) in names.iter().zip(by_docker).zip(inspects) {
        let source = format!("{}/images/{name}:1", source.host());
        // The daemon speaks this version; the text is compared, for the order of fields is docker's too.
        let mut command = shale.command(&["inspect", &source]);
        assert_eq!(run(command.env("DOCKER_API_VERSION", "1.41")).success(), inspect, "{name}");
        let copy = format!("{}/shale/{name}:1", target.host());
        shale.shale(&["tag", &source, &copy]);
        shale.shale(&["push", &copy]);
        let by_shale = manifest(&target, &format!("shale/{name}"));
        assert_eq!(by_shale["config"]["digest"], by_docker["config"]["digest"], "{name}");
        // Docker compresses with Go's gzip; what is in the registry is mounted or reused by its digest.
        assert_eq!(diff_ids(&target, "shale", name), diff_ids(&target, "docker", name));
    }
}

#[test]
fn fsck_finds_each_damage_that_docker_would_serve() {
    let scratch = Scratch::new("fsck");
    let mut failures = Vec::new();
    for (what, script) in DAMAGES {
        let folder = scratch.folder("case");
        let root = unpack_into("20.10.24", &folder);
        let shale = Shale::on_root(&folder, &root);
        let sound = shale.run(&["fsck"]);
        assert!(sound.is_success(), "a sound root is not sound: {}", sound.describe());
        shell(&root, &format!("{FIND_APP}\n{script}"));
        let found = shale.run(&["fsck"]);
        if found.code() != 1 || (found.stdout.trim().is_empty() && found.stderr.trim().is_empty()) {
            failures.push(format!("{what}: {}", found.describe()));
        }
        unmount_below(&folder);
        fs::remove_dir_all(&folder).expect("the scratch directory is ours");
    }
    for (what, script) in HARMLESS {
        let folder = scratch.folder("case");
        let root = unpack_into("20.10.24", &folder);
        shell(&root, &format!("{FIND_APP}\n{script}"));
        let shale = Shale::on_root(&folder, &root);
        let found = shale.run(&["fsck"]);
        let shown = shale.run(&["inspect", "--format", "{{.Id}}", "fx/app:1"]);
        if !found.is_success() || !shown.is_success() {
            failures.push(format!("{what}: {}\n{}", found.describe(), shown.describe()));
        }
        unmount_below(&folder);
        fs::remove_dir_all(&folder).expect("the scratch directory is ours");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Shell variables for the top layer of `fx/app:1`: `$layer` in layerdb, `$dir` in overlay2, `$image` its config.
const FIND_APP: &str = "I=image/overlay2
    id=$(grep -o '\"fx/app:1\":\"sha256:[0-9a-f]*' $I/repositories.json | grep -o '[0-9a-f]*$')
    image=$I/imagedb/content/sha256/$id
    layer=; for l in $I/layerdb/sha256/*; do
        grep -q $(basename $l) $I/layerdb/sha256/*/parent || [ ! -e $l/parent ] || layer=$l
    done
    dir=overlay2/$(cat $layer/cache-id)
    [ -n \"$id\" ] && [ -d $dir/diff ]";

/// Damages of the reference's table of what dockerd notices at its start, and those that it does not notice.
const DAMAGES: [(&str, &str); 21] = [
    ("size is missing", "rm $layer/size"),
    ("size ends with a newline", "echo >> $layer/size"),
    ("size is no number", "printf x > $layer/size"),
    ("diff is missing", "rm $layer/diff"),
    ("diff is another digest", "printf sha256:%064d 0 > $layer/diff"),
    ("cache-id is missing", "rm $layer/cache-id"),
    ("the parent is not there", "printf sha256:%064d 1 > $layer/parent"),
    ("the config does not match its name", "printf ' ' >> $image"),
    ("a layer of an image is missing", "rm -r $layer"),
    (
        "a name leads to an unknown image",
        "sed -i 's/\"fx\\/base:1\":\"sha256:..../&0000/; s/0000..../0000/' $I/repositories.json",
    ),
    ("tar-split is missing", "rm $layer/tar-split.json.gz"),
    ("tar-split is garbage", "echo x > $layer/tar-split.json.gz"),
    ("the layer's directory is missing", "rm -r $dir"),
    ("the short link is missing", "rm overlay2/l/$(cat $dir/link)"),
    ("lower is missing", "rm $dir/lower"),
    ("the link file is missing", "rm $dir/link"),
    ("the link file is empty", ": > $dir/link"),
    ("descriptor.json is garbage", "echo x > $layer/descriptor.json"),
    (
        "a changed file in a layer",
        "f=$(find $dir/diff -type f -size +0 | head -1); printf X | dd of=$f conv=notrunc 2>&1",
    ),
    ("a file of a layer is missing", "rm $(find $dir/diff -type f -size +0 | head -1)"),
    ("the config is gone", "rm $image"),
];

/// What neither docker nor Shale takes for a damage: names that nobody knows, a layer without an image, ends of lines.
const HARMLESS: [(&str, &str); 5] = [
    ("no mark that the layer has a child", "rm -f $dir/committed overlay2/*/committed"),
    ("diff ends with a newline", "echo >> $layer/diff"),
    ("parent ends with a newline", "echo >> $layer/parent"),
    ("cache-id ends with a newline", "echo >> $layer/cache-id"),
    ("unknown names", "mkdir $I/layerdb/sha256/unknown $I/imagedb/content/sha256/unknown"),
];

fn unpack(version: &str, scratch: &Scratch) -> PathBuf {
    unpack_into(version, scratch.path())
}

/// Unpacks a golden root into `folder` and returns its path.
fn unpack_into(version: &str, folder: &Path) -> PathBuf {
    let golden = fixtures().join("docker").join(version);
    let archive = if version == "20.10.24" { "data-root.tar.xz" } else { "data-root+save.tar.xz" };
    let extract = "tar --xattrs --xattrs-include='*' --numeric-owner -p";
    let root = folder.join("golden");
    fs::create_dir_all(&root).expect("the scratch directory is ours");
    let script = if version == "20.10.24" {
        format!("{extract} -xf {}", golden.join(archive).display())
    } else {
        format!("tar -xOf {} data-root.tar | {extract} -xf -", golden.join(archive).display())
    };
    shell(&root, &script);
    // The archive may hold the root itself or a folder with it.
    let top = fs::read_dir(&root)
        .expect("it was unpacked")
        .flatten()
        .find(|entry| entry.path().join("image").exists());
    top.map_or(root, |entry| entry.path())
}

fn golden(version: &str, file: &str) -> String {
    let path = fixtures().join("docker").join(version).join(CLI).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The image pulled by digest has another ID in each golden root.
fn pulled_of(word: &str, version: &str) -> String {
    if word != PULLED {
        return word.to_owned();
    }
    let recorded = golden(version, "images-dangling.txt");
    let row = recorded.lines().nth(1).expect("one image has no tag");
    row.split_whitespace().nth(2).expect("the third column is the ID").to_owned()
}

/// Rows with ages replaced and columns one blank apart, sorted unless `is_ordered`.
fn rows(text: &str, is_ordered: bool) -> Vec<String> {
    let mut rows: Vec<String> = text.lines().map(without_ages).collect();
    if !is_ordered {
        rows.sort();
    }
    rows
}

fn without_ages(row: &str) -> String {
    let words: Vec<&str> = row.split_whitespace().collect();
    let mut kept: Vec<String> = Vec::new();
    for word in words {
        let is_end = word == "ago" || word.starts_with("ago\"");
        if is_end {
            // "5 seconds", "About a minute", "Less than a second".
            let start = kept.iter().rposition(|word| {
                let word = word.rsplit('"').next().unwrap_or_default();
                word == "About" || word == "Less" || word.parse::<u32>().is_ok()
            });
            let prefix = start.map(|at| {
                let first = kept[at].clone();
                kept.truncate(at);
                first.rsplit_once('"').map_or_else(String::new, |(prefix, _)| format!("{prefix}\""))
            });
            kept.push(format!("{}AGE{}", prefix.unwrap_or_default(), word.trim_start_matches("ago")));
        } else {
            kept.push(word.to_owned());
        }
    }
    kept.join(" ")
}

/// An image row of `system df -v` without SHARED SIZE and UNIQUE SIZE.
fn without_shared_sizes(row: &str) -> String {
    let words: Vec<&str> = row.split(' ').collect();
    match words.as_slice() {
        [repository, tag, id, "AGE", size, _, _, containers] => {
            [repository, tag, id, "AGE", size, containers].join(" ")
        }
        _ => row.to_owned(),
    }
}

/// Compares with what the CLI printed, in the shape that the newest recorded daemon has.
///
/// Daemons before 28 answer with more fields of `Config`; those in both must be equal.
fn inspect_differences(what: &str, ours: &Value, theirs: &Value, shape: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let fields = |value: &Value| -> BTreeSet<String> {
        value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
    };
    if fields(ours) != fields(shape) {
        lines.push(format!("{what}: the fields are {:?}, not {:?}", fields(ours), fields(shape)));
    }
    for field in fields(ours).intersection(&fields(theirs)) {
        match field.as_str() {
            // The golden root was unpacked elsewhere than it was recorded.
            "GraphDriver" => {}
            "Config" => {
                if fields(&ours["Config"]) != fields(&shape["Config"]) {
                    lines.push(format!("{what}: the fields of Config are {:?}", fields(&ours["Config"])));
                }
                for name in fields(&ours["Config"]) {
                    if ours["Config"][&name] != theirs["Config"][&name] {
                        lines.push(format!("{what}: Config.{name} is {}", ours["Config"][&name]));
                    }
                }
            }
            _ if ours[field] != theirs[field] => {
                lines.push(format!("{what}: {field} is {}, docker {}", ours[field], theirs[field]));
            }
            _ => {}
        }
    }
    lines
}

fn manifest(registry: &DockerRegistry, repository: &str) -> Value {
    let answer = shale_tests::http::get(&registry.host(), &format!("/v2/{repository}/manifests/1"));
    serde_json::from_slice(&answer.expect("the registry answers").body).expect("a manifest is JSON")
}

/// The diff IDs of what a registry holds, by a fresh pull of docker's own.
fn diff_ids(registry: &DockerRegistry, prefix: &str, name: &str) -> Vec<String> {
    let scratch = Scratch::new("check");
    let docker = Dockerd::start(&scratch.folder("d"), &scratch.folder("root"), &Options::default());
    docker.docker(&["pull", "--quiet", &format!("{}/{prefix}/{name}:1", registry.host())]);
    DataRoot::read(docker.data_root()).layers.into_keys().collect()
}
