//! Who asks, and what they may do.

use crate::name::RepositoryName;

/// What somebody wants to do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read.
    Pull,
    /// Add and overwrite.
    Push,
    /// Remove.
    Delete,
}

/// The one who sent a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Their name; nobody who gave none has one.
    pub user: Option<String>,
}

/// How identities are established and what they may do.
#[derive(Debug, Default)]
pub struct Access;

impl Access {
    /// Returns whether `identity` may do `action` with `repository`.
    pub fn allows(&self, _identity: &Identity, _repository: &RepositoryName, _action: Action) -> bool {
        true
    }
}
