//! Every behaviour of a registry that serves manifests.

use std::time::{Duration, Instant};

use shale_oci::{Target, media_type};
use shale_registry_client::{ManifestError, NetworkFault, RedirectRefusal, RequestError};
use shale_testkit::bad_registry::Place;

use crate::support::{Case, latest};

/// Gets the manifest through a behaviour; checks that it took a bounded time and told no secret.
async fn get(behaviour: &str) -> (Case, Result<(), ManifestError>) {
    let case = Case::new(behaviour);
    let begin = Instant::now();
    let result = case.client.manifest(&case.repository, &latest()).await;
    assert!(begin.elapsed() < Duration::from_secs(20), "{behaviour} took {:?}", begin.elapsed());
    case.assert_nothing_leaked(behaviour);
    let result = result.map(|manifest| {
        assert_eq!(manifest.body, case.registry.image().manifest.bytes, "{behaviour}");
        assert_eq!(manifest.digest.to_string(), case.registry.image().manifest.digest);
        assert_eq!(manifest.content_type, media_type::DOCKER_MANIFEST);
        assert!(!manifest.source.is_mirror());
    });
    (case, result)
}

#[tokio::test]
async fn good_enough_answers_are_accepted() {
    for behaviour in ["good", "man-no-digest-header", "man-redir-evilhost"] {
        let (_, result) = get(behaviour).await;
        assert!(result.is_ok(), "{behaviour}: {result:?}");
    }
}

