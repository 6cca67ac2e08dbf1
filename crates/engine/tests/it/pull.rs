//! Pulls beside somebody who has a lock.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use shale_engine::progress::{Progress, Silent};
use shale_oci::Reference;
use shale_testkit::bad_registry::BadRegistry;
use tokio::runtime::Builder;

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
