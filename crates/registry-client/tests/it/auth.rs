//! Every behaviour of a registry that asks who we are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shale_registry_client::auth::TokenError;
use shale_registry_client::auth::realm::RealmRefusal;
use shale_registry_client::credentials::{Anonymous, Credential, Fixed};
use shale_registry_client::{LoginError, ManifestError, Origin, RequestError, Scheme, Secret};
use shale_testkit::bad_registry::{PASSWORD, USERNAME};

use crate::support::{Case, latest};

async fn get(behaviour: &str) -> (Case, Result<(), ManifestError>) {
    let case = Case::new(behaviour);
    let result = manifest(&case, behaviour).await;
    (case, result)
}

async fn manifest(case: &Case, behaviour: &str) -> Result<(), ManifestError> {
    let begin = Instant::now();
    let result = case.client.manifest(&case.repository, &latest()).await;
    assert!(begin.elapsed() < Duration::from_secs(20), "{behaviour} took {:?}", begin.elapsed());
    case.assert_nothing_leaked(behaviour);
    result.map(drop)
}

#[tokio::test]
async fn a_token_is_got_once_and_used_again() {
    let (case, result) = get("auth-ok").await;
    assert!(result.is_ok(), "{result:?}");
    case.read_layer().await.unwrap();
    let asked = case.registry.requests_for("/token");
    assert_eq!(asked.len(), 1);
    assert!(asked[0].path.contains("service=test"), "{}", asked[0].path);
    assert!(asked[0].path.contains("scope=repository%3Ab%2Fimg%3Apull"), "{}", asked[0].path);
    assert!(asked[0].header("authorization").is_some_and(|value| value.starts_with("Basic ")));
}

#[tokio::test]
async fn an_odd_but_readable_challenge_is_answered() {
    for behaviour in ["auth-neg", "auth-many"] {
        let (_, result) = get(behaviour).await;
        assert!(result.is_ok(), "{behaviour}: {result:?}");
    }
}

#[tokio::test]
async fn realms_of_strangers_are_refused_before_anything_is_sent() {
    for (behaviour, expected) in [
        ("auth-evilport", RealmRefusal::Foreign),
        ("auth-evilhost", RealmRefusal::Foreign),
        ("auth-loopback9", RealmRefusal::Foreign),
        ("auth-userinfo", RealmRefusal::Invalid),
        ("auth-file", RealmRefusal::Invalid),
        ("auth-rel", RealmRefusal::Invalid),
    ] {
        let (case, result) = get(behaviour).await;
        let Err(ManifestError::Request(RequestError::Token(TokenError::RealmRefused { reason, .. }))) =
            result
        else {
            panic!("{behaviour}: {result:?}")
        };
        assert_eq!(reason, expected, "{behaviour}");
        assert!(!case.registry.strangers_were_asked(), "{behaviour}");
        // Without credentials too, for the request itself may be the attack.
        let case = Case::with(behaviour, |options| options.credentials = Arc::new(Anonymous));
        assert!(manifest(&case, behaviour).await.is_err(), "{behaviour}");
        assert!(!case.registry.strangers_were_asked(), "{behaviour}");
    }
}

#[tokio::test]
async fn a_realm_that_is_configured_is_used() {
    let probe = Case::new("auth-evilport");
    let result = manifest(&probe, "probe").await;
    let Err(ManifestError::Request(RequestError::Token(TokenError::RealmRefused { realm, .. }))) = result
    else {
        panic!("{result:?}")
    };
    let authority = realm.trim_start_matches("http://").trim_end_matches("/token");
    let mut options = probe.client.options().clone();
    let listed = vec![Origin::new(Scheme::Http, authority).unwrap()];
    options.token_realms.insert(probe.registry.host(), listed);
    let client = shale_registry_client::Client::new(options).unwrap();
    assert!(client.manifest(&probe.repository, &latest()).await.is_ok());
}

#[tokio::test]
async fn bad_token_servers_are_errors() {
    for behaviour in
        ["auth-badjson", "auth-empty", "auth-crlf", "auth-big", "auth-infinite", "auth-html", "auth-redirect"]
    {
        let (_, result) = get(behaviour).await;
        let is_malformed =
            matches!(result, Err(ManifestError::Request(RequestError::Token(TokenError::Malformed { .. }))));
        assert!(is_malformed, "{behaviour}: {result:?}");
    }
    let (case, result) = get("auth-500").await;
    let is_unavailable =
        matches!(result, Err(ManifestError::Request(RequestError::Token(TokenError::Unavailable { .. }))));
    assert!(is_unavailable, "{result:?}");
    assert_eq!(case.registry.requests_for("/token").len(), 5);
    let (case, result) = get("auth-slow").await;
    let is_late =
        matches!(result, Err(ManifestError::Request(RequestError::Token(TokenError::Timeout { .. }))));
    assert!(is_late, "{result:?}");
    assert!(case.registry.requests_for("/token").len() <= 2);
}

