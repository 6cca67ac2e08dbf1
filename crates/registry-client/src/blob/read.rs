//! Reads a blob, across as many connections as it takes.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures_util::Stream;
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use reqwest::Response;
use shale_oci::{Descriptor, Digest, Digester, Repository};

use crate::auth::Scopes;
use crate::client::{Call, Client};
use crate::endpoint::{Endpoint, Source};
use crate::error::{Answer, NetworkError, NetworkFault, RequestError};
use crate::header::content_range;
use crate::options::{Event, Observer};
use crate::retry::{Failure, Tries};
use crate::transport::{Pace, next_chunk};

/// Why a blob did not come whole.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The registry does not have it.
    #[error("{answer}")]
    NotFound {
        /// Which blob.
        digest: Digest,
        /// What the registry said.
        answer: Answer,
    },
    /// The registry announces another length than the descriptor.
    #[error("{host} has {actual} bytes for {digest}, but its descriptor says {expected}")]
    WrongSize {
        /// Who said so.
        host: String,
        /// Which blob.
        digest: Digest,
        /// What the descriptor says.
        expected: u64,
        /// What the registry announces.
        actual: u64,
    },
    /// More bytes came than the descriptor says; the reading stopped there.
    #[error("{host} sends more than the {expected} bytes of {digest}")]
    TooLong {
        /// Who sent them.
        host: String,
        /// Which blob.
        digest: Digest,
        /// What the descriptor says.
        expected: u64,
    },
    /// All bytes are there and are not those of the digest.
    #[error("content does not match digest: expected {expected}, got {actual}")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// A blob on its way.
///
/// Connects when the first chunk is asked for. A connection that breaks is replaced by another that goes on at the same
/// byte, as long as there is progress; when one place fails for good the next one (mirror, then registry) goes on where
/// it stopped. The stream ends after exactly the bytes that the descriptor says, or with an error. Whether they are the
/// right bytes is for the reader to check, or see [`BlobStream::hashed`].
#[must_use = "nothing is read before a chunk is asked for"]
pub struct BlobStream {
    client: Client,
    repository: Repository,
    digest: Digest,
    size_bytes: u64,
    endpoints: Vec<Endpoint>,
    /// Which of them is being read.
    at: usize,
    /// Bytes of the blob that were handed out or that the caller had before.
    position: u64,
    /// Where the last failure was.
    failed_at: u64,
    connection: Option<Connection>,
    tries: Tries,
    /// The place does not do ranges.
    whole_only: bool,
    pace: Pace,
    on_event: Option<Observer>,
}

struct Connection {
    response: Response,
    host: String,
    /// Bytes that were handed out already and come again.
    skip: u64,
    /// The answer said its length, and it is the right one.
    is_measured: bool,
}

impl Client {
    /// Reads the blob of a descriptor, from byte `offset` on.
    ///
    /// # Errors
    /// When the name of the registry is none; all else comes with the first chunk.
    ///
    /// Source: distribution-spec v1.1, "Pulling blobs"; ranges as RFC 9110, section 14.
    pub fn blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<BlobStream, RequestError> {
        self.blob_from(repository, descriptor, offset, None)
    }

    /// As [`Client::blob`], asking the place first that served the manifest.
    ///
    /// # Errors
    /// As [`Client::blob`].
    pub fn blob_from(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        offset: u64,
        source: Option<&Source>,
    ) -> Result<BlobStream, RequestError> {
        let endpoints = self.readers(repository, source)?;
        let tries = self.tries(&endpoints[0]);
        Ok(BlobStream {
            client: self.clone(),
            repository: repository.clone(),
            digest: descriptor.digest,
            size_bytes: descriptor.size_bytes,
            endpoints,
            at: 0,
            position: offset,
            failed_at: offset,
            connection: None,
            tries,
            whole_only: false,
            pace: Pace::new(self.options()),
            on_event: None,
        })
    }

