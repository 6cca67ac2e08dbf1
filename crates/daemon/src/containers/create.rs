//! `POST /containers/create`.

use http::StatusCode;
use serde_json::{Value, json};
use shale_engine::containers::HostConfig;
use shale_engine::containers::create::Create;
use shale_engine_api::ApiVersion;
use shale_oci::{ImageConfig, Platform, RunConfig};

use crate::answer::{Answer, with_status};
use crate::body::RequestBody;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::request::Call;

/// Makes a container.
pub(crate) async fn answer(daemon: &Daemon, call: &Call, body: RequestBody) -> Result<Answer, Failure> {
    let mut document: Value = call.document(body).await?;
    super::spelling::correct(&mut document);
    let endpoints = endpoints(&mut document, call)?;
    let platform = call.query.text("platform").map(str::parse::<Platform>).transpose()?;
    let (create, mut warnings) = read(document)?;
    let create = Create { name: call.query.text("name").map(str::to_owned), ..create };
    let (created, record, volumes) = daemon
        .blocking(move |engine| -> Result<_, Failure> {
            if let Some(wanted) = &platform {
                check_platform(&engine.load_image(&create.image)?.config, &create.image, wanted)?;
            }
            let known = engine.volume_names()?;
            let created = engine.create_container(&create)?;
            for (network, asked) in &endpoints {
                engine.describe_endpoint(&created.id, network, asked)?;
            }
            let record = engine.find_container(&created.id)?;
            let volumes: Vec<String> = record.volumes().map(|volume| volume.name).collect();
            Ok((
                created,
                record,
                volumes.into_iter().filter(|name| !known.contains(name)).collect::<Vec<String>>(),
            ))
        })
        .await?;
    for volume in &volumes {
        daemon.volume_event(volume, "create", &[]);
    }
    daemon.container_event(&record, "create", &[]);
    warnings.extend(created.warnings);
    Ok(with_status(StatusCode::CREATED, &json!({ "Id": created.id, "Warnings": warnings })))
}

/// Takes out what a document says of the container's networks.
///
/// Source: moby `daemon/create.go` `verifyNetworkingConfig` at v20.10.24; several networks came with API 1.44.
fn endpoints(document: &mut Value, call: &Call) -> Result<Vec<(String, Value)>, Failure> {
    let networking = document.as_object_mut().and_then(|map| map.shift_remove("NetworkingConfig"));
    let endpoints = networking.unwrap_or(Value::Null)["EndpointsConfig"].take();
    let endpoints: Vec<(String, Value)> = endpoints
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, asked)| (name.clone(), asked.clone()))
        .collect();
    if endpoints.len() > 1 && call.version < ApiVersion::one(44) {
        let names: Vec<&str> = endpoints.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Failure::invalid(format!(
            "Container cannot be connected to network endpoints: {}",
            names.join(", ")
        )));
    }
    let mode = document["HostConfig"]["NetworkMode"].as_str().unwrap_or_default();
    let is_described = |name: &str| match name {
        "default" | "host" | "none" => false,
        "bridge" => matches!(mode, "" | "default" | "bridge"),
        _ => true,
    };
    Ok(endpoints.into_iter().filter(|(name, _)| is_described(name)).collect())
}

fn check_platform(config: &[u8], name: &str, wanted: &Platform) -> Result<(), Failure> {
    let actual = ImageConfig::parse(config).map_err(|error| Failure::internal(&error))?.platform();
    if wanted.choose([Some(&actual)].into_iter()).is_some() {
        return Ok(());
    }
    Err(Failure::missing(format!(
        "image with reference {name} was found but does not match the specified platform: wanted {wanted}, actual: {actual}"
    )))
}

