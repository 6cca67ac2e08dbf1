//! The places that can serve a repository, in the order in which they are asked.

use crate::credentials::registry_key;
use crate::error::RequestError;
use crate::options::{ClientOptions, DOCKER_HUB};
use crate::origin::{Origin, Scheme};

/// The host of Docker Hub's registry.
///
/// Source: moby registry/config.go, `DefaultV2Registry`.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// A registry or one of its mirrors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `host[:port]`.
    pub(crate) name: String,
    /// Where it may be, best first; more than one where plain http is allowed.
    pub(crate) candidates: Vec<Origin>,
    pub(crate) is_mirror: bool,
    /// Whose credentials it gets: its own, also when it stands in for another registry.
    pub(crate) credentials_key: String,
}

/// Who served something; hand it to the next request to ask there first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(pub(crate) Endpoint);

impl Source {
    /// Returns `host[:port]`.
    pub fn host(&self) -> &str {
        &self.0.name
    }

    /// Returns whether it is a mirror rather than the registry that the name says.
    pub fn is_mirror(&self) -> bool {
        self.0.is_mirror
    }
}

impl Endpoint {
    /// Returns the registry with this domain.
    pub(crate) fn registry(options: &ClientOptions, domain: &str) -> Result<Endpoint, RequestError> {
        let host = if domain == DOCKER_HUB { DOCKER_HUB_HOST } else { domain };
        let malformed =
            || RequestError::Malformed { host: crate::error::printable(domain), what: "its name" };
        let secure = Origin::new(Scheme::Https, host).ok_or_else(malformed)?;
        let mut candidates = vec![secure.clone()];
        if plain_allowed(options, &secure) {
            candidates.extend(Origin::new(Scheme::Http, host));
        }
        let credentials_key = registry_key(domain);
        Ok(Endpoint { name: host.to_owned(), candidates, is_mirror: false, credentials_key })
    }

    /// Returns the mirrors of a registry, then the registry.
    pub(crate) fn all(options: &ClientOptions, domain: &str) -> Result<Vec<Endpoint>, RequestError> {
        let mirrors = options.mirrors.get(domain).map(Vec::as_slice).unwrap_or_default();
        let mut endpoints: Vec<Endpoint> = mirrors
            .iter()
            .map(|origin| Endpoint {
                name: origin.authority(),
                candidates: vec![origin.clone()],
                is_mirror: true,
                credentials_key: registry_key(&origin.authority()),
            })
            .collect();
        endpoints.push(Endpoint::registry(options, domain)?);
        Ok(endpoints)
    }
}

/// Returns whether a registry may be asked without TLS: when it is listed, and on loopback unless somebody went to the
/// length of installing a CA for it.
fn plain_allowed(options: &ClientOptions, origin: &Origin) -> bool {
    options.lists_insecure(origin)
        || (origin.is_loopback() && !crate::tls::has_authority(&options.certs_d, origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_has_its_mirrors_first_and_its_own_host_last() {
        let mut options = ClientOptions::default();
        options.mirrors.insert("docker.io".to_owned(), vec![Origin::new(Scheme::Http, "m:5000").unwrap()]);
        let endpoints = Endpoint::all(&options, "docker.io").unwrap();
        let names: Vec<_> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
        assert_eq!(names, ["m:5000", "registry-1.docker.io"]);
        assert_eq!(endpoints[0].credentials_key, "m:5000");
        assert_eq!(endpoints[1].credentials_key, "https://index.docker.io/v1/");
        assert_eq!(endpoints[1].candidates.len(), 1);
    }

    #[test]
    fn plain_http_is_for_loopback_and_listed_registries() {
        let mut options = ClientOptions::default();
        let schemes =
            |options: &ClientOptions, domain| Endpoint::registry(options, domain).unwrap().candidates.len();
        assert_eq!(schemes(&options, "127.0.0.1:5000"), 2);
        assert_eq!(schemes(&options, "reg:5000"), 1);
        options.insecure.push(crate::InsecureRegistry::parse("reg:5000").unwrap());
        assert_eq!(schemes(&options, "reg:5000"), 2);
    }
}
