//! What `docker save`, skopeo's `docker-archive` and `podman save` write: `manifest.json` explains the rest.

use serde::Deserialize;
use shale_oci::{CONFIG_SIZE_MAX, Digest, ImageId};

use super::{Links, LoadError, MANIFEST_BYTES_MAX, Members, PlannedImage, parse_name, plan_image};

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

pub(super) fn plan(members: &Members) -> Result<Vec<PlannedImage>, LoadError> {
    let manifest = members.read("manifest.json", MANIFEST_BYTES_MAX)?;
    let items: Vec<Item> = serde_json::from_slice(&manifest).map_err(LoadError::Manifest)?;
    items.into_iter().map(|item| plan_item(members, item)).collect()
}

fn plan_item(members: &Members, item: Item) -> Result<PlannedImage, LoadError> {
    let config = members.read(&item.config, CONFIG_SIZE_MAX)?;
    let id = ImageId::new(Digest::sha256(&config));
    let layers = item.layers.unwrap_or_default();
    let mut image = plan_image(config, id, layers.into_iter().map(|path| (path, Links::Follow, None)))?;
    for tag in item.repo_tags.unwrap_or_default() {
        let name = parse_name(&tag)?;
        if !image.names.contains(&name) {
            image.names.push(name);
        }
    }
    image.parent = item.parent.and_then(|parent| parent.parse().ok());
    Ok(image)
}
