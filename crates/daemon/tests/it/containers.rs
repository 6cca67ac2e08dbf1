//! Containers and volumes over the API: shapes, statuses and texts of dockerd 20.10.24, observed 2026-11-22.

use crate::server::{Running, escaped, keys};

fn create(daemon: &Running, query: &str, document: &str) -> crate::server::Reply {
    let path = format!("/v1.41/containers/create{query}");
    daemon.send("POST", &path, "Content-Type: application/json\r\n", document.as_bytes())
}

/// Makes a container of `small:1` with this host config.
fn create_on(daemon: &Running, name: &str, host: &str) -> crate::server::Reply {
    let document = format!(r#"{{"Image":"small:1","Cmd":["x"],"HostConfig":{host}}}"#);
    create(daemon, &format!("?name={name}"), &document)
}

#[test]
fn a_container_is_made_listed_renamed_and_removed() {
    let daemon = Running::start();
    daemon.import("small:1");
    // As docker 28 sends it, where nothing was asked for.
    let document = r#"{"Cmd":["ls","a b"],"Env":null,"Image":"small:1","Labels":{"l":"1"},"HostConfig":{"NetworkMode":"default","MemorySwappiness":-1,"PidsLimit":0,"LogConfig":{"Type":"","Config":{}},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"ShmSize":0,"CgroupnsMode":"","IpcMode":"","MaskedPaths":null}}"#;
    let made = create(&daemon, "?name=c1", document);
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(keys(&made.json()), ["Id", "Warnings"]);
    let id = made.json()["Id"].as_str().unwrap().to_owned();

    let again = create(&daemon, "?name=c1", document);
    let text = format!(
        "Conflict. The container name \"/c1\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    );
    assert_eq!((again.status, again.message()), (409, text));

    let full = daemon.get("/v1.41/containers/c1/json").json();
    let host = &full["HostConfig"];
    assert!(host["MemorySwappiness"].is_null() && host["PidsLimit"].is_null());
    assert_eq!((&host["LogConfig"]["Type"], &host["ShmSize"]), (&"json-file".into(), &67_108_864.into()));
    assert_eq!((&host["NetworkMode"], &host["IpcMode"]), (&"default".into(), &"private".into()));
    assert_eq!(full["Config"]["Hostname"], id[..12]);

    let listed = daemon.get("/v1.41/containers/json?all=1").json();
    assert_eq!(
        keys(&listed[0]),
        [
            "Id",
            "Names",
            "Image",
            "ImageID",
            "Command",
            "Created",
            "Ports",
            "Labels",
            "State",
            "Status",
            "HostConfig",
            "NetworkSettings",
            "Mounts"
        ]
    );
    assert_eq!((&listed[0]["Command"], &listed[0]["Status"]), (&"ls 'a b'".into(), &"Created".into()));
    assert_eq!(daemon.get("/v1.41/containers/json").json(), serde_json::json!([]));

    assert_eq!(daemon.post("/v1.41/containers/c1/rename?name=c2").status, 204);
    let renamed =
        daemon.get(&format!("/v1.41/containers/json?all=1&filters={}", escaped(r#"{"name":["c2"]}"#)));
    assert_eq!(renamed.json()[0]["Names"], serde_json::json!(["/c2"]));
    assert_eq!(daemon.send("DELETE", "/v1.41/containers/c2", "", b"").status, 204);
    assert_eq!(daemon.get("/v1.41/containers/c2/json").message(), "No such container: c2");
}

#[test]
fn what_a_created_container_refuses_is_told_in_dockers_words() {
    let daemon = Running::start();
    daemon.import("small:1");
    let id = create(&daemon, "?name=c2", r#"{"Image":"small:1","Cmd":["ls"]}"#).json()["Id"].clone();
    let id = id.as_str().unwrap();
    let not_running = format!("Container {id} is not running");
    let cannot_kill = format!("Cannot kill container: c2: {not_running}");
    for (path, status, message) in [
        ("pause", 409, not_running.as_str()),
        ("unpause", 500, &format!("Container {id} is not paused")),
        ("kill", 409, &cannot_kill),
        ("kill?signal=FOO", 400, "Invalid signal: FOO"),
        ("resize?h=1&w=2", 409, &not_running),
        ("resize?h=x&w=2", 400, "strconv.Atoi: parsing \"x\": invalid syntax"),
        ("rename?name=", 400, "Neither old nor new names may be empty"),
        ("rename?name=c2", 400, "Renaming a container with the same name as its current name"),
    ] {
        let reply = daemon.post(&format!("/v1.41/containers/c2/{path}"));
        assert_eq!((reply.status, reply.message().as_str()), (status, message), "{path}");
    }
    for (path, status, message) in [
        ("top", 409, not_running.as_str()),
        ("logs", 400, "Bad parameters: you must choose at least one stream"),
        ("archive", 400, "bad parameter: pathcannot be empty"),
        ("archive?path=/nosuch", 404, "Could not find the file /nosuch in container c2"),
    ] {
        let reply = daemon.get(&format!("/v1.41/containers/c2/{path}"));
        assert_eq!((reply.status, reply.message().as_str()), (status, message), "{path}");
    }
    assert_eq!(daemon.post("/v1.41/containers/c2/stop").status, 304);
    assert_eq!(daemon.get("/v1.41/containers/c2/changes").text(), "null\n");
    let waited = daemon.post("/v1.41/containers/c2/wait");
    assert_eq!(waited.text(), "{\"Error\":null,\"StatusCode\":0}\n");
    assert_eq!(daemon.post("/v1.51/containers/c2/wait").text(), "{\"StatusCode\":0}\n");
    let stats = daemon.get("/v1.41/containers/c2/stats?stream=0").json();
    assert_eq!(
        (&stats["read"], &stats["memory_stats"]),
        (&"0001-01-01T00:00:00Z".into(), &serde_json::json!({}))
    );
    let json = "Content-Type: application/json\r\n";
    let exec = daemon.send("POST", "/v1.41/containers/c2/exec", json, br#"{"Cmd":[]}"#);
    assert_eq!((exec.status, exec.message().as_str()), (400, "No exec command specified"));
    let exec = daemon.send("POST", "/v1.41/containers/c2/exec", json, br#"{"Cmd":["ls"]}"#);
    assert_eq!((exec.status, exec.message()), (409, not_running));
    let exec = daemon.get("/v1.41/exec/abc/json");
    assert_eq!((exec.status, exec.message().as_str()), (404, "No such exec instance: abc"));
}

#[test]
fn bad_documents_are_refused() {
    let daemon = Running::start();
    daemon.import("small:1");
    for (document, status) in [
        ("", 400),
        ("null", 400),
        ("[]", 400),
        ("{\"Image\":", 400),
        ("{\"Image\":\"nosuch\",\"Cmd\":[\"x\"]}", 404),
        ("{\"Image\":\"small:1\"}", 400),
        ("{\"Image\":\"small:1\",\"Cmd\":7}", 400),
        ("{\"Image\":\"small:1\",\"Cmd\":[\"x\"],\"HostConfig\":7}", 400),
        ("{\"Image\":\"small:1\",\"Cmd\":[\"x\"],\"HostConfig\":{\"Memory\":\"much\"}}", 400),
        ("{\"Image\":\"small:1\",\"Cmd\":[\"x\"],\"HostConfig\":{\"NetworkMode\":\"nosuch\"}}", 400),
        ("{\"Image\":\"small:1\",\"Cmd\":[\"x\"],\"StopSignal\":\"SIGNOSUCH\"}", 400),
    ] {
        let reply = create(&daemon, "", document);
        assert_eq!(reply.status, status, "{document}: {reply:?}");
    }
}

#[test]
fn volumes_live_from_create_to_prune() {
    let daemon = Running::start();
    let json = "Content-Type: application/json\r\n";
    let make = |document: &str| daemon.send("POST", "/v1.41/volumes/create", json, document.as_bytes());
    let made = make(r#"{"Name":"v1","Driver":"local","Labels":{"a":"b"}}"#);
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(
        keys(&made.json()),
        ["CreatedAt", "Driver", "Labels", "Mountpoint", "Name", "Options", "Scope"]
    );
    for (document, status, message) in [
        (
            r#"{"Name":"a/b"}"#,
            400,
            "create a/b: \"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
        ),
        (
            r#"{"Name":"ab","Driver":"zz"}"#,
            404,
            "create ab: error looking up volume plugin zz: plugin \"zz\" not found",
        ),
        (r#"{"Name":"ab","DriverOpts":{"foo":"bar"}}"#, 400, "create ab: invalid option: \"foo\""),
    ] {
        let reply = make(document);
        assert_eq!((reply.status, reply.message().as_str()), (status, message), "{document}");
    }
    let labelled = format!("/v1.41/volumes?filters={}", escaped(r#"{"label":["a=b"]}"#));
    assert_eq!(daemon.get(&labelled).json()["Volumes"][0]["Name"], "v1");
    // A volume with a name stays from 1.42 on, unless all are meant.
    assert_eq!(daemon.post("/v1.42/volumes/prune").json()["VolumesDeleted"], serde_json::json!([]));
    let document = daemon.post("/v1.41/volumes/prune").json();
    assert_eq!(document["VolumesDeleted"], serde_json::json!(["v1"]));
    assert_eq!(daemon.send("DELETE", "/v1.41/volumes/v1", "", b"").message(), "get v1: no such volume");
    assert_eq!(daemon.send("DELETE", "/v1.41/volumes/v1?force=1", "", b"").status, 204);
}

#[test]
fn building_with_buildkit_says_what_to_do() {
    let daemon = Running::start();
    let reply = daemon.send("POST", "/v1.41/build?version=2&session=x", "", b"");
    assert_eq!(reply.status, 501);
    assert!(reply.message().contains("DOCKER_BUILDKIT=0"), "{}", reply.message());
}

#[test]
fn log_drivers_that_are_not_there_are_refused() {
    let daemon = Running::start();
    daemon.import("x:1");
    let with = |kind: &str| {
        create(
            &daemon,
            "",
            &format!(r#"{{"Image":"x:1","Cmd":["a"],"HostConfig":{{"LogConfig":{{"Type":"{kind}"}}}}}}"#),
        )
    };
    for kind in ["", "json-file", "local", "none"] {
        assert_eq!(with(kind).status, 201, "{kind}");
    }
    assert_eq!(
        with("syslog").message(),
        "the log driver syslog is not supported: json-file, local and none are"
    );
    // The words are dockerd's.
    assert_eq!(with("asdf").message(), r#"error looking up logging plugin asdf: plugin "asdf" not found"#);
}

/// What dockerd 20.10.24 answers, observed 2026-11-22.
#[test]
fn volumes_of_a_new_container_have_drivers_and_labels() {
    let daemon = Running::start();
    daemon.import("small:1");
    let make = |name: &str, host: &str| create_on(&daemon, name, host);
    assert_eq!(make("driven", r#"{"VolumeDriver":"zz"}"#).status, 201);
    let inspected = daemon.get("/v1.41/containers/driven/json").json();
    assert_eq!(inspected["HostConfig"]["VolumeDriver"], "zz");
    assert_eq!(make("bound", r#"{"VolumeDriver":"zz","Binds":["/tmp:/x"]}"#).status, 201);
    for host in [
        r#"{"VolumeDriver":"zz","Binds":["ab:/x"]}"#,
        r#"{"Mounts":[{"Type":"volume","Source":"ab","Target":"/x","VolumeOptions":{"DriverConfig":{"Name":"zz"}}}]}"#,
    ] {
        let reply = make("no", host);
        let message = "create ab: error looking up volume plugin zz: plugin \"zz\" not found";
        assert_eq!((reply.status, reply.message().as_str()), (404, message), "{host}");
    }
    let labelled = |label: &str| {
        format!(
            r#"{{"VolumeDriver":"zz","Mounts":[{{"Type":"volume","Source":"ab","Target":"/x","VolumeOptions":{{"Labels":{{"a":"{label}"}}}}}}]}}"#
        )
    };
    assert_eq!(make("first", &labelled("1")).status, 201);
    let mounts = daemon.get("/v1.41/containers/first/json").json()["Mounts"].clone();
    assert_eq!(
        (&mounts[0]["Name"], &mounts[0]["Driver"], &mounts[0]["Mode"]),
        (&"ab".into(), &"local".into(), &"z".into())
    );
    // A volume that is there keeps its labels.
    assert_eq!(make("second", &labelled("2")).status, 201);
    assert_eq!(daemon.get("/v1.41/volumes/ab").json()["Labels"], serde_json::json!({ "a": "1" }));
}

#[test]
fn a_volume_that_was_cut_off_while_it_was_made_gets_its_labels() {
    let daemon = Running::start();
    std::fs::create_dir_all(daemon.root().join("volumes/half")).unwrap();
    let document = br#"{"Name":"half","Labels":{"a":"1"}}"#;
    let made = daemon.send("POST", "/v1.41/volumes/create", "Content-Type: application/json\r\n", document);
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(daemon.get("/v1.41/volumes/half").json()["Labels"], serde_json::json!({ "a": "1" }));
}

/// Go reads names of documents in any case; docker-py relies on it.
#[test]
fn names_in_documents_are_read_in_any_case() {
    let daemon = Running::start();
    daemon.import("small:1");
    let document =
        r#"{"image":"small:1","CMD":["x"],"HostConfig":{"CPURealtimePeriod":1000,"CPURealtimeRuntime":500}}"#;
    let made = create(&daemon, "?name=c9", document);
    assert_eq!(made.status, 201, "{made:?}");
    let config = daemon.get("/v1.41/containers/c9/json").json()["HostConfig"].clone();
    assert_eq!((&config["CpuRealtimePeriod"], &config["CpuRealtimeRuntime"]), (&1000.into(), &500.into()));
}

/// Messages and statuses of dockerd 20.10.24, observed 2026-11-22.
#[test]
fn links_are_made_named_and_removed() {
    let daemon = Running::start();
    daemon.import("small:1");
    let make = |name: &str, host: &str| create_on(&daemon, name, host);
    assert_eq!(make("c1", "{}").status, 201);
    assert_eq!(make("c3", r#"{"Links":["c1:a","/c1:b"]}"#).status, 201);
    let links = || daemon.get("/v1.41/containers/c3/json").json()["HostConfig"]["Links"].clone();
    assert_eq!(links(), serde_json::json!(["/c1:/c3/a", "/c1:/c3/b"]));
    assert_eq!(daemon.get("/v1.41/containers/c3/a/json").json()["Name"], "/c1");
    let listed = daemon.get("/v1.41/containers/json?all=1").json();
    assert_eq!(listed[1]["Names"], serde_json::json!(["/c1", "/c3/a", "/c3/b"]));
    for (host, status, message) in [
        (r#"{"Links":["nosuch:x"]}"#, 400, "could not get container for nosuch: No such container: nosuch"),
        (r#"{"Links":["c1:x:y"]}"#, 500, "bad format for links: c1:x:y"),
        (
            r#"{"Links":["c1:x"],"NetworkMode":"host"}"#,
            400,
            "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
        ),
        (
            r#"{"Links":["c1:x"],"NetworkMode":"container:c1"}"#,
            400,
            "conflicting options: container type network can't be used with links. This would result in undefined behavior",
        ),
    ] {
        let reply = make("no", host);
        assert_eq!((reply.status, reply.message().as_str()), (status, message), "{host}");
    }
    let start = daemon.post("/v1.41/containers/c3/start");
    let message = "Cannot link to a non running container: /c1 AS /c3/a";
    assert_eq!((start.status, start.message().as_str()), (500, message));
    let unlink = |name: &str| daemon.send("DELETE", &format!("/v1.41/containers/{name}?link=1"), "", b"");
    assert_eq!(unlink("c3/a").status, 204);
    assert_eq!(links(), serde_json::json!(["/c1:/c3/b"]));
    for (name, status, message) in [
        ("c3/a", 404, "No such container: c3/a"),
        ("nosuch", 404, "No such container: nosuch"),
        ("c3", 500, "Conflict, cannot remove the default link name of the container"),
    ] {
        let reply = unlink(name);
        assert_eq!((reply.status, reply.message().as_str()), (status, message), "{name}");
    }
}
