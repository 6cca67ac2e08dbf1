//! Links: what a container calls another one, and what its environment says of it.
//!
//! A link is kept in the host config as `ID:alias`, so that it survives a new name of the other container. There is no
//! bridge: a link tells of the other container's ports and environment, and gives no way to reach it.

use std::collections::{BTreeMap, HashMap, HashSet};

use shale_store::{DiskError, RecordError};

use super::Record;
use super::find::FindContainerError;
use super::settings::{HostConfig, Settings};
use crate::Engine;

/// Why a link was refused. The messages are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// More than two parts.
    #[error("bad format for links: {0}")]
    Format(String),
    /// The other container is not there.
    #[error("could not get container for {name}: {source}")]
    Other {
        /// As typed.
        name: String,
        /// Why it was not found.
        source: FindContainerError,
    },
    /// With the machine's network, or with the other container in it.
    #[error(
        "conflicting options: host type networking can't be used with links. This would result in undefined behavior"
    )]
    HostNetwork,
    /// With the network of another container.
    #[error(
        "conflicting options: container type network can't be used with links. This would result in undefined behavior"
    )]
    ContainerNetwork,
    /// With a network where Docker has other means for names.
    #[error(
        "links are not supported in the network {0}: nobody is found by name there; with the network container:NAME two share one"
    )]
    Network(String),
    /// The other container does not run.
    #[error("Cannot link to a non running container: /{other} AS /{own}/{alias}")]
    NotRunning {
        /// Its name.
        other: String,
        /// The container's name.
        own: String,
        /// What it calls the other.
        alias: String,
    },
    /// The name of a container, and of no link.
    #[error("Conflict, cannot remove the default link name of the container")]
    OwnName,
    /// There is no such link.
    #[error("No such container: {0}")]
    NoSuchLink(String),
    /// The host config is none.
    #[error("the container's host config cannot be read")]
    Document(#[from] serde_json::Error),
    /// The record could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Refuses links beside what they cannot be used with.
///
/// Source: moby `runconfig/hostconfig_unix.go` `validateNetMode` at v20.10.24.
pub(super) fn check_network(settings: &Settings) -> Result<(), LinkError> {
    if settings.links.as_ref().is_none_or(Vec::is_empty) {
        return Ok(());
    }
    match settings.network_mode.as_str() {
        "default" => Ok(()),
        "host" => Err(LinkError::HostNetwork),
        mode if mode.starts_with("container:") => Err(LinkError::ContainerNetwork),
        "" => Err(LinkError::Network("none".to_owned())),
        mode => Err(LinkError::Network(mode.to_owned())),
    }
}

/// Splits `name`, `name:alias`, and `/name:/own/alias` as documents show it.
///
/// Source: docker `opts/parse.go` `ParseLink` at v20.10.24.
fn parse(text: &str) -> Result<(&str, &str), LinkError> {
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    if name.is_empty() || alias.is_empty() || alias.contains(':') {
        return Err(LinkError::Format(text.to_owned()));
    }
    let bare = name.strip_prefix('/').unwrap_or(name);
    Ok((bare, alias.rsplit('/').next().unwrap_or(alias)))
}

impl Engine {
    /// Replaces the names in a new container's links by IDs.
    pub(super) fn resolve_links(
        &self,
        settings: &Settings,
        config: &mut HostConfig,
    ) -> Result<(), LinkError> {
        let mut links: BTreeMap<&str, String> = BTreeMap::new();
        for link in settings.links.iter().flatten() {
            let (name, alias) = parse(link)?;
            let found = self.find_container(name);
            let other = found.map_err(|source| LinkError::Other { name: name.to_owned(), source })?;
            if other.network() == "host" {
                return Err(LinkError::HostNetwork);
            }
            // As in Docker, of two with one alias the first counts.
            links.entry(alias).or_insert_with(|| format!("{}:{alias}", other.id));
        }
        if !links.is_empty() {
            config.set("Links", links.into_values().collect::<Vec<String>>());
        }
        Ok(())
    }

    /// Returns the links of a container as documents show them; `None` when it has none.
    pub(super) fn shown_links(&self, record: &Record) -> Result<Option<Vec<String>>, DiskError> {
        let mut shown = Vec::new();
        for (id, alias) in record.links() {
            if let Some(other) = self.container_record(id)? {
                shown.push(format!("/{}:/{}/{alias}", other.name(), record.name()));
            }
        }
        Ok((!shown.is_empty()).then_some(shown))
    }

    /// Returns the variables that tell a container of those that it is linked to.
    pub(super) fn link_environment(&self, record: &Record) -> Result<Vec<String>, LinkError> {
        let own = record.config().env.unwrap_or_default();
        let mut environment = Vec::new();
        for (id, alias) in record.links() {
            let other = self.container_record(id)?;
            let not_running = |name: &str| LinkError::NotRunning {
                other: name.to_owned(),
                own: record.name().to_owned(),
                alias: alias.to_owned(),
            };
            let other = other.ok_or_else(|| not_running(id))?;
            if !other.is_running() {
                return Err(not_running(other.name()));
            }
            environment.extend(variables(record.name(), alias, &other));
        }
        // What the user says of a variable counts, also that it is unset.
        environment.retain(|entry| !own.iter().any(|own| name_of(own) == name_of(entry)));
        Ok(environment)
    }

    /// Removes the link `container/alias`.
    ///
    /// # Errors
    /// [`LinkError`]; the link stays.
    ///
    /// Source: moby `daemon/delete.go` `rmLink` at v20.10.24.
    pub fn remove_link(&self, text: &str) -> Result<(), LinkError> {
        let missing = || LinkError::NoSuchLink(text.to_owned());
        let found = |name: &str| match self.find_container(name) {
            Err(FindContainerError::Disk(error)) => Err(LinkError::Disk(error)),
            other => other.map_err(|_| missing()),
        };
        let Some((name, alias)) = text.trim_start_matches('/').split_once('/') else {
            return found(text).and(Err(LinkError::OwnName));
        };
        let id = found(name)?.id;
        let lock = self.store.lock_container(&id)?.ok_or_else(missing)?;
        let mut record = self.container_record(&id)?.ok_or_else(missing)?;
        let kept: Vec<String> = record
            .links()
            .filter(|(_, other)| *other != alias)
            .map(|(id, alias)| format!("{id}:{alias}"))
            .collect();
        if kept.len() == record.links().count() {
            return Err(missing());
        }
        record.host_config.set("Links", kept);
        Ok(self.store.write_host_config(&lock, &record.id, &record.files().host_config)?)
    }

    /// Returns the further names that containers have by links, `/container/alias`, by their IDs.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn linked_names(&self) -> Result<HashMap<String, Vec<String>>, DiskError> {
        let mut names: HashMap<String, Vec<String>> = HashMap::new();
        for id in self.store.container_ids()? {
            // Only names count, so no state is looked at.
            let files = self.store.read_container(&id)?;
            let Some(record) = files.and_then(|files| Record::parse(&id, &files)) else { continue };
            for (other, alias) in record.links() {
                names.entry(other.to_owned()).or_default().push(format!("/{}/{alias}", record.name()));
            }
        }
        Ok(names)
    }
}

