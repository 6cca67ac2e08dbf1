//! Which networks a container is in.

use serde_json::Value;
use shale_store::{DiskError, RecordError};

use super::Record;
use super::find::FindContainerError;
use crate::Engine;
use crate::networks::{Network, NetworksError};

/// Why a container was not connected to a network, or not disconnected. The messages are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The container is not there.
    #[error(transparent)]
    Find(#[from] FindContainerError),
    /// The network is not there.
    #[error(transparent)]
    Network(#[from] NetworksError),
    /// The machine's own network.
    #[error("container cannot be disconnected from host network or connected to host network")]
    Host,
    /// A container that shares the network of another one, or the machine's.
    #[error(
        "container sharing network namespace with another container or host cannot be connected to any other network"
    )]
    Shared,
    /// The network `none`, and another one.
    #[error(
        "container cannot be connected to multiple networks with one of the networks in private (none) mode"
    )]
    None,
    /// It is in the network already.
    #[error("endpoint with name {container} already exists in network {network}")]
    Exists {
        /// The container.
        container: String,
        /// The network.
        network: String,
    },
    /// It is not in the network.
    #[error("container {container} is not connected to the network {network}")]
    NotConnected {
        /// The container's ID.
        container: String,
        /// The network.
        network: String,
    },
    /// It runs, and is not in the network.
    #[error("container {container} is not connected to network {network}")]
    RunningNotConnected {
        /// The container's ID.
        container: String,
        /// The network.
        network: String,
    },
    /// The record could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What the user says of an endpoint, and the record keeps.
const KEPT: [&str; 5] = ["IPAMConfig", "Links", "Aliases", "DriverOpts", "MacAddress"];

impl Record {
    /// Whether it is in the network, running or not.
    pub fn is_in_network(&self, name: &str) -> bool {
        let networks = &self.document["NetworkSettings"]["Networks"];
        // Docker's name for the network of who asks for none.
        !networks[name].is_null() || (name == "bridge" && !networks["default"].is_null())
    }

    /// Whether one of its networks has this ID.
    pub(super) fn has_network_id(&self, id: &str) -> bool {
        let networks = self.document["NetworkSettings"]["Networks"].as_object();
        networks.is_some_and(|networks| networks.values().any(|endpoint| endpoint["NetworkID"] == id))
    }

    fn has_networks(&self) -> bool {
        let networks = self.document["NetworkSettings"]["Networks"].as_object();
        networks.is_some_and(|networks| !networks.is_empty())
    }

    fn set_endpoint(&mut self, network: &Network, asked: &Value) {
        let mut endpoint = super::record::new_endpoint();
        if !network.is_of_every_machine() {
            endpoint["NetworkID"] = network.id.clone().into();
            endpoint["EndpointID"] = network.endpoint_id(&self.id).into();
        }
        for key in KEPT {
            if !asked[key].is_null() {
                endpoint[key] = asked[key].clone();
            }
        }
        let networks = &mut self.document["NetworkSettings"]["Networks"];
        let is_unnamed = network.name == "bridge" && !networks["default"].is_null();
        networks[if is_unnamed { "default" } else { &network.name }] = endpoint;
    }
}

impl Engine {
    /// Puts a container into a network; `asked` is what Docker's API calls the endpoint's config.
    ///
    /// # Errors
    /// [`ConnectError`]; the container stays as it was.
    ///
    /// Source: moby `daemon/container_operations.go` `ConnectToNetwork` at v20.10.24. What runs is treated as what does not:
    /// no device comes or goes.
    pub fn connect_container(&self, text: &str, network: &str, asked: &Value) -> Result<(), ConnectError> {
        self.change_endpoints(text, network, |record, network| {
            let in_others = |name: &str| name != network.name && record.is_in_network(name);
            match record.network() {
                "host" => return Err(ConnectError::Shared),
                mode if mode.starts_with("container:") => return Err(ConnectError::Shared),
                _ => {}
            }
            if network.name == "host" {
                return Err(ConnectError::Host);
            }
            if in_others("none") || (network.name == "none" && record.has_networks()) {
                return Err(ConnectError::None);
            }
            if record.is_running() && record.is_in_network(&network.name) {
                let container = record.name().to_owned();
                return Err(ConnectError::Exists { container, network: network.name.clone() });
            }
            record.set_endpoint(network, asked);
            Ok(())
        })
    }

    /// Says more of the endpoint that a container was made with.
    ///
    /// # Errors
    /// [`ConnectError`]; the container stays as it was.
    pub fn describe_endpoint(&self, text: &str, network: &str, asked: &Value) -> Result<(), ConnectError> {
        self.change_endpoints(text, network, |record, network| {
            record.set_endpoint(network, asked);
            Ok(())
        })
    }

    /// Takes a container out of a network.
    ///
    /// # Errors
    /// [`ConnectError`]; the container stays as it was.
    pub fn disconnect_container(&self, text: &str, network: &str) -> Result<(), ConnectError> {
        self.change_endpoints(text, network, |record, network| {
            if network.name == "host" {
                return Err(ConnectError::Host);
            }
            if !record.is_in_network(&network.name) {
                let (container, network) = (record.id.clone(), network.name.clone());
                return Err(match record.is_running() {
                    true => ConnectError::RunningNotConnected { container, network },
                    false => ConnectError::NotConnected { container, network },
                });
            }
            if let Some(networks) = record.document["NetworkSettings"]["Networks"].as_object_mut() {
                networks.shift_remove(&network.name);
                if network.name == "bridge" {
                    networks.shift_remove("default");
                }
            }
            Ok(())
        })
    }

    fn change_endpoints(
        &self,
        text: &str,
        network: &str,
        change: impl FnOnce(&mut Record, &Network) -> Result<(), ConnectError>,
    ) -> Result<(), ConnectError> {
        let found = self.find_container(text)?;
        let network = self.find_network(network)?;
        let gone = || FindContainerError::NoSuchContainer(text.to_owned());
        let lock = self.store.lock_container(&found.id)?.ok_or_else(gone)?;
        let mut record = self.container_record(&found.id)?.ok_or_else(gone)?;
        change(&mut record, &network)?;
        Ok(self.store.write_container(&lock, &found.id, &record.encode(), record.durability())?)
    }

    /// Returns the network that a mode names; `None` for the modes that are none of somebody's making.
    pub(super) fn network_of_mode(&self, mode: &str) -> Result<Option<Network>, NetworksError> {
        if matches!(mode, "" | "none" | "default" | "host" | "bridge") || mode.starts_with("container:") {
            return Ok(None);
        }
        self.find_network(mode).map(Some)
    }
}
