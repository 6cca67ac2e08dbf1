//! `shale manifest inspect`.

mod reindent;

use std::io::Write as _;

use anyhow::anyhow;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use shale_engine::remote::{self, RemoteError, fetch_document};
use shale_oci::{
    Descriptor, Digest, Document, Index, Manifest, Platform, Reference, Repository, Target, Verified,
    media_type,
};
use shale_registry_client::{Client, InsecureRegistry, ManifestError, ManifestResponse, Source};

use super::Failure;
use crate::cli::ManifestInspect;
use crate::context::Context;
use crate::terminal::json::Escape;
use crate::terminal::output;
use reindent::reindent;

/// Prints a manifest or a list of manifests: as docker does, or the bytes alone.
///
/// Source: docker CLI 28.2 `manifest/inspect.go` and `registryclient/fetcher.go`, observed 2026-11-22.
pub fn run(context: &Context, inspect: &ManifestInspect) -> Result<(), Failure> {
    let reference = Reference::parse(&inspect.reference)?.or_latest();
    let list = inspect.list.as_deref().map(Reference::parse).transpose()?.map(Reference::or_latest);
    let mut options = context.client_options()?;
    if inspect.insecure {
        let domains = [Some(&reference), list.as_ref()];
        for reference in domains.into_iter().flatten() {
            options.insecure.push(InsecureRegistry::parse(reference.repository.domain())?);
        }
    }
    let client = Client::new(options)?;
    let text = context.block_on(async {
        let reference = match &list {
            Some(list) => in_list(&client, list, &reference).await?,
            None => reference,
        };
        if inspect.raw {
            return Ok::<_, Failure>(fetch_raw(&client, &reference).await?.body.to_vec());
        }
        Ok(text(&client, &reference, inspect.verbose).await?.into_bytes())
    })?;
    let mut output = output::stdout();
    output.write_all(&text)?;
    output.flush()?;
    Ok(())
}

/// Returns the entry of `list` that `reference` names, as a reference by digest.
async fn in_list(client: &Client, list: &Reference, reference: &Reference) -> Result<Reference, Failure> {
    let no_such = || anyhow!("No such manifest: {reference}");
    let digest: Digest = match reference.digest {
        Some(digest) => digest,
        None => fetch_raw(client, reference).await?.digest,
    };
    let fetched = fetch_document(client, &list.repository, &list.target(), None, None)
        .await
        .map_err(|error| worded(error, list))?;
    let Document::Index(index) = fetched.document else { return Err(no_such().into()) };
    if !index.manifests.iter().any(|entry| entry.digest == digest) {
        return Err(no_such().into());
    }
    Ok(list.repository.at(digest))
}

async fn fetch_raw(client: &Client, reference: &Reference) -> Result<ManifestResponse, Failure> {
    let fetched = client.manifest(&reference.repository, &reference.target()).await;
    fetched.map_err(|error| worded(error.into(), reference))
}

/// Says what docker says where there is no such manifest.
fn worded(error: RemoteError, reference: &Reference) -> Failure {
    match error {
        RemoteError::Manifest(ManifestError::NotFound { .. }) => {
            anyhow!("no such manifest: {reference}").into()
        }
        error => error.into(),
    }
}

/// Returns the document as docker prints it, with a line break at its end.
async fn text(client: &Client, reference: &Reference, is_verbose: bool) -> Result<String, Failure> {
    let repository = &reference.repository;
    let fetched = fetch_document(client, repository, &reference.target(), None, None)
        .await
        .map_err(|error| worded(error, reference))?;
    let source = fetched.source;
    match fetched.document {
        Document::Manifest(_) if !is_verbose => {
            Ok(reindent(&String::from_utf8_lossy(fetched.bytes.bytes()), "\t", Escape::Nothing) + "\n")
        }
        Document::Index(index) if !is_verbose => Ok(list_text(&index) + "\n"),
        Document::Manifest(manifest) => {
            let platform = config_platform(client, repository, &manifest, &source).await?;
            let ours = fetched.bytes.descriptor(manifest.media_type.clone());
            let descriptor = Descriptor { platform, ..ours };
            let entry = verbose(reference, &descriptor, &fetched.bytes, &manifest.media_type);
            Ok(reindent(&entry, "\t", Escape::Html) + "\n")
        }
        Document::Index(index) => {
            let mut entries = Vec::new();
            for entry in &index.manifests {
                let target = Target::Digest(entry.digest);
                let child = fetch_document(client, repository, &target, Some(entry), Some(&source))
                    .await
                    .map_err(|error| worded(error, &repository.at(entry.digest)))?;
                let reference = Reference { digest: Some(entry.digest), ..reference.clone() };
                let ours = child.bytes.descriptor(entry.media_type.clone());
                let descriptor = Descriptor { platform: entry.platform.clone(), ..ours };
                entries.push(verbose(&reference, &descriptor, &child.bytes, child.document.media_type()));
            }
            let all = format!("[{}]", entries.join(","));
            Ok(reindent(&all, "\t", Escape::Html) + "\n")
        }
    }
}

/// Returns what the config of a lone manifest says that it runs on; an artifact runs nowhere.
async fn config_platform(
    client: &Client,
    repository: &Repository,
    manifest: &Manifest,
    source: &Source,
) -> Result<Option<Platform>, Failure> {
    if !matches!(manifest.config.media_type.as_str(), media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) {
        return Ok(None);
    }
    let config = remote::fetch_small_blob(client, repository, &manifest.config, Some(source)).await?;
    Ok(Some(serde_json::from_slice(config.bytes())?))
}

/// Returns a list with the fields and the order that docker knows.
fn list_text(index: &Index) -> String {
    let entries: Vec<Value> = index
        .manifests
        .iter()
        .map(|entry| {
            json!({
                "mediaType": entry.media_type,
                "size": entry.size_bytes,
                "digest": entry.digest.to_string(),
                "platform": list_platform(entry.platform.as_ref()),
            })
        })
        .collect();
    let list = json!({"schemaVersion": 2, "mediaType": index.media_type, "manifests": entries});
    reindent(&list.to_string(), "   ", Escape::Html)
}

fn list_platform(platform: Option<&Platform>) -> Value {
    match platform {
        Some(platform) => serde_json::to_value(platform).unwrap_or_default(),
        None => json!({"architecture": "", "os": ""}),
    }
}

/// Returns one entry of `--verbose`, on one line but for the manifest itself, whose bytes are kept.
fn verbose(reference: &Reference, descriptor: &Descriptor, bytes: &Verified, media_type: &str) -> String {
    let kind = match media_type {
        media_type::DOCKER_MANIFEST => "SchemaV2Manifest",
        media_type::OCI_MANIFEST => "OCIManifest",
        // Docker has no word for a list in a list; it refuses them.
        _ => "Index",
    };
    let mut descriptor_json = json!({
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest.to_string(),
        "size": descriptor.size_bytes,
    });
    if let Some(platform) = &descriptor.platform {
        descriptor_json["platform"] = serde_json::to_value(platform).unwrap_or_default();
    }
    let document = String::from_utf8_lossy(bytes.bytes());
    format!(
        "{{\"Ref\":{},\"Descriptor\":{descriptor_json},\"Raw\":\"{}\",\"{kind}\":{document}}}",
        Value::from(reference.to_string()),
        BASE64.encode(bytes.bytes()),
    )
}
