//! Manifests as they arrive: read strictly, stored as they came.
//!
//! Promise: what [`parse`] accepts is read the same way by every JSON reader: no key stands twice, no key is a known one in
//! another case, sizes are whole and not negative, and no document is an image and an index at once.

mod strict;

use serde_json::{Map, Value, json};
use shale_oci::Digest;

/// The largest manifest that is accepted. Source: distribution-spec, "Pushing Manifests": at least 4 MiB.
pub const MANIFEST_SIZE_MAX: usize = 4 << 20;

/// Media type of an OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a Docker image manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of a Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Media type of the artifact manifest that a release candidate of OCI 1.1 had; tools pushed it for a year.
pub const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";

/// The shapes that a manifest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A config and layers.
    Image,
    /// Other manifests.
    Index,
    /// Blobs without a config.
    Artifact,
}

/// Returns the shape that `media_type` names, when it is one of a manifest.
pub fn kind_of(media_type: &str) -> Option<Kind> {
    match media_type {
        OCI_MANIFEST | DOCKER_MANIFEST => Some(Kind::Image),
        OCI_INDEX | DOCKER_LIST => Some(Kind::Index),
        OCI_ARTIFACT => Some(Kind::Artifact),
        _ => None,
    }
}

/// What a manifest says of something that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The media type.
    pub media_type: String,
    /// The size in bytes.
    pub size_bytes: u64,
    /// The digest.
    pub digest: Digest,
    /// Whether the bytes may be elsewhere (`urls`), so that they need not be here.
    pub elsewhere: bool,
}

/// What the registry needs to know of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The media type, from the body or else from the request.
    pub media_type: String,
    /// The shape.
    pub kind: Kind,
    /// Its `artifactType`, or the media type of its config.
    pub artifact_type: Option<String>,
    /// Config (first, where there is one) and layers.
    pub blobs: Vec<Descriptor>,
    /// Whether the first blob is a config.
    pub has_config: bool,
    /// Children of an index.
    pub manifests: Vec<Descriptor>,
    /// What the manifest refers to.
    pub subject: Option<Descriptor>,
    /// Its annotations, as they are.
    pub annotations: Option<Map<String, Value>>,
}

/// Why a body is no manifest; the text is for the one who pushed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(String);

fn refuse<T>(reason: impl Into<String>) -> Result<T, ManifestError> {
    Err(ManifestError(reason.into()))
}

/// The keys that have a meaning, by where they stand. Another case of one of them is refused: Go's readers would take it.
const MANIFEST_KEYS: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "blobs",
    "manifests",
    "subject",
    "annotations",
];
const DESCRIPTOR_KEYS: &[&str] =
    &["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"];

