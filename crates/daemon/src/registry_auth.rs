//! Credentials that come with a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use shale_oci::Repository;
use shale_registry_client::credentials::{Credential, Credentials, CredentialsError, Fixed, registry_key};
use shale_registry_client::{Client, ClientError, ClientOptions, Secret};

use crate::request::Call;

/// The header of clients.
const HEADER: &str = "x-registry-auth";

const EITHER_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, EITHER_PADDING);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, EITHER_PADDING);

/// What clients send; `POST /auth` has it as its body.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct AuthConfig {
    #[serde(deserialize_with = "read_text")]
    pub(crate) username: String,
    #[serde(deserialize_with = "read_text")]
    pub(crate) password: String,
    #[serde(deserialize_with = "read_text")]
    pub(crate) serveraddress: String,
    #[serde(deserialize_with = "read_text")]
    identitytoken: String,
    #[serde(deserialize_with = "read_text")]
    registrytoken: String,
}

/// Go takes null for an empty text, and bollard sends it for whatever it has no value of.
fn read_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl AuthConfig {
    /// Reads the header; a missing or a spoilt one is nobody, as in dockerd.
    pub(crate) fn of(call: &Call) -> AuthConfig {
        let decoded = call.header(HEADER).and_then(|text| {
            let text = text.trim();
            URL_SAFE.decode(text).or_else(|_| STANDARD.decode(text)).ok()
        });
        decoded.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub(crate) fn credential(self) -> Option<Credential> {
        if !self.registrytoken.is_empty() {
            return Some(Credential::RegistryToken(Secret::new(self.registrytoken)));
        }
        if !self.identitytoken.is_empty() {
            let username = Some(self.username).filter(|name| !name.is_empty());
            return Some(Credential::IdentityToken { username, token: Secret::new(self.identitytoken) });
        }
        let password = Secret::new(self.password);
        (!self.username.is_empty()).then_some(Credential::Basic { username: self.username, password })
    }
}

/// Returns a client with the credentials of the request, which go to the registry of `repository` and nowhere else.
pub(crate) fn client(
    call: &Call,
    anonymous: &Client,
    repository: &Repository,
) -> Result<Client, ClientError> {
    match AuthConfig::of(call).credential() {
        None => Ok(anonymous.clone()),
        Some(credential) => {
            let key = registry_key(repository.domain());
            let credentials = Arc::new(Fixed { key, credential });
            Client::new(ClientOptions { credentials, ..anonymous.options().clone() })
        }
    }
}

/// The header with which builds bring credentials for any number of registries.
const BUILD_HEADER: &str = "x-registry-config";

/// Returns a client with the credentials of a build's request, each of which goes to its own registry.
pub(crate) fn client_of_build(call: &Call, anonymous: &Client) -> Result<Client, ClientError> {
    let known = credentials_of_build(call);
    if known.is_empty() {
        return Ok(anonymous.clone());
    }
    let credentials = Arc::new(Several(known));
    Client::new(ClientOptions { credentials, ..anonymous.options().clone() })
}

/// Returns the credentials of a build's request by registry; a missing or a spoilt header has none, as in dockerd.
pub(crate) fn credentials_of_build(call: &Call) -> BTreeMap<String, Credential> {
    let decoded = call.header(BUILD_HEADER).and_then(|text| {
        let text = text.trim();
        URL_SAFE.decode(text).or_else(|_| STANDARD.decode(text)).ok()
    });
    let configs: BTreeMap<String, AuthConfig> =
        decoded.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    configs
        .into_iter()
        .filter_map(|(address, config)| {
            let bare = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
            let host = bare.unwrap_or(&address).split('/').next().unwrap_or_default();
            Some((registry_key(host), config.credential()?))
        })
        .collect()
}

/// Credentials of several registries.
struct Several(BTreeMap<String, Credential>);

impl Credentials for Several {
    fn find(&self, key: &str) -> Result<Option<Credential>, CredentialsError> {
        Ok(self.0.get(key).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(header: &str) -> Option<Credential> {
        let head = http::Request::get("/x").header(HEADER, header).body(()).unwrap().into_parts().0;
        AuthConfig::of(&Call::parse(head).unwrap()).credential()
    }

    #[test]
    fn a_header_is_read_in_every_base64_and_rubbish_is_nobody() {
        let bob = Credential::Basic { username: "bob".to_owned(), password: Secret::new("s?>cret") };
        // {"username":"bob","password":"s?>cret"}, by `base64 -w0` and with its other alphabet and without padding.
        for text in [
            "eyJ1c2VybmFtZSI6ImJvYiIsInBhc3N3b3JkIjoicz8+Y3JldCJ9",
            "eyJ1c2VybmFtZSI6ImJvYiIsInBhc3N3b3JkIjoicz8-Y3JldCJ9",
            // {"username":"bob","password":"s?>cret","auth":null,"email":null,"serveraddress":null,
            //  "identitytoken":null,"registrytoken":null}, as bollard 0.21 sends it.
            "eyJ1c2VybmFtZSI6ImJvYiIsInBhc3N3b3JkIjoicz8+Y3JldCIsImF1dGgiOm51bGwsImVtYWlsIjpudWxsLCJzZXJ2ZXJhZGRyZXNzIjpudWxsLCJpZGVudGl0eXRva2VuIjpudWxsLCJyZWdpc3RyeXRva2VuIjpudWxsfQ==",
        ] {
            assert_eq!(credential(text), Some(bob.clone()), "{text}");
        }
        for text in ["e30=", "e30", "", "!!!", "bm90IGpzb24"] {
            assert_eq!(credential(text), None, "{text}");
        }
    }
}
