//! Measures `shale registry serve` beside other registries, with nginx serving the same bytes as the ceiling.

mod load;
mod scale;
mod server;
mod table;

use std::time::Duration;

use anyhow::{Result, bail};
use shale_tests::scratch::Scratch;

use crate::server::{Charge, PEERS, Server};
use crate::table::{Figures, Table};

const USAGE: &str = "\
Usage:  cargo xtask bench registry [--rounds N] [--seconds N] [--cases LIST] [--peers LIST]

Options:
  --rounds N     How often each measurement is made; the median counts (default 3)
  --seconds N    How long each measurement of downloads takes (default 2)
  --cases LIST   Of small,large,push,scale,idle (default all)
                   small  a manifest by tag and by digest, a blob of 1.5 kB, at 1, 8 and 64 connections
                   large  a blob of 100 MB at 1, 8 and 64 connections
                   push   blobs of 100 MB, 1 and 8 at a time
                   scale  2,000 repositories and 4,000 tags: lists, delete, garbage collection, start
                   idle   memory under 10,000 connections that say nothing
  --peers LIST   Of shale,docker-registry,distribution,zot,nginx (default those that are here)
";

const CASES: [&str; 5] = ["small", "large", "push", "scale", "idle"];

/// A large blob.
const LARGE_BYTES: usize = 100 << 20;

/// What the command line asks for.
struct Wanted {
    rounds: usize,
    seconds: u64,
    cases: Vec<String>,
    peers: Vec<String>,
}

fn main() -> Result<()> {
    let Some(wanted) = parse(std::env::args().skip(1))? else {
        print!("{USAGE}");
        return Ok(());
    };
    for case in &wanted.cases {
        let table = match case.as_str() {
            "small" => small(&wanted)?,
            "large" => large(&wanted)?,
            "push" => push(&wanted)?,
            "idle" => idle(&wanted)?,
            _ => scale::measure(&wanted.peers)?,
        };
        println!("{table}");
    }
    Ok(())
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Wanted>> {
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let here = PEERS.into_iter().filter(|name| server::is_here(name)).map(str::to_owned).collect();
    let mut wanted = Wanted { rounds: 3, seconds: 2, cases: list(&CASES.join(",")), peers: here };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--rounds" => wanted.rounds = value().parse()?,
            "--seconds" => wanted.seconds = value().parse()?,
            "--cases" => wanted.cases = list(&value()),
            "--peers" => wanted.peers = list(&value()),
            "--help" | "-h" => return Ok(None),
            other => bail!("unknown option: {other}\n\n{USAGE}"),
        }
    }
    if let Some(unknown) = wanted.cases.iter().find(|case| !CASES.contains(&case.as_str())) {
        bail!("there is no case {unknown}\n\n{USAGE}");
    }
    Ok(Some(wanted))
}

/// Starts the peers, each with an image of a small manifest, a config of 1.5 kB and a layer of 100 MB.
fn start(wanted: &Wanted, scratch: &Scratch, large: bool) -> Result<Vec<(Server, load::Image)>> {
    let config: Vec<u8> = (0..1500).map(|at: u32| (at * 7 % 251) as u8).collect();
    let layer = load::random(if large { LARGE_BYTES } else { 1 << 10 });
    let mut servers = Vec::new();
    for name in &wanted.peers {
        let server = Server::start(name, &scratch.folder(name))?;
        let image = server.publish(&config, &layer)?;
        servers.push((server, image));
    }
    Ok(servers)
}

/// Measures every peer in turn, `rounds` times, so that a slow moment of the machine hits all of them.
fn interleaved(
    table: &mut Table,
    what: &str,
    rounds: usize,
    servers: &[(Server, load::Image)],
    measure: impl Fn(&Server, &load::Image, usize) -> Result<Figures>,
) -> Result<()> {
    let mut figures: Vec<Vec<Figures>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for ((server, image), figures) in servers.iter().zip(&mut figures) {
            figures.push(measure(server, image, round)?);
        }
    }
    for ((server, _), figures) in servers.iter().zip(figures) {
        table.add(what, server.name(), table::median(&figures));
    }
    Ok(())
}

