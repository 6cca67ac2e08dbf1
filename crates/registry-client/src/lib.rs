//! A client of the OCI distribution specification.
//!
//! Promise: credentials go to the origin that they belong to and nowhere else; every answer is read within a bound of
//! bytes and of time that was set before; what a server writes is escaped before it can reach a terminal; a request
//! that broke is repeated, and a blob goes on at the byte where it stopped, as long as there is progress.
//!
//! [`auth::realm`] says which token servers a registry may name. Registries are spoken to over HTTP/1.1, as dockerd
//! does, with TLS unless they are on loopback or listed as insecure.
//!
//! Not here: the layout of any store, printing, the meaning of manifests, Docker's API.

pub mod auth;
mod blob;
mod client;
pub mod credentials;
mod endpoint;
mod error;
pub mod header;
mod index;
mod list;
mod login;
mod manifest;
mod network;
mod options;
mod origin;
mod proxy;
mod retry;
mod secret;
mod tls;
mod transport;
mod url;

pub use blob::{
    BlobError, BlobSource, BlobStream, ByteStream, FileSource, HashedBlob, MadeBlob, Mount, Upload,
    UploadError,
};
pub use client::{Client, ClientError};
pub use endpoint::Source;
pub use error::{
    Answer, AnswerError, CertificateError, NetworkError, NetworkFault, RedirectRefusal, RequestError,
};
pub use index::IndexEntry;
pub use list::ListError;
pub use login::{LoginError, LoginResult};
pub use manifest::{DeleteError, ManifestError, ManifestHead, ManifestResponse, PutManifestError};
pub use network::Network;
pub use options::{
    ClientOptions, DOCKER_HUB, Event, InsecureRegistry, Limits, Lookup, Observer, OptionsError, Proxies,
    Retries, Timeouts,
};
pub use origin::{Origin, Scheme};
pub use secret::Secret;
pub use url::UrlFile;
