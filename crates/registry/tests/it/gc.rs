//! The collection beside pushes and deletes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shale_registry::commands::{self, Doomed};
use shale_registry::maintenance::collect::CollectRequest;

use crate::client::{OCI_MANIFEST, Running, image, sha256};

fn at_once() -> CollectRequest {
    CollectRequest {
        grace: Some(Duration::ZERO),
        uploads_after: Some(Duration::ZERO),
        ..CollectRequest::default()
    }
}

fn blob_files(server: &Running) -> usize {
    let mut count = 0;
    let mut directories = vec![server.root.path().join("docker/registry/v2/blobs")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { count += 1 }
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_asked_for_is_as_the_server_is_configured() {
    let server = Running::with(|config| config.gc.grace = Duration::ZERO).await;
    server.push_blob("a", b"garbage").await;
    let long = CollectRequest { grace: Some(Duration::from_secs(3600)), ..CollectRequest::default() };
    assert_eq!(commands::gc(&server.config, long).await.unwrap().blobs, 0);
    assert_eq!(commands::gc(&server.config, CollectRequest::default()).await.unwrap().blobs, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_names_goes_and_the_rest_stays() {
    let server = Running::with(|config| config.gc.grace = Duration::ZERO).await;
    let digest = server.push_image("a", "v1", b"one").await;
    server.push_image("b", "v1", b"one").await;
    server.push_image("b", "v2", b"two").await;
    server.push_blob("b", b"loose").await;
    // An upload that nobody finished, and a file that nobody knows.
    server.send("POST", "/v2/a/blobs/uploads/", &[], b"").await.is(202);
    let orphan = server.root.path().join("docker/registry/v2/blobs/sha256/ab").join("ab".repeat(32));
    std::fs::create_dir_all(&orphan).unwrap();
    std::fs::write(orphan.join("data"), b"orphan").unwrap();
    let collected = commands::gc(&server.config, at_once()).await.unwrap();
    assert_eq!((collected.links, collected.blobs, collected.uploads), (1, 2, 1));
    commands::delete(&server.config, "a", &Doomed::Manifest(digest.parse().unwrap())).await.unwrap();
    let collected = commands::gc(&server.config, at_once()).await.unwrap();
    // Both blobs of `a` are held by `b` too.
    assert_eq!((collected.links, collected.blobs, collected.repositories), (2, 0, 1));
    assert_eq!(commands::repositories(&server.config).await.unwrap(), ["b"]);
    commands::delete(&server.config, "b", &Doomed::Tag("v1".to_owned())).await.unwrap();
    assert_eq!(commands::tags(&server.config, "b").await.unwrap(), ["v2"]);
    let unknown = commands::tags(&server.config, "nobody/here").await.unwrap_err();
    assert_eq!(unknown.to_string(), "the repository nobody/here does not exist");
    // Untagged manifests stay unless the policy says otherwise.
    assert_eq!(commands::gc(&server.config, at_once()).await.unwrap().blobs, 0);
    let options = CollectRequest { untagged_after: Some(Duration::ZERO), ..at_once() };
    let collected = commands::gc(&server.config, options).await.unwrap();
    assert_eq!((collected.manifests, collected.blobs, collected.bytes), (1, 1, 3));
    assert_eq!(blob_files(&server), 2);
    commands::delete(&server.config, "b", &Doomed::Repository).await.unwrap();
    assert_eq!(commands::gc(&server.config, at_once()).await.unwrap().blobs, 2);
    assert_eq!(blob_files(&server), 0);
    assert!(commands::delete(&server.config, "b", &Doomed::Repository).await.is_err());
    let root = server.stop().await;
    // The same without a server.
    let config = shale_registry::Config { root: root.path().to_owned(), ..Default::default() };
    assert!(commands::repositories(&config).await.unwrap().is_empty());
    assert_eq!(commands::gc(&config, at_once()).await.unwrap(), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn children_and_referrers_live_with_what_names_them() {
    let server = Running::with(|config| config.gc.grace = Duration::ZERO).await;
    let child = server.push_image("a", &sha256(image(b"child").as_bytes()), b"child").await;
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{child}","size":{}}}]}}"#,
        image(b"child").len()
    );
    let headers = [("Content-Type", "application/vnd.oci.image.index.v1+json")];
    server.send("PUT", "/v2/a/manifests/multi", &headers, index.as_bytes()).await.is(201);
    let referrer = image(b"signature").replacen(
        '{',
        &format!(r#"{{"subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{child}","size":1}},"#),
        1,
    );
    let path = format!("/v2/a/manifests/{}", sha256(referrer.as_bytes()));
    server.send("PUT", &path, &[("Content-Type", OCI_MANIFEST)], referrer.as_bytes()).await.is(201);
    let options = CollectRequest { untagged_after: Some(Duration::ZERO), ..at_once() };
    assert_eq!(commands::gc(&server.config, options).await.unwrap().manifests, 0);
    server.send("DELETE", "/v2/a/manifests/multi", &[], b"").await.is(202);
    assert_eq!(commands::gc(&server.config, options).await.unwrap().manifests, 3);
    server.stop().await;
}

/// Distribution corrupts a push at each of these points.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_between_any_two_requests_of_a_push_harms_nothing() {
    for point in 0..6 {
        let server = Running::with(|config| config.gc.grace = Duration::from_secs(60)).await;
        let options = CollectRequest {
            grace: Some(Duration::from_secs(60)),
            untagged_after: Some(Duration::ZERO),
            ..CollectRequest::default()
        };
        let gc = |now: usize| {
            let server = &server;
            async move {
                if now == point {
                    commands::gc(&server.config, options).await.unwrap();
                }
            }
        };
        // The layer is here for an image that is deleted while the other one is being pushed.
        let old = server.push_image("a", "old", b"shared").await;
        gc(0).await;
        server.send("HEAD", &format!("/v2/a/blobs/{}", sha256(b"shared")), &[], b"").await.is(200);
        server.send("DELETE", &format!("/v2/a/manifests/{old}"), &[], b"").await.is(202);
        gc(1).await;
        server.push_blob("a", b"{}").await;
        gc(2).await;
        server.push_blob("a", b"shared").await;
        gc(3).await;
        let manifest = image(b"shared");
        let path = format!("/v2/a/manifests/{}", sha256(manifest.as_bytes()));
        let answer =
            server.send("PUT", &path, &[("Content-Type", OCI_MANIFEST)], manifest.as_bytes()).await.is(201);
        assert_eq!(answer.header("Warning"), "", "point {point}");
        gc(4).await;
        server
            .send("PUT", "/v2/a/manifests/new", &[("Content-Type", OCI_MANIFEST)], manifest.as_bytes())
            .await
            .is(201);
        gc(5).await;
        for blob in [&b"{}"[..], b"shared"] {
            let path = format!("/v2/a/blobs/{}", sha256(blob));
            assert!(server.get(&path).await.is(200).body == blob, "point {point}");
        }
        server.stop().await;
    }
}

/// So many that some are not pushed again before the grace is over, and so few that the collection meets them when they are.
const LAYERS: u64 = 300;

/// A number below `limit`, by the digest of the others.
fn any_below(limit: u64, pusher: u64, round: u64) -> u64 {
    let digest = sha256(format!("{pusher} {round}").as_bytes());
    u64::from_str_radix(&digest["sha256:".len()..][..8], 16).unwrap() % limit
}

/// Pushers that share layers, deleters and a collection without pause. `SHALE_GC_SECONDS` makes it longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pushes_deletes_and_collections_at_once_lose_nothing() {
    let seconds = std::env::var("SHALE_GC_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    // A push here takes far less than the grace, unless the machine does much else; what is not promised goes two seconds
    // later.
    let grace = Duration::from_secs(2);
    let slow = Arc::new(AtomicU64::new(0));
    let server = Arc::new(Running::with(|config| config.gc.grace = grace).await);
    let stop = Arc::new(AtomicBool::new(false));
    let (pushes, collected) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for pusher in 0..8_u64 {
        let (server, stop, pushes) = (Arc::clone(&server), Arc::clone(&stop), Arc::clone(&pushes));
        let slow = Arc::clone(&slow);
        tasks.push(tokio::spawn(async move {
            let mut round = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let began = Instant::now();
                // The same layers for everybody, so that one's garbage is another's new image.
                let layer = format!("layer {}", any_below(LAYERS, pusher, round)).repeat(3000).into_bytes();
                let repository = format!("r{}", round % 3);
                for blob in [&b"{}"[..], &layer] {
                    // As clients do: look, and upload only what is missing.
                    let path = format!("/v2/{repository}/blobs/{}", sha256(blob));
                    if server.send("HEAD", &path, &[], b"").await.status != 200 {
                        server.push_blob(&repository, blob).await;
                    }
                }
                let manifest = image(&layer);
                let path = format!("/v2/{repository}/manifests/t{pusher}");
                let answer =
                    server.send("PUT", &path, &[("Content-Type", OCI_MANIFEST)], manifest.as_bytes()).await;
                let got = server.get(&format!("/v2/{repository}/blobs/{}", sha256(&layer))).await;
                // What was promised at the beginning of a longer push may be gone, with the tag that another deleted.
                if began.elapsed() >= grace {
                    slow.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                assert_eq!((answer.status, answer.header("Warning")), (201, ""), "{answer:?}");
                assert!(got.is(200).body == layer);
                pushes.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for deleter in 0..8_u64 {
        let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
        tasks.push(tokio::spawn(async move {
            let mut round = deleter;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let path = format!("/v2/r{}/manifests/t{}", round % 3, round % 8);
                let answer = server.send("DELETE", &path, &[], b"").await;
                assert!(matches!(answer.status, 202 | 404), "{answer:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }));
    }
    {
        let (server, stop, collected) = (Arc::clone(&server), Arc::clone(&stop), Arc::clone(&collected));
        tasks.push(tokio::spawn(async move {
            let options = CollectRequest {
                grace: Some(grace),
                untagged_after: Some(Duration::ZERO),
                ..CollectRequest::default()
            };
            while !stop.load(Ordering::Relaxed) {
                let went = commands::gc(&server.config, options).await.unwrap();
                collected.fetch_add(went.blobs, Ordering::Relaxed);
            }
        }));
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(tasks.iter().all(|task| !task.is_finished()), "a task failed");
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let checked = commands::fsck(&server.config, false).await.unwrap();
    assert_eq!(checked.findings, []);
    let (pushes, slow) = (pushes.load(Ordering::Relaxed), slow.load(Ordering::Relaxed));
    let collected = collected.load(Ordering::Relaxed);
    println!("{pushes} pushes, {slow} slow ones, {collected} collected");
    assert!(collected > 0, "nothing became garbage");
    assert!(pushes > 9 * slow, "{slow} pushes of {} took longer than the grace", pushes + slow);
}
