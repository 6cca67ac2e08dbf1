//! What a manifest, its config and its referrers say, for the page that shows them.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use serde_json::Value;
use shale_oci::Digest;

use super::format;
use crate::api::problem::Problem;
use crate::api::receive::{blob_problem, metadata_problem};
use crate::api::route::Reference;
use crate::manifest::{self, Kind, Parsed};
use crate::metadata::Page;
use crate::name::RepositoryName;
use crate::registry::Registry;

/// Configs larger than this are not shown.
const CONFIG_BYTES_MAX: u64 = 4 << 20;
const REFERRERS_MAX: usize = 200;
/// Children of an index that are read for its page; each may be as large as a manifest can be.
const CHILDREN_MAX: usize = 100;

/// A manifest, for people.
pub(super) struct Shown {
    pub(super) digest: Digest,
    pub(super) kind: String,
    pub(super) media_type: String,
    pub(super) manifest_size: String,
    /// The size of all blobs that it leads to, each counted once; absent when it leads to none.
    pub(super) total: Option<String>,
    pub(super) children: Vec<Child>,
    /// How many children are not shown.
    pub(super) children_more: usize,
    pub(super) layers: Vec<Layer>,
    pub(super) facts: Vec<(String, String)>,
    pub(super) annotations: Vec<(String, String)>,
    pub(super) referrers: Vec<Referring>,
    pub(super) tags: Vec<String>,
}

/// A child of an index.
pub(super) struct Child {
    pub(super) digest: Digest,
    pub(super) platform: String,
    pub(super) kind: String,
    pub(super) size: String,
    pub(super) is_here: bool,
}

/// A layer, or a step of the history that made none.
pub(super) struct Layer {
    pub(super) command: String,
    pub(super) digest: Option<Digest>,
    pub(super) size: String,
    /// Its part of all layers, 0 to 100.
    pub(super) percent: u64,
    pub(super) media_type: String,
}

/// A manifest that refers to the one shown.
pub(super) struct Referring {
    pub(super) digest: Digest,
    pub(super) kind: String,
    pub(super) size: String,
}

pub(super) async fn look(
    registry: &Registry,
    name: &RepositoryName,
    reference: &Reference,
) -> Result<Shown, Problem> {
    let found = registry.metadata.find_manifest(name, reference).await.map_err(metadata_problem)?;
    let stored = found.ok_or_else(|| Problem::ManifestUnknown(reference.to_string()))?;
    let document: Value = serde_json::from_slice(&stored.bytes).unwrap_or(Value::Null);
    let parsed = manifest::parse(&stored.bytes, None).ok();
    let mut blobs = BTreeMap::new();
    note_blobs(&mut blobs, parsed.as_ref());
    let entries = document.get("manifests").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let shown = &entries[..entries.len().min(CHILDREN_MAX)];
    let children = children(registry, name, shown, &mut blobs).await?;
    let total = blobs.values().fold(0, |sum: u64, size_bytes| sum.saturating_add(*size_bytes));
    let config = match parsed.as_ref().filter(|parsed| parsed.kind == Kind::Image) {
        Some(parsed) => config(registry, name, parsed.blobs[0].digest).await?,
        None => None,
    };
    let layers = parsed.as_ref().map_or_else(Vec::new, |parsed| layers(parsed, config.as_ref()));
    let referrers = registry
        .metadata
        .referrers(name, stored.digest, None, Page { after: None, limit: REFERRERS_MAX })
        .await
        .map_err(metadata_problem)?;
    Ok(Shown {
        digest: stored.digest,
        kind: format::kind(&stored.media_type).to_owned(),
        media_type: stored.media_type.clone(),
        manifest_size: format::size(stored.bytes.len() as u64),
        total: (!blobs.is_empty()).then(|| format::size(total)),
        children,
        children_more: entries.len() - shown.len(),
        layers,
        facts: config.as_ref().map(facts).unwrap_or_default(),
        annotations: annotations(&document),
        referrers: referrers.iter().filter_map(|referrer| referring(&referrer.descriptor)).collect(),
        tags: registry.metadata.tags_of(name, stored.digest).await.map_err(metadata_problem)?,
    })
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned()
}

/// Adds the blobs of a manifest, with their sizes.
fn note_blobs(blobs: &mut BTreeMap<Digest, u64>, parsed: Option<&Parsed>) {
    blobs.extend(parsed.iter().flat_map(|parsed| &parsed.blobs).map(|blob| (blob.digest, blob.size_bytes)));
}

/// Returns the children that `entries` of an index name, and adds their blobs to `blobs`.
async fn children(
    registry: &Registry,
    name: &RepositoryName,
    entries: &[Value],
    blobs: &mut BTreeMap<Digest, u64>,
) -> Result<Vec<Child>, Problem> {
    let mut children = Vec::new();
    for entry in entries {
        let Ok(digest) = text(entry, "/digest").parse::<Digest>() else { continue };
        let known = registry
            .metadata
            .find_manifest(name, &Reference::Digest(digest))
            .await
            .map_err(metadata_problem)?;
        let parsed = known.as_ref().and_then(|stored| manifest::parse(&stored.bytes, None).ok());
        note_blobs(blobs, parsed.as_ref());
        let size_bytes = parsed
            .as_ref()
            .map_or(0, |parsed| parsed.blobs.iter().map(|blob| blob.size_bytes).fold(0, u64::saturating_add));
        let parts = ["/platform/os", "/platform/architecture", "/platform/variant", "/platform/os.version"];
        let platform: Vec<String> =
            parts.into_iter().map(|part| text(entry, part)).filter(|part| !part.is_empty()).collect();
        let artifact_type = text(entry, "/artifactType");
        let named = if artifact_type.is_empty() { text(entry, "/mediaType") } else { artifact_type };
        children.push(Child {
            digest,
            platform: if platform.is_empty() { "—".to_owned() } else { platform.join("/") },
            kind: format::kind(&named).to_owned(),
            size: if known.is_some() { format::size(size_bytes) } else { "not here".to_owned() },
            is_here: known.is_some(),
        });
    }
    Ok(children)
}

