//! One build by the classic builder of dockerd and by the program, held against each other.
//!
//! What is compared: the printed text, the exit code, the config of every step's image, and the flattened tree, with the
//! times of all that is older than the test. What both must draw anew is taken out: ids, the moment, and the diff IDs,
//! whose bytes depend on the version of Docker.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::peer::{Dockerd, Options, Shale};
use crate::program::{Finished, require, run, shell};
use crate::scratch::{Scratch, unmount_below};
use crate::tree::{self, Compare};

/// Name of the image that every case starts from.
pub const BASE: &str = "base:1";

/// One Dockerfile and the files beside it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The text after `FROM base:1`; a text that has a `FROM` of its own is taken as it is.
    pub dockerfile: &'static str,
    /// A shell script that changes the common context; empty for none.
    pub context: &'static str,
    /// Flags of both builders.
    pub flags: &'static [&'static str],
    /// Whether the digest of what is copied is not docker's: it hashes the host's names of owners, and sends the second
    /// name of a file as a link to whatever it met first in the whole context.
    /// Or the step is one that dockerd itself does not find again: an emptied ENTRYPOINT comes back in what it stores.
    pub has_own_key: bool,
    /// Whether the message is the program's own: it says more than docker's, or nothing about docker's insides.
    pub has_own_words: bool,
}

/// A case with the common context and no flags.
pub const fn case(dockerfile: &'static str) -> Case {
    Case { dockerfile, context: "", flags: &[], has_own_key: false, has_own_words: false }
}

impl Case {
    /// The case with a changed context.
    pub const fn context(self, context: &'static str) -> Case {
        Case { context, ..self }
    }

    /// The case with flags.
    pub const fn flags(self, flags: &'static [&'static str]) -> Case {
        Case { flags, ..self }
    }

    /// The case with a digest that is not docker's; all else is.
    pub const fn with_own_key(self) -> Case {
        Case { has_own_key: true, ..self }
    }

    /// The case with a message that is not docker's; the exit code still is.
    pub const fn in_own_words(self) -> Case {
        Case { has_own_words: true, ..self }
    }
}

/// Two builders with a root each, and the same base image in both.
#[derive(Debug)]
pub struct Pair {
    /// The reference; `None` only while one daemon gives way to the next.
    docker: Option<Dockerd>,
    /// The program under test.
    pub shale: Shale,
    scratch: Scratch,
    context: PathBuf,
    started: i64,
}

/// The files of the common context; everything is as old as [`AGE`].
const CONTEXT: &str = r#"
printf 'hello\n' > a.txt; printf 'b\n' > b.txt; : > empty
mkdir -p d/sub d2/deep/er e f links w 'sp ace' docs/api
echo 1 > d/one; echo 2 > d/sub/two; echo 3 > d2/three; echo 4 > d2/deep/er/four; chmod 700 d2; chmod 1777 d/sub
echo x > x.sh; chmod 755 x.sh; echo s > setuid; chmod 4755 setuid; echo r > readonly; chmod 400 readonly
ln -s a.txt lf; ln -s d ld; ln -s /a.txt labs; ln -s nowhere dangling; ln -s ../a.txt lup; ln -s ld lld
ln -s ../a.txt links/up; ln -s nowhere links/broken; ln -s . links/self; ln -s /etc/passwd links/abs; echo l > links/real
mkfifo f/pipe; echo f > f/file
echo m1 > w1.md; echo m2 > w2.md; echo m3 > wx.txt; echo m > w/in.md
echo k > 'b[k'; echo b > 'file with blank'; echo u > 'ünïcode'; echo p > 'sp ace/p'; echo q > 'a*b'
echo d > docs/a.md; echo D > docs/README.md; echo api > docs/api/x.md; echo R > README.md
echo hidden > .hidden; mkdir .dir; echo g > .dir/g; setfattr -n user.note -v yes a.txt 2>/dev/null || true
mkdir t; echo in > t/in; mkdir t/dir; echo deep > t/dir/deep; ln -s in t/link; chmod 640 t/in; chown 3:4 t/in
find t -exec touch -h -d @1500000000 {} +
tar -C t --format=posix --pax-option=delete=atime,delete=ctime --sort=name -cf t.tar in dir link
gzip -nc t.tar > t.tgz; bzip2 -c t.tar > t.tbz; xz -c t.tar > t.txz; zstd -qc t.tar > t.tzst
head -c 60 t.tgz > truncated.tgz; echo 'no archive' > fake.tar; gzip -nc a.txt > a.txt.gz
rm -r t
"#;