impl Record {
    /// ID and alias of each link, in the order of the aliases.
    pub(super) fn links(&self) -> impl Iterator<Item = (&str, &str)> {
        let links = self.host_config.document()["Links"].as_array().into_iter().flatten();
        links.filter_map(|link| link.as_str()?.split_once(':'))
    }
}

fn name_of(entry: &str) -> &str {
    entry.split('=').next().unwrap_or_default()
}

/// A port that a container exposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Port<'a> {
    number: u16,
    protocol: &'a str,
}

impl Port<'_> {
    fn url(self) -> String {
        // Between the slashes and the colon there would be the address.
        format!("{}://:{}", self.protocol, self.number)
    }
}

/// Says of `other` what Docker says of a linked container.
///
/// Source: moby `daemon/links/links.go` at v20.10.24; observed with dockerd 20.10.24 without a bridge, 2026-11-22.
fn variables(own: &str, alias: &str, other: &Record) -> Vec<String> {
    let config = other.config();
    let mut ports: Vec<Port<'_>> = config
        .exposed_ports
        .iter()
        .flatten()
        .filter_map(|(port, _)| {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            Some(Port { number: number.parse().ok()?, protocol })
        })
        .collect();
    ports.sort_by_key(|port| (port.number, port.protocol != "tcp", port.protocol));
    let prefix = alias.to_uppercase().replace('-', "_");
    let of = |port: &Port<'_>| format!("{prefix}_PORT_{}_{}", port.number, port.protocol.to_uppercase());
    let mut all: Vec<String> =
        ports.first().map(|port| format!("{prefix}_PORT={}", port.url())).into_iter().collect();
    for range in ranges(&ports) {
        let (Some(first), Some(last)) = (range.first(), range.last()) else { continue };
        let name = of(first);
        all.extend([
            format!("{name}_START={}", first.url()),
            format!("{name}_ADDR="),
            format!("{name}_PROTO={}", first.protocol),
            format!("{name}_PORT_START={}", first.number),
            format!("{name}_END={}", last.url()),
            format!("{name}_PORT_END={}", last.number),
        ]);
    }
    for port in &ports {
        let name = of(port);
        all.extend([
            format!("{name}={}", port.url()),
            format!("{name}_ADDR="),
            format!("{name}_PORT={}", port.number),
            format!("{name}_PROTO={}", port.protocol),
        ]);
    }
    all.push(format!("{prefix}_NAME=/{own}/{alias}"));
    let told = config.env.iter().flatten().filter_map(|entry| entry.split_once('='));
    let told = told.filter(|(name, _)| !matches!(*name, "HOME" | "PATH"));
    all.extend(told.map(|(name, value)| format!("{prefix}_ENV_{name}={value}")));
    // A range says of its first port what follows once more.
    let mut seen = HashSet::new();
    all.retain(|entry| seen.insert(entry.clone()));
    all
}

