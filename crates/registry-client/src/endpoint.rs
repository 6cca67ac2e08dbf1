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
    /// Where it is: a mirror as configured; a registry under https, or under http where that is allowed.
    pub(crate) origin: Origin,
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
    pub(crate) fn registry(domain: &str) -> Result<Endpoint, RequestError> {
        let host = if domain == DOCKER_HUB { DOCKER_HUB_HOST } else { domain };
        let malformed =
            || RequestError::Malformed { host: crate::error::printable(domain), what: "its name" };
        let origin = Origin::new(Scheme::Https, host).ok_or_else(malformed)?;
        let credentials_key = registry_key(domain);
        Ok(Endpoint { name: host.to_owned(), origin, is_mirror: false, credentials_key })
    }

    /// Returns the mirrors of a registry, then the registry.
    pub(crate) fn all(options: &ClientOptions, domain: &str) -> Result<Vec<Endpoint>, RequestError> {
        let mirrors = options.mirrors.get(domain).map(Vec::as_slice).unwrap_or_default();
        let mut endpoints: Vec<Endpoint> = mirrors
            .iter()
            .map(|origin| Endpoint {
                name: origin.authority(),
                origin: origin.clone(),
                is_mirror: true,
                credentials_key: registry_key(&origin.authority()),
            })
            .collect();
        endpoints.push(Endpoint::registry(domain)?);
        Ok(endpoints)
    }
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
    }
}
