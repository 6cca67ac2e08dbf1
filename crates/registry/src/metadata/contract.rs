//! What every metadata storage must do; each implementation runs all of it.

use bytes::Bytes;
use shale_oci::{Algorithm, Digest};

use super::{Cut, Metadata, NewManifest, OpenUpload, Page, Target, TargetKind};
use crate::api::route::Reference;
use crate::name::{RepositoryName, Tag, UploadId};

fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn page(after: &str, limit: usize) -> Page {
    Page { after: Some(after.to_owned()), limit }
}

fn manifest(text: &'static str, blobs: &[&str], children: &[&str], tags: &[&str]) -> NewManifest {
    let target =
        |kind| move |text: &&str| Target { digest: digest(text), kind, size_bytes: text.len() as u64 };
    let blobs = blobs.iter().map(target(TargetKind::Blob));
    NewManifest {
        digest: digest(text),
        media_type: "a/b".to_owned(),
        bytes: Bytes::from_static(text.as_bytes()),
        artifact_type: Some("x/y".to_owned()),
        subject: None,
        referrer: None,
        targets: blobs.chain(children.iter().map(target(TargetKind::Manifest))).collect(),
        tags: tags.iter().map(|text| tag(text)).collect(),
    }
}

async fn pointed_at(metadata: &dyn Metadata, repository: &RepositoryName, text: &str) -> Option<Digest> {
    let reference = Reference::Tag(tag(text));
    metadata.find_manifest(repository, &reference).await.unwrap().map(|manifest| manifest.digest)
}

pub(super) async fn all(metadata: &dyn Metadata) {
    blobs_belong_to_repositories(metadata).await;
    manifests_and_tags(metadata).await;
    lists_are_in_byte_order(metadata).await;
    uploads(metadata).await;
    events_wait_in_order(metadata).await;
    garbage(metadata).await;
}

async fn blobs_belong_to_repositories(metadata: &dyn Metadata) {
    let (a, b, blob) = (name("blobs/a"), name("blobs/b"), digest("blob"));
    assert_eq!(metadata.find_blob(&a, blob).await.unwrap(), None);
    assert_eq!(metadata.mount_blob(&b, vec![a.clone()], blob, 1).await.unwrap(), None);
    for _ in 0..2 {
        metadata.link_blob(&a, blob, 4, 1).await.unwrap();
        assert_eq!(metadata.find_blob(&a, blob).await.unwrap(), Some(4));
    }
    assert_eq!(metadata.find_blob(&b, blob).await.unwrap(), None);
    assert_eq!(metadata.holders(blob, 9).await.unwrap(), std::slice::from_ref(&a));
    assert_eq!(metadata.mount_blob(&b, vec![name("none"), a.clone()], blob, 1).await.unwrap(), Some(4));
    assert!(metadata.unlink_blob(&a, blob).await.unwrap());
    assert!(!metadata.unlink_blob(&a, blob).await.unwrap());
    assert_eq!(metadata.find_blob(&a, blob).await.unwrap(), None);
    assert_eq!(metadata.find_blob(&b, blob).await.unwrap(), Some(4));
    metadata.drop_blob(blob).await.unwrap();
    assert_eq!(metadata.find_blob(&b, blob).await.unwrap(), None);
}

