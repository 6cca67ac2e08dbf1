//! Hostile requests, probe by probe: manifests that readers disagree on, digests and names that are paths, bodies that lie.
//!
//! The wanted answers are those of distribution-spec and RFC 9110 and 9112; where docker-registry 2.8.2 answers 500 or
//! takes what it should refuse, a comment says so.

use std::time::{Duration, Instant};

use crate::client::{OCI_INDEX, OCI_MANIFEST, Running, image, raw, sha256};

async fn with_image() -> Running {
    let server = Running::start().await;
    server.push_image("a", "v1", b"layer").await;
    server
}

async fn put(server: &Running, tag: &str, content_type: &str, body: &[u8]) -> crate::client::Answer {
    server.send("PUT", &format!("/v2/a/manifests/{tag}"), &[("Content-Type", content_type)], body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_with_two_meanings_are_refused() {
    let server = with_image().await;
    let good = image(b"layer");
    let digest = sha256(good.as_bytes());
    let with = |from: &str, to: &str| good.replacen(from, to, 1);
    let deep = format!("{}{}", r#"{"schemaVersion":2,"layers":"#, "[".repeat(100_000));
    for (name, body) in [
        ("an image and an index at once", with("\"layers\":", "\"manifests\":[],\"layers\":")),
        ("a layer whose digest is none", good.replace(&sha256(b"layer"), "sha256:zz")),
        ("a layer whose digest is a path", good.replace(&sha256(b"layer"), "sha256:../../../../etc/passwd")),
        // 2.8.2 takes both.
        ("a key that stands twice", with("\"layers\":", "\"layers\":[],\"layers\":")),
        ("a key in another case", with("\"layers\":", "\"Layers\":")),
        ("arrays 100,000 deep", deep),
        ("something behind the end", format!("{good}{{}}")),
        // 2.8.2 takes all of these.
        ("a negative size", with("\"size\":5", "\"size\":-5")),
        ("a size that is no integer", with("\"size\":5", "\"size\":5.5")),
        ("a size beyond any file", with("\"size\":5", "\"size\":18446744073709551616")),
        ("another size than the layer has", with("\"size\":5", "\"size\":6")),
        ("a URL that is a file", with("\"size\":5", "\"size\":5,\"urls\":[\"file:///etc/passwd\"]")),
        ("no object", "[]".to_owned()),
        ("nothing", String::new()),
    ] {
        let began = Instant::now();
        let answer = put(&server, "bad", OCI_MANIFEST, body.as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "MANIFEST_INVALID"), "{name}: {answer:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{name}");
    }
    server.get("/v2/a/manifests/bad").await.is(404);
    // Bytes that are no UTF-8 are no JSON (RFC 8259, section 8.1).
    let mut bytes = with("{", "{\"annotations\":{\"k\":\"?\"},").into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
    bytes[at] = 0xff;
    put(&server, "bad", OCI_MANIFEST, &bytes).await.is(400);
    // Too large, announced and unannounced; the answer arrives although the body is still being sent.
    let large = vec![b' '; 16 << 20];
    put(&server, "bad", OCI_MANIFEST, &large).await.is(413);
    let chunked = [("Content-Type", OCI_MANIFEST), ("Transfer-Encoding", "chunked")];
    server.send("PUT", "/v2/a/manifests/bad", &chunked, &large[..5 << 20]).await.is(413);
    // Not inflated, and not stored as what it is not.
    let headers = [("Content-Type", OCI_MANIFEST), ("Content-Encoding", "gzip")];
    server.send("PUT", "/v2/a/manifests/bad", &headers, b"\x1f\x8b\x08").await.is(400);
    assert_eq!(server.get("/v2/a/manifests/v1").await.header("Docker-Content-Digest"), digest);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_a_hundred_deep_is_kept_and_goes() {
    let server = with_image().await;
    let mut child = (sha256(image(b"layer").as_bytes()), image(b"layer").len(), OCI_MANIFEST);
    for depth in 0..100 {
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{}","digest":"{}","size":{}}}]}}"#,
            child.2, child.0, child.1
        );
        child = (sha256(index.as_bytes()), index.len(), OCI_INDEX);
        let name = if depth == 99 { "top" } else { &child.0 };
        put(&server, name, OCI_INDEX, index.as_bytes()).await.is(201);
    }
    let began = Instant::now();
    let top = server.get("/v2/a/manifests/top").await.is(200);
    assert_eq!(top.header("Docker-Content-Digest"), child.0);
    // The page of the tag walks down what it shows.
    let page = server.get("/ui/r/a/-/top").await;
    assert_eq!(page.status, 200, "{page:?}");
    server.send("DELETE", "/v2/a/manifests/top", &[], b"").await.is(202);
    assert!(began.elapsed() < Duration::from_secs(5));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_and_uploads_that_are_paths_find_nothing() {
    let server = with_image().await;
    let upper = sha256(b"layer").to_uppercase().replace("SHA256", "sha256");
    for digest in
        ["sha256:../../../../etc/passwd", "sha256:..%2f..%2fetc%2fpasswd", &upper, "sha256:", ":", "sha256"]
    {
        for (method, path) in [
            ("GET", format!("/v2/a/blobs/{digest}")),
            ("DELETE", format!("/v2/a/blobs/{digest}")),
            ("POST", format!("/v2/a/blobs/uploads/?digest={digest}")),
            ("GET", format!("/v2/a/referrers/{digest}")),
            ("PUT", format!("/v2/a/manifests/v1?tag={digest}%2f")),
        ] {
            let answer = server.send(method, &path, &[], b"").await;
            assert!(matches!(answer.status, 400 | 404), "{method} {path}: {answer:?}");
        }
        // A mount that cannot be ends in an upload.
        server
            .send("POST", &format!("/v2/a/blobs/uploads/?mount={digest}&from=../a"), &[], b"")
            .await
            .is(202);
    }
    server.send("POST", "/v2/a/blobs/uploads/?digest=a&digest=b", &[], b"").await.is(400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_ranges_never_answer_with_more_than_the_blob() {
    let server = Running::start().await;
    let digest = server.push_blob("a", &vec![7; 10_000]).await;
    let path = format!("/v2/a/blobs/{digest}");
    let many = (0..500).map(|_| "0-9999").collect::<Vec<_>>().join(",");
    for range in
        [format!("bytes={many}"), "bytes=0-0,-1".to_owned(), "bytes=,".to_owned(), "bytes=--1".to_owned()]
    {
        let answer = server.send("GET", &path, &[("Range", &range)], b"").await;
        assert!(matches!(answer.status, 200 | 206 | 416), "{range:.20}: {answer:?}");
        assert!(answer.body.len() <= 20_000);
    }
    let huge = "bytes=0-99999999999999999999999";
    let answer = server.send("GET", &path, &[("Range", huge)], b"").await;
    assert!(matches!(answer.status, 200 | 206), "{answer:?}");
    assert_eq!(answer.body.len(), 10_000);
    server.stop().await;
}

/// Sends `head` and `rest` as they are and returns the status.
async fn status_of(server: &Running, request: &[u8]) -> u16 {
    raw(server.address, request).await.unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_break_http_get_4xx() {
    let server = with_image().await;
    for length in ["+5", "5 5", "0x5", "-5", "5,6", "99999999999999999999"] {
        let request = format!(
            "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\nabcde"
        );
        assert_eq!(status_of(&server, request.as_bytes()).await, 400, "{length}");
    }
    let header = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    assert!(matches!(status_of(&server, header.as_bytes()).await, 400 | 431));
    // 2.8.2 answers 500 to a long path.
    let line =
        format!("GET /v2/{}/tags/list HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "a".repeat(60_000));
    assert!(matches!(status_of(&server, line.as_bytes()).await, 400 | 404 | 414));
    let line = format!("GET /v2/{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20));
    assert!(matches!(status_of(&server, line.as_bytes()).await, 400 | 404 | 414 | 431));
    for method in ["TRACE", "CONNECT", "NONSENSE", "get"] {
        let request = format!("{method} /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let status = status_of(&server, request.as_bytes()).await;
        assert!(matches!(status, 400 | 405 | 501), "{method}: {status}");
    }
    // A chunk whose length is none, in a body that an upload wants.
    let location =
        server.send("POST", "/v2/a/blobs/uploads/", &[], b"").await.is(202).header("Location").to_owned();
    let request = format!(
        "PATCH {location} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"
    );
    assert_eq!(status_of(&server, request.as_bytes()).await, 400);
    assert_eq!(server.get(&location).await.is(204).header("Range"), "0-0");
    // A name in an error is no page and no header.
    for name in ["<script>alert(1)</script>", "%3Cscript%3Ealert(1)%3C/script%3E"] {
        let request = format!("GET /v2/{name}/tags/list HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = raw(server.address, request.as_bytes()).await.unwrap();
        assert_eq!(answer.status, 400, "{name}");
        // The first does not get past the reader of HTTP, which answers without a body.
        assert!(answer.body.is_empty() || answer.header("Content-Type") == "application/json", "{answer:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("<script>"));
    }
    let request =
        "GET /v2/a/tags/list?n=1&last=%0d%0aX-Evil:%201 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = raw(server.address, request.as_bytes()).await.unwrap();
    assert!(answer.status < 500 && answer.header("X-Evil").is_empty());
    let request = "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\"><script>\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let answer = raw(server.address, request.as_bytes()).await.unwrap();
    assert!(!answer.header("Location").contains('<'), "{answer:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_10_kb_and_parts_that_climb_are_refused_everywhere() {
    let server = with_image().await;
    let long = "a".repeat(10_000);
    let names =
        [&long, "../../etc", "a/../../b", "..%2f..%2fetc", ".", "a/./b", "a\\..\\b", "a%5c..%5cb", "/etc"];
    for name in names {
        for path in [
            format!("/v2/{name}/tags/list"),
            format!("/v2/{name}/manifests/v1"),
            format!("/v2/a/manifests/{name}"),
            format!("/v2/{name}/blobs/{}", sha256(b"layer")),
            format!("/v2/a/blobs/{name}"),
            format!("/v2/{name}/blobs/uploads/"),
            format!("/v2/a/blobs/uploads/{name}"),
            format!("/v2/{name}/referrers/{}", sha256(b"layer")),
            format!("/v2/a/referrers/{name}"),
            format!("/ui/r/{name}"),
            format!("/ui/r/a/-/{name}"),
            format!("/api/v1/repositories/{name}"),
        ] {
            for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                );
                let answer = raw(server.address, request.as_bytes()).await.unwrap();
                // An upload may be asked to begin in a repository of any good name; none of these is one.
                assert!((300..500).contains(&answer.status), "{method} {path:.60}: {answer:?}");
            }
        }
    }
    server.get("/v2/a/manifests/v1").await.is(200);
    server.stop().await;
}
