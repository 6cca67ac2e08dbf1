//! The programs that are measured, behind one set of words.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use shale_tests::peer::{Access, DockerRegistry, Dockerd, Options, Shale};
use shale_tests::program::{require, run};
use shale_tests::scratch::{Scratch, unmount_below};

use crate::measure::{self, Cost, median};

/// A program with a store of its own.
pub enum Peer {
    /// The program of this project.
    Shale { shale: Shale },
    /// A daemon that runs all the time, and its command.
    Docker { daemon: Box<Dockerd> },
    /// podman with its own root.
    Podman { directory: PathBuf },
    /// skopeo, which copies into a containers-storage.
    Skopeo { directory: PathBuf },
}

impl Peer {
    /// Prepares the peer called `name`.
    pub fn start(name: &str, scratch: &Scratch) -> Result<Self> {
        let directory = scratch.folder(name);
        Ok(match name {
            "shale" => Self::Shale { shale: Shale::new(&directory) },
            "docker" => Self::Docker {
                daemon: Box::new(Dockerd::start(
                    &directory,
                    &scratch.folder("docker-root"),
                    &Options::default(),
                )),
            },
            "podman" => Self::Podman { directory },
            "skopeo" => Self::Skopeo { directory },
            other => bail!("there is no peer {other}"),
        })
    }

    /// What the tables call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Shale { .. } => "shale",
            Self::Docker { .. } => "docker",
            Self::Podman { .. } => "podman",
            Self::Skopeo { .. } => "skopeo",
        }
    }

    /// Whether the peer can do what `case` asks: skopeo has no commands on a store.
    pub fn takes_part(&self, case: &str) -> bool {
        !matches!(self, Self::Skopeo { .. }) || ["a", "b", "c", "d"].contains(&case)
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
        self.empty()?;
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
                    self.empty()?;
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
        self.empty()?;
        self.cost(self.words(&["load", "-i", archive.to_str().context("scratch paths are text")?]))?;
        let mut rows = Vec::new();
        for (what, words) in [("images", &["images"][..]), ("inspect", &["inspect", "many/image7:1"][..])] {
            let costs = (0..runs).map(|_| self.cost(self.words(words))).collect::<Result<Vec<_>>>()?;
            rows.push((format!("{} {what}", self.name()), median(costs)));
        }
        Ok(rows)
    }

    fn cost(&self, mut command: Command) -> Result<Cost> {
        let daemon = match self {
            Self::Docker { daemon } => Some(daemon.pid()),
            _ => None,
        };
        measure::run(&mut command, daemon)
    }

    fn pull(&self, reference: &str) -> Command {
        match self {
            Self::Shale { .. } | Self::Docker { .. } => self.words(&["pull", "-q", reference]),
            Self::Podman { .. } => self.words(&["pull", "-q", "--tls-verify=false", reference]),
            Self::Skopeo { directory } => {
                let mut command = Command::new(require("skopeo", "skopeo"));
                let store = format!("overlay@{0}/root+{0}/run", directory.display());
                command.args(["copy", "--quiet", "--src-tls-verify=false", &format!("docker://{reference}")]);
                command.arg(format!("containers-storage:[{store}]{reference}"));
                command
            }
        }
    }

    fn words(&self, words: &[&str]) -> Command {
        match self {
            Self::Shale { shale } => shale.command(words),
            Self::Docker { daemon } => daemon.command(words),
            Self::Podman { directory } | Self::Skopeo { directory } => {
                let mut command = Command::new(require("podman", "podman"));
                command.arg("--root").arg(directory.join("root")).arg("--runroot").arg(directory.join("run"));
                command.args(["--storage-driver", "overlay"]).args(words);
                command
            }
        }
    }

    fn empty(&self) -> Result<()> {
        match self {
            Self::Shale { shale } => remove(shale.data_root()),
            Self::Docker { daemon } => {
                let listed = daemon.docker(&["images", "-aq"]);
                let mut ids: Vec<&str> = listed.lines().collect();
                ids.sort_unstable();
                ids.dedup();
                if ids.is_empty() {
                    return Ok(());
                }
                run(daemon.command(&["rmi", "-f"]).args(ids)).success();
                Ok(())
            }
            Self::Podman { directory } | Self::Skopeo { directory } => {
                remove(&directory.join("root"))?;
                remove(&directory.join("run"))
            }
        }
    }
}

fn push_words<'a>(peer: &str, reference: &'a str) -> Vec<&'a str> {
    match peer {
        "podman" => vec!["push", "--tls-verify=false", reference],
        _ => vec!["push", reference],
    }
}

fn remove(directory: &Path) -> Result<()> {
    unmount_below(directory);
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
