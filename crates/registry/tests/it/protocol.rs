//! The tables of the distribution specification and of its conformance suite, case by case.

use crate::client::{Answer, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Running, image, sha256, sha512};

const RANDOM: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

type Hash = fn(&[u8]) -> String;

async fn upload(server: &Running) -> String {
    let answer = server.send("POST", "/v2/c/r1/blobs/uploads/", &[], b"").await.is(202);
    assert_eq!(answer.header("Range"), "0-0");
    assert!(!answer.header("Docker-Upload-UUID").is_empty());
    let location = answer.header("Location").to_owned();
    assert!(location.starts_with("/v2/c/r1/blobs/uploads/") && !location.contains('?'), "{location}");
    location
}

async fn is_whole(server: &Running, repository: &str, digest: &str, bytes: &[u8]) {
    let path = format!("/v2/{repository}/blobs/{digest}");
    let head = server.send("HEAD", &path, &[], b"").await.is(200);
    assert_eq!(head.header("Content-Length"), bytes.len().to_string());
    assert_eq!(head.header("Docker-Content-Digest"), digest);
    let got = server.get(&path).await.is(200);
    assert_eq!(got.header("Content-Length"), bytes.len().to_string());
    assert_eq!(got.header("ETag"), format!("\"{digest}\""));
    assert!(got.body == bytes);
}