async fn manifests_and_tags(metadata: &dyn Metadata) {
    let a = name("manifests/a");
    metadata.link_blob(&a, digest("layer"), 5, 1).await.unwrap();
    let image = manifest("image", &["layer", "lost"], &["child"], &["v1", "v2"]);
    let missing = metadata.missing(&a, image.targets.clone()).await.unwrap();
    assert_eq!(missing.digests, [digest("lost"), digest("child")]);
    let larger = Target { digest: digest("layer"), kind: TargetKind::Blob, size_bytes: 6 };
    assert_eq!(metadata.missing(&a, vec![larger]).await.unwrap().other_size, [digest("layer")]);
    for now in [2, 3] {
        metadata.put_manifest(&a, image.clone(), now).await.unwrap();
    }
    let found = metadata.find_manifest(&a, &Reference::Digest(digest("image"))).await.unwrap().unwrap();
    assert_eq!((&found.bytes[..], found.media_type.as_str()), (&b"image"[..], "a/b"));
    assert_eq!(pointed_at(metadata, &a, "v1").await, Some(digest("image")));
    metadata.put_manifest(&a, manifest("other", &[], &[], &["v1"]), 4).await.unwrap();
    assert_eq!(pointed_at(metadata, &a, "v1").await, Some(digest("other")));
    assert_eq!(metadata.tags_of(&a, digest("image")).await.unwrap(), ["v2"]);
    assert_eq!(metadata.delete_tag(&a, &tag("v1")).await.unwrap(), Some(digest("other")));
    assert_eq!(metadata.delete_tag(&a, &tag("v1")).await.unwrap(), None);
    assert_eq!(metadata.delete_manifest(&a, digest("image")).await.unwrap(), Some(vec!["v2".to_owned()]));
    assert_eq!(metadata.delete_manifest(&a, digest("image")).await.unwrap(), None);
    assert_eq!(pointed_at(metadata, &a, "v2").await, None);
    let b = name("manifests/b");
    metadata.put_manifest(&b, manifest("other", &[], &[], &["x"]), 5).await.unwrap();
    assert!(metadata.delete_repository(&a).await.unwrap());
    assert!(!metadata.delete_repository(&a).await.unwrap());
    // The bytes are shared; the other repository keeps them.
    assert_eq!(pointed_at(metadata, &b, "x").await, Some(digest("other")));
    assert_eq!(metadata.check_manifests().await.unwrap(), (1, Vec::new()));
    metadata.delete_repository(&b).await.unwrap();
}

async fn lists_are_in_byte_order(metadata: &dyn Metadata) {
    let a = name("lists/a");
    assert_eq!(metadata.tags(&a, page("", 9)).await.unwrap(), None);
    metadata.put_manifest(&a, manifest("one", &[], &[], &["b", "B", "_", "a.1", "a-1"]), 1).await.unwrap();
    let tags = |after, limit| metadata.tags(&a, page(after, limit));
    assert_eq!(tags("", 9).await.unwrap().unwrap(), ["B", "_", "a-1", "a.1", "b"]);
    assert_eq!(tags("_", 2).await.unwrap().unwrap(), ["a-1", "a.1"]);
    assert_eq!(tags("b", 2).await.unwrap().unwrap(), [""; 0]);
    metadata.put_manifest(&name("lists/b"), manifest("one", &[], &[], &[]), 1).await.unwrap();
    // One that holds a blob and no manifest is not shown.
    metadata.link_blob(&name("lists/c"), digest("x"), 1, 1).await.unwrap();
    assert_eq!(metadata.repositories(page("", 9)).await.unwrap(), ["lists/a", "lists/b"]);
    assert_eq!(metadata.repositories(page("lists/a", 9)).await.unwrap(), ["lists/b"]);
    let found = metadata.summaries("TS/A".to_owned(), page("", 9)).await.unwrap();
    assert_eq!((found.len(), found[0].tags, found[0].manifests), (1, 5, 1));
    assert!(metadata.summaries("%".to_owned(), page("", 9)).await.unwrap().is_empty());
    for (text, kind) in [("s1", "k/1"), ("s2", "k/2")] {
        let referrer = NewManifest {
            subject: Some(digest("one")),
            referrer: Some(format!("\"{text}\"")),
            artifact_type: Some(kind.to_owned()),
            ..manifest(text, &[], &[], &[])
        };
        metadata.put_manifest(&a, referrer, 1).await.unwrap();
    }
    let all = metadata.referrers(&a, digest("one"), None, page("", 9)).await.unwrap();
    assert_eq!(all.len(), 2);
    let first = all[0].digest.to_string();
    assert_eq!(metadata.referrers(&a, digest("one"), None, page(&first, 9)).await.unwrap(), &all[1..]);
    let second = metadata.referrers(&a, digest("one"), Some("k/2".to_owned()), page("", 9)).await.unwrap();
    assert_eq!(second.iter().map(|referrer| referrer.descriptor.as_str()).collect::<Vec<_>>(), ["\"s2\""]);
    for text in ["lists/a", "lists/b", "lists/c"] {
        metadata.delete_repository(&name(text)).await.unwrap();
    }
}

async fn uploads(metadata: &dyn Metadata) {
    let id = UploadId::random();
    let upload = OpenUpload { id, repository: name("up/a"), algorithm: Algorithm::Sha512, touched_at: 10 };
    metadata.create_upload(upload.clone()).await.unwrap();
    assert_eq!(metadata.find_upload(id).await.unwrap(), Some(upload.clone()));
    assert!(metadata.uploads_before(10, 9).await.unwrap().is_empty());
    assert_eq!(metadata.uploads_before(11, 9).await.unwrap(), std::slice::from_ref(&upload));
    metadata.create_upload(OpenUpload { touched_at: 20, ..upload }).await.unwrap();
    assert!(metadata.uploads_before(20, 9).await.unwrap().is_empty());
    assert!(metadata.remove_upload(id).await.unwrap());
    assert!(!metadata.remove_upload(id).await.unwrap());
    assert_eq!(metadata.find_upload(id).await.unwrap(), None);
}