#[tokio::test]
async fn passing_faults_are_retried() {
    for (behaviour, requests) in [("man-500-twice", 3), ("man-429-once", 2)] {
        let (case, result) = get(behaviour).await;
        assert!(result.is_ok(), "{behaviour}: {result:?}");
        assert_eq!(case.registry.requests().len(), requests, "{behaviour}");
        assert_eq!(case.events.lock().unwrap().len(), requests - 1);
    }
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_kept() {
    let begin = Instant::now();
    let (_, result) = get("man-429-once").await;
    assert!(result.is_ok());
    assert!(
        begin.elapsed() >= Duration::from_secs(1),
        "Retry-After: 1 was answered after {:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn lasting_faults_end_after_a_bounded_number_of_tries() {
    let (case, result) = get("man-503-always").await;
    assert!(matches!(result, Err(ManifestError::Request(RequestError::Unavailable { .. }))), "{result:?}");
    assert_eq!(case.registry.requests().len(), 5);
    let (case, result) = get("man-close").await;
    let Err(ManifestError::Request(RequestError::Network { source, .. })) = result else {
        panic!("{result:?}")
    };
    assert_eq!(source.kind, NetworkFault::Broken);
    assert_eq!(case.registry.requests().len(), 5);
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_an_error_at_once() {
    let (case, result) = get("man-429-long").await;
    let Err(ManifestError::Request(RequestError::RateLimited { retry_after, answer, .. })) = result else {
        panic!("{result:?}")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(99_999)));
    assert_eq!(answer.excerpt, "slow down");
    assert_eq!(case.registry.requests().len(), 1);
}

#[tokio::test]
async fn text_of_the_server_is_escaped_and_cut() {
    let (_, result) = get("man-404-ansi").await;
    let text = result.unwrap_err().to_string();
    assert!(text.contains("not found: manifest unknown: \\u{1b}[2J"), "{text}");
    assert!(!text.contains(char::is_control), "{text}");
    let (_, result) = get("man-404-huge").await;
    let text = result.unwrap_err().to_string();
    assert!(text.len() < 1200, "{} bytes", text.len());
}

#[tokio::test]
async fn what_is_no_manifest_is_refused() {
    for behaviour in ["man-html", "man-ce-gzip", "man-ce-bomb", "man-bad-digest-header"] {
        let (_, result) = get(behaviour).await;
        assert!(matches!(result, Err(ManifestError::NotAManifest { .. })), "{behaviour}: {result:?}");
    }
    for behaviour in ["man-wrong-digest-header", "man-wrong-content"] {
        let (_, result) = get(behaviour).await;
        assert!(matches!(result, Err(ManifestError::DigestMismatch { .. })), "{behaviour}: {result:?}");
    }
}

#[tokio::test]
async fn too_large_a_manifest_is_not_read() {
    for behaviour in ["man-100m", "man-infinite"] {
        let (_, result) = get(behaviour).await;
        assert!(
            matches!(result, Err(ManifestError::TooLarge { limit_bytes: 4_194_304, .. })),
            "{behaviour}: {result:?}"
        );
    }
}

#[tokio::test]
async fn silence_ends_in_a_timeout() {
    for behaviour in ["man-stall", "man-noresponse", "man-hdr-drip", "man-1xx-flood"] {
        let (_, result) = get(behaviour).await;
        assert!(
            matches!(result, Err(ManifestError::Request(RequestError::Timeout { .. }))),
            "{behaviour}: {result:?}"
        );
    }
}

#[tokio::test]
async fn answers_of_unclear_length_are_refused() {
    for behaviour in ["man-te-cl", "man-cl-dup"] {
        let (_, result) = get(behaviour).await;
        assert!(
            matches!(result, Err(ManifestError::Request(RequestError::Malformed { .. }))),
            "{behaviour}: {result:?}"
        );
    }
    for behaviour in ["man-cl-neg", "man-hdr-5m"] {
        let (case, result) = get(behaviour).await;
        let Err(ManifestError::Request(RequestError::Network { source, .. })) = result else {
            panic!("{result:?}")
        };
        assert_eq!(source.kind, NetworkFault::Protocol, "{behaviour}");
        assert_eq!(case.registry.requests().len(), 1, "{behaviour}");
    }
}

#[tokio::test]
async fn redirects_end() {
    let (case, result) = get("man-redir-loop").await;
    let Err(ManifestError::Request(RequestError::Redirect { reason, .. })) = result else {
        panic!("{result:?}")
    };
    assert_eq!(reason, RedirectRefusal::TooMany { hops_max: 10 });
    assert_eq!(case.registry.requests().len(), 11);
}

#[tokio::test]
async fn a_digest_in_the_target_binds_the_bytes_and_not_the_header() {
    let case = Case::new("man-wrong-digest-header");
    let digest = case.registry.image().manifest.digest.parse().unwrap();
    let manifest = case.client.manifest(&case.repository, &Target::Digest(digest)).await.unwrap();
    assert_eq!(manifest.digest, digest);
    let case = Case::new("man-wrong-content");
    let result = case.client.manifest(&case.repository, &Target::Digest(digest)).await;
    assert!(matches!(result, Err(ManifestError::DigestMismatch { .. })), "{result:?}");
}

#[tokio::test]
async fn head_falls_back_to_get_and_is_not_believed() {
    let case = Case::new("man-head-405");
    let head = case.client.head_manifest(&case.repository, &latest()).await.unwrap();
    assert_eq!(head.digest.unwrap().to_string(), case.registry.image().manifest.digest);
    let case = Case::new("man-head-differs");
    let head = case.client.head_manifest(&case.repository, &latest()).await.unwrap();
    assert_ne!(head.digest.unwrap().to_string(), case.registry.image().manifest.digest);
    let manifest = case.client.manifest(&case.repository, &latest()).await.unwrap();
    assert_eq!(manifest.digest.to_string(), case.registry.image().manifest.digest);
}

#[tokio::test]
async fn every_request_asks_for_plain_bytes_and_sends_no_cookie() {
    let (case, _) = get("good").await;
    let requests = case.registry.requests();
    assert!(!requests.is_empty());
    for (place, request) in requests {
        assert_eq!(place, Place::Home);
        assert_eq!(request.header("accept-encoding"), Some("identity"));
        assert_eq!(request.header("cookie"), None);
    }
}

#[tokio::test]
async fn a_host_that_is_not_there_is_an_error_at_once() {
    let case = Case::new("good");
    let repository = shale_oci::Repository::parse("127.0.0.1:1/x").unwrap();
    let result = case.client.manifest(&repository, &latest()).await;
    let Err(ManifestError::Request(RequestError::Network { source, host })) = result else {
        panic!("{result:?}")
    };
    assert_eq!((source.kind, host.as_str()), (NetworkFault::Connect, "127.0.0.1:1"));
    assert_eq!(source.source.to_string(), "Connection refused");
    assert!(case.events.lock().unwrap().is_empty());
}
