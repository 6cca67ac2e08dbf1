//! Builds layers and images: the bytes and their digests.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Bytes with their digest and media type.
#[derive(Debug, Clone)]
pub struct Blob {
    /// `sha256:<hex>` of the bytes.
    pub digest: String,
    /// What they are.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// Takes bytes as they are.
    pub fn new(media_type: &str, bytes: impl Into<Vec<u8>>) -> Blob {
        let bytes = bytes.into();
        Blob { digest: sha256(&bytes), media_type: media_type.to_owned(), bytes }
    }

    /// Returns the descriptor as JSON.
    pub fn descriptor(&self) -> serde_json::Value {
        json!({"mediaType": self.media_type, "size": self.bytes.len(), "digest": self.digest})
    }
}

/// Returns `sha256:<hex>` of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Returns `size` bytes that no compressor makes smaller, the same for the same seed.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        // xorshift64*, Vigna 2016.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Writes a tar archive (ustar), entry by entry.
#[derive(Debug, Default, Clone)]
pub struct LayerBuilder {
    tar: Vec<u8>,
}

impl LayerBuilder {
    /// Returns a layer without entries.
    pub fn new() -> LayerBuilder {
        LayerBuilder::default()
    }

    /// Adds a regular file, owned by root.
    pub fn file(self, path: &str, mode: u32, content: &[u8]) -> LayerBuilder {
        self.entry(path, b'0', mode, "", content)
    }

    /// Adds a directory.
    pub fn directory(self, path: &str, mode: u32) -> LayerBuilder {
        self.entry(&format!("{}/", path.trim_end_matches('/')), b'5', mode, "", b"")
    }

    /// Adds a symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> LayerBuilder {
        self.entry(path, b'2', 0o777, target, b"")
    }

    /// Adds a hard link to an earlier entry.
    pub fn hard_link(self, path: &str, target: &str) -> LayerBuilder {
        self.entry(path, b'1', 0o644, target, b"")
    }

    /// Adds a whiteout: a lower layer's `path` is gone.
    pub fn whiteout(self, path: &str) -> LayerBuilder {
        let marker = match path.rsplit_once('/') {
            Some((folder, name)) => format!("{folder}/.wh.{name}"),
            None => format!(".wh.{path}"),
        };
        self.file(&marker, 0, b"")
    }

    /// Adds a mark that hides everything that lower layers have in this directory.
    pub fn opaque(self, directory: &str) -> LayerBuilder {
        self.file(&format!("{}/.wh..wh..opq", directory.trim_end_matches('/')), 0, b"")
    }

    /// Adds an entry of any type.
    ///
    /// # Panics
    /// When the path or the link target is longer than 100 bytes: ustar alone does not hold it.
    pub fn entry(mut self, path: &str, kind: u8, mode: u32, link: &str, content: &[u8]) -> LayerBuilder {
        assert!(path.len() <= 100 && link.len() <= 100, "ustar holds names of 100 bytes");
        let mut header = [0_u8; 512];
        header[..path.len()].copy_from_slice(path.as_bytes());
        let mut octal = |at: usize, width: usize, value: u64| {
            let text = format!("{value:0width$o}", width = width - 1);
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        octal(100, 8, u64::from(mode));
        octal(108, 8, 0);
        octal(116, 8, 0);
        octal(124, 12, content.len() as u64);
        octal(136, 12, 1_700_000_000);
        header[148..156].fill(b' ');
        header[156] = kind;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.tar.extend_from_slice(&header);
        self.tar.extend_from_slice(content);
        self.tar.resize(self.tar.len().next_multiple_of(512), 0);
        self
    }

    /// Returns the archive with its end mark.
    pub fn tar(mut self) -> Vec<u8> {
        self.tar.resize(self.tar.len() + 1024, 0);
        self.tar
    }
}

/// A layer, plain and compressed.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The archive.
    pub tar: Vec<u8>,
    /// The digest of the archive.
    pub diff_id: String,
    /// The compressed archive, as a registry holds it.
    pub blob: Blob,
}

/// A whole image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The manifest.
    pub manifest: Blob,
    /// The config; its digest is the image ID.
    pub config: Blob,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

