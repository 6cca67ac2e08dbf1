//! Names of images: `repositories.json`.
//!
//! Promise: the file is replaced as a whole, byte for byte as Docker would write it, and read again under the lock
//! before each change.
//! Not here: the grammar of references; callers bring familiar names (`alpine`, `alpine:3`, `alpine@sha256:…`).
//!
//! Source: moby `reference/store.go`.

mod known;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;
use shale_oci::{ImageId, go_json};

use crate::Store;
use crate::durable::{self, DiskError};
use crate::lock::AccessError;

pub(crate) use known::Known;

/// All names of a store at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    // Values are kept as text: one that is no digest names no image, but is not ours to delete.
    repositories: BTreeMap<String, BTreeMap<String, String>>,
}

/// A name of an image, in its familiar form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// The repository: `alpine`, `localhost:5000/app`.
    pub repository: &'a str,
    /// The whole reference: `alpine:3`, `alpine@sha256:…`.
    pub key: &'a str,
}

impl<'a> Name<'a> {
    /// Whether the name is a digest and not a tag.
    pub fn is_digest(&self) -> bool {
        self.key[self.repository.len().min(self.key.len())..].starts_with('@')
    }

    /// Whether Docker finds the name again: it is what Docker itself would have written.
    pub(crate) fn is_familiar(&self) -> bool {
        let is_long = |prefix: &str| self.repository.starts_with(prefix);
        (self.tag().or(self.digest())).is_some_and(|rest| !rest.is_empty())
            && !is_long("docker.io/")
            && !is_long("index.docker.io/")
    }

    /// Returns the tag, or `None` for a digest.
    pub fn tag(&self) -> Option<&'a str> {
        self.key.strip_prefix(self.repository)?.strip_prefix(':')
    }

    /// Returns the digest's text, or `None` for a tag.
    pub fn digest(&self) -> Option<&'a str> {
        self.key.strip_prefix(self.repository)?.strip_prefix('@')
    }
}

/// Why `repositories.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReferencesError {
    /// The content is not what Docker writes; dockerd does not start on it either.
    #[error(
        "{} is damaged ({reason}): every tag is in this file; restore it from a backup, or move it away and tag the images again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a name was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeReferencesError {
    /// The image that was to be named is not in the store.
    #[error("no such image: {0}")]
    NoSuchImage(ImageId),
    /// A digest names one image for ever.
    #[error("cannot overwrite digest {0}")]
    DigestTaken(String),
    /// The key does not belong to the repository.
    #[error("{key} is no reference of the repository {repository}")]
    Key {
        /// The repository that was given.
        repository: String,
        /// The key that was given.
        key: String,
    },
    /// The file is damaged or cannot be read.
    #[error(transparent)]
    References(#[from] ReferencesError),
    /// The store may not be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// One change of [`Store::change_references`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceChange<'a> {
    /// Points a tag at an image, whatever it pointed at.
    Tag {
        /// The repository and the key `repository:tag`.
        name: Name<'a>,
        /// The image.
        image: ImageId,
    },
    /// Notes under which digest a registry has an image; never points an existing one elsewhere.
    Digest {
        /// The repository and the key `repository@digest`.
        name: Name<'a>,
        /// The image.
        image: ImageId,
    },
    /// Takes a name away; one that is not there is no error.
    Remove {
        /// The repository and the key.
        name: Name<'a>,
    },
}

impl ReferenceChange<'_> {
    /// Returns the image that gets the name.
    pub(crate) fn image(&self) -> Option<ImageId> {
        match self {
            ReferenceChange::Tag { image, .. } | ReferenceChange::Digest { image, .. } => Some(*image),
            ReferenceChange::Remove { .. } => None,
        }
    }
}

