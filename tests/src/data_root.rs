//! Two data roots side by side: what must be equal whoever wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::tree::{self, Compare};

/// The image part of a data root, without its random names.
#[derive(Debug, Default)]
pub struct DataRoot {
    /// Chain ID to the layer.
    pub layers: BTreeMap<String, Layer>,
    /// Image ID to the bytes of the config.
    pub configs: BTreeMap<String, Vec<u8>>,
    /// Image ID to the files of its metadata directory; times are left out.
    pub metadata: BTreeMap<String, BTreeMap<String, String>>,
    /// `repositories.json`; null when nothing was ever named.
    pub repositories: Value,
    /// Compressed digest to diff ID.
    pub diff_ids: BTreeMap<String, String>,
    /// Diff ID to the set of what is known about its blobs.
    pub blobs: BTreeMap<String, BTreeSet<String>>,
    /// Names that should not be left after an operation, such as unfinished layers.
    pub leftovers: Vec<String>,
}

/// One layer: its metadata and where its files are.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Diff ID, size, parent, modes and lower chain, one fact a line.
    pub facts: Vec<String>,
    /// tar-split with the segments between files joined: cut points and empty segments mean nothing.
    pub tar_split: Vec<String>,
    /// The directory with the layer's files.
    pub diff: PathBuf,
}

impl DataRoot {
    /// Reads the data root at `root`.
    ///
    /// # Panics
    /// When a file that must be there is missing or cannot be parsed.
    #[track_caller]
    pub fn read(root: &Path) -> Self {
        let image = root.join("image/overlay2");
        let overlay = root.join("overlay2");
        let cache_ids = cache_ids(&image.join("layerdb/sha256"));
        let mut found =
            Self { repositories: read_repositories(&image.join("repositories.json")), ..Self::default() };
        let chain_of: BTreeMap<&String, &String> =
            cache_ids.iter().map(|(chain, cache)| (cache, chain)).collect();
        for (chain, cache) in &cache_ids {
            found.layers.insert(chain.clone(), read_layer(&image, &overlay, chain, cache, &chain_of));
        }
        for name in names(&image.join("imagedb/content/sha256")) {
            let config = fs::read(image.join("imagedb/content/sha256").join(&name)).expect("it was listed");
            found.configs.insert(name, config);
        }
        for id in names(&image.join("imagedb/metadata/sha256")) {
            let folder = image.join("imagedb/metadata/sha256").join(&id);
            let files = names(&folder).into_iter().map(|name| {
                let content =
                    if name == "lastUpdated" { String::new() } else { read_text(&folder.join(&name)) };
                (name, content)
            });
            found.metadata.insert(id, files.collect());
        }
        let distribution = image.join("distribution");
        for name in names(&distribution.join("diffid-by-digest/sha256")) {
            let diff_id = read_text(&distribution.join("diffid-by-digest/sha256").join(&name));
            found.diff_ids.insert(name, diff_id);
        }
        for name in names(&distribution.join("v2metadata-by-diffid/sha256")) {
            let list = read_json(&distribution.join("v2metadata-by-diffid/sha256").join(&name));
            let entries = list.as_array().expect("it is a list").iter().map(Value::to_string).collect();
            found.blobs.insert(name, entries);
        }
        found.leftovers = leftovers(&image, &overlay, &cache_ids);
        found
    }

    /// One line for each difference in metadata and, by `compare`, in the files of the layers.
    pub fn differences(&self, other: &Self, compare: Compare) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.leftovers.iter().map(|name| format!("left side left over: {name}")));
        lines.extend(other.leftovers.iter().map(|name| format!("right side left over: {name}")));
        differ("config", &self.configs, &other.configs, &mut lines);
        differ("image metadata", &self.metadata, &other.metadata, &mut lines);
        differ("diff ID of blob", &self.diff_ids, &other.diff_ids, &mut lines);
        differ("blobs of diff ID", &self.blobs, &other.blobs, &mut lines);
        if self.repositories != other.repositories {
            lines.push(format!("repositories.json:\n    {}\n    {}", self.repositories, other.repositories));
        }
        let keys: BTreeSet<&String> = self.layers.keys().chain(other.layers.keys()).collect();
        for chain in keys {
            match (self.layers.get(chain), other.layers.get(chain)) {
                (Some(ours), Some(theirs)) => lines.extend(layer_differences(chain, ours, theirs, compare)),
                (ours, _) => {
                    let side = if ours.is_some() { "left" } else { "right" };
                    lines.push(format!("layer {chain} is only on the {side}"));
                }
            }
        }
        lines
    }
}

/// One line for each difference between two layers of the same chain ID.
pub fn layer_differences(chain: &str, ours: &Layer, theirs: &Layer, compare: Compare) -> Vec<String> {
    let mut lines = Vec::new();
    if ours.facts != theirs.facts {
        lines.push(format!("layer {chain}:\n    {:?}\n    {:?}", ours.facts, theirs.facts));
    }
    if ours.tar_split != theirs.tar_split {
        let at = ours.tar_split.iter().zip(&theirs.tar_split).position(|(left, right)| left != right);
        let at = at.unwrap_or(ours.tar_split.len().min(theirs.tar_split.len()));
        let shown =
            |side: &Layer| side.tar_split.get(at).map(|line| line.chars().take(200).collect::<String>());
        lines.push(format!("layer {chain}: tar-split entry {at}: {:?} / {:?}", shown(ours), shown(theirs)));
    }
    let listed = |layer: &Layer| tree::list(&layer.diff, compare).expect("the layer's directory can be read");
    let trees = tree::differences(&listed(ours), &listed(theirs));
    lines.extend(trees.into_iter().map(|line| format!("layer {chain}: {line}")));
    lines
}

