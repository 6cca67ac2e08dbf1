//! Every path of a data root.
//!
//! Promise: no other module joins a path below the root, so that the layout can be read in one place.
//! Not here: any system call.
//!
//! Source: moby `layer/filestore.go`, `image/fs.go`, `reference/store.go`, `distribution/metadata` and
//! `daemon/graphdriver/overlay2` as observed in 20.10.24, 28.5.2 and 29.

use std::path::{Path, PathBuf};

use shale_oci::{ChainId, DiffId, Digest, ImageId};

/// The mode of each directory of a root, in the order of creation.
///
/// Docker repairs only the root's own mode and that of `overlay2`; the others are believed.
pub(crate) const DIRECTORIES: &[(&str, u32)] = &[
    ("image", 0o700),
    ("image/overlay2", 0o700),
    ("image/overlay2/imagedb", 0o700),
    ("image/overlay2/imagedb/content", 0o700),
    ("image/overlay2/imagedb/content/sha256", 0o700),
    ("image/overlay2/imagedb/metadata", 0o700),
    ("image/overlay2/imagedb/metadata/sha256", 0o700),
    ("image/overlay2/layerdb", 0o700),
    ("image/overlay2/layerdb/sha256", 0o755),
    ("image/overlay2/layerdb/tmp", 0o755),
    ("image/overlay2/distribution", 0o700),
    ("image/overlay2/distribution/diffid-by-digest", 0o755),
    ("image/overlay2/distribution/diffid-by-digest/sha256", 0o755),
    ("image/overlay2/distribution/v2metadata-by-diffid", 0o755),
    ("image/overlay2/distribution/v2metadata-by-diffid/sha256", 0o755),
    ("overlay2", 0o710),
    ("overlay2/l", 0o700),
    ("shale", 0o700),
    ("shale/leases", 0o700),
    ("shale/downloads", 0o700),
];

/// Mode of the root itself.
pub(crate) const ROOT_MODE: u32 = 0o710;

/// What a layer directory is renamed to before it is deleted ends so.
pub(crate) const REMOVING_SUFFIX: &str = "-removing";

/// Names of the storage drivers whose non-empty directory makes Docker take the root for theirs.
pub(crate) const OTHER_DRIVERS: &[&str] =
    &["aufs", "btrfs", "devicemapper", "fuse-overlayfs", "overlay", "zfs"];

