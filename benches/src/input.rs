//! The images that are measured, made once and kept as the storage of a docker-registry.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use shale_tests::image::{TAR, cache_directory, debian_tar, docker_archive};
use shale_tests::peer::{Access, DockerRegistry, Dockerd, Options};
use shale_tests::program::shell;
use shale_tests::scratch::Scratch;
use shale_tests::sha256_hex;

/// Files in the tree of (a) and (b).
const FILES: usize = 15_000;

/// Bytes in the tree of (a) and (b).
const BYTES: u64 = 300_000_000;

const LAYERS: usize = 8;

/// The storage with the images `a`, `b`, `c`, `d`, each with tag `1`.
pub fn storage() -> Result<PathBuf> {
    let key = &sha256_hex(include_bytes!("input.rs"))[..16];
    let finished = cache_directory().join(format!("bench-{key}"));
    if !finished.exists() {
        println!("making the images, once …");
        let unfinished = finished.with_extension("unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        make(&unfinished)?;
        fs::rename(&unfinished, &finished)?;
    }
    Ok(finished)
}

fn make(storage: &Path) -> Result<()> {
    let scratch = Scratch::new("bench-input");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), storage, Access::Open);
    let docker = Dockerd::start(&scratch.folder("d"), &scratch.folder("root"), &Options::default());
    let push = |name: &str, layers: &[PathBuf]| {
        let reference = format!("{}/bench/{name}:1", registry.host());
        let archive = docker_archive(&scratch, &reference, layers);
        docker.docker(&["load", "-i", archive.to_str().expect("scratch paths are text")]);
        docker.docker(&["push", &reference]);
        docker.docker(&["rmi", &reference]);
    };
    let tree = python_tree(&scratch)?;
    let whole = scratch.path().join("whole.tar");
    shell(&tree, &format!("{TAR} -cf {} .", whole.display()));
    push("a", &[whole]);
    let mut layers = split(&scratch, &tree);
    push("b", &layers);
    let changed = scratch.folder("changed");
    fs::write(changed.join("release"), "a small change at the end\n")?;
    let last = scratch.path().join("changed.tar");
    shell(&changed, &format!("{TAR} -cf {} release", last.display()));
    layers.pop();
    layers.push(last);
    push("d", &layers);
    fs::remove_dir_all(&tree)?;
    push("c", &[big_files(&scratch)?]);
    Ok(())
}

/// Debian, and beside it modules as a Python installation has them.
fn python_tree(scratch: &Scratch) -> Result<PathBuf> {
    let tree = scratch.folder("tree");
    shell(&tree, &format!("tar -xf {}", debian_tar().display()));
    let count: usize = shell(&tree, "find . -type f | wc -l").trim().parse()?;
    let size: u64 =
        shell(&tree, "find . -type f -printf '%s\\n' | awk '{s+=$1} END {print s}'").trim().parse()?;
    let missing = FILES.saturating_sub(count).max(1);
    let each = usize::try_from(BYTES.saturating_sub(size) / missing as u64)?;
    let mut text = Text(1);
    for number in 0..missing {
        let folder = tree.join(format!("usr/lib/python3/package{}/module{}", number % 97, number % 11));
        fs::create_dir_all(&folder).with_context(|| format!("could not make {}", folder.display()))?;
        // Sizes spread over a factor of eight around the mean, one file in three compiled.
        let length = each / 4 + (each * 3 / 2) * (text.next() as usize % 1000) / 1000;
        let (name, content) = match number % 3 {
            0 => (format!("file{number}.pyc"), text.binary(length)),
            _ => (format!("file{number}.py"), text.source(length)),
        };
        fs::write(folder.join(name), content)?;
    }
    shell(&tree, "find usr/lib/python3 -exec touch -d @1700000000 {} +");
    Ok(tree)
}

/// The same tree as eight tars: directories in the first, files by turns.
fn split(scratch: &Scratch, tree: &Path) -> Vec<PathBuf> {
    let lists = scratch.folder("lists");
    let script = format!(
        "find . -mindepth 1 -type d | sort > {0}/0; find . -mindepth 1 -not -type d | sort \
         | awk '{{ print > \"{0}/\" (NR % {LAYERS}) \".part\" }}'; cat {0}/0.part >> {0}/0
         for n in $(seq 1 {1}); do mv {0}/$n.part {0}/$n; done",
        lists.display(),
        LAYERS - 1,
    );
    shell(tree, &script);
    (0..LAYERS)
        .map(|number| {
            let tar = scratch.path().join(format!("part-{number}.tar"));
            let list = lists.join(number.to_string());
            // Names of one hard link group may fall into different tars: each then holds the content.
            shell(
                tree,
                &format!(
                    "{TAR} --hard-dereference --no-recursion -T {} -cf {}",
                    list.display(),
                    tar.display()
                ),
            );
            tar
        })
        .collect()
}

fn big_files(scratch: &Scratch) -> Result<PathBuf> {
    let folder = scratch.folder("big");
    let mut text = Text(2);
    for number in 0..10 {
        let content = if number % 2 == 0 { text.source(100_000_000) } else { text.binary(100_000_000) };
        fs::write(folder.join(format!("file{number}")), content)?;
    }
    let tar = scratch.path().join("big.tar");
    shell(&folder, &format!("{TAR} -cf {} .", tar.display()));
    Ok(tar)
}

/// A docker archive of 200 images that share one layer.
pub fn two_hundred_images(scratch: &Scratch) -> Result<PathBuf> {
    let folder = scratch.folder("two-hundred");
    shell(&folder, &format!("mkdir -p t; echo x > t/x; {TAR} -C t -cf layer.tar x"));
    let diff_id = format!("sha256:{}", sha256_hex(&fs::read(folder.join("layer.tar"))?));
    let mut manifest = Vec::new();
    for number in 0..200 {
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "created": format!("2024-01-01T00:00:00.{number:03}Z"),
            "config": {"Labels": {"number": number.to_string()}},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "bench"}],
        });
        let name = format!("{number}.json");
        fs::write(folder.join(&name), config.to_string())?;
        manifest.push(serde_json::json!({
            "Config": name, "RepoTags": [format!("many/image{number}:1")], "Layers": ["layer.tar"],
        }));
    }
    fs::write(folder.join("manifest.json"), serde_json::Value::from(manifest).to_string())?;
    shell(&folder, "tar -cf ../two-hundred.tar *");
    Ok(scratch.path().join("two-hundred.tar"))
}

/// Bytes that compress as source and as compiled code do; the same on every machine.
struct Text(u64);

impl Text {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Words of a small vocabulary, common ones more often, in indented lines.
    fn source(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 64);
        while bytes.len() < length {
            let indent = (self.next() % 4) as usize * 4;
            bytes.resize(bytes.len() + indent, b' ');
            for _ in 0..3 + self.next() % 6 {
                let draw = self.next();
                let word = (draw % 3000).min((draw >> 20) % 3000);
                bytes.extend_from_slice(
                    format!("{}{word:x} ", ["self.", "get_", "", "set"][word as usize % 4]).as_bytes(),
                );
            }
            bytes.push(b'\n');
        }
        bytes.truncate(length);
        bytes
    }

    /// Runs of few values between random bytes.
    fn binary(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 16);
        while bytes.len() < length {
            let draw = self.next();
            if draw.is_multiple_of(3) {
                bytes.resize(bytes.len() + (draw >> 8) as usize % 16, (draw >> 60) as u8);
            } else {
                bytes.extend_from_slice(&draw.to_le_bytes()[..5]);
            }
        }
        bytes.truncate(length);
        bytes
    }
}
