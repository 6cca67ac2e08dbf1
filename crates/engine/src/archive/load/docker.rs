//! What `docker save`, skopeo's `docker-archive` and `podman save` write: `manifest.json` explains the rest.

use serde::Deserialize;
use shale_oci::{CONFIG_SIZE_MAX, Digest, ImageId};

use super::plan::{PlannedEntry, PlannedImages, check_layer_count};
use super::{Links, LoadError, MANIFEST_BYTES_MAX, Members, parse_name};

/// One image of `manifest.json`. What else stands there (`LayerSources`) repeats what the config binds.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
    #[serde(default)]
    parent: Option<String>,
}

pub(super) fn plan(
    members: &Members,
    planned: &mut PlannedImages<'_>,
) -> Result<Vec<PlannedEntry>, LoadError> {
    let manifest = members.read("manifest.json", MANIFEST_BYTES_MAX)?;
    let items: Vec<Item> = serde_json::from_slice(&manifest).map_err(LoadError::Manifest)?;
    items.into_iter().map(|item| plan_item(members, item, planned)).collect()
}

fn plan_item(
    members: &Members,
    item: Item,
    planned: &mut PlannedImages<'_>,
) -> Result<PlannedEntry, LoadError> {
    let layers = item.layers.unwrap_or_default();
    let image = match planned.find(&item.config) {
        Some(known) => {
            check_layer_count(known.layers.len(), layers.len())?;
            known
        }
        None => {
            let config = members.read(&item.config, CONFIG_SIZE_MAX)?;
            let id = ImageId::new(Digest::sha256(&config));
            let layers = layers.into_iter().map(|path| (path, Links::Follow, None));
            planned.add(item.config, config, id, layers)?
        }
    };
    let mut names = Vec::new();
    for tag in item.repo_tags.unwrap_or_default() {
        let name = parse_name(&tag)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(PlannedEntry { image, names, parent: item.parent.and_then(|parent| parent.parse().ok()) })
}