fn small(wanted: &Wanted) -> Result<Table> {
    let scratch = Scratch::new("bench-small");
    let servers = start(wanted, &scratch, false)?;
    let mut table = Table::new("small", "req/s", "us cpu/req");
    for what in ["manifest by tag", "manifest by digest", "blob of 1.5 kB"] {
        for connections in [1, 8, 64] {
            let row = format!("{what}, c{connections}");
            interleaved(&mut table, &row, wanted.rounds, &servers, |server, image, _| {
                let charge = Charge::begin(server);
                let path = match what {
                    "manifest by tag" => &image.by_tag,
                    "manifest by digest" => &image.by_digest,
                    _ => &image.config,
                };
                let requests = load::wrk(&server.host(), path, connections, wanted.seconds)?;
                let (cpu_s, peak_mb) = charge.end(server);
                let all = requests * wanted.seconds as f64;
                Ok(Figures { rate: requests, cpu: cpu_s / all.max(1.0) * 1e6, peak_mb })
            })?;
        }
    }
    Ok(table)
}

fn large(wanted: &Wanted) -> Result<Table> {
    let scratch = Scratch::new("bench-large");
    let servers = start(wanted, &scratch, true)?;
    let mut table = Table::new("large", "MB/s", "s cpu/GB");
    for connections in [1, 8, 64] {
        let what = format!("blob of 100 MB, c{connections}");
        interleaved(&mut table, &what, wanted.rounds, &servers, |server, image, _| {
            let charge = Charge::begin(server);
            let time = Duration::from_secs(wanted.seconds);
            let (bytes, seconds) = load::get(&server.host(), &image.layer, connections, time)?;
            let (cpu_s, peak_mb) = charge.end(server);
            let gigabytes = bytes as f64 / 1e9;
            Ok(Figures { rate: bytes as f64 / 1e6 / seconds, cpu: cpu_s / gigabytes, peak_mb })
        })?;
    }
    Ok(table)
}

fn push(wanted: &Wanted) -> Result<Table> {
    let scratch = Scratch::new("bench-push");
    let mut peers = Vec::new();
    for name in wanted.peers.iter().filter(|name| *name != "nginx") {
        peers.push((Server::start(name, &scratch.folder(name))?, load::Image::default()));
    }
    let blob = load::random(LARGE_BYTES);
    let mut table = Table::new("push", "MB/s", "s cpu/GB");
    for (at_once, each) in [(1, 4), (8, 1)] {
        let what = format!("blobs of 100 MB, {at_once} at a time");
        interleaved(&mut table, &what, wanted.rounds, &peers, |server, _, round| {
            let blobs = load::salted(&blob, at_once, each, round);
            rustix::fs::sync();
            let charge = Charge::begin(server);
            let seconds = load::push_all(&server.host(), &blob, &blobs)?;
            let (cpu_s, peak_mb) = charge.end(server);
            let bytes = (LARGE_BYTES * at_once * each) as f64;
            Ok(Figures { rate: bytes / 1e6 / seconds, cpu: cpu_s / (bytes / 1e9), peak_mb })
        })?;
    }
    Ok(table)
}

fn idle(wanted: &Wanted) -> Result<Table> {
    let scratch = Scratch::new("bench-idle");
    let mut table = Table::new("idle", "connections", "-");
    for name in &wanted.peers {
        let server = Server::start(name, &scratch.folder(name))?;
        let charge = Charge::begin(&server);
        let connections = load::open_many(&server.host(), 10_000);
        let (_, peak_mb) = charge.end(&server);
        let figures = Figures { rate: connections.len() as f64, cpu: 0.0, peak_mb };
        table.add("idle connections", server.name(), figures);
    }
    Ok(table)
}