#[track_caller]
fn created(answer: &Answer, digest: &str) {
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("Docker-Content-Digest"), digest);
    assert!(answer.header("Location").ends_with(digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_pushing_a_blob_ends_in_the_same_blob() {
    let server = Running::start().await;
    for hash in [sha256 as Hash, sha512] {
        // Above and below what is kept in memory, and more than one batch of the writer.
        for (number, length) in [0, 1, 2, 2048, 40_000, 700_000].into_iter().enumerate() {
            let body = |salt: u8| -> Vec<u8> {
                let seed = salt.wrapping_mul(37).wrapping_add(u8::try_from(number).unwrap());
                (0..length).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect()
            };
            // One POST.
            let bytes = body(1);
            let digest = hash(&bytes);
            let path = format!("/v2/c/r1/blobs/uploads/?digest={digest}");
            created(&server.send("POST", &path, &[], &bytes).await, &digest);
            is_whole(&server, "c/r1", &digest, &bytes).await;
            // POST and PUT.
            let bytes = body(2);
            let digest = hash(&bytes);
            let path = format!("{}?digest={digest}", upload(&server).await);
            created(&server.send("PUT", &path, &[], &bytes).await, &digest);
            is_whole(&server, "c/r1", &digest, &bytes).await;
            // Streamed, without Content-Range.
            let bytes = body(3);
            let digest = hash(&bytes);
            let location = upload(&server).await;
            server.send("PATCH", &location, &[("Transfer-Encoding", "chunked")], &bytes).await.is(202);
            created(&server.send("PUT", &format!("{location}?digest={digest}"), &[], b"").await, &digest);
            is_whole(&server, "c/r1", &digest, &bytes).await;
            // Chunks, the last one in the PUT.
            let bytes = body(4);
            let digest = hash(&bytes);
            let location = upload(&server).await;
            if bytes.len() >= 4 {
                let third = bytes.len() / 3;
                for (at, chunk) in [(0, &bytes[..third]), (third, &bytes[third..2 * third])] {
                    let range = format!("{at}-{}", at + third - 1);
                    let headers = [("Content-Range", range.as_str())];
                    let answer = server.send("PATCH", &location, &headers, chunk).await.is(202);
                    assert_eq!(answer.header("Range"), format!("0-{}", at + third - 1));
                }
                let range = format!("{}-{}", 2 * third, bytes.len() - 1);
                let headers = [("Content-Range", range.as_str())];
                let path = format!("{location}?digest={digest}");
                created(&server.send("PUT", &path, &headers, &bytes[2 * third..]).await, &digest);
                is_whole(&server, "c/r1", &digest, &bytes).await;
            }
            server.send("DELETE", &format!("/v2/c/r1/blobs/{digest}"), &[], b"").await;
            server.send("HEAD", &format!("/v2/c/r1/blobs/{digest}"), &[], b"").await.is(404);
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_out_of_order_are_refused_and_the_upload_goes_on() {
    let server = Running::start().await;
    let location = upload(&server).await;
    let patch = |range: &'static str, bytes: &'static [u8]| {
        let (server, location) = (&server, location.clone());
        async move { server.send("PATCH", &location, &[("Content-Range", range)], bytes).await }
    };
    patch("0-3", b"abcd").await.is(202);
    for range in ["0-3", "8-11", "3-6"] {
        let answer = patch(range, b"wxyz").await.is(416);
        assert_eq!(answer.header("Location"), location);
        assert_eq!(answer.header("Range"), "0-3");
    }
    patch("4-4", b"xx").await.is(400);
    patch("nonsense", b"xx").await.is(400);
    let status = server.get(&location).await.is(204);
    assert_eq!((status.header("Range"), status.header("Location")), ("0-3", location.as_str()));
    let digest = sha256(b"abcdefgh");
    let path = format!("{location}?digest={digest}");
    server.send("PUT", &path, &[("Content-Range", "0-3")], b"efgh").await.is(416);
    created(&server.send("PUT", &path, &[("Content-Range", "4-7")], b"efgh").await, &digest);
    is_whole(&server, "c/r1", &digest, b"abcdefgh").await;
    server.get(&location).await.is(404);
    server.send("PUT", &path, &[], b"").await.is(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_digests_publish_nothing() {
    let server = Running::start().await;
    for digest in [RANDOM.to_owned(), sha512(b"other")] {
        let path = format!("/v2/c/r1/blobs/uploads/?digest={digest}");
        assert_eq!(server.send("POST", &path, &[], b"bytes").await.is(400).code(), "DIGEST_INVALID");
        let location = upload(&server).await;
        let path = format!("{location}?digest={digest}");
        assert_eq!(server.send("PUT", &path, &[], b"bytes").await.is(400).code(), "DIGEST_INVALID");
        server.get(&format!("/v2/c/r1/blobs/{digest}")).await.is(404);
        // The bytes are here; whoever miscounted may say the right digest.
        let path = format!("{location}?digest={}", sha256(b"bytes"));
        server.send("PUT", &path, &[], b"").await.is(201);
    }
    let location = upload(&server).await;
    for query in ["", "?digest=", "?digest=sha256:..", "?digest=md5:00"] {
        assert_eq!(
            server.send("PUT", &format!("{location}{query}"), &[], b"").await.is(400).code(),
            "DIGEST_INVALID"
        );
    }
    let twice = format!("{location}?digest={0}&digest={0}", sha256(b""));
    server.send("PUT", &twice, &[], b"").await.is(400);
    server.send("DELETE", &location, &[], b"").await.is(204);
    server.get(&location).await.is(404);
    server.send("DELETE", &location, &[], b"").await.is(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_belong_to_their_repository() {
    let server = Running::start().await;
    let digest = server.push_blob("c/r1", b"layer").await;
    server.get(&format!("/v2/c/r2/blobs/{digest}")).await.is(404);
    let mount = |query: String| {
        let server = &server;
        async move { server.send("POST", &format!("/v2/c/r2/blobs/uploads/?{query}"), &[], b"").await }
    };
    mount(format!("mount={RANDOM}&from=c/r1")).await.is(202);
    mount(format!("mount={digest}&from=c/other")).await.is(202);
    mount("mount=nonsense&from=../x".to_owned()).await.is(202);
    mount(format!("mount={RANDOM}")).await.is(202);
    created(&mount(format!("mount={digest}&from=c/r1")).await, &digest);
    is_whole(&server, "c/r2", &digest, b"layer").await;
    server.send("DELETE", &format!("/v2/c/r1/blobs/{digest}"), &[], b"").await.is(202);
    server.send("HEAD", &format!("/v2/c/r1/blobs/{digest}"), &[], b"").await.is(404);
    is_whole(&server, "c/r2", &digest, b"layer").await;
    let anonymous = server.send("POST", &format!("/v2/c/r3/blobs/uploads/?mount={digest}"), &[], b"").await;
    created(&anonymous, &digest);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_small_and_large_blobs() {
    let server = Running::start().await;
    for length in [2048_usize, 100_000] {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 7 / 3) as u8).collect();
        let digest = server.push_blob("c/r1", &bytes).await;
        let path = format!("/v2/c/r1/blobs/{digest}");
        let last = length - 1;
        for (range, first, end) in [
            ("bytes=500-1499".to_owned(), 500, 1499),
            ("bytes=500-".to_owned(), 500, last),
            ("bytes=-500".to_owned(), length - 500, last),
            (format!("bytes={}-{}", length - 48, length + 5000), length - 48, last),
        ] {
            let answer = server.send("GET", &path, &[("Range", &range)], b"").await.is(206);
            assert_eq!(answer.header("Content-Range"), format!("bytes {first}-{end}/{length}"));
            assert!(answer.body == bytes[first..=end], "{range}");
        }
        for range in ["bytes=500-0", "bytes=500000-600000"] {
            let answer = server.send("GET", &path, &[("Range", range)], b"").await.is(416);
            assert_eq!(answer.header("Content-Range"), format!("bytes */{length}"));
        }
        for range in ["bytes=0-0,10-19", "lines=1-2", "nonsense"] {
            assert!(server.send("GET", &path, &[("Range", range)], b"").await.is(200).body == bytes);
        }
        let tag = format!("\"{digest}\"");
        assert!(server.send("GET", &path, &[("If-None-Match", &tag)], b"").await.is(304).body.is_empty());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_come_back_as_they_were_pushed() {
    let server = Running::start().await;
    server.push_blob("c/r1", b"{}").await;
    server.push_blob("c/r1", b"layer").await;
    // Odd white space must survive.
    let manifest = image(b"layer").replace(r#""schemaVersion":2"#, "\"schemaVersion\" :\n\t2");
    let digest = sha256(manifest.as_bytes());
    let headers = [("Content-Type", OCI_MANIFEST), ("Transfer-Encoding", "chunked")];
    let answer = server.send("PUT", "/v2/c/r1/manifests/v1", &headers, manifest.as_bytes()).await.is(201);
    assert_eq!(answer.header("Docker-Content-Digest"), digest);
    let by_digest = format!("/v2/c/r1/manifests/{digest}");
    for accept in ["*/*", DOCKER_MANIFEST, "text/html"] {
        for path in ["/v2/c/r1/manifests/v1", &by_digest] {
            for method in ["GET", "HEAD"] {
                let answer = server.send(method, path, &[("Accept", accept)], b"").await.is(200);
                assert_eq!(answer.header("Content-Type"), OCI_MANIFEST);
                assert_eq!(answer.header("Docker-Content-Digest"), digest);
                assert_eq!(answer.header("Content-Length"), manifest.len().to_string());
                assert!(answer.body == if method == "GET" { manifest.as_bytes() } else { b"" });
            }
        }
    }
    let strong = sha512(manifest.as_bytes());
    let path = format!("/v2/c/r1/manifests/{strong}?tag=a&tag=b");
    let answer =
        server.send("PUT", &path, &[("Content-Type", OCI_MANIFEST)], manifest.as_bytes()).await.is(201);
    let tags: Vec<_> =
        answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("OCI-Tag")).collect();
    assert_eq!(tags.len(), 2);
    assert_eq!(server.get("/v2/c/r1/manifests/b").await.is(200).header("Docker-Content-Digest"), strong);
    // Deleting by tag takes the tag, deleting by digest takes the manifest and its tags.
    server.send("DELETE", "/v2/c/r1/manifests/a", &[], b"").await.is(202);
    server.get("/v2/c/r1/manifests/a").await.is(404);
    server.send("DELETE", &format!("/v2/c/r1/manifests/{strong}"), &[], b"").await.is(202);
    server.get("/v2/c/r1/manifests/b").await.is(404);
    server.get(&by_digest).await.is(200);
    let tags = server.get("/v2/c/r1/tags/list").await.is(200).json();
    assert_eq!(tags, serde_json::json!({"name": "c/r1", "tags": ["v1"]}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_in_byte_order() {
    let server = Running::start().await;
    server.push_blob("c/r1", b"{}").await;
    let mut expected = vec!["A", "B", "_", "a", "a-1", "a.1", "a1", "z"];
    expected.sort_unstable();
    for tag in expected.iter().rev() {
        server.push_image("c/r1", tag, b"layer").await;
    }
    let list = |query: String| {
        let server = &server;
        async move { server.get(&format!("/v2/c/r1/tags/list{query}")).await }
    };
    assert_eq!(list(String::new()).await.json()["tags"], serde_json::json!(expected));
    for (at, last) in expected.iter().enumerate() {
        let rest = list(format!("?last={last}")).await.json();
        assert_eq!(rest["tags"], serde_json::json!(expected[at + 1..]));
    }
    let mut path = "/v2/c/r1/tags/list?n=3".to_owned();
    let mut walked = Vec::new();
    loop {
        let page = server.get(&path).await.is(200);
        walked.extend(
            page.json()["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()),
        );
        let link = page.header("Link");
        let Some(next) = link.strip_prefix('<').and_then(|link| link.split_once('>')) else { break };
        path = next.0.to_owned();
    }
    assert_eq!(walked, expected);
    let none = list("?n=0".to_owned()).await.is(200);
    assert_eq!((none.json()["tags"].clone(), none.header("Link")), (serde_json::json!([]), ""));
    assert_eq!(list("?last=zzz".to_owned()).await.json()["tags"], serde_json::json!([]));
    for n in ["-1", "abc", "", "1.5"] {
        assert_eq!(list(format!("?n={n}")).await.is(400).code(), "PAGINATION_NUMBER_INVALID");
    }
    for n in ["1000000000", "99999999999999999999"] {
        list(format!("?n={n}")).await.is(200);
    }
    assert_eq!(server.get("/v2/nobody/tags/list").await.is(404).code(), "NAME_UNKNOWN");
    server.push_image("c/r2", "x", b"layer").await;
    let page = server.get("/v2/_catalog?n=1").await.is(200);
    assert_eq!(page.json(), serde_json::json!({"repositories": ["c/r1"]}));
    assert_eq!(page.header("Link"), "</v2/_catalog?n=1&last=c/r1>; rel=\"next\"");
    assert_eq!(
        server.get("/v2/_catalog?last=c/r1").await.json()["repositories"],
        serde_json::json!(["c/r2"])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_are_listed_with_type_and_annotations() {
    let server = Running::start().await;
    let empty = server.get(&format!("/v2/c/none/referrers/{RANDOM}")).await.is(200);
    assert_eq!(empty.header("Content-Type"), OCI_INDEX);
    assert_eq!(
        empty.json(),
        serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
    );
    server.get("/v2/c/none/referrers/sha256:bad").await.is(400);
    let subject = server.push_image("c/r1", "v1", b"layer").await;
    let artifact = |kind: &str, subject: &str| {
        image(b"layer").replacen(
            '{',
            &format!(
                r#"{{"artifactType":"{kind}","annotations":{{"k":"{kind}"}},"subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{subject}","size":1}},"#
            ),
            1,
        )
    };
    let mut digests = Vec::new();
    for (kind, subject) in [("a/a+x", &subject[..]), ("b/b", &subject), ("a/a+x", RANDOM)] {
        let manifest = artifact(kind, subject);
        let digest = sha256(manifest.as_bytes());
        let path = format!("/v2/c/r1/manifests/{digest}");
        let answer =
            server.send("PUT", &path, &[("Content-Type", OCI_MANIFEST)], manifest.as_bytes()).await.is(201);
        assert_eq!(answer.header("OCI-Subject"), subject);
        digests.push((digest, manifest.len()));
    }
    let listed = server.get(&format!("/v2/c/r1/referrers/{subject}")).await.is(200).json();
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 2);
    let filtered = server.get(&format!("/v2/c/r1/referrers/{subject}?artifactType=a/a%2Bx")).await.is(200);
    assert_eq!(filtered.header("OCI-Filters-Applied"), "artifactType");
    assert_eq!(
        filtered.json()["manifests"],
        serde_json::json!([{"mediaType": OCI_MANIFEST, "digest": digests[0].0, "size": digests[0].1, "artifactType": "a/a+x", "annotations": {"k": "a/a+x"}}])
    );
    // One that was noted under the fallback tag only.
    let tag = subject.replace(':', "-");
    let noted = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{RANDOM}","size":3,"artifactType":"c/c"}},{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":1,"artifactType":"b/b"}}]}}"#,
        digests[1].0
    );
    let path = format!("/v2/c/r1/manifests/{tag}");
    server.send("PUT", &path, &[("Content-Type", OCI_INDEX)], noted.as_bytes()).await.is(201);
    let listed = server.get(&format!("/v2/c/r1/referrers/{subject}")).await.is(200).json();
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 3);
    let page = server.get(&format!("/v2/c/r1/referrers/{subject}?n=1")).await.is(200);
    assert_eq!(page.json()["manifests"].as_array().unwrap().len(), 1);
    assert!(page.header("Link").contains("rel=\"next\""));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_readers_disagree_on_are_refused() {
    let server = Running::start().await;
    server.push_blob("c/r1", b"{}").await;
    server.push_blob("c/r1", b"layer").await;
    let good = image(b"layer");
    let wrong_size = good.replace("\"size\":5", "\"size\":6");
    let put = |name: &str, content_type: &'static str, body: String| {
        let (server, path) = (&server, format!("/v2/c/r1/manifests/{name}"));
        async move { server.send("PUT", &path, &[("Content-Type", content_type)], body.as_bytes()).await }
    };
    put("ok", OCI_MANIFEST, good.clone()).await.is(201);
    put("ok", "application/json", good.clone()).await.is(201);
    for (body, content_type, status, code) in [
        (wrong_size, OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (good.replace("\"layers\"", "\"LAYERS\""), OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (good.clone() + " {}", OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (good.clone(), OCI_INDEX, 400, "MANIFEST_INVALID"),
        (good.clone(), "text/plain", 400, "MANIFEST_INVALID"),
        (format!("{good}{}", " ".repeat(4 << 20)), OCI_MANIFEST, 413, "MANIFEST_INVALID"),
    ] {
        assert_eq!(put("bad", content_type, body).await.is(status).code(), code);
    }
    assert_eq!(
        put("sha256:baddigeststring", OCI_MANIFEST, good.clone()).await.is(400).code(),
        "DIGEST_INVALID"
    );
    assert_eq!(put(RANDOM, OCI_MANIFEST, good.clone()).await.is(400).code(), "DIGEST_INVALID");
    assert_eq!(put(&"t".repeat(129), OCI_MANIFEST, good.clone()).await.is(400).code(), "TAG_INVALID");
    server.get("/v2/c/r1/manifests/bad").await.is(404);
    // 3.9 MB, as the conformance suite has one.
    let annotations: Vec<String> = (0..390).map(|n| format!("\"k{n}\":\"{}\"", "x".repeat(10_000))).collect();
    let large = good.replacen('{', &format!("{{\"annotations\":{{{}}},", annotations.join(",")), 1);
    put("large", OCI_MANIFEST, large.clone()).await.is(201);
    assert!(server.get("/v2/c/r1/manifests/large").await.is(200).body == large.as_bytes());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_accepted_or_named() {
    let sparse = Running::start().await;
    let manifest = image(b"never pushed");
    let headers = [("Content-Type", OCI_MANIFEST)];
    let answer = sparse.send("PUT", "/v2/c/r1/manifests/x", &headers, manifest.as_bytes()).await.is(201);
    assert!(answer.header("Warning").starts_with("299 - "));
    sparse.stop().await;
    let strict = Running::with(|config| config.missing = shale_registry::MissingTargets::Refuse).await;
    let answer = strict.send("PUT", "/v2/c/r1/manifests/x", &headers, manifest.as_bytes()).await.is(400);
    let errors = answer.json()["errors"].clone();
    assert_eq!(errors.as_array().unwrap().len(), 2);
    assert_eq!(errors[1]["code"], "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(errors[1]["detail"]["digest"], sha256(b"never pushed"));
    strict.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_refuse_with_unsupported() {
    let server = Running::with(|config| config.delete = false).await;
    let digest = server.push_image("c/r1", "v1", b"layer").await;
    for path in
        [format!("manifests/{digest}"), "manifests/v1".to_owned(), format!("blobs/{}", sha256(b"layer"))]
    {
        let answer = server.send("DELETE", &format!("/v2/c/r1/{path}"), &[], b"").await.is(405);
        assert_eq!(answer.code(), "UNSUPPORTED");
    }
    server.send("DELETE", "/api/v1/repositories/c/r1", &[], b"").await.is(405);
    server.send("POST", "/api/v1/gc", &[], b"{}").await.is(403);
    assert_eq!(server.send("PUT", "/v2/c/r1/tags/list", &[], b"").await.is(405).header("Allow"), "GET, HEAD");
    let root = server.stop().await;
    let server = Running::at(root, |config| config.read_only = true).await;
    server.get("/v2/c/r1/manifests/v1").await.is(200);
    server.send("POST", "/v2/c/r1/blobs/uploads/", &[], b"").await.is(405);
    server.send("DELETE", "/v2/c/r1/manifests/v1", &[], b"").await.is(405);
    server.stop().await;
}
