//! A server that is killed at any moment: what it acknowledged is there, what it did not is not half there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shale_registry::commands;
use shale_registry::maintenance::collect::CollectRequest;

use crate::client::{OCI_MANIFEST, image, raw, sha256};

fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/serve")
}

fn start(root: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(program())
        .arg(root)
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        if let Some(rest) = line.strip_prefix("listening on Some(") {
            return (child, rest.split(')').next().unwrap().parse().unwrap());
        }
    }
    child.wait().unwrap();
    panic!("the server did not start");
}

/// Sends a request; nothing when the server is gone.
async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<u16> {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    raw(address, &request).await.ok().map(|answer| answer.status)
}

/// What must hold for a tag: the layers of the pushes that were acknowledged last, or may have been.
#[derive(Debug, Default, Clone)]
struct Expected {
    acknowledged: Option<Vec<u8>>,
    /// Pushed or deleted, and not answered.
    possible: Vec<Option<Vec<u8>>>,
}

/// How old garbage must be. So short that the collection finds some in the life of a server that is soon killed.
const GRACE: Duration = Duration::from_millis(250);

#[derive(Debug, Default, Clone)]
struct Known {
    tags: BTreeMap<String, Expected>,
    /// Layers whose push took longer than the grace: nobody promised that they are kept until the manifest comes.
    unpromised: BTreeSet<Vec<u8>>,
}

type Ledger = Arc<Mutex<Known>>;

async fn work(address: SocketAddr, worker: usize, round: usize, ledger: Ledger) {
    for step in 0.. {
        let repository = format!("r{}", worker % 2);
        let tag = format!("w{worker}-{}", step % 3);
        let key = format!("{repository}:{tag}");
        let path = format!("/v2/{repository}/manifests/{tag}");
        let layer = format!("{worker} {round} {}", step / 2).repeat(500 + 3000 * (step % 5)).into_bytes();
        let deletes = step % 4 == 3;
        let change = if deletes { None } else { Some(layer.clone()) };
        let began = Instant::now();
        if !deletes {
            for blob in [&b"{}"[..], &layer] {
                let upload = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(blob));
                if ask(address, "POST", &upload, "", blob).await != Some(201) {
                    return;
                }
            }
        }
        ledger.lock().unwrap().tags.entry(key.clone()).or_default().possible.push(change.clone());
        let answer = match deletes {
            true => ask(address, "DELETE", &path, "", b"").await,
            false => {
                let headers = format!("Content-Type: {OCI_MANIFEST}\r\n");
                ask(address, "PUT", &path, &headers, image(&layer).as_bytes()).await
            }
        };
        let mut known = ledger.lock().unwrap();
        if !deletes && began.elapsed() >= GRACE {
            known.unpromised.insert(layer);
        }
        let Some(status) = answer else { return };
        assert!(matches!(status, 201 | 202 | 404), "{status}");
        known.tags.insert(key, Expected { acknowledged: change, possible: Vec::new() });
    }
}

async fn verify(address: SocketAddr, ledger: &Ledger) {
    let known = ledger.lock().unwrap().clone();
    for (key, expected) in known.tags {
        let (repository, tag) = key.split_once(':').unwrap();
        let path = format!("/v2/{repository}/manifests/{tag}");
        let request =
            |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes();
        let answer = raw(address, &request(&path)).await.unwrap();
        let allowed: Vec<_> = expected.possible.iter().chain([&expected.acknowledged]).collect();
        let found = allowed.into_iter().find(|state| match state {
            None => answer.status == 404,
            Some(layer) => answer.status == 200 && answer.body == image(layer).as_bytes(),
        });
        let Some(found) = found.cloned() else { panic!("{key}: {answer:?}") };
        if let Some(layer) = found.as_ref().filter(|layer| !known.unpromised.contains(*layer)) {
            let blob =
                raw(address, &request(&format!("/v2/{repository}/blobs/{}", sha256(layer)))).await.unwrap();
            assert!(blob.status == 200 && blob.body == *layer, "{key}: its layer is lost");
        }
        let settled = Expected { acknowledged: found, possible: Vec::new() };
        ledger.lock().unwrap().tags.insert(key, settled);
    }
}

/// `SHALE_KILLS` makes it longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_keeps_what_it_acknowledged() {
    let kills = std::env::var("SHALE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let root = tempfile::tempdir().unwrap();
    let config = shale_registry::Config { root: root.path().to_owned(), ..Default::default() };
    let ledger = Ledger::default();
    let collected = Arc::new(AtomicU64::new(0));
    let mut moment = 12_345_u64;
    for round in 0..5 * kills {
        // A slow machine may take more lives until the collection found something in one.
        if round >= kills && collected.load(Ordering::Relaxed) > 0 {
            break;
        }
        let (mut child, address) = start(root.path());
        verify(address, &ledger).await;
        let workers: Vec<_> =
            (0..4).map(|worker| tokio::spawn(work(address, worker, round, Arc::clone(&ledger)))).collect();
        let collecting = {
            let (config, collected) = (config.clone(), Arc::clone(&collected));
            tokio::spawn(async move {
                let untagged_after = Some(Duration::ZERO);
                let options =
                    CollectRequest { grace: Some(GRACE), untagged_after, ..CollectRequest::default() };
                while let Ok(went) = commands::gc(&config, options).await {
                    collected.fetch_add(went.blobs, Ordering::Relaxed);
                }
            })
        };
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_micros(20_000 + (moment >> 33) % 1_000_000)).await;
        collecting.abort();
        child.kill().unwrap();
        child.wait().unwrap();
        for worker in workers {
            worker.await.unwrap();
        }
    }
    let (mut child, address) = start(root.path());
    verify(address, &ledger).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let (collected, slow) = (collected.load(Ordering::Relaxed), ledger.lock().unwrap().unpromised.len());
    println!("{kills} kills, {collected} blobs collected, {slow} slow pushes");
    assert!(collected > 0, "nothing was collected");
    assert_eq!(commands::fsck(&config, false).await.unwrap().findings, []);
    let at_once = CollectRequest {
        grace: Some(Duration::ZERO),
        uploads_after: Some(Duration::ZERO),
        untagged_after: Some(Duration::ZERO),
    };
    commands::gc(&config, at_once).await.unwrap();
    assert_eq!(commands::gc(&config, at_once).await.unwrap(), Default::default());
    let left = std::fs::read_dir(root.path().join("shale/uploads")).unwrap().count();
    assert_eq!(left, 0, "uploads are left");
}