impl Image {
    /// Returns the manifest, the config and the compressed layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        std::iter::once(&self.config).chain(self.layers.iter().map(|layer| &layer.blob))
    }
}

/// Which family of media types an image speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Docker schema 2.
    Docker,
    /// OCI.
    Oci,
}

/// Puts an image together.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    flavour: Flavour,
    architecture: String,
    layers: Vec<Vec<u8>>,
    config: serde_json::Value,
}

impl ImageBuilder {
    /// Returns an image for linux/amd64 without layers.
    pub fn new(flavour: Flavour) -> ImageBuilder {
        ImageBuilder { flavour, architecture: "amd64".to_owned(), layers: Vec::new(), config: json!({}) }
    }

    /// Sets the architecture.
    pub fn architecture(mut self, architecture: &str) -> ImageBuilder {
        architecture.clone_into(&mut self.architecture);
        self
    }

    /// Sets the `config` object: `{"Env": […], "Cmd": […]}`.
    pub fn config(mut self, config: serde_json::Value) -> ImageBuilder {
        self.config = config;
        self
    }

    /// Adds a layer.
    pub fn layer(self, layer: LayerBuilder) -> ImageBuilder {
        self.layer_tar(layer.tar())
    }

    /// Adds a layer that is an archive already.
    pub fn layer_tar(mut self, tar: Vec<u8>) -> ImageBuilder {
        self.layers.push(tar);
        self
    }

    /// Returns the image.
    pub fn build(self) -> Image {
        let (manifest_type, config_type, layer_type) = match self.flavour {
            Flavour::Docker => (
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.container.image.v1+json",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ),
            Flavour::Oci => (
                "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.oci.image.config.v1+json",
                "application/vnd.oci.image.layer.v1.tar+gzip",
            ),
        };
        let layers: Vec<Layer> = self.layers.into_iter().map(|tar| layer(tar, layer_type)).collect();
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let history: Vec<_> = (0..layers.len())
            .map(|index| json!({"created": CREATED, "created_by": format!("layer {index}")}))
            .collect();
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": CREATED,
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        });
        let config = Blob::new(config_type, config.to_string());
        let descriptors: Vec<_> = layers.iter().map(|layer| layer.blob.descriptor()).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": config.descriptor(),
            "layers": descriptors,
        });
        Image { manifest: Blob::new(manifest_type, manifest.to_string()), config, layers }
    }
}

const CREATED: &str = "2026-01-02T03:04:05Z";

/// Compresses an archive into a layer.
pub fn layer(tar: Vec<u8>, media_type: &str) -> Layer {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&tar).expect("memory takes every byte");
    let bytes = encoder.finish().expect("memory takes every byte");
    Layer { diff_id: sha256(&tar), blob: Blob::new(media_type, bytes), tar }
}

/// Returns an index of these images, in their order.
pub fn index(flavour: Flavour, images: &[(&Image, &str)]) -> Blob {
    let media_type = match flavour {
        Flavour::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        Flavour::Oci => "application/vnd.oci.image.index.v1+json",
    };
    let manifests: Vec<_> = images
        .iter()
        .map(|(image, architecture)| {
            let mut descriptor = image.manifest.descriptor();
            descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
            descriptor
        })
        .collect();
    let document = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
    Blob::new(media_type, document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_reads_the_layer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layer.tar");
        let layer =
            LayerBuilder::new().directory("etc", 0o755).file("etc/x", 0o600, b"hello").symlink("y", "etc/x");
        std::fs::write(&path, layer.tar()).unwrap();
        let listed = std::process::Command::new("tar").arg("-tvf").arg(&path).output().unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.status.success());
        let names: Vec<_> =
            text.lines().map(|line| line.split_whitespace().skip(5).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(names, ["etc/", "etc/x", "y -> etc/x"]);
        assert!(text.contains("-rw------- 0/0"), "{text}");
    }

    #[test]
    fn gunzip_reads_the_blob_of_a_layer() {
        use std::io::Read as _;
        let layer = layer(LayerBuilder::new().file("a", 0o644, &noise(1, 5000)).tar(), "x");
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(layer.blob.bytes.as_slice()).read_to_end(&mut plain).unwrap();
        assert_eq!(sha256(&plain), layer.diff_id);
    }
}
