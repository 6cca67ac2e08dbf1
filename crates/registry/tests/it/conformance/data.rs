//! The data sets: documents of every kind that the specification knows, with the blobs that they name.

use serde_json::{Map, Value, json};

use super::{Hash, fresh};
use crate::client::{OCI_INDEX, OCI_MANIFEST, sha256, sha512};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const KIND_ONE: &str = "application/vnd.example.one.v1";
const KIND_TWO: &str = "application/vnd.example.two.v1";

/// A manifest or an index, and what a registry must tell of it.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub digest: String,
    pub media_type: &'static str,
    pub bytes: Vec<u8>,
    /// In the order of bytes.
    pub tags: Vec<String>,
    pub subject: Option<String>,
    /// What the list of referrers says.
    pub artifact_type: String,
    pub annotations: Map<String, Value>,
}

/// Documents in the order in which they are pushed, and the blobs that are pushed before them.
pub(super) struct DataSet {
    pub name: &'static str,
    pub blobs: Vec<(String, Vec<u8>)>,
    pub documents: Vec<Document>,
    /// Whether tags are given in the query of the push by digest.
    pub tags_in_query: bool,
    hash: Hash,
}

/// What a document has beside its config, its layers or its manifests.
#[derive(Default)]
struct More<'a> {
    tags: &'a [&'a str],
    artifact_type: Option<&'a str>,
    subject: Option<&'a Value>,
    annotations: Map<String, Value>,
    extra: bool,
}

fn tag<'a>(tags: &'a [&'a str]) -> More<'a> {
    More { tags, ..More::default() }
}

impl DataSet {
    fn new(name: &'static str, hash: Hash) -> DataSet {
        DataSet { name, blobs: Vec::new(), documents: Vec::new(), tags_in_query: false, hash }
    }

    /// Adds a blob; returns its descriptor.
    fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = (self.hash)(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        if self.blobs.iter().all(|(known, _)| *known != digest) {
            self.blobs.push((digest, bytes));
        }
        descriptor
    }

    fn config(&mut self) -> Value {
        let text = json!({"architecture": "amd64", "os": "linux", "author": fresh(8)}).to_string();
        self.blob(CONFIG, text.into_bytes())
    }

    fn layers(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.blob(&format!("{LAYER}+gzip"), fresh(300))).collect()
    }

    /// Adds a manifest; returns its descriptor.
    fn manifest(&mut self, config: Value, layers: Vec<Value>, more: More<'_>) -> Value {
        let kind = more.artifact_type.unwrap_or_else(|| config["mediaType"].as_str().unwrap()).to_owned();
        let members = json!({"config": config, "layers": layers});
        self.document(OCI_MANIFEST, members, kind, more)
    }

    /// Adds an image with two layers.
    fn image(&mut self, more: More<'_>) -> Value {
        let (config, layers) = (self.config(), self.layers(2));
        self.manifest(config, layers, more)
    }

    fn artifact(&mut self, more: More<'_>) -> Value {
        let config = self.blob(EMPTY, b"{}".to_vec());
        let layer = self.blob(KIND_ONE, fresh(200));
        self.manifest(config, vec![layer], more)
    }

    fn index(&mut self, manifests: Vec<Value>, more: More<'_>) -> Value {
        let kind = more.artifact_type.unwrap_or("").to_owned();
        self.document(OCI_INDEX, json!({"manifests": manifests}), kind, more)
    }

    /// Adds an index of two images.
    fn index_of_images(&mut self, more: More<'_>) -> Value {
        let manifests = ["amd64", "arm64"]
            .map(|architecture| {
                let mut descriptor = self.image(More { extra: more.extra, ..More::default() });
                descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
                descriptor
            })
            .to_vec();
        self.index(manifests, more)
    }

    fn document(
        &mut self,
        media_type: &'static str,
        members: Value,
        artifact_type: String,
        more: More<'_>,
    ) -> Value {
        let mut document = json!({"schemaVersion": 2, "mediaType": media_type});
        let object = document.as_object_mut().unwrap();
        object.extend(members.as_object().unwrap().clone());
        object.extend(more.artifact_type.map(|kind| ("artifactType".to_owned(), json!(kind))));
        object.extend(more.subject.map(|subject| ("subject".to_owned(), subject.clone())));
        if !more.annotations.is_empty() {
            object.insert("annotations".to_owned(), Value::Object(more.annotations.clone()));
        }
        if more.extra {
            object.insert("org.example.unknown".to_owned(), json!({"a": [1, "b"]}));
        }
        let bytes = document.to_string().into_bytes();
        let digest = (self.hash)(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        let mut tags: Vec<String> = more.tags.iter().map(|tag| (*tag).to_owned()).collect();
        tags.sort();
        self.documents.push(Document {
            digest,
            media_type,
            bytes,
            tags,
            subject: more.subject.map(|subject| subject["digest"].as_str().unwrap().to_owned()),
            artifact_type,
            annotations: more.annotations,
        });
        descriptor
    }
}

fn annotations(pairs: &[(&str, String)]) -> Map<String, Value> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect()
}

/// A set of one tagged image.
pub(super) fn image(name: &'static str) -> DataSet {
    let mut set = DataSet::new(name, sha256);
    set.image(tag(&["image"]));
    set
}

