//! Uploads: at once, in a stream, and by mounting what another repository has.

use std::io;
use std::sync::Mutex;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderValue, Method};
use reqwest::Url;
use shale_oci::{Descriptor, Digest, ErrorCode, Repository};

use crate::auth::{Scopes, realm};
use crate::blob::body::Progress;
use crate::blob::source::{BlobSource, ByteStream, Described, MadeBlob};
use crate::client::{Call, CallBody, ClaimedDigest, Client, Reply};
use crate::endpoint::Endpoint;
use crate::error::{Answer, NetworkError, NetworkFault, RedirectRefusal, RequestError};
use crate::header::content_range;
use crate::origin::{Origin, Scheme};
use crate::retry::Failure;

/// Blobs up to this length go in the closing request itself: one round trip less, and little to send again.
const SINGLE_PUT_BYTES_MAX: u64 = 1 << 20;

/// Why a blob did not get there.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The bytes that arrived are not those of the digest.
    #[error("{host} received other bytes than those of {digest}: {answer}")]
    DigestRefused {
        /// The registry.
        host: String,
        /// Which blob.
        digest: Digest,
        /// What the registry said.
        answer: Answer,
    },
    /// The registry stored the bytes under another digest.
    #[error("{host} stored the blob as {actual}, not as {expected}")]
    DigestMismatch {
        /// The registry.
        host: String,
        /// The digest of the blob.
        expected: Digest,
        /// What the registry says.
        actual: Digest,
    },
    /// The registry, or a proxy before it, does not take blobs this large.
    #[error("{host} does not take a blob this large: {answer}")]
    TooLarge {
        /// Who said so.
        host: String,
        /// What it said.
        answer: Answer,
    },
    /// The bytes could not be read.
    #[error("could not read the blob to upload")]
    Source {
        /// Why.
        source: io::Error,
    },
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// What a mount came to.
#[must_use = "an upload that was started waits for its bytes"]
pub enum Mount {
    /// The blob is in the repository now.
    Mounted,
    /// The registry wants the bytes after all.
    UploadStarted(Box<Upload>),
}

/// An open upload.
#[must_use = "an upload that is not finished leaves nothing but a draft"]
pub struct Upload {
    client: Client,
    endpoint: Endpoint,
    repository: Repository,
    location: Url,
    /// Bytes that the registry has, as far as is known.
    received: u64,
    /// The closing request was sent.
    is_closing: bool,
}

impl Client {
    /// Opens an upload.
    ///
    /// # Errors
    /// When the registry does not open one.
    ///
    /// Source: distribution-spec v1.1, "Pushing blobs".
    pub async fn start_upload(&self, repository: &Repository) -> Result<Upload, UploadError> {
        Ok(self.open_upload(repository).await?)
    }

    async fn open_upload(&self, repository: &Repository) -> Result<Upload, RequestError> {
        let path = uploads_path(repository);
        let reply = self.post(repository, path, Scopes::push(repository)).await?;
        match reply.0.status() {
            202 => self.opened(repository, reply).await,
            _ => Err(reply.0.into_error(&self.transport).await),
        }
    }

    /// Lets the repository have a blob that another repository of the same registry has; where that fails, an upload
    /// is open.
    ///
    /// # Errors
    /// When neither works.
    ///
    /// Source: distribution-spec v1.1, "Mounting a blob from another repository".
    pub async fn mount_blob(
        &self,
        repository: &Repository,
        digest: Digest,
        from: &Repository,
    ) -> Result<Mount, UploadError> {
        if from.domain() != repository.domain() {
            return Ok(Mount::UploadStarted(self.start_upload(repository).await?.into()));
        }
        let path = format!("{}?mount={digest}&from={}", uploads_path(repository), from.path());
        let scopes = Scopes::push(repository).and_pull(from);
        let reply = match self.post(repository, path, scopes).await {
            // The other repository is none of ours: the bytes themselves may still be welcome.
            Err(error) if error.is_refusal() => {
                return Ok(Mount::UploadStarted(self.start_upload(repository).await?.into()));
            }
            reply => reply?,
        };
        match reply.0.status() {
            201 => Ok(Mount::Mounted),
            202 => Ok(Mount::UploadStarted(self.opened(repository, reply).await?.into())),
            403..=405 => Ok(Mount::UploadStarted(self.start_upload(repository).await?.into())),
            _ => Err(reply.0.into_error(&self.transport).await.into()),
        }
    }