/// Runs of three and more ports; two of one number and different protocols count as neighbours, as in Docker.
fn ranges<'a>(ports: &'a [Port<'a>]) -> Vec<&'a [Port<'a>]> {
    let mut ranges = Vec::new();
    let mut rest = ports;
    while let Some(first) = rest.first() {
        let reach = (u32::from(first.number)..).zip(rest);
        let length = reach.take_while(|(limit, port)| u32::from(port.number) <= *limit).count();
        let (range, after) = rest.split_at(if length > 2 { length } else { 1 });
        if length > 2 {
            ranges.push(range);
        }
        rest = after;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(document: &serde_json::Value) -> Record {
        let files = shale_store::RecordFiles {
            config: document.to_string().into_bytes(),
            host_config: b"{}".to_vec(),
        };
        Record::parse("1", &files).unwrap()
    }

    /// The values are those that `env` printed in a linked container of dockerd 20.10.24 with `--bridge=none`, 2026-11-22.
    #[test]
    fn a_linked_container_is_described_as_docker_does() {
        let other = record(&serde_json::json!({ "ID": "1", "Name": "/c1", "Config": {
            "Env": ["FOO=1", "HOME=/x", "EMPTY", "E2=", "B=x=y"],
            "ExposedPorts": {
                "80/tcp": {}, "81/tcp": {}, "82/tcp": {}, "81/udp": {}, "90/tcp": {}, "91/tcp": {}, "8000/sctp": {}
            },
        }}));
        let expected = "M_2_PORT=tcp://:80
            M_2_PORT_80_TCP_START=tcp://:80 M_2_PORT_80_TCP_ADDR= M_2_PORT_80_TCP_PROTO=tcp
            M_2_PORT_80_TCP_PORT_START=80 M_2_PORT_80_TCP_END=tcp://:82 M_2_PORT_80_TCP_PORT_END=82
            M_2_PORT_80_TCP=tcp://:80 M_2_PORT_80_TCP_PORT=80
            M_2_PORT_81_TCP=tcp://:81 M_2_PORT_81_TCP_ADDR= M_2_PORT_81_TCP_PORT=81 M_2_PORT_81_TCP_PROTO=tcp
            M_2_PORT_81_UDP=udp://:81 M_2_PORT_81_UDP_ADDR= M_2_PORT_81_UDP_PORT=81 M_2_PORT_81_UDP_PROTO=udp
            M_2_PORT_82_TCP=tcp://:82 M_2_PORT_82_TCP_ADDR= M_2_PORT_82_TCP_PORT=82 M_2_PORT_82_TCP_PROTO=tcp
            M_2_PORT_90_TCP=tcp://:90 M_2_PORT_90_TCP_ADDR= M_2_PORT_90_TCP_PORT=90 M_2_PORT_90_TCP_PROTO=tcp
            M_2_PORT_91_TCP=tcp://:91 M_2_PORT_91_TCP_ADDR= M_2_PORT_91_TCP_PORT=91 M_2_PORT_91_TCP_PROTO=tcp
            M_2_PORT_8000_SCTP=sctp://:8000 M_2_PORT_8000_SCTP_ADDR= M_2_PORT_8000_SCTP_PORT=8000
            M_2_PORT_8000_SCTP_PROTO=sctp M_2_NAME=/c3/m-2 M_2_ENV_FOO=1 M_2_ENV_E2= M_2_ENV_B=x=y";
        assert_eq!(variables("c3", "m-2", &other), expected.split_whitespace().collect::<Vec<&str>>());
        let silent = record(&serde_json::json!({ "ID": "1", "Name": "/c1", "Config": {} }));
        assert_eq!(variables("c3", "x", &silent), ["X_NAME=/c3/x"]);
    }

    #[test]
    fn links_are_read_in_each_of_their_forms() {
        for (text, expected) in [
            ("c1:l", Some(("c1", "l"))),
            ("/c1:m-2", Some(("c1", "m-2"))),
            ("c1", Some(("c1", "c1"))),
            ("/c1:/c3/l", Some(("c1", "l"))),
            ("c1:x:y", None),
            ("", None),
            (":x", None),
            ("x:", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }
}
