//! Measures shale beside docker, podman and skopeo: one run, interleaved, medians, as ratios.
//!
//! Everything comes from a local docker-registry with a warm page cache, so that neither network nor disk reading is
//! measured. Not part of the tests: figures mean something on a quiet machine only.

mod builds;
mod containers;
mod daemon;
mod floor;
mod input;
mod measure;
mod peer;
mod report;

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use shale_tests::peer::{Access, DockerRegistry};
use shale_tests::scratch::Scratch;

use crate::measure::Cost;
use crate::peer::Peer;
use crate::report::Table;

const USAGE: &str = "\
Usage:  cargo xtask bench [--rounds N] [--cases LIST] [--peers LIST]
        cargo xtask bench build [--rounds N]

Options:
  --rounds N     How often each measurement is made; the median counts (default 5)
  --cases LIST   Of a,b,c,d,durable,push-a,push-b,save,load,look,floor,run,build,daemon (default all)
                   a  pull of Debian with Python-like content, one layer of 300 MB in 15,000 files
                   b  the same content in 8 layers
                   c  pull of one layer of 1 GB in 10 files
                   d  pull of a new tag of b, 7 of 8 layers are there
                   durable  a, and a when nothing is synced: the price of surviving a power cut
                   look  images with 200 images, inspect
                   run  a container of busybox that runs `true`, made, run and removed
                   build  a context of 10,000 files and 200 MB, cached and new; ten RUN true; two stages of 3 s.
                      Beside docker and buildah, and BuildKit if SHALE_BENCH_BUILDKIT says where buildkitd is
                   daemon  the Engine API of shale daemon, dockerd and podman's service: list and inspect
                     with 200 images as requests; run, build and a pull of b by the docker command
                   floor  inflate, two SHA-256, CRC-64 and one write of the blobs of a and c
  --peers LIST   Of shale,docker,podman,skopeo (default all)
";

const CASES: [&str; 14] = [
    "a", "b", "c", "d", "durable", "push-a", "push-b", "save", "load", "look", "floor", "run", "build",
    "daemon",
];

/// What the command line asks for.
struct Wanted {
    rounds: usize,
    cases: Vec<String>,
    peers: Vec<String>,
}

fn main() -> Result<()> {
    let Some(wanted) = parse(std::env::args().skip(1))? else {
        print!("{USAGE}");
        return Ok(());
    };
    let scratch = Scratch::new("bench");
    if wanted.cases == ["build"] {
        // Needs none of the images, which take minutes to make.
        return print_builds(&scratch, wanted.rounds);
    }
    let storage = input::storage()?;
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage, Access::ReadOnly);
    let mut peers = Vec::new();
    for name in &wanted.peers {
        peers.push(Peer::new(name, &scratch)?);
    }
    for case in &wanted.cases {
        let table = match case.as_str() {
            "floor" => floor::measure(&storage, &scratch, wanted.rounds)?,
            "durable" => durability(&mut peers, &registry, wanted.rounds)?,
            "daemon" => daemon::measure(&scratch, &registry, wanted.rounds)?,
            "run" => containers::measure(&scratch, wanted.rounds)?,
            "build" => {
                print_builds(&scratch, wanted.rounds)?;
                continue;
            }
            "look" => look(&mut peers, &scratch, wanted.rounds)?,
            case => interleaved(case, &mut peers, &scratch, &registry, wanted.rounds)?,
        };
        println!("{table}");
    }
    Ok(())
}

fn print_builds(scratch: &Scratch, rounds: usize) -> Result<()> {
    builds::measure(scratch, rounds)?.iter().for_each(|table| println!("{table}"));
    Ok(())
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Wanted>> {
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let mut wanted =
        Wanted { rounds: 5, cases: list(&CASES.join(",")), peers: list("shale,docker,podman,skopeo") };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--rounds" => wanted.rounds = value().parse()?,
            "--cases" => wanted.cases = list(&value()),
            "--peers" => wanted.peers = list(&value()),
            "build" => wanted.cases = list("build"),
            "--help" | "-h" => return Ok(None),
            other => bail!("unknown option: {other}\n\n{USAGE}"),
        }
    }
    if let Some(unknown) = wanted.cases.iter().find(|case| !CASES.contains(&case.as_str())) {
        bail!("there is no case {unknown}\n\n{USAGE}");
    }
    Ok(Some(wanted))
}

/// One measurement of each peer a round, in turn, so that a slow minute of the machine hits all of them.
fn interleaved(
    case: &str,
    peers: &mut [Peer],
    scratch: &Scratch,
    registry: &DockerRegistry,
    rounds: usize,
) -> Result<Table> {
    let mut costs: BTreeMap<&'static str, Vec<Cost>> = BTreeMap::new();
    let mut table = Table::new(case);
    for round in 0..rounds {
        for peer in peers.iter_mut().filter(|peer| peer.takes_part(case)) {
            measure::settle();
            match peer.measure(case, round, scratch, registry) {
                Ok(cost) => costs.entry(peer.name()).or_default().push(cost),
                Err(error) => table.note(format!("{}: {error:#}", peer.name())),
            }
        }
    }
    for (name, costs) in costs {
        table.add(name, measure::median(costs));
    }
    for peer in peers.iter().filter(|_| case.starts_with("push")) {
        if let Some(bytes) = peer.pushed_bytes() {
            table.note(format!("{}: {:.2} MB lie in the registry", peer.name(), bytes as f64 / 1e6));
        }
    }
    Ok(table)
}

/// The same pull with and without syncing, by turns.
fn durability(peers: &mut [Peer], registry: &DockerRegistry, rounds: usize) -> Result<Table> {
    let mut costs: BTreeMap<&'static str, Vec<Cost>> = BTreeMap::new();
    for shale in peers.iter_mut().filter(|peer| peer.name() == "shale") {
        for _ in 0..rounds {
            for (row, cost) in shale.durability(registry, "a")? {
                costs.entry(row).or_default().push(cost);
            }
        }
    }
    let mut table = Table::new("durable");
    costs.into_iter().for_each(|(row, costs)| table.add(row, measure::median(costs)));
    Ok(table)
}

/// `images` with 200 images and `inspect` of one: each many times, because each is short.
fn look(peers: &mut [Peer], scratch: &Scratch, rounds: usize) -> Result<Table> {
    let archive = input::two_hundred_images(scratch)?;
    let mut table = Table::new("look");
    for peer in peers.iter_mut().filter(|peer| peer.takes_part("look")) {
        match peer.look(&archive, rounds * 5) {
            Ok(rows) => rows.into_iter().for_each(|(what, cost)| table.add(&what, cost)),
            Err(error) => table.note(format!("{}: {error:#}", peer.name())),
        }
    }
    Ok(table)
}