    /// Uploads a blob of known digest and length.
    ///
    /// After a broken connection it goes on with the byte that the registry wants next, as long as there is progress.
    /// Does not ask whether the blob is there; see [`Client::blob_exists`].
    ///
    /// # Errors
    /// [`UploadError::Source`] when the blob cannot be read; [`UploadError::DigestRefused`] when it is another one than
    /// the descriptor says.
    pub async fn upload_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
    ) -> Result<(), UploadError> {
        self.start_upload(repository).await?.send(descriptor, source).await
    }

    async fn post(
        &self,
        repository: &Repository,
        path: String,
        scopes: Scopes,
    ) -> Result<(Reply, Endpoint), RequestError> {
        let endpoint = self.writer(repository)?;
        let call = Call::new(Method::POST, path, scopes).header(CONTENT_LENGTH, "0").body(Bytes::new());
        let reply = self.call(&endpoint, UPLOAD, &call).await?;
        Ok((reply, endpoint))
    }

    async fn opened(
        &self,
        repository: &Repository,
        (reply, endpoint): (Reply, Endpoint),
    ) -> Result<Upload, RequestError> {
        let home = self.transport.locate(&endpoint).await?;
        let base = home.url(&uploads_path(repository));
        let location = reply.response.headers().get(LOCATION);
        let location = upload_location(&home, &base, location)
            .map_err(|reason| RequestError::Redirect { host: home.authority(), reason })?;
        Ok(Upload {
            client: self.clone(),
            endpoint,
            repository: repository.clone(),
            location,
            received: 0,
            is_closing: false,
        })
    }
}

impl Upload {
    /// Sends a blob of known digest and length from its begin, and finishes the upload.
    ///
    /// # Errors
    /// As [`Client::upload_blob`].
    pub async fn send(self, descriptor: &Descriptor, source: &dyn BlobSource) -> Result<(), UploadError> {
        self.send_made(&Described { descriptor, source }).await
    }

    /// Sends a blob that is made on the way, and finishes the upload under the digest that it then has.
    ///
    /// After an error of the source the upload is given back.
    ///
    /// # Errors
    /// As [`Client::upload_blob`].
    pub async fn send_made(mut self, blob: &dyn MadeBlob) -> Result<(), UploadError> {
        let client = self.client.clone();
        let mut tries = client.tries(&self.endpoint);
        let mut most_received = 0;
        let mut result = self.send_rest(blob).await;
        loop {
            let error = match result {
                Ok(()) => return Ok(()),
                Err(Fault::Passing(error)) => error,
                Err(Fault::Final(error)) => {
                    if matches!(error, UploadError::Source { .. }) {
                        let _ = self.cancel().await;
                    }
                    return Err(error);
                }
            };
            let progress = self.received.saturating_sub(most_received);
            most_received = most_received.max(self.received);
            let subject =
                blob.descriptor().map_or_else(|| UPLOAD.to_owned(), |known| known.digest.to_string());
            let host = self.endpoint.name.clone();
            let failure = Failure { host: &host, subject: &subject, error };
            tries.again(&client.transport, progress, failure, |event| client.notify(event)).await?;
            result = self.resume(blob).await;
        }
    }