impl References {
    /// Parses the content of `repositories.json`.
    ///
    /// # Errors
    /// What is wrong, in words; an empty file and `null`, on which dockerd does not start, are among it.
    pub fn parse(content: &[u8]) -> Result<References, String> {
        #[derive(Deserialize)]
        struct File {
            // Go matches keys without regard to case, but Docker writes this one only.
            #[serde(rename = "Repositories", default)]
            repositories: Option<BTreeMap<String, Option<BTreeMap<String, String>>>>,
        }
        match content.trim_ascii().first() {
            None => return Err("it is empty".to_owned()),
            // serde takes a list for a struct, Go does not.
            Some(b'[') => return Err("it is a list".to_owned()),
            Some(_) => {}
        }
        let file: Option<File> = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        let file = file.ok_or("it is null")?;
        let repositories = file.repositories.unwrap_or_default();
        Ok(References {
            repositories: repositories
                .into_iter()
                .map(|(repository, names)| (repository, names.unwrap_or_default()))
                .collect(),
        })
    }

    /// Returns the bytes that Docker would write.
    pub fn encode(&self) -> String {
        let mut json = String::from("{\"Repositories\":{");
        for (index, (repository, names)) in self.repositories.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            go_json::push_string(&mut json, repository);
            json.push_str(":{");
            for (index, (key, image)) in names.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                go_json::push_string(&mut json, key);
                json.push(':');
                go_json::push_string(&mut json, image);
            }
            json.push('}');
        }
        json.push_str("}}");
        json
    }

    /// Returns the image that a familiar reference names.
    pub fn image(&self, repository: &str, key: &str) -> Option<ImageId> {
        self.repositories.get(repository)?.get(key)?.parse().ok()
    }

    /// Returns all names with their images, repositories and keys in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (Name<'_>, ImageId)> {
        self.repositories.iter().flat_map(|(repository, names)| {
            names.iter().filter_map(move |(key, image)| Some((Name { repository, key }, image.parse().ok()?)))
        })
    }

    /// Returns all names with what the file says they name.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (Name<'_>, &str)> {
        self.repositories.iter().flat_map(|(repository, names)| {
            names.iter().map(move |(key, image)| (Name { repository, key }, image.as_str()))
        })
    }

    /// Returns the names of a repository in Docker's order, by full name.
    pub fn of_repository<'a>(&'a self, repository: &str) -> Vec<(Name<'a>, ImageId)> {
        let Some((repository, names)) = self.repositories.get_key_value(repository) else {
            return Vec::new();
        };
        names
            .iter()
            .filter_map(|(key, image)| Some((Name { repository, key }, image.parse().ok()?)))
            .collect()
    }

    /// Returns the names of an image in Docker's order, by full name.
    pub fn of_image(&self, image: ImageId) -> Vec<Name<'_>> {
        let text = image.to_string();
        let mut names: Vec<_> =
            self.texts().filter(|(_, named)| *named == text).map(|(name, _)| name).collect();
        sort_by_full_name(&mut names);
        names
    }

    /// Returns the names of every image that has any, each list in Docker's order.
    pub fn by_image(&self) -> HashMap<ImageId, Vec<Name<'_>>> {
        let mut by_image: HashMap<ImageId, Vec<Name<'_>>> = HashMap::new();
        for (name, image) in self.iter() {
            by_image.entry(image).or_default().push(name);
        }
        by_image.values_mut().for_each(|names| sort_by_full_name(names));
        by_image
    }

    /// Whether any name points at the image.
    pub fn names_image(&self, image: ImageId) -> bool {
        let text = image.to_string();
        self.repositories.values().any(|names| names.values().any(|named| *named == text))
    }

    /// Returns the names as they are after all `changes`.
    pub(crate) fn changed<'c>(
        &self,
        changes: impl Iterator<Item = &'c ReferenceChange<'c>>,
    ) -> Result<References, ChangeReferencesError> {
        let mut after = self.clone();
        for change in changes {
            after.apply(change)?;
        }
        Ok(after)
    }

    fn apply(&mut self, change: &ReferenceChange<'_>) -> Result<(), ChangeReferencesError> {
        match *change {
            ReferenceChange::Tag { name, image } => {
                self.insert(name, image);
            }
            ReferenceChange::Digest { name, image } => match self.image(name.repository, name.key) {
                Some(known) if known != image => {
                    return Err(ChangeReferencesError::DigestTaken(
                        name.digest().unwrap_or(name.key).to_owned(),
                    ));
                }
                Some(_) => {}
                None => self.insert(name, image),
            },
            ReferenceChange::Remove { name } => {
                if let Some(names) = self.repositories.get_mut(name.repository) {
                    names.remove(name.key);
                    if names.is_empty() {
                        self.repositories.remove(name.repository);
                    }
                }
            }
        }
        Ok(())
    }

    fn insert(&mut self, name: Name<'_>, image: ImageId) {
        let names = self.repositories.entry(name.repository.to_owned()).or_default();
        names.insert(name.key.to_owned(), image.to_string());
    }
}

