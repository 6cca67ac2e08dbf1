//! Networks, plugins and swarms: there are none, but for the three networks of every machine.

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::{Answer, document};
use crate::failure::Failure;
use crate::request::Call;
use crate::route::Route;

/// Networks that clients expect on every machine, with what drives them.
const NETWORKS: [(&str, &str); 3] = [("bridge", "bridge"), ("host", "host"), ("none", "null")];

/// Answers a route that is about such an object.
pub(crate) fn answer(call: &Call, route: Route) -> Result<Answer, Failure> {
    match route {
        Route::Plugins => Ok(document(&json!([]))),
        Route::NetworksPrune => Ok(document(&json!({ "NetworksDeleted": null }))),
        Route::BuildPrune => Ok(document(&json!({ "CachesDeleted": null, "SpaceReclaimed": 0 }))),
        Route::Networks => networks(call),
        Route::Network(name) => {
            let found = NETWORKS.iter().find(|network| network.0 == name || id(network.0) == name);
            match found {
                Some(found) if call.method == http::Method::GET => Ok(document(&network(*found))),
                Some((name, _)) => Err(Failure::new(
                    StatusCode::FORBIDDEN,
                    format!("{name} is a pre-defined network and cannot be removed"),
                )),
                None => Err(Failure::missing(format!("network {name} not found"))),
            }
        }
        Route::Swarm if call.path == "/swarm/leave" => {
            Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "This node is not part of a swarm"))
        }
        Route::Plugin(name) => Err(Failure::missing(format!("plugin {name:?} not found"))),
        Route::Swarm => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
        )),
        _ => Err(Failure::missing("page not found")),
    }
}

fn networks(call: &Call) -> Result<Answer, Failure> {
    let filters = call.query.filters()?;
    for name in filters.keys() {
        if !matches!(name.as_str(), "driver" | "type" | "name" | "id" | "label" | "scope" | "dangling") {
            return Err(Failure::invalid(format!("invalid filter '{name}'")));
        }
    }
    let is_wanted = |(name, driver): &(&str, &str)| {
        filters.iter().all(|(filter, values)| match filter.as_str() {
            "name" => values.iter().any(|value| name.contains(value.as_str())),
            "id" => values.iter().any(|value| id(name).starts_with(value.as_str())),
            "driver" => values.iter().any(|value| value == driver),
            "type" => values.iter().any(|value| value == "builtin"),
            "scope" => values.iter().any(|value| value == "local"),
            "dangling" => values.iter().all(|value| matches!(value.as_str(), "0" | "false")),
            _ => false,
        })
    };
    let found: Vec<Value> = NETWORKS.iter().copied().filter(is_wanted).map(network).collect();
    Ok(document(&Value::Array(found)))
}

/// An ID of the usual form that is the same on every machine.
fn id(name: &str) -> String {
    shale_oci::Digest::sha256(name.as_bytes()).hex()
}

fn network((name, driver): (&str, &str)) -> Value {
    json!({
        "Name": name,
        "Id": id(name),
        "Created": "1970-01-01T00:00:00Z",
        "Scope": "local",
        "Driver": driver,
        "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Options": null, "Config": [] },
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": {},
        "Options": {},
        "Labels": {},
    })
}
