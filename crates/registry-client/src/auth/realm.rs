//! Which token server a registry may name.
//!
//! The rule: the realm is an absolute URL of http or https without a user in it; it is https when the registry is; and
//! it is
//!
//! * at the origin of the registry itself, or
//! * on a host with the same registrable domain (public suffix list: `auth.docker.io` for `registry-1.docker.io`,
//!   `gitlab.com` for `registry.gitlab.com`, but not `b.co.uk` for `a.co.uk`), on any port, or
//! * an origin that [`ClientOptions::token_realms`] lists for this registry.
//!
//! Addresses and names of one label have no registrable domain; for them only the origin itself or a listed one will
//! do, so a registry can never point a client at a metadata service or at another port of this machine. The rule holds
//! without credentials too, for the request itself is the attack then.

use reqwest::Url;

use crate::auth::TokenError;
use crate::endpoint::Endpoint;
use crate::options::ClientOptions;
use crate::origin::{Origin, Scheme};

/// Longest realm that is looked at, in bytes.
const REALM_LENGTH_MAX: usize = 4 << 10;

/// Why a realm is not gone to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RealmRefusal {
    /// Not an absolute URL of http or https, or one with a user in it.
    #[error("it is not a plain URL of http or https")]
    Invalid,
    /// http for a registry that is https.
    #[error("it leaves https")]
    Downgrade,
    /// Elsewhere.
    #[error("it is on another host than the registry; list it in token-realms if it is the right one")]
    Foreign,
}

/// Returns the URL of the token server that the registry at `home` names.
pub(crate) fn check(
    options: &ClientOptions,
    endpoint: &Endpoint,
    home: &Origin,
    realm: &str,
) -> Result<Url, TokenError> {
    let listed = options.token_realms.get(&endpoint.name).map(Vec::as_slice).unwrap_or_default();
    allowed(home, realm, listed).map_err(|reason| TokenError::RealmRefused {
        host: home.authority(),
        realm: crate::error::printable(realm),
        reason,
    })
}

/// Applies the rule of this module.
pub fn allowed(home: &Origin, realm: &str, listed: &[Origin]) -> Result<Url, RealmRefusal> {
    if realm.len() > REALM_LENGTH_MAX || realm.contains(char::is_control) {
        return Err(RealmRefusal::Invalid);
    }
    let url = Url::parse(realm).map_err(|_| RealmRefusal::Invalid)?;
    let origin = Origin::of(&url).ok_or(RealmRefusal::Invalid)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RealmRefusal::Invalid);
    }
    if listed.contains(&origin) {
        return Ok(url);
    }
    if home.scheme() == Scheme::Https && origin.scheme() != Scheme::Https {
        return Err(RealmRefusal::Downgrade);
    }
    if origin == *home || (same_domain(home, &origin)) {
        return Ok(url);
    }
    Err(RealmRefusal::Foreign)
}

fn same_domain(one: &Origin, other: &Origin) -> bool {
    match (registrable_domain(one), registrable_domain(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

fn registrable_domain(origin: &Origin) -> Option<&str> {
    if origin.address().is_some() || !origin.host().contains('.') {
        return None;
    }
    psl::domain_str(origin.host().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn verdict(home: &str, realm: &str) -> Result<(), RealmRefusal> {
        let home = Origin::of(&Url::parse(home).unwrap()).unwrap();
        allowed(&home, realm, &[]).map(drop)
    }

    #[test]
    fn the_token_servers_of_real_registries_are_allowed() {
        for (home, realm) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token"),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
            ("https://ghcr.io", "https://ghcr.io/token"),
            ("https://quay.io", "https://quay.io/v2/auth"),
            ("https://registry.digitalocean.com", "https://api.digitalocean.com/v2/registry/auth"),
            ("https://reg.corp.example:5000", "https://auth.corp.example:5001/token"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/token"),
            ("https://10.0.0.5", "https://10.0.0.5/service/token"),
        ] {
            assert_eq!(verdict(home, realm), Ok(()), "{home} {realm}");
        }
    }

    #[test]
    fn strangers_are_refused() {
        for (home, realm) in [
            ("https://registry-1.docker.io", "https://auth.docker.io.evil.example/token"),
            ("https://a.co.uk", "https://b.co.uk/token"),
            ("https://a.github.io", "https://b.github.io/token"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"),
            ("http://127.0.0.1:5000", "http://127.0.0.2:5000/token"),
            ("http://localhost:5000", "http://localhost:5001/token"),
            ("https://reg.example.com", "https://169.254.169.254/latest"),
            ("https://reg.example.com", "https://127.0.0.1/token"),
            ("http://10.0.0.5", "http://10.0.0.6/token"),
        ] {
            assert_eq!(verdict(home, realm), Err(RealmRefusal::Foreign), "{home} {realm}");
        }
    }

    #[test]
    fn odd_urls_are_refused() {
        let home = "https://reg.example.com";
        assert_eq!(verdict(home, "http://reg.example.com/token"), Err(RealmRefusal::Downgrade));
        for realm in [
            "file:///etc/passwd",
            "/token",
            "https://user@reg.example.com/token",
            "https://reg.example.com\u{1}/token",
            "",
        ] {
            assert_eq!(verdict(home, realm), Err(RealmRefusal::Invalid), "{realm}");
        }
    }

    #[test]
    fn a_listed_origin_is_allowed() {
        let origin = |text: &str| Origin::of(&Url::parse(text).unwrap()).unwrap();
        let listed = [origin("http://127.0.0.1:5001")];
        assert!(allowed(&origin("http://127.0.0.1:5000"), "http://127.0.0.1:5001/auth", &listed).is_ok());
    }
}
