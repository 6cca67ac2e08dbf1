//! The keys of the Docker registry, from its `config.yml` or from `REGISTRY_*` variables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Config, ConfigError, Endpoint, Tls, TokenServer, five_seconds, parse_duration};
use crate::registry::MissingTargets;

/// Applies keys with their values; returns the keys that have no meaning here.
///
/// # Errors
/// [`ConfigError::Value`] for a value that its key cannot have, and for a way of asking for passwords that is not complete or
/// not known here: to pass over it would open the registry to everybody.
pub fn apply(config: &mut Config, pairs: Vec<(String, String)>) -> Result<Vec<String>, ConfigError> {
    let (mut ignored, mut ways) = (Vec::new(), BTreeSet::new());
    let mut endpoints: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (key, value) in pairs {
        if let Some(rest) = key.strip_prefix("notifications_endpoints_")
            && let Some((number, field)) = rest.split_once('_')
        {
            endpoints.entry(number.to_owned()).or_default().push((field.to_owned(), value));
            continue;
        }
        if key == "auth" {
            ways.insert(value);
            continue;
        }
        // Also a key that has a meaning: a realm without users must not open the registry.
        ways.extend(key.strip_prefix("auth_").and_then(|rest| rest.split('_').next()).map(str::to_owned));
        let is_known = if value.is_empty() {
            // It says nothing, so the default stays; only whether the key has a meaning is of interest.
            apply_key(&mut Config::default(), &key, "").unwrap_or(true)
        } else {
            apply_key(config, &key, &value)?
        };
        if !is_known {
            ignored.push(key);
        }
    }
    for (number, fields) in endpoints {
        config.notifications.push(endpoint(&number, fields, &mut ignored)?);
    }
    if config.auth.token_server.as_ref().is_some_and(|server| server.realm.is_empty()) {
        return Err(refused("auth_token_realm", "", "names no token server"));
    }
    for way in ways {
        match way.as_str() {
            "htpasswd" if config.auth.htpasswd.is_none() => {
                return Err(refused("auth", "htpasswd", "needs auth_htpasswd_path"));
            }
            "token" if config.auth.token_server.is_none() => {
                return Err(refused("auth", "token", "needs auth_token_realm"));
            }
            "htpasswd" | "token" | "" => {}
            other => return Err(refused("auth", other, "is neither htpasswd nor token")),
        }
    }
    Ok(ignored)
}

fn refused(key: &str, value: &str, reason: &str) -> ConfigError {
    ConfigError::Value { key: key.to_owned(), reason: format!("{value:?} {reason}") }
}

fn apply_key(config: &mut Config, key: &str, value: &str) -> Result<bool, ConfigError> {
    let truth = || match value {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => Err(refused(key, value, "is neither true nor false")),
    };
    let duration = || parse_duration(value).ok_or_else(|| refused(key, value, "is no duration"));
    match key {
        // The version of the file's format, and the names of choices that the keys below them make as well.
        "version" | "http_net" => {}
        "storage" if matches!(value, "" | "filesystem") => {}
        "http_addr" => {
            let address = if value.starts_with(':') { format!("0.0.0.0{value}") } else { value.to_owned() };
            match address.replace("localhost", "127.0.0.1").parse::<SocketAddr>() {
                Ok(address) => config.address = address,
                Err(_) if value.starts_with('/') => config.socket = Some(value.into()),
                Err(_) => return Err(refused(key, value, "is no address")),
            }
        }
        "http_host" => config.external_url = Some(value.to_owned()),
        "http_draintimeout" => config.drain_timeout = duration()?,
        "http_tls_certificate" => tls(config).certificate = value.into(),
        "http_tls_key" => tls(config).key = value.into(),
        "http_debug_prometheus_enabled" => config.metrics = truth()?,
        "log_accesslog_disabled" => config.access_log = !truth()?,
        "storage_filesystem_rootdirectory" => config.root = value.into(),
        "storage_delete_enabled" => config.delete = truth()?,
        "storage_maintenance_readonly_enabled" => config.read_only = truth()?,
        "storage_maintenance_uploadpurging_age" => config.gc.uploads_after = duration()?,
        "validation_manifests_indexes_platforms" => {
            config.missing = if value == "none" { MissingTargets::Accept } else { MissingTargets::Refuse };
        }
        "auth_htpasswd_path" => config.auth.htpasswd = Some(value.into()),
        "auth_htpasswd_realm" => config.auth.realm = Some(value.to_owned()),
        "auth_token_realm" => token_server(config).realm = value.to_owned(),
        "auth_token_service" => token_server(config).service = value.to_owned(),
        "auth_token_issuer" => token_server(config).issuer = value.to_owned(),
        "auth_token_rootcertbundle" => token_server(config).certificates = Some(value.into()),
        "auth_token_jwks" => token_server(config).jwks = Some(value.into()),
        "catalog_maxentries" | "tags_maxtags" => {
            config.limits.page_max = value.parse().map_err(|_| refused(key, value, "is no number"))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn tls(config: &mut Config) -> &mut Tls {
    config.tls.get_or_insert_with(|| Tls { certificate: PathBuf::new(), key: PathBuf::new() })
}

fn token_server(config: &mut Config) -> &mut TokenServer {
    config.auth.token_server.get_or_insert_default()
}

fn endpoint(
    number: &str,
    fields: Vec<(String, String)>,
    ignored: &mut Vec<String>,
) -> Result<Endpoint, ConfigError> {
    let (timeout, backoff) = (five_seconds(), five_seconds());
    let mut endpoint = Endpoint {
        name: number.to_owned(),
        url: String::new(),
        headers: BTreeMap::new(),
        timeout,
        backoff,
        ignore_actions: Vec::new(),
        ignore_media_types: Vec::new(),
    };
    for (field, value) in fields {
        let key = format!("notifications_endpoints_{number}_{field}");
        let duration = || parse_duration(&value).ok_or_else(|| refused(&key, &value, "is no duration"));
        match field.as_str() {
            "name" => endpoint.name = value,
            "url" => endpoint.url = value,
            "timeout" => endpoint.timeout = duration()?,
            "backoff" => endpoint.backoff = duration()?,
            field if field.starts_with("headers_") => {
                let name =
                    field["headers_".len()..].trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
                endpoint.headers.insert(name.to_owned(), value);
            }
            field if field.starts_with("ignore_actions_") => endpoint.ignore_actions.push(value),
            field if field.starts_with("ignore_mediatypes_") => endpoint.ignore_media_types.push(value),
            _ => ignored.push(key),
        }
    }
    if endpoint.url.is_empty() {
        return Err(refused(&format!("notifications_endpoints_{number}_url"), "", "is missing"));
    }
    Ok(endpoint)
}
