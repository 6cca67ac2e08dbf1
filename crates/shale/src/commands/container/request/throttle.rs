//! Limits of single devices, and names of name servers.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::byte_count;

/// `/dev/sda:1mb` (bytes per second) or `/dev/sda:1000` (operations per second).
///
/// Source: docker CLI 28.2 `opts/throttledevice.go`.
pub(super) fn rates(flag: &str, typed: &[String]) -> anyhow::Result<Value> {
    let rate = |typed: &String| {
        let refuse = |reason: String| anyhow!("invalid argument {typed:?} for \"--{flag}\" flag: {reason}");
        let (path, number) = device_and_number(typed).map_err(refuse)?;
        let rate = match flag.ends_with("bps") {
            true => byte_count(flag, number).map_err(|_| {
                refuse(format!(
                    "invalid rate for device: {typed}. The correct format is <device-path>:<number>[<unit>]. Number must be \
                     a positive integer. Unit is optional and can be kb, mb, or gb"
                ))
            })?,
            false => number.parse::<u32>().map(i64::from).map_err(|_| {
                refuse(format!(
                    "invalid rate for device: {typed}. The correct format is <device-path>:<number>. Number must be a \
                     positive integer"
                ))
            })?,
        };
        Ok(json!({ "Path": path, "Rate": rate }))
    };
    typed.iter().map(rate).collect()
}

/// `/dev/sda:500`.
///
/// Source: docker CLI 28.2 `opts/weightdevice.go`.
pub(super) fn weights(typed: &[String]) -> anyhow::Result<Value> {
    let weight = |typed: &String| {
        let refuse = |reason: String| {
            anyhow!("invalid argument {typed:?} for \"--blkio-weight-device\" flag: {reason}")
        };
        let (path, number) = device_and_number(typed).map_err(refuse)?;
        let weight = number.parse::<u16>().ok().filter(|weight| *weight == 0 || (10..=1000).contains(weight));
        let weight = weight.ok_or_else(|| refuse(format!("invalid weight for device: {typed}")))?;
        Ok(json!({ "Path": path, "Weight": weight }))
    };
    typed.iter().map(weight).collect()
}

fn device_and_number(typed: &str) -> Result<(&str, &str), String> {
    let (path, number) = typed
        .split_once(':')
        .filter(|(path, _)| !path.is_empty())
        .ok_or_else(|| format!("bad format: {typed}"))?;
    match path.starts_with("/dev/") {
        true => Ok((path, number)),
        false => Err(format!("bad format for device path: {typed}")),
    }
}

/// `c 10:200 rwm`, `a *:* rwm`.
pub(super) fn is_device_rule(rule: &str) -> bool {
    let words: Vec<&str> = rule.split(' ').collect();
    let [kind, numbers, access] = words.as_slice() else { return false };
    let is_number =
        |text: &str| text == "*" || (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let is_pair = numbers.split_once(':').is_some_and(|(major, minor)| is_number(major) && is_number(minor));
    ["a", "b", "c"].contains(kind)
        && is_pair
        && (1..=3).contains(&access.len())
        && access.bytes().all(|byte| b"rwm".contains(&byte))
}

/// Addresses of name servers.
pub(super) fn dns_servers(typed: &[String]) -> anyhow::Result<Value> {
    for address in typed {
        if address.parse::<std::net::IpAddr>().is_err() {
            return Err(anyhow!(
                "invalid argument {address:?} for \"--dns\" flag: IP address is not correctly formatted: {address}"
            ));
        }
    }
    Ok(json!(typed))
}

/// `name:address`, `name=address`, in the form that the record has.
///
/// Source: docker CLI 28.2 `opts.ValidateExtraHost`.
pub(super) fn extra_hosts(typed: &[String]) -> anyhow::Result<Vec<String>> {
    let host = |typed: &String| {
        let refuse = |reason: String| anyhow!("invalid argument {typed:?} for \"--add-host\" flag: {reason}");
        let split = typed.split_once('=').or_else(|| typed.split_once(':'));
        let bad = || refuse(format!("bad format for add-host: {typed:?}"));
        let (name, address) = split.filter(|(name, _)| !name.is_empty()).ok_or_else(bad)?;
        let plain = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        if address == "host-gateway" {
            return Err(anyhow!(
                "host-gateway is not supported: the networks \"none\" and \"host\" have no gateway"
            ));
        }
        if plain.parse::<std::net::IpAddr>().is_err() {
            return Err(refuse(format!("invalid IP address in add-host: {address:?}")));
        }
        Ok(format!("{name}:{plain}"))
    };
    typed.iter().map(host).collect()
}

/// Domains to search names in; `.` alone searches none.
pub(super) fn dns_domains(typed: &[String]) -> anyhow::Result<Value> {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    for domain in typed {
        let trimmed = domain.trim();
        if trimmed != "." && (trimmed.len() > 255 || !trimmed.trim_end_matches('.').split('.').all(is_label))
        {
            return Err(anyhow!(
                "invalid argument {domain:?} for \"--dns-search\" flag: {domain} is not a valid domain"
            ));
        }
    }
    Ok(json!(typed.iter().map(|domain| domain.trim()).collect::<Vec<_>>()))
}
