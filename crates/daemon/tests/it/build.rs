//! `POST /build`.

use serde_json::Value;
use shale_daemon::Experiments;

use crate::malformed::member;
use crate::server::{Reply, Running};

const STEPS: &str = "FROM x:1\nLABEL c=d\nENV e=f\n";

fn build(daemon: &Running, query: &str, dockerfile: &str) -> Reply {
    let dockerfile = member("Dockerfile", b'0', "", dockerfile.as_bytes());
    let context = [dockerfile, vec![0; 1024]].concat();
    let path = format!("/v1.41/build?{query}");
    daemon.send("POST", &path, "Content-Type: application/x-tar\r\n", &context)
}

fn built(daemon: &Running, query: &str, dockerfile: &str) -> Vec<Value> {
    let reply = build(daemon, query, dockerfile);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.messages()
}

/// Builds two steps upon `x:1`; returns how many came from the cache.
fn cached_steps(daemon: &Running, query: &str) -> usize {
    let messages = built(daemon, query, STEPS);
    let says = |text: &str| {
        messages
            .iter()
            .filter(|message| message["stream"].as_str().is_some_and(|said| said.contains(text)))
            .count()
    };
    assert_eq!(says("Successfully built"), 1, "{messages:?}");
    says("Using cache")
}

#[test]
fn steps_come_from_the_named_images_alone() {
    let daemon = Running::start();
    daemon.import("x:1");
    assert_eq!(cached_steps(&daemon, "t=built"), 0);
    assert_eq!(cached_steps(&daemon, "cachefrom=[%22built%22]"), 2);
    assert_eq!(cached_steps(&daemon, "cachefrom=null"), 2);
    // dockerd 20.10 looks through the named images alone: docker-py's own tests hold it to that.
    assert_eq!(cached_steps(&daemon, "cachefrom=[%22nosuchtag%22]"), 0);
    assert_eq!(cached_steps(&daemon, "cachefrom=[%22nosuchtag%22,%22built%22]"), 2);
    // An image that is here and has none of the steps.
    daemon.import("other:1");
    assert_eq!(cached_steps(&daemon, "cachefrom=[%22other:1%22]"), 0);
}

#[test]
fn a_squashed_image_has_one_layer_more_than_its_base_and_is_told_by_name() {
    let daemon = Running::start_with(Experiments::Served);
    daemon.import("x:1");
    let layers = |name: &str| {
        let image = daemon.get(&format!("/v1.41/images/{name}/json")).json();
        image["RootFS"]["Layers"].as_array().unwrap().len()
    };
    let dockerfile = "FROM x:1\nCOPY Dockerfile /a\nCOPY Dockerfile /b\n";
    let messages = built(&daemon, "squash=1&t=s:1", dockerfile);
    // The order of dockerd 20.10.24 with --experimental: the stage's image, the squashed one, then the words.
    let said: Vec<String> = messages.iter().rev().take(4).rev().map(|message| message.to_string()).collect();
    assert!(said[0].starts_with("{\"aux\":{\"ID\":\"sha256:"), "{said:?}");
    assert_eq!(messages[messages.len() - 3]["id"], "moby.image.id", "{said:?}");
    let squashed = messages[messages.len() - 3]["aux"]["ID"].as_str().unwrap();
    assert_ne!(messages[messages.len() - 4]["aux"]["ID"], squashed);
    assert_eq!(said[2], format!("{{\"stream\":\"Successfully built {}\\n\"}}", &squashed[7..19]));
    assert_eq!(said[3], "{\"stream\":\"Successfully tagged s:1\\n\"}");
    assert_eq!(layers("s:1"), layers("x:1") + 1);
    built(&daemon, "t=p:1", dockerfile);
    assert_eq!(layers("p:1"), layers("x:1") + 2);
}

/// Statuses and texts of dockerd 20.10.24, where it refuses too.
#[test]
fn what_a_build_cannot_do_is_refused_and_not_passed_over() {
    let daemon = Running::start();
    daemon.import("x:1");
    for (query, status, message) in [
        ("squash=1", 400, "squash is only supported with experimental mode"),
        ("version=3", 500, "invalid version \"3\""),
        ("isolation=hyperv", 400, "Unsupported isolation: \"hyperv\""),
        (
            "securityopt=a",
            400,
            "The daemon on this platform does not support setting security options on build",
        ),
        (
            "remote=client-session",
            400,
            "experimental session with v1 builder is no longer supported, use builder version v2 (BuildKit) instead",
        ),
        ("cgroupparent=/a", 501, "a parent control group for builds is not supported"),
        (
            "outputs=[{%22Type%22:%22local%22}]",
            501,
            "outputs of a build are not served: the classic builder makes an image, and nothing else",
        ),
    ] {
        let reply = build(&daemon, query, STEPS);
        assert_eq!((reply.status, reply.message().as_str()), (status, message), "{query}");
    }
    for query in ["isolation=Default", "outputs=[]", "securityopt=null", "version=1", "squash=0"] {
        assert_eq!(build(&daemon, query, STEPS).status, 200, "{query}");
    }
}