/// The paths of one data root.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
    image: PathBuf,
    overlay: PathBuf,
    shale: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Layout {
        Layout {
            root: root.to_owned(),
            image: root.join("image/overlay2"),
            overlay: root.join("overlay2"),
            shale: root.join("shale"),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// All directories that must be ones where they are there.
    pub(crate) fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let made = DIRECTORIES.iter().map(|(name, _)| self.root.join(name));
        made.chain([self.mounts(), self.containers()])
    }

    pub(crate) fn driver(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The bolt database on which a running dockerd holds a flock.
    pub(crate) fn docker_lock(&self) -> PathBuf {
        self.root.join("volumes/metadata.db")
    }

    /// Where Docker keeps a directory for each container.
    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// What Docker knows about one container.
    pub(crate) fn container(&self, id: &str) -> PathBuf {
        self.root.join("containers").join(id).join("config.v2.json")
    }

    /// Where Docker keeps a directory for each local volume.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Where BuildKit inside dockerd names the layers and directories of its cache.
    pub(crate) fn buildkit_snapshots(&self) -> PathBuf {
        self.root.join("buildkit/snapshots.db")
    }

    /// Where a containerd managed by dockerd keeps its plugins' state.
    pub(crate) fn containerd(&self) -> PathBuf {
        self.root.join("containerd/daemon")
    }

    pub(crate) fn image(&self) -> &Path {
        &self.image
    }

    pub(crate) fn repositories(&self) -> PathBuf {
        self.image.join("repositories.json")
    }

    pub(crate) fn contents(&self) -> PathBuf {
        self.image.join("imagedb/content/sha256")
    }

    pub(crate) fn content(&self, image: ImageId) -> PathBuf {
        self.image.join(format!("imagedb/content/{}/{}", image.digest().algorithm(), image.hex()))
    }

    pub(crate) fn metadata_of_images(&self) -> PathBuf {
        self.image.join("imagedb/metadata/sha256")
    }

    pub(crate) fn metadata(&self, image: ImageId) -> PathBuf {
        self.image.join(format!("imagedb/metadata/{}/{}", image.digest().algorithm(), image.hex()))
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.image.join("layerdb/sha256")
    }

    pub(crate) fn layer(&self, chain: ChainId) -> PathBuf {
        self.image.join(format!("layerdb/{}/{}", chain.digest().algorithm(), chain.hex()))
    }

    /// The name a layer's directory takes while it is being deleted.
    pub(crate) fn layer_removing(&self, chain: ChainId, random: &str) -> PathBuf {
        self.layers().join(format!("{}-{random}{REMOVING_SUFFIX}", chain.hex()))
    }

    /// Holds unpublished layers and files that are about to be renamed; Docker never reads it.
    pub(crate) fn staging(&self) -> PathBuf {
        self.image.join("layerdb/tmp")
    }

    pub(crate) fn write_set(&self, number: u64) -> PathBuf {
        self.staging().join(write_set_name(number))
    }

    pub(crate) fn mounts(&self) -> PathBuf {
        self.image.join("layerdb/mounts")
    }

    /// The files that say what one container stands on.
    pub(crate) fn mount(&self, name: &str) -> PathBuf {
        self.mounts().join(name)
    }

    pub(crate) fn diff_id_by_digest(&self, digest: Digest) -> PathBuf {
        self.image.join(format!("distribution/diffid-by-digest/{}/{}", digest.algorithm(), digest.hex()))
    }

    pub(crate) fn metadata_by_diff_id(&self, diff_id: DiffId) -> PathBuf {
        self.image.join(format!(
            "distribution/v2metadata-by-diffid/{}/{}",
            diff_id.digest().algorithm(),
            diff_id.hex()
        ))
    }

    pub(crate) fn distribution(&self) -> PathBuf {
        self.image.join("distribution")
    }

    pub(crate) fn overlay(&self) -> &Path {
        &self.overlay
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.overlay.join("l")
    }

    pub(crate) fn link(&self, link: &str) -> PathBuf {
        self.overlay.join("l").join(link)
    }

    pub(crate) fn cache(&self, cache_id: &str) -> PathBuf {
        self.overlay.join(cache_id)
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.shale.join("lock")
    }

    pub(crate) fn leases(&self) -> PathBuf {
        self.shale.join("leases")
    }

    /// The records of networks.
    pub(crate) fn networks(&self) -> PathBuf {
        self.shale.join("networks.json")
    }

    pub(crate) fn downloads(&self) -> PathBuf {
        self.shale.join("downloads")
    }

    pub(crate) fn download(&self, blob: Digest) -> PathBuf {
        self.shale.join(format!("downloads/{}-{}", blob.algorithm(), blob.hex()))
    }
}

/// Name of an unpublished layer's metadata below `layerdb/tmp`.
pub(crate) fn write_set_name(number: u64) -> String {
    format!("write-set-{number}")
}

/// What the symlink `l/<link>` of the directory `cache_id` says.
pub(crate) fn link_target(cache_id: &str) -> String {
    format!("../{cache_id}/diff")
}

/// Whether `text` can be the name of an `overlay2` directory and of nothing else on the disk.
///
/// Docker requires only "not empty"; a slash or a dot directory would let a damaged file lead a delete astray.
pub(crate) fn is_cache_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text != "l"
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Whether `text` is the name of a symlink below `l/`.
pub(crate) fn is_link(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte))
}
