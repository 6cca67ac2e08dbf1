//! From a text to the things that it can be.

use std::path::Path;

use serde::Serialize;
use shale_oci::{ChainId, Digest, ImageId};
use shale_store::Layer;

use super::inventory::Inventory;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // Each is described by `describe`.
pub enum Kind {
    Tag,
    RepositoryDigest,
    ManifestDigest,
    ImageId,
    LayerDigest,
    DiffId,
    ChainId,
    CacheId,
    Link,
    Container,
    ContainerLayer,
    ContainerInitLayer,
    Path,
}

impl Kind {
    /// Says what such a value is, as the end of a sentence.
    pub fn describe(self) -> &'static str {
        match self {
            Kind::Tag => "a tag: a name that points at an image and can be moved",
            Kind::RepositoryDigest => "a repository and the digest that a registry gave the image's manifest",
            Kind::ManifestDigest => {
                "a manifest digest: the hash of the image's manifest, or of its index, in a registry"
            }
            Kind::ImageId => "an image ID: the hash of the image's config",
            Kind::LayerDigest => "a layer digest: the hash of the compressed layer in a registry",
            Kind::DiffId => "a diff ID: the hash of the layer's uncompressed tar",
            Kind::ChainId => "a chain ID: it stands for a layer and all layers below it",
            Kind::CacheId => "a cache ID: the random name of a layer's directory below overlay2",
            Kind::Link => "a link: the short name of a layer's directory, for mount options",
            Kind::Container => "a container",
            Kind::ContainerLayer => "the directory of what a container wrote",
            Kind::ContainerInitLayer => "the directory of the files that Docker puts into every container",
            Kind::Path => "a path in the store",
        }
    }
}

/// One thing that a text is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Meaning {
    /// What it is.
    pub kind: Kind,
    /// The whole value, also where only its begin was asked for.
    pub value: String,
    /// What else there is to say, as a sentence; empty for nothing.
    pub note: String,
    /// The images that it belongs to.
    pub images: Vec<ImageId>,
    /// The layer that it is.
    pub layer: Option<ChainId>,
}

impl Meaning {
    pub(super) fn new(kind: Kind, value: impl Into<String>) -> Meaning {
        Meaning { kind, value: value.into(), note: String::new(), images: Vec::new(), layer: None }
    }
}

/// Whether a text can be a digest, a hash or the begin of one.
pub fn is_digits(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Finds all that `text` is, or begins: whole values go before begins.
pub fn identifiers(inventory: &Inventory, text: &str) -> Vec<Meaning> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let mut found = Vec::new();
    if is_digits(text) {
        found.extend(of_images(inventory, digits));
        found.extend(of_layers(inventory, digits));
    }
    found.extend(named_directories(inventory, text));
    let exact = |meaning: &Meaning| meaning.value.strip_prefix("sha256:").unwrap_or(&meaning.value) == digits;
    if found.iter().any(exact) {
        found.retain(exact);
    }
    // The same value can be found through several layers; it is one meaning with all of their images.
    let mut merged: Vec<Meaning> = Vec::new();
    for meaning in found {
        let same = |other: &&mut Meaning| other.kind == meaning.kind && other.value == meaning.value;
        match merged.iter_mut().find(same) {
            Some(other) => {
                let new =
                    meaning.images.into_iter().filter(|id| !other.images.contains(id)).collect::<Vec<_>>();
                other.images.extend(new);
            }
            None => merged.push(meaning),
        }
    }
    merged
}

fn begins(digest: Digest, digits: &str) -> bool {
    digest.hex().starts_with(digits)
}

fn of_images(inventory: &Inventory, digits: &str) -> Vec<Meaning> {
    let mut found = Vec::new();
    for image in inventory.images.iter().filter(|image| begins(image.id.digest(), digits)) {
        let mut meaning = Meaning::new(Kind::ImageId, image.id.to_string());
        meaning.images.push(image.id);
        found.push(meaning);
    }
    for (name, id) in inventory.references.iter() {
        let Some(digest) = name.digest().and_then(|digest| digest.parse::<Digest>().ok()) else { continue };
        if begins(digest, digits) {
            let mut meaning = Meaning::new(Kind::ManifestDigest, digest.to_string());
            meaning.note = format!("known from {}", name.repository);
            meaning.images.push(id);
            found.push(meaning);
        }
    }
    found
}

