//! Builds: a context of 10,000 files that is all in the cache or all new, ten small steps, two stages that wait.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use shale_tests::peer::{Dockerd, Options, Shale};
use shale_tests::program::{Server, require, run, shell};
use shale_tests::scratch::{Scratch, unmount_below};

use crate::measure::{self, Cost};
use crate::report::Table;

/// Where `buildkitd` and `buildctl` are, for those who have them: no Debian package brings them.
const BUILDKIT: &str = "SHALE_BENCH_BUILDKIT";
/// A context that was written within the last seconds is read again by everybody who takes care.
const SETTLED_AFTER: Duration = Duration::from_secs(45);
const START_MAX: Duration = Duration::from_secs(60);

const TREE_DOCKERFILE: &str = "FROM scratch\nCOPY tree /src\n";
const BASE: &str = "FROM scratch AS base\nADD base.tar /\n";

/// A program that builds, with a store of its own.
enum Builder {
    Shale(Box<Shale>),
    Docker(Box<Dockerd>),
    Buildah(PathBuf),
    BuildKit { programs: PathBuf, directory: PathBuf, daemon: Server },
}

impl Builder {
    fn name(&self) -> &'static str {
        match self {
            Builder::Shale(_) => "shale",
            Builder::Docker(_) => "docker",
            Builder::Buildah(_) => "buildah",
            Builder::BuildKit { .. } => "buildkit",
        }
    }

    fn daemon(&self) -> Option<u32> {
        match self {
            Builder::Docker(daemon) => Some(daemon.pid()),
            Builder::BuildKit { daemon, .. } => Some(daemon.pid()),
            _ => None,
        }
    }

    /// A build of `context`, whose commands have no network.
    fn build(&self, context: &Path) -> Command {
        match self {
            Builder::Shale(shale) => {
                let mut command = shale.command(&["build", "-q", "--network", "none"]);
                command.arg(context);
                command
            }
            Builder::Docker(daemon) => {
                let mut command = daemon.command(&["build", "-q", "--network", "none"]);
                command.arg(context);
                command
            }
            Builder::Buildah(directory) => {
                let mut command = Command::new(require("buildah", "buildah"));
                command.arg("--root").arg(directory.join("root"));
                command.arg("--runroot").arg(directory.join("run"));
                command.args(["--storage-driver", "overlay", "build", "--layers", "--quiet", "--runtime"]);
                command.arg(require("runc", "runc")).args(["--network", "none", "--cgroupns", "host"]);
                // It raises these by default, which not every machine allows.
                command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]).arg(context);
                command
            }
            Builder::BuildKit { programs, directory, .. } => {
                let mut command = Command::new(programs.join("buildctl"));
                command.arg("--addr").arg(format!("unix://{}", directory.join("sock").display()));
                command.args(["build", "--progress", "plain", "--frontend", "dockerfile.v0"]);
                command.args(["--opt", "force-network-mode=none", "--output", "type=image,name=bench"]);
                for name in ["context", "dockerfile"] {
                    command.arg("--local").arg(format!("{name}={}", context.display()));
                }
                command
            }
        }
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        match self {
            Builder::Buildah(directory) => unmount_below(directory),
            Builder::BuildKit { directory, daemon, .. } => {
                daemon.stop(Duration::from_secs(10));
                unmount_below(directory);
            }
            _ => {}
        }
    }
}

/// Starts the builders that are here, each with an empty store.
fn builders(scratch: &Scratch) -> Result<Vec<Builder>> {
    let mut builders = vec![
        Builder::Shale(Box::new(Shale::new(&scratch.folder("build-shale")))),
        Builder::Docker(Box::new(Dockerd::start(
            &scratch.folder("bd"),
            &scratch.folder("build-docker"),
            &Options::default(),
        ))),
        Builder::Buildah(scratch.folder("build-buildah")),
    ];
    if let Some(programs) = std::env::var_os(BUILDKIT).map(PathBuf::from) {
        let directory = scratch.folder("bk");
        let arguments = [
            "--root".to_owned(),
            directory.join("root").display().to_string(),
            "--addr".to_owned(),
            format!("unix://{}", directory.join("sock").display()),
            "--containerd-worker=false".to_owned(),
            "--oci-worker=true".to_owned(),
            "--oci-worker-snapshotter=overlayfs".to_owned(),
            "--oci-worker-net=host".to_owned(),
            format!("--oci-worker-binary={}", require("runc", "runc").display()),
        ];
        let mut daemon = Server::start(&programs.join("buildkitd"), &arguments, &[], &directory.join("log"));
        let socket = directory.join("sock");
        if !daemon.wait_until(START_MAX, || std::os::unix::net::UnixStream::connect(&socket).is_ok()) {
            bail!("buildkitd does not start:\n{}", daemon.log());
        }
        builders.push(Builder::BuildKit { programs, directory, daemon });
    }
    Ok(builders)
}

