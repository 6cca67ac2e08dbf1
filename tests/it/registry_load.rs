//! What a crowd, or one client that wants to, can make of `shale registry serve`: its memory stays bounded, and others are
//! answered.
//!
//! The counts are small; `SHALE_TEST_LOAD=1` takes those of the promises (and wants a release build for their memory).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shale_tests::http;
use shale_tests::peer::{Guard, ShaleRegistry};
use shale_tests::program::resident_peak_kib;
use shale_tests::scratch::Scratch;
use shale_tests::sha256_hex;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What a debug build may have on top of a promise's memory.
const DEBUG_KIB: u64 = 40 << 10;

/// `small`, or `full` when the promises are measured.
fn count(small: usize, full: usize) -> usize {
    if std::env::var_os("SHALE_TEST_LOAD").is_some() { full } else { small }
}

/// Fails when the server ever had more than `mebibytes`.
#[track_caller]
fn assert_peak_below(server: &ShaleRegistry, mebibytes: u64) {
    let (peak_kib, slack_kib) = (resident_peak_kib(server.pid()), count(1, 0) as u64 * DEBUG_KIB);
    println!("peak {} MiB", peak_kib >> 10);
    assert!(peak_kib < (mebibytes << 10) + slack_kib, "the registry took {peak_kib} KiB");
}

/// A connection on which nothing waits for ever.
fn connect(server: &ShaleRegistry) -> TcpStream {
    let stream = TcpStream::connect(server.host()).expect("the registry listens");
    stream.set_read_timeout(Some(Duration::from_secs(90))).expect("a socket has a timeout");
    stream.set_write_timeout(Some(Duration::from_secs(90))).expect("a socket has a timeout");
    stream
}

/// Reads the head of an answer; returns its status and its Location.
fn head(stream: &mut TcpStream) -> std::io::Result<(u16, String)> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&bytes).to_string();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let location = text.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap_or("");
    Ok((status, location.to_owned()))
}

fn start_upload(stream: &mut TcpStream) -> String {
    write!(stream, "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .expect("the registry reads");
    let (status, location) = head(stream).expect("the registry answers");
    assert_eq!(status, 202);
    location
}

/// Another client is served within a second.
#[track_caller]
fn assert_answers(server: &ShaleRegistry) {
    let began = Instant::now();
    assert_eq!(http::get(&server.host(), "/v2/").expect("the registry answers").status, 200);
    // A machine that does much else takes its time too.
    assert!(began.elapsed() < Duration::from_secs(5), "answered after {:?}", began.elapsed());
}

/// As many descriptors as this process may have; the registry must see to its own.
fn raise_own_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("up to the maximum");
}

#[test]
fn connections_that_wait_cost_little() {
    let scratch = Scratch::new("load-idle");
    let server = ShaleRegistry::start(scratch.path(), Guard::Open);
    raise_own_limit();
    let connections: Vec<TcpStream> = (0..count(2000, 10_000))
        .map(|_| {
            let mut stream = connect(&server);
            stream.write_all(b"HEAD /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").expect("the registry reads");
            assert_eq!(head(&mut stream).expect("the registry answers").0, 200);
            stream
        })
        .collect();
    assert_answers(&server);
    assert_peak_below(&server, count(40, 100) as u64);
    // They are served when they go on.
    for mut stream in connections.into_iter().step_by(100) {
        stream.write_all(b"HEAD /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").expect("the registry reads");
        assert_eq!(head(&mut stream).expect("the registry answers").0, 200);
    }
}

#[test]
fn pushes_at_once_share_their_memory() {
    let scratch = Scratch::new("load-push");
    let server = ShaleRegistry::start(scratch.path(), Guard::Open);
    let body = vec![7; 8 << 20];
    std::thread::scope(|scope| {
        for number in 0..count(24, 200) {
            let (server, body) = (&server, &body);
            scope.spawn(move || {
                let first = format!("{number:08}");
                let mut whole = first.clone().into_bytes();
                whole.extend_from_slice(body);
                let digest = sha256_hex(&whole);
                drop(whole);
                let mut stream = connect(server);
                let upload = start_upload(&mut stream);
                let length = first.len() + body.len();
                write!(
                    stream,
                    "PUT {upload}?digest=sha256:{digest} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{first}"
                )
                .expect("the registry reads");
                stream.write_all(body).expect("the registry reads");
                assert_eq!(head(&mut stream).expect("the registry answers").0, 201);
            });
        }
    });
    assert_peak_below(&server, count(100, 200) as u64);
}

