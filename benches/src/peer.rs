//! The programs that are measured, behind one set of words.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use shale_tests::disk::Disk;
use shale_tests::peer::{Access, DockerRegistry, Dockerd, Options, Shale};
use shale_tests::program::require;
use shale_tests::scratch::{Scratch, unmount_below};

use crate::measure::{self, Cost, median};

/// Name of the file that holds a peer's file system.
const DISK: &str = "disk";

/// A program with a store of its own, on a file system of its own.
///
/// The file system is made anew for each measurement: where thousands of files were deleted within the last minutes, ext4
/// looks at each of their inodes again before it makes a new file, and that would be most of what is measured.
pub struct Peer {
    kind: Kind,
    directory: PathBuf,
    disk: Option<Disk>,
    /// What lay in the registry after the last push.
    pushed_bytes: Option<u64>,
}

enum Kind {
    /// The program of this project.
    Shale,
    /// A daemon and its command; the daemon is started on each new file system and is not measured while it starts.
    Docker(Option<Box<Dockerd>>),
    /// podman with its own root.
    Podman,
    /// skopeo, which copies into a containers-storage.
    Skopeo,
}

impl Peer {
    /// Prepares the peer called `name`.
    pub fn new(name: &str, scratch: &Scratch) -> Result<Self> {
        let kind = match name {
            "shale" => Kind::Shale,
            "docker" => Kind::Docker(None),
            "podman" => Kind::Podman,
            "skopeo" => Kind::Skopeo,
            other => bail!("there is no peer {other}"),
        };
        Ok(Self { kind, directory: scratch.folder(name), disk: None, pushed_bytes: None })
    }

