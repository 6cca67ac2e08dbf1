//! A verdict in words: what is wrong with what, what follows from it, and what to do.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;

use serde::Serialize;
use shale_oci::{ChainId, ImageConfig, ImageId};
use shale_store::{DiskError, Finding, ImageError, Store};

use super::content::ContentDamage;

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Only space is lost; gc frees it.
    Leftover,
    /// Docker goes on, but something is not as it should be.
    Warning,
    /// An image, or all of them, cannot be used as it should.
    Damage,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Problem {
    /// A word for the kind of problem, which never changes.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong with what.
    pub what: String,
    /// What follows from it.
    pub consequence: String,
    /// What to do.
    pub advice: String,
    /// The layer that a new copy would heal.
    pub layer: Option<ChainId>,
    /// The images that it concerns.
    pub images: Vec<ImageId>,
    /// Their names.
    pub names: Vec<String>,
}

/// Which images use which layers, usable or not.
pub struct Users {
    by_chain: HashMap<ChainId, BTreeSet<ImageId>>,
    names: HashMap<ImageId, Vec<String>>,
}

impl Users {
    /// Looks at all images whose configs can be read.
    pub fn find(store: &Store) -> Result<Users, DiskError> {
        let mut by_chain: HashMap<ChainId, BTreeSet<ImageId>> = HashMap::new();
        for id in store.image_ids()? {
            let Ok(Some(config)) = store.image_config(id) else { continue };
            let Ok(config) = ImageConfig::parse(&config) else { continue };
            for chain in ChainId::stack(&config.rootfs.diff_ids) {
                by_chain.entry(chain).or_default().insert(id);
            }
        }
        let mut names = HashMap::new();
        if let Ok(references) = store.references() {
            for (id, of_image) in references.by_image() {
                names.insert(id, of_image.iter().map(|name| name.key.to_owned()).collect());
            }
        }
        Ok(Users { by_chain, names })
    }

    /// Returns the images that have a layer.
    pub fn of_layer(&self, chain: ChainId) -> Vec<ImageId> {
        self.by_chain.get(&chain).into_iter().flatten().copied().collect()
    }

    fn names(&self, images: &[ImageId]) -> Vec<String> {
        let name = |id: &ImageId| match self.names.get(id) {
            Some(names) if !names.is_empty() => names.clone(),
            _ => vec![id.short()],
        };
        images.iter().flat_map(name).collect()
    }
}

const NOT_LISTED: &str = "Docker does not list the image and cannot run it";
const CANNOT_START: &str = "containers cannot start on it";
const CANNOT_LEAVE: &str = "it runs, but cannot be pushed or saved";
const WRONG_FILES: &str = "containers see wrong files, and it cannot be pushed or saved";
const FETCH: &str = "shale fsck --repair fetches it again, if a registry is known that has it";

impl Problem {
    /// Puts a finding of the store into words.
    pub fn of_finding(finding: &Finding, users: &Users) -> Problem {
        let (consequence, advice) = words(finding.code());
        let layer = finding.layer();
        let image = match finding {
            Finding::Image(error) => image_of(error),
            Finding::ImageParent { id, .. } => Some(*id),
            Finding::NameWithoutImage { image, .. } => *image,
            _ => None,
        };
        let images = match (image, layer) {
            (Some(image), _) => vec![image],
            (None, Some(layer)) => users.of_layer(layer),
            (None, None) => Vec::new(),
        };
        Problem {
            code: finding.code(),
            severity: match finding.severity() {
                shale_store::Severity::Leftover => Severity::Leftover,
                shale_store::Severity::Warning => Severity::Warning,
                shale_store::Severity::Damage => Severity::Damage,
            },
            what: with_causes(finding),
            consequence: consequence.to_owned(),
            advice: advice.to_owned(),
            layer,
            names: users.names(&images),
            images,
        }
    }

    /// Puts a damage that was found by reading files into words.
    pub fn of_content(damage: &ContentDamage, users: &Users) -> Problem {
        let (consequence, advice) = words(damage.code());
        let images = users.of_layer(damage.chain());
        Problem {
            code: damage.code(),
            severity: Severity::Damage,
            what: format!("layer {}: {}", damage.chain(), with_causes(damage)),
            consequence: consequence.to_owned(),
            advice: advice.to_owned(),
            layer: Some(damage.chain()),
            names: users.names(&images),
            images,
        }
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

fn image_of(error: &ImageError) -> Option<ImageId> {
    match error {
        ImageError::Content { id }
        | ImageError::Config { id, .. }
        | ImageError::OperatingSystem { id, .. }
        | ImageError::LayerMissing { id, .. }
        | ImageError::Layer { id, .. } => Some(*id),
        ImageError::Disk(_) => None,
    }
}

/// Returns what follows from a kind of problem, and what to do about it.
///
/// Source of what follows: what dockerd 20.10.24 and 28.5.2 did with each damage, `fixtures/docker/*/damage-probe.txt`.
fn words(code: &str) -> (&'static str, &'static str) {
    match code {
        "directory-damaged" => (
            "what belongs in it is not found, and nothing can be written there",
            "move it away; the next command that writes makes the directory",
        ),
        "names-damaged" => (
            "dockerd does not start, and no image has a name",
            "restore the file from a backup, or move it away and name the images again with shale tag",
        ),
        "name-without-image" => (
            "the name is not listed and leads nowhere",
            "shale fsck --repair fetches it again, if its digest is known; or take the name away with shale rmi",
        ),
        "name-not-familiar" => (
            "Docker lists the name, but cannot inspect, run or remove it",
            "tag the image under its short name, then remove this one",
        ),
        "image-content" => (NOT_LISTED, FETCH),
        "image-config" | "image-layer-missing" | "image-layer-damaged" => (NOT_LISTED, FETCH),
        "image-operating-system" => (NOT_LISTED, "remove it with shale rmi if you do not need it"),
        "image-parent-missing" => ("history ends with this image; Docker does not mind", "nothing"),
        "image-unreadable" | "layer-unreadable" => ("it cannot be used", "look at the disk and its log"),
        "layer-size"
        | "layer-diff-id"
        | "layer-cache-id"
        | "layer-parent"
        | "layer-descriptor"
        | "layer-parent-damaged"
        | "layer-chain-id" => {
            ("Docker does not load the layer, hides its images, and cannot pull them again", FETCH)
        }
        "layer-directory-missing" => {
            ("images with it are listed, but cannot be inspected, run or saved", FETCH)
        }
        "layer-link-file" | "layer-link" => (CANNOT_START, "shale fsck --repair writes it again"),
        "layer-lower" => (
            "containers see the files of this layer only, or the wrong ones below it",
            "shale fsck --repair writes it again",
        ),
        "layer-tar-split-missing" | "layer-tar-split-damaged" => (CANNOT_LEAVE, FETCH),
        "layer-content" | "layer-content-digest" => (WRONG_FILES, FETCH),
        "container-layers" => ("the container cannot start", "remove the container and make it again"),
        _ => ("it only takes space", "shale gc frees it"),
    }
}
