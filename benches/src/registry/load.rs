//! The clients: wrk for small answers, sockets whose bytes the kernel drops for large ones, pushes from memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{RecvFlags, recv};
use sha2::{Digest, Sha256};
use shale_tests::http;
use shale_tests::program::{require, run};
use shale_tests::sha256_hex;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The paths of an image.
#[derive(Debug, Default, Clone)]
pub struct Image {
    pub by_tag: String,
    pub by_digest: String,
    pub config: String,
    pub layer: String,
}

impl Image {
    /// The paths of an image in `repository`.
    pub fn new(repository: &str, tag: &str, manifest: &[u8], config: &[u8], layer: &[u8]) -> Self {
        let blob = |bytes: &[u8]| format!("/v2/{repository}/blobs/sha256:{}", sha256_hex(bytes));
        let manifests = format!("/v2/{repository}/manifests");
        Self {
            by_tag: format!("{manifests}/{tag}"),
            by_digest: format!("{manifests}/sha256:{}", sha256_hex(manifest)),
            config: blob(config),
            layer: blob(layer),
        }
    }
}

/// The manifest of an image of one layer.
pub fn manifest(config: &[u8], layer: &[u8]) -> String {
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": format!("sha256:{}", sha256_hex(config)),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": format!("sha256:{}", sha256_hex(layer)),
            "size": layer.len(),
        }],
    })
    .to_string()
}