    /// What the tables call it.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Shale => "shale",
            Kind::Docker(_) => "docker",
            Kind::Podman => "podman",
            Kind::Skopeo => "skopeo",
        }
    }

    /// Bytes of the registry's files after the peer's last push; everything that is not a blob is links of 71 bytes.
    pub fn pushed_bytes(&self) -> Option<u64> {
        self.pushed_bytes
    }

    /// Whether the peer can do what `case` asks: skopeo has no commands on a store.
    pub fn takes_part(&self, case: &str) -> bool {
        !matches!(self.kind, Kind::Skopeo) || ["a", "b", "c", "d"].contains(&case)
    }

    /// Measures one case from an empty store.
    pub fn measure(
        &mut self,
        case: &str,
        round: usize,
        scratch: &Scratch,
        registry: &DockerRegistry,
    ) -> Result<Cost> {
        let reference = |name: &str| format!("{}/bench/{name}:1", registry.host());
        self.renew()?;
        match case {
            "d" => {
                self.cost(self.pull(&reference("b")))?;
                measure::settle();
                self.cost(self.pull(&reference("d")))
            }
            "push-a" | "push-b" => {
                let source = reference(case.trim_start_matches("push-"));
                self.cost(self.pull(&source))?;
                let folder = scratch.folder(&format!("target-{}-{round}", self.name()));
                let target = DockerRegistry::start(&folder, Access::Open);
                let copy = format!("{}/pushed/image:1", target.host());
                self.cost(self.words(&["tag", &source, &copy]))?;
                measure::settle();
                let cost = self.cost(self.words(&push_words(self.name(), &copy)));
                drop(target);
                self.pushed_bytes = Some(stored_bytes(&folder)?);
                fs::remove_dir_all(folder)?;
                cost
            }
            "save" | "load" => {
                let source = reference("b");
                let tar = scratch.path().join(format!("saved-{}.tar", self.name()));
                let tar_text = tar.to_str().context("scratch paths are text")?.to_owned();
                self.cost(self.pull(&source))?;
                measure::settle();
                let saved = self.cost(self.words(&["save", "-o", &tar_text, &source]))?;
                let cost = if case == "save" {
                    saved
                } else {
                    self.renew()?;
                    measure::settle();
                    self.cost(self.words(&["load", "-i", &tar_text]))?
                };
                fs::remove_file(tar)?;
                Ok(cost)
            }
            name => self.cost(self.pull(&reference(name))),
        }
    }

    /// Loads the images of `archive` and measures looking at them.
    pub fn look(&mut self, archive: &Path, runs: usize) -> Result<Vec<(String, Cost)>> {
        self.renew()?;
        self.cost(self.words(&["load", "-i", archive.to_str().context("scratch paths are text")?]))?;
        let mut rows = Vec::new();
        for (what, words) in [("images", &["images"][..]), ("inspect", &["inspect", "many/image7:1"][..])] {
            let costs = (0..runs).map(|_| self.cost(self.words(words))).collect::<Result<Vec<_>>>()?;
            rows.push((format!("{} {what}", self.name()), median(costs)));
        }
        Ok(rows)
    }

    /// What an image's pull costs, and what it costs when nothing is made durable: the kernel then answers each sync at
    /// once. Both go through the same filter of system calls.
    pub fn durability(&mut self, registry: &DockerRegistry, name: &str) -> Result<[(&'static str, Cost); 2]> {
        let reference = format!("{}/bench/{name}:1", registry.host());
        let mut costs = Vec::new();
        for (row, filter) in [("shale", "synced"), ("shale-unsynced", "unsynced")] {
            self.renew()?;
            measure::settle();
            let pull = self.pull(&reference);
            let mut command = Command::new(require("python3", "python3"));
            command.args(["-c", include_str!("unsynced.py"), filter]);
            command.arg(pull.get_program()).args(pull.get_args());
            command.envs(pull.get_envs().filter_map(|(name, value)| Some((name, value?))));
            costs.push((row, self.cost(command)?));
        }
        costs.try_into().map_err(|_| anyhow::anyhow!("there are two rows"))
    }

    fn cost(&self, mut command: Command) -> Result<Cost> {
        let daemon = match &self.kind {
            Kind::Docker(daemon) => daemon.as_ref().map(|daemon| daemon.pid()),
            _ => None,
        };
        measure::run(&mut command, daemon)
    }

    fn pull(&self, reference: &str) -> Command {
        match self.kind {
            Kind::Shale | Kind::Docker(_) => self.words(&["pull", "-q", reference]),
            Kind::Podman => self.words(&["pull", "-q", "--tls-verify=false", reference]),
            Kind::Skopeo => {
                let mut command = Command::new(require("skopeo", "skopeo"));
                let store = format!("overlay@{0}/root+{0}/run", self.place().display());
                command.args(["copy", "--quiet", "--src-tls-verify=false", &format!("docker://{reference}")]);
                command.arg(format!("containers-storage:[{store}]{reference}"));
                command
            }
        }
    }

    fn words(&self, words: &[&str]) -> Command {
        match &self.kind {
            Kind::Shale => Shale::on_root(&self.directory, &self.place().join("root")).command(words),
            Kind::Docker(daemon) => daemon.as_ref().expect("renew starts it").command(words),
            Kind::Podman | Kind::Skopeo => {
                let mut command = Command::new(require("podman", "podman"));
                command.arg("--root").arg(self.place().join("root"));
                command.arg("--runroot").arg(self.place().join("run"));
                command.args(["--storage-driver", "overlay"]).args(words);
                command
            }
        }
    }

    fn place(&self) -> &Path {
        self.disk.as_ref().expect("renew makes it").path()
    }

    /// Gives the peer an empty store on a file system that never held anything.
    fn renew(&mut self) -> Result<()> {
        if let Kind::Docker(daemon) = &mut self.kind {
            *daemon = None;
        }
        if let Some(old) = self.disk.take() {
            unmount_below(old.path());
            drop(old);
            fs::remove_file(self.directory.join(DISK))?;
        }
        let disk = Disk::make_ordinary(&self.directory, DISK, "8G");
        if let Kind::Docker(daemon) = &mut self.kind {
            let root = disk.path().join("root");
            *daemon = Some(Box::new(Dockerd::start(&self.directory, &root, &Options::default())));
        }
        self.disk = Some(disk);
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The daemon uses the disk to its end.
        if let Kind::Docker(daemon) = &mut self.kind {
            *daemon = None;
        }
    }
}

fn push_words<'a>(peer: &str, reference: &'a str) -> Vec<&'a str> {
    match peer {
        "podman" => vec!["push", "--tls-verify=false", reference],
        _ => vec!["push", reference],
    }
}

/// Bytes of all files below `directory`.
fn stored_bytes(directory: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { stored_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}