/// The files of the base image beside busybox.
const BASE_TREE: &str = r#"
mkdir -p bin etc tmp root t/old real/deep other usr/share var p
cp "$BUSYBOX" bin/busybox
for name in sh cat echo ls mkdir rm stat test touch true false id wc readlink find sort env chmod chown ln mv cp sleep \
    rmdir mknod mkfifo tr head tail sed grep pwd hostname adduser dd; do ln -s busybox bin/$name; done
printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001:u:/home/user:/bin/sh\nlone:x:1002:1003::/:/bin/sh\n' > etc/passwd
printf 'root:x:0:\nuser:x:1001:\nstaff:x:50:user\n' > etc/group
echo there > t/file; echo tf > tf; echo old > t/old/x; chmod 750 t/old; echo r > real/file
ln -s t dl; ln -s tf fl; ln -s /real/deep p/link; ln -s /nowhere dang; ln -s ../other t/sub; ln -s /t abs
chmod 1777 tmp
"#;

/// What all times of inputs are, in seconds.
const AGE: &str = "1600000000";

impl Pair {
    /// Starts dockerd and gives both builders the base image.
    pub fn start(subject: &str) -> Self {
        let scratch = Scratch::new(subject);
        let tar = base_tar(&scratch);
        let docker = Dockerd::start(&scratch.folder("d"), &scratch.folder("root-d"), &Options::default());
        let tar = tar.to_str().expect("scratch paths are text");
        docker.docker(&["import", "-c", "CMD [\"sh\"]", "-c", "ENV PATH=/bin", tar, BASE]);
        let saved = scratch.path().join("base-image.tar");
        let saved = saved.to_str().expect("scratch paths are text");
        docker.docker(&["save", "-o", saved, BASE]);
        let shale = Shale::on_root(&scratch.folder("s"), &scratch.folder("root-s"));
        shale.shale(&["load", "-q", "-i", saved]);
        let context = scratch.folder("context");
        shell(&context, &format!("{CONTEXT}\n{}", age()));
        let started = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        // Both clocks are this machine's; an hour keeps the inputs apart from what is made now.
        Self { docker: Some(docker), shale, scratch, context, started: started as i64 - 3600 }
    }

    fn docker(&self) -> &Dockerd {
        self.docker.as_ref().expect("a daemon runs between two calls")
    }

