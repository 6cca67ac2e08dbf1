//! How each image is made: import, classic build and load by dockerd, then push to a docker-registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::cache_directory;
use crate::peer::{Access, DockerRegistry, Dockerd, Options};
use crate::program::{require, run, shell};
use crate::scratch::Scratch;
use crate::sha256_hex;

/// One image of the cache; its repository is `images/NAME`, its tag `1`.
#[derive(Debug, Clone, Copy)]
pub struct Image {
    /// Last part of the repository.
    pub name: &'static str,
    /// Whether dockerd 20.10 can pull it (it knows no zstd).
    pub old_docker_pulls: bool,
}

impl Image {
    /// Repository and tag without the host.
    pub fn reference(&self) -> String {
        format!("images/{}:1", self.name)
    }
}

const fn image(name: &'static str) -> Image {
    Image { name, old_docker_pulls: true }
}

/// All images, each for one trait of layers that a store can get wrong.
pub const IMAGES: [Image; 12] = [
    image("busybox"),
    image("debian"),
    image("many-layers"),
    image("whiteouts"),
    image("hard-links"),
    image("special-files"),
    image("names"),
    image("times-and-xattrs"),
    image("sparse"),
    image("empty-layer"),
    image("same-layer-twice"),
    Image { name: "zstd", old_docker_pulls: false },
];

/// The image `zstd` has the layers of this one, compressed otherwise.
pub const ZSTD_OF: &str = "whiteouts";

/// As many as Docker's own limit of 125 lets a person add to.
const MANY_LAYERS: usize = 120;

/// Tar as a layer: no times but mtime, all xattrs, nanoseconds.
pub const TAR: &str = "tar --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner --sort=name \
    --xattrs --xattrs-include='*'";

/// Makes every image and leaves them in `storage`, the storage directory of a docker-registry.
pub fn make_all(storage: &Path) {
    let scratch = Scratch::new("images");
    let registry = DockerRegistry::on_storage(&scratch.folder("registry"), storage, Access::Open);
    let docker = Dockerd::start(&scratch.folder("d"), &scratch.folder("root"), &Options::default());
    let maker = Maker { scratch: &scratch, docker: &docker, registry: &registry };
    maker.import("busybox", &busybox_tree(&scratch));
    maker.import_tar("debian", &debian_tar());
    maker.build("whiteouts", WHITEOUTS);
    for (name, script) in
        [("hard-links", HARD_LINKS), ("special-files", SPECIAL_FILES), ("times-and-xattrs", TIMES_AND_XATTRS)]
    {
        let tree = busybox_tree(&scratch);
        shell(&tree, script);
        maker.import(name, &tree);
    }
    maker.import_tar("names", &names_tar(&scratch));
    maker.import_tar("sparse", &sparse_tar(&scratch));
    maker.load("many-layers", &many_layers(&scratch));
    maker.load("empty-layer", &with_empty_layer(&scratch));
    maker.load("same-layer-twice", &with_same_layer_twice(&scratch));
    maker.recompress(ZSTD_OF, "zstd");
}

struct Maker<'a> {
    scratch: &'a Scratch,
    docker: &'a Dockerd,
    registry: &'a DockerRegistry,
}