/// Reads `body`, which was sent as `content_type` (without parameters).
///
/// # Errors
/// The first rule that the body breaks.
pub fn parse(body: &[u8], content_type: Option<&str>) -> Result<Parsed, ManifestError> {
    let document = strict::parse(body).map_err(|error| ManifestError(error.to_string()))?;
    let Value::Object(document) = document else { return refuse("not an object") };
    check_case(&document, MANIFEST_KEYS)?;
    if document.get("schemaVersion") != Some(&json!(2)) {
        return refuse("schemaVersion is not 2");
    }
    let body_type = string(&document, "mediaType")?;
    let media_type = match (content_type, body_type) {
        (Some(sent), Some(body)) if sent != body => {
            return refuse(format!("mediaType is {body:?}, sent as {sent:?}"));
        }
        (Some(sent), _) => sent.to_owned(),
        (None, Some(body)) => body.to_owned(),
        (None, None) if document.contains_key("manifests") => OCI_INDEX.to_owned(),
        (None, None) => OCI_MANIFEST.to_owned(),
    };
    let Some(kind) = kind_of(&media_type) else {
        return refuse(format!("{media_type:?} is no media type of a manifest"));
    };
    let (has_image_parts, has_children) = (
        document.contains_key("layers") || document.contains_key("config"),
        document.contains_key("manifests"),
    );
    match kind {
        Kind::Image if has_children => return refuse("an image with manifests"),
        Kind::Index if has_image_parts => return refuse("an index with a config or layers"),
        Kind::Artifact if has_image_parts || has_children => {
            return refuse("an artifact with a config, layers or manifests");
        }
        _ => {}
    }
    let mut blobs = Vec::new();
    if kind == Kind::Image {
        let Some(config) = document.get("config") else { return refuse("no config") };
        blobs.push(descriptor(config, "config")?);
        if !document.contains_key("layers") {
            return refuse("no layers");
        }
    }
    let has_config = kind == Kind::Image;
    blobs.extend(descriptors(&document, if kind == Kind::Artifact { "blobs" } else { "layers" })?);
    if kind == Kind::Index && !document.contains_key("manifests") {
        return refuse("no manifests");
    }
    let manifests = descriptors(&document, "manifests")?;
    let subject = match document.get("subject") {
        None | Some(Value::Null) => None,
        Some(subject) => Some(descriptor(subject, "subject")?),
    };
    let artifact_type = match string(&document, "artifactType")? {
        Some(artifact_type) if !artifact_type.is_empty() => Some(artifact_type.to_owned()),
        _ if has_config => Some(blobs[0].media_type.clone()),
        _ => None,
    };
    let annotations = match document.get("annotations") {
        None | Some(Value::Null) => None,
        Some(Value::Object(annotations)) if annotations.values().all(Value::is_string) => {
            Some(annotations.clone())
        }
        Some(_) => return refuse("annotations are not texts"),
    };
    Ok(Parsed { media_type, kind, artifact_type, blobs, has_config, manifests, subject, annotations })
}

impl Parsed {
    /// Returns the descriptor under which the referrers of its subject list this manifest.
    ///
    /// Source: distribution-spec, "Listing Referrers".
    pub fn referrer(&self, digest: Digest, size_bytes: usize) -> Value {
        let mut descriptor = json!({"mediaType": self.media_type, "digest": digest, "size": size_bytes});
        if let Some(artifact_type) = &self.artifact_type {
            descriptor["artifactType"] = json!(artifact_type);
        }
        if let Some(annotations) = &self.annotations {
            descriptor["annotations"] = Value::Object(annotations.clone());
        }
        descriptor
    }
}

fn check_case(object: &Map<String, Value>, known: &[&str]) -> Result<(), ManifestError> {
    for key in object.keys() {
        if known.iter().any(|known| known != key && known.eq_ignore_ascii_case(key)) {
            return refuse(format!("the key {key:?} is a known one in another case"));
        }
    }
    Ok(())
}

fn string<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, ManifestError> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => refuse(format!("{key} is not a text")),
    }
}

fn descriptors(document: &Map<String, Value>, key: &str) -> Result<Vec<Descriptor>, ManifestError> {
    match document.get(key) {
        // Go writes an empty list as null.
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(|item| descriptor(item, key)).collect(),
        Some(_) => refuse(format!("{key} is not a list")),
    }
}