    /// Builds a case with both and returns what differs; `number` names the case.
    pub fn compare(&self, number: usize, case: Case) -> Vec<String> {
        let context = self.prepare(number, case);
        let tag = format!("case:{number}");
        let (theirs, ours) = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| self.docker_build(case, &context, &tag));
            let ours = self.shale_build(&self.shale, case, &context, &tag);
            (theirs.join().expect("running a command does not panic"), ours)
        });
        let mut lines = Vec::new();
        if theirs.code() != ours.code() {
            lines.push(format!("exit code {} is docker's, {} ours", theirs.code(), ours.code()));
        }
        // A mistake may be found before the step that docker finds it in; what a command printed is compared all the same.
        let compares_steps = theirs.code() != 1;
        let mut texts = vec![(stderr_of(&theirs), stderr_of(&ours))];
        texts.extend(compares_steps.then(|| (stdout_of(&theirs), stdout_of(&ours))));
        for (theirs, ours) in texts {
            // A hint behind docker's words is welcome.
            let is_hinted = ours.starts_with(theirs.trim_end()) && ours.contains(" (");
            let is_own = case.has_own_words && !ours.trim().is_empty();
            if theirs != ours && !is_hinted && !is_own {
                lines.push(format!("docker prints:\n{theirs}\nshale prints:\n{ours}"));
            }
        }
        if theirs.is_success() && ours.is_success() {
            lines.extend(self.image_differences(case, &tag));
        }
        lines.iter().map(|line| format!("case {number}, {:?}: {line}", case.dockerfile)).collect()
    }

    /// Builds a case with docker's classic builder, and with the program in the dialect that it speaks by itself.
    pub fn both_as_used(&self, number: usize, case: Case) -> [Finished; 2] {
        let context = self.prepare(number, case);
        let tag = format!("used:{number}");
        std::thread::scope(|scope| {
            let theirs = scope.spawn(|| self.docker_build(case, &context, &tag));
            let ours = self.shale.run(&self.arguments(case, &context, &tag));
            [theirs.join().expect("running a command does not panic"), ours]
        })
    }

    /// Gives both builders an image `tag` that cases can start from.
    pub fn build_base(&self, tag: &str, case: Case) {
        let context = self.prepare(0, case);
        self.docker_build(case, &context, tag).success();
        self.shale_build(&self.shale, case, &context, tag).success();
    }

    /// Returns where the tree of a case's image differs once its layers went through an archive into dockerd.
    pub fn archive_differences(&self, number: usize) -> Vec<String> {
        let tag = format!("case:{number}");
        let saved = self.scratch.path().join("saved.tar");
        let saved = saved.to_str().expect("scratch paths are text");
        self.shale.shale(&["save", "-o", saved, &tag]);
        self.docker().docker(&["load", "-q", "-i", saved]);
        let docker = Root { path: self.docker().data_root(), started: self.started };
        let shale = Root { path: self.shale.data_root(), started: self.started };
        let loaded = Inspected::read(&self.docker().docker(&["inspect", "--format", INSPECTED, &tag]));
        let built = Inspected::read(&self.shale.shale(&["inspect", "--format", INSPECTED, &tag]));
        let scratch = self.scratch.folder(&format!("loaded-{number}"));
        let left = docker.tree(&loaded, &scratch.join("docker"));
        tree::differences(&left, &shale.tree(&built, &scratch.join("shale")))
    }

    /// Writes the Dockerfile and the files of a case.
    pub fn prepare(&self, number: usize, case: Case) -> PathBuf {
        let name = format!("context-{number}");
        let context =
            if case.context.is_empty() { self.scratch.folder(&name) } else { self.own(&name, case) };
        if case.context.is_empty() {
            // The common files are only read: a case needs its own folder just for the Dockerfile.
            self.write_dockerfile(&context.join("Dockerfile"), case);
            return self.context.clone();
        }
        self.write_dockerfile(&context.join("Dockerfile"), case);
        context
    }

    fn own(&self, name: &str, case: Case) -> PathBuf {
        let path = self.scratch.path().join(name);
        if !path.exists() {
            run(Command::new("cp").arg("-a").arg(&self.context).arg(&path)).success();
            shell(&path, &format!("{}\n{}", case.context, age()));
        }
        path
    }

    fn write_dockerfile(&self, path: &Path, case: Case) {
        let is_whole = case.dockerfile.lines().any(|line| line.to_ascii_uppercase().starts_with("FROM"));
        let text =
            if is_whole { case.dockerfile.to_owned() } else { format!("FROM {BASE}\n{}\n", case.dockerfile) };
        fs::write(path, text).expect("the folder is ours");
        run(Command::new("touch").args(["-d", &format!("@{AGE}")]).arg(path)).success();
    }

    fn arguments(&self, case: Case, context: &Path, tag: &str) -> Vec<String> {
        let number = tag.rsplit(':').next().unwrap_or(tag);
        let mut arguments = vec!["build".to_owned()];
        arguments.extend(case.flags.iter().map(|flag| (*flag).to_owned()));
        if case.context.is_empty() && !case.flags.contains(&"-f") {
            // The common context has no Dockerfile; docker reads one from anywhere and sends it along.
            let file = self.scratch.path().join(format!("context-{number}/Dockerfile"));
            arguments.extend(["-f".to_owned(), file.display().to_string()]);
        }
        arguments.extend(["-t".to_owned(), tag.to_owned(), context.display().to_string()]);
        arguments
    }

    fn docker_build(&self, case: Case, context: &Path, tag: &str) -> Finished {
        let mut arguments = self.arguments(case, context, tag);
        arguments.splice(0..0, ["--host".to_owned(), format!("unix://{}", self.docker().socket().display())]);
        run(Command::new(old_client())
            .args(arguments)
            .env("DOCKER_BUILDKIT", "0")
            .env("HOME", self.scratch.path()))
    }

    fn shale_build(&self, shale: &Shale, case: Case, context: &Path, tag: &str) -> Finished {
        let mut arguments = self.arguments(case, context, tag);
        arguments.extend(["--dialect".to_owned(), "classic".to_owned()]);
        shale.run(&arguments)
    }

    /// Where the two images named `tag` differ: configs of all steps, and the tree.
    fn image_differences(&self, case: Case, tag: &str) -> Vec<String> {
        let docker = Root { path: self.docker().data_root(), started: self.started };
        let shale = Root { path: self.shale.data_root(), started: self.started };
        let theirs = self.docker().docker(&["inspect", "--format", INSPECTED, tag]);
        let ours = self.shale.shale(&["inspect", "--format", INSPECTED, tag]);
        let (theirs, ours) = (Inspected::read(&theirs), Inspected::read(&ours));
        let mut lines = Vec::new();
        let (their_steps, our_steps) = (docker.steps(&theirs.id), shale.steps(&ours.id));
        if their_steps.len() != our_steps.len() {
            lines.push(format!("{} images are docker's steps, {} ours", their_steps.len(), our_steps.len()));
        }
        for (mut theirs, mut ours) in their_steps.into_iter().zip(our_steps) {
            if case.has_own_key {
                hide_digests(&mut theirs);
                hide_digests(&mut ours);
            }
            json_differences("", &theirs, &ours, &mut lines);
        }
        let scratch = self.scratch.folder(&format!("merged-{}", tag.replace(':', "-")));
        let left = docker.tree(&theirs, &scratch.join("docker"));
        let right = shale.tree(&ours, &scratch.join("shale"));
        lines.extend(tree::differences(&left, &right));
        lines
    }

    /// Ends dockerd, starts another on the program's root, builds the cases anew and returns those that it does not
    /// take from the program's cache whole.
    pub fn missed_by_docker(&mut self, cases: &[(usize, Case)]) -> Vec<String> {
        self.swap_docker("root-s");
        let missed = cases.iter().filter_map(|(number, case)| {
            let context = self.prepare(*number, *case);
            // A case that both refuse has left nothing to find.
            let before = self.docker().run(&["inspect", "--format", "{{.Id}}", &format!("case:{number}")]);
            let before = before.is_success().then_some(before.stdout)?;
            let built = self.docker_build(*case, &context, &format!("again:{number}"));
            let after =
                self.docker().run(&["inspect", "--format", "{{.Id}}", &format!("again:{number}")]).stdout;
            (before != after).then(|| {
                format!(
                    "case {number}, {:?}: dockerd builds it anew:\n{}{}",
                    case.dockerfile, built.stdout, built.stderr
                )
            })
        });
        missed.collect()
    }

    /// Ends dockerd and builds the cases on its root with the program; returns those that are not taken from dockerd's
    /// cache whole. Dockerd runs on an empty root afterwards.
    pub fn missed_by_shale(&mut self, cases: &[(usize, Case)]) -> Vec<String> {
        self.swap_docker("root-empty");
        let root = self.scratch.path().join("root-d");
        unmount_below(&root);
        let shale = Shale::on_root(&self.scratch.folder("s2"), &root);
        // An image upon nothing is trusted only where it was built here: 20.10 does not note that, and what was pulled
        // would be taken for a step (CVE-2024-24557).
        let trusted = cases.iter().filter(|(_, case)| !case.dockerfile.starts_with("FROM scratch"));
        let missed = trusted.filter_map(|(number, case)| {
            let context = self.prepare(*number, *case);
            let before = shale.run(&["inspect", "--format", "{{.Id}}", &format!("case:{number}")]);
            let before = before.is_success().then_some(before.stdout)?;
            let built = self.shale_build(&shale, *case, &context, &format!("again:{number}"));
            let after = shale.run(&["inspect", "--format", "{{.Id}}", &format!("again:{number}")]).stdout;
            (before != after).then(|| {
                format!(
                    "case {number}, {:?}: it is built anew:\n{}{}",
                    case.dockerfile, built.stdout, built.stderr
                )
            })
        });
        missed.collect()
    }

    fn swap_docker(&mut self, root: &str) {
        // The old one must be gone before the new one starts.
        self.docker = None;
        let directory = self.scratch.folder(&format!("d-{root}"));
        self.docker = Some(Dockerd::start(&directory, &self.scratch.folder(root), &Options::default()));
    }
}