#[test]
fn large_manifests_at_once_wait_for_their_turn() {
    let scratch = Scratch::new("load-manifests");
    let server = ShaleRegistry::start(scratch.path(), Guard::Open);
    std::thread::scope(|scope| {
        for number in 0..count(8, 30) {
            let server = &server;
            scope.spawn(move || {
                let annotations: Vec<String> =
                    (0..300).map(|key| format!("\"{key}\":\"{}\"", "x".repeat(10_000))).collect();
                let manifest = format!(
                    "{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[],\"annotations\":{{\"n\":\"{number}\",{}}}}}",
                    annotations.join(",")
                );
                let path = format!("/v2/a/manifests/t{number}");
                let headers = [("Content-Type", INDEX)];
                let answer = http::request(&server.host(), "PUT", &path, &headers, manifest.as_bytes());
                assert_eq!(answer.expect("the registry answers").status, 201);
            });
        }
    });
    assert_peak_below(&server, 150);
}

#[test]
fn slow_heads_and_bodies_hold_nobody_up() {
    let scratch = Scratch::new("load-slow");
    let server = ShaleRegistry::start(scratch.path(), Guard::Open);
    let mut slow = Vec::new();
    for number in 0..count(100, 400) {
        let mut stream = connect(&server);
        if number % 2 == 0 {
            stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost:").expect("the registry reads");
        } else {
            let upload = start_upload(&mut stream);
            write!(stream, "PATCH {upload} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nslow")
                .expect("the registry reads");
        }
        slow.push(stream);
        if number % 20 == 0 {
            assert_answers(&server);
        }
    }
    assert_answers(&server);
    assert_peak_below(&server, 60);
}

#[test]
fn bodies_without_an_end_are_cut_off() {
    let scratch = Scratch::new("load-endless");
    let server = ShaleRegistry::start(scratch.path(), Guard::Open);
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    // More than any of them may read.
    let chunks = count(100, 400);
    for (method, path) in [("PUT", "/v2/a/manifests/v1"), ("POST", "/token"), ("POST", "/ui/login")] {
        let mut stream = connect(&server);
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {MANIFEST}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        .expect("the registry reads");
        let sent = (0..chunks).take_while(|_| stream.write_all(chunk.as_bytes()).is_ok()).count();
        assert!(sent < chunks, "{method} {path} took {sent} MiB");
    }
    assert_answers(&server);
    assert_peak_below(&server, 60);
}

#[test]
fn a_repository_of_many_tags_is_listed_page_by_page_and_emptied() {
    let scratch = Scratch::new("load-tags");
    let server = ShaleRegistry::start(scratch.path(), Guard::Open);
    let manifest = format!("{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[]}}");
    let digest = sha256_hex(manifest.as_bytes());
    let total = count(5000, 100_000);
    for first in (0..total).step_by(100) {
        let tags: Vec<String> = (first..first + 100).map(|number| format!("tag=t{number:06}")).collect();
        let path = format!("/v2/a/manifests/sha256:{digest}?{}", tags.join("&"));
        let headers = [("Content-Type", INDEX)];
        let answer = http::request(&server.host(), "PUT", &path, &headers, manifest.as_bytes());
        assert_eq!(answer.expect("the registry answers").status, 201);
    }
    let (mut path, mut listed) = ("/v2/a/tags/list?n=1000".to_owned(), Vec::new());
    loop {
        let answer = http::get(&server.host(), &path).expect("the registry answers");
        let page: serde_json::Value = serde_json::from_slice(&answer.body).expect("a list is JSON");
        listed.extend(
            page["tags"].as_array().expect("tags").iter().map(|tag| tag.as_str().unwrap_or("").to_owned()),
        );
        let Some(link) = answer.header("link") else { break };
        path = link[1..link.find('>').expect("a link has an end")].to_owned();
    }
    let expected: Vec<String> = (0..total).map(|number| format!("t{number:06}")).collect();
    assert!(listed == expected, "{} tags were listed", listed.len());
    // Without a number of results there is a limit all the same.
    let answer = http::get(&server.host(), "/v2/a/tags/list").expect("the registry answers");
    assert!(answer.body.len() < 200_000, "{} bytes", answer.body.len());
    assert_eq!(http::get(&server.host(), "/ui/r/a").expect("the registry answers").status, 200);
    let path = format!("/v2/a/manifests/sha256:{digest}");
    let answer = http::request(&server.host(), "DELETE", &path, &[], b"").expect("the registry answers");
    assert_eq!(answer.status, 202);
    let answer = http::get(&server.host(), "/v2/a/tags/list").expect("the registry answers");
    assert!(!String::from_utf8_lossy(&answer.body).contains("t000000"));
    assert_peak_below(&server, 100);
}
