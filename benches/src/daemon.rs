//! The Engine API: the same requests, and the same docker command, before `shale daemon`, dockerd and podman's service.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use shale_tests::disk::Disk;
use shale_tests::http;
use shale_tests::peer::{DockerRegistry, Dockerd, Options, ShaleDaemon};
use shale_tests::program::{Server, require, run, shell};
use shale_tests::scratch::{Scratch, unmount_below};

use crate::input;
use crate::measure::{self, Cost};
use crate::report::Table;

/// A list of 200 images, and one of them.
const REQUESTS: [(&str, &str); 2] =
    [("list", "/v1.41/images/json"), ("inspect", "/v1.41/images/many/image7:1/json")];

/// podman raises the limits of files and processes by default, which not every machine allows.
const RUN: [&str; 10] = [
    "run",
    "--rm",
    "--ulimit",
    "nofile=1024:1024",
    "--ulimit",
    "nproc=1024:1024",
    "--network",
    "none",
    "base",
    "true",
];

/// Most times that a request is sent in a round, and how long it is sent again: podman needs seconds for a list.
const REQUESTS_MAX: usize = 200;
const REQUESTS_LIMIT: Duration = Duration::from_secs(5);

/// A request that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that is measured; dropping it stops it.
enum Daemon {
    Shale(ShaleDaemon),
    Docker(Dockerd),
    Podman(Server, PathBuf),
}

impl Daemon {
    /// Starts podman's service with its images on `disk`.
    fn podman(directory: PathBuf, disk: &Disk, registry: &DockerRegistry) -> Result<Daemon> {
        let config = directory.join("registries.conf");
        let text = format!(
            "unqualified-search-registries = []\n[[registry]]\nlocation = \"{}\"\ninsecure = true\n",
            registry.host()
        );
        std::fs::write(&config, text)?;
        let socket = directory.join("sock");
        let (root, run) = (disk.path().join("root"), directory.join("run"));
        let words = ["--cgroup-manager", "cgroupfs", "--runtime", "runc", "--storage-driver", "overlay"];
        let mut arguments: Vec<String> = words.map(str::to_owned).to_vec();
        for (flag, path) in [("--root", &root), ("--runroot", &run)] {
            arguments.extend([flag.to_owned(), path.display().to_string()]);
        }
        arguments.extend(["system", "service", "--time", "0"].map(str::to_owned));
        arguments.push(format!("unix://{}", socket.display()));
        let config = config.to_str().context("scratch paths are text")?;
        let environment = [("CONTAINERS_REGISTRIES_CONF", config)];
        let log = directory.join("log");
        let mut server = Server::start(&require("podman", "podman"), &arguments, &environment, &log);
        let answers = server.wait_until(Duration::from_secs(60), || http::unix_answers(&socket, "/_ping"));
        ensure!(answers, "podman's service does not answer: {}", server.log());
        Ok(Daemon::Podman(server, directory))
    }

