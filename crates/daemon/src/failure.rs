//! Why a request was not fulfilled, as a status and Docker's text: the one place where statuses are chosen.

mod containers;

use std::error::Error;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use shale_engine::archive::import::ImportError;
use shale_engine::archive::save::SaveError;
use shale_engine::images::filter::FilterError;
use shale_engine::images::find::FindError;
use shale_engine::images::history::HistoryError;
use shale_engine::images::inspect::InspectError;
use shale_engine::images::list::ListError;
use shale_engine::images::prune::PruneError;
use shale_engine::images::remove::RemoveError;
use shale_engine::images::tag::TagError;
use shale_engine::pull::PullError;
use shale_engine::pull::plan::PlanError;
use shale_engine::remote::RemoteError;
use shale_oci::{PlatformError, ReferenceError};
use shale_registry_client::{ClientError, LoginError, ManifestError, RequestError};

use crate::answer::{Answer, whole, with_status};

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into() }
    }

    /// The request makes no sense.
    pub(crate) fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, message)
    }

    /// What the request names is not there.
    pub(crate) fn missing(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, message)
    }

    /// Nothing that the client could change.
    pub(crate) fn internal(error: &dyn Error) -> Failure {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, chain(error))
    }

    /// As [`Failure::internal`], where there is no error but a text.
    pub(crate) fn internal_text(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    fn of(status: StatusCode, error: &dyn Error) -> Failure {
        Failure::new(status, chain(error))
    }

    pub(crate) fn answer(&self) -> Answer {
        with_status(self.status, &json!({ "message": self.message }))
    }

    /// As [`Failure::answer`], for clients of a time when errors were plain text.
    pub(crate) fn plain_answer(&self) -> Answer {
        let mut answer = whole(Bytes::from(format!("{}\n", self.message)));
        *answer.status_mut() = self.status;
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        answer
    }
}

/// Returns the error with all its causes on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // A transparent layer repeats what is below it.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Failure {
        let status = match &error {
            // dockerd takes an ID that several images begin with for one that none has.
            FindError::NoSuchImage(_) | FindError::Resolve(_) => StatusCode::NOT_FOUND,
            FindError::Reference(_) => StatusCode::BAD_REQUEST,
            FindError::References(_) | FindError::Image(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::of(status, &error)
    }
}

impl From<ListError> for Failure {
    fn from(error: ListError) -> Failure {
        match error {
            ListError::Find(error) => error.into(),
            error => Failure::internal(&error),
        }
    }
}

impl From<InspectError> for Failure {
    fn from(error: InspectError) -> Failure {
        match error {
            InspectError::Find(error) => error.into(),
            error => Failure::internal(&error),
        }
    }
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Failure {
        match error {
            HistoryError::Find(error) => error.into(),
            error => Failure::internal(&error),
        }
    }
}

impl From<TagError> for Failure {
    fn from(error: TagError) -> Failure {
        match error {
            TagError::Find(error) => error.into(),
            TagError::Reference(_, error) => error.into(),
            TagError::Digest | TagError::Ambiguous => Failure::of(StatusCode::BAD_REQUEST, &error),
            TagError::References(_) | TagError::Metadata(_) => Failure::internal(&error),
        }
    }
}

impl From<RemoveError> for Failure {
    fn from(error: RemoveError) -> Failure {
        match error {
            RemoveError::Find(error) => error.into(),
            RemoveError::Conflict { .. } | RemoveError::ReferenceInUse { .. } => {
                Failure::of(StatusCode::CONFLICT, &error)
            }
            error => Failure::internal(&error),
        }
    }
}

impl From<PruneError> for Failure {
    fn from(error: PruneError) -> Failure {
        match error {
            PruneError::Filter(name) => Failure::invalid(format!("invalid filter '{name}'")),
            PruneError::List(error) => error.into(),
            PruneError::Remove(error) => error.into(),
        }
    }
}

impl From<SaveError> for Failure {
    fn from(error: SaveError) -> Failure {
        let status = match &error {
            SaveError::NoSuchReference | SaveError::NoSuchImage(_) | SaveError::Resolve(_) => {
                StatusCode::NOT_FOUND
            }
            SaveError::Reference(_) => StatusCode::BAD_REQUEST,
            SaveError::Platform { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::of(status, &error)
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Failure {
        match &error {
            ImportError::Change(_) | ImportError::OperatingSystem(_) => {
                Failure::of(StatusCode::BAD_REQUEST, &error)
            }
            _ => Failure::internal(&error),
        }
    }
}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Failure {
        match error {
            FilterError::Unknown(name) => Failure::invalid(format!("invalid filter '{name}'")),
            FilterError::Value { name, value, .. } => {
                Failure::invalid(format!("invalid filter '{name}=[{value}]'"))
            }
            error => Failure::of(StatusCode::BAD_REQUEST, &error),
        }
    }
}

impl From<ReferenceError> for Failure {
    fn from(error: ReferenceError) -> Failure {
        Failure::of(StatusCode::BAD_REQUEST, &error)
    }
}

impl From<PlatformError> for Failure {
    fn from(error: PlatformError) -> Failure {
        Failure::of(StatusCode::BAD_REQUEST, &error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::internal(&error)
    }
}

impl From<PullError> for Failure {
    fn from(error: PullError) -> Failure {
        match error {
            PullError::Remote(error) => error.into(),
            PullError::Plan(PlanError::OperatingSystem(_)) => Failure::of(StatusCode::BAD_REQUEST, &error),
            error => Failure::internal(&error),
        }
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Failure {
        match &error {
            RemoteError::Manifest(ManifestError::NotFound { .. })
            | RemoteError::NoMatchingPlatform { .. } => Failure::of(StatusCode::NOT_FOUND, &error),
            _ => Failure::internal(&error),
        }
    }
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Failure {
        Failure::internal(&error)
    }
}

/// Words a refusal by a registry as dockerd does: a repository that may not be seen is said to be missing.
pub(crate) fn access_denied(error: PullError, repository: &str) -> Failure {
    let PullError::Remote(RemoteError::Manifest(ManifestError::Request(request))) = &error else {
        return error.into();
    };
    match request {
        RequestError::Unauthorized { answer, .. } | RequestError::Denied { answer, .. } => {
            Failure::missing(format!(
                "pull access denied for {repository}, repository does not exist or may require 'docker login': {answer}"
            ))
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_stand_behind_each_other_and_once() {
        let cause = std::io::Error::other("disk on fire");
        let error = shale_registry_client::OptionsError::Read { path: "/x".into(), source: cause };
        assert_eq!(Failure::internal(&error).message, "could not read /x: disk on fire");
    }
}