fn differ<V: PartialEq + std::fmt::Debug>(
    what: &str,
    ours: &BTreeMap<String, V>,
    theirs: &BTreeMap<String, V>,
    lines: &mut Vec<String>,
) {
    let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for key in keys {
        if ours.get(key) != theirs.get(key) {
            lines.push(format!("{what} {key}:\n    {:?}\n    {:?}", ours.get(key), theirs.get(key)));
        }
    }
}

fn cache_ids(layers: &Path) -> BTreeMap<String, String> {
    names(layers)
        .into_iter()
        .filter(|name| name.len() == 64)
        .map(|chain| {
            let cache = read_text(&layers.join(&chain).join("cache-id"));
            (chain, cache.trim().to_owned())
        })
        .collect()
}

fn read_layer(
    image: &Path,
    overlay: &Path,
    chain: &str,
    cache: &str,
    chain_of: &BTreeMap<&String, &String>,
) -> Layer {
    let metadata = image.join("layerdb/sha256").join(chain);
    let folder = overlay.join(cache);
    let mut facts: Vec<String> = names(&metadata)
        .into_iter()
        .map(|name| {
            let mode = mode(&metadata.join(&name));
            let content = match name.as_str() {
                "cache-id" | "tar-split.json.gz" => String::new(),
                _ => read_text(&metadata.join(&name)),
            };
            format!("{name} {mode:o} {content:?}")
        })
        .collect();
    facts.push(format!("layerdb {:o}", mode(&metadata)));
    for name in names(&folder) {
        let path = folder.join(&name);
        // dockerd 20.10 writes `lower` with other permission bits than 23 and later; both are read.
        let content = match name.as_str() {
            "lower" => lower_chain(overlay, &read_text(&path), chain_of),
            "link" => {
                let target =
                    fs::read_link(overlay.join("l").join(read_text(&path))).expect("the short link is there");
                (target == Path::new("..").join(cache).join("diff")).to_string()
            }
            _ => String::new(),
        };
        facts.push(format!("overlay {name} {:o} {content}", mode(&path)));
    }
    Layer { facts, tar_split: tar_split(&metadata.join("tar-split.json.gz")), diff: folder.join("diff") }
}

/// The `lower` file with each short link replaced by the chain ID that it leads to.
fn lower_chain(overlay: &Path, lower: &str, chain_of: &BTreeMap<&String, &String>) -> String {
    let chains = lower.split(':').map(|link| {
        let target = fs::read_link(overlay.join(link)).unwrap_or_default();
        let cache = target.iter().nth(1).unwrap_or_default().to_string_lossy().into_owned();
        chain_of.get(&cache).map_or_else(|| format!("{link}?"), |chain| (*chain).clone())
    });
    chains.collect::<Vec<_>>().join(":")
}

fn tar_split(path: &Path) -> Vec<String> {
    let mut text = String::new();
    let file = fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("tar-split is gzip of text");
    let mut joined: Vec<String> = Vec::new();
    let mut segment = String::new();
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).expect("tar-split is JSON lines");
        if entry["type"] == 2 {
            segment.push_str(&decoded_hex(entry["payload"].as_str().unwrap_or_default()));
            continue;
        }
        if !segment.is_empty() {
            joined.push(std::mem::take(&mut segment));
        }
        let fields = ["name", "name_raw", "size", "payload"].map(|field| entry[field].to_string());
        joined.push(fields.join(" "));
    }
    if !segment.is_empty() {
        joined.push(segment);
    }
    joined
}

/// Standard base64 to hex: padded pieces cannot be joined as they are.
fn decoded_hex(base64: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(base64.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for byte in base64.bytes().filter(|byte| *byte != b'=') {
        let value = ALPHABET.iter().position(|known| *known == byte).expect("tar-split payloads are base64");
        bits = (bits << 6) | u32::try_from(value).expect("below 64");
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    hex::encode(bytes)
}

fn leftovers(image: &Path, overlay: &Path, cache_ids: &BTreeMap<String, String>) -> Vec<String> {
    let mut found: Vec<String> =
        names(&image.join("layerdb/tmp")).into_iter().map(|name| format!("layerdb/tmp/{name}")).collect();
    let known: BTreeSet<&String> = cache_ids.values().collect();
    for name in names(&image.join("layerdb/sha256")) {
        if name.len() != 64 {
            found.push(format!("layerdb/sha256/{name}"));
        }
    }
    for name in names(overlay) {
        if name != "l" && !known.contains(&name) && name != "backingFsBlockDev" {
            found.push(format!("overlay2/{name}"));
        }
    }
    let links = names(&overlay.join("l")).len();
    if links != cache_ids.len() {
        found.push(format!("overlay2/l holds {links} links for {} layers", cache_ids.len()));
    }
    for folder in ["", "imagedb/content/sha256", "distribution/diffid-by-digest/sha256"] {
        let temporary = names(&image.join(folder)).into_iter().filter(|name| name.starts_with(".tmp"));
        found.extend(temporary.map(|name| format!("{folder}/{name}")));
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().expect("it was listed").mode()
}

fn read_text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read_repositories(path: &Path) -> Value {
    if path.exists() { read_json(path) } else { Value::Null }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&read_text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
