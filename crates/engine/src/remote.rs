//! An image as a registry describes it: from the reference to the manifest of one platform and its config.

use bytes::Bytes;
use shale_oci::{
    CONFIG_SIZE_MAX, ConfigError, Descriptor, Digest, Document, DocumentError, ImageConfig, ImageId, Index,
    Manifest, Platform, Reference, Repository, Target, Unverified, Verified, VerifyError,
};
use shale_registry_client::{BlobError, Client, ManifestError, Source};

/// Indexes in indexes that are followed at most; real ones have two levels.
const INDEX_DEPTH_MAX: usize = 8;

/// What a reference means in a registry, for one platform.
#[derive(Debug, Clone)]
pub struct RemoteImage {
    /// Digest of what the reference names: an index or a manifest. It goes into `RepoDigests`.
    pub digest: Digest,
    /// The manifest of the platform.
    pub manifest: Manifest,
    /// Its bytes.
    pub manifest_bytes: Verified,
    /// What the index says that the manifest runs on, where there is an index.
    pub platform: Option<Platform>,
    /// Who served it; the blobs are asked for there first.
    pub source: Source,
}

/// Why a reference leads to no image.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The registry did not give the manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The bytes are not those that were asked for.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The bytes are no manifest.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// No image of the index runs here.
    #[error("no matching manifest for {wanted} in the manifest list entries; it has {}", platform_list(.offered))]
    NoMatchingPlatform {
        /// What was looked for.
        wanted: Platform,
        /// What there is.
        offered: Vec<Platform>,
    },
    /// Indexes in indexes without an end.
    #[error("the manifest list leads through more than {INDEX_DEPTH_MAX} others")]
    TooDeep,
    /// The config did not come.
    #[error("could not fetch the image config")]
    ConfigBlob(#[source] BlobError),
    /// The config is larger than any that is read.
    #[error("the image config is {0} bytes long; at most {CONFIG_SIZE_MAX} are read")]
    ConfigTooLarge(u64),
    /// The config describes no image.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

fn platform_list(platforms: &[Platform]) -> String {
    match platforms {
        [] => "no entry with a platform".to_owned(),
        platforms => platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// A document as a registry served it, checked against its digest.
#[derive(Debug, Clone)]
pub struct RemoteDocument {
    /// The bytes.
    pub bytes: Verified,
    /// What they say.
    pub document: Document,
    /// Who served them.
    pub source: Source,
}

/// Fetches the manifest or index that `target` names; `expected` is what a parent says about it.
pub async fn fetch_document(
    client: &Client,
    repository: &Repository,
    target: &Target,
    expected: Option<&Descriptor>,
    source: Option<&Source>,
) -> Result<RemoteDocument, RemoteError> {
    let response = client.manifest_from(repository, target, source).await?;
    let bytes = Unverified::new(response.body);
    let bytes = match (expected, target) {
        (Some(descriptor), _) => bytes.verify(descriptor)?,
        (None, Target::Digest(digest)) => bytes.verify_digest(*digest)?,
        (None, Target::Tag(_)) => bytes.accept_by_tag(),
    };
    let document = Document::parse(&bytes, Some(&response.content_type))?;
    if let Some(descriptor) = expected
        && document.media_type() != descriptor.media_type
    {
        let (served, stated) = (document.media_type().to_owned(), descriptor.media_type.clone());
        return Err(DocumentError::TypeMismatch { served, stated }.into());
    }
    Ok(RemoteDocument { bytes, document, source: response.source })
}

/// Resolves `reference` to the image that a machine of `platform` should run.
///
/// Without a platform an index is resolved for this machine, and a lone manifest is taken whatever it runs on.
pub async fn resolve(
    client: &Client,
    reference: &Reference,
    platform: Option<&Platform>,
) -> Result<RemoteImage, RemoteError> {
    let repository = &reference.repository;
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let mut fetched = fetch_document(client, repository, &reference.target(), None, None).await?;
    let digest = fetched.bytes.digest();
    let mut runs_on = None;
    for _ in 0..INDEX_DEPTH_MAX {
        let entry = match fetched.document {
            Document::Manifest(manifest) => {
                let RemoteDocument { bytes: manifest_bytes, source, .. } = fetched;
                return Ok(RemoteImage { digest, manifest, manifest_bytes, platform: runs_on, source });
            }
            Document::Index(ref index) => choose(index, &wanted)?.clone(),
        };
        let target = Target::Digest(entry.digest);
        fetched = fetch_document(client, repository, &target, Some(&entry), Some(&fetched.source)).await?;
        runs_on = entry.platform;
    }
    Err(RemoteError::TooDeep)
}

fn choose<'a>(index: &'a Index, wanted: &Platform) -> Result<&'a Descriptor, RemoteError> {
    if let Some(entry) = index.choose(wanted) {
        return Ok(entry);
    }
    // An index within an index often says nothing about platforms; a single entry leaves no choice anyway.
    if let [entry] = index.manifests.as_slice()
        && entry.platform.is_none()
    {
        return Ok(entry);
    }
    let offered = index.manifests.iter().filter_map(|entry| entry.platform.clone()).collect();
    Err(RemoteError::NoMatchingPlatform { wanted: wanted.clone(), offered })
}

/// Fetches a small blob whole and checks it.
pub async fn fetch_small_blob(
    client: &Client,
    repository: &Repository,
    blob: &Descriptor,
    source: Option<&Source>,
) -> Result<Verified, RemoteError> {
    if blob.size_bytes > CONFIG_SIZE_MAX {
        return Err(RemoteError::ConfigTooLarge(blob.size_bytes));
    }
    let mut stream = client
        .blob_from(repository, blob, 0, source)
        .map_err(|error| RemoteError::ConfigBlob(error.into()))?;
    let mut bytes = Vec::with_capacity(usize::try_from(blob.size_bytes).unwrap_or_default());
    while let Some(chunk) = stream.chunk().await.map_err(RemoteError::ConfigBlob)? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(Unverified::new(Bytes::from(bytes)).verify(blob)?)
}

/// Fetches and reads the config of an image.
pub async fn fetch_config(
    client: &Client,
    repository: &Repository,
    image: &RemoteImage,
) -> Result<(Verified, ImageConfig), RemoteError> {
    let bytes = fetch_small_blob(client, repository, &image.manifest.config, Some(&image.source)).await?;
    let config = ImageConfig::parse(bytes.bytes())?;
    Ok((bytes, config))
}

/// Returns the ID of the image that a manifest describes.
pub fn image_id(manifest: &Manifest) -> ImageId {
    ImageId::new(manifest.config.digest)
}
