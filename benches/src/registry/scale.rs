//! A registry with much in it: 2,000 repositories, one of them with 4,000 tags, half of these on one manifest.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};
use shale_tests::http;
use shale_tests::scratch::Scratch;
use shale_tests::sha256_hex;

use crate::load;
use crate::server::Server;
use crate::table::{Figures, Table};

const REPOSITORIES: usize = 2000;
const TAGS: usize = 4000;
const BUSY: &str = "many/tags";

/// Measures each of `peers` from filling to a new start.
pub fn measure(peers: &[String]) -> Result<Table> {
    let mut table = Table::new("scale", "ms", "-");
    for name in peers.iter().filter(|name| *name != "nginx") {
        let scratch = Scratch::new("bench-scale");
        let server = Server::start(name, scratch.path())?;
        let mut row = |what: &str, ms: f64| {
            table.add(what, server.name(), Figures { rate: ms, ..Figures::default() });
        };
        row("start, empty", server.started().as_secs_f64() * 1000.0);
        row("push 2,000 repositories", timed(|| fill_repositories(&server.host()))?);
        row("push 4,000 tags", timed(|| fill_tags(&server.host()))?);
        for (what, path) in [
            ("catalog, first 100", "/v2/_catalog?n=100".to_owned()),
            ("catalog, last 100", "/v2/_catalog?n=100&last=repository/1890".to_owned()),
            ("tags, all", format!("/v2/{BUSY}/tags/list")),
            ("tags, first 100", format!("/v2/{BUSY}/tags/list?n=100")),
            ("tags, last 100", format!("/v2/{BUSY}/tags/list?n=100&last=t3890")),
        ] {
            row(what, best_of(5, || get(&server.host(), &path))?);
        }
        let shared = format!("/v2/{BUSY}/manifests/sha256:{}", sha256_hex(shared().as_bytes()));
        row("delete a manifest with 2,000 tags", timed(|| delete(&server.host(), &shared))?);
        let single = format!("/v2/{BUSY}/manifests/t3999");
        row("delete one tag", timed(|| delete(&server.host(), &single)).unwrap_or(f64::NAN));
        drop(server);
        let again = Server::start(name, scratch.path())?;
        table.add(
            "start with all of it",
            again.name(),
            Figures { rate: again.started().as_secs_f64() * 1000.0, ..Figures::default() },
        );
        if let Some(ms) = collect(&again)? {
            table.add("garbage collection", again.name(), Figures { rate: ms, ..Figures::default() });
        }
    }
    Ok(table)
}

fn timed(act: impl FnOnce() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    act()?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

fn best_of(times: usize, act: impl Fn() -> Result<()>) -> Result<f64> {
    let all = (0..times).map(|_| timed(&act)).collect::<Result<Vec<_>>>()?;
    Ok(all.into_iter().fold(f64::INFINITY, f64::min))
}

fn get(host: &str, path: &str) -> Result<()> {
    let answer = http::get(host, path)?;
    ensure!(answer.status == 200, "{path}: {}", answer.status);
    Ok(())
}

fn delete(host: &str, path: &str) -> Result<()> {
    let answer = http::request(host, "DELETE", path, &[], b"")?;
    ensure!(answer.status == 202, "{path}: {}", answer.status);
    Ok(())
}

const CONFIG: &[u8] = b"{\"architecture\":\"amd64\",\"os\":\"linux\"}";
const LAYER: &[u8] = b"a layer";

fn push_blobs(host: &str, repository: &str) -> Result<()> {
    let mut stream = load::connect(host)?;
    for blob in [CONFIG, LAYER] {
        load::push(&mut stream, host, repository, &sha256_hex(blob), &[blob])?;
    }
    Ok(())
}

/// The manifest with a number in it, so that it is another one each time.
fn numbered(number: usize) -> String {
    let plain = load::manifest(CONFIG, LAYER);
    plain.replacen('{', &format!("{{\"annotations\":{{\"number\":\"{number}\"}},"), 1)
}

fn shared() -> String {
    numbered(usize::MAX)
}

fn fill_repositories(host: &str) -> Result<()> {
    in_four(REPOSITORIES, |number| {
        let repository = format!("repository/{number:04}");
        push_blobs(host, &repository)?;
        load::put_manifest(host, &repository, "latest", numbered(number).as_bytes())
    })
}

fn fill_tags(host: &str) -> Result<()> {
    push_blobs(host, BUSY)?;
    in_four(TAGS, |number| {
        let manifest = if number < TAGS / 2 { shared() } else { numbered(number) };
        load::put_manifest(host, BUSY, &format!("t{number:04}"), manifest.as_bytes())
    })
}

/// Calls `act` with each number below `count`, four at a time.
fn in_four(count: usize, act: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let act = &act;
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|first| scope.spawn(move || (first..count).step_by(4).try_for_each(act))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a client does not panic"))
    })
}

/// A full collection: while it serves with shale, beside the server with the distributions, which know no other way.
fn collect(server: &Server) -> Result<Option<f64>> {
    let folder = server.folder().display();
    let words = match server.name() {
        "shale" => {
            vec!["registry".to_owned(), "gc".to_owned(), "--root".to_owned(), format!("{folder}/root")]
        }
        "docker-registry" | "distribution" => {
            vec!["garbage-collect".to_owned(), "-m".to_owned(), format!("{folder}/config.yml")]
        }
        _ => return Ok(None),
    };
    let mut command = Command::new(crate::server::program_of(server.name())?);
    command.args(words).env("OTEL_TRACES_EXPORTER", "none");
    timed(|| {
        shale_tests::program::run(&mut command).success();
        Ok(())
    })
    .map(Some)
}
