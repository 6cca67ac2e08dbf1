//! An OCI layout: `index.json` and blobs by digest.
//!
//! Source: OCI image-spec v1.1, image-layout.md; containerd's annotation for full names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use shale_oci::{
    CONFIG_SIZE_MAX, Descriptor, Digest, Document, ImageId, Manifest, Platform, Reference, Unverified,
    Verified, media_type,
};

use super::plan::{PlannedEntry, PlannedImage, PlannedImages, check_layer_count};
use super::{Links, LoadError, MANIFEST_BYTES_MAX, Members, parse_name};

/// How many indexes may lead to an image.
const INDEX_DEPTH_MAX: usize = 8;
/// The full name of an image, as containerd and docker write it.
const FULL_NAME: &str = "io.containerd.image.name";
/// A tag by the specification; skopeo and podman write full names here.
const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";

pub(super) fn plan(
    members: &Members,
    platform: Option<&Platform>,
    planned: &mut PlannedImages<'_>,
) -> Result<Vec<PlannedEntry>, LoadError> {
    let index = Unverified::new(members.read("index.json", MANIFEST_BYTES_MAX)?).accept_by_tag();
    let listed = match parse(&index, media_type::OCI_INDEX)? {
        Document::Index(index) => index.manifests,
        Document::Manifest(_) => return Err(LoadError::NoImage),
    };
    let mut entries: Vec<PlannedEntry> = Vec::new();
    // The same image stands there once for each of its names; nothing is what is no image for us.
    let mut places: HashMap<Digest, Option<usize>> = HashMap::new();
    for descriptor in &listed {
        let place = match places.get(&descriptor.digest) {
            Some(place) => *place,
            None => {
                let manifest = resolve(members, descriptor, platform)?;
                let image =
                    manifest.map(|manifest| plan_manifest(members, &manifest, planned)).transpose()?;
                let place = image.map(|image| {
                    entries.push(PlannedEntry { image, names: Vec::new(), parent: None });
                    entries.len() - 1
                });
                places.insert(descriptor.digest, place);
                place
            }
        };
        let Some(place) = place else { continue };
        if let Some(name) = name_of(descriptor.annotations.as_ref())?
            && !entries[place].names.contains(&name)
        {
            entries[place].names.push(name);
        }
    }
    match (platform, entries.is_empty() && !listed.is_empty()) {
        (Some(wanted), true) => Err(LoadError::NoMatchingPlatform(wanted.clone())),
        (None, true) => Err(LoadError::NoMatchingPlatform(Platform::host())),
        _ => Ok(entries),
    }
}

/// Follows an entry to the manifest that this machine, or `platform`, should run; nothing where it has none, or is no
/// image at all: a signature, a chart.
fn resolve(
    members: &Members,
    entry: &Descriptor,
    platform: Option<&Platform>,
) -> Result<Option<Manifest>, LoadError> {
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let mut entry = entry.clone();
    for _ in 0..INDEX_DEPTH_MAX {
        let is_known = media_type::is_manifest(&entry.media_type) || media_type::is_index(&entry.media_type);
        if !is_known {
            return Ok(None);
        }
        match parse(&read_blob(members, &entry, MANIFEST_BYTES_MAX)?, &entry.media_type)? {
            Document::Manifest(manifest) => return Ok(is_image(&manifest).then_some(manifest)),
            Document::Index(index) => match (index.choose(&wanted), index.manifests.as_slice()) {
                (Some(chosen), _) => entry = chosen.clone(),
                (None, [only]) if only.platform.is_none() => entry = only.clone(),
                (None, _) => return Ok(None),
            },
        }
    }
    Err(LoadError::TooDeep)
}

fn is_image(manifest: &Manifest) -> bool {
    matches!(manifest.config.media_type.as_str(), media_type::OCI_CONFIG | media_type::DOCKER_CONFIG)
}

fn plan_manifest(
    members: &Members,
    manifest: &Manifest,
    planned: &mut PlannedImages<'_>,
) -> Result<Arc<PlannedImage>, LoadError> {
    let member = path(manifest.config.digest);
    if let Some(known) = planned.find(&member)
        && known.config_bytes.len() as u64 == manifest.config.size_bytes
    {
        check_layer_count(known.layers.len(), manifest.layers.len())?;
        return Ok(known);
    }
    let config = read_blob(members, &manifest.config, CONFIG_SIZE_MAX)?;
    let layers = manifest.layers.iter().map(|layer| (path(layer.digest), Links::Refuse, Some(layer.digest)));
    planned.add(member, config.bytes().to_vec(), ImageId::new(config.digest()), layers)
}

fn name_of(annotations: Option<&BTreeMap<String, String>>) -> Result<Option<Reference>, LoadError> {
    let Some(annotations) = annotations else { return Ok(None) };
    if let Some(name) = annotations.get(FULL_NAME) {
        return parse_name(name).map(Some);
    }
    match annotations.get(REFERENCE_NAME) {
        // A tag alone names no repository.
        Some(name) if name.contains([':', '/']) => parse_name(name).map(Some),
        _ => Ok(None),
    }
}

fn parse(bytes: &Verified, media_type: &str) -> Result<Document, LoadError> {
    Document::parse(bytes, Some(media_type))
        .map_err(|source| LoadError::Document { digest: bytes.digest(), source })
}

fn read_blob(members: &Members, blob: &Descriptor, bytes_max: u64) -> Result<Verified, LoadError> {
    let bytes = members.read(&path(blob.digest), bytes_max)?;
    Unverified::new(bytes).verify(blob).map_err(|source| LoadError::Blob { digest: blob.digest, source })
}

fn path(digest: Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}
