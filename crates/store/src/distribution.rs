//! What is known about the blobs that layers came from and went to.
//!
//! Promise: the files are exactly Docker's; a damaged one is as good as none, since all of it can be learned again.
//! Not here: deciding what to push or mount.
//!
//! Source: moby `distribution/metadata/v2_metadata_service.go`.

use std::path::PathBuf;

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use shale_oci::{Algorithm, DiffId, Digest, go_json};

use crate::Store;
use crate::durable::{self, Batch, DiskError};
use crate::layout::Layout;
use crate::lock::AccessError;

/// Docker keeps so many entries for a layer and forgets the oldest.
const ENTRIES_MAX: usize = 50;

/// Mode of the files.
pub(crate) const FILE_MODE: u32 = 0o644;

/// A place where a layer was seen as a blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct V2Metadata {
    /// Digest of the compressed blob.
    #[serde(rename = "Digest")]
    pub digest: Digest,
    /// Fully qualified repository, without tag: `docker.io/library/alpine`.
    #[serde(rename = "SourceRepository", default)]
    pub source_repository: String,
    /// Proof that somebody with these credentials pushed it, see [`V2Metadata::pushed`]; empty after a pull.
    #[serde(rename = "HMAC", default)]
    pub hmac: String,
}

/// The credentials of a push, for [`V2Metadata::pushed`]; empty fields are as good as none.
#[derive(Debug, Clone, Copy, Default)]
pub struct PushCredentials<'a> {
    /// User name.
    pub username: &'a str,
    /// Password.
    pub password: &'a str,
    /// The `auth` field of a client's configuration.
    pub auth: &'a str,
    /// Token that stands for user and password.
    pub identity_token: &'a str,
    /// Bearer token that is sent as it is.
    pub registry_token: &'a str,
}

impl PushCredentials<'_> {
    /// Returns the text that keys the HMAC: the digest of the credentials' JSON.
    pub fn key(&self) -> String {
        let fields = [
            ("username", self.username),
            ("password", self.password),
            ("auth", self.auth),
            ("identitytoken", self.identity_token),
            ("registrytoken", self.registry_token),
        ];
        let mut json = String::from("{");
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            if json.len() > 1 {
                json.push(',');
            }
            go_json::push_string(&mut json, name);
            json.push(':');
            go_json::push_string(&mut json, value);
        }
        json.push('}');
        Digest::sha256(json.as_bytes()).to_string()
    }
}

impl V2Metadata {
    /// Notes that `digest` was pulled from `repository`.
    pub fn pulled(digest: Digest, repository: impl Into<String>) -> V2Metadata {
        V2Metadata { digest, source_repository: repository.into(), hmac: String::new() }
    }

    /// Notes that `digest` was pushed to `repository`, or found there while pushing, with the key of
    /// [`PushCredentials::key`].
    pub fn pushed(digest: Digest, repository: impl Into<String>, key: &str) -> V2Metadata {
        let source_repository = repository.into();
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(digest.to_string().as_bytes());
        mac.update(source_repository.as_bytes());
        let hmac = hex::encode(mac.finalize().into_bytes());
        V2Metadata { digest, source_repository, hmac }
    }

    /// Whether this was noted by a push with these credentials.
    pub fn is_pushed_with(&self, key: &str) -> bool {
        !self.hmac.is_empty() && *self == V2Metadata::pushed(self.digest, self.source_repository.clone(), key)
    }
}

/// Why distribution metadata was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum DistributionError {
    /// The store may not be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Store {
    /// Returns the layer that the blob `digest` is known to hold.
    ///
    /// # Errors
    /// [`DiskError`] when the disk failed; a damaged file counts as none.
    pub fn diff_id_for(&self, digest: Digest) -> Result<Option<DiffId>, DiskError> {
        let content = durable::read(&self.layout.diff_id_by_digest(digest))?;
        Ok(content.and_then(|content| std::str::from_utf8(&content).ok()?.parse().ok()))
    }

    /// Returns where a layer was seen, oldest first.
    ///
    /// # Errors
    /// [`DiskError`] when the disk failed; a damaged file counts as none.
    pub fn metadata_for(&self, diff_id: DiffId) -> Result<Vec<V2Metadata>, DiskError> {
        read(&self.layout, diff_id)
    }

    /// Notes where layers were seen. An entry that is known moves to the end; the oldest of more than 50 goes.
    ///
    /// Together with layers that are published at the same time, [`Store::publish`] is cheaper.
    ///
    /// # Errors
    /// [`DistributionError`] when the store may not be written or the disk failed.
    pub fn add_metadata(&self, seen: &[(DiffId, V2Metadata)]) -> Result<(), DistributionError> {
        let _commit = self.commit()?;
        let mut batch = Batch::new(self.layout.staging());
        for (path, content) in note(&self.layout, seen)?.files {
            batch.stage_synced(path, content.as_bytes(), FILE_MODE)?;
        }
        Ok(batch.publish()?)
    }

    /// Forgets an entry, because the registry no longer has the blob there.
    ///
    /// # Errors
    /// [`DistributionError`] when the store may not be written or the disk failed.
    pub fn remove_metadata(&self, diff_id: DiffId, gone: &V2Metadata) -> Result<(), DistributionError> {
        let _commit = self.commit()?;
        let mut entries = read(&self.layout, diff_id)?;
        let before = entries.len();
        entries.retain(|entry| entry != gone);
        if entries.len() == before {
            return Ok(());
        }
        let path = self.layout.metadata_by_diff_id(diff_id);
        if entries.is_empty() {
            durable::remove_file(&path)?;
        } else {
            durable::replace(self.layout.staging(), path, encode(&entries).as_bytes(), FILE_MODE)?;
        }
        Ok(())
    }
}