/// Bytes that no file system can make smaller, the same on every run.
pub fn random(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // Source: xorshift64*, S. Vigna.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Requests per second of `GET path`.
pub fn wrk(host: &str, path: &str, connections: usize, seconds: u64) -> Result<f64> {
    let threads = connections.min(2);
    let mut command = Command::new(require("wrk", "wrk"));
    command.args([format!("-t{threads}"), format!("-c{connections}"), format!("-d{seconds}s")]);
    command.arg("-H").arg(format!("Accept: {MANIFEST}"));
    let said = run(command.arg(format!("http://{host}{path}"))).success();
    if said.contains("Non-2xx") || said.contains("Socket errors") {
        bail!("{path}: {said}");
    }
    let line = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    Ok(line.with_context(|| format!("wrk said {said}"))?.trim().parse()?)
}

/// Bytes that `connections` clients got from `path`, and the seconds that it took; the last answers are read to their end.
pub fn get(host: &str, path: &str, connections: usize, time: Duration) -> Result<(u64, f64)> {
    let began = Instant::now();
    let bytes = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(move || -> Result<u64> {
                    let mut stream = connect(host)?;
                    let mut bytes = 0;
                    while began.elapsed() < time {
                        bytes += get_once(&mut stream, host, path)?;
                    }
                    Ok(bytes)
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client does not panic")).sum::<Result<u64>>()
    })?;
    Ok((bytes, began.elapsed().as_secs_f64()))
}

/// A connection as Go's clients have it: without `TCP_NODELAY` a small body behind its head waits 40 ms for a delayed
/// acknowledgement.
pub fn connect(host: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(host)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Writes the head of a request in one piece.
fn send_head(stream: &mut TcpStream, request: &str, host: &str, fields: &str) -> std::io::Result<()> {
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").as_bytes())
}

fn get_once(stream: &mut TcpStream, host: &str, path: &str) -> Result<u64> {
    send_head(stream, &format!("GET {path}"), host, "")?;
    let (length, mut received) = read_head(stream)?;
    let mut scrap = vec![0; 4 << 20];
    while received < length {
        let most = scrap.len().min(usize::try_from(length - received)?);
        // TRUNC on TCP: the kernel drops the bytes instead of copying them, so the client costs almost nothing.
        let (_, count) = recv(&*stream, &mut scrap[..most], RecvFlags::TRUNC)?;
        ensure!(count > 0, "the server closed after {received} of {length} bytes");
        received += count as u64;
    }
    Ok(length)
}

/// Reads the head of an answer of 200; returns its Content-Length and how much of the body came with it.
fn read_head(stream: &mut TcpStream) -> Result<(u64, u64)> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = stream.read(&mut part)?;
        ensure!(count > 0, "the server closed");
        bytes.extend(&part[..count]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        ensure!(head.starts_with("http/1.1 20"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        return Ok((length.map_or(Ok(0), |text| text.trim().parse())?, (bytes.len() - end - 4) as u64));
    }
}

/// A blob that differs from a large one in its first bytes.
pub struct Salted {
    first: [u8; 32],
    digest: String,
}

/// For each of `at_once` clients `each` blobs that were never pushed.
pub fn salted(blob: &[u8], at_once: usize, each: usize, round: usize) -> Vec<Vec<Salted>> {
    let make = |client: usize, number: usize| {
        let mut first = [0; 32];
        let salt = format!("{at_once} {round} {client} {number}");
        first[..salt.len()].copy_from_slice(salt.as_bytes());
        let digest = Sha256::new().chain_update(first).chain_update(&blob[first.len()..]).finalize();
        Salted { first, digest: hex::encode(digest) }
    };
    (0..at_once).map(|client| (0..each).map(|number| make(client, number)).collect()).collect()
}

/// Pushes the blobs of all clients at once; returns the seconds that it took.
pub fn push_all(host: &str, blob: &[u8], clients: &[Vec<Salted>]) -> Result<f64> {
    let began = Instant::now();
    std::thread::scope(|scope| {
        let running: Vec<_> = clients
            .iter()
            .map(|blobs| {
                scope.spawn(move || -> Result<()> {
                    let mut stream = connect(host)?;
                    for salted in blobs {
                        let parts = [&salted.first[..], &blob[salted.first.len()..]];
                        push(&mut stream, host, "bench/push", &salted.digest, &parts)?;
                    }
                    Ok(())
                })
            })
            .collect();
        running.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
    })?;
    Ok(began.elapsed().as_secs_f64())
}

/// Pushes a blob as docker does: POST, PATCH, PUT.
pub fn push(
    stream: &mut TcpStream,
    host: &str,
    repository: &str,
    digest: &str,
    parts: &[&[u8]],
) -> Result<()> {
    send_head(stream, &format!("POST /v2/{repository}/blobs/uploads/"), host, "Content-Length: 0\r\n")?;
    let upload = location(stream)?;
    let length: usize = parts.iter().map(|part| part.len()).sum();
    send_head(stream, &format!("PATCH {upload}"), host, &format!("Content-Length: {length}\r\n"))?;
    parts.iter().try_for_each(|part| stream.write_all(part))?;
    let upload = location(stream)?;
    let sign = if upload.contains('?') { '&' } else { '?' };
    let request = format!("PUT {upload}{sign}digest=sha256:{digest}");
    send_head(stream, &request, host, "Content-Length: 0\r\n")?;
    location(stream).map(drop)
}

/// Reads an answer; returns its Location without scheme and host.
fn location(stream: &mut TcpStream) -> Result<String> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let end = loop {
        let count = stream.read(&mut part)?;
        ensure!(count > 0, "the server closed: {}", String::from_utf8_lossy(&bytes));
        bytes.extend(&part[..count]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    ensure!(head.starts_with("HTTP/1.1 20"), "{}", String::from_utf8_lossy(&bytes));
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("location:"));
    let value = line.with_context(|| format!("no Location: {head}"))?[9..].trim().to_owned();
    Ok(match value.strip_prefix("http://") {
        Some(rest) => rest[rest.find('/').context("a URL has a path")?..].to_owned(),
        None => value,
    })
}

/// Pushes a manifest.
pub fn put_manifest(host: &str, repository: &str, reference: &str, manifest: &[u8]) -> Result<()> {
    let path = format!("/v2/{repository}/manifests/{reference}");
    let answer = http::request(host, "PUT", &path, &[("Content-Type", MANIFEST)], manifest)?;
    ensure!(answer.status == 201, "{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
    Ok(())
}

/// Opens as many connections as it can, up to `count`, each of which has had one answer.
pub fn open_many(host: &str, count: usize) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = connect(host).ok()?;
        send_head(&mut stream, "GET /v2/", host, "").ok()?;
        (stream.read(&mut [0; 4096]).ok()? > 0).then_some(stream)
    };
    let streams = (0..count).map_while(open).collect();
    std::thread::sleep(Duration::from_secs(3));
    streams
}
