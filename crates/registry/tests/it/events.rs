//! Webhooks: what is sent, and that it is sent until it is taken.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::client::Running;

/// Takes events at a free port, refusing the first one once; what was posted comes out in order.
async fn listen() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let posted = Arc::clone(&taken);
    tokio::spawn(async move {
        let mut refused = false;
        'connections: while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let text = loop {
                // The registry was stopped in the middle of a delivery.
                let Some(read @ 1..) = stream.read(&mut buffer).await.ok() else { continue 'connections };
                request.extend(&buffer[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head.to_ascii_lowercase();
                    let length = length
                        .split("content-length: ")
                        .nth(1)
                        .unwrap()
                        .split("\r\n")
                        .next()
                        .unwrap()
                        .to_owned();
                    if body.len() >= length.parse::<usize>().unwrap() {
                        break text;
                    }
                }
            };
            let status = if refused { "200 OK" } else { "503 Busy" };
            if refused {
                posted.lock().unwrap().push(text);
            }
            refused = true;
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, taken)
}

/// What was posted, once it is `count` events.
async fn posted(taken: &Mutex<Vec<String>>, count: usize) -> Vec<serde_json::Value> {
    for _ in 0..200 {
        if taken.lock().unwrap().len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let body = |text: &String| text.split_once("\r\n\r\n").unwrap().1.to_owned();
    let bodies: Vec<String> = taken.lock().unwrap().iter().map(body).collect();
    let event = |body: &String| serde_json::from_str::<serde_json::Value>(body).unwrap()["events"][0].clone();
    bodies.iter().map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_in_a_browser_are_told_like_others() {
    let (url, taken) = listen().await;
    let server = Running::with(move |config| {
        let endpoint =
            format!("name = \"a\"\nurl = \"{url}\"\nbackoff = \"1s\"\nignore_actions = [\"push\", \"pull\"]");
        config.notifications = vec![toml::from_str(&endpoint).unwrap()];
    })
    .await;
    let digest = server.push_image("team/app", "v1", b"layer").await;
    server.push_image("team/app", "v2", b"layer").await;
    let page = server.get("/ui/r/team/app").await.is(200);
    let cookie = page.header("Set-Cookie").split(';').next().unwrap().to_owned();
    let page = String::from_utf8(page.body).unwrap();
    let token = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    for reference in ["v1", digest.as_str(), ""] {
        let form = format!("csrf={token}&repository=team/app&reference={reference}");
        server.send("POST", "/ui/delete", &[("Cookie", &cookie)], form.as_bytes()).await.is(303);
    }
    let events = posted(&taken, 3).await;
    assert_eq!(events.len(), 3);
    for (event, tag) in events.iter().zip([Some("v1"), None, None]) {
        assert_eq!((&event["action"], &event["request"]["method"]), (&"delete".into(), &"POST".into()));
        assert_eq!(event["target"]["repository"], "team/app");
        assert_eq!(event["target"]["tag"].as_str(), tag);
    }
    assert_eq!(events[1]["target"]["digest"], digest.as_str());
    // Of a whole repository only the name is told, as the Docker registry does.
    assert_eq!(events[2]["target"], serde_json::json!({"repository": "team/app"}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_order_after_a_refusal_and_a_restart() {
    let (url, taken) = listen().await;
    let endpoint = move |config: &mut shale_registry::Config| {
        let endpoint = format!(
            "name = \"a\"\nurl = \"{url}\"\nbackoff = \"1s\"\nignore_media_types = [\"application/octet-stream\"]\n[headers]\nX-Key = \"k\""
        );
        config.notifications = vec![toml::from_str(&endpoint).unwrap()];
    };
    let server = Running::with(endpoint.clone()).await;
    let digest = server.push_image("team/app", "v1", b"layer").await;
    // Nothing was taken yet, or only just: what waits is there after the restart.
    let server = Running::at(server.stop().await, endpoint).await;
    server.get("/v2/team/app/manifests/v1").await.is(200);
    server.send("DELETE", "/v2/team/app/manifests/v1", &[], b"").await.is(202);
    for _ in 0..200 {
        if taken.lock().unwrap().len() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let posted = taken.lock().unwrap().clone();
    let events: Vec<serde_json::Value> = posted
        .iter()
        .map(|text| {
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let head = head.to_ascii_lowercase();
            assert!(
                head.contains("content-type: application/vnd.docker.distribution.events.v2+json"),
                "{head}"
            );
            assert!(head.contains("x-key: k"), "{head}");
            serde_json::from_str::<serde_json::Value>(body).unwrap()["events"][0].clone()
        })
        .collect();
    let actions: Vec<_> = events.iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["push", "pull", "delete"]);
    for event in &events {
        assert_eq!(event["target"]["repository"], "team/app");
        assert_eq!(event["target"]["digest"], digest.as_str());
        assert_eq!(event["target"]["tag"], "v1");
        assert!(
            event["id"].is_string()
                && event["timestamp"].is_string()
                && event["request"]["method"].is_string()
        );
    }
    assert_eq!(events[0]["request"]["method"], "PUT");
    server.stop().await;
}
