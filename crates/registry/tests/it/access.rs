//! Who may do what: every route for everybody, and the token server.

use base64::Engine as _;
use shale_registry::Config;
use shale_registry::commands::add_user;
use shale_registry::config::Rule;

use crate::client::{Answer, OCI_MANIFEST, Running, image, sha256};

fn guarded(root: &tempfile::TempDir) -> impl FnOnce(&mut Config) + use<> {
    let htpasswd = root.path().join("htpasswd");
    for user in ["ann", "root"] {
        add_user(&htpasswd, user, &format!("{user}'s password")).unwrap();
    }
    |config| {
        use shale_registry::auth::Action::{Delete, Pull, Push};
        let rule = |repository: &str, user: &str, actions: &[shale_registry::auth::Action]| Rule {
            repositories: vec![repository.to_owned()],
            users: vec![user.to_owned()],
            actions: actions.to_vec(),
        };
        config.auth.htpasswd = Some(htpasswd);
        config.rules = vec![
            rule("public/*", "anonymous", &[Pull]),
            rule("${user}/**", "*", &[Pull, Push]),
            rule("**", "root", &[Pull, Push, Delete]),
        ];
    }
}

fn basic(user: &str) -> String {
    let text = format!("{user}:{user}'s password");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}

async fn token(server: &Running, user: Option<&str>, scopes: &[&str]) -> String {
    let scopes: String = scopes.iter().map(|scope| format!("&scope={scope}")).collect();
    let authorization = user.map(basic);
    let headers: Vec<_> = authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
    let path = format!("/token?service=shale-registry{scopes}");
    let answer = server.send("GET", &path, &headers, b"").await.is(200);
    format!("Bearer {}", answer.json()["token"].as_str().unwrap())
}