    /// Returns the length of a blob if the registry (not a mirror) has it.
    ///
    /// # Errors
    /// When the registry does not say.
    ///
    /// Source: distribution-spec v1.1, "Checking if content exists in the registry".
    pub async fn blob_exists(
        &self,
        repository: &Repository,
        digest: Digest,
    ) -> Result<Option<u64>, RequestError> {
        let endpoint = self.writer(repository)?;
        let call = Call::new(Method::HEAD, blob_path(repository, digest), Scopes::pull(repository));
        let reply = self.call(&endpoint, &digest.to_string(), &call).await?;
        match reply.status() {
            200 => {
                let length = reply.text(CONTENT_LENGTH).and_then(|length| length.parse().ok());
                length.map(Some).ok_or(RequestError::Malformed { host: reply.host, what: "no length" })
            }
            404 => Ok(None),
            _ => Err(reply.into_error(&self.transport).await),
        }
    }
}

pub(super) fn blob_path(repository: &Repository, digest: Digest) -> String {
    format!("/v2/{}/blobs/{digest}", repository.path())
}

impl BlobStream {
    /// Tells this listener, besides the client's observer, about retries of this blob.
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> BlobStream {
        self.on_event = Some(Arc::new(listener));
        self
    }

    /// Returns the number of bytes from the begin of the blob to the next chunk.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the length of the blob.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns `host[:port]` of the place that is being read.
    pub fn host(&self) -> &str {
        &self.endpoints[self.at].name
    }