/// Makes the root of the base image as a tar.
pub fn base_tar(scratch: &Scratch) -> PathBuf {
    let busybox = require("busybox", "busybox-static");
    let tree = scratch.folder("base");
    shell(&tree, &format!("BUSYBOX={}\n{BASE_TREE}\n{}", busybox.display(), age()));
    let tar = scratch.path().join("base.tar");
    shell(&tree, &format!("tar --numeric-owner --owner=0 --group=0 --sort=name -cf {} .", tar.display()));
    tar
}

fn age() -> String {
    format!("find . -exec touch -h -d @{AGE} {{}} +")
}

const INSPECTED: &str = "{{.Id}} {{json .GraphDriver.Data}}";

/// Where an image's layers are.
struct Inspected {
    id: String,
    folders: Vec<String>,
}

impl Inspected {
    fn read(printed: &str) -> Self {
        let (id, folders) = printed.trim().split_once(' ').expect("an id and a document");
        // An image without layers has none.
        let folders: Option<BTreeMap<String, String>> =
            serde_json::from_str(folders).expect("docker prints JSON");
        let folders = folders.unwrap_or_default();
        let lower = folders.get("LowerDir").map(String::as_str).unwrap_or_default();
        let upper = folders.get("UpperDir").map(String::as_str).unwrap_or_default();
        let folders = std::iter::once(upper).chain(lower.split(':')).filter(|folder| !folder.is_empty());
        Self {
            id: id.trim_start_matches("sha256:").to_owned(),
            folders: folders.map(str::to_owned).collect(),
        }
    }
}

