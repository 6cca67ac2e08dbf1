//! What every blob store must do; each implementation runs all of it.

use bytes::Bytes;
use shale_oci::{Algorithm, Digest};
use std::time::Duration;

use super::{BlobError, BlobStore};
use crate::name::UploadId;

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
        writer.append(vec![Bytes::from_static(chunk)]).await.unwrap();
    }
    store.publish(writer, digest).await
}

pub(super) async fn all(store: &dyn BlobStore) {
    a_blob_is_what_was_written(store).await;
    other_bytes_are_refused_and_the_upload_goes_on(store).await;
    an_upload_goes_on_where_it_was(store).await;
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
    writer.append(vec![Bytes::from_static(b"one")]).await.unwrap();
    let refused = store.publish(writer, wrong).await.unwrap_err();
    assert!(matches!(refused.reason, BlobError::WrongDigest { actual } if actual == Digest::sha256(b"one")));
    assert_eq!(read(store, wrong).await, None);
    let mut writer = store.open_upload(id, Algorithm::Sha256, refused.paused).await.unwrap();
    writer.append(vec![Bytes::from_static(b"two")]).await.unwrap();
    assert_eq!(store.publish(writer, right).await.unwrap(), 6);
    assert_eq!(read(store, right).await.as_deref(), Some(&b"onetwo"[..]));
}

async fn an_upload_goes_on_where_it_was(store: &dyn BlobStore) {
    let id = UploadId::random();
    let mut writer = store.open_upload(id, Algorithm::Sha256, None).await.unwrap();
    writer.append(vec![Bytes::from_static(b"abc"), Bytes::from_static(b"def")]).await.unwrap();
    assert_eq!(writer.received().await.unwrap(), 6);
    let known = writer.pause().await.unwrap();
    // With what is known, and, as after a restart, without.
    for known in [Some(known), None] {
        let mut writer = store.open_upload(id, Algorithm::Sha256, known).await.unwrap();
        assert_eq!(writer.received().await.unwrap(), 6);
    }
    assert_eq!(store.uploads(Duration::ZERO).await.unwrap(), [id]);
    assert!(store.uploads(Duration::from_secs(3600)).await.unwrap().is_empty());
    let mut writer = store.open_upload(id, Algorithm::Sha256, None).await.unwrap();
    writer.append(vec![Bytes::from_static(b"ghi")]).await.unwrap();
    assert_eq!(store.publish(writer, Digest::sha256(b"abcdefghi")).await.unwrap(), 9);
    let id = UploadId::random();
    drop(store.open_upload(id, Algorithm::Sha256, None).await.unwrap());
    for _ in 0..2 {
        store.remove_upload(id).await.unwrap();
    }
    assert!(store.uploads(Duration::ZERO).await.unwrap().is_empty());
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
