//! Streams: pull, push, save, load, import.

use serde_json::json;

use crate::server::Running;

#[test]
fn a_pull_that_fails_before_its_first_message_has_a_status_of_its_own() {
    let daemon = Running::start();
    let reply = daemon.post("/v1.41/images/create?fromImage=localhost:1/x&tag=1");
    assert_eq!((reply.status, reply.header("Content-Type")), (500, Some("application/json")));
    assert!(!reply.message().is_empty());
    assert_eq!(daemon.post("/v1.41/images/create?fromImage=UPPER&tag=1").status, 400);
    assert_eq!(daemon.post("/v1.41/images/create").status, 400);
}

#[test]
fn a_push_of_what_is_not_here_fails_within_the_stream() {
    let daemon = Running::start();
    let reply = daemon.post("/v1.41/images/localhost:5044/nosuch/push?tag=1");
    // Recorded from dockerd 20.10.24.
    let text = "An image does not exist locally with the tag: localhost:5044/nosuch";
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.messages(),
        [
            json!({ "status": "The push refers to repository [localhost:5044/nosuch]" }),
            json!({ "errorDetail": { "message": text }, "error": text }),
        ]
    );
    daemon.import("localhost:5044/bb:1");
    let reply = daemon.post("/v1.41/images/localhost:5044/bb/push?tag=2");
    assert_eq!(reply.messages()[1]["error"], "tag does not exist: localhost:5044/bb:2");
}

#[test]
fn an_archive_comes_back_as_it_went() {
    let daemon = Running::start();
    let id = daemon.import("a:1");
    for path in ["/v1.41/images/get?names=a:1", "/v1.41/images/a%3A1/get"] {
        let saved = daemon.get(path);
        assert_eq!((saved.status, saved.header("Content-Type")), (200, Some("application/x-tar")));
        daemon.send("DELETE", "/images/a:1", "", b"");
        let loaded = daemon.send(
            "POST",
            "/v1.41/images/load?quiet=1",
            "Content-Type: application/x-tar\r\n",
            &saved.chunks.concat(),
        );
        assert_eq!(loaded.messages(), [json!({ "stream": "Loaded image: a:1\n" })]);
        assert_eq!(daemon.get("/images/a:1/json").json()["Id"], id);
    }
}

#[test]
fn an_image_without_a_name_is_told_by_its_id() {
    let daemon = Running::start();
    let id = daemon.import("a:1");
    let saved = daemon.get(&format!("/images/get?names={id}"));
    daemon.send("DELETE", "/images/a:1", "", b"");
    let loaded = daemon.send("POST", "/images/load", "", &saved.chunks.concat());
    assert_eq!(loaded.messages(), [json!({ "stream": format!("Loaded image ID: {id}\n") })]);
}

#[test]
fn rubbish_is_refused_within_the_stream_of_a_load() {
    let daemon = Running::start();
    let reply = daemon.send("POST", "/v1.41/images/load?quiet=1", "", &[b'x'; 4096]);
    assert_eq!(reply.status, 200);
    let message = &reply.messages()[0];
    assert_eq!(message["errorDetail"]["message"], message["error"]);
    assert_eq!(daemon.get("/images/json").text(), "[]\n");
}
