//! The endpoints of networks.

use std::collections::BTreeMap;

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use shale_engine::Engine;
use shale_engine::images::filter::Filter;
use shale_engine::networks::{Network, NetworkSettings};
use shale_engine_api::ApiVersion;

use crate::answer::{Answer, document, empty, with_status};
use crate::body::RequestBody;
use crate::daemon::Daemon;
use crate::events::Kind;
use crate::failure::Failure;
use crate::request::{Call, Filters};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Wanted {
    name: String,
    scope: String,
    ingress: bool,
    config_only: bool,
    config_from: Option<Value>,
    #[serde(flatten)]
    settings: NetworkSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Endpoint {
    container: String,
    force: bool,
    endpoint_config: Value,
}

/// What every answer of a made network says: it is a name and carries nothing.
pub(crate) const WARNING: &str =
    "There is no bridge here: containers in this network have the loopback device alone.";

/// Who is in a network, by container ID.
fn endpoints(engine: &Engine, network: &Network) -> Result<BTreeMap<String, Value>, Failure> {
    let mut containers = BTreeMap::new();
    for record in engine.containers_in(network).map_err(|error| Failure::internal(&error))? {
        let endpoint = json!({
            "Name": record.name(), "EndpointID": network.endpoint_id(&record.id),
            "MacAddress": "", "IPv4Address": "", "IPv6Address": "",
        });
        containers.insert(record.id, endpoint);
    }
    Ok(containers)
}

fn described(network: &Network, containers: BTreeMap<String, Value>, version: ApiVersion) -> Value {
    let settings = &network.settings;
    let ipam = settings.ipam.clone().unwrap_or_default();
    let mut described = json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created.to_string(),
        "Scope": "local",
        "Driver": settings.driver,
    });
    if version >= ApiVersion::one(47) {
        described["EnableIPv4"] = json!(true);
    }
    let rest = json!({
        "EnableIPv6": settings.enable_ipv6,
        "IPAM": {
            "Driver": if ipam.driver.is_empty() { "default" } else { &ipam.driver },
            "Options": ipam.options,
            "Config": ipam.config.unwrap_or_default(),
        },
        "Internal": settings.internal,
        "Attachable": settings.attachable,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": containers,
        "Options": settings.options.clone().unwrap_or_default(),
        "Labels": settings.labels.clone().unwrap_or_default(),
    });
    for (key, value) in rest.as_object().cloned().unwrap_or_default() {
        described[key] = value;
    }
    described
}

/// Lists networks.
pub(crate) async fn list(daemon: &Daemon, call: &Call) -> Result<Answer, Failure> {
    let (filters, version) = (call.query.filters()?, call.version);
    check_filters(&filters, &["driver", "type", "name", "id", "label", "scope", "dangling"])?;
    let networks = daemon
        .blocking(move |engine| -> Result<Vec<Value>, Failure> {
            let mut found = Vec::new();
            for network in engine.networks()? {
                if is_wanted(engine, &network, &filters)? {
                    // Since 1.28 only the answer about one network says who is in it.
                    let containers = match version < ApiVersion::one(28) {
                        true => endpoints(engine, &network)?,
                        false => BTreeMap::new(),
                    };
                    found.push(described(&network, containers, version));
                }
            }
            Ok(found)
        })
        .await?;
    Ok(document(&Value::Array(networks)))
}

fn check_filters(filters: &Filters, known: &[&str]) -> Result<(), Failure> {
    for (name, values) in filters {
        if !known.contains(&name.as_str()) {
            return Err(Failure::invalid(format!("Invalid filter '{name}'")));
        }
        let kind = values.iter().find(|value| !matches!(value.as_str(), "builtin" | "custom"));
        if let Some(kind) = kind.filter(|_| name == "type") {
            return Err(Failure::internal_text(format!("invalid filter: 'type'='{kind}'")));
        }
        if name == "dangling" && values.iter().any(|value| truth(value).is_none()) {
            return Err(Failure::invalid(
                "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")",
            ));
        }
    }
    Ok(())
}

