//! Every behaviour of a registry that takes blobs and manifests.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use shale_oci::{Descriptor, Digest, Repository, media_type};
use shale_registry_client::{
    BlobSource, ByteStream, Event, MadeBlob, Mount, PutManifestError, RedirectRefusal, RequestError,
    UploadError,
};
use shale_testkit::image::noise;

use crate::support::{Case, Made, latest};

/// More than what goes in one request.
fn large() -> (Bytes, Descriptor) {
    let bytes = Bytes::from(noise(11, 3 << 20));
    let descriptor = Descriptor::new(media_type::OCI_LAYER, Digest::sha256(&bytes), bytes.len() as u64);
    (bytes, descriptor)
}

fn large_made() -> Made {
    let (bytes, descriptor) = large();
    Made::new(bytes, descriptor)
}

async fn upload(behaviour: &str) -> (Case, Result<(), UploadError>) {
    let case = Case::new(behaviour);
    let (bytes, descriptor) = large();
    let result = case.client.upload_blob(&case.repository, &descriptor, &bytes).await;
    case.assert_nothing_leaked(behaviour);
    if result.is_ok() {
        let stored = case.registry.pushed(&descriptor.digest.to_string());
        assert_eq!(stored.as_deref(), Some(bytes.as_ref()), "{behaviour}");
    }
    (case, result)
}

#[tokio::test]
async fn uploads_get_there() {
    for behaviour in [
        "p-good",
        "p-post-500-twice",
        "p-post-429-once",
        "p-patch-reset",
        "p-patch-wrong-range",
        "p-patch-416",
        "p-patch-forgotten-once",
        "p-patch-busy-1s",
        "p-put-500-twice",
        "cred-ok-p-good",
        "cred-basic-p-good",
    ] {
        let (_, result) = upload(behaviour).await;
        assert!(result.is_ok(), "{behaviour}: {result:?}");
    }
}

#[tokio::test]
async fn an_upload_goes_on_where_the_registry_says() {
    let (case, result) = upload("p-patch-reset").await;
    assert!(result.is_ok(), "{result:?}");
    let patches: Vec<_> =
        case.registry.requests().into_iter().filter(|(_, request)| request.method == "PATCH").collect();
    assert_eq!(patches.len(), 4);
    let sent: usize = patches.iter().map(|(_, request)| request.body.len()).sum();
    assert_eq!(sent, 3 << 20, "no byte that arrived is sent again");
    let range = patches[1].1.header("content-range").unwrap();
    assert_eq!(range, format!("{}-{}", (3 << 20) / 4, (3 << 20) - 1));
}

#[tokio::test]
async fn strange_locations_are_refused() {
    for (behaviour, expected) in
        [("p-noloc", Some(RedirectRefusal::Missing)), ("p-loc-file", Some(RedirectRefusal::Invalid))]
    {
        let (_, result) = upload(behaviour).await;
        let Err(UploadError::Request(RequestError::Redirect { reason, .. })) = result else {
            panic!("{behaviour}: {result:?}")
        };
        assert_eq!(Some(reason), expected);
    }
    for behaviour in ["p-loc-evilhost", "cred-basic-p-loc-evilhost", "cred-ok-p-loc-evilhost"] {
        let (case, result) = upload(behaviour).await;
        let is_refused = matches!(
            result,
            Err(UploadError::Request(RequestError::Redirect {
                reason: RedirectRefusal::OtherOrigin { .. },
                ..
            }))
        );
        assert!(is_refused, "{behaviour}: {result:?}");
        assert!(!case.registry.strangers_were_asked(), "{behaviour}");
    }
}

#[tokio::test]
async fn answers_that_were_not_asked_for_are_errors() {
    let (_, result) = upload("p-201-at-once").await;
    assert!(matches!(result, Err(UploadError::Request(RequestError::Unexpected { .. }))), "{result:?}");
    let (case, result) = upload("p-patch-413").await;
    assert!(matches!(result, Err(UploadError::TooLarge { .. })), "{result:?}");
    assert_eq!(case.registry.requests().iter().filter(|(_, request)| request.method == "PATCH").count(), 1);
    let (case, result) = upload("p-patch-early-500").await;
    assert!(result.is_err());
    assert!(case.registry.requests().len() < 20, "{}", case.registry.requests().len());
    let (case, result) = upload("p-put-400").await;
    assert!(matches!(result, Err(UploadError::DigestRefused { .. })), "{result:?}");
    assert_eq!(case.registry.requests().iter().filter(|(_, request)| request.method == "PUT").count(), 1);
    let (_, result) = upload("p-put-wrong-digest").await;
    assert!(matches!(result, Err(UploadError::DigestMismatch { .. })), "{result:?}");
}

#[tokio::test]
async fn small_blobs_go_in_one_request() {
    let case = Case::new("p-good");
    let bytes = Bytes::from_static(b"small");
    let descriptor = Descriptor::new("x", Digest::sha256(&bytes), 5);
    case.client.upload_blob(&case.repository, &descriptor, &bytes).await.unwrap();
    let methods: Vec<_> = case.registry.requests().into_iter().map(|(_, request)| request.method).collect();
    assert_eq!(methods, ["POST", "PUT"]);
    let put = case.registry.requests_for("digest=").pop().unwrap();
    assert!(put.path.contains("?_state=a%3Db~c&digest=sha256%3A"), "{}", put.path);
    assert_eq!(put.header("content-length"), Some("5"));
}