fn of_layers(inventory: &Inventory, digits: &str) -> Vec<Meaning> {
    let mut found = Vec::new();
    for (diff_id, seen) in &inventory.seen {
        let images = || inventory.images_where(|diff_ids| diff_ids.contains(diff_id));
        if begins(diff_id.digest(), digits) {
            let mut meaning = Meaning::new(Kind::DiffId, diff_id.to_string());
            if inventory.layers.iter().any(|layer| layer.diff_id == *diff_id && layer.parent.is_none()) {
                meaning.note = "a bottom layer's diff ID is also its chain ID".to_owned();
            }
            meaning.images = images();
            meaning.layer =
                inventory.layers.iter().find(|layer| layer.diff_id == *diff_id).map(|layer| layer.chain_id);
            found.push(meaning);
        }
        for blob in seen.iter().filter(|blob| begins(blob.digest, digits)) {
            let mut meaning = Meaning::new(Kind::LayerDigest, blob.digest.to_string());
            meaning.note = format!("of the layer with the diff ID {diff_id}");
            meaning.images = images();
            meaning.layer =
                inventory.layers.iter().find(|layer| layer.diff_id == *diff_id).map(|layer| layer.chain_id);
            found.push(meaning);
        }
    }
    // A blob of which the layer is gone is remembered only under its whole digest.
    if found.is_empty()
        && let Ok(digest) = format!("sha256:{digits}").parse::<Digest>()
        && let Ok(Some(diff_id)) = inventory.engine.store().diff_id_for(digest)
    {
        let mut meaning = Meaning::new(Kind::LayerDigest, digest.to_string());
        meaning.note = format!("of the layer with the diff ID {diff_id}, which no image here has any more");
        found.push(meaning);
    }
    found.sort_by(|a, b| a.value.cmp(&b.value));
    for layer in inventory.layers.iter().filter(|layer| begins(layer.chain_id.digest(), digits)) {
        found.push(of_layer(inventory, Kind::ChainId, layer.chain_id.to_string(), layer));
    }
    // Chains of images whose layers are missing.
    for image in &inventory.images {
        for chain in ChainId::stack(Inventory::diff_ids(image)) {
            let is_here = inventory.layers.iter().any(|layer| layer.chain_id == chain);
            if begins(chain.digest(), digits) && !is_here {
                let mut meaning = Meaning::new(Kind::ChainId, chain.to_string());
                meaning.note = "this layer is missing or damaged: run shale fsck".to_owned();
                meaning.images.push(image.id);
                found.push(meaning);
            }
        }
    }
    found
}

fn of_layer(inventory: &Inventory, kind: Kind, value: String, layer: &Layer) -> Meaning {
    let mut meaning = Meaning::new(kind, value);
    meaning.layer = Some(layer.chain_id);
    meaning.images = inventory.images_where(|diff_ids| ChainId::stack(diff_ids).contains(&layer.chain_id));
    if kind == Kind::ChainId && layer.parent.is_none() {
        meaning.note = "a bottom layer's chain ID is also its diff ID".to_owned();
    } else if meaning.images.is_empty() {
        meaning.note = "no image here has this layer: shale gc would remove it".to_owned();
    }
    meaning
}

