//! Why a build failed.

use std::path::PathBuf;

use shale_dockerfile::{Dialect, ParseError, PlanError, ResolveError, Span};
use shale_store::{
    BeginLayerError, DiskError, FinishLayerError, HoldError, ImageError, MountError, PublishError,
    PublishImagesError, PutImageError,
};

use crate::context::ContextError;
use crate::owner::OwnerError;

/// Why a build failed; the text is Docker's where Docker has one.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The text is no Dockerfile.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The stages do not fit together.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A step's words make no sense.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// `RUN` ended with another code than 0.
    #[error("The command '{command}' returned a non-zero code: {code}")]
    Run {
        /// The words, joined.
        command: String,
        /// The exit code.
        code: i32,
    },
    /// `RUN` did not start.
    #[error("{0}")]
    Start(#[source] Box<shale_runtime::RunError>),
    /// There is no OCI runtime.
    #[error(transparent)]
    Runtime(#[from] shale_runtime::FindError),
    /// `COPY` or `ADD` could not be done.
    #[error("{keyword} failed: {fault}")]
    Copy {
        /// `COPY` or `ADD`
        keyword: &'static str,
        /// Why.
        fault: CopyFault,
    },
    /// A git repository cannot be had.
    #[error(transparent)]
    Git(#[from] crate::git::GitError),
    /// `--chown` names nobody.
    #[error("unable to convert uid/gid chown string to host mapping: {0}")]
    Owner(#[from] OwnerError),
    /// A base image cannot be had.
    #[error("{error}{hint}")]
    Base {
        /// What the caller's way of finding images said.
        error: crate::ports::PortError,
        /// The stage that could have been meant; with a leading blank, or empty.
        hint: String,
    },
    /// An image that was there is gone.
    #[error("No such image: {0}")]
    ImageGone(shale_oci::ImageId),
    /// The config of a base image cannot be read.
    #[error(transparent)]
    Config(#[from] shale_oci::ConfigError),
    /// The Dockerfile makes no image.
    #[error("No image was generated. Is your Dockerfile empty?")]
    NoImage,
    /// What this builder does not do.
    #[error("{0}")]
    Unsupported(String),
    /// Another stage failed.
    #[error("another stage failed")]
    Cancelled,
    /// The working directory is empty.
    #[error("cannot normalize nothing")]
    EmptyWorkdir,
    /// The working directory is, or is below, something else.
    #[error("Cannot mkdir: {0} is not a directory")]
    WorkdirNotDirectory(String),
    /// A mount of `RUN`.
    #[error("{0}")]
    Mount(String),
    /// The context or the Dockerfile cannot be read.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The disk failed.
    #[error("could not {action} {}", path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A layer could not be packed.
    #[error(transparent)]
    Pack(#[from] shale_rootfs::PackError),
    /// A layer could not be laid upon another one.
    #[error(transparent)]
    Unpack(shale_rootfs::UnpackError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the store said.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each is the error of one call of the store.
pub enum StoreError {
    #[error(transparent)]
    Begin(#[from] BeginLayerError),
    #[error(transparent)]
    Finish(#[from] FinishLayerError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    PutImage(#[from] PutImageError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Hold(#[from] HoldError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Turns the store's errors into the builder's with `?`.
macro_rules! from_store {
    ($($error:ty),*) => {$(
        impl From<$error> for BuildError {
            fn from(error: $error) -> BuildError {
                BuildError::Store(error.into())
            }
        }
    )*};
}

/// The variants are those of its parts.
impl From<PublishImagesError> for BuildError {
    fn from(error: PublishImagesError) -> BuildError {
        match error {
            PublishImagesError::Layers(error) => error.into(),
            PublishImagesError::Image(error) => error.into(),
        }
    }
}

from_store!(
    BeginLayerError,
    FinishLayerError,
    PublishError,
    PutImageError,
    ImageError,
    HoldError,
    MountError,
    DiskError
);

/// Why files were not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyFault {
    /// There is no such file, or an ignore rule hides it.
    #[error(
        "file not found in build context or excluded by .dockerignore: stat {name}: file does not exist{hint}"
    )]
    NotFound {
        /// As the Dockerfile names it.
        name: String,
        /// What could have been meant; with a leading blank, or empty.
        hint: String,
    },
    /// The path leads above the root.
    #[error("forbidden path outside the build context: {0} ()")]
    Outside(String),
    /// A wildcard matched nothing.
    #[error("no source files were specified")]
    NothingMatched,
    /// The wildcard is malformed.
    #[error("syntax error in pattern")]
    Pattern,
    /// Several sources and a destination that is no directory.
    #[error(
        "When using {0} with more than one source file, the destination must be a directory and end with a /"
    )]
    DestinationNotDirectory(&'static str),
    /// The destination is a file.
    #[error("cannot copy to non-directory: {0}")]
    NotDirectory(String),
    /// An archive cannot be unpacked.
    #[error("could not unpack {name}: {source}")]
    Unpack {
        /// The archive.
        name: String,
        /// Why.
        source: Box<shale_rootfs::UnpackError>,
    },
    /// The disk failed.
    #[error("{action} {name}: {source}")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// The path inside the context or image.
        name: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// What is at a URL cannot be had.
    #[error("{0}")]
    Download(crate::ports::PortError),
    /// A URL ends in no name, and the destination is a directory.
    #[error("cannot determine filename from url: {0}")]
    NoName(String),
    /// `--checksum` is that of something else.
    #[error("digest mismatch for {url}: it is {found}, but {expected} was asked for")]
    Checksum {
        /// Where it comes from.
        url: String,
        /// As written.
        expected: String,
        /// That of what came.
        found: String,
    },
    /// The mode of `--chmod` is malformed.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Mode(String),
}

impl BuildError {
    /// Returns the exit code of the program: the code of a failed `RUN`, as docker's, and 1 for all else.
    pub fn exit_code(&self) -> u8 {
        match self {
            BuildError::Run { code, .. } => u8::try_from(*code).ok().filter(|code| *code != 0).unwrap_or(1),
            _ => 1,
        }
    }

    /// Returns Docker's message.
    pub fn docker_message(&self, dialect: Dialect) -> String {
        match self {
            BuildError::Parse(error) => error.docker_message(dialect),
            BuildError::Plan(error) => error.docker_message(dialect),
            BuildError::Resolve(error) => error.docker_message(dialect),
            BuildError::Copy { fault: fault @ CopyFault::DestinationNotDirectory(_), .. } => {
                fault.to_string()
            }
            BuildError::Copy { keyword, fault: CopyFault::Download(error) } => {
                format!("{keyword} failed: {}", chain(error.as_ref()))
            }
            BuildError::Start(error) => chain(error.as_ref()),
            BuildError::Base { error, hint } => format!("{}{hint}", chain(error.as_ref())),
            error => error.to_string(),
        }
    }

    /// Returns the place in the Dockerfile that the error itself knows.
    pub fn span(&self) -> Option<Span> {
        match self {
            BuildError::Parse(error) => Some(error.span),
            BuildError::Plan(error) => error.span,
            BuildError::Resolve(error) => Some(error.span),
            _ => None,
        }
    }
}

/// Returns an error and its causes, each one once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = next.source();
    }
    text
}
