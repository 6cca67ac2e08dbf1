//! A file from any web server: redirects followed, TLS checked, bounded in time by its pace.
//!
//! Not here: credentials; what somebody keeps for a registry is never sent to another server.

use http::header::{LAST_MODIFIED, LOCATION};
use http::{HeaderMap, Method};
use reqwest::Url;

use crate::client::Client;
use crate::error::RequestError;
use crate::origin::{Origin, Scheme};
use crate::transport::{Pace, next_chunk};

/// Redirects followed at most, as Go's client does.
const REDIRECTS_MAX: usize = 10;

/// Why a file was not downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// It is no `http` or `https` URL.
    #[error("{0:?} is no http or https URL")]
    Url(String),
    /// The server could not be reached, or broke off.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The server does not have it.
    #[error("{url} answered with status {status}")]
    Status {
        /// The last URL.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The redirects have no end.
    #[error("stopped after {REDIRECTS_MAX} redirects")]
    Redirects,
    /// A redirect would go on without TLS.
    #[error("{0} leads from https to http")]
    Downgrade(String),
    /// What came could not be stored.
    #[error("could not write what was downloaded")]
    Write(#[source] std::io::Error),
}

/// What a server said of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Downloaded {
    /// `Last-Modified` as it came.
    pub last_modified: Option<String>,
}

impl Client {
    /// Fetches `url` and hands its bytes to `write`, piece by piece.
    ///
    /// # Errors
    /// [`DownloadError`]; some pieces may have been handed over.
    pub async fn download(
        &self,
        url: &str,
        write: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send),
    ) -> Result<Downloaded, DownloadError> {
        let bad = || DownloadError::Url(url.to_owned());
        let mut next = Url::parse(url).map_err(|_| bad())?;
        for _ in 0..=REDIRECTS_MAX {
            let origin = Origin::of(&next).ok_or_else(bad)?;
            let host = origin.authority();
            let answer =
                self.transport.send(&origin, &origin, Method::GET, next.clone(), HeaderMap::new(), None);
            let mut answer = answer.await?;
            let status = answer.status();
            let header =
                |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            if status.is_redirection() {
                let refused = || DownloadError::Status { url: next.to_string(), status: status.as_u16() };
                let target =
                    header(LOCATION).and_then(|target| next.join(&target).ok()).ok_or_else(refused)?;
                let leads_to = Origin::of(&target).ok_or_else(bad)?;
                if origin.scheme() == Scheme::Https && leads_to.scheme() == Scheme::Http {
                    return Err(DownloadError::Downgrade(target.to_string()));
                }
                next = target;
                continue;
            }
            if !status.is_success() {
                return Err(DownloadError::Status { url: next.to_string(), status: status.as_u16() });
            }
            let downloaded = Downloaded { last_modified: header(LAST_MODIFIED) };
            let mut pace = Pace::new(self.transport.options());
            while let Some(chunk) = next_chunk(&mut answer, &mut pace, &host).await? {
                write(&chunk).map_err(DownloadError::Write)?;
            }
            return Ok(downloaded);
        }
        Err(DownloadError::Redirects)
    }
}
