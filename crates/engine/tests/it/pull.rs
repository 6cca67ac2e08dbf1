//! Pulls beside somebody who has a lock, and from somebody who sends too much.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use shale_engine::Engine;
use shale_engine::progress::{Progress, Silent, Status};
use shale_engine::pull::{PullError, Pulled};
use shale_oci::Reference;
use shale_registry_client::BlobError;
use shale_testkit::bad_registry::BadRegistry;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::archive::engine;
use crate::check::client;

/// Far longer than what is waited for takes; only what never comes is told by it.
const PATIENCE: Duration = Duration::from_secs(30);

fn reference(registry: &BadRegistry) -> Reference {
    Reference::parse(&format!("{}/app/web:latest", registry.host())).unwrap()
}

/// Whether somebody waits for a flock on `file`, as `/proc/locks` tells: `1: -> FLOCK ADVISORY READ 7 08:01:42 0 EOF`.
fn is_waited_for(file: &File) -> bool {
    let inode = format!(":{}", file.metadata().unwrap().ino());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks
        .lines()
        .any(|line| line.split_whitespace().nth(1) == Some("->") && line.contains(&format!("{inode} ")))
}

/// Tells of the first layer that waits for another pull.
struct Waits(Mutex<Sender<()>>);

impl Progress for Waits {
    fn layer(&self, _id: &str, status: &Status) {
        if *status == Status::Waiting {
            let _ = self.0.lock().unwrap().send(());
        }
    }

    fn message(&self, _text: &str) {}
}

/// A pull with a runtime of its own, which waits for a blob that the caller has claimed.
fn waiting_pull(engine: &Engine, registry: &BadRegistry) -> (Runtime, JoinHandle<Result<Pulled, PullError>>) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (waits, is_waiting) = channel();
    let progress: Arc<dyn Progress> = Arc::new(Waits(Mutex::new(waits)));
    let (engine, reference) = (engine.clone(), reference(registry));
    let pulling = runtime.spawn(async move { engine.pull(&client(), &reference, None, &progress).await });
    is_waiting.recv_timeout(PATIENCE).unwrap();
    (runtime, pulling)
}

#[test]
fn a_wait_for_another_pull_can_be_given_up() {
    let registry = BadRegistry::start("good");
    let (_root, engine) = engine();
    let blob = registry.image().layers[0].blob.digest.parse().unwrap();
    let _claim = engine.store().claim_blob(blob).unwrap();
    let (runtime, pulling) = waiting_pull(&engine, &registry);
    pulling.abort();
    let (ended, has_ended) = channel();
    std::thread::spawn(move || {
        // As a program that ends: it waits for all threads of the runtime.
        drop(runtime);
        let _ = ended.send(());
    });
    assert!(has_ended.recv_timeout(PATIENCE).is_ok(), "a thread waits for the claim");
}

#[test]
fn a_pull_goes_on_when_the_other_one_has_ended() {
    let registry = BadRegistry::start("good");
    let (_root, engine) = engine();
    let blob = registry.image().layers[0].blob.digest.parse().unwrap();
    let claim = engine.store().claim_blob(blob).unwrap();
    let (runtime, pulling) = waiting_pull(&engine, &registry);
    drop(claim);
    assert!(runtime.block_on(pulling).unwrap().unwrap().is_new);
}

#[test]
fn a_blob_with_more_bytes_than_announced_is_refused_whenever_they_come() {
    for behaviour in ["blob-extra-chunked", "blob-extra-later"] {
        let registry = BadRegistry::start(behaviour);
        let (_root, engine) = engine();
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let silent: Arc<dyn Progress> = Arc::new(Silent);
        let reference = reference(&registry);
        let pulled = runtime.block_on(engine.pull(&client(), &reference, None, &silent));
        assert!(matches!(pulled, Err(PullError::Blob(BlobError::TooLong { .. }))), "{behaviour}: {pulled:?}");
        assert!(engine.store().references().unwrap().iter().next().is_none(), "{behaviour}");
    }
}

#[test]
fn whoever_has_the_stores_lock_stops_pulls_and_nothing_else() {
    let registry = BadRegistry::start("good");
    let (root, engine) = engine();
    let lock = File::create(root.path().join("shale/lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let (done, is_done) = channel();
    let pulling = std::thread::spawn(move || {
        // One thread for everything: what blocks it, blocks the loop below.
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let pulled = runtime.block_on(async {
            let silent: Arc<dyn Progress> = Arc::new(Silent);
            let (client, reference) = (client(), reference(&registry));
            let serving = async {
                while !is_waited_for(&lock) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                flock(&lock, FlockOperation::Unlock).unwrap();
            };
            tokio::join!(engine.pull(&client, &reference, None, &silent), serving).0
        });
        done.send(()).unwrap();
        pulled.unwrap()
    });
    assert!(is_done.recv_timeout(PATIENCE).is_ok(), "the pull holds the thread of the runtime");
    assert!(pulling.join().unwrap().is_new);
}