    fn name(&self) -> &'static str {
        match self {
            Daemon::Shale(_) => "shale",
            Daemon::Docker(_) => "docker",
            Daemon::Podman(..) => "podman",
        }
    }

    fn socket(&self) -> PathBuf {
        match self {
            Daemon::Shale(daemon) => daemon.socket().to_owned(),
            Daemon::Docker(daemon) => daemon.socket(),
            Daemon::Podman(_, directory) => directory.join("sock"),
        }
    }

    fn pid(&self) -> u32 {
        match self {
            Daemon::Shale(daemon) => daemon.pid(),
            Daemon::Docker(daemon) => daemon.pid(),
            Daemon::Podman(server, _) => server.pid(),
        }
    }

    fn docker(&self, words: &[&str]) -> Command {
        let mut command = Command::new(require("docker", "docker.io"));
        command.arg("--host").arg(format!("unix://{}", self.socket().display())).args(words);
        command.env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT").env("DOCKER_BUILDKIT", "0");
        command
    }

    fn measure(&self, words: &[&str]) -> Result<Cost> {
        measure::run(&mut self.docker(words), Some(self.pid()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Daemon::Podman(server, directory) = self {
            server.stop(Duration::from_secs(20));
            unmount_below(directory);
        }
    }
}

/// Sends a request on a connection of its own and reads the answer to its end.
fn ask(socket: &Path, path: &str) -> Result<Cost> {
    let start = Instant::now();
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
    Ok(Cost { wall_s: start.elapsed().as_secs_f64(), ..Cost::default() })
}

/// A file system with busybox, and a context that builds upon it in four steps.
fn make_inputs(directory: &Path) -> Result<(String, String)> {
    let busybox = require("busybox", "busybox-static");
    shell(
        directory,
        &format!(
            "mkdir -p tree/bin context
            cp {} tree/bin/busybox; ln -s busybox tree/bin/true; ln -s busybox tree/bin/sh
            tar -C tree -cf base.tar .
            head -c 20000000 /dev/urandom > context/file
            printf 'FROM base\\nCOPY file /\\nRUN true\\nRUN true\\nRUN echo 1 > /one\\n' > context/Dockerfile",
            busybox.display()
        ),
    );
    let text =
        |name: &str| directory.join(name).to_str().map(str::to_owned).context("scratch paths are text");
    Ok((text("base.tar")?, text("context")?))
}

/// Measures all daemons in turn: requests many times a round, commands once. Each figure is printed when it is there.
pub fn measure(scratch: &Scratch, registry: &DockerRegistry, rounds: usize) -> Result<Table> {
    let archive = input::two_hundred_images(scratch)?;
    let archive = archive.to_str().context("scratch paths are text")?;
    let (base, context) = make_inputs(&scratch.folder("daemon-input"))?;
    // File systems that never held anything, as for the other cases; and to remove one takes no time. Made before the
    // daemons, so they are unmounted after these have ended.
    let disk = |name: &str| Disk::make_ordinary(scratch.path(), name, "8G");
    let disks = [disk("s"), disk("d"), disk("p")];
    let root = disks[1].path().join("root");
    let daemons = [
        Daemon::Shale(ShaleDaemon::start(disks[0].path())),
        Daemon::Docker(Dockerd::start(&scratch.folder("dd"), &root, &Options::default())),
        Daemon::podman(scratch.folder("dp"), &disks[2], registry)?,
    ];
    let mut table = Table::new("daemon");
    for daemon in &daemons {
        let start = Instant::now();
        run(&mut daemon.docker(&["import", &base, "base"])).success();
        run(&mut daemon.docker(&["load", "-q", "-i", archive])).success();
        say(daemon, "has loaded 200 images", start.elapsed().as_secs_f64());
    }
    let image = format!("{}/bench/b:1", registry.host());
    let build = ["build", "-q", "--no-cache", &context];
    let mut costs: BTreeMap<(usize, &str, usize), Vec<Cost>> = BTreeMap::new();
    for round in 0..rounds {
        for (place, daemon) in daemons.iter().enumerate() {
            let mut keep = |order: usize, what: &'static str, cost: Result<Cost>| match cost {
                Ok(cost) => {
                    say(daemon, what, cost.wall_s);
                    costs.entry((order, what, place)).or_default().push(cost);
                }
                Err(error) => table.note(format!("{} {what}: {error:#}", daemon.name())),
            };
            measure::settle();
            for (order, (what, path)) in REQUESTS.into_iter().enumerate() {
                keep(order, what, ask_often(&daemon.socket(), path));
            }
            let commands = [("run", &RUN[..]), ("build", &build), ("pull", &["pull", "-q", &image])];
            for (order, (what, words)) in commands.into_iter().enumerate() {
                measure::settle();
                keep(order + REQUESTS.len(), what, daemon.measure(words));
            }
            if round + 1 < rounds {
                run(&mut daemon.docker(&["rmi", &image]));
            }
        }
    }
    for ((_, what, place), costs) in costs {
        table.add(&format!("{} {what}", daemons[place].name()), measure::median(costs));
    }
    Ok(table)
}

/// The median of a request that is sent again and again.
fn ask_often(socket: &Path, path: &str) -> Result<Cost> {
    let start = Instant::now();
    let mut costs = Vec::new();
    while costs.len() < REQUESTS_MAX && (costs.is_empty() || start.elapsed() < REQUESTS_LIMIT) {
        costs.push(ask(socket, path)?);
    }
    Ok(measure::median(costs))
}

fn say(daemon: &Daemon, what: &str, seconds: f64) {
    println!("{} {what}: {seconds:.4} s", daemon.name());
}
