//! Networks as things of their own: made, listed, removed; who is in one stands in the containers' records.
//!
//! There is no bridge yet. A network that somebody made is a name that containers belong to: it keeps what it was made
//! with, and a container in it has the loopback device alone, as in the network `none`. No address is given to anybody.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shale_oci::Digest;
use shale_store::{DiskError, RecordError};

use crate::Engine;
use crate::containers::Record;

/// Networks of every machine, with what drives them.
const OF_EVERY_MACHINE: [(&str, &str); 3] = [("bridge", "bridge"), ("host", "host"), ("none", "null")];

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name; no two have the same.
    pub name: String,
    /// When it was made.
    #[serde(serialize_with = "write_moment", deserialize_with = "read_moment")]
    pub created: Timestamp,
    /// What it was made with.
    pub settings: NetworkSettings,
}

/// What a network is made with, as the Engine API has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct NetworkSettings {
    #[serde(deserialize_with = "read_text")]
    pub driver: String,
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    pub ipam: Option<Ipam>,
    pub internal: bool,
    pub attachable: bool,
    pub options: Option<BTreeMap<String, String>>,
    pub labels: Option<BTreeMap<String, String>>,
}

/// Which addresses a network would have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Ipam {
    #[serde(deserialize_with = "read_text")]
    pub driver: String,
    pub options: Option<BTreeMap<String, String>>,
    pub config: Option<Vec<Pool>>,
}

/// A range of addresses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Pool {
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "read_text")]
    pub subnet: String,
    #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty", deserialize_with = "read_text")]
    pub ip_range: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "read_text")]
    pub gateway: String,
    #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "Option::is_none")]
    pub auxiliary_addresses: Option<BTreeMap<String, String>>,
}

fn write_moment<S: serde::Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(moment)
}

fn read_moment<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// Go takes null for an empty text, and clients send it.
fn read_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Network {
    /// Whether every machine has it.
    pub fn is_of_every_machine(&self) -> bool {
        OF_EVERY_MACHINE.iter().any(|(name, _)| *name == self.name)
    }

    /// Returns the ID that a container has in it.
    pub fn endpoint_id(&self, container: &str) -> String {
        Digest::sha256(format!("{}/{container}", self.id).as_bytes()).hex()
    }
}

/// Why something was not done with a network. The messages are Docker's where it has them.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    /// It is not there.
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    /// Several IDs begin with the text.
    #[error("network {0} is ambiguous (several IDs begin so)")]
    Ambiguous(String),
    /// The name is that of a network of every machine.
    #[error("operation is not permitted on predefined {0} network ")]
    Predefined(String),
    /// A network of every machine stays.
    #[error("{0} is a pre-defined network and cannot be removed")]
    NotRemoved(String),
    /// No name.
    #[error("invalid name: {0}")]
    Name(String),
    /// Another network has the name.
    #[error("network with name {0} already exists")]
    Taken(String),
    /// Networks of which a machine has one.
    #[error("only one instance of {0:?} network is allowed")]
    OnlyOne(String),
    /// A driver that is not here.
    #[error("plugin {0:?} not found")]
    Driver(String),
    /// A driver that needs a swarm.
    #[error(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."
    )]
    Swarm,
    /// Addresses that are none.
    #[error("Invalid subnet {0} : invalid CIDR address: {0}")]
    Subnet(String),
    /// A gateway outside of its subnet, or none.
    #[error("failed to allocate gateway ({0}): Requested address is out of range")]
    Gateway(String),
    /// Containers that run are in it.
    #[error("error while removing network: network {name} id {id} has active endpoints")]
    InUse {
        /// The network.
        name: String,
        /// Its ID.
        id: String,
    },
    /// The file of the records is damaged.
    #[error("the records of networks are damaged: shale/networks.json in the data root")]
    Damaged(#[from] serde_json::Error),
    /// The records could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Engine {
    /// Returns all networks: those of every machine, then those that were made, oldest first.
    ///
    /// # Errors
    /// [`NetworksError::Damaged`], [`NetworksError::Disk`].
    pub fn networks(&self) -> Result<Vec<Network>, NetworksError> {
        let of_every_machine = OF_EVERY_MACHINE.iter().map(|(name, driver)| Network {
            // An ID of the usual form that is the same on every machine.
            id: Digest::sha256(name.as_bytes()).hex(),
            name: (*name).to_owned(),
            created: Timestamp::UNIX_EPOCH,
            settings: NetworkSettings { driver: (*driver).to_owned(), ..NetworkSettings::default() },
        });
        Ok(of_every_machine.chain(parse(&self.store.networks()?)?).collect())
    }

    /// Finds the network that `text` names: an ID, a name, or the begin of an ID, in this order.
    ///
    /// # Errors
    /// [`NetworksError`].
    pub fn find_network(&self, text: &str) -> Result<Network, NetworksError> {
        find(&self.networks()?, text).cloned()
    }

    /// Makes a network.
    ///
    /// # Errors
    /// [`NetworksError`]; nothing was made.
    ///
    /// Source: moby `daemon/network.go` `createNetwork` at v20.10.24; that no two have one name is of 25.0.
    pub fn create_network(&self, name: &str, settings: NetworkSettings) -> Result<Network, NetworksError> {
        if name == "default" || OF_EVERY_MACHINE.iter().any(|(known, _)| *known == name) {
            return Err(NetworksError::Predefined(name.to_owned()));
        }
        if name.trim().is_empty() {
            return Err(NetworksError::Name(name.to_owned()));
        }
        let settings = check(settings)?;
        let network = Network {
            id: crate::containers::random_id(),
            name: name.to_owned(),
            created: Timestamp::now(),
            settings,
        };
        self.store.change_networks(|records| {
            let mut networks = parse(records)?;
            if networks.iter().any(|network| network.name == name) {
                return Err(NetworksError::Taken(name.to_owned()));
            }
            networks.push(network.clone());
            Ok((serde_json::to_vec(&networks)?, network))
        })
    }

    /// Removes a network that no running container is in.
    ///
    /// # Errors
    /// [`NetworksError::NotRemoved`], [`NetworksError::InUse`] and others; it stays.
    pub fn remove_network(&self, text: &str) -> Result<Network, NetworksError> {
        let network = self.find_network(text)?;
        if network.is_of_every_machine() {
            return Err(NetworksError::NotRemoved(network.name));
        }
        if !self.containers_in(&network)?.is_empty() {
            return Err(NetworksError::InUse { name: network.name, id: network.id });
        }
        self.store.change_networks(|records| {
            let mut networks = parse(records)?;
            networks.retain(|other| other.id != network.id);
            Ok((serde_json::to_vec(&networks)?, network))
        })
    }

    /// Returns the running containers that are in a network.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn containers_in(&self, network: &Network) -> Result<Vec<Record>, DiskError> {
        let mut records = self.container_records()?;
        records.retain(|record| record.is_running() && record.is_in_network(&network.name));
        Ok(records)
    }
}

