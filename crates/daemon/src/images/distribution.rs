//! `GET /distribution/{name}/json`: what a registry has under a name.

use serde_json::{Value, json};
use shale_engine::remote::{self, RemoteError};
use shale_oci::{Descriptor, Document, Platform, Reference};
use shale_registry_client::{ManifestError, RequestError};

use crate::answer::{Answer, document};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::registry_auth;
use crate::request::Call;
use http::StatusCode;

pub(crate) async fn answer(daemon: &Daemon, call: &Call, name: &str) -> Result<Answer, Failure> {
    let reference = Reference::parse(name)?.or_latest();
    let repository = &reference.repository;
    let client = registry_auth::client(call, &daemon.registries, repository)?;
    let found = remote::fetch_document(&client, repository, &reference.target(), None, None).await;
    let found = found.map_err(refused)?;
    let platforms = match &found.document {
        Document::Index(index) => index.manifests.iter().filter_map(|entry| entry.platform.clone()).collect(),
        Document::Manifest(manifest) => {
            let config =
                remote::fetch_small_blob(&client, repository, &manifest.config, Some(&found.source)).await?;
            // A manifest of something else than an image has no platform; the list is empty then, never null.
            let config = shale_oci::ImageConfig::parse(config.bytes()).ok();
            config.map(|config| vec![config.platform()]).unwrap_or_default()
        }
    };
    let descriptor =
        Descriptor::new(found.document.media_type(), found.bytes.digest(), found.bytes.bytes().len() as u64);
    let platforms: Vec<Value> = platforms.iter().map(platform).collect();
    Ok(document(&json!({
        "Descriptor": {
            "mediaType": descriptor.media_type,
            "digest": descriptor.digest,
            "size": descriptor.size_bytes,
        },
        "Platforms": platforms,
    })))
}

fn platform(platform: &Platform) -> Value {
    let mut described = json!({ "architecture": platform.architecture, "os": platform.os });
    if let Some(variant) = platform.variant.as_ref().filter(|variant| !variant.is_empty()) {
        described["variant"] = json!(variant);
    }
    described
}

fn refused(error: RemoteError) -> Failure {
    match &error {
        RemoteError::Manifest(ManifestError::Request(
            RequestError::Unauthorized { answer, .. } | RequestError::Denied { answer, .. },
        )) => Failure::new(StatusCode::UNAUTHORIZED, answer.to_string()),
        RemoteError::Manifest(ManifestError::NotFound { answer, .. }) => Failure::missing(answer.to_string()),
        _ => error.into(),
    }
}