    /// Asks where to go on, and does; opens another upload when this one is gone.
    async fn resume(&mut self, blob: &dyn MadeBlob) -> Result<(), Fault> {
        match self.recover().await {
            Ok(()) => return self.send_rest(blob).await,
            Err(RequestError::Unexpected { .. } | RequestError::Malformed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // The closing request may have done its work although its answer was lost.
        if self.is_closing
            && let Some(known) = blob.descriptor()
            && self.client.blob_exists(&self.repository, known.digest).await?.is_some()
        {
            return Ok(());
        }
        *self = self.client.open_upload(&self.repository).await?;
        self.send_rest(blob).await
    }

    /// Sends what the registry has not, and closes the upload.
    async fn send_rest(&mut self, blob: &dyn MadeBlob) -> Result<(), Fault> {
        match blob.descriptor() {
            Some(descriptor) => self.send_known(&descriptor, blob).await,
            None => {
                self.append(blob).await?;
                let made = blob.descriptor();
                let descriptor = made.ok_or_else(|| self.broken("it answered before it had all bytes"))?;
                self.close(descriptor.digest).await
            }
        }
    }

    async fn send_known(&mut self, descriptor: &Descriptor, source: &dyn MadeBlob) -> Result<(), Fault> {
        let size = descriptor.size_bytes;
        if self.received == 0 && size <= SINGLE_PUT_BYTES_MAX {
            let stream = source.open(0).await.map_err(Fault::source)?;
            self.is_closing = true;
            let call = Call::at(Method::PUT, closing_url(&self.location, descriptor.digest), self.scopes())
                .header(CONTENT_TYPE, OCTETS)
                .header(CONTENT_LENGTH, &size.to_string());
            let (reply, _) = self.exchange_body(call, stream).await?;
            return self.closed(reply, descriptor.digest).await;
        }
        while self.received < size {
            let from = self.received;
            let stream = source.open(from).await.map_err(Fault::source)?;
            let mut call = Call::at(Method::PATCH, self.location.clone(), self.scopes())
                .header(CONTENT_TYPE, OCTETS)
                .header(CONTENT_LENGTH, &(size - from).to_string());
            if from > 0 {
                // Docker's own pushes send no range with the first chunk, so that is what registries know best.
                call = call.header(CONTENT_RANGE, &format!("{from}-{}", size - 1));
            }
            let (reply, sent) = self.exchange_body(call, stream).await?;
            self.appended(reply, from + sent).await?;
            if self.received > size {
                return Err(self.broken("it has more bytes than were sent"));
            }
            if self.received < size {
                return Err(self.broken("it has fewer bytes than were sent"));
            }
        }
        self.close(descriptor.digest).await
    }

    /// Sends the rest of a blob whose length is not known yet.
    async fn append(&mut self, source: &dyn MadeBlob) -> Result<(), Fault> {
        let from = self.received;
        let stream = source.open(from).await.map_err(Fault::source)?;
        let call = Call::at(Method::PATCH, self.location.clone(), self.scopes()).header(CONTENT_TYPE, OCTETS);
        let (reply, sent) = self.exchange_body(call, stream).await?;
        self.appended(reply, from + sent).await?;
        if self.received != from + sent {
            return Err(self.broken("it has another number of bytes than were sent"));
        }
        Ok(())
    }

    /// Asks the registry how many bytes it has.
    ///
    /// # Errors
    /// [`RequestError::Unexpected`] when the upload is gone; [`RequestError::Malformed`] when the registry does not say.
    ///
    /// Source: distribution-spec v1.1, "Pushing a blob in chunks", the GET of the upload.
    async fn recover(&mut self) -> Result<(), RequestError> {
        let call = Call::at(Method::GET, self.location.clone(), self.scopes());
        let reply = self.client.call(&self.endpoint, UPLOAD, &call).await?;
        if !matches!(reply.status(), 200 | 202 | 204) {
            return Err(reply.into_error(&self.client.transport).await);
        }
        if reply.text(RANGE).is_none() {
            return Err(RequestError::Malformed { host: reply.host, what: "no range" });
        }
        // `0-0` can mean one byte. No connection breaks after just one, and if it does the digest will tell.
        self.take_state(&reply, 0).await
    }

    /// Gives the upload up; the registry may forget what it has.
    ///
    /// # Errors
    /// When the registry does not answer; it then forgets by itself, later.
    pub async fn cancel(self) -> Result<(), RequestError> {
        let call = Call::at(Method::DELETE, self.location.clone(), self.scopes());
        self.client.exchange(&self.endpoint, &call).await.map(drop)
    }

    fn scopes(&self) -> Scopes {
        Scopes::push(&self.repository)
    }

    /// Sends the closing request without a body.
    async fn close(&mut self, digest: Digest) -> Result<(), Fault> {
        self.is_closing = true;
        let call = Call::at(Method::PUT, closing_url(&self.location, digest), self.scopes())
            .header(CONTENT_TYPE, OCTETS)
            .header(CONTENT_LENGTH, "0");
        let empty: ByteStream = Box::pin(futures_util::stream::empty());
        let (reply, _) = self.exchange_body(call, empty).await?;
        self.closed(reply, digest).await
    }

    async fn closed(&mut self, reply: Reply, digest: Digest) -> Result<(), Fault> {
        let host = reply.host.clone();
        // Some registries say 204.
        if matches!(reply.status(), 201 | 204) {
            return match reply.claimed_digest() {
                // A digest of another algorithm names the same bytes by a registry's own rule.
                ClaimedDigest::Digest(actual)
                    if actual != digest && actual.algorithm() == digest.algorithm() =>
                {
                    Err(Fault::Final(UploadError::DigestMismatch { host, expected: digest, actual }))
                }
                ClaimedDigest::Malformed => Err(RequestError::Malformed { host, what: "its digest" }.into()),
                _ => Ok(()),
            };
        }
        match self.sort(reply).await {
            Fault::Final(UploadError::Request(RequestError::Unexpected { host, answer }))
                if answer.has(ErrorCode::DigestInvalid) =>
            {
                Err(Fault::Final(UploadError::DigestRefused { host, digest, answer }))
            }
            fault => Err(fault),
        }
    }

    async fn appended(&mut self, reply: Reply, sent: u64) -> Result<(), Fault> {
        match reply.status() {
            // Some registries say 204 or 201.
            201 | 202 | 204 => Ok(self.take_state(&reply, sent).await?),
            _ => Err(self.sort(reply).await),
        }
    }

    /// Takes over where the upload goes on and how far it is. Without a `Range` the registry has what was sent.
    async fn take_state(&mut self, reply: &Reply, sent: u64) -> Result<(), RequestError> {
        let host = || self.endpoint.name.clone();
        if let Some(location) = reply.response.headers().get(LOCATION) {
            let home = self.client.transport.locate(&self.endpoint).await?;
            self.location = upload_location(&home, &self.location, Some(location))
                .map_err(|reason| RequestError::Redirect { host: host(), reason })?;
        }
        self.received = match reply.text(RANGE) {
            None => sent,
            Some(range) => content_range::received(range, sent)
                .ok_or(RequestError::Malformed { host: host(), what: "its range" })?,
        };
        Ok(())
    }

    /// Sends a body once.
    async fn exchange_body(&mut self, call: Call, stream: ByteStream) -> Result<(Reply, u64), Fault> {
        let progress = Progress::default();
        let body = Mutex::new(Some(progress.body(stream)));
        let call = Call { body: Some(CallBody::Once(body, progress.clone())), ..call };
        let result = self.client.exchange(&self.endpoint, &call).await;
        // A stream that broke off is why the registry complains.
        if let Some(source) = progress.take_source_error() {
            return Err(Fault::source(source));
        }
        Ok((result?, progress.sent_bytes()))
    }

    /// Sorts a refusal: what another place to go on may cure may pass.
    async fn sort(&self, reply: Reply) -> Fault {
        let status = reply.status();
        let error = reply.into_error(&self.client.transport).await;
        match (status, error) {
            (413, RequestError::Unexpected { host, answer }) => {
                Fault::Final(UploadError::TooLarge { host, answer })
            }
            // 401: the token ran out, and there is a new one by now. 404: the upload is gone. 416: out of step.
            (
                401 | 404 | 416,
                RequestError::Unexpected { host, answer } | RequestError::Unauthorized { host, answer },
            ) => Fault::Passing(RequestError::Unavailable { host, answer, retry_after: None }),
            (_, error) => error.into(),
        }
    }

    fn broken(&self, what: &'static str) -> Fault {
        let source = io::Error::other(what).into();
        let source = NetworkError { kind: NetworkFault::Broken, proxy: None, source };
        Fault::Passing(RequestError::Network { host: self.endpoint.name.clone(), source })
    }
}

/// What ended one try.
enum Fault {
    /// Another try may do.
    Passing(RequestError),
    /// None will.
    Final(UploadError),
}

impl Fault {
    fn source(source: io::Error) -> Fault {
        Fault::Final(UploadError::Source { source })
    }
}

impl From<RequestError> for Fault {
    fn from(error: RequestError) -> Fault {
        if error.is_transient() { Fault::Passing(error) } else { Fault::Final(error.into()) }
    }
}

/// What a request is for, where no digest is known.
const UPLOAD: &str = "upload";
const OCTETS: &str = "application/octet-stream";

fn uploads_path(repository: &Repository) -> String {
    format!("/v2/{}/blobs/uploads/", repository.path())
}

/// Appends the digest to the location, whose own query stays as it is.
fn closing_url(location: &Url, digest: Digest) -> Url {
    let mut url = location.clone();
    url.query_pairs_mut().append_pair("digest", &digest.to_string());
    url
}

/// Returns where an upload goes on: at the registry, or on a host of the same registrable domain, which then gets no
/// credentials. Anywhere else a registry could make a client write to what only the client can reach.
fn upload_location(
    home: &Origin,
    base: &Url,
    location: Option<&HeaderValue>,
) -> Result<Url, RedirectRefusal> {
    let location = location.ok_or(RedirectRefusal::Missing)?;
    let location = location.to_str().map_err(|_| RedirectRefusal::Invalid)?;
    let mut url = base.join(location).map_err(|_| RedirectRefusal::Invalid)?;
    let origin = Origin::of(&url).ok_or(RedirectRefusal::Invalid)?;
    if home.scheme() == Scheme::Https && origin.scheme() != Scheme::Https {
        return Err(RedirectRefusal::Downgrade);
    }
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    match realm::allowed(home, url.as_str(), &[]) {
        Ok(url) => Ok(url),
        Err(_) => Err(RedirectRefusal::OtherOrigin { host: origin.authority() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &'static str) -> Result<String, RedirectRefusal> {
        let home = Origin::new(Scheme::Https, "reg.example.com").unwrap();
        let base = home.url("/v2/a/blobs/uploads/");
        upload_location(&home, &base, Some(&HeaderValue::from_static(text))).map(|url| url.to_string())
    }

    #[test]
    fn the_query_of_a_location_stays_and_the_digest_follows() {
        let url = Url::parse("https://h/v2/a/blobs/uploads/1?_state=a%3Db~c").unwrap();
        let closed = closing_url(&url, Digest::sha256(b"")).to_string();
        assert!(
            closed.starts_with("https://h/v2/a/blobs/uploads/1?_state=a%3Db~c&digest=sha256%3Ae3b0c4"),
            "{closed}"
        );
    }

    #[test]
    fn locations_elsewhere_are_refused() {
        assert_eq!(
            location("/v2/a/blobs/uploads/1").unwrap(),
            "https://reg.example.com/v2/a/blobs/uploads/1"
        );
        assert_eq!(location("1?x=y").unwrap(), "https://reg.example.com/v2/a/blobs/uploads/1?x=y");
        assert!(location("https://blobs.example.com/1").is_ok());
        assert_eq!(location("http://reg.example.com/1"), Err(RedirectRefusal::Downgrade));
        assert_eq!(location("file:///etc/passwd"), Err(RedirectRefusal::Invalid));
        let elsewhere = RedirectRefusal::OtherOrigin { host: "169.254.169.254".to_owned() };
        assert_eq!(location("https://169.254.169.254/latest"), Err(elsewhere));
    }
}
