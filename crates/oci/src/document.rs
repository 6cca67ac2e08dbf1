//! Reads a document of the distribution protocol, once its bytes were checked, and says which kind it is.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::manifest::{IndexFields, ManifestFields, contradicting_size};
use crate::{Digest, Index, MANIFEST_SIZE_MAX, Manifest, Verified, media_type};

/// An image manifest or an index.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "documents are made one by one and never kept in numbers")]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A list of images.
    Index(Index),
}

/// Why a document is neither a manifest nor an index that is safe to use.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// More than [`MANIFEST_SIZE_MAX`] bytes.
    #[error("manifest is {0} bytes long; at most {MANIFEST_SIZE_MAX} are read")]
    TooLarge(u64),
    /// Not JSON, a field that is missing or of another type, or a field that stands twice.
    #[error("manifest is not valid")]
    Json(#[from] serde_json::Error),
    /// Docker's first manifest format, which Docker itself removed.
    #[error(
        "this is a Docker image format v1 (schema 1) manifest, which is not supported any more; push the image again with a current tool"
    )]
    Schema1,
    /// Neither of the two kinds.
    #[error("unsupported manifest media type {0:?}")]
    UnknownKind(String),
    /// Readable as manifest and as index at once: two programs would see two images.
    #[error("manifest has both \"manifests\" and \"layers\" or \"config\", so it means two things")]
    Ambiguous,
    /// The server says one type, the document another.
    #[error("manifest was served as {served:?}, but says that it is {stated:?}")]
    TypeMismatch {
        /// The Content-Type header, or the type in the descriptor.
        served: String,
        /// The document's own `mediaType`.
        stated: String,
    },
    /// One digest with two sizes.
    #[error("manifest gives {0} two sizes")]
    ContradictingSize(Digest),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<IgnoredAny>,
    #[serde(default)]
    layers: Option<IgnoredAny>,
    #[serde(default)]
    config: Option<IgnoredAny>,
    #[serde(default)]
    fs_layers: Option<IgnoredAny>,
}

impl Document {
    /// Reads `bytes`, which were served as `content_type`; without one the document's own statement and its shape decide.
    ///
    /// A field that stands twice is refused, and fields are matched exactly, unlike in Go, where the last of
    /// `layers` and `LAYERS` wins.
    pub fn parse(bytes: &Verified, content_type: Option<&str>) -> Result<Document, DocumentError> {
        let json = bytes.bytes();
        if json.len() as u64 > MANIFEST_SIZE_MAX {
            return Err(DocumentError::TooLarge(json.len() as u64));
        }
        let served = content_type.map(media_type::essence).unwrap_or_default();
        if media_type::is_schema1(served) {
            return Err(DocumentError::Schema1);
        }
        let outline: Outline = serde_json::from_slice(json)?;
        if outline.schema_version == Some(1) || (outline.fs_layers.is_some() && outline.layers.is_none()) {
            return Err(DocumentError::Schema1);
        }
        let has_image = outline.layers.is_some() || outline.config.is_some();
        if outline.manifests.is_some() && has_image {
            return Err(DocumentError::Ambiguous);
        }
        let kind = kind(served, outline.media_type, has_image)?;
        if outline.schema_version != Some(2) {
            let found = outline.schema_version.map_or("none".to_owned(), |version| version.to_string());
            return Err(DocumentError::UnknownKind(format!("{kind} with schemaVersion {found}")));
        }
        if media_type::is_index(&kind) {
            let fields: IndexFields = serde_json::from_slice(json)?;
            refuse_contradiction(&fields.manifests)?;
            return Ok(Document::Index(Index {
                media_type: kind,
                manifests: fields.manifests,
                artifact_type: fields.artifact_type,
                subject: fields.subject.and_then(|subject| serde_json::from_value(subject).ok()),
                annotations: fields.annotations.unwrap_or_default(),
            }));
        }
        let fields: ManifestFields = serde_json::from_slice(json)?;
        refuse_contradiction(&fields.layers)?;
        Ok(Document::Manifest(Manifest {
            media_type: kind,
            config: fields.config,
            layers: fields.layers,
            artifact_type: fields.artifact_type,
            subject: fields.subject.and_then(|subject| serde_json::from_value(subject).ok()),
            annotations: fields.annotations.unwrap_or_default(),
        }))
    }

    /// Returns the media type of the document.
    pub fn media_type(&self) -> &str {
        match self {
            Document::Manifest(manifest) => &manifest.media_type,
            Document::Index(index) => &index.media_type,
        }
    }
}

/// Decides the kind from what was served, what is stated and, where both are silent, from the shape.
fn kind(served: &str, stated: Option<String>, has_image: bool) -> Result<String, DocumentError> {
    let is_known = |kind: &str| media_type::is_manifest(kind) || media_type::is_index(kind);
    // Registries without a notion of manifests, such as plain file servers, send one of these.
    let served_says_nothing =
        matches!(served, "" | "application/json" | "text/plain" | "application/octet-stream");
    match stated {
        Some(stated) if !served_says_nothing && stated != served => {
            Err(DocumentError::TypeMismatch { served: served.to_owned(), stated })
        }
        Some(stated) if media_type::is_schema1(&stated) => Err(DocumentError::Schema1),
        Some(stated) if is_known(&stated) => refuse_wrong_shape(stated, has_image),
        Some(stated) => Err(DocumentError::UnknownKind(stated)),
        None if is_known(served) => refuse_wrong_shape(served.to_owned(), has_image),
        None if served_says_nothing && has_image => Ok(media_type::OCI_MANIFEST.to_owned()),
        None if served_says_nothing => Ok(media_type::OCI_INDEX.to_owned()),
        None => Err(DocumentError::UnknownKind(served.to_owned())),
    }
}