fn truth(value: &str) -> Option<bool> {
    match value {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

fn is_wanted(engine: &Engine, network: &Network, filters: &Filters) -> Result<bool, Failure> {
    let is_unused = !network.is_of_every_machine()
        && (!filters.contains_key("dangling")
            || engine.containers_in(network).map_err(|error| Failure::internal(&error))?.is_empty());
    Ok(filters.iter().all(|(filter, values)| {
        let any = |holds: &dyn Fn(&str) -> bool| values.iter().any(|value| holds(value));
        match filter.as_str() {
            "name" => any(&|value| network.name.contains(value)),
            "id" => any(&|value| network.id.starts_with(value)),
            "driver" => any(&|value| value == network.settings.driver),
            "type" => any(&|value| (value == "builtin") == network.is_of_every_machine()),
            "scope" => any(&|value| value == "local"),
            "label" => values.iter().all(|value| has_label(network, value)),
            "dangling" => any(&|value| truth(value) == Some(is_unused)),
            _ => false,
        }
    }))
}

fn has_label(network: &Network, text: &str) -> bool {
    match Filter::parse(&format!("label={text}"), Timestamp::UNIX_EPOCH) {
        Ok(Filter::Label(label)) => label.is_in(network.settings.labels.as_ref()),
        _ => false,
    }
}

/// Tells all about a network.
pub(crate) async fn inspect(daemon: &Daemon, call: &Call, name: String) -> Result<Answer, Failure> {
    if call.query.text("scope").is_some_and(|scope| scope != "local") {
        return Err(Failure::missing(format!("network {name} not found")));
    }
    let version = call.version;
    let described = daemon
        .blocking(move |engine| -> Result<Value, Failure> {
            let network = engine.find_network(&name)?;
            Ok(described(&network, endpoints(engine, &network)?, version))
        })
        .await?;
    Ok(document(&described))
}

/// Makes a network.
pub(crate) async fn create(daemon: &Daemon, call: &Call, body: RequestBody) -> Result<Answer, Failure> {
    let wanted: Wanted = call.document(body).await?;
    let refused = |text: &str| Err(Failure::new(StatusCode::FORBIDDEN, text));
    if wanted.ingress {
        return refused("Ingress network can only be global scope network");
    }
    if matches!(wanted.scope.as_str(), "swarm" | "global") {
        return refused("cannot create a swarm scoped network when swarm is not active");
    }
    let has_source =
        wanted.config_from.is_some_and(|from| from["Network"].as_str().is_some_and(|name| !name.is_empty()));
    if wanted.config_only || has_source {
        let text = "networks that only configure others are not supported";
        return Err(Failure::new(StatusCode::NOT_IMPLEMENTED, text));
    }
    let network = daemon.blocking(move |engine| engine.create_network(&wanted.name, wanted.settings)).await?;
    daemon.network_event(&network, "create", None);
    Ok(with_status(StatusCode::CREATED, &json!({ "Id": network.id, "Warning": WARNING })))
}

/// Removes a network that no running container is in.
pub(crate) async fn remove(daemon: &Daemon, name: String) -> Result<Answer, Failure> {
    let network = daemon.blocking(move |engine| engine.remove_network(&name)).await?;
    daemon.network_event(&network, "destroy", None);
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Puts a container into a network.
pub(crate) async fn connect(
    daemon: &Daemon,
    call: &Call,
    body: RequestBody,
    name: String,
) -> Result<Answer, Failure> {
    let wanted: Endpoint = call.document(body).await?;
    let container = checked(&wanted)?;
    let (network, id) = daemon
        .blocking(move |engine| -> Result<_, Failure> {
            engine.connect_container(&container, &name, &wanted.endpoint_config)?;
            Ok((engine.find_network(&name)?, engine.find_container(&container)?.id))
        })
        .await?;
    daemon.network_event(&network, "connect", Some(&id));
    Ok(empty(StatusCode::OK))
}

/// Takes a container out of a network.
pub(crate) async fn disconnect(
    daemon: &Daemon,
    call: &Call,
    body: RequestBody,
    name: String,
) -> Result<Answer, Failure> {
    let wanted: Endpoint = call.document(body).await?;
    let container = checked(&wanted)?;
    let (network, id) = daemon
        .blocking(move |engine| -> Result<_, Failure> {
            let network = engine.find_network(&name)?;
            let record = match engine.find_container(&container) {
                // A container that is gone may have left its endpoint; here it leaves none.
                Err(_) if wanted.force => {
                    return Err(Failure::missing(format!("endpoint {container} not found")));
                }
                record => record?,
            };
            engine.disconnect_container(&container, &name)?;
            Ok((network, record.id))
        })
        .await?;
    daemon.network_event(&network, "disconnect", Some(&id));
    Ok(empty(StatusCode::OK))
}

fn checked(wanted: &Endpoint) -> Result<String, Failure> {
    if wanted.container.is_empty() {
        return Err(Failure::invalid("invalid name or ID supplied: \"\""));
    }
    Ok(wanted.container.clone())
}

/// Removes the networks that no container is in.
pub(crate) async fn prune(daemon: &Daemon, call: &Call) -> Result<Answer, Failure> {
    let filters = call.query.filters()?;
    check_filters(&filters, &["label", "label!", "until"])?;
    let mut until = Vec::new();
    for value in filters.get("until").into_iter().flatten() {
        until.push(crate::events::moment(value, Timestamp::now())?);
    }
    let removed = daemon
        .blocking(move |engine| -> Result<Vec<Network>, Failure> {
            let mut removed = Vec::new();
            for network in engine.networks()? {
                let holds = |key: &str, wants: bool| {
                    filters.get(key).into_iter().flatten().all(|value| has_label(&network, value) == wants)
                };
                let is_old = until.iter().all(|until| network.created < *until);
                let is_chosen = !network.is_of_every_machine() && is_old;
                // One that a container came to in between stays.
                if is_chosen
                    && holds("label", true)
                    && holds("label!", false)
                    && let Ok(network) = engine.remove_network(&network.id)
                {
                    removed.push(network);
                }
            }
            Ok(removed)
        })
        .await?;
    for network in &removed {
        daemon.network_event(network, "destroy", None);
    }
    daemon.prune_event(Kind::Network, 0);
    let names: Vec<&str> = removed.iter().map(|network| network.name.as_str()).collect();
    let names = if names.is_empty() { Value::Null } else { json!(names) };
    Ok(document(&json!({ "NetworksDeleted": names })))
}