fn parse(records: &[u8]) -> Result<Vec<Network>, serde_json::Error> {
    if records.is_empty() { Ok(Vec::new()) } else { serde_json::from_slice(records) }
}

fn find<'a>(networks: &'a [Network], text: &str) -> Result<&'a Network, NetworksError> {
    let exact = networks.iter().find(|network| network.id == text);
    let named = || networks.iter().find(|network| network.name == text);
    if let Some(network) = exact.or_else(named) {
        return Ok(network);
    }
    let mut matching = networks.iter().filter(|network| !text.is_empty() && network.id.starts_with(text));
    match (matching.next(), matching.next()) {
        (Some(network), None) => Ok(network),
        (Some(_), Some(_)) => Err(NetworksError::Ambiguous(text.to_owned())),
        _ => Err(NetworksError::NoSuchNetwork(text.to_owned())),
    }
}

/// Refuses what no network here could be made with.
fn check(mut settings: NetworkSettings) -> Result<NetworkSettings, NetworksError> {
    match settings.driver.as_str() {
        "" => settings.driver = "bridge".to_owned(),
        "bridge" => {}
        "host" | "null" => return Err(NetworksError::OnlyOne(settings.driver)),
        "overlay" => return Err(NetworksError::Swarm),
        _ => return Err(NetworksError::Driver(settings.driver)),
    }
    let ipam = settings.ipam.get_or_insert_default();
    match ipam.driver.as_str() {
        "" => ipam.driver = "default".to_owned(),
        "default" => {}
        other => return Err(NetworksError::Driver(other.to_owned())),
    }
    for pool in ipam.config.iter().flatten() {
        let subnet = parse_subnet(&pool.subnet).ok_or_else(|| NetworksError::Subnet(pool.subnet.clone()))?;
        let is_inside = |address: &str| address.parse().is_ok_and(|address| contains(subnet, address));
        if !pool.gateway.is_empty() && !is_inside(&pool.gateway) {
            return Err(NetworksError::Gateway(pool.gateway.clone()));
        }
    }
    Ok(settings)
}

fn parse_subnet(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits: u32 = bits.parse().ok()?;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

fn contains((subnet, bits): (IpAddr, u32), address: IpAddr) -> bool {
    let (subnet, address, width) = match (subnet, address) {
        (IpAddr::V4(subnet), IpAddr::V4(address)) => {
            (u128::from(subnet.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(subnet), IpAddr::V6(address)) => (subnet.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    (subnet ^ address).checked_shr(width - bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_inside_of_their_subnets() {
        let is_inside =
            |subnet: &str, address: &str| contains(parse_subnet(subnet).unwrap(), address.parse().unwrap());
        assert!(is_inside("10.97.0.0/24", "10.97.0.9"));
        assert!(!is_inside("10.99.0.0/24", "10.98.0.1"));
        assert!(is_inside("0.0.0.0/0", "9.9.9.9"));
        assert!(is_inside("fd00::/64", "fd00::1") && !is_inside("fd00::/64", "fd00:0:0:1::1"));
        assert!(is_inside("::/0", "fd00::1") && !is_inside("::/0", "1.1.1.1"));
        for text in ["nope", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/x", "10.0.0/8", "fd00::/129"] {
            assert_eq!(parse_subnet(text), None, "{text}");
        }
    }
}