/// Every set, in the order of the suite.
pub(super) fn all() -> Vec<DataSet> {
    let make = |name: &'static str, fill: &dyn Fn(&mut DataSet)| {
        let mut set = DataSet::new(name, sha256);
        fill(&mut set);
        set
    };
    let mut sets = vec![
        image("image"),
        make("image-uncompressed", &|set| {
            let (config, layer) = (set.config(), set.blob(LAYER, fresh(1024)));
            set.manifest(config, vec![layer], tag(&["image-uncompressed"]));
        }),
        make("large-manifest", &|set| {
            let large: Vec<(String, String)> =
                (0..390).map(|number| (format!("large-{number}"), "A".repeat(10_000))).collect();
            let annotations = large.into_iter().map(|(key, value)| (key, json!(value))).collect();
            set.image(More { annotations, ..tag(&["large-manifest"]) });
        }),
        make("index", &|set| {
            set.index_of_images(tag(&["index"]));
        }),
        make("nested-index", &|set| {
            let inner = vec![set.index_of_images(tag(&[])), set.index_of_images(tag(&[]))];
            set.index(inner, tag(&["index-of-index"]));
        }),
        make("empty-index", &|set| {
            set.index(Vec::new(), tag(&["index"]));
        }),
        make("artifact", &|set| {
            set.artifact(More { artifact_type: Some(KIND_ONE), ..tag(&["artifact"]) });
        }),
        make("artifact-index", &|set| {
            let artifact = || More { artifact_type: Some(KIND_ONE), ..More::default() };
            let both = vec![set.artifact(artifact()), set.artifact(artifact())];
            set.index(both, More { artifact_type: Some(KIND_ONE), ..tag(&["artifact-index"]) });
        }),
        make("artifact-without-layers", &|set| {
            let empty = set.blob(EMPTY, b"{}".to_vec());
            let more = More { artifact_type: Some(KIND_ONE), ..tag(&["artifact-without-layers"]) };
            set.manifest(empty.clone(), vec![empty], more);
        }),
    ];
    sets.extend(with_subjects());
    sets.extend(unusual());
    sets.extend(in_queries());
    sets
}

fn with_subjects() -> Vec<DataSet> {
    let mut set = DataSet::new("artifacts-with-subject", sha256);
    let subject = set.image(tag(&["image"]));
    set.image(More { subject: Some(&subject), ..More::default() });
    for (kind, name) in [(KIND_ONE, "tagged-artifact1"), (KIND_TWO, "tagged-artifact2")] {
        let annotations = annotations(&[("org.example.hello", "world".to_owned()), ("n", name.to_owned())]);
        let tags = [name];
        set.artifact(More { artifact_type: Some(kind), subject: Some(&subject), annotations, ..tag(&tags) });
    }
    let mut index = DataSet::new("index-with-subject", sha256);
    let subject = index.index_of_images(tag(&["index"]));
    let child = index.artifact(More { artifact_type: Some(KIND_ONE), ..More::default() });
    index.index(
        vec![child],
        More {
            artifact_type: Some(KIND_ONE),
            subject: Some(&subject),
            annotations: annotations(&[("org.example.hello", "index".to_owned())]),
            ..tag(&["tagged-artifact"])
        },
    );
    let mut missing = DataSet::new("missing-subject", sha256);
    let subject = json!({"mediaType": OCI_MANIFEST, "digest": sha256(b"never pushed"), "size": 123});
    missing.artifact(More {
        artifact_type: Some(KIND_ONE),
        subject: Some(&subject),
        ..tag(&["tagged-artifact"])
    });
    vec![set, index, missing]
}

fn unusual() -> Vec<DataSet> {
    let mut data_field = DataSet::new("data-field", sha256);
    let mut config = data_field.config();
    let bytes = data_field.blobs[0].1.clone();
    config["data"] = json!(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes));
    let layers = data_field.layers(1);
    data_field.manifest(config, layers, tag(&["data-field"]));

    let mut elsewhere = DataSet::new("non-distributable-layers", sha256);
    let config = elsewhere.config();
    let mut layers: Vec<Value> = ["tar+gzip", "tar"]
        .map(|kind| {
            let digest = sha256(&fresh(256));
            let url = format!("https://store.example.com/blobs/{digest}");
            let media_type = format!("application/vnd.oci.image.layer.nondistributable.v1.{kind}");
            json!({"mediaType": media_type, "digest": digest, "size": 123_456, "urls": [url]})
        })
        .to_vec();
    layers.extend(elsewhere.layers(1));
    elsewhere.manifest(config, layers, tag(&["non-distributable-image"]));

    let mut custom = DataSet::new("custom-fields", sha256);
    custom.index_of_images(More { extra: true, ..tag(&["custom-fields"]) });

    let mut none = DataSet::new("no-layers", sha256);
    let config = none.config();
    none.manifest(config, Vec::new(), tag(&["no-layers"]));

    let mut sparse = DataSet::new("sparse", sha256);
    let there = sparse.image(tag(&["sparse-image"]));
    let lost = sparse.blobs.len() - 1;
    sparse.blobs.remove(lost);
    let never = json!({"mediaType": OCI_MANIFEST, "digest": sha256(&fresh(1024)), "size": 1024});
    sparse.index(vec![there, never], tag(&["sparse-index"]));

    let mut strong = DataSet::new("sha512", sha512);
    strong.index_of_images(More::default());
    vec![data_field, elsewhere, custom, none, sparse, strong]
}

fn in_queries() -> Vec<DataSet> {
    [("tag-param-sha256", sha256 as Hash), ("tag-param-sha512", sha512)]
        .map(|(name, hash)| {
            let mut set = DataSet::new(name, hash);
            let children = vec![set.image(tag(&["first"])), set.image(tag(&["second"]))];
            set.index(children, tag(&["both", "also-both"]));
            set.tags_in_query = true;
            set
        })
        .into()
}
