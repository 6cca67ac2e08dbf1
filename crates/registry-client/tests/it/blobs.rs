//! Every behaviour of a registry that serves configs and layers.

use std::time::{Duration, Instant};

use shale_oci::Digester;
use shale_registry_client::{BlobError, Event, RedirectRefusal, RequestError};
use shale_testkit::bad_registry::Place;

use crate::support::{Case, descriptor, is_alone, latest, peak_memory_bytes, read};

async fn get(behaviour: &str) -> (Case, Result<(), BlobError>) {
    let case = Case::new(behaviour);
    let begin = Instant::now();
    let result = case.read_layer().await;
    assert!(begin.elapsed() < Duration::from_secs(20), "{behaviour} took {:?}", begin.elapsed());
    case.assert_nothing_leaked(behaviour);
    let result = result.map(|bytes| {
        let expected = &case.registry.image().layers.last().unwrap().blob.bytes;
        assert_eq!(&bytes, expected, "{behaviour}");
    });
    (case, result)
}

#[tokio::test]
async fn the_right_bytes_are_accepted() {
    for behaviour in [
        "good",
        "blob-wrong-digest-header",
        "blob-no-length",
        "blob-ce-lie",
        "blob-redir-chain",
        "blob-redir-evilport",
        "blob-redir-evilhost",
        "blob-redir-userinfo",
        "blob-redir-sub",
        "blob-redir-cookie",
    ] {
        let (case, result) = get(behaviour).await;
        assert!(result.is_ok(), "{behaviour}: {result:?}");
        let elsewhere = case.registry.requests().into_iter().filter(|(place, _)| *place != Place::Home);
        for (_, request) in elsewhere {
            assert_eq!(request.header("authorization"), None, "{behaviour}");
        }
    }
}

#[tokio::test]
async fn passing_faults_are_retried() {
    for behaviour in ["blob-500-twice", "blob-429-once", "blob-403-redirect-expired"] {
        let (case, result) = get(behaviour).await;
        assert!(result.is_ok(), "{behaviour}: {result:?}");
        assert!(!case.events.lock().unwrap().is_empty(), "{behaviour}");
    }
}

#[tokio::test]
async fn a_broken_blob_goes_on_where_it_broke() {
    let (case, result) = get("blob-reset-once-range").await;
    assert!(result.is_ok(), "{result:?}");
    let requests = case.registry.requests_for("/blobs/");
    assert_eq!(requests.len(), 2);
    // A reset may take bytes with it that were on their way.
    let from = requests[1]
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let half = case.layer().size_bytes / 2;
    assert!(from.is_some_and(|from: u64| 0 < from && from <= half), "{from:?} of {half}");
    let (case, result) = get("blob-stall").await;
    assert!(result.is_ok(), "{result:?}");
    assert!(case.registry.requests_for("/blobs/")[1].header("range").is_some());
}

#[tokio::test]
async fn a_registry_that_knows_no_ranges_is_read_from_the_begin() {
    for behaviour in [
        "blob-reset-once-norange",
        "blob-reset-once-206wrong",
        "blob-reset-once-206zero",
        "blob-reset-once-416",
    ] {
        let (case, result) = get(behaviour).await;
        assert!(result.is_ok(), "{behaviour}: {result:?}");
        let requests = case.registry.requests_for("/blobs/");
        assert!(requests.len() <= 3, "{behaviour}: {} requests", requests.len());
    }
}

#[tokio::test]
async fn a_blob_comes_through_while_there_is_progress() {
    // 300 KB in such pieces: more connections than a request without progress gets.
    for (behaviour, requests_min) in [("blob-reset-every-50k", 6), ("blob-reset-every-5k", 60)] {
        let (case, result) = get(behaviour).await;
        assert!(result.is_ok(), "{behaviour}: {result:?}");
        assert!(case.registry.requests_for("/blobs/").len() >= requests_min, "{behaviour}");
    }
}

#[tokio::test]
async fn without_progress_the_tries_end() {
    for (behaviour, requests_max) in [
        ("blob-reset-always", 6),
        ("blob-short-close", 6),
        ("blob-503-always", 5),
        // A byte now and then is no progress: at that pace the blob would take a day.
        ("blob-reset-every-byte", 5),
    ] {
        let (case, result) = get(behaviour).await;
        let bounded = case.registry.requests_for("/blobs/").len() <= requests_max;
        match behaviour {
            // The rest comes by a range, and that is right.
            "blob-short-close" => assert!(result.is_err(), "{result:?}"),
            _ => assert!(matches!(result, Err(BlobError::Request(_))), "{behaviour}: {result:?}"),
        }
        assert!(bounded, "{behaviour}: {} requests", case.registry.requests_for("/blobs/").len());
    }
}