impl Maker<'_> {
    fn reference(&self, name: &str) -> String {
        format!("{}/images/{name}:1", self.registry.host())
    }

    fn import(&self, name: &str, tree: &Path) {
        let tar = self.scratch.path().join("import.tar");
        shell(tree, &format!("{TAR} -cf {} .", tar.display()));
        self.import_tar(name, &tar);
    }

    fn import_tar(&self, name: &str, tar: &Path) {
        let reference = self.reference(name);
        let tar = tar.to_str().expect("scratch paths are text");
        self.docker.docker(&["import", "-c", "CMD [\"/bin/sh\"]", tar, &reference]);
        self.docker.docker(&["push", &reference]);
    }

    /// Builds with a context that holds what the script of `recipe` makes, from the image `busybox`.
    fn build(&self, name: &str, recipe: Build) {
        let reference = self.reference(name);
        let context = self.scratch.folder(&format!("context-{name}"));
        shell(&context, recipe.context);
        let dockerfile = format!("FROM {}\n{}", self.reference("busybox"), recipe.dockerfile);
        fs::write(context.join("Dockerfile"), dockerfile).expect("the context is ours");
        let context = context.to_str().expect("scratch paths are text");
        self.docker.docker(&["build", "--network", "none", "-t", &reference, context]);
        self.docker.docker(&["push", &reference]);
    }

    fn load(&self, name: &str, layers: &[PathBuf]) {
        let archive = docker_archive(self.scratch, &self.reference(name), layers);
        self.docker.docker(&["load", "-i", archive.to_str().expect("scratch paths are text")]);
        self.docker.docker(&["push", &self.reference(name)]);
    }

    fn recompress(&self, from: &str, to: &str) {
        let (from, to) = (self.reference(from), self.reference(to));
        let mut command = Command::new(require("skopeo", "skopeo"));
        command.args(["copy", "--src-tls-verify=false", "--dest-tls-verify=false"]);
        command.args(["--format", "oci", "--dest-compress-format", "zstd"]);
        command.args([format!("docker://{from}"), format!("docker://{to}")]);
        run(&mut command).success();
    }
}

/// A fresh tree with a static busybox and a few applets.
fn busybox_tree(scratch: &Scratch) -> PathBuf {
    let busybox = require("busybox", "busybox-static");
    let tree = scratch.folder("tree");
    let script = format!(
        "find . -mindepth 1 -delete
         mkdir -p bin etc tmp; chmod 1777 tmp; cp {} bin/busybox
         for applet in sh cat ls find sha256sum sort stat rm mkdir touch mv id; do ln -s busybox bin/$applet; done
         echo root:x:0:0:root:/:/bin/sh > etc/passwd; echo root:x:0: > etc/group
         find . -exec touch -h -d @1600000000 {{}} +",
        busybox.display()
    );
    shell(&tree, &script);
    tree
}

/// What a classic build needs beside its base.
#[derive(Clone, Copy)]
struct Build {
    context: &'static str,
    dockerfile: &'static str,
}