fn refuse_wrong_shape(kind: String, has_image: bool) -> Result<String, DocumentError> {
    let shape = if has_image { media_type::OCI_MANIFEST } else { media_type::OCI_INDEX };
    if media_type::is_manifest(&kind) == has_image {
        Ok(kind)
    } else {
        Err(DocumentError::TypeMismatch { served: kind, stated: shape.to_owned() })
    }
}

fn refuse_contradiction(descriptors: &[crate::Descriptor]) -> Result<(), DocumentError> {
    match contradicting_size(descriptors) {
        Some(digest) => Err(DocumentError::ContradictingSize(digest)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unverified;

    fn vector(name: &str) -> Verified {
        let path = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/vectors/{}"), name);
        Unverified::new(std::fs::read(path).unwrap()).accept_by_tag()
    }

    fn parse(json: &str, content_type: &str) -> Result<Document, DocumentError> {
        Document::parse(&Unverified::new(json.as_bytes().to_vec()).accept_by_tag(), Some(content_type))
    }

    #[test]
    fn published_documents_have_their_published_digests() {
        // Published by Docker Hub; see fixtures/vectors. They hold for exactly these bytes, odd indents and escapes included.
        let list = vector("alpine-2020.manifest-list.json");
        let Document::Index(index) = Document::parse(&list, Some(media_type::DOCKER_MANIFEST_LIST)).unwrap()
        else {
            panic!("a manifest list is an index");
        };
        let amd64 = index.choose(&"linux/amd64".parse().unwrap()).unwrap();
        let manifest = vector("alpine-2020-amd64.manifest.json");
        assert_eq!(manifest.digest(), amd64.digest);
        assert_eq!(manifest.bytes().len() as u64, amd64.size_bytes);
        let Document::Manifest(manifest) = Document::parse(&manifest, Some(&amd64.media_type)).unwrap()
        else {
            panic!("an image manifest is a manifest");
        };
        assert_eq!(manifest.layers.len(), 1);
        assert!(index.choose(&"linux/arm/v8".parse().unwrap()).is_some());
    }

    #[test]
    fn a_document_that_means_two_things_is_refused() {
        let both = r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        assert!(matches!(parse(both, media_type::OCI_INDEX), Err(DocumentError::Ambiguous)));
        let index =
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, media_type::OCI_INDEX);
        assert!(matches!(parse(&index, media_type::OCI_MANIFEST), Err(DocumentError::TypeMismatch { .. })));
        assert!(parse(&index, media_type::OCI_INDEX).is_ok());
        assert!(parse(&index, "application/json").is_ok());
        assert!(matches!(parse("<html>", "text/html"), Err(DocumentError::Json(_))));
        let bare = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(parse(bare, "text/html"), Err(DocumentError::UnknownKind(_))));
    }

    #[test]
    fn schema_1_is_recognised() {
        let schema1 = r#"{"schemaVersion":1,"name":"a","fsLayers":[],"history":[]}"#;
        for content_type in ["", "application/json", media_type::DOCKER_SCHEMA1_SIGNED] {
            assert!(matches!(parse(schema1, content_type), Err(DocumentError::Schema1)), "{content_type:?}");
        }
    }

    #[test]
    fn hostile_documents_are_refused_or_read_by_their_exact_keys() {
        // Each file is a case of fixtures/hostile/cases.json; the verdict stands there. Cases that need the blobs are driven elsewhere.
        let refused = [
            "J05-layer-size-float",
            "J05-layer-size-string",
            "J05-layer-size-1e3",
            "J09-both",
            "J12-dup-keys",
            "J17-no-config",
            "J18-no-layers",
            "J19-layers-null",
            "J21-schemaver-str",
            "J43-manifest-trailing",
            "J44-manifest-bom",
            "J45-manifest-utf16",
            "J46-empty",
            "J47-html",
            "J48-digest-dotdot",
            "J48-digest-upperhex",
            "J48-digest-long",
            "J48-digest-md5",
            "J48-digest-nocolon",
            "J48-digest-empty",
            "J48-digest-newline",
            "J48-digest-encoded",
            "J48-digest-null",
            "J48-digest-nul",
            "J49-cfgdigest-upperhex",
            "J69-dup-layer-descs",
            "J71-schema1",
        ];
        for case in refused {
            let path = format!(
                concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/hostile/json/{}.manifest.json"),
                case
            );
            let bytes =
                Unverified::new(std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")))
                    .accept_by_tag();
            assert!(Document::parse(&bytes, None).is_err(), "{case}");
        }
    }
}