/// Finds directories below `overlay2`, links and containers, by the whole of their names or the begin.
fn named_directories(inventory: &Inventory, text: &str) -> Vec<Meaning> {
    let mut found = Vec::new();
    if text.is_empty() {
        return found;
    }
    for layer in &inventory.layers {
        if layer.cache_id.starts_with(text) && text.len() >= 4 {
            found.push(of_layer(inventory, Kind::CacheId, layer.cache_id.clone(), layer));
        }
        if text.len() == 26
            && inventory.engine.store().layer_link(layer).ok().flatten().as_deref() == Some(text)
        {
            found.push(of_layer(inventory, Kind::Link, text.to_owned(), layer));
        }
    }
    for container in &inventory.containers {
        if container.name == text || (container.id.starts_with(text) && is_digits(text)) {
            let mut meaning = Meaning::new(Kind::Container, container.id.clone());
            meaning.note = format!("its name is {}, its image {}", container.name, container.image_name);
            meaning.images.extend(container.image);
            found.push(meaning);
        }
    }
    for mount in &inventory.mounts {
        let ids = [(&mount.mount_id, Kind::ContainerLayer), (&mount.init_id, Kind::ContainerInitLayer)];
        for (id, kind) in ids {
            if let Some(id) = id.as_deref().filter(|id| id.starts_with(text) && text.len() >= 4) {
                let mut meaning = Meaning::new(kind, id);
                let container = inventory.containers.iter().find(|container| container.id == mount.name);
                meaning.note = match container {
                    Some(container) => format!("of the container {} ({})", container.name, container.id),
                    None => format!("of the container {}", mount.name),
                };
                meaning.images.extend(container.and_then(|container| container.image));
                found.push(meaning);
            }
        }
    }
    found
}

/// Understands a path of the store: below `overlay2`, or one of the files of the image store.
pub fn path(inventory: &Inventory, text: &str) -> Option<Meaning> {
    if !text.contains('/') {
        return None;
    }
    let root = inventory.engine.store().root();
    let path = Path::new(text);
    let below = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<&str> = below.iter().filter_map(|part| part.to_str()).collect();
    // People copy paths of other roots as well, for instance out of a mount table in a machine's image.
    let from = |word: &str| parts.iter().position(|part| *part == word).map(|at| &parts[at + 1..]);
    if let Some(rest) = from("layerdb") {
        return match rest {
            ["sha256", chain, ..] => one(inventory, text, chain, &[Kind::ChainId], ""),
            ["mounts", id, ..] => one(inventory, text, id, &[Kind::Container], ""),
            _ => None,
        };
    }
    if let Some(rest) = from("imagedb").or_else(|| from("distribution")) {
        let kinds = [Kind::ImageId, Kind::LayerDigest, Kind::DiffId];
        return rest.get(2).and_then(|hex| one(inventory, text, hex, &kinds, ""));
    }
    let rest = from("overlay2")?;
    match rest {
        ["l", link, rest @ ..] => one(inventory, text, link, &[Kind::Link], &rest.join("/")),
        [directory, rest @ ..] => {
            let kinds = [Kind::CacheId, Kind::ContainerLayer, Kind::ContainerInitLayer];
            one(inventory, text, directory, &kinds, &rest.join("/"))
        }
        [] => None,
    }
}

/// Returns what the one telling part of a path is, with what the rest of the path means there.
fn one(inventory: &Inventory, text: &str, part: &str, kinds: &[Kind], rest: &str) -> Option<Meaning> {
    let mut found = identifiers(inventory, part);
    found.retain(|meaning| kinds.contains(&meaning.kind));
    let found = found.into_iter().next()?;
    let mut meaning = Meaning { kind: Kind::Path, value: text.to_owned(), ..found.clone() };
    let inside = match rest.split_once('/').unwrap_or((rest, "")) {
        ("diff" | "merged", "") | ("", _) => String::new(),
        ("diff", inside) => format!("; it is /{inside} of this layer"),
        ("merged", inside) => format!("; it is /{inside} as the container sees it"),
        ("link", _) => "; this file holds the directory's short name".to_owned(),
        ("lower", _) => "; this file names the layers below, nearest first".to_owned(),
        ("work", _) => "; overlayfs works here".to_owned(),
        ("committed", _) => "; this file says that other layers stand on this one".to_owned(),
        (inside, _) if found.kind == Kind::Link => format!("; it is /{inside} of this layer"),
        _ => String::new(),
    };
    let note = if found.note.is_empty() { String::new() } else { format!(" ({})", found.note) };
    meaning.note = format!("{} is {}{note}{inside}", found.value, found.kind.describe());
    Some(meaning)
}