const WHITEOUTS: Build = Build {
    context: "mkdir -p tree/opaque/sub tree/gone/deep tree/tofile tree/kept
        for f in a b opaque/x opaque/y opaque/sub/z gone/deep/f gone/g tofile/f kept/one kept/two; do
            echo $f > tree/$f
        done
        find tree -exec touch -d @1500000000 {} +",
    dockerfile: "COPY tree /tree
RUN rm /tree/a /tree/kept/one && rm -r /tree/gone
RUN rm -r /tree/opaque && mkdir -m 750 /tree/opaque && echo new > /tree/opaque/new
RUN rm /tree/b && mkdir /tree/b && echo in > /tree/b/in && rm -r /tree/tofile && echo file > /tree/tofile
RUN mkdir /tree/gone && echo again > /tree/gone/again && mv /tree/kept/two /tree/kept/three
LABEL no=layer
CMD [\"/bin/sh\"]
",
};

const HARD_LINKS: &str = "mkdir -p a/b c
    echo shared > a/first; ln a/first a/second; ln a/first c/third; chown 12:34 a/first
    ln -s nowhere a/symlink; ln a/symlink c/symlink-too
    mkfifo a/fifo; ln a/fifo c/fifo
    : > a/empty; ln a/empty a/b/empty
    find . -exec touch -h -d @1400000000 {} +";

const SPECIAL_FILES: &str = "mkdir d
    mknod d/null c 1 3; mknod d/loop b 7 200; mknod d/high c 300 70000; mkfifo -m 640 d/fifo
    echo s > d/setuid; chown 7:8 d/setuid; chmod 4755 d/setuid
    echo g > d/setgid; chown 7:8 d/setgid; chmod 2711 d/setgid
    mkdir -m 3770 d/sticky; chown 65534:4294967 d/sticky
    echo n > d/nothing; chmod 0 d/nothing
    cp bin/busybox d/capable; setcap cap_net_raw,cap_net_bind_service+ep d/capable
    echo o > d/big-owner; chown 4000000000:3000000000 d/big-owner
    find . -exec touch -h -d @1300000000 {} +";

const TIMES_AND_XATTRS: &str = "mkdir d
    echo ns > d/ns; touch -d '2001-09-09 01:46:40.123456789 UTC' d/ns
    echo epoch > d/epoch; touch -d @0 d/epoch
    echo future > d/future; touch -d '2038-01-20 00:00:00.5 UTC' d/future
    echo x > d/user; setfattr -n user.one -v 1 d/user; setfattr -n user.binary -v 0x00ff0a0d d/user
    setfattr -n user.empty d/user
    mkdir d/directory; setfattr -n user.on-directory -v yes d/directory
    ln -s user d/link; setfattr -h -n trusted.on-link -v yes d/link
    touch -h -d '1999-12-31 23:59:59.999999999 UTC' d/link
    touch -d '2000-01-01 00:00:00.25 UTC' d/directory d";

/// Names that are long, odd, or no text at all; in GNU format, which keeps raw bytes.
fn names_tar(scratch: &Scratch) -> PathBuf {
    let tree = busybox_tree(scratch);
    shell(
        &tree,
        r#"mkdir n; cd n
        repeat() { printf "%$2s" | tr ' ' "$1"; }
        echo 99 > $(repeat a 99); echo 100 > $(repeat b 100); echo 101 > $(repeat c 101); echo 255 > $(repeat d 255)
        deep=$(repeat e 90)/$(repeat f 90)/$(repeat g 90)
        mkdir -p $deep; echo deep > $deep/$(repeat h 120)
        ln -s $(repeat i 200)/$(repeat j 200) long-target
        ln $deep/$(repeat h 120) $(repeat k 150)
        printf 'latin\351' > "$(printf 'caf\351')"; mkdir "$(printf 'dir\377\376')"; echo x > "$(printf 'dir\377\376/\200')"
        echo utf > "$(printf '\346\227\245\346\234\254')"; ln -s "$(printf 'caf\351')" to-latin
        echo a > "with space"; echo b > 'quote"\back'; echo c > "$(printf 'new\nline')"; echo d > -dash; echo e > '<&>'
        find .. -exec touch -h -d @1200000000 {} +"#,
    );
    let tar = scratch.path().join("names.tar");
    shell(&tree, &format!("tar --format=gnu --numeric-owner --sort=name -cf {} .", tar.display()));
    tar
}

/// A file of 64 MiB with three small islands, which the tar holds in full: Docker makes no holes.
fn sparse_tar(scratch: &Scratch) -> PathBuf {
    let tree = busybox_tree(scratch);
    shell(
        &tree,
        "truncate -s 64M holes
         for at in 0 5000 16383; do printf island | dd of=holes bs=4096 seek=$at conv=notrunc status=none; done
         truncate -s 1M only-hole; find . -exec touch -h -d @1100000000 {} +",
    );
    let tar = scratch.path().join("sparse.tar");
    shell(&tree, &format!("{TAR} -cf {} .", tar.display()));
    tar
}

fn many_layers(scratch: &Scratch) -> Vec<PathBuf> {
    let mut layers = vec![busybox_tar(scratch)];
    for number in 1..MANY_LAYERS {
        // Every tenth layer replaces a file of the one before, every seventh deletes one.
        let script = format!(
            "mkdir -p d/$(({number} % 9)); echo {number} > d/$(({number} % 9))/file-{number}
             if [ $(({number} % 10)) = 0 ]; then echo replaced > d/replaced; fi
             if [ $(({number} % 7)) = 0 ]; then
                 old=$(({number} - 1)); mkdir -p d/$((old % 9)); : > d/$((old % 9))/.wh.file-$old
             fi
             if [ {number} = 1 ]; then echo original > d/replaced; fi"
        );
        layers.push(layer(scratch, &format!("many-{number}"), &script, 1_600_000_000 + number));
    }
    layers
}

fn with_empty_layer(scratch: &Scratch) -> Vec<PathBuf> {
    let empty = scratch.file("layers/empty.tar", [0; 1024]);
    vec![busybox_tar(scratch), empty, layer(scratch, "after-empty", "echo after > after", 1_600_000_000)]
}

fn with_same_layer_twice(scratch: &Scratch) -> Vec<PathBuf> {
    let twice = layer(scratch, "twice", "mkdir d; echo twice > d/twice; ln d/twice d/link", 1_600_000_000);
    let between = layer(scratch, "between", "mkdir d; : > d/.wh.twice", 1_600_000_001);
    vec![busybox_tar(scratch), twice.clone(), between, twice]
}

fn busybox_tar(scratch: &Scratch) -> PathBuf {
    let tree = busybox_tree(scratch);
    scratch.folder("layers");
    let tar = scratch.path().join("layers/busybox.tar");
    shell(&tree, &format!("{TAR} -cf {} .", tar.display()));
    tar
}

fn layer(scratch: &Scratch, name: &str, script: &str, mtime_s: usize) -> PathBuf {
    let tree = scratch.folder(&format!("layer-{name}"));
    shell(&tree, script);
    scratch.folder("layers");
    let tar = scratch.path().join(format!("layers/{name}.tar"));
    shell(&tree, &format!("{TAR} --mtime=@{mtime_s} -cf {} *", tar.display()));
    tar
}

/// Writes what `docker save` of 20.10 would: config, layers, `manifest.json`.
pub fn docker_archive(scratch: &Scratch, reference: &str, layers: &[PathBuf]) -> PathBuf {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|path| format!("sha256:{}", sha256_hex(&fs::read(path).expect("the layer was written"))))
        .collect();
    let history: Vec<_> = (0..layers.len())
        .map(|number| serde_json::json!({"created": "2024-02-03T04:05:06.789Z", "created_by": format!("layer {number}")}))
        .collect();
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-02-03T04:05:06.789Z",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], "Labels": {"made-by": "hand"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    });
    let folder = scratch.folder("archive");
    shell(&folder, "find . -mindepth 1 -delete");
    let mut names = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let name = format!("{number}.tar");
        fs::copy(layer, folder.join(&name)).expect("the archive's folder is ours");
        names.push(name);
    }
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [reference], "Layers": names}]);
    fs::write(folder.join("config.json"), config.to_string()).expect("the archive's folder is ours");
    fs::write(folder.join("manifest.json"), manifest.to_string()).expect("the archive's folder is ours");
    let archive = scratch.path().join("archive.tar");
    shell(&folder, &format!("tar -cf {} *", archive.display()));
    archive
}

