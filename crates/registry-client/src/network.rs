//! A range of addresses: `address/bits`.

use std::net::IpAddr;

/// All addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The address of the network.
    pub address: IpAddr,
    /// Length of the prefix in bits.
    pub prefix_bits: u8,
}

impl Network {
    /// Parses `address/bits`.
    pub(crate) fn parse(text: &str) -> Option<Network> {
        let (address, bits) = text.split_once('/')?;
        let (address, prefix_bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        (prefix_bits <= bits_max).then_some(Network { address, prefix_bits })
    }

    /// Returns whether an address lies in the network.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let (host, network, width) = match (address, self.address) {
            (IpAddr::V4(host), IpAddr::V4(network)) => {
                (u128::from(host.to_bits()), u128::from(network.to_bits()), 32)
            }
            (IpAddr::V6(host), IpAddr::V6(network)) => (host.to_bits(), network.to_bits(), 128),
            _ => return false,
        };
        let ignored = u32::from(width - self.prefix_bits);
        (host ^ network).checked_shr(ignored).unwrap_or(0) == 0
    }
}
