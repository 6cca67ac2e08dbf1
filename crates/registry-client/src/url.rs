//! A file at a URL that the user named.

use bytes::Bytes;
use http::Method;
use http::header::LAST_MODIFIED;
use reqwest::{Response, Url};

use crate::auth::Scopes;
use crate::client::{Call, Client};
use crate::error::{RedirectRefusal, RequestError};
use crate::origin::Origin;
use crate::transport::{Pace, next_chunk};

/// A file that is arriving.
#[must_use = "nothing arrives until it is read"]
pub struct UrlFile {
    response: Response,
    pace: Pace,
    host: String,
}

impl Client {
    /// Asks for the file at `url`. No credentials of a registry go there; redirects are followed, but not out of https.
    ///
    /// # Errors
    /// [`RequestError`]; one with the server's words when its status is 400 or above.
    pub async fn url_file(&self, url: &str) -> Result<UrlFile, RequestError> {
        let invalid = || RequestError::Redirect {
            host: crate::error::printable(url),
            reason: RedirectRefusal::Invalid,
        };
        let url = Url::parse(url).map_err(|_| invalid())?;
        let origin = Origin::of(&url).ok_or_else(invalid)?;
        let reply = self.follow(&origin, &Call::at(Method::GET, url, Scopes::default()), None).await?;
        if reply.status() != 200 {
            return Err(reply.into_error(&self.transport).await);
        }
        let pace = Pace::new(self.options());
        Ok(UrlFile { host: reply.host, response: reply.response, pace })
    }
}

impl UrlFile {
    /// Returns `Last-Modified` as it came.
    pub fn last_modified(&self) -> Option<&str> {
        self.response.headers().get(LAST_MODIFIED)?.to_str().ok()
    }

    /// Returns the next bytes; none at the end.
    ///
    /// # Errors
    /// [`RequestError`] when the connection broke, before the length that was announced or by a stall.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RequestError> {
        next_chunk(&mut self.response, &mut self.pace, &self.host).await
    }
}