#[tokio::test]
async fn wrong_bytes_are_refused() {
    for behaviour in ["blob-wrong-content", "blob-flip-last"] {
        let (_, result) = get(behaviour).await;
        assert!(matches!(result, Err(BlobError::DigestMismatch { .. })), "{behaviour}: {result:?}");
    }
    for behaviour in ["blob-short-cl", "blob-extra", "blob-html", "blob-ce-gzip"] {
        let (case, result) = get(behaviour).await;
        assert!(matches!(result, Err(BlobError::WrongSize { .. })), "{behaviour}: {result:?}");
        assert_eq!(case.registry.requests_for("/blobs/").len(), 1, "{behaviour}");
    }
    for behaviour in ["blob-extra-chunked", "blob-extra-later", "blob-infinite"] {
        let (case, result) = get(behaviour).await;
        assert!(matches!(result, Err(BlobError::TooLong { .. })), "{behaviour}: {result:?}");
        assert_eq!(case.registry.requests_for("/blobs/").len(), 1, "{behaviour}");
    }
    let (_, result) = get("blob-204").await;
    assert!(matches!(result, Err(BlobError::Request(RequestError::Unexpected { .. }))), "{result:?}");
}

#[tokio::test]
async fn bad_redirects_are_refused_without_a_storm() {
    for (behaviour, expected, requests) in [
        ("blob-redir-loop", RedirectRefusal::TooMany { hops_max: 10 }, 11),
        ("blob-redir-file", RedirectRefusal::Invalid, 1),
        ("blob-redir-noloc", RedirectRefusal::Missing, 1),
    ] {
        let (case, result) = get(behaviour).await;
        let Err(BlobError::Request(RequestError::Redirect { reason, .. })) = result else {
            panic!("{behaviour}: {result:?}")
        };
        assert_eq!(reason, expected, "{behaviour}");
        assert_eq!(case.registry.requests_for("/blobs/").len(), requests, "{behaviour}");
    }
}

#[tokio::test]
async fn a_blob_in_drops_is_given_up() {
    let (case, result) = get("blob-drip").await;
    assert!(result.is_err(), "{result:?}");
    assert!(case.registry.requests_for("/blobs/").len() <= 2);
}

#[tokio::test]
async fn a_config_is_bounded_by_its_descriptor() {
    let case = Case::new("config-infinite");
    let config = descriptor(&case.registry.image().config);
    let result = read(&case.client, &case.repository, &config).await;
    assert!(matches!(result, Err(BlobError::TooLong { .. })), "{result:?}");
    let case = Case::new("config-wrong");
    let config = descriptor(&case.registry.image().config);
    let result = read(&case.client, &case.repository, &config).await;
    assert!(matches!(result, Err(BlobError::DigestMismatch { .. })), "{result:?}");
}

#[tokio::test]
async fn a_partial_file_is_completed() {
    let case = Case::new("good");
    let layer = case.layer();
    let bytes = case.registry.image().layers.last().unwrap().blob.bytes.clone();
    let mut digester = Digester::sha256();
    digester.update(&bytes[..1000]);
    let mut blob = case.client.blob(&case.repository, &layer, 1000).unwrap().hashed(digester);
    let mut rest = Vec::new();
    while let Some(chunk) = blob.chunk().await.unwrap() {
        rest.extend_from_slice(&chunk);
    }
    assert_eq!(rest, &bytes[1000..]);
    assert_eq!(case.registry.requests_for("/blobs/")[0].header("range"), Some("bytes=1000-"));
}

#[tokio::test]
async fn a_listener_hears_why_a_blob_is_tried_again() {
    let case = Case::new("blob-reset-once-range");
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = std::sync::Arc::clone(&heard);
    let blob = case.client.blob(&case.repository, &case.layer(), 0).unwrap();
    let mut blob = blob.on_event(move |event| tell.lock().unwrap().push(event.clone()));
    while blob.chunk().await.unwrap().is_some() {}
    let heard = heard.lock().unwrap();
    let [Event::Retry { subject, reason, .. }] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!(*subject, case.layer().digest.to_string());
    assert!(reason.contains("could not talk to"), "{reason}");
}

#[tokio::test]
async fn memory_stays_small_whatever_comes() {
    // Alone in a process, for the others' servers hold memory of their own.
    if !is_alone("blobs::memory_stays_small_whatever_comes", &[]) {
        return;
    }
    for behaviour in ["blob-infinite", "blob-extra-chunked", "blob-wrong-content", "good"] {
        let _ = get(behaviour).await;
    }
    for behaviour in ["man-infinite", "man-100m", "man-404-huge", "auth-infinite"] {
        let case = Case::new(behaviour);
        assert!(case.client.manifest(&case.repository, &latest()).await.is_err());
    }
    let peak = peak_memory_bytes();
    // The registry's own 20 MB error text is in here, and what a debug build maps.
    assert!(peak < 100 << 20, "{peak} bytes");
}

#[tokio::test]
async fn credentials_stay_at_home_when_a_blob_is_elsewhere() {
    for behaviour in [
        "cred-basic-blob-redir-evilport",
        "cred-basic-blob-redir-sub",
        "cred-basic-blob-redir-cookie",
        "cred-ok-blob-redir-evilhost",
        "cred-ok-blob-redir-evilport",
    ] {
        let (case, result) = get(behaviour).await;
        assert!(result.is_ok(), "{behaviour}: {result:?}");
        assert!(case.registry.strangers_were_asked(), "{behaviour}");
    }
}
