//! Networks over the API: statuses and texts of dockerd 20.10.24 with `--bridge=none`, observed 2026-11-22.

use serde_json::json;

use crate::server::{Reply, Running, escaped};

fn send(daemon: &Running, method: &str, path: &str, document: &str) -> Reply {
    let path = format!("/v1.41{path}");
    daemon.send(method, &path, "Content-Type: application/json\r\n", document.as_bytes())
}

fn names(daemon: &Running, filters: &str) -> Vec<String> {
    let networks = daemon.get(&format!("/v1.41/networks?filters={}", escaped(filters))).json();
    let name = |network: &serde_json::Value| network["Name"].as_str().unwrap().to_owned();
    networks.as_array().unwrap().iter().map(name).collect()
}

#[test]
fn a_network_is_made_found_and_removed() {
    let daemon = Running::start();
    let made = send(&daemon, "POST", "/networks/create", r#"{"Name":"n1","CheckDuplicate":true}"#);
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["Id"].as_str().unwrap().to_owned();
    assert!(made.json()["Warning"].as_str().unwrap().contains("no bridge"), "it says what it is not");
    // What another program asked for comes back, as dockerd gives it back.
    let asked = r#"{"Name":"h12","Attachable":true,"Internal":true,"Labels":{"a":"b"},"Options":{"com.docker.network.driver.mtu":"1400"},"IPAM":{"Driver":"default","Config":[{"Subnet":"10.97.0.0/24","Gateway":"10.97.0.9","IPRange":"10.97.0.0/25","AuxiliaryAddresses":null}]}}"#;
    assert_eq!(send(&daemon, "POST", "/networks/create", asked).status, 201);
    let mut full = daemon.get("/v1.41/networks/h12").json();
    full["Id"] = json!("ID");
    full["Created"] = json!("TIME");
    assert_eq!(
        full.to_string(),
        r#"{"Name":"h12","Id":"ID","Created":"TIME","Scope":"local","Driver":"bridge","EnableIPv6":false,"IPAM":{"Driver":"default","Options":null,"Config":[{"Subnet":"10.97.0.0/24","IPRange":"10.97.0.0/25","Gateway":"10.97.0.9"}]},"Internal":true,"Attachable":true,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{"com.docker.network.driver.mtu":"1400"},"Labels":{"a":"b"}}"#
    );
    assert_eq!(daemon.get(&format!("/v1.41/networks/{}", &id[..12])).json()["Name"], "n1");
    assert_eq!(names(&daemon, "{}"), ["bridge", "host", "none", "n1", "h12"]);
    assert_eq!(names(&daemon, r#"{"type":["custom"]}"#), ["n1", "h12"]);
    assert_eq!(names(&daemon, r#"{"label":["a=b"]}"#), ["h12"]);
    assert_eq!(names(&daemon, r#"{"dangling":["true"]}"#), ["n1", "h12"]);
    assert_eq!(send(&daemon, "DELETE", "/networks/n1", "").status, 204);
    assert_eq!(send(&daemon, "DELETE", "/networks/n1", "").message(), "network n1 not found");
    let pruned = send(&daemon, "POST", "/networks/prune", "");
    assert_eq!(pruned.json(), json!({ "NetworksDeleted": ["h12"] }));
}

#[test]
fn what_is_refused_is_refused_in_dockers_words() {
    let daemon = Running::start();
    assert_eq!(send(&daemon, "POST", "/networks/create", r#"{"Name":"n1"}"#).status, 201);
    let swarm = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
    let out_of_range = "failed to allocate gateway (10.98.0.1): Requested address is out of range";
    for (document, status, message) in [
        (r#"{"Name":"n1","CheckDuplicate":true}"#, 409, "network with name n1 already exists"),
        (r#"{"Name":"bridge"}"#, 403, "operation is not permitted on predefined bridge network "),
        (r#"{"Name":"default"}"#, 403, "operation is not permitted on predefined default network "),
        (r#"{"Name":""}"#, 500, "invalid name: "),
        (r#"{"Name":"a","Driver":"host"}"#, 403, "only one instance of \"host\" network is allowed"),
        (r#"{"Name":"a","Driver":"null"}"#, 403, "only one instance of \"null\" network is allowed"),
        (r#"{"Name":"a","Driver":"nosuch"}"#, 404, "plugin \"nosuch\" not found"),
        (r#"{"Name":"a","Driver":"overlay"}"#, 500, swarm),
        (r#"{"Name":"a","Ingress":true}"#, 403, "Ingress network can only be global scope network"),
        (
            r#"{"Name":"a","Scope":"swarm"}"#,
            403,
            "cannot create a swarm scoped network when swarm is not active",
        ),
        (
            r#"{"Name":"a","IPAM":{"Config":[{"Subnet":"nope"}]}}"#,
            500,
            "Invalid subnet nope : invalid CIDR address: nope",
        ),
        (
            r#"{"Name":"a","IPAM":{"Config":[{"Subnet":"x","IPRange":null,"Gateway":null}]}}"#,
            500,
            "Invalid subnet x : invalid CIDR address: x",
        ),
        (r#"{"Name":"a","IPAM":{"Driver":"nosuch"}}"#, 404, "plugin \"nosuch\" not found"),
        (
            r#"{"Name":"a","IPAM":{"Config":[{"Subnet":"10.99.0.0/24","Gateway":"10.98.0.1"}]}}"#,
            500,
            out_of_range,
        ),
    ] {
        let refused = send(&daemon, "POST", "/networks/create", document);
        assert_eq!((refused.status, refused.message().as_str()), (status, message), "{document}");
    }
    for (filters, status, message) in [
        (r#"{"bogus":["x"]}"#, 400, "Invalid filter 'bogus'"),
        (r#"{"type":["nope"]}"#, 500, "invalid filter: 'type'='nope'"),
        (
            r#"{"dangling":["maybe"]}"#,
            400,
            "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")",
        ),
    ] {
        let refused = daemon.get(&format!("/v1.41/networks?filters={}", escaped(filters)));
        assert_eq!((refused.status, refused.message().as_str()), (status, message), "{filters}");
    }
    let stays = send(&daemon, "DELETE", "/networks/host", "");
    assert_eq!(
        (stays.status, stays.message().as_str()),
        (403, "host is a pre-defined network and cannot be removed")
    );
    assert_eq!(names(&daemon, "{}"), ["bridge", "host", "none", "n1"]);
}

#[test]
fn containers_come_to_networks_and_leave_them() {
    let daemon = Running::start();
    daemon.import("small:1");
    for network in ["n1", "n2"] {
        let document = json!({ "Name": network }).to_string();
        assert_eq!(send(&daemon, "POST", "/networks/create", &document).status, 201);
    }
    let create = |name: &str, mode: &str, endpoints: serde_json::Value| {
        let document = json!({
            "Image": "small:1", "Cmd": ["x"], "HostConfig": { "NetworkMode": mode },
            "NetworkingConfig": { "EndpointsConfig": endpoints },
        });
        send(&daemon, "POST", &format!("/containers/create?name={name}"), &document.to_string())
    };
    let made = create("c1", "n1", json!({ "n1": { "Aliases": ["al"] } }));
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["Id"].as_str().unwrap().to_owned();
    assert_eq!(create("c2", "none", json!({})).status, 201);
    let several = create("c4", "n1", json!({ "n1": {}, "n2": {} }));
    let text = "Container cannot be connected to network endpoints: n1, n2".to_owned();
    assert_eq!((several.status, several.message()), (400, text));
    let unknown = create("c3", "nosuch", json!({}));
    assert_eq!((unknown.status, unknown.message()), (400, "network nosuch not found".to_owned()));

    let networks = || daemon.get("/v1.41/containers/c1/json").json()["NetworkSettings"]["Networks"].clone();
    assert_eq!(networks()["n1"]["Aliases"], json!(["al"]));
    assert_eq!(networks()["n1"]["NetworkID"], daemon.get("/v1.41/networks/n1").json()["Id"]);
    let asked = |container: &str| {
        json!({ "Container": container, "EndpointConfig": { "Aliases": ["b"] } }).to_string()
    };
    assert_eq!(send(&daemon, "POST", "/networks/n2/connect", &asked("c1")).status, 200);
    assert_eq!(networks()["n2"]["Aliases"], json!(["b"]));
    for (path, container, status, message) in [
        ("n2/connect", "nosuch", 404, "No such container: nosuch"),
        ("nosuch/connect", "c1", 404, "network nosuch not found"),
        (
            "host/connect",
            "c1",
            400,
            "container cannot be disconnected from host network or connected to host network",
        ),
        (
            "n2/connect",
            "c2",
            400,
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ),
        ("n2/connect", "", 400, "invalid name or ID supplied: \"\""),
        ("n2/disconnect", "nosuch", 404, "No such container: nosuch"),
    ] {
        let refused = send(&daemon, "POST", &format!("/networks/{path}"), &asked(container));
        assert_eq!((refused.status, refused.message().as_str()), (status, message), "{path} {container}");
    }
    assert_eq!(send(&daemon, "POST", "/networks/n2/disconnect", &asked("c1")).status, 200);
    assert!(networks()["n2"].is_null());
    let gone = send(&daemon, "POST", "/networks/n2/disconnect", &asked("c1"));
    assert_eq!(
        (gone.status, gone.message()),
        (500, format!("container {id} is not connected to the network n2"))
    );
    let forced = send(&daemon, "POST", "/networks/n2/disconnect", r#"{"Container":"nosuch","Force":true}"#);
    assert_eq!((forced.status, forced.message()), (404, "endpoint nosuch not found".to_owned()));

    // Of the bridge that is not there, too, it is kept what was said.
    let options = json!({ "bridge": { "DriverOpts": { "a": "on" } } });
    assert_eq!(create("c5", "bridge", options).status, 201);
    let bridged = daemon.get("/v1.41/containers/c5/json").json();
    assert_eq!(bridged["NetworkSettings"]["Networks"]["bridge"]["DriverOpts"], json!({ "a": "on" }));

    // What does not run holds no network; without it, it does not start.
    assert_eq!(send(&daemon, "DELETE", "/networks/n1", "").status, 204);
    let start = daemon.post("/v1.41/containers/c1/start");
    assert_eq!((start.status, start.message()), (404, "network n1 not found".to_owned()));
}