/// Parses the content of a file below `v2metadata-by-diffid`; `None` when it is damaged.
pub fn parse_v2_metadata(content: &[u8]) -> Option<Vec<V2Metadata>> {
    serde_json::from_slice(content).ok()
}

fn read(layout: &Layout, diff_id: DiffId) -> Result<Vec<V2Metadata>, DiskError> {
    let content = durable::read(&layout.metadata_by_diff_id(diff_id))?;
    Ok(content.and_then(|content| parse_v2_metadata(&content)).unwrap_or_default())
}

fn encode(entries: &[V2Metadata]) -> String {
    let mut json = String::from("[");
    for entry in entries {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str("{\"Digest\":");
        go_json::push_string(&mut json, &entry.digest.to_string());
        json.push_str(",\"SourceRepository\":");
        go_json::push_string(&mut json, &entry.source_repository);
        json.push_str(",\"HMAC\":");
        go_json::push_string(&mut json, &entry.hmac);
        json.push('}');
    }
    json.push(']');
    json
}

/// Files that change when layers are noted, and what they were made from.
pub(crate) struct Noting {
    /// In Docker's order: the list first, then the way back.
    pub(crate) files: Vec<(PathBuf, String)>,
    read: Vec<(DiffId, Vec<V2Metadata>)>,
}

/// Works out what changes when `seen` is noted.
pub(crate) fn note(layout: &Layout, seen: &[(DiffId, V2Metadata)]) -> Result<Noting, DiskError> {
    let mut noting = Noting { files: Vec::new(), read: Vec::new() };
    let mut changed: Vec<(DiffId, Vec<V2Metadata>)> = Vec::new();
    for (diff_id, entry) in seen {
        let position = match changed.iter().position(|(known, _)| known == diff_id) {
            Some(position) => position,
            None => {
                let entries = read(layout, *diff_id)?;
                noting.read.push((*diff_id, entries.clone()));
                changed.push((*diff_id, entries));
                changed.len() - 1
            }
        };
        let entries = &mut changed[position].1;
        entries.retain(|known| known != entry);
        entries.push(entry.clone());
        entries.drain(..entries.len().saturating_sub(ENTRIES_MAX));
    }
    for ((diff_id, entries), (_, before)) in changed.iter().zip(&noting.read) {
        if entries != before {
            noting.files.push((layout.metadata_by_diff_id(*diff_id), encode(entries)));
        }
    }
    let mut done = Vec::new();
    for (diff_id, entry) in seen {
        // Docker's layout has no directory for other algorithms here.
        if entry.digest.algorithm() != Algorithm::Sha256 || done.contains(&(*diff_id, entry.digest)) {
            continue;
        }
        done.push((*diff_id, entry.digest));
        let path = layout.diff_id_by_digest(entry.digest);
        let diff_id = diff_id.to_string();
        if durable::read(&path)?.as_deref() != Some(diff_id.as_bytes()) {
            noting.files.push((path, diff_id));
        }
    }
    Ok(noting)
}

/// Whether the lists are still those that the files were made from.
pub(crate) fn still_true(layout: &Layout, noting: &Noting) -> Result<bool, DiskError> {
    for (diff_id, entries) in &noting.read {
        if read(layout, *diff_id)? != *entries {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: &str = include_str!("../../../fixtures/docker/vectors.json");

    #[test]
    fn hmacs_are_those_of_the_daemons() {
        let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        let vectors = &vectors["hmac"];
        let text = |name: &str| vectors[name].as_str().unwrap();
        let anonymous = PushCredentials::default().key();
        assert_eq!(anonymous, text("key_text_anonymous"));
        let credentials = PushCredentials { username: "u<&>", password: "p w", ..Default::default() };
        for (key, expected) in
            [(anonymous, text("hmac_anonymous")), (credentials.key(), text("hmac_credentials_example"))]
        {
            let pushed = V2Metadata::pushed(text("digest").parse().unwrap(), text("source_repository"), &key);
            assert_eq!(pushed.hmac, expected);
            assert!(pushed.is_pushed_with(&key));
        }
    }

    #[test]
    fn files_are_read_as_go_reads_them() {
        assert_eq!(parse_v2_metadata(b""), None);
        assert_eq!(parse_v2_metadata(b"[]"), Some(Vec::new()));
        let digest = Digest::sha256(b"");
        let entry = format!("[{{\"Digest\":\"{digest}\",\"SourceRepository\":\"a\",\"HMAC\":\"\",\"X\":1}}]");
        assert_eq!(parse_v2_metadata(entry.as_bytes()), Some(vec![V2Metadata::pulled(digest, "a")]));
    }
}