    /// Returns the next bytes, none at the end of the blob.
    ///
    /// May be dropped while it waits without losing bytes.
    ///
    /// # Errors
    /// When no place can serve the rest. After an error the call may be repeated; it tries again.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BlobError> {
        loop {
            if self.position >= self.size_bytes && self.is_settled() {
                self.connection = None;
                return Ok(None);
            }
            let failure = match self.advance().await {
                Ok(Some(chunk)) => return Ok(Some(chunk)),
                Ok(None) => continue,
                Err(failure) => failure,
            };
            self.connection = None;
            self.recover(failure).await?;
        }
    }

    /// Returns the blob as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, BlobError>> + Send + 'static {
        futures_util::stream::try_unfold(self, |mut blob| async move {
            Ok(blob.chunk().await?.map(|chunk| (chunk, blob)))
        })
    }

    /// Checks the digest while the blob is read. `digester` has seen the bytes before the offset, if there are any.
    pub fn hashed(self, digester: Digester) -> HashedBlob {
        HashedBlob { blob: self, digester: Some(digester) }
    }

    /// Returns whether nothing more has to be read: no byte can follow, or there never was a connection.
    fn is_settled(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| connection.is_measured)
    }

    /// Takes one step: connects, or reads.
    async fn advance(&mut self) -> Result<Option<Bytes>, BlobError> {
        if self.connection.is_none() {
            self.connection = Some(self.connect().await?);
            return Ok(None);
        }
        let Some(connection) = &mut self.connection else { return Ok(None) };
        let read = next_chunk(&mut connection.response, &mut self.pace, &connection.host).await;
        if self.position >= self.size_bytes && !matches!(read, Ok(Some(_))) {
            // All bytes are here; how the connection ends does not matter.
            connection.is_measured = true;
            return Ok(None);
        }
        let Some(mut chunk) = read? else {
            let source = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the body ended early");
            let source = NetworkError { kind: NetworkFault::Broken, proxy: None, source: source.into() };
            return Err(RequestError::Network { host: connection.host.clone(), source }.into());
        };
        let again = connection.skip.min(chunk.len() as u64);
        connection.skip -= again;
        chunk.advance(again as usize);
        if chunk.is_empty() {
            return Ok(None);
        }
        if chunk.len() as u64 > self.size_bytes - self.position {
            let host = connection.host.clone();
            return Err(BlobError::TooLong { host, digest: self.digest, expected: self.size_bytes });
        }
        self.position += chunk.len() as u64;
        Ok(Some(chunk))
    }

    async fn connect(&mut self) -> Result<Connection, BlobError> {
        loop {
            let is_ranged = self.position > 0 && !self.whole_only;
            let path = blob_path(&self.repository, self.digest);
            let mut call = Call::new(Method::GET, path, Scopes::pull(&self.repository));
            if is_ranged {
                call = call.header(RANGE, &format!("bytes={}-", self.position));
            }
            let reply = self.client.exchange(&self.endpoints[self.at], &call).await?;
            let length = reply.response.content_length();
            match reply.status() {
                200 => {
                    if let Some(actual) = length.filter(|&length| length != self.size_bytes) {
                        let (digest, expected) = (self.digest, self.size_bytes);
                        return Err(BlobError::WrongSize { host: reply.host, digest, expected, actual });
                    }
                    let skip = self.position;
                    return Ok(Connection {
                        is_measured: length.is_some(),
                        response: reply.response,
                        host: reply.host,
                        skip,
                    });
                }
                206 if is_ranged && self.fits(reply.text(CONTENT_RANGE)) => {
                    let is_measured = length == Some(self.size_bytes - self.position);
                    return Ok(Connection {
                        is_measured,
                        response: reply.response,
                        host: reply.host,
                        skip: 0,
                    });
                }
                // The place does not know its own ranges: read from the begin and skip what is here.
                206 | 416 if is_ranged => self.whole_only = true,
                404 if !reply.is_foreign => {
                    return Err(match reply.into_error(&self.client.transport).await {
                        RequestError::Unexpected { answer, .. } => {
                            BlobError::NotFound { digest: self.digest, answer }
                        }
                        other => other.into(),
                    });
                }
                _ => return Err(reply.into_error(&self.client.transport).await.into()),
            }
        }
    }

    /// Returns whether a `Content-Range` begins where the next byte is missing and lies within the blob.
    fn fits(&self, value: Option<&str>) -> bool {
        let Some(range) = value.and_then(content_range::parse) else { return false };
        range.first == self.position
            && range.last < self.size_bytes
            && range.total.is_none_or(|total| total == self.size_bytes)
    }

    /// Gets ready for another try, here or at the next place; or gives the error back.
    async fn recover(&mut self, failure: BlobError) -> Result<(), BlobError> {
        let progress_bytes = self.position - self.failed_at;
        self.failed_at = self.position;
        let endpoint = &self.endpoints[self.at];
        let failure = match failure {
            BlobError::Request(error) => {
                let subject = self.digest.to_string();
                let failure = Failure { host: &endpoint.name, subject: &subject, error };
                let notify = |event: &Event| {
                    self.client.notify(event);
                    if let Some(listener) = &self.on_event {
                        listener(event);
                    }
                };
                match self.tries.again(&self.client.transport, progress_bytes, failure, notify).await {
                    Ok(()) => return Ok(()),
                    Err(error) => BlobError::Request(error),
                }
            }
            other => other,
        };
        if self.at + 1 == self.endpoints.len() {
            return Err(failure);
        }
        self.client.mirror_failed(endpoint, &failure);
        self.at += 1;
        self.tries = self.client.tries(&self.endpoints[self.at]);
        self.whole_only = false;
        Ok(())
    }
}

/// A blob that is checked against its digest when its last byte has come.
#[must_use = "nothing is read before a chunk is asked for"]
pub struct HashedBlob {
    blob: BlobStream,
    digester: Option<Digester>,
}

impl HashedBlob {
    /// Returns the next bytes, none at the end of a blob with the right digest.
    ///
    /// # Errors
    /// [`BlobError::DigestMismatch`] instead of the end; else as [`BlobStream::chunk`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BlobError> {
        let chunk = self.blob.chunk().await?;
        match (&chunk, &mut self.digester) {
            (Some(chunk), Some(digester)) => digester.update(chunk),
            (None, digester) => {
                if let Some(actual) = digester.take().map(Digester::finish)
                    && actual != self.blob.digest
                {
                    return Err(BlobError::DigestMismatch { expected: self.blob.digest, actual });
                }
            }
            _ => {}
        }
        Ok(chunk)
    }

    /// Returns the blob as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, BlobError>> + Send + 'static {
        futures_util::stream::try_unfold(self, |mut blob| async move {
            Ok(blob.chunk().await?.map(|chunk| (chunk, blob)))
        })
    }
}
