//! Taking names and images away, by Docker's rules.
//!
//! Source: moby daemon/images/image_delete.go at v20.10.24.

use std::collections::BTreeSet;

use shale_oci::{ImageId, Reference};
use shale_store::{
    ChangeReferencesError, Container, DiskError, ImageError, Name, ReferencesError, RemoveImageError,
};

use super::find::{FindError, key};
use crate::Engine;

/// How to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remove {
    /// Also what several names or a stopped container use.
    pub force: bool,
    /// Also parents that nobody else needs.
    pub prune: bool,
}

/// Something that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name, in its familiar form.
    Untagged(String),
    /// An image or a layer.
    Deleted(String),
}

/// Why something was not removed. The messages are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Nothing of that name.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A container needs the image that the last name points at.
    #[error(
        "conflict: unable to remove repository reference {reference:?} (must force) - container {container} is using its referenced image {image}"
    )]
    ReferenceInUse {
        /// What was typed.
        reference: String,
        /// The container's short ID.
        container: String,
        /// The image's short ID.
        image: String,
    },
    /// Something needs the image.
    #[error("conflict: unable to delete {image} ({}) - {reason}", force_hint(*.can_be_forced))]
    Conflict {
        /// The image's short ID.
        image: String,
        /// What needs it.
        reason: Conflict,
        /// Whether `--force` helps.
        can_be_forced: bool,
    },
    /// The names could not be read.
    #[error(transparent)]
    References(#[from] ReferencesError),
    /// A name could not be taken away.
    #[error(transparent)]
    ChangeReferences(#[from] ChangeReferencesError),
    /// The image could not be looked at.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image could not be deleted.
    #[error(transparent)]
    Remove(#[from] RemoveImageError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What needs an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Another image was built upon it.
    #[error("image has dependent child images")]
    Children,
    /// A container that runs.
    #[error("image is being used by running container {0}")]
    Running(String),
    /// Several names.
    #[error("image is referenced in multiple repositories")]
    Names,
    /// A container that does not run.
    #[error("image is being used by stopped container {0}")]
    Stopped(String),
}

fn force_hint(can_be_forced: bool) -> &'static str {
    if can_be_forced { "must be forced" } else { "cannot be forced" }
}

/// Which conflicts count.
#[derive(Clone, Copy)]
struct Concerns {
    names: bool,
    stopped: bool,
}

impl Engine {
    /// Removes what `text` names: a name, and the image with its last name; or, given an ID, the image.
    ///
    /// # Errors
    /// [`RemoveError`]; names that were taken away before stay away.
    pub fn remove(&self, text: &str, remove: Remove) -> Result<Vec<Removed>, RemoveError> {
        let image = self.find_image(text)?.id;
        let mut removed = Vec::new();
        let is_by_name = !is_id_prefix(image, text);
        if is_by_name {
            self.refuse_orphaning(image, text, remove.force)?;
            let reference = Reference::parse(text).map_err(FindError::from)?.or_latest();
            self.untag_by_name(image, &reference, &mut removed)?;
            if self.store.references()?.names_image(image) {
                return Ok(removed);
            }
        } else if is_single(&self.names_of(image)?) {
            self.refuse_conflict(image, Concerns { names: false, stopped: !remove.force })?;
            self.untag_all(image, &mut removed)?;
        }
        match self.delete(image, remove, is_by_name, &mut removed) {
            // Another process was quicker, or names it now; the names are gone as was asked.
            Err(RemoveError::Remove(RemoveImageError::NoSuchImage(_) | RemoveImageError::Referenced(_)))
                if !removed.is_empty() =>
            {
                Ok(removed)
            }
            deleted => deleted.map(|()| removed),
        }
    }

    /// Removes an image that has no name, and each parent that nobody needs.
    ///
    /// # Errors
    /// [`RemoveError`]; a name that it got meanwhile is not taken away.
    pub(super) fn remove_unnamed(&self, image: ImageId) -> Result<Vec<Removed>, RemoveError> {
        let mut removed = Vec::new();
        self.delete(image, Remove { force: false, prune: true }, false, &mut removed)?;
        Ok(removed)
    }

    fn names_of(&self, image: ImageId) -> Result<Vec<(String, String)>, ReferencesError> {
        let references = self.store.references()?;
        let names = references.of_image(image);
        Ok(names.into_iter().map(|name| (name.repository.to_owned(), name.key.to_owned())).collect())
    }

    /// Refuses to take the last name of an image that a container uses.
    fn refuse_orphaning(&self, image: ImageId, text: &str, force: bool) -> Result<(), RemoveError> {
        if force || !is_single(&self.names_of(image)?) {
            return Ok(());
        }
        match self.containers_of(image)?.first() {
            Some(container) => Err(RemoveError::ReferenceInUse {
                reference: text.to_owned(),
                container: short(container),
                image: image.short(),
            }),
            None => Ok(()),
        }
    }

    /// Takes a name away and, with the last tag of a repository, the digests that came with it.
    fn untag_by_name(
        &self,
        image: ImageId,
        reference: &Reference,
        removed: &mut Vec<Removed>,
    ) -> Result<(), RemoveError> {
        let repository = reference.repository.familiar();
        self.untag(repository, &key(reference), removed)?;
        if reference.digest.is_some() {
            return Ok(());
        }
        let names = self.names_of(image)?;
        let of_repository: Vec<_> = names.iter().filter(|(name, _)| name == repository).collect();
        if of_repository.iter().all(|(repository, key)| is_digest(repository, key)) {
            for (repository, key) in of_repository {
                self.untag(repository, key, removed)?;
            }
        }
        Ok(())
    }

    fn untag_all(&self, image: ImageId, removed: &mut Vec<Removed>) -> Result<(), RemoveError> {
        for (repository, key) in self.names_of(image)? {
            self.untag(&repository, &key, removed)?;
        }
        Ok(())
    }

    fn untag(&self, repository: &str, key: &str, removed: &mut Vec<Removed>) -> Result<(), RemoveError> {
        self.store.remove_reference(repository, key)?;
        removed.push(Removed::Untagged(key.to_owned()));
        Ok(())
    }

    /// Deletes an image and then, if asked to, each parent that nobody needs.
    ///
    /// A quiet delete keeps an image that is needed and says nothing, unless nobody could get rid of it otherwise.
    fn delete(
        &self,
        image: ImageId,
        remove: Remove,
        is_quiet: bool,
        removed: &mut Vec<Removed>,
    ) -> Result<(), RemoveError> {
        let (mut image, mut force, mut is_quiet) = (image, remove.force, is_quiet);
        loop {
            match self.refuse_conflict(image, Concerns { names: !force, stopped: !force }) {
                Ok(()) => {}
                Err(RemoveError::Conflict { reason, .. }) if is_quiet && self.may_stay(image, &reason)? => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            let parent = self.store.image(image).ok().flatten().and_then(|found| found.parent);
            // Without force it had no name a moment ago; one that it got since is not taken away.
            if force {
                self.untag_all(image, removed)?;
            }
            let gone = self.store.remove_image(image)?;
            removed.push(Removed::Deleted(gone.id.to_string()));
            removed.extend(gone.layers.iter().map(|chain| Removed::Deleted(chain.to_string())));
            match parent {
                Some(parent) if remove.prune && matches!(self.store.image(parent), Ok(Some(_))) => {
                    image = parent
                }
                _ => return Ok(()),
            }
            (force, is_quiet) = (false, true);
        }
    }

    /// Whether a quiet delete leaves the image: it is in use, or it still has a name or children.
    fn may_stay(&self, image: ImageId, reason: &Conflict) -> Result<bool, RemoveError> {
        let is_used = matches!(reason, Conflict::Running(_) | Conflict::Stopped(_));
        Ok(is_used || self.store.references()?.names_image(image) || self.has_children(image)?)
    }

    fn refuse_conflict(&self, image: ImageId, concerns: Concerns) -> Result<(), RemoveError> {
        let conflict = |reason, can_be_forced| {
            Err(RemoveError::Conflict { image: image.short(), reason, can_be_forced })
        };
        if self.has_children(image)? {
            return conflict(Conflict::Children, false);
        }
        let containers = self.containers_of(image)?;
        if let Some(running) = containers.iter().find(|container| container.state.running) {
            return conflict(Conflict::Running(short(running)), false);
        }
        if concerns.names && self.store.references()?.names_image(image) {
            return conflict(Conflict::Names, true);
        }
        match containers.first() {
            Some(stopped) if concerns.stopped => conflict(Conflict::Stopped(short(stopped)), true),
            _ => Ok(()),
        }
    }

    fn has_children(&self, image: ImageId) -> Result<bool, DiskError> {
        let images = self.store.images()?;
        Ok(images.iter().any(|stored| stored.image.as_ref().is_ok_and(|found| found.parent == Some(image))))
    }

    fn containers_of(&self, image: ImageId) -> Result<Vec<Container>, DiskError> {
        let mut containers = self.store.containers()?;
        containers.retain(|container| container.image == Some(image));
        Ok(containers)
    }
}

/// Whether all names are of one repository with at most one tag among them.
fn is_single(names: &[(String, String)]) -> bool {
    let tags = names.iter().filter(|(repository, key)| !is_digest(repository, key)).count();
    let repositories: BTreeSet<&str> = names.iter().map(|(repository, _)| repository.as_str()).collect();
    names.len() <= 1 || (tags <= 1 && repositories.len() == 1)
}

fn is_digest(repository: &str, key: &str) -> bool {
    Name { repository, key }.is_digest()
}

fn is_id_prefix(image: ImageId, text: &str) -> bool {
    image.to_string().starts_with(text) || image.hex().starts_with(text)
}

fn short(container: &Container) -> String {
    container.id.chars().take(12).collect()
}