/// A debootstrap minbase of the release that runs here, from the mirror that apt uses.
pub fn debian_tar() -> PathBuf {
    let cache = cache_directory();
    let release = release();
    let tar = cache.join(format!("debian-{release}.tar"));
    if tar.exists() {
        return tar;
    }
    let debootstrap = require("debootstrap", "debootstrap");
    let scratch = Scratch::new("debootstrap");
    let root = scratch.path().join("root");
    let command = format!(
        "eval \"$(apt-config shell http_proxy Acquire::http::Proxy)\"; export http_proxy
         {} --variant=minbase {release} {} {} > log 2>&1 || {{ tail -20 log >&2; exit 1; }}",
        debootstrap.display(),
        root.display(),
        mirror(),
    );
    shell(scratch.path(), &command);
    shell(
        &root,
        "rm -rf var/cache/apt/archives/*.deb var/lib/apt/lists/* var/cache/apt/*.bin proc/* sys/* run/*",
    );
    let unfinished = cache.join("debian.tar.unfinished");
    shell(&root, &format!("{TAR} -cf {} .", unfinished.display()));
    fs::rename(&unfinished, &tar).expect("a file can be renamed");
    tar
}

fn release() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map_or_else(|| "bookworm".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn mirror() -> String {
    let mut texts = vec![fs::read_to_string("/etc/apt/sources.list").unwrap_or_default()];
    for entry in fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten() {
        texts.push(fs::read_to_string(entry.path()).unwrap_or_default());
    }
    texts
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| line.starts_with("URIs:") || line.starts_with("deb "))
        .flat_map(str::split_whitespace)
        .find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"))
        .map_or_else(|| "http://deb.debian.org/debian".to_owned(), str::to_owned)
}
