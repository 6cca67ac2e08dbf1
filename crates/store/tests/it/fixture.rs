//! Layers and images made by hand, small enough to check by eye.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use shale_oci::{ChainId, DiffId, Digest, ImageId};
use shale_store::{Access, FinishedLayer, OpenOptions, PutImage, Store};

/// What every file of the layers holds; its CRC-64/ISO is in `fixtures/docker/vectors.json`.
const CONTENT: &[u8] = b"hello\n";
const CONTENT_CRC: &str = "YUw+7uLYEAA=";

pub fn open(root: &Path) -> Store {
    Store::open(root, OpenOptions { create: true, access: Access::Write }).unwrap()
}

/// A tar with one file, cut as tar-split cuts it.
pub struct Tar {
    pub name: String,
    pub header: Vec<u8>,
    pub trailer: Vec<u8>,
}

impl Tar {
    pub fn of(name: &str) -> Tar {
        let mut header = vec![0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        for (at, field) in
            [(100, "0000644"), (108, "0000000"), (116, "0000000"), (124, "00000000006"), (136, "13737256400")]
        {
            header[at..at + field.len()].copy_from_slice(field.as_bytes());
        }
        header[148..156].fill(b' ');
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        Tar { name: name.to_owned(), header, trailer: vec![0; 506 + 1024] }
    }

    pub fn diff_id(&self) -> DiffId {
        DiffId::new(Digest::sha256(&[&self.header, CONTENT, &self.trailer].concat()))
    }

    fn tar_split(&self) -> String {
        format!(
            "{{\"type\":2,\"payload\":\"{}\",\"position\":0}}\n\
             {{\"type\":1,\"name\":\"{}\",\"size\":6,\"payload\":\"{CONTENT_CRC}\",\"position\":1}}\n\
             {{\"type\":2,\"payload\":\"{}\",\"position\":2}}\n",
            base64(&self.header),
            self.name,
            base64(&self.trailer),
        )
    }

    /// Unpacks the tar into a new layer.
    pub fn finish(&self, store: &Store) -> FinishedLayer {
        self.try_finish(store).unwrap()
    }

    pub fn try_finish(&self, store: &Store) -> Result<FinishedLayer, Box<dyn std::error::Error>> {
        let mut writer = store.begin_layer()?;
        let path = writer.diff_path().join(&self.name);
        fs::write(&path, CONTENT)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        writer.tar_split().write_all(self.tar_split().as_bytes())?;
        Ok(writer.finish(self.diff_id(), CONTENT.len() as u64)?)
    }
}

/// Returns the config of an image of these layers, bottom first.
pub fn config(layers: &[Tar]) -> String {
    let diff_ids: Vec<_> = layers.iter().map(|tar| format!("\"{}\"", tar.diff_id())).collect();
    let history = vec!["{\"created\":\"2020-01-01T00:00:00Z\",\"created_by\":\"by hand\"}"; layers.len()];
    format!(
        "{{\"architecture\":\"amd64\",\"config\":{{\"Cmd\":[\"/nothing\"]}},\"created\":\"2020-01-01T00:00:00Z\",\
         \"history\":[{}],\"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[{}]}}}}",
        history.join(","),
        diff_ids.join(",")
    )
}

/// Stores an image of these layers, all of them new, under a tag.
pub fn store_image(store: &Store, layers: &[Tar], repository: &str, key: &str) -> ImageId {
    let finished = layers.iter().map(|tar| tar.finish(store)).collect();
    let published = store.publish_layers(None, finished).unwrap();
    let id = store.put_image(config(layers).as_bytes(), PutImage::default()).unwrap();
    drop(published);
    store.tag(repository, key, id).unwrap();
    id
}

pub fn chains(layers: &[Tar]) -> Vec<ChainId> {
    ChainId::stack(&layers.iter().map(Tar::diff_id).collect::<Vec<_>>())
}

pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            match digit <= chunk.len() {
                true => text.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63])),
                false => text.push('='),
            }
        }
    }
    text
}
