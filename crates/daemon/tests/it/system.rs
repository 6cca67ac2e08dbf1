//! The daemon about itself, and its manners. Texts and shapes are those of the recorded conversations.

use shale_daemon::{Host, Server, StartError};
use shale_engine::Engine;

use crate::server::{Running, config, keys};

#[test]
fn a_ping_has_the_headers_that_clients_read() {
    let daemon = Running::start();
    let head = daemon.send("HEAD", "/_ping", "", b"");
    for (name, value) in [
        ("Api-Version", "1.51"),
        ("Builder-Version", "1"),
        ("Cache-Control", "no-cache, no-store, must-revalidate"),
        ("Content-Length", "0"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Docker-Experimental", "false"),
        ("Ostype", "linux"),
        ("Pragma", "no-cache"),
        ("Server", "Docker/1.2.3 (linux)"),
        ("Swarm", "inactive"),
    ] {
        assert_eq!(head.header(name), Some(value), "{name}");
    }
    assert_eq!(daemon.get("/_ping").text(), "OK");
    assert_eq!(daemon.get("/v1.24/_ping").text(), "OK");
}

#[test]
fn versions_outside_the_window_are_refused_in_dockers_words() {
    let daemon = Running::start();
    let new = daemon.get("/v1.99/images/json");
    assert_eq!((new.status, new.header("Api-Version")), (400, Some("1.51")));
    assert_eq!(
        new.text(),
        "{\"message\":\"client version 1.99 is too new. Maximum supported API version is 1.51\"}\n"
    );
    let old = daemon.get("/v1.23/version");
    // Before 1.24 errors were text: dockerd 29 was recorded to answer so.
    assert_eq!((old.status, old.header("Content-Type")), (400, Some("text/plain; charset=utf-8")));
    assert!(old.text().starts_with("client version 1.23 is too old. Minimum supported API version is 1.24"));
}

#[test]
fn what_is_not_there_is_told_in_dockers_words() {
    let daemon = Running::start();
    for (path, message) in [
        ("/v1.41/containers/nosuch/json", "No such container: nosuch"),
        ("/v1.41/images/nosuch/json", "no such image: nosuch: No such image: nosuch:latest"),
        ("/v1.41/images/nosuch:1/json", "no such image: nosuch:1: No such image: nosuch:1"),
        ("/v1.41/networks/nosuch", "network nosuch not found"),
        ("/v1.41/volumes/nosuch", "get nosuch: no such volume"),
        ("/v1.41/images/nosuch/history", "No such image: nosuch:latest"),
        ("/v1.41/images/get?names=nosuch:1", "reference does not exist"),
        ("/v1.41/nosuch", "page not found"),
    ] {
        let reply = daemon.get(path);
        assert_eq!((reply.status, reply.message().as_str()), (404, message), "{path}");
        assert_eq!(reply.header("Content-Type"), Some("application/json"), "{path}");
    }
    assert_eq!(daemon.post("/version").status, 404);
}

#[test]
fn lists_of_what_there_is_not_are_empty() {
    let daemon = Running::start();
    for (path, text) in [
        ("/containers/json?all=1", "[]\n"),
        ("/plugins", "[]\n"),
        ("/volumes", "{\"Volumes\":[],\"Warnings\":null}\n"),
        ("/images/json", "[]\n"),
    ] {
        assert_eq!(daemon.get(path).text(), text, "{path}");
    }
    for (path, text) in [
        ("/v1.41/containers/prune", "{\"ContainersDeleted\":null,\"SpaceReclaimed\":0}\n"),
        ("/v1.41/networks/prune", "{\"NetworksDeleted\":null}\n"),
        ("/v1.41/volumes/prune", "{\"VolumesDeleted\":[],\"SpaceReclaimed\":0}\n"),
        ("/v1.41/images/prune", "{\"ImagesDeleted\":null,\"SpaceReclaimed\":0}\n"),
        ("/v1.41/build/prune?all=1&filters=", "{\"CachesDeleted\":null,\"SpaceReclaimed\":0}\n"),
    ] {
        assert_eq!(daemon.post(path).text(), text, "{path}");
    }
    let networks = daemon.get("/networks").json();
    let names: Vec<_> = networks.as_array().unwrap().iter().map(|network| network["Name"].clone()).collect();
    assert_eq!(names, ["bridge", "host", "none"]);
}

#[test]
fn version_has_the_keys_that_were_recorded() {
    let daemon = Running::start();
    let version = daemon.get("/v1.41/version").json();
    assert_eq!((&version["ApiVersion"], &version["MinAPIVersion"]), (&"1.51".into(), &"1.24".into()));
    // The last is empty where a build does not know it.
    let recorded = [
        "Platform",
        "Components",
        "Version",
        "ApiVersion",
        "MinAPIVersion",
        "GitCommit",
        "GoVersion",
        "Os",
        "Arch",
        "KernelVersion",
        "BuildTime",
    ];
    assert_eq!(keys(&version), recorded);
}

#[test]
fn malformed_requests_are_refused() {
    let daemon = Running::start();
    for path in [
        "/images/json?filters=%",
        "/images/json?filters={",
        "/images/json?filters=%7B%22nonsense%22:[%221%22]%7D",
    ] {
        assert_eq!(daemon.get(path).status, 400, "{path}");
    }
    assert_eq!(
        daemon.get("/images/json?filters=%7B%22nonsense%22:[%221%22]%7D").message(),
        "invalid filter 'nonsense'"
    );
    let text = daemon.send("POST", "/auth", "Content-Type: text/plain\r\n", b"{}");
    assert_eq!(text.status, 400);
    assert_eq!(text.message(), "unsupported Content-Type header (text/plain): must be 'application/json'");
    let large =
        daemon.send("POST", "/auth", "Content-Type: application/json\r\n", &vec![b' '; (1 << 20) + 1]);
    assert_eq!(large.status, 413);
    let heads = "X: y\r\n".repeat(200);
    assert!(
        daemon.raw(format!("GET /_ping HTTP/1.1\r\n{heads}\r\n").as_bytes()).starts_with(b"HTTP/1.1 431")
    );
}

#[test]
fn a_daemon_that_stops_takes_its_socket_away() {
    let mut daemon = Running::start();
    assert!(daemon.socket().exists());
    daemon.stop();
    assert!(!daemon.socket().exists());
}

#[tokio::test]
async fn tcp_without_tls_must_be_asked_for_and_stays_on_loopback() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path()).unwrap();
    let tcp = |address: &str| vec![Host::Tcp(address.parse().unwrap())];
    let bind = |mut config: shale_daemon::Config, plain_loopback| {
        config.plain_loopback = plain_loopback;
        Server::bind(engine.clone(), config)
    };
    let refused = bind(config(tcp("127.0.0.1:0")), false).await.err();
    assert!(matches!(refused, Some(StartError::NotAsked(_))));
    let refused = bind(config(tcp("0.0.0.0:0")), true).await.err();
    assert!(matches!(refused, Some(StartError::Unprotected(_))));
    assert!(bind(config(tcp("127.0.0.1:0")), true).await.is_ok());
}

#[test]
fn metrics_count_what_was_asked() {
    let daemon = Running::start();
    daemon.get("/_ping");
    daemon.get("/nosuch");
    let reply = daemon.get("/metrics");
    assert_eq!(reply.header("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = reply.text();
    for line in [
        "shale_daemon_requests_total{method=\"GET\",status=\"2xx\"} 1",
        "shale_daemon_requests_total{method=\"GET\",status=\"4xx\"} 1",
        "shale_daemon_request_seconds_count 2",
        "engine_daemon_container_states_containers{state=\"running\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}