#[tokio::test]
async fn a_refusal_of_the_token_server_reads_as_docker_words_it() {
    let (case, result) = get("auth-403").await;
    let Err(ManifestError::Request(error)) = result else { panic!("{result:?}") };
    let expected = format!(
        "pull access denied for {}, repository does not exist or may require 'docker login': denied: requested access \
         to the resource is denied",
        case.repository.familiar()
    );
    assert_eq!(error.pull_message(&case.repository), Some(expected));
}

#[tokio::test]
async fn a_token_that_is_not_enough_reads_as_docker_words_it() {
    // What Docker Hub answers for a repository that is not there.
    let (case, result) = get("auth-insufficient").await;
    let Err(ManifestError::Request(error)) = result else { panic!("{result:?}") };
    assert!(matches!(error, RequestError::Denied { .. }), "{error:?}");
    let message = error.pull_message(&case.repository).unwrap();
    assert!(
        message.ends_with("'docker login': denied: requested access to the resource is denied"),
        "{message}"
    );
}

#[tokio::test]
async fn bad_challenges_are_errors() {
    for behaviour in ["auth-unclosed", "auth-ctlrealm", "auth-nohdr", "auth-huge"] {
        let (case, result) = get(behaviour).await;
        assert!(result.is_err(), "{behaviour}");
        assert!(case.registry.requests().len() <= 2, "{behaviour}: {}", case.registry.requests().len());
    }
}

#[tokio::test]
async fn a_registry_that_is_never_content_is_asked_twice() {
    for behaviour in ["auth-loop", "auth-basicloop"] {
        let (case, result) = get(behaviour).await;
        let is_refused = matches!(result, Err(ManifestError::Request(RequestError::Unauthorized { .. })));
        assert!(is_refused, "{behaviour}: {result:?}");
        assert_eq!(case.registry.requests_for("/manifests/").len(), 2, "{behaviour}");
    }
}

#[tokio::test]
async fn login_tells_right_from_wrong() {
    let case = Case::new("cred-basic-good");
    let host = case.registry.host();
    let good = case.client.login(&host, USERNAME, Secret::new(PASSWORD)).await.unwrap();
    assert_eq!((good.identity_token, good.status), (None, "Login Succeeded"));
    let bad = case.client.login(&host, USERNAME, Secret::new("wrong")).await;
    assert!(matches!(bad, Err(LoginError::Refused { .. })), "{bad:?}");
    let case = Case::new("auth-evilhost");
    let refused = case.client.login(&case.registry.host(), USERNAME, Secret::new(PASSWORD)).await;
    assert!(refused.is_err());
    case.assert_nothing_leaked("login");
}

#[tokio::test]
async fn an_identity_token_is_got_at_login_and_exchanged_later() {
    let case = Case::new("auth-identity");
    let host = case.registry.host();
    let login = case.client.login(&host, USERNAME, Secret::new(PASSWORD)).await.unwrap();
    let token = login.identity_token.unwrap();
    assert_eq!(token, Secret::new("identity-of-alice"));
    let mut options = case.client.options().clone();
    let credential = Credential::IdentityToken { username: None, token };
    options.credentials = Arc::new(Fixed { key: host, credential });
    let client = shale_registry_client::Client::new(options).unwrap();
    client.manifest(&case.repository, &latest()).await.unwrap();
    let last = case.registry.requests_for("/token").pop().unwrap();
    assert_eq!(last.method, "POST");
    assert!(String::from_utf8_lossy(&last.body).contains("scope=repository%3Ab%2Fimg%3Apull"));
}

#[tokio::test]
async fn credentials_of_the_registry_never_go_to_a_mirror() {
    let mirror = Case::new("cred-basic-good");
    let home = Case::with("cred-basic-good", |options| {
        let origin = Origin::new(Scheme::Http, &mirror.registry.host()).unwrap();
        options.mirrors.insert("".to_owned(), vec![origin]);
    });
    let mut options = home.client.options().clone();
    let origin = options.mirrors.remove("").unwrap();
    options.mirrors.insert(home.registry.host(), origin);
    let client = shale_registry_client::Client::new(options).unwrap();
    let manifest = client.manifest(&home.repository, &latest()).await.unwrap();
    assert!(!manifest.source.is_mirror());
    let asked = mirror.registry.requests();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|(_, request)| request.header("authorization").is_none()));
}
