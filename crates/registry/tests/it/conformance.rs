//! What the conformance suite of the distribution specification checks, with all options of its version `dev`: blobs in
//! both digest algorithms, then every data set pushed, listed, pulled, queried and deleted.
//!
//! The cases are the suite's; the program is our own, so it stands beside a run of the suite and not in its place.

use serde_json::{Map, Value, json};

use crate::client::{Answer, OCI_INDEX, OCI_MANIFEST, Running, sha256, sha512};

mod data;

use data::{DataSet, Document};

type Hash = fn(&[u8]) -> String;

const REPOSITORY: &str = "conformance/one";
const OTHER: &str = "conformance/two";

/// How a blob can be pushed.
#[derive(Debug, Clone, Copy)]
enum Way {
    Post,
    PostPut,
    Stream,
    Chunk,
    Chunks,
    ChunksAndPut,
}

const WAYS: [Way; 6] = [Way::Post, Way::PostPut, Way::Stream, Way::Chunk, Way::Chunks, Way::ChunksAndPut];

async fn begin(server: &Running, repository: &str) -> String {
    let answer = server.send("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"").await.is(202);
    answer.header("Location").to_owned()
}

fn closing(location: &str, digest: &str) -> String {
    let sign = if location.contains('?') { '&' } else { '?' };
    format!("{location}{sign}digest={digest}")
}

/// Sends `bytes` as if they had the digest `digest`; returns the last answer.
async fn send(server: &Running, repository: &str, way: Way, digest: &str, bytes: &[u8]) -> Answer {
    if let Way::Post = way {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        return server.send("POST", &path, &[("Content-Type", "application/octet-stream")], bytes).await;
    }
    let mut location = begin(server, repository).await;
    let chunks: Vec<&[u8]> = match way {
        Way::Chunks | Way::ChunksAndPut if bytes.len() > 2 => bytes.chunks(bytes.len().div_ceil(3)).collect(),
        _ => vec![bytes],
    };
    let mut at = 0;
    let mut last: (&[u8], Option<String>) = (b"", None);
    for (number, chunk) in chunks.iter().enumerate() {
        let range = format!("{at}-{}", (at + chunk.len()).saturating_sub(1));
        at += chunk.len();
        let is_last = number + 1 == chunks.len();
        let headers: [(&str, &str); 1] = match way {
            Way::PostPut => {
                last = (chunk, None);
                break;
            }
            Way::ChunksAndPut if is_last => {
                last = (chunk, (!chunk.is_empty()).then_some(range));
                break;
            }
            // An empty chunk has no range that could be written down.
            Way::Stream => [("Transfer-Encoding", "chunked")],
            _ if chunk.is_empty() => [("Content-Type", "application/octet-stream")],
            _ => [("Content-Range", &range)],
        };
        let answer = server.send("PATCH", &location, &headers, chunk).await.is(202);
        assert_eq!(answer.header("Range"), format!("0-{}", at.saturating_sub(1)));
        location = answer.header("Location").to_owned();
    }
    let headers: Vec<(&str, &str)> = last.1.iter().map(|range| ("Content-Range", range.as_str())).collect();
    server.send("PUT", &closing(&location, digest), &headers, last.0).await
}

/// Pushes a blob, and reads it back from where the answer says that it is.
async fn push(server: &Running, repository: &str, way: Way, digest: &str, bytes: &[u8]) {
    let answer = send(server, repository, way, digest, bytes).await.is(201);
    assert_eq!(answer.header("Docker-Content-Digest"), digest, "{way:?}");
    assert!(server.get(answer.header("Location")).await.is(200).body == bytes, "{way:?}");
}

async fn is_there(server: &Running, repository: &str, digest: &str, bytes: &[u8]) {
    for method in ["HEAD", "GET"] {
        let answer = server.send(method, &blob(repository, digest), &[], b"").await.is(200);
        assert_eq!(answer.header("Content-Length"), bytes.len().to_string());
        assert_eq!(answer.header("Docker-Content-Digest"), digest);
        assert!(answer.body == if method == "GET" { bytes } else { b"" });
    }
}

fn blob(repository: &str, digest: &str) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

async fn delete_blob(server: &Running, repository: &str, digest: &str) {
    server.send("DELETE", &blob(repository, digest), &[], b"").await.is(202);
    server.send("HEAD", &blob(repository, digest), &[], b"").await.is(404);
}

/// Bytes that no other call returns.
fn fresh(length: usize) -> Vec<u8> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static SALT: AtomicU32 = AtomicU32::new(0);
    let salt = SALT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    (0..length).map(|at| salt[at % 4] ^ (at / 4 * 31) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_nothing_in_it() {
    let server = Running::start().await;
    server.get("/v2/").await.is(200);
    let tags = server.get(&format!("/v2/{REPOSITORY}/tags/list")).await;
    assert!(tags.status == 404 || tags.json()["tags"] == json!([]), "{tags:?}");
    let path = format!("/v2/{REPOSITORY}/referrers/{}", sha256(b"nobody"));
    let answer = server.get(&path).await.is(200);
    assert_eq!(answer.header("Content-Type"), OCI_INDEX);
    assert_eq!(
        (&answer.json()["schemaVersion"], &answer.json()["mediaType"]),
        (&json!(2), &json!(OCI_INDEX))
    );
    for reference in [sha256(b"nothing"), sha512(b"nothing"), "missing".to_owned()] {
        server.get(&format!("/v2/{REPOSITORY}/manifests/{reference}")).await.is(404);
    }
    for blob_digest in [sha256(b"nothing"), sha512(b"nothing")] {
        server.get(&blob(REPOSITORY, &blob_digest)).await.is(404);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_in_both_algorithms() {
    let server = Running::start().await;
    for hash in [sha256 as Hash, sha512] {
        for way in WAYS {
            for bytes in [fresh(512), fresh(3 * 1024 - 5), b"{}".to_vec(), Vec::new()] {
                let digest = hash(&bytes);
                push(&server, REPOSITORY, way, &digest, &bytes).await;
                is_there(&server, REPOSITORY, &digest, &bytes).await;
                delete_blob(&server, REPOSITORY, &digest).await;
            }
            let bytes = fresh(3 * 1024 - 5);
            let digest = hash(&bytes);
            let wrong = [&bytes[..], b"oh no"].concat();
            send(&server, REPOSITORY, way, &digest, &wrong).await.is(400);
            server.get(&blob(REPOSITORY, &digest)).await.is(404);
        }
        mounts(&server, hash).await;
        chunks_out_of_order(&server, hash, false).await;
        chunks_out_of_order(&server, hash, true).await;
        ranges(&server, hash).await;
        let location = begin(&server, REPOSITORY).await;
        server.send("DELETE", &location, &[], b"").await.is(204);
        server.get(&location).await.is(404);
    }
    server.stop().await;
}

async fn mounts(server: &Running, hash: Hash) {
    for from in [format!("&from={OTHER}"), String::new()] {
        let bytes = fresh(512);
        let digest = hash(&bytes);
        push(server, OTHER, Way::PostPut, &digest, &bytes).await;
        let path = format!("/v2/{REPOSITORY}/blobs/uploads/?mount={digest}{from}");
        let answer = server.send("POST", &path, &[], b"").await.is(201);
        assert!(server.get(answer.header("Location")).await.is(200).body == bytes);
        is_there(server, REPOSITORY, &digest, &bytes).await;
        delete_blob(server, REPOSITORY, &digest).await;
        is_there(server, OTHER, &digest, &bytes).await;
        delete_blob(server, OTHER, &digest).await;
    }
    let bytes = fresh(512);
    let digest = hash(&bytes);
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/?mount={digest}&from={OTHER}");
    let answer = server.send("POST", &path, &[], b"").await.is(202);
    server.send("PUT", &closing(answer.header("Location"), &digest), &[], &bytes).await.is(201);
    is_there(server, REPOSITORY, &digest, &bytes).await;
    delete_blob(server, REPOSITORY, &digest).await;
}

/// A chunk that skips ahead, and one that begins again, are refused; the upload goes on where it was.
async fn chunks_out_of_order(server: &Running, hash: Hash, close_with_chunk: bool) {
    let bytes = fresh(3 * 1024 - 5);
    let digest = hash(&bytes);
    let (first, second, third) = (&bytes[..1024], &bytes[1024..2048], &bytes[2048..]);
    let range = |at: usize, chunk: &[u8]| format!("{at}-{}", at + chunk.len() - 1);
    let patch = |location: String, at: usize, chunk: &[u8]| {
        let (range, chunk) = (range(at, chunk), chunk.to_vec());
        async move { server.send("PATCH", &location, &[("Content-Range", &range)], &chunk).await }
    };
    let location = begin(server, REPOSITORY).await;
    patch(location.clone(), 1024, second).await.is(416);
    let location = patch(location, 0, first).await.is(202).header("Location").to_owned();
    for (at, chunk) in [(0, first), (2048, third)] {
        patch(location.clone(), at, chunk).await.is(416);
        let answer = server.get(&location).await.is(204);
        assert_eq!(answer.header("Range"), "0-1023");
        assert!(!answer.header("Location").is_empty());
    }
    if close_with_chunk {
        let (range, path) = (range(2048, third), closing(&location, &digest));
        server.send("PUT", &path, &[("Content-Range", &range)], third).await.is(416);
        assert_eq!(server.get(&location).await.is(204).header("Range"), "0-1023");
    }
    let location = patch(location, 1024, second).await.is(202).header("Location").to_owned();
    if close_with_chunk {
        let range = range(2048, third);
        server.send("PUT", &closing(&location, &digest), &[("Content-Range", &range)], third).await.is(201);
    } else {
        let location = patch(location, 2048, third).await.is(202).header("Location").to_owned();
        server.send("PUT", &closing(&location, &digest), &[], b"").await.is(201);
    }
    is_there(server, REPOSITORY, &digest, &bytes).await;
    delete_blob(server, REPOSITORY, &digest).await;
}

async fn ranges(server: &Running, hash: Hash) {
    let bytes = fresh(2048);
    let digest = hash(&bytes);
    push(server, REPOSITORY, Way::Post, &digest, &bytes).await;
    for (range, first, last) in
        [("500-1499", 500, 1499), ("500-", 500, 2047), ("-500", 1548, 2047), ("2000-5000", 2000, 2047)]
    {
        let header = format!("bytes={range}");
        let answer = server.send("GET", &blob(REPOSITORY, &digest), &[("Range", &header)], b"").await.is(206);
        assert_eq!(answer.header("Content-Length"), (last - first + 1).to_string());
        assert_eq!(answer.header("Content-Range"), format!("bytes {first}-{last}/2048"));
        assert!(answer.body == bytes[first..=last], "{range}");
    }
    for range in ["bytes=500-0", "bytes=5000-10000"] {
        server.send("GET", &blob(REPOSITORY, &digest), &[("Range", range)], b"").await.is(416);
    }
    delete_blob(server, REPOSITORY, &digest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_data_set_is_pushed_listed_pulled_queried_and_deleted() {
    let server = Running::start().await;
    for set in data::all() {
        push_set(&server, &set).await;
        list(&server, &set).await;
        pull(&server, &set).await;
        referrers(&server, &set).await;
        delete(&server, &set).await;
    }
    assert_eq!(server.get(&format!("/v2/{REPOSITORY}/tags/list")).await.is(200).json()["tags"], json!([]));
    server.stop().await;
}

fn manifest(reference: &str) -> String {
    format!("/v2/{REPOSITORY}/manifests/{reference}")
}

async fn push_set(server: &Running, set: &DataSet) {
    for (number, (digest, bytes)) in set.blobs.iter().enumerate() {
        push(server, REPOSITORY, WAYS[number % WAYS.len()], digest, bytes).await;
    }
    for document in &set.documents {
        let mut path = manifest(&document.digest);
        let mut references = Vec::new();
        if set.tags_in_query {
            let query: Vec<String> = document.tags.iter().map(|tag| format!("tag={tag}")).collect();
            path = format!("{path}?{}", query.join("&"));
        } else {
            references = document.tags.iter().map(|tag| manifest(tag)).collect();
        }
        for path in std::iter::once(path).chain(references) {
            let answer = put(server, &path, document).await.is(201);
            assert_eq!(answer.header("Docker-Content-Digest"), document.digest, "{}", set.name);
            assert!(server.get(answer.header("Location")).await.is(200).body == document.bytes);
            assert_eq!(answer.header("OCI-Subject"), document.subject.as_deref().unwrap_or(""));
            if path.contains('?') {
                let told = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("OCI-Tag"));
                let mut told: Vec<&String> = told.map(|(_, tag)| tag).collect();
                told.sort();
                assert_eq!(told, document.tags.iter().collect::<Vec<_>>(), "{}", set.name);
            }
        }
    }
}

async fn put(server: &Running, path: &str, document: &Document) -> Answer {
    let headers = [("Content-Type", document.media_type), ("Transfer-Encoding", "chunked")];
    server.send("PUT", path, &headers, &document.bytes).await
}

async fn list(server: &Running, set: &DataSet) {
    let mut expected: Vec<&String> = set.documents.iter().flat_map(|document| &document.tags).collect();
    expected.sort();
    if expected.is_empty() {
        return;
    }
    let path = format!("/v2/{REPOSITORY}/tags/list");
    assert_eq!(server.get(&path).await.is(200).json()["tags"], json!(expected), "{}", set.name);
    for (at, last) in expected.iter().enumerate() {
        let answer = server.get(&format!("{path}?last={last}")).await.is(200);
        assert_eq!(answer.json()["tags"], json!(expected[at + 1..]), "{}", set.name);
    }
}

async fn pull(server: &Running, set: &DataSet) {
    for document in &set.documents {
        for reference in document.tags.iter().chain([&document.digest]) {
            for method in ["HEAD", "GET"] {
                let headers = [("Accept", OCI_MANIFEST), ("Accept", OCI_INDEX)];
                let answer = server.send(method, &manifest(reference), &headers, b"").await.is(200);
                assert_eq!(answer.header("Content-Type"), document.media_type);
                assert_eq!(answer.header("Content-Length"), document.bytes.len().to_string());
                assert_eq!(answer.header("Docker-Content-Digest"), document.digest);
                assert!(
                    answer.body == if method == "GET" { &document.bytes[..] } else { b"" },
                    "{}",
                    set.name
                );
            }
        }
    }
    for (digest, bytes) in &set.blobs {
        is_there(server, REPOSITORY, digest, bytes).await;
    }
}

async fn referrers(server: &Running, set: &DataSet) {
    let subjects: std::collections::BTreeSet<&String> =
        set.documents.iter().filter_map(|document| document.subject.as_ref()).collect();
    for subject in subjects {
        let mine = |document: &&Document| document.subject.as_ref() == Some(subject);
        let expected: Vec<&Document> = set.documents.iter().filter(mine).collect();
        let path = format!("/v2/{REPOSITORY}/referrers/{subject}");
        let answer = server.get(&path).await.is(200);
        assert_eq!(answer.header("Content-Type"), OCI_INDEX);
        same_entries(&answer, &expected);
        for document in &expected {
            let filtered =
                server.get(&format!("{path}?artifactType={}", document.artifact_type)).await.is(200);
            assert_eq!(filtered.header("OCI-Filters-Applied"), "artifactType");
            let same = |other: &&&Document| other.artifact_type == document.artifact_type;
            same_entries(&filtered, &expected.iter().filter(same).copied().collect::<Vec<_>>());
        }
    }
}

#[track_caller]
fn same_entries(answer: &Answer, expected: &[&Document]) {
    let entries = answer.json()["manifests"].as_array().expect("an index has manifests").clone();
    assert_eq!(entries.len(), expected.len(), "{entries:?}");
    for document in expected {
        let entry = entries.iter().find(|entry| entry["digest"] == *document.digest).expect("it is listed");
        assert_eq!(entry["mediaType"], document.media_type);
        assert_eq!(entry["size"], document.bytes.len());
        assert_eq!(entry["artifactType"], document.artifact_type);
        let annotations = entry.get("annotations").cloned().unwrap_or(Value::Object(Map::new()));
        assert_eq!(annotations, Value::Object(document.annotations.clone()));
    }
}

async fn delete(server: &Running, set: &DataSet) {
    let tags = set.documents.iter().flat_map(|document| &document.tags);
    let digests = set.documents.iter().rev().map(|document| &document.digest);
    for reference in tags.chain(digests) {
        server.send("DELETE", &manifest(reference), &[], b"").await.is(202);
        server.send("HEAD", &manifest(reference), &[], b"").await.is(404);
    }
    for (digest, _) in &set.blobs {
        delete_blob(server, REPOSITORY, digest).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_under_a_digest_that_is_not_theirs() {
    let server = Running::start().await;
    let set = data::image("bad-digest");
    for (digest, bytes) in &set.blobs {
        push(&server, REPOSITORY, Way::PostPut, digest, bytes).await;
    }
    let document = &set.documents[0];
    let changed = Document { bytes: [&document.bytes[..], b"  "].concat(), ..document.clone() };
    put(&server, &manifest(&document.digest), &changed).await.is(400);
    put(&server, &manifest("sha256:baddigeststring"), document).await.is(400);
    let answer = server.get(&manifest("sha256:baddigeststring")).await;
    assert!(matches!(answer.status, 400 | 404), "{answer:?}");
    server.get(&manifest(&document.digest)).await.is(404);
    server.stop().await;
}