async fn events_wait_in_order(metadata: &dyn Metadata) {
    let to = |endpoint: &str| metadata.next_event(endpoint.to_owned());
    for body in ["1", "2"] {
        metadata.queue_event("a".to_owned(), body.to_owned(), 1).await.unwrap();
    }
    assert_eq!(to("b").await.unwrap(), None);
    for body in ["1", "2"] {
        let (number, found) = to("a").await.unwrap().unwrap();
        assert_eq!(found, body);
        metadata.remove_event(number).await.unwrap();
    }
    assert_eq!(to("a").await.unwrap(), None);
    metadata.set_setting("key", "1").await.unwrap();
    metadata.set_setting("key", "2").await.unwrap();
    assert_eq!(metadata.setting("key").await.unwrap().as_deref(), Some("2"));
}

async fn garbage(metadata: &dyn Metadata) {
    let a = name("gc/a");
    for (text, at) in [("used", 1), ("loose", 1), ("fresh", 100)] {
        metadata.link_blob(&a, digest(text), text.len() as u64, at).await.unwrap();
    }
    metadata.put_manifest(&a, manifest("child", &["used"], &[], &[]), 1).await.unwrap();
    metadata.put_manifest(&a, manifest("index", &[], &["child"], &["multi"]), 1).await.unwrap();
    metadata.put_manifest(&a, manifest("dead", &[], &[], &[]), 1).await.unwrap();
    metadata.put_manifest(&a, manifest("young", &[], &[], &[]), 100).await.unwrap();
    let none = Cut::default();
    assert_eq!(metadata.cut_untagged(50, Box::new(|_, _| false)).await.unwrap(), none);
    assert_eq!(metadata.cut_untagged(50, Box::new(|_, _| true)).await.unwrap().rows, 1);
    assert_eq!(metadata.cut_links(50, 9, Box::new(|_, _| false)).await.unwrap().rows, 0);
    let cut =
        metadata.cut_links(50, 9, Box::new(|name, found| name == "gc/a" && found == digest("loose"))).await;
    assert_eq!(cut.unwrap(), Cut { rows: 1, more: false });
    assert_eq!(metadata.find_blob(&a, digest("loose")).await.unwrap(), None);
    assert_eq!(metadata.find_blob(&a, digest("fresh")).await.unwrap(), Some(5));
    let unheld = metadata.unheld_blobs(None, 99).await.unwrap();
    assert!(unheld.contains(&digest("loose")) && !unheld.contains(&digest("used")));
    // One that is held again in the meantime is not forgotten.
    metadata.link_blob(&name("gc/b"), digest("loose"), 5, 100).await.unwrap();
    let forgotten = metadata.forget_blobs(unheld.clone()).await.unwrap();
    assert_eq!(forgotten.len(), unheld.len() - 1);
    assert_eq!(metadata.known_blobs(vec![digest("loose"), digest("none")]).await.unwrap(), [digest("loose")]);
    assert!(metadata.blobs(None, 99).await.unwrap().contains(&(digest("used"), 4)));
    metadata.unlink_blob(&name("gc/b"), digest("loose")).await.unwrap();
    // Those that the cases before this one emptied, then the one of this case.
    metadata.cut_repositories(100).await.unwrap();
    assert_eq!(metadata.cut_repositories(100).await.unwrap(), none);
    assert_eq!(metadata.cut_repositories(101).await.unwrap().rows, 1);
    // With the index, all that it kept alive goes.
    metadata.delete_tag(&a, &tag("multi")).await.unwrap();
    assert_eq!(metadata.cut_untagged(50, Box::new(|_, _| true)).await.unwrap().rows, 2);
    assert_eq!(metadata.cut_links(50, 9, Box::new(|_, _| true)).await.unwrap().rows, 1);
    metadata.delete_repository(&a).await.unwrap();
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("db");
    all(&super::sqlite::SqliteMetadata::open(&path).unwrap()).await;
    // And again on what the first run left.
    all(&super::sqlite::SqliteMetadata::open(&path).unwrap()).await;
}
