//! `run --rm busybox true`: how long a container takes from the first word to the last.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use shale_tests::peer::{Dockerd, Options, Shale};
use shale_tests::program::{require, run, shell};
use shale_tests::scratch::{Scratch, unmount_below};

use crate::measure::{self, Cost};
use crate::report::Table;

const RUN: [&str; 6] = ["run", "--rm", "--network", "none", "busybox", "true"];

/// podman raises the limits of files and processes by default, which not every machine allows.
const PODMAN_RUN: [&str; 10] = [
    "run",
    "--rm",
    "--ulimit",
    "nofile=1024:1024",
    "--ulimit",
    "nproc=1024:1024",
    "--network",
    "none",
    "busybox",
    "true",
];

/// podman with a root of its own, told to use the runtime that the others use.
struct Podman {
    directory: PathBuf,
}

impl Podman {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(require("podman", "podman"));
        command.args(["--cgroup-manager", "cgroupfs", "--runtime", "runc", "--root"]);
        command.arg(self.directory.join("root")).arg("--runroot").arg(self.directory.join("run")).args(words);
        command
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        unmount_below(&self.directory);
    }
}

/// Measures all three in turn, `rounds` times five.
pub fn measure(scratch: &Scratch, rounds: usize) -> Result<Table> {
    let tree = scratch.folder("run-tree");
    let tar = scratch.path().join("run.tar");
    let busybox = require("busybox", "busybox-static");
    shell(
        &tree,
        &format!(
            "mkdir -p bin etc; cp {} bin/busybox; ln -s busybox bin/true; tar -cf {} .",
            busybox.display(),
            tar.display()
        ),
    );
    let tar = tar.to_str().expect("scratch paths are text");
    let shale = Shale::new(&scratch.folder("run-shale"));
    let docker = Dockerd::start(&scratch.folder("rd"), &scratch.folder("run-docker"), &Options::default());
    let podman = Podman { directory: scratch.folder("run-podman") };
    let import = ["import", tar, "busybox"];
    for mut command in [shale.command(&import), docker.command(&import), podman.command(&import)] {
        run(&mut command).success();
    }
    let mut costs: BTreeMap<&'static str, Vec<Cost>> = BTreeMap::new();
    let mut table = Table::new("run --rm busybox true");
    for _ in 0..rounds * 5 {
        let commands = [
            ("shale", shale.command(&RUN), None),
            ("docker", docker.command(&RUN), Some(docker.pid())),
            ("podman", podman.command(&PODMAN_RUN), None),
        ];
        for (name, mut command, daemon) in commands {
            match measure::run(&mut command, daemon) {
                Ok(cost) => costs.entry(name).or_default().push(cost),
                Err(error) => table.note(format!("{name}: {error:#}")),
            }
        }
    }
    for (name, costs) in costs {
        table.add(name, measure::median(costs));
    }
    Ok(table)
}
