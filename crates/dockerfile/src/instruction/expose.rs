//! Ports as `EXPOSE` names them.

use std::net::IpAddr;

/// Why a word of `EXPOSE` names no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExposeFault {
    /// Nothing in front of `/`.
    #[error("invalid port: {0:?}: no port specified")]
    NoPort(String),
    /// Another protocol than tcp, udp and sctp.
    #[error("invalid port: {word:?}: invalid proto: {protocol}")]
    Protocol {
        /// The whole word.
        word: String,
        /// The protocol as written.
        protocol: String,
    },
    /// The port or range is malformed or out of range.
    #[error("invalid containerPort: {0}")]
    Port(String),
    /// The part between colons is malformed.
    #[error("invalid hostPort: {0}")]
    HostPort(String),
    /// The ranges on both sides of the colon differ in length.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges {
        /// Behind the colon.
        container: String,
        /// In front of the colon.
        host: String,
    },
    /// The part in front of the ports is no address.
    #[error("invalid IP address: {0}")]
    Address(String),
}

/// Returns the ports that a word of `EXPOSE` means, as the image's config keeps them: `80/tcp`.
///
/// An address and a host port in front are checked and then ignored, as Docker does.
///
/// # Errors
/// [`ExposeFault`] with BuildKit's text when the word is malformed.
///
/// Source: observed with BuildKit 0.32.2; buildkit `dockerfile2llb/convert_expose.go` at v0.34.2.
pub fn parse_ports(word: &str) -> Result<Vec<String>, ExposeFault> {
    let (front, container) = word.rsplit_once(':').unwrap_or(("", word));
    let (address, host) = front.rsplit_once(':').unwrap_or(("", front));
    let (ports, protocol) = container.split_once('/').unwrap_or((container, ""));
    if ports.is_empty() {
        return Err(ExposeFault::NoPort(word.to_owned()));
    }
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return Err(ExposeFault::Protocol { word: word.to_owned(), protocol: protocol.to_owned() }),
    };
    if !address.is_empty() {
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        bare.parse::<IpAddr>().map_err(|_| ExposeFault::Address(address.to_owned()))?;
    }
    let (first, last) = parse_range(ports).ok_or_else(|| ExposeFault::Port(ports.to_owned()))?;
    if !host.is_empty() {
        let (host_first, host_last) =
            parse_range(host).ok_or_else(|| ExposeFault::HostPort(host.to_owned()))?;
        if last != first && last - first != host_last - host_first {
            return Err(ExposeFault::Ranges { container: ports.to_owned(), host: host.to_owned() });
        }
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// Returns the protocol of a word as written, and whether it names an address or a host port; for the lint rules.
pub(crate) fn written_ports(word: &str) -> (&str, bool) {
    let (front, container) = word.rsplit_once(':').unwrap_or(("", word));
    let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
    (protocol, !front.trim_matches(':').is_empty())
}
