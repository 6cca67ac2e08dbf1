//! Who is in a network, as `shale daemon` tells it. The counts are those of dockerd 20.10.24, observed 2026-11-22.

use serde_json::{Value, json};
use shale_tests::peer::ShaleDaemon;
use shale_tests::scratch::Scratch;

use super::replay::wire;
use super::survival::{import, output};

#[test]
fn a_list_says_who_is_in_a_network_to_old_clients_alone() {
    let scratch = Scratch::new("innet");
    let daemon = ShaleDaemon::start(&scratch.folder("s"));
    import(&daemon, &scratch);
    output(&daemon, &["run", "-d", "--name", "in-none", "--network", "none", "busybox", "sleep", "1000"])
        .success();
    let get = |path: &str| {
        let request = json!({ "method": "GET", "path": path, "query": {} });
        let answer = wire::send(daemon.socket(), &request, b"").and_then(wire::Open::finish);
        answer.expect("it answers").json().expect("it answers in JSON")
    };
    let members = |network: &Value| network["Containers"].as_object().expect("an object").len();
    for (version, expected) in [("1.27", 1), ("1.28", 0), ("1.41", 0)] {
        let networks = get(&format!("/v{version}/networks"));
        let none = networks.as_array().expect("a list").iter().find(|network| network["Name"] == "none");
        assert_eq!(members(none.expect("it is always there")), expected, "{version}");
        assert_eq!(members(&get(&format!("/v{version}/networks/none"))), 1, "{version}");
    }
    output(&daemon, &["rm", "-f", "in-none"]).success();
}