/// The docker program of 20.10: newer ones send other modes, from which dockerd computes other keys.
pub fn old_client() -> PathBuf {
    let clients = ["/usr/bin/docker", "/usr/local/bin/docker"].map(PathBuf::from);
    let is_old = |path: &&PathBuf| {
        path.is_file() && run(Command::new(path).arg("--version")).stdout.starts_with("Docker version 20.10.")
    };
    clients.iter().find(is_old).cloned().unwrap_or_else(|| {
        panic!("there is no docker program of version 20.10: install the Debian package docker.io")
    })
}

/// One data root.
struct Root<'a> {
    path: &'a Path,
    started: i64,
}

impl Root<'_> {
    /// The configs of an image and of the steps below it, last first, without what is new in every build.
    fn steps(&self, id: &str) -> Vec<Value> {
        let images = self.path.join("image/overlay2/imagedb");
        let mut steps = Vec::new();
        let mut next = Some(id.to_owned());
        while let Some(id) = next {
            let text =
                fs::read_to_string(images.join("content/sha256").join(&id)).expect("the image is there");
            steps.push(comparable(serde_json::from_str(&text).expect("a config is JSON")));
            let parent = fs::read_to_string(images.join("metadata/sha256").join(&id).join("parent"));
            next = parent.ok().map(|parent| parent.trim_start_matches("sha256:").to_owned());
        }
        steps
    }

    /// The tree of an image; times of what was made by the build are all the same.
    fn tree(&self, image: &Inspected, mount_point: &Path) -> tree::Listing {
        fs::create_dir_all(mount_point).expect("the folder is ours");
        if image.folders.is_empty() {
            return tree::Listing::new();
        }
        let empty = mount_point.with_extension("empty");
        fs::create_dir_all(&empty).expect("the folder is ours");
        // Two folders at least make an overlay of one layer, too.
        let lower = format!("lowerdir={}:{}", image.folders.join(":"), empty.display());
        let mount = ["-t", "overlay", "-o", &format!("ro,{lower}"), "overlay"];
        run(Command::new(require("mount", "mount")).args(mount).arg(mount_point)).success();
        let listing = tree::list(mount_point, Compare { times: true }).expect("the mount can be read");
        unmount_below(mount_point);
        let started = self.started;
        listing.into_iter().map(|(name, line)| (name, without_fresh_time(&line, started))).collect()
    }
}

