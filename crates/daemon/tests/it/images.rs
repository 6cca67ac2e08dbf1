//! Lists, inspections, names and removals.

use serde_json::json;

use crate::server::{Running, escaped, keys};

#[test]
fn a_list_has_the_keys_of_its_version() {
    let daemon = Running::start();
    let id = daemon.import("a/b:1");
    let listed = daemon.get("/v1.41/images/json").json();
    // Recorded from dockerd 20.10.24.
    let recorded = [
        "Containers",
        "Created",
        "Id",
        "Labels",
        "ParentId",
        "RepoDigests",
        "RepoTags",
        "SharedSize",
        "Size",
        "VirtualSize",
    ];
    assert_eq!(keys(&listed[0]), recorded);
    assert_eq!(listed[0]["Id"], id);
    assert_eq!(listed[0]["RepoTags"], json!(["a/b:1"]));
    assert_eq!(listed[0]["RepoDigests"], json!(null));
    assert_eq!((&listed[0]["Containers"], &listed[0]["SharedSize"]), (&json!(-1), &json!(-1)));
    assert_eq!(listed[0]["Labels"], json!({ "a": "b" }));
    let newer = daemon.get("/v1.44/images/json").json();
    assert!(newer[0].get("VirtualSize").is_none());
    assert_eq!(newer[0]["RepoDigests"], json!([]));
    // A bare path is of the newest version.
    assert_eq!(daemon.get("/images/json").json()[0]["RepoDigests"], json!([]));
}

#[test]
fn filters_narrow_the_list_in_either_form() {
    let daemon = Running::start();
    daemon.import("a:1");
    daemon.import("b:1");
    for (filters, count) in [
        ("{\"reference\":{\"a\":true}}", 1),
        ("{\"reference\":[\"a:1\",\"b\"]}", 2),
        ("{\"dangling\":[\"true\"]}", 0),
        ("{\"label\":[\"a=b\"]}", 2),
        ("{\"label\":[\"a=c\"]}", 0),
    ] {
        let listed = daemon.get(&format!("/v1.41/images/json?filters={}", escaped(filters))).json();
        assert_eq!(listed.as_array().unwrap().len(), count, "{filters}");
    }
}

#[test]
fn a_name_is_found_with_its_slashes_escaped_or_not() {
    let daemon = Running::start();
    let id = daemon.import("reg.example:5000/a/b:1");
    for name in ["reg.example:5000/a/b:1", "reg.example%3A5000%2Fa%2Fb%3A1", &id, &id[7..19]] {
        for path in ["/v1.41", ""] {
            let found = daemon.get(&format!("{path}/images/{name}/json")).json();
            assert_eq!(found["Id"], id, "{path} {name}");
        }
    }
}

#[test]
fn tagging_answers_created_and_removal_tells_what_went() {
    let daemon = Running::start();
    let id = daemon.import("a:1");
    let tagged = daemon.post("/v1.41/images/a:1/tag?repo=docker.io/library/c&tag=2");
    assert_eq!(
        (tagged.status, tagged.header("Content-Length"), tagged.text().as_str()),
        (201, Some("0"), "")
    );
    assert_eq!(daemon.post("/v1.41/images/nosuch:1/tag?repo=x&tag=1").message(), "No such image: nosuch:1");
    assert_eq!(daemon.post("/v1.41/images/a:1/tag?repo=UPPER&tag=1").status, 400);

    let conflict = daemon.send("DELETE", &format!("/v1.41/images/{id}"), "", b"");
    let short = &id[7..19];
    assert_eq!(conflict.status, 409);
    assert_eq!(
        conflict.message(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    assert_eq!(daemon.send("DELETE", "/v1.41/images/c:2", "", b"").json(), json!([{ "Untagged": "c:2" }]));
    let removed = daemon.send("DELETE", "/v1.41/images/a:1", "", b"").json();
    assert_eq!(removed[0], json!({ "Untagged": "a:1" }));
    assert_eq!(removed[1], json!({ "Deleted": id }));
    assert_eq!(daemon.get("/images/json").text(), "[]\n");
    let gone = daemon.send("DELETE", "/v1.41/images/a:1", "", b"");
    assert_eq!((gone.status, gone.message().as_str()), (404, "No such image: a:1"));
}

#[test]
fn events_tell_of_the_image_with_its_labels() {
    let daemon = Running::start();
    let id = daemon.import("a:1");
    daemon.post("/images/a:1/tag?repo=ev&tag=1");
    let events =
        daemon.get(&format!("/v1.41/events?since=0&until=1&filters={}", escaped("{\"event\":[\"tag\"]}")));
    assert_eq!(events.status, 200);
    // `until` lies before everything: the stream ends at once and holds nothing.
    assert_eq!(events.text(), "");
    let until = jiff::Timestamp::now().as_second() + 1;
    let filters = escaped("{\"event\":{\"tag\":true}}");
    let events = daemon.get(&format!("/v1.41/events?since=0&until={until}&filters={filters}"));
    let event = events.json();
    // Recorded from dockerd 20.10.24, but for the times.
    assert_eq!(keys(&event), ["status", "id", "Type", "Action", "Actor", "scope", "time", "timeNano"]);
    assert_eq!((&event["status"], &event["Action"]), (&json!("tag"), &json!("tag")));
    assert_eq!(event["Actor"], json!({ "ID": id, "Attributes": { "a": "b", "name": "ev:1" } }));
    assert!(events.text().ends_with("}\n"));
}

#[test]
fn what_another_process_does_is_seen_at_once() {
    let daemon = Running::start();
    daemon.import("a:1");
    let beside = shale_engine::Engine::open(&daemon.directory.path().join("root")).unwrap();
    beside.tag("a:1", "beside:1", &jiff::Zoned::now()).unwrap();
    assert_eq!(daemon.get("/images/beside:1/json").status, 200);
}