/// What an answer tells of a repository, without what differs by its name.
fn told(answer: &Answer, name: &str) -> (u16, Vec<u8>, String) {
    let challenge = answer.header("WWW-Authenticate").replace(name, "NAME");
    (answer.status, answer.body.clone(), challenge)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_asks_and_hidden_is_as_missing() {
    let root = tempfile::tempdir().unwrap();
    let choose = guarded(&root);
    let server = Running::at(root, choose).await;
    let admin = basic("root");
    let layer = sha256(b"layer");
    for name in ["ann/x", "bob/x", "public/x"] {
        for blob in [&b"{}"[..], b"layer"] {
            let path = format!("/v2/{name}/blobs/uploads/?digest={}", sha256(blob));
            server.send("POST", &path, &[("Authorization", &admin)], blob).await.is(201);
        }
        let headers = [("Authorization", admin.as_str()), ("Content-Type", OCI_MANIFEST)];
        let path = format!("/v2/{name}/manifests/v1");
        server.send("PUT", &path, &headers, image(b"layer").as_bytes()).await.is(201);
    }
    let ann = basic("ann");
    let pull_ann = token(&server, Some("ann"), &["repository:ann/x:pull"]).await;
    let push_ann = token(&server, Some("ann"), &["repository:ann/x:pull,push,delete"]).await;
    let nobody = token(&server, None, &["repository:ann/x:pull", "repository:public/x:pull,push"]).await;
    let who: [(&str, Option<&str>); 6] = [
        ("nobody", None),
        ("ann", Some(&ann)),
        ("root", Some(&admin)),
        ("ann's token to pull", Some(&pull_ann)),
        ("ann's token to push", Some(&push_ann)),
        ("nobody's token", Some(&nobody)),
    ];
    // For each repository: who may pull, push, delete.
    let allowed = |who: &str, name: &str, action: &str| match (who, name) {
        ("root", _) => true,
        ("ann", "ann/x" | "ann/none") => action != "delete",
        ("ann's token to pull", "ann/x") => action == "pull",
        ("ann's token to push", "ann/x") => action != "delete",
        // What everybody may do, a token does not take away.
        (_, "public/x") => action == "pull",
        _ => false,
    };
    let upload = "00000000-0000-4000-8000-000000000000";
    for (who, authorization) in who {
        for name in ["ann/x", "bob/x", "bob/none", "public/x"] {
            for (method, rest, action) in [
                ("GET", "tags/list".to_owned(), "pull"),
                ("GET", "manifests/v1".to_owned(), "pull"),
                ("HEAD", "manifests/v1".to_owned(), "pull"),
                ("PUT", "manifests/v1".to_owned(), "push"),
                ("DELETE", "manifests/none".to_owned(), "delete"),
                ("GET", format!("blobs/{layer}"), "pull"),
                ("HEAD", format!("blobs/{layer}"), "pull"),
                ("DELETE", format!("blobs/{}", sha256(b"none")), "delete"),
                ("GET", format!("referrers/{layer}"), "pull"),
                ("POST", "blobs/uploads/".to_owned(), "push"),
                ("GET", format!("blobs/uploads/{upload}"), "push"),
                ("PATCH", format!("blobs/uploads/{upload}"), "push"),
                ("PUT", format!("blobs/uploads/{upload}?digest={layer}"), "push"),
                ("DELETE", format!("blobs/uploads/{upload}"), "push"),
            ] {
                let headers: Vec<_> = authorization.iter().map(|value| ("Authorization", *value)).collect();
                let path = format!("/v2/{name}/{rest}");
                let answer = server.send(method, &path, &headers, b"").await;
                let refused = matches!(answer.status, 401 | 403);
                assert_eq!(!refused, allowed(who, name, action), "{who}: {method} {path}: {answer:?}");
                if refused && name == "bob/x" {
                    let missing =
                        server.send(method, &path.replace("bob/x", "bob/none"), &headers, b"").await;
                    assert_eq!(told(&answer, "bob/x"), told(&missing, "bob/none"), "{who}: {method} {path}");
                }
            }
        }
    }
    // A mount reads from its source.
    for (from, status) in [("ann/x", 201), ("public/x", 201), ("bob/x", 202)] {
        let path = format!("/v2/ann/y/blobs/uploads/?mount={layer}&from={from}");
        server.send("POST", &path, &[("Authorization", &ann)], b"").await.is(status);
    }
    // Nor does a token for the target alone stand in the way of a public source.
    for (from, status) in [("public/x", 201), ("bob/x", 202)] {
        let push = token(&server, Some("ann"), &["repository:ann/z:pull,push"]).await;
        let path = format!("/v2/ann/z/blobs/uploads/?mount={layer}&from={from}");
        server.send("POST", &path, &[("Authorization", &push)], b"").await.is(status);
    }
    let catalog = server.send("GET", "/v2/_catalog", &[("Authorization", &ann)], b"").await.is(200).json();
    assert_eq!(catalog["repositories"], serde_json::json!(["ann/x", "public/x"]));
    server.get("/v2/_catalog").await.is(401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_given_refreshed_and_refused() {
    let root = tempfile::tempdir().unwrap();
    let choose = guarded(&root);
    let server = Running::at(root, choose).await;
    let ping = server.get("/v2/").await.is(401);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"shale-registry\"", server.address);
    assert_eq!(ping.header("WWW-Authenticate"), realm);
    server.send("GET", "/v2/", &[("Authorization", &basic("ann"))], b"").await.is(200);
    for wrong in ["Basic eDp5", "Bearer x.y.z", "Bearer ", "Basic", "Digest x"] {
        server.send("GET", "/v2/", &[("Authorization", wrong)], b"").await.is(401);
        server.send("GET", "/v2/public/x/tags/list", &[("Authorization", wrong)], b"").await.is(401);
    }
    server.send("GET", "/token", &[("Authorization", "Basic eDp5")], b"").await.is(401);
    let form = |fields: &str| {
        let (server, body) = (&server, format!("service=shale-registry&client_id=t&{fields}"));
        async move { server.send("POST", "/token", &[], body.as_bytes()).await }
    };
    let scope = "scope=repository%3Aann%2Fx%3Apull%2Cpush";
    let first = form(&format!(
        "grant_type=password&username=ann&password=ann%27s+password&access_type=offline&{scope}"
    ))
    .await
    .is(200)
    .json();
    let bearer =
        |document: &serde_json::Value| format!("Bearer {}", document["access_token"].as_str().unwrap());
    server.send("POST", "/v2/ann/x/blobs/uploads/", &[("Authorization", &bearer(&first))], b"").await.is(202);
    let refresh = first["refresh_token"].as_str().unwrap().to_owned();
    // A refresh token is no token.
    let direct = format!("Bearer {refresh}");
    server.send("GET", "/v2/", &[("Authorization", &direct)], b"").await.is(401);
    let fields = format!("grant_type=refresh_token&refresh_token={refresh}&{scope}");
    let second = form(&fields).await.is(200).json();
    server
        .send("POST", "/v2/ann/x/blobs/uploads/", &[("Authorization", &bearer(&second))], b"")
        .await
        .is(202);
    form("grant_type=password&username=ann&password=wrong").await.is(401);
    form("grant_type=magic").await.is(400);
    // Another password ends it.
    add_user(&server.root.path().join("htpasswd"), "ann", "another").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    form(&fields).await.is(401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_is_told_to_wait_and_others_are_not() {
    let root = tempfile::tempdir().unwrap();
    let choose = guarded(&root);
    let server = Running::at(root, choose).await;
    let with = |user: &str, password: &str| {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let (server, value) = (&server, format!("Basic {text}"));
        async move { server.send("GET", "/v2/", &[("Authorization", &value)], b"").await }
    };
    with("ann", "ann's password").await.is(200);
    for number in 0..10 {
        with("ann", &format!("guess {number}")).await.is(401);
        with("root", &format!("guess {number}")).await.is(401);
    }
    let told = with("ann", "one more").await.is(429);
    assert!(!told.header("Retry-After").is_empty() && told.code() == "TOOMANYREQUESTS");
    // Who was here with the right password stays; who was not waits, also with the right one.
    with("ann", "ann's password").await.is(200);
    with("root", "root's password").await.is(429);
    with("somebody", "else").await.is(401);
    let token = server.send("GET", "/token", &[("Authorization", &basic("root"))], b"").await;
    token.is(429);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_served_while_a_server_has_it() {
    let server = Running::start().await;
    assert!(shale_registry::commands::is_served(server.root.path()));
    let root = server.stop().await;
    assert!(!shale_registry::commands::is_served(root.path()));
}