/// Measures the four cases of builds, all builders in turn.
pub fn measure(scratch: &Scratch, rounds: usize) -> Result<Vec<Table>> {
    let contexts = Contexts::make(scratch)?;
    let mut builders = builders(scratch)?;
    let mut table = Table::new("build-b, COPY of the context");
    let mut costs = Costs::default();
    for round in 0..rounds {
        // One file of 10,000 is enough for the layer to be another one.
        fs::write(contexts.tree.join("tree/d000/f0"), format!("round {round}"))?;
        for builder in &mut builders {
            costs.take(builder, &contexts.tree, &mut table);
        }
        let copy = scratch.path().join("copied");
        measure::settle();
        let mut command = Command::new("cp");
        command.arg("-a").arg(contexts.tree.join("tree")).arg(&copy);
        costs.add("cp -a", measure::run(&mut command, None), &mut table);
        fs::remove_dir_all(copy)?;
    }
    let copying = costs.into_table(table);
    contexts.settle();
    let mut table = Table::new("build-a, all in the cache");
    let mut costs = Costs::default();
    // The first one may have to read the files again.
    for builder in &mut builders {
        Costs::default().take(builder, &contexts.tree, &mut table);
    }
    for _ in 0..rounds {
        builders.iter_mut().for_each(|builder| costs.take(builder, &contexts.tree, &mut table));
    }
    let cached = costs.into_table(table);
    let mut tables = vec![cached, copying];
    type Text = fn(usize) -> String;
    for (name, dockerfile) in [("build-c, ten RUN true", ten as Text), ("build-d, two stages of 3 s", two)] {
        let mut table = Table::new(name);
        let mut costs = Costs::default();
        for round in 0..=rounds {
            fs::write(contexts.small.join("Dockerfile"), dockerfile(round))?;
            // The base of all rounds is made in the first one, which does not count.
            let mut first = Costs::default();
            let costs = if round == 0 { &mut first } else { &mut costs };
            builders.iter_mut().for_each(|builder| costs.take(builder, &contexts.small, &mut table));
        }
        tables.push(costs.into_table(table));
    }
    Ok(tables)
}

fn ten(round: usize) -> String {
    let steps: String = (0..10).map(|step| format!("RUN true {round} {step}\n")).collect();
    format!("{BASE}{steps}")
}

fn two(round: usize) -> String {
    format!(
        "{BASE}FROM base AS one\nRUN sleep 3 && echo {round} > /one\nFROM base AS two\nRUN sleep 3 && echo {round} > \
         /two\nFROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n"
    )
}

#[derive(Default)]
struct Costs(BTreeMap<&'static str, Vec<Cost>>);

impl Costs {
    fn take(&mut self, builder: &mut Builder, context: &Path, table: &mut Table) {
        measure::settle();
        let cost = measure::run(&mut builder.build(context), builder.daemon());
        self.add(builder.name(), cost, table);
    }

    fn add(&mut self, name: &'static str, cost: Result<Cost>, table: &mut Table) {
        match cost {
            Ok(cost) => self.0.entry(name).or_default().push(cost),
            Err(error) => table.note(format!("{name}: {error:#}")),
        }
    }

    fn into_table(self, mut table: Table) -> Table {
        self.0.into_iter().for_each(|(name, costs)| table.add(name, measure::median(costs)));
        table
    }
}

/// What is built.
struct Contexts {
    tree: PathBuf,
    small: PathBuf,
    made: Instant,
}

impl Contexts {
    /// 10,000 files of 20 KB in 100 directories, the same on every machine; and a base of busybox.
    fn make(scratch: &Scratch) -> Result<Contexts> {
        let tree = scratch.folder("context-tree");
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut content = vec![0_u8; 20_480];
        for file in 0..10_000 {
            let directory = tree.join(format!("tree/d{:03}", file / 100));
            fs::create_dir_all(&directory)?;
            for chunk in content.chunks_mut(8) {
                // xorshift: bytes that do not compress.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                chunk.copy_from_slice(&random.to_le_bytes());
            }
            fs::write(directory.join(format!("f{file}")), &content)?;
        }
        fs::write(tree.join("Dockerfile"), TREE_DOCKERFILE)?;
        let small = scratch.folder("context-small");
        let busybox = require("busybox", "busybox-static");
        shell(
            &small,
            &format!(
                "mkdir -p base/bin base/etc base/tmp; cp {} base/bin/busybox; cd base/bin; for name in sh true sleep; do \
                 ln -s busybox $name; done; cd ../..; tar -cf base.tar -C base .; rm -r base",
                busybox.display()
            ),
        );
        run(Command::new("sync").arg("-f").arg(&tree)).success();
        Ok(Contexts { tree, small, made: Instant::now() })
    }

    /// Waits until the last change of the tree is long enough ago for everybody to believe in its times.
    fn settle(&self) {
        let changed = fs::metadata(self.tree.join("tree/d000/f0")).and_then(|file| file.modified());
        let age = changed.ok().and_then(|changed| SystemTime::now().duration_since(changed).ok());
        let age = age.unwrap_or_else(|| self.made.elapsed());
        std::thread::sleep(SETTLED_AFTER.saturating_sub(age));
    }
}
