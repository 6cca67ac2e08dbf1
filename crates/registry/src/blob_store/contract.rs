//! What every blob store must do; each implementation runs all of it.

use shale_oci::{Algorithm, Digest};
use std::time::Duration;

use super::{BlobError, BlobStore};
use crate::name::UploadId;

const BATCH_BYTES: usize = 256 << 10;

async fn read(store: &dyn BlobStore, digest: Digest) -> Option<Vec<u8>> {
    match store.open(digest).await {
        Ok(blob) => {
            let mut bytes = vec![0; usize::try_from(blob.size_bytes).unwrap()];
            std::os::unix::fs::FileExt::read_exact_at(&*blob.file, &mut bytes, 0).unwrap();
            Some(bytes)
        }
        Err(BlobError::Missing(missing)) => {
            assert_eq!(missing, digest);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

async fn publish(
    store: &dyn BlobStore,
    chunks: &[&'static [u8]],
    digest: Digest,
) -> Result<u64, super::PublishError> {
    let mut writer = store.open_upload(UploadId::random(), Algorithm::Sha256, None).await.unwrap();
    for chunk in chunks {
        writer.append(chunk, BATCH_BYTES).await.unwrap();
    }
    store.publish(writer, digest).await
}

pub(super) async fn all(store: &dyn BlobStore) {
    a_blob_is_what_was_written(store).await;
    other_bytes_are_refused_and_the_upload_goes_on(store).await;
    an_upload_goes_on_where_it_was(store).await;
    batches_of_any_length_come_together(store).await;
    what_is_removed_is_gone(store).await;
}

async fn a_blob_is_what_was_written(store: &dyn BlobStore) {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let (one, three): (&[&[u8]], &[&[u8]]) = (&[b"a"], &[b"ab", b"", b"cd"]);
        for chunks in [&[][..], one, three] {
            let whole = chunks.concat();
            let digest = Digest::of(algorithm, &whole);
            for _ in 0..2 {
                let size_bytes = publish(store, chunks, digest).await.unwrap();
                assert_eq!(size_bytes, whole.len() as u64);
                assert_eq!(read(store, digest).await, Some(whole.clone()));
            }
            let listed = store.list(algorithm, digest.hash()[0]).await.unwrap();
            assert!(listed.contains(&(digest, whole.len() as u64)));
        }
    }
    assert!(store.uploads(Duration::ZERO).await.unwrap().is_empty());
}

async fn other_bytes_are_refused_and_the_upload_goes_on(store: &dyn BlobStore) {
    let (wrong, right) = (Digest::sha256(b"other"), Digest::sha256(b"onetwo"));
    let id = UploadId::random();
    let mut writer = store.open_upload(id, Algorithm::Sha256, None).await.unwrap();
    writer.append(b"one", BATCH_BYTES).await.unwrap();
    let refused = store.publish(writer, wrong).await.unwrap_err();
    assert!(matches!(refused.reason, BlobError::WrongDigest { actual } if actual == Digest::sha256(b"one")));
    assert_eq!(read(store, wrong).await, None);
    let mut writer = store.open_upload(id, Algorithm::Sha256, refused.paused).await.unwrap();
    writer.append(b"two", BATCH_BYTES).await.unwrap();
    assert_eq!(store.publish(writer, right).await.unwrap(), 6);
    assert_eq!(read(store, right).await.as_deref(), Some(&b"onetwo"[..]));
}

async fn an_upload_goes_on_where_it_was(store: &dyn BlobStore) {
    let id = UploadId::random();
    let mut writer = store.open_upload(id, Algorithm::Sha256, None).await.unwrap();
    writer.append(b"abcdef", BATCH_BYTES).await.unwrap();
    assert_eq!(writer.received(), 6);
    let known = writer.pause().await.unwrap();
    // With what is known, and, as after a restart, without.
    for known in [Some(known), None] {
        let writer = store.open_upload(id, Algorithm::Sha256, known).await.unwrap();
        assert_eq!(writer.received(), 6);
    }
    assert_eq!(store.uploads(Duration::ZERO).await.unwrap(), [id]);
    assert!(store.uploads(Duration::from_secs(3600)).await.unwrap().is_empty());
    let mut writer = store.open_upload(id, Algorithm::Sha256, None).await.unwrap();
    writer.append(b"ghi", BATCH_BYTES).await.unwrap();
    assert_eq!(store.publish(writer, Digest::sha256(b"abcdefghi")).await.unwrap(), 9);
    let id = UploadId::random();
    drop(store.open_upload(id, Algorithm::Sha256, None).await.unwrap());
    for _ in 0..2 {
        store.remove_upload(id).await.unwrap();
    }
    assert!(store.uploads(Duration::ZERO).await.unwrap().is_empty());
}

/// Requests that end at even and at odd places, in batches that get longer and shorter.
async fn batches_of_any_length_come_together(store: &dyn BlobStore) {
    let whole: Vec<u8> = (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let digest = Digest::sha256(&whole);
    for (number, [first, second]) in
        [[100_001, 1_100_000], [1 << 20, (1 << 20) + 1], [4096, 999_999], [0, 0]].into_iter().enumerate()
    {
        let id = UploadId::random();
        let parts = [&whole[..first], &whole[first..second], &whole[second..]];
        let mut known = None;
        for (part, batch_bytes) in parts.into_iter().zip([BATCH_BYTES, 4 * BATCH_BYTES, BATCH_BYTES / 2]) {
            let mut writer = store.open_upload(id, Algorithm::Sha256, known).await.unwrap();
            for chunk in part.chunks(70_001) {
                writer.append(chunk, batch_bytes).await.unwrap();
            }
            // Every second time it goes on as after a restart: nothing is known but the file.
            known = Some(writer.pause().await.unwrap()).filter(|_| number % 2 == 0);
        }
        let writer = store.open_upload(id, Algorithm::Sha256, known).await.unwrap();
        assert_eq!(store.publish(writer, digest).await.unwrap(), 3_000_000);
        assert!(read(store, digest).await.unwrap() == whole);
    }
    let mut writer = store.open_upload(UploadId::random(), Algorithm::Sha256, None).await.unwrap();
    writer.append(b"refused after all", BATCH_BYTES).await.unwrap();
    writer.forget_last();
    assert_eq!(writer.received(), 0);
    writer.append(b"kept", BATCH_BYTES).await.unwrap();
    assert_eq!(store.publish(writer, Digest::sha256(b"kept")).await.unwrap(), 4);
}

async fn what_is_removed_is_gone(store: &dyn BlobStore) {
    let (one, two, none) = (Digest::sha256(b"1"), Digest::sha256(b"22"), Digest::sha256(b"none"));
    publish(store, &[b"1"], one).await.unwrap();
    publish(store, &[b"22"], two).await.unwrap();
    let open = store.open(one).await.unwrap();
    assert_eq!(store.remove(vec![one, none]).await.unwrap(), 1);
    assert_eq!(read(store, one).await, None);
    // Whoever reads it still reads it to its end.
    let mut bytes = [0];
    std::os::unix::fs::FileExt::read_exact_at(&*open.file, &mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"1");
    store.quarantine(two).await.unwrap();
    assert_eq!(read(store, two).await, None);
    publish(store, &[b"22"], two).await.unwrap();
    assert_eq!(read(store, two).await.as_deref(), Some(&b"22"[..]));
}

#[tokio::test]
async fn files_keep_the_contract() {
    let root = tempfile::tempdir().unwrap();
    all(&super::FileBlobStore::open(root.path()).unwrap()).await;
}