async fn config(
    registry: &Registry,
    name: &RepositoryName,
    digest: Digest,
) -> Result<Option<Value>, Problem> {
    match registry.metadata.find_blob(name, digest).await.map_err(metadata_problem)? {
        Some(size_bytes) if size_bytes <= CONFIG_BYTES_MAX => {}
        _ => return Ok(None),
    }
    let blob = registry.blobs.open(digest).await.map_err(blob_problem)?;
    let read = tokio::task::spawn_blocking(move || {
        let length = usize::try_from(blob.size_bytes.min(CONFIG_BYTES_MAX)).unwrap_or(0);
        let mut bytes = vec![0; length];
        blob.file.read_exact_at(&mut bytes, 0).map(|()| bytes)
    });
    let bytes =
        read.await.map_err(|error| Problem::internal(&error))?.map_err(|error| Problem::internal(&error))?;
    Ok(serde_json::from_slice(&bytes).ok())
}

/// Puts each step of the history beside the layer that it made.
fn layers(parsed: &manifest::Parsed, config: Option<&Value>) -> Vec<Layer> {
    let blobs = if parsed.has_config { &parsed.blobs[1..] } else { &parsed.blobs[..] };
    let total = blobs.iter().map(|blob| blob.size_bytes).fold(0, u64::saturating_add).max(1);
    let layer = |blob: &manifest::Descriptor, command: String| Layer {
        command,
        digest: Some(blob.digest),
        size: format::size(blob.size_bytes),
        // In 128 bits: sizes are whatever the one who pushed says.
        percent: u64::try_from(u128::from(blob.size_bytes) * 100 / u128::from(total)).unwrap_or(100),
        media_type: blob.media_type.clone(),
    };
    let history = config.and_then(|config| config.get("history")).and_then(Value::as_array);
    let Some(history) = history else {
        return blobs.iter().map(|blob| layer(blob, String::new())).collect();
    };
    let mut blobs = blobs.iter();
    let mut rows = Vec::new();
    for step in history {
        let is_empty = step.get("empty_layer").and_then(Value::as_bool).unwrap_or(false);
        let command = text(step, "/created_by");
        match (is_empty, if is_empty { None } else { blobs.next() }) {
            (false, Some(blob)) => rows.push(layer(blob, command)),
            _ => rows.push(Layer {
                command,
                digest: None,
                size: String::new(),
                percent: 0,
                media_type: String::new(),
            }),
        }
    }
    rows.extend(blobs.map(|blob| layer(blob, String::new())));
    rows
}

fn facts(config: &Value) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            facts.push((name.to_owned(), value));
        }
    };
    let platform: Vec<String> =
        ["/os", "/architecture", "/variant"].into_iter().map(|part| text(config, part)).collect();
    add("Platform", platform.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"));
    add("Created", text(config, "/created"));
    add("Author", text(config, "/author"));
    for (name, pointer) in [
        ("Entrypoint", "/config/Entrypoint"),
        ("Command", "/config/Cmd"),
        ("Working directory", "/config/WorkingDir"),
        ("User", "/config/User"),
        ("Stop signal", "/config/StopSignal"),
        ("Ports", "/config/ExposedPorts"),
        ("Volumes", "/config/Volumes"),
    ] {
        let value = match config.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().unwrap_or("")).collect::<Vec<_>>().join(" ")
            }
            Some(Value::Object(keys)) => keys.keys().cloned().collect::<Vec<_>>().join(" "),
            _ => String::new(),
        };
        add(name, value);
    }
    for variable in config.pointer("/config/Env").and_then(Value::as_array).into_iter().flatten() {
        add("Environment", variable.as_str().unwrap_or("").to_owned());
    }
    for (name, value) in config.pointer("/config/Labels").and_then(Value::as_object).into_iter().flatten() {
        add("Label", format!("{name}={}", value.as_str().unwrap_or("")));
    }
    facts
}

fn annotations(document: &Value) -> Vec<(String, String)> {
    let annotations = document.get("annotations").and_then(Value::as_object).into_iter().flatten();
    annotations.map(|(name, value)| (name.clone(), value.as_str().unwrap_or("").to_owned())).collect()
}

fn referring(descriptor: &str) -> Option<Referring> {
    let descriptor: Value = serde_json::from_str(descriptor).ok()?;
    let artifact_type = text(&descriptor, "/artifactType");
    let named = if artifact_type.is_empty() { text(&descriptor, "/mediaType") } else { artifact_type };
    Some(Referring {
        digest: text(&descriptor, "/digest").parse().ok()?,
        kind: format::kind(&named).to_owned(),
        size: format::size(descriptor.get("size").and_then(Value::as_u64).unwrap_or(0)),
    })
}