fn sort_by_full_name(names: &mut [Name<'_>]) {
    names.sort_by(|a, b| full_name(a.key).cmp(&full_name(b.key)));
}

/// Returns the name with the domain that familiar names leave out.
fn full_name(key: &str) -> Cow<'_, str> {
    let repository = key.split_once('@').map_or(key, |(repository, _)| repository);
    match repository.split_once('/') {
        Some((domain, _)) if domain == "localhost" || domain.contains(['.', ':']) => Cow::Borrowed(key),
        Some(_) => Cow::Owned(format!("docker.io/{key}")),
        None => Cow::Owned(format!("docker.io/library/{key}")),
    }
}

impl Store {
    /// Returns all names; the file is parsed again only when it is another one than at the last call.
    ///
    /// # Errors
    /// [`ReferencesError`] when the file is damaged or the disk failed; a missing file holds no names.
    pub fn references(&self) -> Result<Arc<References>, ReferencesError> {
        self.names.read(&self.layout)
    }

    /// Points the tag `key` of `repository` at `image`; returns the image it pointed at before.
    ///
    /// # Errors
    /// [`ChangeReferencesError`]; nothing was changed.
    pub fn tag(
        &self,
        repository: &str,
        key: &str,
        image: ImageId,
    ) -> Result<Option<ImageId>, ChangeReferencesError> {
        let before =
            self.change_references(&[ReferenceChange::Tag { name: Name { repository, key }, image }])?;
        Ok(before.image(repository, key))
    }

    /// Notes that a registry has `image` under the digest in `key`.
    ///
    /// # Errors
    /// [`ChangeReferencesError`], among them [`ChangeReferencesError::DigestTaken`]; nothing was changed.
    pub fn add_digest(
        &self,
        repository: &str,
        key: &str,
        image: ImageId,
    ) -> Result<(), ChangeReferencesError> {
        self.change_references(&[ReferenceChange::Digest { name: Name { repository, key }, image }]).map(drop)
    }

    /// Takes the name `key` away; returns the image it named.
    ///
    /// # Errors
    /// [`ChangeReferencesError`]; nothing was changed.
    pub fn remove_reference(
        &self,
        repository: &str,
        key: &str,
    ) -> Result<Option<ImageId>, ChangeReferencesError> {
        let before = self.change_references(&[ReferenceChange::Remove { name: Name { repository, key } }])?;
        Ok(before.image(repository, key))
    }

