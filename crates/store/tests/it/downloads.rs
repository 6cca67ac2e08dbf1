//! Claims on blobs and the bytes that stay.

use std::fs;
use std::io::Read;
use std::time::{Duration, SystemTime};

use shale_oci::Digest;
use shale_store::{Garbage, GcOptions};

use crate::fixture::open;

#[test]
fn a_partial_blob_stays_for_the_next_claim() {
    let directory = tempfile::tempdir().unwrap();
    let (store, other) = (open(directory.path()), open(directory.path()));
    let digest = Digest::sha256(b"blob");
    let mut claim = store.claim_blob(digest).unwrap();
    assert!(other.try_claim_blob(digest).unwrap().is_none());
    claim.append(b"bl").unwrap();
    assert!(other.downloads().unwrap()[0].is_claimed);
    drop(claim);
    let mut claim = other.try_claim_blob(digest).unwrap().unwrap();
    assert_eq!(claim.length_bytes(), 2);
    claim.append(b"ob").unwrap();
    let mut content = Vec::new();
    claim.reader().unwrap().read_to_end(&mut content).unwrap();
    assert_eq!(content, b"blob");
    claim.restart().unwrap();
    assert_eq!(claim.length_bytes(), 0);
    claim.append(b"x").unwrap();
    claim.discard().unwrap();
    assert_eq!(store.downloads().unwrap(), []);
}

#[test]
fn who_waits_for_a_claim_gets_it_when_the_first_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let digest = Digest::sha256(b"blob");
    for kept in [false, true] {
        let mut claim = store.claim_blob(digest).unwrap();
        claim.append(b"bl").unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| store.claim_blob(digest).unwrap().length_bytes());
            match kept {
                true => drop(claim),
                false => claim.discard().unwrap(),
            }
            assert_eq!(waiter.join().unwrap(), if kept { 2 } else { 0 });
        });
    }
    store.claim_blob(digest).unwrap().discard().unwrap();
    drop(store.claim_blob(digest).unwrap());
    assert_eq!(fs::read_dir(directory.path().join("shale/downloads")).unwrap().count(), 0);
}

#[test]
fn gc_removes_old_downloads_that_nobody_claims() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (old, claimed) = (Digest::sha256(b"old"), Digest::sha256(b"claimed"));
    store.claim_blob(old).unwrap().append(b"12345").unwrap();
    let mut claim = store.claim_blob(claimed).unwrap();
    claim.append(b"1").unwrap();
    let now = SystemTime::now();
    let before = |downloads_before| GcOptions { dry_run: false, downloads_before };
    assert_eq!(store.gc(before(now - Duration::from_secs(3600))).unwrap().items, []);
    let report = store.gc(before(now + Duration::from_secs(3600))).unwrap();
    assert_eq!(report.items.len(), 1);
    assert_eq!((report.items[0].garbage.clone(), report.size_bytes()), (Garbage::Download(old), 5));
}