/// Reads the document of a new container; second, what the user should know.
fn read(mut document: Value) -> Result<(Create, Vec<String>), Failure> {
    let host = document.as_object_mut().and_then(|map| map.shift_remove("HostConfig")).unwrap_or(Value::Null);
    // Go's type takes one word for a list of one.
    for key in ["Cmd", "Entrypoint"] {
        if let Value::String(word) = &document[key] {
            document[key] = json!([word]);
        }
    }
    let invalid =
        |error: serde_json::Error| Failure::invalid(format!("invalid JSON in the request body: {error}"));
    if document.is_null() {
        return Err(Failure::invalid("Config cannot be empty in order to create a container"));
    }
    let mut config: RunConfig = serde_json::from_value(document).map_err(invalid)?;
    // Of an empty set Docker keeps nothing.
    config.volumes = config.volumes.filter(|volumes| !volumes.is_empty());
    let image = config.image.clone();
    if image.is_empty() {
        return Err(Failure::invalid("No image was specified"));
    }
    if !config.stop_signal.is_empty() {
        super::lifecycle::parse_signal(&config.stop_signal)?;
    }
    if !host.is_null() && !host.is_object() {
        return Err(Failure::invalid("invalid JSON in the request body: HostConfig is no object"));
    }
    let (host_config, warnings) = host_config(host);
    Ok((Create { image, name: None, config, host_config }, warnings))
}

/// Keys that are null in the document of a container whose maker did not name them.
const UNSET: [&str; 11] = [
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeightDevice",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "PortBindings",
    "Ulimits",
];

/// Takes what dockerd takes for unset out of a host config.
///
/// Source: moby `daemon/daemon_unix.go` `adaptContainerSettings` and `verifyPlatformContainerSettings` at v20.10.24.
fn host_config(mut host: Value) -> (HostConfig, Vec<String>) {
    let mut warnings = Vec::new();
    if let Some(map) = host.as_object_mut() {
        map.retain(|_, value| !value.is_null());
        let is = |map: &serde_json::Map<String, Value>, key: &str, unset: Value| map.get(key) == Some(&unset);
        if is(map, "MemorySwappiness", json!(-1)) {
            map.shift_remove("MemorySwappiness");
        }
        if map.get("PidsLimit").and_then(Value::as_i64).is_some_and(|limit| limit <= 0) {
            map.shift_remove("PidsLimit");
        }
        if let Some(log) = map.get_mut("LogConfig").filter(|log| log["Type"] == "") {
            log["Type"] = json!("json-file");
        }
        if map.get("RestartPolicy").is_some_and(|policy| policy["Name"] == "") {
            map.shift_remove("RestartPolicy");
        }
        let memory = map.get("Memory").and_then(Value::as_i64).unwrap_or_default();
        let swap = map.get("MemorySwap").and_then(Value::as_i64).unwrap_or_default();
        if memory > 0 && swap == 0 {
            map.insert("MemorySwap".to_owned(), json!(memory.saturating_mul(2)));
        }
        let has_ports =
            map.get("PortBindings").and_then(Value::as_object).is_some_and(|ports| !ports.is_empty());
        let mode = map.get("NetworkMode").and_then(Value::as_str).unwrap_or_default().to_owned();
        let has_bridge = mode == "bridge";
        let is_made = !matches!(mode.as_str(), "" | "default" | "none" | "host" | "bridge")
            && !mode.starts_with("container:");
        if is_made {
            warnings.push(crate::networks::WARNING.to_owned());
        }
        if has_bridge {
            // What starts containers knows no such network.
            map.insert("NetworkMode".to_owned(), json!("default"));
        }
        if has_bridge || (has_ports && matches!(mode.as_str(), "" | "default")) {
            let what = if has_ports { "ports are not published" } else { "the container has no network" };
            warnings.push(format!(
                "There is no bridge network here: {what}. Use the network \"host\" to share that of this machine."
            ));
        }
        if is(map, "Privileged", json!(true)) {
            map.insert("MaskedPaths".to_owned(), Value::Null);
            map.insert("ReadonlyPaths".to_owned(), Value::Null);
        }
    }
    let is_privileged = host["Privileged"] == true;
    let mut config = HostConfig::from_document(&host);
    if is_privileged {
        config.set("MaskedPaths", Value::Null);
        config.set("ReadonlyPaths", Value::Null);
        let labels = host["SecurityOpt"].as_array().cloned().unwrap_or_default();
        config.set("SecurityOpt", [labels, vec![json!("label=disable")]].concat());
    }
    // The defaults are those that docker's own program sends; of another client Docker keeps that it sent nothing.
    for key in UNSET {
        if host[key].is_null() {
            config.set(key, Value::Null);
        }
    }
    if host["NetworkMode"].as_str().unwrap_or_default().is_empty() {
        config.set("NetworkMode", "default");
    }
    (config, warnings)
}
