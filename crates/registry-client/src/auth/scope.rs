//! What a token shall allow.

use std::fmt;

use shale_oci::Repository;

/// Most scopes of a challenge that are added to those of the operation.
const ASKED_FOR_MAX: usize = 4;

/// One resource and the actions on it: `repository:library/alpine:pull,push`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope {
    resource: String,
    actions: Vec<String>,
}

/// What one request needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Scopes(Vec<Scope>);

impl Scope {
    fn parse(text: &str) -> Option<Scope> {
        let (resource, actions) = text.rsplit_once(':')?;
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain(resource) || !resource.contains(':') || !plain(actions) {
            return None;
        }
        Some(Scope {
            resource: resource.to_owned(),
            actions: actions.split(',').map(str::to_owned).collect(),
        })
    }

    fn covers(&self, other: &Scope) -> bool {
        self.resource == other.resource && other.actions.iter().all(|action| self.actions.contains(action))
    }
}

impl Scopes {
    /// Reads a repository.
    pub(crate) fn pull(repository: &Repository) -> Scopes {
        Scopes::repository(repository, &["pull"])
    }

    /// Writes to a repository.
    pub(crate) fn push(repository: &Repository) -> Scopes {
        Scopes::repository(repository, &["pull", "push"])
    }

    /// Deletes from a repository.
    pub(crate) fn delete(repository: &Repository) -> Scopes {
        Scopes::repository(repository, &["delete"])
    }

    /// Lists the repositories of a registry.
    pub(crate) fn catalog() -> Scopes {
        Scopes(vec![Scope { resource: "registry:catalog".to_owned(), actions: vec!["*".to_owned()] }])
    }

    /// Adds the reading of another repository, for a mount.
    pub(crate) fn and_pull(mut self, repository: &Repository) -> Scopes {
        self.0.extend(Scopes::pull(repository).0);
        self.0.sort();
        self
    }

    fn repository(repository: &Repository, actions: &[&str]) -> Scopes {
        let actions = actions.iter().map(|&action| action.to_owned()).collect();
        Scopes(vec![Scope { resource: format!("repository:{}", repository.path()), actions }])
    }

    /// Adds the scopes that a challenge asks for.
    ///
    /// A registry behind a proxy may know the repository by another name. Only actions that the operation needs anyway
    /// are taken over: a registry cannot talk a reader into a token that writes.
    pub(crate) fn with_asked_for(&self, text: &str) -> Scopes {
        let mut scopes = self.clone();
        let needed = |action: &String| self.0.iter().any(|scope| scope.actions.contains(action));
        for asked in text.split(' ').filter_map(Scope::parse).take(ASKED_FOR_MAX) {
            if asked.actions.iter().all(needed) && !scopes.0.iter().any(|scope| scope.covers(&asked)) {
                scopes.0.push(asked);
            }
        }
        scopes
    }

    /// Returns whether a token for these serves a request that needs `other`.
    pub(crate) fn cover(&self, other: &Scopes) -> bool {
        other.0.iter().all(|wanted| self.0.iter().any(|scope| scope.covers(wanted)))
    }

    /// Returns each scope as text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(Scope::to_string)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource, self.actions.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_token_serves_a_narrower_request() {
        let repository = Repository::parse("h:5000/a/b").unwrap();
        let (pull, push) = (Scopes::pull(&repository), Scopes::push(&repository));
        assert!(push.cover(&pull) && !pull.cover(&push));
        assert_eq!(push.texts().collect::<Vec<_>>(), ["repository:a/b:pull,push"]);
    }

    #[test]
    fn a_challenge_cannot_widen_the_actions() {
        let repository = Repository::parse("h:5000/a/b").unwrap();
        let texts = |text| Scopes::pull(&repository).with_asked_for(text).texts().collect::<Vec<_>>();
        assert_eq!(texts("repository:a/b:pull"), ["repository:a/b:pull"]);
        assert_eq!(texts("repository:cache/a/b:pull"), ["repository:a/b:pull", "repository:cache/a/b:pull"]);
        assert_eq!(texts("repository:victim/x:pull,push registry:catalog:* x"), ["repository:a/b:pull"]);
    }
}
