//! `POST /build`.

use crate::malformed::member;
use crate::server::Running;

/// Builds two steps upon `x:1`; returns how many came from the cache.
fn cached_steps(daemon: &Running, query: &str) -> usize {
    let dockerfile = member("Dockerfile", b'0', "", b"FROM x:1\nLABEL c=d\nENV e=f\n");
    let context = [dockerfile, vec![0; 1024]].concat();
    let path = format!("/v1.41/build?{query}");
    let reply = daemon.send("POST", &path, "Content-Type: application/x-tar\r\n", &context);
    assert_eq!(reply.status, 200, "{reply:?}");
    let messages = reply.messages();
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
fn steps_come_from_the_cache_unless_none_of_the_named_images_is_here() {
    let daemon = Running::start();
    daemon.import("x:1");
    assert_eq!(cached_steps(&daemon, "t=built"), 0);
    assert_eq!(cached_steps(&daemon, "cachefrom=[%22built%22]"), 2);
    assert_eq!(cached_steps(&daemon, "cachefrom=null"), 2);
    // dockerd 20.10 looks through the named images alone: docker-py's own tests hold it to that.
    assert_eq!(cached_steps(&daemon, "cachefrom=[%22nosuchtag%22]"), 0);
}