fn descriptor(value: &Value, place: &str) -> Result<Descriptor, ManifestError> {
    let Value::Object(object) = value else {
        return refuse(format!("{place}: a descriptor is not an object"));
    };
    check_case(object, DESCRIPTOR_KEYS)?;
    let Some(digest) = string(object, "digest")? else { return refuse(format!("{place}: no digest")) };
    let Ok(digest) = digest.parse() else { return refuse(format!("{place}: malformed digest")) };
    let Some(size_bytes) = object.get("size").and_then(Value::as_u64) else {
        return refuse(format!("{place}: size is not a whole number from 0 on"));
    };
    if i64::try_from(size_bytes).is_err() {
        return refuse(format!("{place}: size is out of range"));
    }
    let media_type = string(object, "mediaType")?.unwrap_or("").to_owned();
    let elsewhere = match object.get("urls") {
        None | Some(Value::Null) => false,
        Some(Value::Array(urls)) => {
            for url in urls {
                let Value::String(url) = url else { return refuse(format!("{place}: a URL is not a text")) };
                if !(url.starts_with("https://") || url.starts_with("http://")) {
                    return refuse(format!("{place}: a URL is neither http nor https"));
                }
            }
            !urls.is_empty()
        }
        Some(_) => return refuse(format!("{place}: urls is not a list")),
    };
    Ok(Descriptor { media_type, size_bytes, digest, elsewhere })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn image(config: &str, more: &str) -> String {
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{config},"layers":[]{more}}}"#)
    }

    fn config(size: &str) -> String {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{DIGEST}","size":{size}}}"#
        )
    }

    #[test]
    fn an_image_names_its_config_and_its_type() {
        let parsed =
            parse(image(&config("3"), r#","x-custom":{"a":[1]}"#).as_bytes(), Some(OCI_MANIFEST)).unwrap();
        assert_eq!(parsed.kind, Kind::Image);
        assert_eq!(parsed.artifact_type.as_deref(), Some("application/vnd.oci.image.config.v1+json"));
        assert_eq!((parsed.blobs.len(), parsed.blobs[0].size_bytes), (1, 3));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let good = config("3");
        let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
        for (why, body) in [
            ("both", image(&good, r#","manifests":[]"#)),
            ("twice", image(&good, r#","layers":[]"#)),
            ("case", image(&good, r#","LAYERS":[]"#)),
            ("case in a descriptor", image(&good.replace("size", "Size"), "")),
            ("twice, deep down", image(&good, r#","x":{"a":1,"a":2}"#)),
            ("negative", image(&config("-1"), "")),
            ("fraction", image(&config("1.5"), "")),
            ("exponent", image(&config("1e3"), "")),
            ("text", image(&config("\"3\""), "")),
            ("2^63", image(&config("9223372036854775808"), "")),
            ("file", image(&good.replace("\"size\"", "\"urls\":[\"file:///etc/passwd\"],\"size\""), "")),
            ("digest", image(&good.replace("ba78", "../."), "")),
            ("trailing", image(&good, "") + "{}"),
            ("byte order mark", format!("\u{feff}{}", image(&good, ""))),
            ("deep", image(&good, &format!(r#","x":{deep}"#))),
            ("schema 1", r#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[]}"#.to_owned()),
            ("no version", image(&good, "").replace("\"schemaVersion\":2,", "")),
            ("not an object", "[]".to_owned()),
            ("nothing", String::new()),
            ("type", image(&good, "").replace(OCI_MANIFEST, DOCKER_MANIFEST)),
        ] {
            assert!(parse(body.as_bytes(), Some(OCI_MANIFEST)).is_err(), "{why}");
        }
    }

    #[test]
    fn published_manifests_are_accepted() {
        let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/vectors/");
        for (name, kind) in [
            ("alpine-2020-amd64.manifest.json", Kind::Image),
            ("alpine-2020.manifest-list.json", Kind::Index),
            ("busybox-2016.manifest.json", Kind::Image),
        ] {
            let body = std::fs::read(format!("{vectors}{name}")).unwrap();
            assert_eq!(parse(&body, None).unwrap().kind, kind, "{name}");
        }
    }

    /// The right verdict on each stands in fixtures/hostile/cases.json; those that only a puller can judge are not here.
    #[test]
    fn hostile_manifests_are_refused() {
        let hostile = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/hostile/json/");
        for name in [
            "J05-layer-size-1e3",
            "J05-layer-size-float",
            "J05-layer-size-string",
            "J09-both",
            "J10-both-as-index",
            "J12-dup-keys",
            "J13-case-keys",
            "J17-no-config",
            "J18-no-layers",
            "J21-schemaver-str",
            "J43-manifest-trailing",
            "J44-manifest-bom",
            "J45-manifest-utf16",
            "J46-empty",
            "J47-html",
            "J48-digest-dotdot",
            "J48-digest-empty",
            "J48-digest-encoded",
            "J48-digest-long",
            "J48-digest-md5",
            "J48-digest-newline",
            "J48-digest-nocolon",
            "J48-digest-nul",
            "J48-digest-null",
            "J48-digest-upperhex",
            "J49-cfgdigest-upperhex",
            "J71-schema1",
        ] {
            let body = std::fs::read(format!("{hostile}{name}.manifest.json")).unwrap();
            assert!(parse(&body, None).is_err(), "{name}");
        }
    }
}
