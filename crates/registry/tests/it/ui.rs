//! The pages, as a browser without scripts sees them.

use crate::client::{Answer, OCI_INDEX, OCI_MANIFEST, Running, image, sha256};

fn cookies(answer: &Answer) -> String {
    let set = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    set.map(|(_, value)| value.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
}

fn hidden(page: &str) -> String {
    page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_escape_what_was_pushed_and_delete_after_a_question() {
    let server = Running::start().await;
    assert_eq!(server.get("/").await.is(303).header("Location"), "/ui/");
    assert!(String::from_utf8(server.get("/ui/").await.is(200).body).unwrap().contains("docker push"));
    server.push_blob("team/app", b"{}").await;
    server.push_blob("team/app", b"layer").await;
    let evil = "<script>alert(1)</script>\\\"'";
    let manifest = image(b"layer").replacen('{', &format!("{{\"annotations\":{{\"{evil}\":\"{evil}\"}},"), 1);
    let headers = [("Content-Type", OCI_MANIFEST)];
    server.send("PUT", "/v2/team/app/manifests/v1", &headers, manifest.as_bytes()).await.is(201);
    for path in ["/ui/", "/ui/?q=%3Cscript%3E", "/ui/r/team/app", "/ui/r/team/app/-/v1"] {
        let answer = server.get(path).await.is(200);
        assert!(answer.header("Content-Security-Policy").starts_with("default-src 'none'"));
        assert!(!String::from_utf8(answer.body).unwrap().contains("<script"), "{path}");
    }
    for path in ["/ui/r/none", "/ui/r/team/app/-/none", "/ui/x"] {
        server.get(path).await.is(404);
    }
    let page = server.get("/ui/r/team/app/-/v1").await.is(200);
    let cookie = cookies(&page);
    let page = String::from_utf8(page.body).unwrap();
    assert!(page.contains(&format!("docker pull {}/team/app:v1", server.address)));
    let form = format!("csrf={}&repository=team/app&reference=v1", hidden(&page));
    let post = |path: &'static str, cookie: String, form: String| {
        let server = &server;
        async move { server.send("POST", path, &[("Cookie", &cookie)], form.as_bytes()).await }
    };
    // Without the cookie, with another one, without the token: nothing happens.
    post("/ui/delete", String::new(), form.clone()).await.is(403);
    post("/ui/delete", "shale_browser=00000000-0000-4000-8000-000000000000".to_owned(), form.clone())
        .await
        .is(403);
    post("/ui/delete", cookie.clone(), "repository=team/app&reference=v1".to_owned()).await.is(403);
    server.get("/v2/team/app/manifests/v1").await.is(200);
    let question = post("/ui/confirm", cookie.clone(), form.clone()).await.is(200);
    assert!(String::from_utf8(question.body).unwrap().contains("Delete the tag v1?"));
    server.get("/v2/team/app/manifests/v1").await.is(200);
    assert_eq!(post("/ui/delete", cookie, form).await.is(303).header("Location"), "/ui/r/team/app");
    server.get("/v2/team/app/manifests/v1").await.is(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_log_in_and_out() {
    let root = tempfile::tempdir().unwrap();
    let htpasswd = root.path().join("htpasswd");
    shale_registry::commands::add_user(&htpasswd, "ann", "secret").unwrap();
    let server = Running::at(root, |config| config.auth.htpasswd = Some(htpasswd)).await;
    assert_eq!(server.get("/ui/").await.is(303).header("Location"), "/ui/login");
    assert_eq!(server.get("/ui/r/team/app").await.is(303).header("Location"), "/ui/login");
    let page = server.get("/ui/login").await.is(200);
    let browser = cookies(&page);
    let token = hidden(&(String::from_utf8(page.body).unwrap() + "name=\"csrf\" value=\"\""));
    let log_in = |password: &'static str| {
        let (server, browser, form) =
            (&server, &browser, format!("csrf={token}&user=ann&password={password}"));
        async move { server.send("POST", "/ui/login", &[("Cookie", browser)], form.as_bytes()).await }
    };
    log_in("wrong").await.is(401);
    let answer = log_in("secret").await.is(303);
    let session = format!("{browser}; {}", cookies(&answer));
    let page = server.send("GET", "/ui/", &[("Cookie", &session)], b"").await.is(200);
    assert!(String::from_utf8(page.body).unwrap().contains("ann"));
    // The cookie of a browser opens pages and nothing else.
    let token = session.split("shale_session=").nth(1).unwrap().to_owned();
    server.send("GET", "/v2/", &[("Authorization", &format!("Bearer {token}"))], b"").await.is(401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_shown_with_the_size_of_what_it_leads_to_and_not_without_end() {
    let server = Running::start().await;
    let child = server.push_image("a", "v1", &[7; 3000]).await;
    let size = image(&[7; 3000]).len();
    let entry = |digest: &str| {
        format!(
            r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":{size},"platform":{{"os":"linux","architecture":"arm64"}}}}"#
        )
    };
    let mut entries = vec![entry(&child)];
    entries.extend((0..299_u32).map(|number| entry(&sha256(&number.to_le_bytes()))));
    let index =
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, entries.join(","));
    let headers = [("Content-Type", OCI_INDEX)];
    server.send("PUT", "/v2/a/manifests/all", &headers, index.as_bytes()).await.is(201);
    let page = String::from_utf8(server.get("/ui/r/a/-/all").await.is(200).body).unwrap();
    // The layer of 3,000 bytes and the config of 2.
    assert!(page.contains("<dd>3.00 kB, manifest "), "{page}");
    assert_eq!(page.matches("linux/arm64").count(), 100);
    assert!(page.contains("and 200 more"));
    server.stop().await;
}