/// Replaces the time of a described file when it is younger than the test.
fn without_fresh_time(line: &str, started: i64) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    let seconds = words.get(2).and_then(|time| time.split('.').next()).and_then(|time| time.parse().ok());
    if seconds.is_some_and(|seconds: i64| seconds >= started) {
        words[2] = "now";
    }
    words.join(" ")
}

/// Adds a line for each place where two documents differ.
fn json_differences(path: &str, theirs: &Value, ours: &Value, lines: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(left), Value::Object(right)) => {
            let names: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for name in names {
                let absent = Value::from("(absent)");
                let (left, right) = (left.get(name).unwrap_or(&absent), right.get(name).unwrap_or(&absent));
                json_differences(&format!("{path}/{name}"), left, right, lines);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                json_differences(&format!("{path}/{index}"), left, right, lines);
            }
        }
        (left, right) if left != right => lines.push(format!("config {path}: docker {left}, shale {right}")),
        _ => {}
    }
}

/// Takes the digests of what was copied out of a config.
fn hide_digests(value: &mut Value) {
    match value {
        Value::String(text) => {
            let words = text.split(' ').map(|word| match word.split_once(':') {
                Some((_, tail))
                    if word.len() > 64
                        && tail.bytes().rev().take(64).all(|byte| byte.is_ascii_hexdigit()) =>
                {
                    &word[..word.len() - 64]
                }
                _ => word,
            });
            *text = words.collect::<Vec<_>>().join(" ");
        }
        Value::Array(list) => list.iter_mut().for_each(hide_digests),
        Value::Object(map) => map.values_mut().for_each(hide_digests),
        _ => {}
    }
}

/// Takes out of a config what two builds of one Dockerfile never share, and what names the builder.
fn comparable(mut config: Value) -> Value {
    let object = config.as_object_mut().expect("a config is an object");
    for name in ["created", "docker_version", "container"] {
        if let Some(value) = object.get_mut(name) {
            *value = Value::from("-");
        }
    }
    for name in ["config", "container_config"] {
        let Some(inner) = object.get_mut(name).and_then(Value::as_object_mut) else { continue };
        for name in ["Image", "Hostname"] {
            if inner.get(name).and_then(Value::as_str).is_some_and(|value| !value.is_empty()) {
                inner.insert(name.to_owned(), Value::from("-"));
            }
        }
    }
    for entry in object.get_mut("history").and_then(Value::as_array_mut).into_iter().flatten() {
        entry["created"] = Value::from("-");
    }
    let layers = object.get_mut("rootfs").and_then(|rootfs| rootfs.get_mut("diff_ids"));
    for layer in layers.and_then(Value::as_array_mut).into_iter().flatten() {
        *layer = Value::from("-");
    }
    config
}

/// What a builder says on standard output: ids replaced, colours of the two streams kept together.
fn stdout_of(finished: &Finished) -> String {
    let lines =
        finished.stdout.lines().filter(|line| !line.starts_with("Sending build context to Docker daemon"));
    without_ids(lines)
}

fn stderr_of(finished: &Finished) -> String {
    // What is found before a build begins has a word in front where docker's program has none.
    let text = finished.stderr.strip_prefix("Error: ").unwrap_or(&finished.stderr);
    without_ids(text.lines())
}

fn without_ids<'t>(lines: impl Iterator<Item = &'t str>) -> String {
    let is_id = |word: &str| word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    // A Dockerfile from outside the context is sent under a random name.
    let is_file = |word: &str| word.starts_with(".dockerfile.");
    let is_long = |word: &str| word.len() >= 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    lines
        .map(|line| {
            let words = line.trim_end_matches('\r').split(' ').map(|word| match word {
                word if is_id(word) || is_long(word.trim_start_matches("sha256:")) => "ID",
                word if is_file(word) => "Dockerfile:",
                word => word,
            });
            // How a process's words fall into pieces is chance.
            words.collect::<Vec<_>>().join(" ").replace("\u{1b}[0m\u{1b}[91m", "") + "\n"
        })
        .collect()
}