    /// Makes all `changes`, in their order and in one rewrite of the file; returns the names as they were before.
    ///
    /// When nothing changes, nothing is written.
    ///
    /// # Errors
    /// [`ChangeReferencesError`]; nothing was changed.
    pub fn change_references(
        &self,
        changes: &[ReferenceChange<'_>],
    ) -> Result<References, ChangeReferencesError> {
        check_names(changes)?;
        let _commit = self.commit()?;
        self.change_references_locked(changes)
    }

    /// As [`Store::change_references`], for names that were checked; the caller holds the lock.
    pub(crate) fn change_references_locked(
        &self,
        changes: &[ReferenceChange<'_>],
    ) -> Result<References, ChangeReferencesError> {
        check_images(&self.layout, changes.iter())?;
        let before = read(&self.layout)?;
        let after = before.changed(changes.iter())?;
        if after != before {
            let content = after.encode();
            durable::replace(self.layout.staging(), self.layout.repositories(), content.as_bytes(), 0o600)?;
        }
        Ok(before)
    }
}

/// Refuses keys that do not belong to their repository.
pub(crate) fn check_names(changes: &[ReferenceChange<'_>]) -> Result<(), ChangeReferencesError> {
    for change in changes {
        let (ReferenceChange::Tag { name, .. }
        | ReferenceChange::Digest { name, .. }
        | ReferenceChange::Remove { name }) = change;
        let fits = match change {
            ReferenceChange::Tag { .. } => name.tag().is_some_and(|tag| !tag.is_empty()),
            ReferenceChange::Digest { .. } => name.digest().is_some_and(|digest| !digest.is_empty()),
            // Keys that are not in familiar form must be removable.
            ReferenceChange::Remove { .. } => true,
        };
        if !fits {
            let (repository, key) = (name.repository.to_owned(), name.key.to_owned());
            return Err(ChangeReferencesError::Key { repository, key });
        }
    }
    Ok(())
}

/// Refuses names for images that are not in the store; the caller holds the lock.
pub(crate) fn check_images<'c>(
    layout: &crate::layout::Layout,
    changes: impl Iterator<Item = &'c ReferenceChange<'c>>,
) -> Result<(), ChangeReferencesError> {
    for image in changes.filter_map(ReferenceChange::image) {
        if durable::metadata(&layout.content(image))?.is_none() {
            return Err(ChangeReferencesError::NoSuchImage(image));
        }
    }
    Ok(())
}

pub(crate) fn read(layout: &crate::layout::Layout) -> Result<References, ReferencesError> {
    let path = layout.repositories();
    match durable::read(&path)? {
        Some(content) => parse_file(&content, path),
        None => Ok(References::default()),
    }
}

fn parse_file(content: &[u8], path: std::path::PathBuf) -> Result<References, ReferencesError> {
    References::parse(content).map_err(|reason| ReferencesError::Damaged { path, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(byte: char) -> String {
        format!("sha256:{}", byte.to_string().repeat(64))
    }

    #[test]
    fn an_empty_store_is_docker_s_nineteen_bytes() {
        let content = References::default().encode();
        assert_eq!(content, "{\"Repositories\":{}}");
        assert_eq!(References::parse(content.as_bytes()), Ok(References::default()));
    }

    #[test]
    fn files_on_which_dockerd_does_not_start_are_damaged() {
        for content in ["", "null", "{", "{\"Repositories\":{\"a\":", "[]", "{\"Repositories\":{\"a\":3}}"] {
            assert!(References::parse(content.as_bytes()).is_err(), "{content:?}");
        }
        for content in ["{}", "{\"Repositories\":null}", "{\"Repositories\":{},\"Other\":[1]}"] {
            assert_eq!(References::parse(content.as_bytes()), Ok(References::default()), "{content:?}");
        }
    }

    #[test]
    fn names_come_in_the_order_of_their_full_names() {
        let (id, other) = (image('a'), image('b'));
        let content = format!(
            "{{\"Repositories\":{{\"127.0.0.1:5000/x\":{{\"127.0.0.1:5000/x:1\":\"{id}\"}},\
             \"a/x\":{{\"a/x:1\":\"{id}\"}},\"quay.io/x\":{{\"quay.io/x:1\":\"{id}\"}},\
             \"x\":{{\"x:1\":\"{id}\",\"x:2\":\"{other}\",\"x@{other}\":\"{id}\",\"x:bad\":\"nonsense\"}}}}}}"
        );
        let references = References::parse(content.as_bytes()).unwrap();
        let keys: Vec<_> = references.of_image(id.parse().unwrap()).iter().map(|name| name.key).collect();
        let digest = format!("x@{other}");
        assert_eq!(keys, ["127.0.0.1:5000/x:1", "a/x:1", "x:1", &digest, "quay.io/x:1"]);
        assert_eq!(references.by_image()[&id.parse().unwrap()].len(), 5);
        let of_repository = references.of_repository("x");
        assert_eq!(
            of_repository.iter().map(|(name, _)| name.is_digest()).collect::<Vec<_>>(),
            [false, false, true]
        );
        assert_eq!(references.image("x", "x:bad"), None);
        assert!(references.encode().contains("x:bad"), "what we do not understand is kept");
    }
}