#[tokio::test]
async fn a_blob_of_unknown_length_is_streamed_and_gets_there() {
    for behaviour in [
        "p-good",
        "p-patch-wrong-range",
        "p-patch-416",
        "p-patch-forgotten-once",
        "p-patch-busy-1s",
        "p-put-500-twice",
        "p-put-lost-once",
        "cred-ok-p-good",
    ] {
        let case = Case::new(behaviour);
        let upload = case.client.start_upload(&case.repository).await.unwrap();
        let result = upload.send_made(&large_made()).await;
        assert!(result.is_ok(), "{behaviour}: {result:?}");
        let (bytes, descriptor) = large();
        let stored = case.registry.pushed(&descriptor.digest.to_string());
        assert_eq!(stored.as_deref(), Some(bytes.as_ref()), "{behaviour}");
        let requests = case.registry.requests();
        let patch = requests.iter().find(|(_, request)| request.method == "PATCH").unwrap();
        assert_eq!(patch.1.header("transfer-encoding"), Some("chunked"));
    }
}

#[tokio::test]
async fn a_closing_answer_that_is_lost_costs_no_second_upload() {
    let (case, result) = upload("p-put-lost-once").await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(case.registry.requests().iter().filter(|(_, request)| request.method == "PATCH").count(), 1);
}

#[tokio::test]
async fn a_busy_registry_is_left_alone_for_as_long_as_it_asks() {
    let case = Case::new("p-patch-busy-1s");
    let upload = case.client.start_upload(&case.repository).await.unwrap();
    upload.send_made(&large_made()).await.unwrap();
    let events = case.events.lock().unwrap();
    let [Event::Retry { delay, .. }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(*delay, Duration::from_secs(1));
}

/// Its disk is bad after the first byte.
struct Failing;

impl BlobSource for Failing {
    fn open(&self, _offset: u64) -> Pin<Box<dyn Future<Output = io::Result<ByteStream>> + Send + '_>> {
        let pieces =
            [Ok(Bytes::from_static(b"x")), Err(io::Error::new(io::ErrorKind::InvalidData, "bad disk"))];
        let stream: ByteStream = Box::pin(futures_util::stream::iter(pieces));
        Box::pin(async move { Ok(stream) })
    }
}

impl MadeBlob for Failing {
    fn descriptor(&self) -> Option<Descriptor> {
        None
    }
}

#[tokio::test]
async fn a_source_that_fails_is_told_from_a_network_that_fails() {
    let case = Case::new("p-good");
    let upload = case.client.start_upload(&case.repository).await.unwrap();
    let result = upload.send_made(&Failing).await;
    let Err(UploadError::Source { source }) = result else { panic!("{result:?}") };
    assert_eq!(source.to_string(), "bad disk");
    let last = case.registry.requests().pop().unwrap().1;
    assert_eq!(last.method, "DELETE", "the upload is given back");
}

#[tokio::test]
async fn a_mount_needs_no_bytes_and_falls_back_to_an_upload() {
    let case = Case::new("p-mount");
    let (bytes, descriptor) = large();
    let from = Repository::parse(&format!("{}/other/img", case.registry.host())).unwrap();
    let mounted = case.client.mount_blob(&case.repository, descriptor.digest, &from).await.unwrap();
    assert!(matches!(mounted, Mount::Mounted));
    assert!(case.registry.requests_for("from=other/img").len() == 1);
    let case = Case::new("p-good");
    let from = Repository::parse(&format!("{}/other/img", case.registry.host())).unwrap();
    let Mount::UploadStarted(upload) =
        case.client.mount_blob(&case.repository, descriptor.digest, &from).await.unwrap()
    else {
        panic!("it cannot be mounted")
    };
    upload.send(&descriptor, &bytes).await.unwrap();
    assert!(case.registry.pushed(&descriptor.digest.to_string()).is_some());
}

#[tokio::test]
async fn manifests_are_put_and_checked() {
    let put = async |behaviour: &str| {
        let case = Case::new(behaviour);
        let body = Bytes::from(case.registry.image().manifest.bytes.clone());
        let result = case
            .client
            .put_manifest(&case.repository, &latest(), media_type::DOCKER_MANIFEST, body.clone())
            .await;
        if let Ok(digest) = &result {
            assert_eq!(*digest, Digest::sha256(&body));
        }
        (case, result)
    };
    for behaviour in ["p-good", "p-mput-200", "p-mput-500-twice"] {
        let (_, result) = put(behaviour).await;
        assert!(result.is_ok(), "{behaviour}: {result:?}");
    }
    let (_, result) = put("p-mput-wrong-digest").await;
    assert!(matches!(result, Err(PutManifestError::DigestMismatch { .. })), "{result:?}");
    let (case, result) = put("p-mput-blob-unknown").await;
    let Err(PutManifestError::MissingContent { digests }) = result else { panic!("{result:?}") };
    assert_eq!(digests, [case.registry.image().config.digest.parse().unwrap()]);
}

#[tokio::test]
async fn what_exists_is_told_with_its_length() {
    let case = Case::new("p-good");
    let layer = case.layer();
    let found = case.client.blob_exists(&case.repository, layer.digest).await.unwrap();
    assert_eq!(found, Some(layer.size_bytes));
    let missing = Digest::sha256(b"nobody has this");
    assert_eq!(case.client.blob_exists(&case.repository, missing).await.unwrap(), None);
    let lying = Case::new("p-head-lies");
    assert_eq!(lying.client.blob_exists(&lying.repository, missing).await.unwrap(), Some(10));
}
