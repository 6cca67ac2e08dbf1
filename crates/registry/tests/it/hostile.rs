//! Requests that nobody sends by accident.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{OCI_MANIFEST, Running, image, raw, sha256};

fn files(root: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_paths_get_4xx_and_write_nothing() {
    let server = Running::start().await;
    server.push_image("a", "v1", b"layer").await;
    let before = files(server.root.path()).len();
    let long = "a".repeat(9_000);
    for name in [
        "..",
        "a/../b",
        "%2e%2e/x",
        "UPPER",
        "a//b",
        "-a",
        &long,
        "a/…",
        "a%00b",
        "a%2fb",
        ".git",
        "a..b",
        "_uploads",
        "a/_layers/b",
    ] {
        for (method, rest) in [
            ("GET", "tags/list".to_owned()),
            ("PUT", "manifests/v1".to_owned()),
            ("POST", "blobs/uploads/".to_owned()),
            ("DELETE", format!("blobs/{}", sha256(b"x"))),
        ] {
            let request = format!(
                "{method} /v2/{name}/{rest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            );
            let answer = raw(server.address, request.as_bytes()).await.unwrap();
            assert!((400..500).contains(&answer.status), "{method} {name} {rest}: {answer:?}");
        }
    }
    for tag in ["..", "a%2fb", "-x", ".x", "a%0d%0aX-Evil:1", "%F0%9F%98%80", "sha256:abc", "a:b", "<script>"]
    {
        let request = format!(
            "PUT /v2/a/manifests/{tag} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = raw(server.address, request.as_bytes()).await.unwrap();
        assert_eq!(answer.status, 400, "{tag}: {answer:?}");
        assert!(answer.header("X-Evil").is_empty());
    }
    for upload in ["../../../../tmp/x", "00000000-0000-4000-8000-000000000000", "%2e%2e%2fx"] {
        let answer = server.send("PATCH", &format!("/v2/a/blobs/uploads/{upload}"), &[], b"x").await;
        assert!((400..=404).contains(&answer.status), "{upload}: {answer:?}");
    }
    assert_eq!(files(server.root.path()).len(), before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_two_meanings_are_refused() {
    let server = Running::start().await;
    for head in [
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde",
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nabcde",
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
    ] {
        let answer = raw(server.address, head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())
            .await
            .unwrap();
        assert_eq!(answer.status, 400, "{head}");
    }
    // Both: the chunks count, and the connection ends, so that nothing can hide behind them (RFC 9112, section 6.3).
    let both = b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = raw(server.address, both).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (202, 0));
    let many: String = (0..500).map(|n| format!("X-{n}: 1\r\n")).collect();
    let answer = raw(server.address, format!("GET /v2/ HTTP/1.1\r\n{many}\r\n").as_bytes()).await.unwrap();
    assert_eq!(answer.status, 431);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_can_be_resumed_also_after_a_restart() {
    let server = Running::start().await;
    let location =
        server.send("POST", "/v2/a/blobs/uploads/", &[], b"").await.is(202).header("Location").to_owned();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at / 3) as u8).collect();
    stream.write_all(&bytes[..40_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    let _ = stream.read(&mut [0; 1000]).await;
    drop(stream);
    let status = server.get(&location).await.is(204);
    assert_eq!(status.header("Range"), "0-39999");
    let root = server.stop().await;
    let server = Running::at(root, |_| {}).await;
    assert_eq!(server.get(&location).await.is(204).header("Range"), "0-39999");
    server.send("PATCH", &location, &[("Content-Range", "40000-99999")], &bytes[40_000..]).await.is(202);
    let digest = sha256(&bytes);
    server.send("PUT", &format!("{location}?digest={digest}"), &[], b"").await.is(201);
    assert!(server.get(&format!("/v2/a/blobs/{digest}")).await.is(200).body == bytes);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_sent_at_once_do_not_mix() {
    let server = Running::start().await;
    let location =
        server.send("POST", "/v2/a/blobs/uploads/", &[], b"").await.is(202).header("Location").to_owned();
    let bodies: Vec<Vec<u8>> = (0..8_u8).map(|byte| vec![byte; 100_000]).collect();
    let sent =
        bodies.iter().map(|body| server.send("PATCH", &location, &[("Content-Range", "0-99999")], body));
    let answers = futures_join(sent).await;
    assert_eq!(answers.iter().filter(|status| **status == 202).count(), 1);
    assert_eq!(answers.iter().filter(|status| **status == 416).count(), 7);
    let winner = answers.iter().position(|status| *status == 202).unwrap();
    let digest = sha256(&bodies[winner]);
    server.send("PUT", &format!("{location}?digest={digest}"), &[], b"").await.is(201);
    server.stop().await;
}

async fn futures_join(sent: impl Iterator<Item = impl Future<Output = crate::client::Answer>>) -> Vec<u16> {
    let mut sent: Vec<_> = sent.map(|future| Some(Box::pin(future))).collect();
    let mut statuses = vec![0; sent.len()];
    std::future::poll_fn(|context| {
        for (slot, status) in sent.iter_mut().zip(&mut statuses) {
            if let Some(future) = slot
                && let std::task::Poll::Ready(answer) = future.as_mut().poll(context)
            {
                *status = answer.status;
                *slot = None;
            }
        }
        if sent.iter().all(Option::is_none) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_are_closed_and_others_are_served() {
    let server = Running::with(|config| {
        config.limits.header_timeout = Duration::from_secs(2);
        config.limits.idle_timeout = Duration::from_secs(5);
    })
    .await;
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost:").await.unwrap();
        }
        slow.push(stream);
    }
    let began = Instant::now();
    server.get("/v2/").await.is(200);
    assert!(began.elapsed() < Duration::from_secs(1));
    for mut stream in slow {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(8), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_twenty_push_at_once_is_one_of_theirs() {
    let server = Running::start().await;
    server.push_blob("a", b"{}").await;
    let layers: Vec<Vec<u8>> = (0..20_u8).map(|byte| vec![byte; 10]).collect();
    let manifests: Vec<String> = layers.iter().map(|layer| image(layer)).collect();
    let headers = [("Content-Type", OCI_MANIFEST)];
    let sent =
        manifests.iter().map(|body| server.send("PUT", "/v2/a/manifests/t", &headers, body.as_bytes()));
    assert!(futures_join(sent).await.iter().all(|status| *status == 201));
    let last = server.get("/v2/a/manifests/t").await.is(200).body;
    assert!(manifests.iter().any(|manifest| manifest.as_bytes() == last));
    server.stop().await;
}
